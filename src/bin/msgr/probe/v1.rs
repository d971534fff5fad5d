//! Version 1: a connect without an authorizer says which features there are; a monitor is then
//! asked by messages which methods it takes.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_messenger::message::{Message, Payload as _};
use async_messenger::messages::{AUTH_CEPHX, AUTH_NONE, AuthOffer, MAuth, MAuthReply};
use async_messenger::proto::v1::{
    ConnectReply, Connector, ConnectorEvent, ConnectorParams, none_authorizer, protocol_version,
};
use async_messenger::wire::{
    AddrType, AuthName, EntityAddr, EntityName, EntityType, Reader, features,
};
use async_messenger::{Connection, ConnectionEvent, Dispatcher, Error, Handled, Messenger};
use bytes::BytesMut;

use super::report::Report;
use super::{Line, clip};
use crate::args::Global;
use crate::failure::{Exit, Failure};

const BANNER_LEN: usize = 9;
/// What the server says before it is asked anything.
const HELLO_LEN: usize = BANNER_LEN + 2 * EntityAddr::LEGACY_LEN;
/// Who may be there, to be tried in this order.
const KINDS: [EntityType; 3] = [EntityType::MON, EntityType::OSD, EntityType::MDS];

/// Fills the report in.
pub(super) fn probe(
    line: Line,
    name: &AuthName,
    global: &Global,
    report: &mut Report,
) -> Result<(), Failure> {
    let peer = line.peer;
    let mut next = Some(line);
    for kind in KINDS {
        let line = match next.take() {
            Some(line) => line,
            None => {
                let mut line = Line::dial(peer, global.timeout)?;
                line.banner()?;
                line
            }
        };
        // Another kind of daemon speaks another version of what is above the messenger.
        if attempt(line, kind, name, report)? {
            break;
        }
    }
    if report.entity == Some(EntityType::MON) && report.is_let_in {
        report.is_let_in = false;
        ask_methods(name, global, report)?;
    }
    Ok(())
}

/// Connects to what is taken for a daemon of this kind. False if it is of another one.
fn attempt(
    mut line: Line,
    kind: EntityType,
    name: &AuthName,
    report: &mut Report,
) -> Result<bool, Failure> {
    while line.rx.len() < HELLO_LEN {
        if !line.receive("its addresses")? {
            report.banner = clip(&line.first, BANNER_LEN).to_vec();
            report.refusal = Some("it hung up before it said where it is".into());
            return Ok(true);
        }
    }
    let hello = line.rx[..HELLO_LEN].to_vec();
    let (own, seen) = hello[BANNER_LEN..].split_at(EntityAddr::LEGACY_LEN);
    let address = |bytes| EntityAddr::decode_legacy(&mut Reader::new(bytes, "address")).ok();
    report.banner = hello[..BANNER_LEN].to_vec();
    report.own = address(own);
    report.seen = address(seen);

    let params = ConnectorParams {
        name: EntityName::client(-1),
        addr: EntityAddr {
            kind: AddrType::Legacy,
            ..EntityAddr::default()
        },
        // Whoever is there is the right one: the nonce of a daemon cannot be known.
        peer_addr: report.own.unwrap_or(line.peer),
        features: features::SUPPORTED,
        required: 0,
        protocol_version: protocol_version(EntityType::CLIENT, kind, 0),
        authorizer: (kind != EntityType::MON).then(|| none_authorizer(name, 0)),
        lossy: true,
        global_seq: 1,
        connect_seq: 0,
        in_seq: 0,
    };
    let ended = drive(&mut line, Connector::new(params))?;
    report.rtt = line.rtt.or(report.rtt);
    let reply = line.first.get(HELLO_LEN..).and_then(|bytes| {
        let mut r = Reader::new(bytes, "reply");
        ConnectReply::decode(&mut r).ok()
    });
    if let Some(reply) = reply {
        report.features = Some(reply.features);
        report.protocol = Some(reply.protocol_version);
    }
    let speaks = |kind| report.protocol == Some(protocol_version(EntityType::CLIENT, kind, 0));
    report.entity = KINDS.into_iter().find(|kind| speaks(*kind));
    report.modes = vec!["crc".into()];
    match ended {
        Ok(()) => {
            report.is_let_in = true;
            report.refusal = None;
            if kind != EntityType::MON {
                report.methods = vec!["none".into()];
            }
        }
        Err(why) => report.refusal = Some(why),
    }
    // One that says of which kind it is is asked again as such.
    Ok(report.entity.is_none_or(|found| found == kind))
}

/// The handshake, up to a session or the reason why there is none.
fn drive(line: &mut Line, mut connector: Connector) -> Result<Result<(), String>, Failure> {
    let mut out = BytesMut::new();
    connector.start(&mut out);
    loop {
        let event = connector.handle_input(&mut line.rx, &mut out);
        line.send(&mut out)?;
        match event {
            Ok(Some(ConnectorEvent::Ready(_))) => return Ok(Ok(())),
            Ok(Some(ConnectorEvent::Wait)) => return Ok(Err("it makes us wait".into())),
            Ok(Some(ConnectorEvent::RetryGlobal { peer_global_seq })) => {
                connector.handle_retry(peer_global_seq.saturating_add(1), &mut out);
                line.send(&mut out)?;
            }
            Ok(Some(ConnectorEvent::RetrySession { .. } | ConnectorEvent::ResetSession)) => {
                connector.handle_retry(1, &mut out);
                line.send(&mut out)?;
            }
            // There is nothing to answer it with.
            Ok(Some(ConnectorEvent::Challenge(_))) => {
                return Ok(Err("it wants cephx: it challenges the authorizer".into()));
            }
            Ok(Some(ConnectorEvent::Learned(_) | ConnectorEvent::Proof(_))) => {}
            Ok(None) => {
                if !line.receive("its reply to our connect")? {
                    return Ok(Err(format!("it hung up in {}", connector.state())));
                }
            }
            Err(error) => return Ok(Err(format!("in {}: {error}", connector.state()))),
        }
    }
}

/// Offers each method for itself, on a connection of its own.
fn ask_methods(name: &AuthName, global: &Global, report: &mut Report) -> Result<(), Failure> {
    let mut config = global.config()?;
    config.workers = 1;
    config.ready_timeout = global.timeout;
    let messenger = Messenger::builder(EntityName::client(-1))
        .config(config)
        .build()?;
    let (tell, told) = channel();
    messenger.add_dispatcher_tail(Arc::new(Forward(Mutex::new(tell))))?;
    messenger.start()?;
    for (method, text) in [(AUTH_NONE, "none"), (AUTH_CEPHX, "cephx")] {
        let offer = AuthOffer {
            methods: vec![method],
            name: name.clone(),
            global_id: 0,
        };
        let to = EntityAddr {
            kind: AddrType::Legacy,
            ..report.addr
        };
        let connection = messenger.connect_anonymous(EntityType::MON, &to.into())?;
        let question = Message::from_payload(&MAuth::offering(&offer), 0);
        let asked = connection.send(question);
        let reply = asked.ok().and_then(|()| wait(&told, global.timeout));
        connection.mark_down();
        match reply {
            Some(Ok(reply)) if reply.result == 0 && reply.protocol == method => {
                report.methods.push(text.into());
                report.is_let_in |= method == AUTH_NONE;
            }
            Some(Ok(reply)) if method == AUTH_NONE => {
                let said = if reply.text.is_empty() {
                    String::new()
                } else {
                    format!(": {:?}", reply.text)
                };
                let result = reply.result;
                report.refusal = Some(format!("method none is not taken: result {result}{said}"));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => report.refusal = Some(error.to_string()),
            None => {
                let what = format!("{}: no answer to an offer of method {text}", report.addr);
                let cure = "a monitor without quorum does not answer: see its log";
                return Err(Failure::new(Exit::Unreachable, what, cure));
            }
        }
    }
    Ok(())
}

type Heard = Result<MAuthReply, Error>;

fn wait(told: &Receiver<Heard>, timeout: Duration) -> Option<Heard> {
    let until = Instant::now() + timeout;
    told.recv_timeout(until.saturating_duration_since(Instant::now()))
        .ok()
}

/// Hands replies over to the main thread.
struct Forward(Mutex<Sender<Heard>>);

impl Forward {
    fn tell(&self, heard: Heard) {
        let tell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An error means that the main thread has heard enough.
        let _ = tell.send(heard);
    }
}

impl Dispatcher for Forward {
    fn dispatch(&self, _: &Connection, message: Message) -> Handled {
        if message.kind() == MAuthReply::KIND
            && let Ok(reply) = message.decode()
        {
            self.tell(Ok(reply));
        }
        // A monmap may follow, which nobody wants.
        Handled::Yes
    }

    fn event(&self, _: &Connection, event: &ConnectionEvent) {
        if let ConnectionEvent::Reset { error, .. } | ConnectionEvent::Refused(error) = event {
            self.tell(Err(error.clone()));
        }
    }
}
