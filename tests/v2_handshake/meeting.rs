//! Two sides in one room, and whoever is between them.

use async_messenger::message::{Message, TxBatch};
use async_messenger::proto::v2::{
    Acceptor, AcceptorEvent, AcceptorParams, Connector, ConnectorEvent, ConnectorParams, Decoder,
    Encoder, Opened, Verdict,
};
use async_messenger::proto::{Decoded, Gate, Incoming, ProtoError, Toll};
use bytes::BytesMut;

use super::fake::Play;
use super::{acceptor_params, connector_params, open, with_cx};

/// Who meets, and how.
#[derive(Clone)]
pub(crate) struct Cast<'a> {
    pub(crate) connector: ConnectorParams,
    pub(crate) acceptor: AcceptorParams,
    pub(crate) play: Play,
    /// Before the session opens.
    pub(crate) verdicts: &'a [Verdict],
    /// Changes what is on its way: who sent it, where in the stream it is, the byte.
    pub(crate) tamper: &'a dyn Fn(usize, usize, &mut u8),
}

impl Cast<'_> {
    pub(crate) fn new(banner: async_messenger::proto::v2::Banner, play: Play) -> Self {
        Self {
            connector: connector_params(banner),
            acceptor: acceptor_params(banner),
            play,
            verdicts: &[],
            tamper: &|_, _, _| {},
        }
    }
}

/// All that came of it.
#[derive(PartialEq, Debug, Default)]
pub(crate) struct Meeting {
    pub(crate) connector: Vec<ConnectorEvent>,
    pub(crate) acceptor: Vec<AcceptorEvent>,
    /// By the connector and by the acceptor.
    pub(crate) sent: [Vec<u8>; 2],
    pub(crate) errors: [Option<ProtoError>; 2],
    /// What arrived on each side once it was open.
    pub(crate) arrived: [Vec<String>; 2],
}

impl Meeting {
    /// What both sides agreed on, if they did.
    pub(crate) fn opened(&self) -> Option<(&Opened, &Opened)> {
        match (self.connector.last()?, self.acceptor.last()?) {
            (ConnectorEvent::Ready(c), AcceptorEvent::Ready(a)) => Some((c, a)),
            _ => None,
        }
    }

    /// What a side failed with, as text.
    pub(crate) fn error(&self, side: usize) -> String {
        let error = self.errors[side].as_ref();
        error.map_or_else(|| format!("no error in {self:#?}"), ToString::to_string)
    }
}

struct All;

impl Gate for All {
    fn admit(&mut self, _: Toll, _: u64) -> bool {
        true
    }
}

/// One side.
struct Actor<'a> {
    side: Option<Side>,
    decoder: Option<Decoder>,
    rx: BytesMut,
    out: BytesMut,
    play: &'a Play,
    verdicts: std::slice::Iter<'a, Verdict>,
}

enum Side {
    Connector(Connector),
    Acceptor(Acceptor),
}

impl<'a> Actor<'a> {
    fn new(side: Side, out: BytesMut, cast: &Cast<'a>, play: &'a Play) -> Self {
        Self {
            side: Some(side),
            decoder: None,
            rx: BytesMut::new(),
            out,
            play,
            verdicts: cast.verdicts.iter(),
        }
    }

    /// Handles what has come. `Some`: the session is open on this side.
    fn act(&mut self, log: &mut Meeting) -> Result<Option<(Decoder, Encoder)>, ProtoError> {
        let opened = match &mut self.side {
            None => false,
            Some(Side::Connector(side)) => loop {
                let event = with_cx(|cx| side.handle_input(&mut self.rx, cx, &mut self.out));
                let event = again(event, || {
                    with_cx(|cx| side.handle_input(&mut self.rx, cx, &mut self.out))
                })?;
                let Some(event) = event else { break false };
                log.connector.push(event.clone());
                match event {
                    ConnectorEvent::RetryGlobal { peer_global_seq } => {
                        side.handle_retry(peer_global_seq + 1, &mut self.out)?;
                    }
                    ConnectorEvent::RetrySession { .. } | ConnectorEvent::ResetSession { .. } => {
                        side.handle_retry(side.global_seq(), &mut self.out)?;
                    }
                    ConnectorEvent::Learned(_) | ConnectorEvent::Wait => {}
                    ConnectorEvent::Ready(_) => break true,
                }
            },
            Some(Side::Acceptor(side)) => loop {
                let event = with_cx(|cx| side.handle_input(&mut self.rx, cx, &mut self.out));
                let event = again(event, || {
                    with_cx(|cx| side.handle_input(&mut self.rx, cx, &mut self.out))
                })?;
                let Some(event) = event else { break false };
                log.acceptor.push(event.clone());
                match event {
                    AcceptorEvent::Hello(_) => side.handle_auth(self.play.server())?,
                    AcceptorEvent::Denied(_) => {}
                    AcceptorEvent::Claim(claim) => {
                        let next = self.verdicts.next().cloned();
                        let verdict = next.unwrap_or_else(|| open(&claim));
                        if let Some(event) = side.handle_verdict(verdict, &mut self.out)? {
                            log.acceptor.push(event);
                            break true;
                        }
                    }
                    AcceptorEvent::Ready(_) => panic!("nobody let it in"),
                }
            },
        };
        if !opened {
            return Ok(None);
        }
        Ok(match self.side.take() {
            Some(Side::Connector(side)) => side.into_open(Default::default()),
            Some(Side::Acceptor(side)) => side.into_open(Default::default()),
            None => None,
        })
    }

    /// Says something in the open session.
    fn greet(&mut self, encoder: &mut Encoder, me: usize) {
        let mut batch = TxBatch::default();
        let message = Message::new(99).with_front(vec![me as u8; 3]);
        encoder.message(message, 1, 0, &mut batch).expect("fresh");
        let out = &mut self.out;
        while !batch.is_empty() {
            let taken = batch.write_to(|slices| {
                slices.iter().for_each(|slice| out.extend_from_slice(slice));
                Ok(slices.iter().map(|slice| slice.len()).sum())
            });
            taken.expect("a buffer takes all");
        }
    }
}

/// An error stays the same when it is asked for again.
fn again<T>(
    result: Result<T, ProtoError>,
    ask: impl FnOnce() -> Result<T, ProtoError>,
) -> Result<T, ProtoError> {
    if let Err(error) = &result {
        assert_eq!(ask().err().as_ref(), Some(error));
    }
    result
}

/// Lets both sides talk, `size` bytes at a time, until there is nothing left to say.
pub(crate) fn meet(cast: &Cast<'_>, size: usize) -> Meeting {
    let mut log = Meeting::default();
    let mut out = [BytesMut::new(), BytesMut::new()];
    let mut connector = Connector::new(cast.connector.clone(), cast.play.client());
    let mut acceptor = Acceptor::new(cast.acceptor.clone());
    connector.start(&mut out[0]);
    acceptor.start(&mut out[1]);
    let [c_out, a_out] = out;
    let mut actors = [
        Actor::new(Side::Connector(connector), c_out, cast, &cast.play),
        Actor::new(Side::Acceptor(acceptor), a_out, cast, &cast.play),
    ];
    while actors.iter().any(|actor| !actor.out.is_empty()) {
        for me in 0..2 {
            let from = 1 - me;
            let len = size.min(actors[from].out.len());
            let mut piece = actors[from].out.split_to(len);
            for (i, byte) in piece.iter_mut().enumerate() {
                (cast.tamper)(from, log.sent[from].len() + i, byte);
            }
            log.sent[from].extend_from_slice(&piece);
            let actor = &mut actors[me];
            actor.rx.extend_from_slice(&piece);
            if actor.decoder.is_none() && log.errors[me].is_none() {
                match actor.act(&mut log) {
                    Ok(None) => {}
                    Ok(Some((decoder, mut encoder))) => {
                        actor.greet(&mut encoder, me);
                        actor.decoder = Some(decoder);
                    }
                    Err(error) => log.errors[me] = Some(error),
                }
            }
            let Some(decoder) = &mut actor.decoder else {
                continue;
            };
            while let Ok(Decoded::Incoming(Incoming::Message(m))) =
                decoder.decode(&mut actor.rx, &mut All)
            {
                log.arrived[me].push(format!("{} {:?}", m.src(), m.front().to_bytes()));
            }
        }
    }
    log
}
