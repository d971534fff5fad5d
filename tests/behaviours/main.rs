//! What the messenger suite of Ceph checks (session §16.1), number by number, on the driver that
//! `EVENT_DRIVER` names. Where the original is about version 2 of the protocol, the test says what
//! version 1 does instead. Ports are the system's choice, and waits end with what they wait for.
//!
//! Behaviour 15 (the required authentication is switched) is not here: this library has nothing to
//! switch yet. Behaviour 17, the stress family, is a test of its own.

#[path = "../common/peers.rs"]
mod peers;

mod auth;
mod chances;
mod lost_replies;
mod mark_down;
mod policies;
mod races;
mod simple;
mod steps;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_messenger::message::{Message, Payload};
use async_messenger::messages::MPing;
use async_messenger::wire::{AddrVec, EntityName, EntityType, MsgHead};
use async_messenger::{
    Builder, Config, Connection, ConnectionEvent, Dispatcher, Handled, Messenger, Policy, Ready,
};
use peers::{builder, config, eventually, localhost};
use steps::Steps;

/// The dispatcher of the suite: counts messages by connection, and answers if it is a server's.
#[derive(Default)]
struct Suite {
    answers: bool,
    state: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Messages by connection; an entry goes with a reset.
    sessions: BTreeMap<u64, usize>,
    messages: usize,
    sources: Vec<EntityName>,
    connects: usize,
    resets: usize,
    /// Attempts that failed.
    refusals: usize,
    remote_resets: usize,
    accepted: Vec<Connection>,
}

impl Suite {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, connection: &Connection, message: &Message) {
        let mut seen = self.seen();
        *seen.sessions.entry(connection.id()).or_default() += 1;
        seen.messages += 1;
        seen.sources.push(message.src());
        drop(seen);
        if self.answers && !connection.is_loopback() {
            // The connection may have ended meanwhile.
            let _ = connection.send(ping());
        }
    }
}

impl Dispatcher for Suite {
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        head.kind == MPing::KIND
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        self.take(connection, &message);
    }

    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        self.take(connection, &message);
        Handled::Yes
    }

    fn fast_event(&self, connection: &Connection, event: Ready) {
        let mut seen = self.seen();
        seen.sessions.entry(connection.id()).or_default();
        if event == Ready::Accepted {
            seen.accepted.push(connection.clone());
        }
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        let mut seen = self.seen();
        match event {
            ConnectionEvent::Ready(Ready::Connected) => seen.connects += 1,
            ConnectionEvent::Reset { .. } => {
                seen.sessions.remove(&connection.id());
                seen.resets += 1;
            }
            ConnectionEvent::Refused(_) => seen.refusals += 1,
            ConnectionEvent::RemoteReset { .. } => {
                seen.sessions.remove(&connection.id());
                seen.remote_resets += 1;
            }
            _ => {}
        }
    }
}

fn ping() -> Message {
    Message::new(MPing::KIND)
}

/// A messenger of the suite.
struct Node {
    messenger: Messenger,
    suite: Arc<Suite>,
    steps: Arc<Steps>,
    addrs: AddrVec,
}

/// Enough workers that those which are held up at a step hold nobody else up; and no message is
/// sent by the test's thread, past a worker that is held up.
fn suite_config() -> Config {
    Config {
        workers: 6,
        inline_send: false,
        max_backoff: Duration::from_secs(1),
        ..config()
    }
}

/// osd.0, bound, which answers if asked to.
fn server(answers: bool, policy: Policy) -> Node {
    node(EntityName::osd(0), (answers, true), |builder| {
        builder.policy(EntityType::CLIENT, policy)
    })
}

/// client.-1, not bound.
fn client(policy: Policy) -> Node {
    node(EntityName::client(-1), (false, false), |builder| {
        builder.policy(EntityType::OSD, policy)
    })
}

/// client.-1, bound: a peer of a server that connects too. Its nonce is above that of the server,
/// so that its address is, and in a race the connection that the server opens survives.
fn bound_client(policy: Policy) -> Node {
    node(EntityName::client(-1), (false, true), |builder| {
        builder.nonce(2).policy(EntityType::OSD, policy)
    })
}

fn node(
    name: EntityName,
    (answers, bind): (bool, bool),
    change: impl FnOnce(Builder) -> Builder,
) -> Node {
    let at = bind.then(localhost);
    node_at(name, answers, at.as_ref(), change)
}

fn node_at(
    name: EntityName,
    answers: bool,
    at: Option<&AddrVec>,
    change: impl FnOnce(Builder) -> Builder,
) -> Node {
    let default = match name.kind {
        EntityType::OSD => Policy::stateless_server(0),
        _ => Policy::lossy_client(0),
    };
    let steps = Steps::new();
    let builder = builder(name)
        .config(suite_config())
        .nonce(1)
        .require_authorizer(false)
        .default_policy(default)
        .interceptor(Arc::<Steps>::clone(&steps));
    let messenger = change(builder).build().expect("a messenger");
    let addrs = match at {
        Some(at) => messenger.bind(at).expect("a free port"),
        None => AddrVec::default(),
    };
    let suite = Arc::new(Suite {
        answers,
        ..Suite::default()
    });
    messenger
        .add_dispatcher_tail(Arc::<Suite>::clone(&suite))
        .expect("not started");
    messenger.start().expect("starts");
    Node {
        messenger,
        suite,
        steps,
        addrs,
    }
}

impl Node {
    fn connect(&self, to: &Self) -> Connection {
        let kind = to.messenger.name().kind;
        self.messenger.connect(kind, &to.addrs).expect("connects")
    }

    /// Messages that came on a connection.
    fn count(&self, connection: &Connection) -> usize {
        let seen = self.suite.seen();
        seen.sessions.get(&connection.id()).copied().unwrap_or(0)
    }

    fn messages(&self) -> usize {
        self.suite.seen().messages
    }

    /// Failed attempts to connect: in version 1 each of a lossy connection ends it.
    fn refusals(&self) -> usize {
        let seen = self.suite.seen();
        seen.refusals + seen.resets
    }

    /// The connection that was accepted last.
    fn accepted(&self) -> Connection {
        let seen = self.suite.seen();
        seen.accepted.last().cloned().expect("one was accepted")
    }

    /// Sends a ping and waits for the answer.
    fn round_trip(&self, connection: &Connection) {
        let before = self.messages();
        send(connection);
        eventually("an answer", || self.messages() > before);
    }

    fn end(self) {
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
        assert_eq!(self.messenger.stats().dispatch_queue, 0);
        self.suite.seen().accepted.clear();
    }
}

fn send(connection: &Connection) {
    connection.send(ping()).expect("room");
}
