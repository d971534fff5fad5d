//! Messengers for tests: on the driver under test, on ports of the system's choice, with every wait
//! bounded.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_messenger::message::Message;
use async_messenger::wire::{AddrVec, EntityName, EntityType, MsgHead};
use async_messenger::{
    Builder, Config, Connection, ConnectionEvent, Dispatcher, DriverKind, Error, Handled,
    Messenger, Policy, Ready,
};

/// The longest wait for something that has to happen.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The driver under test: `EVENT_DRIVER`, or the default.
pub fn driver() -> DriverKind {
    match std::env::var("EVENT_DRIVER") {
        Ok(name) => name.parse().expect("EVENT_DRIVER names a driver"),
        Err(_) => DriverKind::default_for_target(),
    }
}

/// Options for tests: any free port, short waits.
pub fn config() -> Config {
    Config {
        driver: driver(),
        // What is tested is what is named.
        driver_strict: true,
        workers: 2,
        bind_port_min: 0,
        bind_port_max: 0,
        bind_retry_count: 1,
        initial_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(100),
        ..Config::default()
    }
}

/// Any port, by the protocol that `MSGR` names: `v1`, which is the default, or `v2`.
pub fn localhost() -> AddrVec {
    let version = std::env::var("MSGR").unwrap_or_else(|_| "v1".into());
    format!("{version}:127.0.0.1:0")
        .parse()
        .expect("MSGR names a protocol")
}

/// What a [`Recorder`] has seen.
#[derive(Debug)]
pub enum Seen {
    Message(Connection, Message),
    Event(Connection, ConnectionEvent),
    Fast(Connection, Ready),
    AcceptFailed(Error),
}

/// A dispatcher that passes on all it sees, and echoes messages if told to.
pub struct Recorder {
    seen: Mutex<Sender<Seen>>,
    pub echo: bool,
    pub fast: bool,
    pub messages: AtomicUsize,
}

impl Recorder {
    pub fn new(echo: bool, fast: bool) -> (Arc<Self>, Inbox) {
        let (tx, rx) = channel();
        let recorder = Self {
            seen: Mutex::new(tx),
            echo,
            fast,
            messages: AtomicUsize::new(0),
        };
        (Arc::new(recorder), Inbox(rx))
    }

    fn tell(&self, seen: Seen) {
        // The receiver may be gone at the end of a test.
        let _ = self.seen.lock().expect("not poisoned").send(seen);
    }

    fn message(&self, connection: &Connection, message: Message) {
        self.messages.fetch_add(1, Ordering::SeqCst);
        if self.echo {
            connection
                .send(reply_to(&message))
                .expect("room for a reply");
        }
        self.tell(Seen::Message(connection.clone(), message));
    }
}

/// A message with the same payload.
pub fn reply_to(message: &Message) -> Message {
    Message::new(message.kind())
        .with_tid(message.tid())
        .with_front(message.front().to_bytes())
        .with_middle(message.middle().to_bytes())
        .with_data(message.data().to_bytes())
}

impl Dispatcher for Recorder {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        self.fast
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        self.message(connection, message);
    }

    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        self.message(connection, message);
        Handled::Yes
    }

    fn fast_event(&self, connection: &Connection, event: Ready) {
        self.tell(Seen::Fast(connection.clone(), event));
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        self.tell(Seen::Event(connection.clone(), event.clone()));
    }

    fn accept_failed(&self, error: &Error) {
        self.tell(Seen::AcceptFailed(error.clone()));
    }
}

/// What a recorder has seen, in order.
pub struct Inbox(pub Receiver<Seen>);

impl Inbox {
    /// The first thing that `pick` wants; what comes before is dropped.
    pub fn find<T>(&self, what: &str, mut pick: impl FnMut(Seen) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let seen = self.0.recv_timeout(left);
            let seen = seen.unwrap_or_else(|e| panic!("no {what} in {DEADLINE:?}: {e}"));
            if let Some(found) = pick(seen) {
                return found;
            }
        }
    }

    pub fn message(&self) -> (Connection, Message) {
        self.find("message", |seen| match seen {
            Seen::Message(connection, message) => Some((connection, message)),
            _ => None,
        })
    }

    pub fn reset(&self) -> Error {
        self.find("reset", |seen| match seen {
            Seen::Event(_, ConnectionEvent::Reset { error, .. }) => Some(error),
            _ => None,
        })
    }

    pub fn accept_failed(&self) -> Error {
        self.find("failed handshake", |seen| match seen {
            Seen::AcceptFailed(error) => Some(error),
            _ => None,
        })
    }
}

/// A started messenger and what it sees.
pub struct Peer {
    pub messenger: Messenger,
    pub recorder: Arc<Recorder>,
    pub inbox: Inbox,
    pub addrs: AddrVec,
}

/// osd.0 with [`Policy::stateless_server`], bound to loopback; echoes everything.
pub fn server(fast: bool, change: impl FnOnce(Builder) -> Builder) -> Peer {
    let builder = Messenger::builder(EntityName::osd(0))
        .config(config())
        .default_policy(Policy::stateless_server(0));
    start(change(builder), Recorder::new(true, fast), true)
}

/// client.-1 with [`Policy::lossy_client`].
pub fn client(fast: bool, change: impl FnOnce(Builder) -> Builder) -> Peer {
    let builder = Messenger::builder(EntityName::client(-1)).config(config());
    start(change(builder), Recorder::new(false, fast), false)
}

fn start(builder: Builder, (recorder, inbox): (Arc<Recorder>, Inbox), bind: bool) -> Peer {
    let messenger = builder.build().expect("a messenger");
    let addrs = if bind {
        messenger.bind(&localhost()).expect("a free port")
    } else {
        AddrVec::default()
    };
    messenger
        .add_dispatcher_tail(Arc::<Recorder>::clone(&recorder))
        .expect("not started");
    messenger.start().expect("starts");
    Peer {
        messenger,
        recorder,
        inbox,
        addrs,
    }
}

impl Peer {
    pub fn connect(&self, to: &Self) -> Connection {
        self.messenger
            .connect(EntityType::OSD, &to.addrs)
            .expect("a connection")
    }

    pub fn end(self) {
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
    }
}

/// Waits until a condition holds, asking often.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}
