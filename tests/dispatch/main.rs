//! The dispatch queue and its handlers: priorities, turns, what the end of a connection drops, and
//! handlers that are slow or panic. On the driver that `EVENT_DRIVER` names.

mod ends;
mod handlers;
mod order;
mod slow;

#[path = "../common/peers.rs"]
mod peers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Once};

use async_messenger::event::{Env, SystemEnv};
use async_messenger::message::Message;
use async_messenger::net::TcpStack;
use async_messenger::wire::{AddrVec, EntityName, EntityType, MsgHead};
use async_messenger::{
    Builder, Config, Connection, ConnectionEvent, Dispatcher, ErrorKind, Handled, Messenger,
    Policy, Ready, Workers,
};
use peers::{DEADLINE, builder, config, driver, eventually, localhost};

/// Holds the dispatch thread up, so that what follows meets in the queue.
const PLUG: u16 = 1;
/// Dispatched on the worker.
const FAST: u16 = 2;
/// Dispatched on the dispatch thread.
const NORMAL: u16 = 3;
/// Makes the handler panic.
const POISON: u16 = 4;
/// As `NORMAL` and `FAST`; a second passes for the thread of the handler.
const SLOW: u16 = 5;
const SLOW_FAST: u16 = 6;
/// Makes `fast_preprocess` panic.
const POISON_EARLY: u16 = 7;

const ON_PURPOSE: &str = "on purpose";

/// What a handler was called with.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Call {
    /// Connection, tid.
    Pre(u64, u64),
    Fast(u64, u64),
    /// Connection, priority, tid.
    Normal(u64, u16, u64),
    Accepted(u64),
    Reset(u64, ErrorKind),
    RemoteReset(u64),
}

/// Writes all down, and holds the dispatch thread up when it gets a plug.
struct Scribe {
    calls: Mutex<Vec<Call>>,
    accepted: Mutex<Sender<Connection>>,
    plugged: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
}

impl Scribe {
    fn note(&self, call: Call) {
        self.calls.lock().expect("not poisoned").push(call);
    }

    fn wait_for_go(&self) {
        let _ = self.plugged.lock().expect("not poisoned").send(());
        // An error is the end of the test.
        let _ = self.go.lock().expect("not poisoned").recv_timeout(DEADLINE);
    }
}

impl Dispatcher for Scribe {
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        matches!(head.kind, FAST | SLOW_FAST)
    }

    fn fast_preprocess(&self, connection: &Connection, message: &Message) {
        assert!(message.kind() != POISON_EARLY, "{ON_PURPOSE}");
        self.note(Call::Pre(connection.id(), message.tid()));
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        self.note(Call::Fast(connection.id(), message.tid()));
        if message.kind() == SLOW_FAST {
            slow::second_passes();
        }
    }

    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        let priority = message.head().priority;
        match message.kind() {
            PLUG => self.wait_for_go(),
            SLOW => slow::second_passes(),
            kind => assert!(kind != POISON, "{ON_PURPOSE}"),
        }
        if message.kind() != PLUG {
            self.note(Call::Normal(connection.id(), priority, message.tid()));
        }
        Handled::Yes
    }

    fn fast_event(&self, connection: &Connection, event: Ready) {
        if event == Ready::Accepted {
            // The receiver may be gone at the end of a test.
            let _ = self
                .accepted
                .lock()
                .expect("not poisoned")
                .send(connection.clone());
        }
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        let id = connection.id();
        self.note(match event {
            ConnectionEvent::Reset { error, .. } => Call::Reset(id, error.kind()),
            ConnectionEvent::RemoteReset { .. } => Call::RemoteReset(id),
            ConnectionEvent::Ready(_) => Call::Accepted(id),
            other => panic!("{other:?}"),
        });
    }
}

/// A server with a scribe.
struct Server {
    messenger: Messenger,
    addrs: AddrVec,
    scribe: Arc<Scribe>,
    accepted: Receiver<Connection>,
    plugged: Receiver<()>,
    go: Sender<()>,
}

fn server_with(
    env: Arc<dyn Env>,
    config: Config,
    change: impl FnOnce(Builder) -> Builder,
) -> Server {
    quietly();
    let (accepted_tx, accepted) = channel();
    let (plugged_tx, plugged) = channel();
    let (go, go_rx) = channel();
    let scribe = Arc::new(Scribe {
        calls: Mutex::default(),
        accepted: Mutex::new(accepted_tx),
        plugged: Mutex::new(plugged_tx),
        go: Mutex::new(go_rx),
    });
    let stack = Arc::new(TcpStack::new(driver()));
    let workers = Workers::start_on(&config, stack, env).expect("workers");
    let builder = builder(EntityName::osd(0))
        .config(config)
        .workers(&workers)
        .default_policy(Policy::stateless_server(0));
    let messenger = change(builder).build().expect("made");
    let addrs = messenger.bind(&localhost()).expect("a free port");
    messenger
        .add_dispatcher_tail(Arc::<Scribe>::clone(&scribe))
        .expect("not started");
    messenger.start().expect("starts");
    Server {
        messenger,
        addrs,
        scribe,
        accepted,
        plugged,
        go,
    }
}

fn server() -> Server {
    server_with(Arc::new(SystemEnv), config(), |b| b)
}

impl Server {
    fn queue_has(&self, items: usize) {
        eventually("they are queued", || {
            self.messenger.stats().dispatch_queue == items
        });
    }

    /// The next connection that was let in.
    fn accepted(&self) -> Connection {
        self.accepted.recv_timeout(DEADLINE).expect("accepted")
    }

    fn plug(&self, client: &Client) {
        client.send(Message::new(PLUG));
        self.plugged.recv_timeout(DEADLINE).expect("the plug came");
        // What was there is history.
        self.calls();
    }

    fn unplug(&self) {
        self.go.send(()).expect("the handler waits");
    }

    /// The calls since the last time.
    fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.scribe.calls.lock().expect("not poisoned"))
    }

    /// The calls on the dispatch thread, once this number is there.
    fn dispatched(&self, number: usize) -> Vec<Call> {
        let mut calls = Vec::new();
        let pre = |call: &Call| matches!(call, Call::Pre(..));
        eventually("all are dispatched", || {
            calls.extend(self.calls().into_iter().filter(|call| !pre(call)));
            calls.len() >= number
        });
        assert_eq!(calls.len(), number, "{calls:?}");
        calls
    }

    /// Nothing waits, and nobody holds a share.
    fn at_rest(&self) {
        eventually("all shares come back", || {
            let stats = self.messenger.stats();
            let held = (stats.dispatch_bytes, stats.dispatch_messages);
            (held, stats.dispatch_queue) == ((0, 0), 0)
        });
    }

    fn end(self) {
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
    }
}

/// A client with one connection to a server.
struct Client {
    messenger: Messenger,
    connection: Connection,
    tid: AtomicU64,
}

fn client_with(server: &Server, change: impl FnOnce(Builder) -> Builder) -> Client {
    let builder = builder(EntityName::client(-1)).config(config());
    let messenger = change(builder).build().expect("made");
    messenger.start().expect("starts");
    let connection = messenger
        .connect(EntityType::OSD, &server.addrs)
        .expect("a connection");
    Client {
        messenger,
        connection,
        tid: AtomicU64::new(1),
    }
}

fn client(server: &Server) -> Client {
    client_with(server, |b| b)
}

impl Client {
    /// Sends a message with the next tid. All of them are sent with one priority, or the send
    /// queue would sort them.
    fn send(&self, message: Message) {
        let tid = self.tid.fetch_add(1, Ordering::SeqCst);
        self.connection.send(message.with_tid(tid)).expect("room");
    }

    fn send_normal(&self, count: usize, data: usize) {
        for _ in 0..count {
            self.send(Message::new(NORMAL).with_data(vec![7; data]));
        }
    }

    fn end(self) {
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
    }
}

/// Keeps panics that are expected out of the test's output.
fn quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>();
            if text.is_none_or(|text| text != ON_PURPOSE) {
                before(info);
            }
        }));
    });
}
