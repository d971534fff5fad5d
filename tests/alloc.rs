//! What a message of a running exchange costs: heap allocations, copies of its payload and system
//! calls, counted.

#[path = "common/counted.rs"]
mod counted;
#[path = "common/peers.rs"]
mod peers;

use std::alloc::System;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use async_messenger::event::SystemEnv;
use async_messenger::message::Message;
use async_messenger::net::TcpStack;
use async_messenger::wire::{EntityName, EntityType, MsgHead};
use async_messenger::{Config, Connection, Dispatcher, DriverKind, Messenger, Policy, Workers};
use bytes::Bytes;
use counted::{Counted, Meter};
use peers::{DEADLINE, config, driver};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGE_BYTES: usize = 4096;
const WARM_UP: u64 = 5_000;
const MEASURED: u64 = 20_000;

/// System calls of one side for a request and its answer, when so many are on their way.
const CALLS_MAX: f64 = 0.1;
const DEEP: u64 = 128;

/// Answers every request with an empty message, and counts those whose payload is not where the
/// transport has put it.
struct Answer {
    meter: Arc<Meter>,
    moved: Arc<AtomicU64>,
}

impl Dispatcher for Answer {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, request: Message) {
        assert_eq!(request.data().len(), MESSAGE_BYTES);
        if !self.meter.has_landed(&request.data().chunks()[0]) {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        connection
            .send(Message::new(43).with_tid(request.tid()))
            .expect("room");
    }
}

/// Sends the next request for every answer, up to a number, and tells when that many came.
struct Ask {
    payload: Bytes,
    depth: u64,
    limit: AtomicU64,
    answered: AtomicU64,
    done: Mutex<Sender<()>>,
}

impl Ask {
    fn request(&self) -> Message {
        Message::new(42).with_data(self.payload.clone())
    }

    fn begin(&self, connection: &Connection, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        self.answered.store(0, Ordering::Relaxed);
        for _ in 0..self.depth {
            connection.send(self.request()).expect("room");
        }
    }
}

impl Dispatcher for Ask {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, _: Message) {
        let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = self.limit.load(Ordering::Relaxed);
        if answered + self.depth <= limit {
            connection.send(self.request()).expect("room");
        } else if answered == limit {
            self.done
                .lock()
                .expect("not poisoned")
                .send(())
                .expect("waited for");
        }
    }
}

/// Both sides on one worker, so that how much is done in a turn does not depend on the scheduler.
struct Exchange {
    meter: Arc<Meter>,
    moved: Arc<AtomicU64>,
    ask: Arc<Ask>,
    connection: Connection,
    finished: Receiver<()>,
    /// Dropped last.
    _messengers: [Messenger; 2],
}

impl Exchange {
    fn new(version: &str, [server, client]: [Policy; 2], depth: u64) -> Self {
        let config = Config {
            workers: 1,
            ..config()
        };
        let stack = Counted::new(TcpStack::new(config.driver).strict(true));
        let meter = Arc::clone(&stack.meter);
        let workers = Workers::start_on(&config, Arc::new(stack), Arc::new(SystemEnv));
        let workers = workers.expect("a thread");
        let messenger = |name, policy| {
            let builder = Messenger::builder(name).config(config.clone());
            let builder = builder.workers(&workers).default_policy(policy);
            builder.build().expect("made")
        };
        let server = messenger(EntityName::osd(0), server);
        let at = format!("{version}:127.0.0.1:0");
        let addrs = server.bind(&at.parse().expect("an address"));
        let addrs = addrs.expect("a free port");
        let moved = Arc::default();
        let answer = Answer {
            meter: Arc::clone(&meter),
            moved: Arc::clone(&moved),
        };
        server
            .add_dispatcher_tail(Arc::new(answer))
            .expect("not started");
        server.start().expect("starts");

        let (done, finished) = channel();
        let ask = Arc::new(Ask {
            payload: Bytes::from(vec![7; MESSAGE_BYTES]),
            depth,
            limit: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            done: Mutex::new(done),
        });
        meter.watch(&ask.payload);
        let client = messenger(EntityName::client(-1), client);
        client
            .add_dispatcher_tail(Arc::<Ask>::clone(&ask))
            .expect("not started");
        client.start().expect("starts");
        let connection = client
            .connect(EntityType::OSD, &addrs)
            .expect("a connection");
        Self {
            meter,
            moved,
            ask,
            connection,
            finished,
            _messengers: [client, server],
        }
    }

    fn run(&self, count: u64) {
        self.ask.begin(&self.connection, count);
        let done = self.finished.recv_timeout(DEADLINE);
        done.expect("all answered");
    }
}

fn check(name: &str, exchange: &Exchange) {
    exchange.run(WARM_UP);
    let meter = &exchange.meter;
    let referenced = meter.by_reference.load(Ordering::Relaxed);
    let moved = exchange.moved.load(Ordering::Relaxed);
    let calls = meter.calls();
    let region = Region::new(ALLOCATOR);
    exchange.run(MEASURED);
    let change = region.change();
    let calls = (meter.calls() - calls) as f64 / (2 * MEASURED) as f64;
    let moved = exchange.moved.load(Ordering::Relaxed) - moved;
    let referenced = meter.by_reference.load(Ordering::Relaxed) - referenced;

    // A chunk of the receive buffer costs its memory and the count of its users; the test itself
    // and the queues, whose size follows the traffic, a few.
    let chunks = MEASURED * (MESSAGE_BYTES as u64 + 100) / config().receive_buffer as u64;
    let allowed = 2 * (chunks + 1) + 64;
    let allocations = (change.allocations + change.reallocations) as u64;
    println!(
        "{name}: {allocations} allocations, {moved} payloads moved, {calls:.3} system calls a side \
         for a request and its answer, of {MEASURED} ({change:?})"
    );
    assert!(
        allocations <= allowed,
        "{name}: {allocations} allocations, {allowed} are explained"
    );
    assert_eq!(
        referenced,
        MEASURED * MESSAGE_BYTES as u64,
        "{name}: every payload goes out from where the user has it"
    );
    // Where a chunk ends, what has come of a message moves on to the next one.
    assert!(
        moved <= 2 * (chunks + 1),
        "{name}: {moved} payloads were moved, in {chunks} chunks"
    );
    if exchange.ask.depth == DEEP {
        assert!(calls <= CALLS_MAX, "{name}: {calls} calls");
    }
}

#[test]
fn a_message_costs_no_allocation_no_copy_and_few_system_calls() {
    if cfg!(target_os = "linux") && driver() == DriverKind::Kqueue {
        eprintln!("skipped: kqueue's stand-in on Linux allocates by itself");
        return;
    }
    let lossy = [Policy::stateless_server(0), Policy::lossy_client(0)];
    let lossless = [Policy::stateful_server(0), Policy::lossless_client(0)];
    for version in ["v1", "v2"] {
        for (kept, policies) in [("lossy", &lossy), ("lossless", &lossless)] {
            for depth in [32, DEEP] {
                let name = format!("{version} {kept}, {depth} on their way");
                check(&name, &Exchange::new(version, policies.clone(), depth));
            }
        }
    }
}
