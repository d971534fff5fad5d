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

use async_messenger::auth::{Keyring, Method, Mode, Offers, Site};
use async_messenger::message::Message;
use async_messenger::wire::{AddrVec, AuthName, EntityName, EntityType, MsgHead};
use async_messenger::{
    Authority, Builder, Config, Connection, ConnectionEvent, Credentials, Dispatcher, DriverKind,
    Error, Handled, Messenger, Policy, Ready,
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

/// What the messengers of a test speak with each other: `MSGR` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Msgr {
    /// `v1`, the default.
    V1,
    /// `v1-cephx`: with tickets, and every message signed.
    V1Cephx,
    /// `v2`: checksums, and nobody proves anything.
    V2,
    /// `v2-secure`: with tickets, and everything encrypted.
    V2Secure,
}

pub fn msgr() -> Msgr {
    match std::env::var("MSGR").as_deref() {
        Err(_) | Ok("v1") => Msgr::V1,
        Ok("v1-cephx") => Msgr::V1Cephx,
        Ok("v2") => Msgr::V2,
        Ok("v2-secure") => Msgr::V2Secure,
        Ok(other) => panic!("MSGR={other}: it is v1, v1-cephx, v2 or v2-secure"),
    }
}

impl Msgr {
    pub fn is_v2(self) -> bool {
        matches!(self, Self::V2 | Self::V2Secure)
    }
}

/// Any port.
pub fn localhost() -> AddrVec {
    let version = if msgr().is_v2() { "v2" } else { "v1" };
    let text = format!("{version}:127.0.0.1:0");
    text.parse().expect("an address")
}

/// A key for each type of daemon, all the same.
pub fn keys() -> Keyring {
    let key = "AQAAEF5fAAAAABAAAAECAwQFBgcICQoLDA0ODw==";
    let section = |kind| format!("[{kind}.]\nkey = {key}\n");
    let text: String = ["mon", "osd", "mds", "mgr", "client"].map(section).concat();
    Keyring::parse(&text).expect("a keyring")
}

/// Begins a messenger with [`config`], and with the keys that `MSGR` wants: one for each type of
/// daemon, which all share, so that tickets are made without a monitor (cephx §9).
pub fn builder(name: EntityName) -> Builder {
    builder_for(msgr(), name)
}

/// The same, whatever `MSGR` says.
pub fn builder_for(msgr: Msgr, name: EntityName) -> Builder {
    let builder = Messenger::builder(name).config(config());
    let mode = match msgr {
        Msgr::V1 | Msgr::V2 => return builder,
        Msgr::V1Cephx => Mode::CRC,
        Msgr::V2Secure => Mode::SECURE,
    };
    let keyring = keys();
    let offers = Offers::uniform(&[Method::CEPHX], &[mode]);
    let mut site = Site::new(name.kind, keyring.clone());
    site.offers = offers.clone();
    let who = AuthName::new(name.kind, "test");
    let credentials = Credentials::none(who).offers(offers).service_keys(keyring);
    builder
        .credentials(credentials)
        .authority(Authority::new(site))
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
    let builder = builder(EntityName::osd(0)).default_policy(Policy::stateless_server(0));
    start(change(builder), Recorder::new(true, fast), &localhost())
}

/// The same with v1 and without keys, whatever `MSGR` says: for peers that are scripts.
pub fn plain_server(fast: bool, change: impl FnOnce(Builder) -> Builder) -> Peer {
    let builder = Messenger::builder(EntityName::osd(0)).config(config());
    let builder = builder.default_policy(Policy::stateless_server(0));
    let v1 = "v1:127.0.0.1:0".parse().expect("an address");
    start(change(builder), Recorder::new(true, fast), &v1)
}

/// The client for it.
pub fn plain_client(fast: bool) -> Peer {
    let builder = Messenger::builder(EntityName::client(-1)).config(config());
    start(builder, Recorder::new(false, fast), &AddrVec::default())
}

/// client.-1 with [`Policy::lossy_client`].
pub fn client(fast: bool, change: impl FnOnce(Builder) -> Builder) -> Peer {
    let builder = builder(EntityName::client(-1));
    start(
        change(builder),
        Recorder::new(false, fast),
        &AddrVec::default(),
    )
}

fn start(builder: Builder, (recorder, inbox): (Arc<Recorder>, Inbox), at: &AddrVec) -> Peer {
    let messenger = builder.build().expect("a messenger");
    let addrs = if at.0.is_empty() {
        AddrVec::default()
    } else {
        messenger.bind(at).expect("a free port")
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
