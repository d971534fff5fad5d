//! Heap allocations of a running exchange, counted.

#[path = "common/peers.rs"]
mod peers;

use std::alloc::System;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use async_messenger::message::Message;
use async_messenger::wire::{EntityName, EntityType, MsgHead};
use async_messenger::{Connection, Dispatcher, DriverKind, Messenger, Policy};
use bytes::Bytes;
use peers::{DEADLINE, config, driver, localhost};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGE_BYTES: usize = 4096;
const DEPTH: u64 = 32;
const WARM_UP: u64 = 5_000;
const MEASURED: u64 = 20_000;

/// Answers every request with an empty message.
struct Answer;

impl Dispatcher for Answer {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, request: Message) {
        assert_eq!(request.data().len(), MESSAGE_BYTES);
        connection
            .send(Message::new(43).with_tid(request.tid()))
            .expect("room");
    }
}

/// Sends the next request for every answer, up to a number, and tells when that many came.
struct Ask {
    payload: Bytes,
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
        for _ in 0..DEPTH {
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
        if answered + DEPTH <= limit {
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

#[test]
fn a_received_message_costs_no_allocation() {
    if cfg!(target_os = "linux") && driver() == DriverKind::Kqueue {
        eprintln!("skipped: kqueue's stand-in on Linux allocates by itself");
        return;
    }
    let config = config();
    let chunk = config.receive_buffer as u64;
    let server = Messenger::builder(EntityName::osd(0))
        .config(config.clone())
        .default_policy(Policy::stateless_server(0))
        .build()
        .expect("made");
    let addrs = server.bind(&localhost()).expect("a free port");
    server
        .add_dispatcher_tail(Arc::new(Answer))
        .expect("not started");
    server.start().expect("starts");

    let (done, finished) = channel();
    let ask = Arc::new(Ask {
        payload: Bytes::from(vec![7; MESSAGE_BYTES]),
        limit: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        done: Mutex::new(done),
    });
    let client = Messenger::builder(EntityName::client(-1))
        .config(config)
        .build()
        .expect("made");
    client
        .add_dispatcher_tail(Arc::<Ask>::clone(&ask))
        .expect("not started");
    client.start().expect("starts");
    let connection = client
        .connect(EntityType::OSD, &addrs)
        .expect("a connection");

    ask.begin(&connection, WARM_UP);
    finished.recv_timeout(DEADLINE).expect("warm");

    let region = Region::new(ALLOCATOR);
    ask.begin(&connection, MEASURED);
    finished.recv_timeout(DEADLINE).expect("all answered");
    let change = region.change();

    let chunks = MEASURED * (MESSAGE_BYTES as u64 + 75) / chunk;
    // A chunk costs its memory and the count of its users; the test itself and the queues, whose
    // size follows the traffic, a few.
    let allowed = 2 * (chunks + 1) + 64;
    let allocations = (change.allocations + change.reallocations) as u64;
    println!("{allocations} allocations for {MEASURED} messages and their answers ({change:?})");
    assert!(
        allocations <= allowed,
        "{allocations} allocations, {allowed} are explained"
    );
}
