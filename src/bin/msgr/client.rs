//! A client that asks one thing after the other: a channel between the messenger, which calls
//! back, and a main thread that waits.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use async_messenger::message::{Message, Payload};
use async_messenger::wire::{EntityAddr, EntityName, EntityType};
use async_messenger::{Connection, ConnectionEvent, Dispatcher, Error, Handled, Messenger};

use crate::args::Global;
use crate::failure::{Exit, Failure};

/// How much longer than the time-out to wait for the messenger itself to say in which phase of
/// the handshake the time was up.
const GRACE: Duration = Duration::from_secs(1);

/// A connection to a monitor.
pub(crate) struct Client {
    connection: Connection,
    heard: Receiver<Heard>,
    deadline: Instant,
    peer: EntityAddr,
    tid: Cell<u64>,
    /// Dropping it ends the connection.
    _messenger: Messenger,
}

/// What the messenger calls back about.
enum Heard {
    Message(Box<Message>),
    Ready,
    Lost(Error),
}

/// Hands everything over to the main thread.
struct Forward(Sender<Heard>);

impl Forward {
    fn tell(&self, heard: Heard) {
        // An error means that the main thread has heard enough.
        let _ = self.0.send(heard);
    }
}

impl Dispatcher for Forward {
    fn dispatch(&self, _connection: &Connection, message: Message) -> Handled {
        self.tell(Heard::Message(Box::new(message)));
        Handled::Yes
    }

    fn event(&self, _connection: &Connection, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::Ready(_) => self.tell(Heard::Ready),
            ConnectionEvent::Reset { error, .. } | ConnectionEvent::Refused(error) => {
                self.tell(Heard::Lost(error.clone()));
            }
            _ => {}
        }
    }
}

impl Client {
    /// Connects, and waits for the end of the handshake.
    pub(crate) fn connect(global: &Global, peer: EntityAddr) -> Result<Self, Failure> {
        let mut config = global.config()?;
        config.workers = 1;
        config.ready_timeout = global.timeout;
        let messenger = Messenger::builder(EntityName::client(-1))
            .config(config)
            .build()?;
        let (tell, heard) = mpsc::channel();
        messenger.add_dispatcher_tail(Arc::new(Forward(tell)))?;
        messenger.start()?;
        let deadline = Instant::now() + global.timeout;
        let client = Self {
            connection: messenger.connect(EntityType::MON, &peer.into())?,
            heard,
            deadline,
            peer,
            tid: Cell::new(0),
            _messenger: messenger,
        };
        loop {
            if let Heard::Ready = client.wait("the handshake", deadline + GRACE)? {
                return Ok(client);
            }
        }
    }

    /// Asks for something and waits for a message of the type that answers it. Others that come
    /// in between are news that nobody asked for.
    pub(crate) fn ask<A: Payload>(&self, question: &impl Payload) -> Result<A, Failure> {
        let tid = self.tid.replace(self.tid.get() + 1);
        let question = Message::from_payload(question, self.connection.features()).with_tid(tid);
        self.connection.send(question).map_err(|error| {
            let what = format!("{}: asking for {}: {error}", self.peer, A::NAME);
            Failure::new(Exit::Refused, what, "ask for less")
        })?;
        loop {
            if let Heard::Message(message) = self.wait(A::NAME, self.deadline)?
                && message.kind() == A::KIND
            {
                return message.decode().map_err(|error| {
                    let what = format!("{}: its answer makes no sense: {error}", self.peer);
                    Failure::new(Exit::Refused, what, "check which release it is of")
                });
            }
        }
    }

    /// The peer, for texts.
    pub(crate) fn peer(&self) -> EntityAddr {
        self.peer
    }

    fn wait(&self, what: &str, deadline: Instant) -> Result<Heard, Failure> {
        match self
            .heard
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(Heard::Lost(error)) => Err(error.into()),
            Ok(heard) => Ok(heard),
            // The messenger lives as long as this client, so the channel is open.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let what = format!("{}: waiting for {what}: the time is up", self.peer);
                let cure = "a monitor without quorum does not answer: see its log, or wait \
                            longer by --timeout";
                Err(Failure::new(Exit::Unreachable, what, cure))
            }
        }
    }
}
