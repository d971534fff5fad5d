//! Sessions of v2 that outlive their links, frame by frame: a messenger of ours against a script
//! that plays its peer, as the connecting side (`acceptor` is what the subject is then) and as the
//! accepting one (`connector`). All on the driver that `EVENT_DRIVER` names.
//!
//! Rows 2 of msgr2 §12.1 and 3 of §12.2 are not here: a take-over of v2 ends in the step of the
//! worker in which it begins, so nobody meets one. `tests/v2_races` has them.

mod acceptor;
mod connector;
mod crowd;
mod faults;
mod malformed;
mod open;
#[path = "../common/peers.rs"]
mod peers;
mod script;

use async_messenger::message::Message;
use async_messenger::wire::{AddrVec, EntityName, EntityType};
use async_messenger::{Builder, Config, Connection, ConnectionEvent, Error, Messenger, Policy};

use peers::{Inbox, Recorder, Seen, config};
use script::{Home, Line};

/// osd.0.
struct Subject {
    messenger: Messenger,
    inbox: Inbox,
    addrs: AddrVec,
}

impl Subject {
    /// With an address that sorts before those of [`Home`]s with larger nonces below 256.
    fn new(policy: Policy) -> Self {
        Self::with(policy, 1, config())
    }

    fn with(policy: Policy, nonce: u32, config: Config) -> Self {
        Self::built(false, |b| {
            b.default_policy(policy).nonce(nonce).config(config)
        })
    }

    /// One that echoes, or not.
    fn built(echo: bool, change: impl FnOnce(Builder) -> Builder) -> Self {
        let builder = Messenger::builder(EntityName::osd(script::SUBJECT)).config(config());
        let messenger = change(builder).build().expect("a messenger");
        let any_port = "v2:127.0.0.1:0".parse().expect("an address");
        let addrs = messenger.bind(&any_port).expect("a free port");
        let (recorder, inbox) = Recorder::new(echo, true);
        messenger
            .add_dispatcher_tail(recorder)
            .expect("not started");
        messenger.start().expect("starts");
        Self {
            messenger,
            inbox,
            addrs,
        }
    }

    fn connect(&self, home: &Home) -> Connection {
        self.messenger
            .connect(EntityType::OSD, &home.addr().into())
            .expect("a connection")
    }

    /// How many messages its owner was told to be lost.
    fn remote_reset(&self) -> usize {
        self.inbox.find("remote reset", |seen| match seen {
            Seen::Event(_, ConnectionEvent::RemoteReset { unsent }) => Some(unsent),
            _ => None,
        })
    }

    /// Why an attempt failed.
    fn refused(&self) -> Error {
        self.inbox.find("refusal", |seen| match seen {
            Seen::Event(_, ConnectionEvent::Refused(error)) => Some(error),
            _ => None,
        })
    }

    /// Ends it; nobody was told of a reset since the last look.
    fn end(self) {
        let is_reset = |seen: &Seen| {
            matches!(
                seen,
                Seen::Event(
                    _,
                    ConnectionEvent::RemoteReset { .. } | ConnectionEvent::Reset { .. }
                )
            )
        };
        let seen: Vec<Seen> = self.inbox.0.try_iter().filter(is_reset).collect();
        assert!(seen.is_empty(), "{seen:?}");
        assert_eq!(self.messenger.stats().panics, 0);
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
    }
}

/// A message with this number as its transaction and its front.
fn numbered(tid: u64) -> Message {
    Message::new(42)
        .with_tid(tid)
        .with_front(tid.to_le_bytes().to_vec())
}

fn send(connection: &Connection, tid: u64) {
    connection.send(numbered(tid)).expect("room");
}

/// The policies under which sessions are kept, and whether this side may connect.
fn lossless() -> [(Policy, bool); 3] {
    [
        (Policy::lossless_peer(0), true),
        (Policy::lossless_peer_reuse(0), true),
        (Policy::stateful_server(0), false),
    ]
}

/// Breaks the link, and returns when the subject has noticed: with its own attempt to connect, if
/// it makes one, which has got as far as its banner. By then it has counted up.
fn broken(line: Line, connection: &Connection, home: &Home, connects: bool) -> Option<Line> {
    drop(line);
    if !connects {
        peers::eventually("it notices", || !connection.is_connected());
        return None;
    }
    let mut own = home.accept();
    own.take_banner();
    Some(own)
}
