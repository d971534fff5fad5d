//! Links of the model: two streams of bytes, and at each end the real handshake of the library.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use async_messenger::proto::ProtoError;
use async_messenger::proto::v1::{
    Acceptor, AcceptorEvent, AcceptorParams, Connector, ConnectorEvent, ConnectorParams, State,
    Verdict,
};
use bytes::BytesMut;

/// The side that connects, and which of its attempts that is.
pub(crate) type LinkId = (usize, u32);

/// What an end of a link is to its side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Life {
    /// The connect, or the accept, has not been handled yet.
    Pending,
    Live,
    Gone,
}

/// What is on its way. Index: the side it goes to.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Wire {
    pub(crate) flight: [Vec<u8>; 2],
    /// The end of the stream comes behind the bytes.
    pub(crate) fin: [bool; 2],
    pub(crate) life: [Life; 2],
    pub(crate) cut: bool,
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self {
            flight: [vec![], vec![]],
            fin: [false; 2],
            life: [Life::Pending; 2],
            cut: false,
        }
    }

    /// Whether a side has something to handle.
    pub(crate) fn is_due(&self, side: usize) -> bool {
        self.life[side] == Life::Live && (self.fin[side] || !self.flight[side].is_empty())
    }
}

/// What a handshake reports.
#[derive(Debug)]
pub(crate) enum Event {
    Connector(ConnectorEvent),
    Acceptor(AcceptorEvent),
}

#[derive(Clone)]
enum Params {
    Connector(ConnectorParams),
    Acceptor(AcceptorParams),
}

#[derive(Clone)]
enum Op {
    Input(Vec<u8>),
    Retry(u32),
    Verdict(Verdict),
}

#[derive(Debug)]
enum Proto {
    Connector(Connector),
    Acceptor(Acceptor),
}

/// One of the library's handshakes, with all it was told, so that a copy can be made of it.
struct Machine {
    params: Params,
    log: Vec<Op>,
    proto: Proto,
    /// Of all that can be seen of it.
    digest: u64,
}

impl Machine {
    fn new(params: Params, out: &mut BytesMut) -> Self {
        let proto = match params.clone() {
            Params::Connector(params) => {
                let mut connector = Connector::new(params);
                connector.start(out);
                Proto::Connector(connector)
            }
            Params::Acceptor(params) => {
                let mut acceptor = Acceptor::new(params);
                acceptor.start(out);
                Proto::Acceptor(acceptor)
            }
        };
        let log = Vec::new();
        let mut machine = Self {
            params,
            log,
            proto,
            digest: 0,
        };
        machine.note();
        machine
    }

    fn note(&mut self) {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.proto).hash(&mut hasher);
        self.digest = hasher.finish();
    }

    fn copy(&self) -> Self {
        let mut copy = Self::new(self.params.clone(), &mut BytesMut::new());
        for op in &self.log {
            let mut rx = BytesMut::new();
            if let Op::Input(bytes) = op {
                rx.extend_from_slice(bytes);
            }
            // What came of it is known.
            drop(copy.apply(op.clone(), &mut rx, &mut BytesMut::new()));
        }
        copy
    }

    fn apply(
        &mut self,
        op: Op,
        rx: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<Event>, ProtoError> {
        let event = match (&mut self.proto, &op) {
            (Proto::Connector(connector), Op::Input(_)) => {
                connector.handle_input(rx, out)?.map(Event::Connector)
            }
            (Proto::Connector(connector), Op::Retry(global_seq)) => {
                connector.handle_retry(*global_seq, out);
                None
            }
            (Proto::Acceptor(acceptor), Op::Input(_)) => {
                acceptor.handle_input(rx)?.map(Event::Acceptor)
            }
            (Proto::Acceptor(acceptor), Op::Verdict(verdict)) => {
                acceptor.handle_verdict(*verdict, out)?.map(Event::Acceptor)
            }
            _ => panic!("that is for the other side"),
        };
        self.log.push(op);
        Ok(event)
    }
}

impl Hash for Machine {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.proto.fmt(f)
    }
}

/// One end of a link. Copies share the handshake until one of them changes it.
#[derive(Clone, Hash, Debug)]
pub(crate) struct End {
    machine: Rc<Machine>,
    /// Received and not used yet.
    pub(crate) rx: Vec<u8>,
    pub(crate) open: bool,
}

impl End {
    /// Bytes to send are appended to `out`.
    pub(crate) fn connector(params: ConnectorParams, out: &mut BytesMut) -> Self {
        Self::new(Params::Connector(params), out)
    }

    pub(crate) fn acceptor(params: AcceptorParams, out: &mut BytesMut) -> Self {
        Self::new(Params::Acceptor(params), out)
    }

    fn new(params: Params, out: &mut BytesMut) -> Self {
        Self {
            machine: Rc::new(Machine::new(params, out)),
            rx: Vec::new(),
            open: false,
        }
    }

    pub(crate) fn state(&self) -> State {
        match &self.machine.proto {
            _ if self.open => State::Opened,
            Proto::Connector(connector) => connector.state(),
            Proto::Acceptor(acceptor) => acceptor.state(),
        }
    }

    /// The number of the attempt that the connector sent last.
    pub(crate) fn global_seq(&self) -> u32 {
        match &self.machine.proto {
            Proto::Connector(connector) => connector.global_seq(),
            Proto::Acceptor(_) => panic!("an acceptor has none"),
        }
    }

    /// Handles what was received so far.
    pub(crate) fn input(&mut self, out: &mut BytesMut) -> Result<Option<Event>, ProtoError> {
        let mut rx = BytesMut::from(&self.rx[..]);
        let result = self.apply(Op::Input(self.rx.clone()), &mut rx, out);
        self.rx = rx.to_vec();
        result
    }

    pub(crate) fn retry(&mut self, global_seq: u32, out: &mut BytesMut) {
        let told = self.apply(Op::Retry(global_seq), &mut BytesMut::new(), out);
        assert!(matches!(told, Ok(None)), "{told:?}");
    }

    /// Answers a claim. With an event the session is open already.
    pub(crate) fn answer(&mut self, verdict: Verdict, out: &mut BytesMut) -> Option<AcceptorEvent> {
        match self.apply(Op::Verdict(verdict), &mut BytesMut::new(), out) {
            Ok(Some(Event::Acceptor(event))) => Some(event),
            Ok(None) => None,
            other => panic!("{other:?}"),
        }
    }

    fn apply(
        &mut self,
        op: Op,
        rx: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<Event>, ProtoError> {
        if Rc::get_mut(&mut self.machine).is_none() {
            self.machine = Rc::new(self.machine.copy());
        }
        let machine = Rc::get_mut(&mut self.machine).expect("just made");
        let result = machine.apply(op, rx, out);
        machine.note();
        result
    }
}
