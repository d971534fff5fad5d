//! What goes wrong outside of the protocol: no server, no descriptors, handlers that panic or do
//! not keep up, and ends of all sorts.

// A shell bounds what a process may open.
#[cfg(unix)]
mod descriptors;
mod ends;
mod panics;
mod refusals;
mod shutdowns;
mod throttles;

#[path = "../common/bed.rs"]
mod bed;
#[path = "../common/peers.rs"]
mod peers;
#[path = "../common/scripted.rs"]
mod scripted;

use std::sync::{Arc, Mutex, OnceLock, Weak};

use async_messenger::message::Message;
use async_messenger::wire::{AddrVec, EntityName, EntityType, MsgHead};
use async_messenger::{
    Builder, Connection, ConnectionEvent, Dispatcher, Error, Handled, Messenger, Policy, Ready,
};
use peers::{Inbox, Seen, config, eventually, localhost};

type Act = dyn Fn(&Messenger, &Connection, Message) -> Option<Message> + Send + Sync;

/// A dispatcher that does what a test wants done with a message, and passes on what is left of it
/// and all else.
pub(crate) struct Actor {
    fast: bool,
    act: Box<Act>,
    on_ready: fn(Ready),
    messenger: OnceLock<Weak<Messenger>>,
    seen: Mutex<std::sync::mpsc::Sender<Seen>>,
}

impl Actor {
    fn take(&self, connection: &Connection, message: Message) {
        // It is being dropped when a test fails.
        let Some(messenger) = self.messenger.get().and_then(Weak::upgrade) else {
            return;
        };
        if let Some(left) = (self.act)(&messenger, connection, message) {
            self.tell(Seen::Message(connection.clone(), left));
        }
    }

    fn tell(&self, seen: Seen) {
        // The receiver may be gone at the end of a test.
        let _ = self.seen.lock().expect("not poisoned").send(seen);
    }
}

impl Dispatcher for Actor {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        self.fast
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        self.take(connection, message);
    }

    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        self.take(connection, message);
        Handled::Yes
    }

    fn fast_event(&self, _: &Connection, event: Ready) {
        (self.on_ready)(event);
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        self.tell(Seen::Event(connection.clone(), event.clone()));
    }

    fn accept_failed(&self, error: &Error) {
        self.tell(Seen::AcceptFailed(error.clone()));
    }
}

/// A started messenger whose handlers do as they are told.
pub(crate) struct Stage {
    pub(crate) messenger: Arc<Messenger>,
    pub(crate) inbox: Inbox,
    pub(crate) addrs: AddrVec,
}

/// How a [`Stage`] is set up.
pub(crate) struct Setting {
    pub(crate) builder: Builder,
    pub(crate) server: bool,
    pub(crate) fast: bool,
    pub(crate) on_ready: fn(Ready),
}

impl Setting {
    /// osd.0, bound to loopback.
    pub(crate) fn server(fast: bool) -> Self {
        let builder = Messenger::builder(EntityName::osd(0))
            .config(config())
            .default_policy(Policy::stateless_server(0));
        Self {
            builder,
            server: true,
            fast,
            on_ready: |_| {},
        }
    }

    /// client.-1.
    pub(crate) fn client() -> Self {
        let builder = Messenger::builder(EntityName::client(-1)).config(config());
        Self {
            builder,
            server: false,
            fast: true,
            on_ready: |_| {},
        }
    }

    pub(crate) fn change(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.builder = change(self.builder);
        self
    }

    pub(crate) fn start(
        self,
        act: impl Fn(&Messenger, &Connection, Message) -> Option<Message> + Send + Sync + 'static,
    ) -> Stage {
        let (tx, rx) = std::sync::mpsc::channel();
        let messenger = Arc::new(self.builder.build().expect("a messenger"));
        let actor = Actor {
            fast: self.fast,
            act: Box::new(act),
            on_ready: self.on_ready,
            messenger: OnceLock::from(Arc::downgrade(&messenger)),
            seen: Mutex::new(tx),
        };
        let mut addrs = AddrVec::default();
        if self.server {
            addrs = messenger.bind(&localhost()).expect("a free port");
        }
        messenger
            .add_dispatcher_tail(Arc::new(actor))
            .expect("not started");
        messenger.start().expect("starts");
        Stage {
            messenger,
            inbox: Inbox(rx),
            addrs,
        }
    }
}

/// Sends a message back; the connection may have ended meanwhile.
pub(crate) fn echo(connection: &Connection, message: &Message) {
    let _ = connection.send(peers::reply_to(message));
}

/// The handler of whoever only looks.
pub(crate) fn keep(_: &Messenger, _: &Connection, message: Message) -> Option<Message> {
    Some(message)
}

impl Stage {
    pub(crate) fn connect(&self, to: &Self) -> Connection {
        self.messenger
            .connect(EntityType::OSD, &to.addrs)
            .expect("started")
    }

    /// The connection works: a message comes back.
    pub(crate) fn check_echo(&self, connection: &Connection, tid: u64) {
        let message = Message::new(1).with_tid(tid).with_front(&b"ping"[..]);
        connection.send(message).expect("room");
        let reply = self.inbox.find("echo", |seen| match seen {
            Seen::Message(from, message) if from == *connection => Some(message),
            _ => None,
        });
        assert_eq!((reply.tid(), reply.front().len()), (tid, 4));
    }

    /// Accepted connections that exist. What the dispatcher has kept does not count.
    pub(crate) fn connections(&self) -> usize {
        self.inbox.0.try_iter().for_each(drop);
        self.messenger.stats().connections
    }

    pub(crate) fn end(self) {
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
        eventually("all connections end", || self.connections() == 0);
        let stats = self.messenger.stats();
        assert_eq!(
            (stats.dispatch_bytes, stats.dispatch_messages),
            (0, 0),
            "{stats:?}"
        );
    }
}
