//! What connections leave behind, and what an idle one costs.

#[path = "common/peers.rs"]
mod peers;

use std::alloc::System;
use std::sync::Arc;

use async_messenger::message::Message;
use async_messenger::throttle::Throttle;
use async_messenger::wire::{EntityName, EntityType, MsgHead};
use async_messenger::{
    Config, Connection, ConnectionEvent, Dispatcher, Messenger, Policy, Workers,
};
use peers::{DEADLINE, Msgr, builder, config, eventually, localhost, msgr};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What queues and tables may keep for the next connections.
const HEAP_SLACK: usize = 256 << 10;
/// What the two dispatch queues may keep besides: 1024 places of 280 bytes each, which are used up
/// only in many cycles, when their threads do not keep up.
const DISPATCH_SLACK: usize = 2 * 1024 * 280;
/// What each thread that sends keeps to encrypt in: the worker, and the test's own, which may come
/// to it only after the first cycles.
const SEAL_SLACK: usize = 2 * (256 << 10);

fn heap() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Descriptors of this process; none where the system does not tell.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count())
}

/// Answers, and keeps nothing.
struct Answer;

impl Dispatcher for Answer {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        // The peer may be gone already.
        let _ = connection.send(Message::new(43).with_tid(message.tid()));
    }
}

/// Tells of each answer, and of sessions that were lost with what was sent on them; with the number
/// of the connection.
struct Tell(Mutex<Sender<(u64, bool)>>);

impl Tell {
    fn tell(&self, connection: &Connection, answered: bool) {
        let tell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = tell.send((connection.id(), answered));
    }
}

impl Dispatcher for Tell {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, _: Message) {
        self.tell(connection, true);
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        if matches!(event, ConnectionEvent::RemoteReset { .. }) {
            self.tell(connection, false);
        }
    }
}

fn messenger(workers: &Arc<Workers>, name: EntityName, policy: Policy) -> Messenger {
    let builder = builder(name).config(config()).workers(workers);
    let builder = builder.default_policy(policy).cluster_protocol(10);
    builder.build().expect("made")
}

/// Connects, exchanges a message and closes, again and again.
fn check_cycles(name: &str, server: Policy, client: Policy, cycles: usize) {
    let config = Config {
        workers: 1,
        ..config()
    };
    let workers = Workers::start(&config).expect("start");
    let bytes = Throttle::new("bytes", 1 << 20);
    let messages = Throttle::new("messages", 1000);
    let throttles = (Some(Arc::clone(&bytes)), Some(Arc::clone(&messages)));
    let server = server.with_throttles(throttles.0, throttles.1);
    let server = messenger(&workers, EntityName::osd(0), server);
    let addrs = server.bind(&localhost()).expect("a free port");
    server
        .add_dispatcher_tail(Arc::new(Answer))
        .expect("not started");
    server.start().expect("starts");
    let client = messenger(&workers, EntityName::osd(1), client);
    client.bind(&localhost()).expect("a free port");
    let (tell, told) = channel();
    client
        .add_dispatcher_tail(Arc::new(Tell(Mutex::new(tell))))
        .expect("not started");
    client.start().expect("starts");
    // A peer that lost its link just before it was marked down has connected already, and then that
    // session is used, and lost with what was sent on it: then once more.
    let exchange = |connection: &Connection| {
        let start = Instant::now();
        let _ = connection.send(Message::new(42).with_data(vec![1; 100]));
        loop {
            match told.recv_timeout(Duration::from_millis(50)) {
                Ok((id, answered)) if id == connection.id() => return answered,
                Err(_) if connection.is_closed() => return false,
                _ => {}
            }
            let (queued, unacked) = (connection.queued(), connection.unacked());
            assert!(
                start.elapsed() < DEADLINE,
                "{name}: no answer; connected {}, {queued} queued, {unacked} unacknowledged, \
                 server {:?}, client {:?}",
                connection.is_connected(),
                server.stats(),
                client.stats()
            );
        }
    };
    let cycle = || loop {
        let connection = client
            .connect(EntityType::OSD, &addrs)
            .expect("a connection");
        let answered = exchange(&connection);
        connection.mark_down();
        // A stateful server keeps the session of a client that may come back; this one does not.
        server.mark_down_all();
        if answered {
            break;
        }
    };
    let settled = || {
        eventually("all connections are gone", || {
            server.stats().connections == 0
        });
    };
    (0..100).for_each(|_| cycle());
    settled();
    let (heap_before, descriptors_before) = (heap(), descriptors());
    (0..cycles).for_each(|_| cycle());
    settled();
    eventually("all descriptors are given back", || {
        descriptors() <= descriptors_before
    });
    for messenger in [&server, &client] {
        eventually("everything is dispatched", || {
            let stats = messenger.stats();
            stats.dispatch_bytes == 0 && stats.dispatch_messages == 0 && stats.dispatch_queue == 0
        });
        let stats = messenger.stats();
        assert_eq!(stats.panics, 0, "{name}");
    }
    let throttles = [bytes.current(), messages.current()];
    assert_eq!(
        (throttles, bytes.waiting(), messages.waiting()),
        ([0, 0], 0, 0),
        "{name}"
    );
    // What was marked down last may still be on its way to its worker.
    let grown = || heap().saturating_sub(heap_before);
    let begun = Instant::now();
    let mut slack = HEAP_SLACK;
    if cycles > 1000 {
        slack += DISPATCH_SLACK;
    }
    if msgr() == Msgr::V2Secure {
        slack += SEAL_SLACK;
    }
    while grown() >= slack {
        let late = begun.elapsed() > DEADLINE;
        assert!(!late, "{name}: the heap has grown by {} bytes", grown());
        std::thread::yield_now();
    }
    println!(
        "{name}: {} bytes of heap more after {cycles} cycles",
        grown()
    );
}

fn check_all_policies(cycles: usize) {
    type Preset = fn(u64) -> Policy;
    let pairs: [(&str, Preset, Preset); 5] = [
        (
            "stateless_server",
            Policy::stateless_server,
            Policy::lossy_client,
        ),
        (
            "stateless_registered_server",
            Policy::stateless_registered_server,
            Policy::lossy_client,
        ),
        (
            "stateful_server",
            Policy::stateful_server,
            Policy::lossless_client,
        ),
        (
            "lossless_peer",
            Policy::lossless_peer,
            Policy::lossless_peer,
        ),
        (
            "lossless_peer_reuse",
            Policy::lossless_peer_reuse,
            Policy::lossless_peer_reuse,
        ),
    ];
    for (name, server, client) in pairs {
        check_cycles(name, server(0), client(0), cycles);
    }
}

#[test]
fn connections_of_every_policy_leave_nothing_behind() {
    check_all_policies(300);
    idle_connections_are_small();
}

#[test]
#[ignore = "the full number of cycles, half a minute"]
fn ten_thousand_connections_of_every_policy_leave_nothing_behind() {
    check_all_policies(10_000);
}

/// Not a test of its own: the heap is counted for the whole process.
fn idle_connections_are_small() {
    const CONNECTIONS: usize = 500;
    const GOAL: usize = 4 << 10;
    let workers = Workers::start(&config()).expect("start");
    let server = messenger(&workers, EntityName::osd(0), Policy::stateless_server(0));
    let addrs = server.bind(&localhost()).expect("a free port");
    server
        .add_dispatcher_tail(Arc::new(Answer))
        .expect("not started");
    server.start().expect("starts");
    let client = messenger(&workers, EntityName::osd(1), Policy::lossy_client(0));
    let (tell, told) = channel();
    client
        .add_dispatcher_tail(Arc::new(Tell(Mutex::new(tell))))
        .expect("not started");
    client.start().expect("starts");
    let open = |count: usize| {
        let connect = || client.connect_anonymous(EntityType::OSD, &addrs);
        let connections: Vec<_> = (0..count)
            .map(|_| connect().expect("a connection"))
            .collect();
        for connection in &connections {
            connection.send(Message::new(42)).expect("room");
            told.recv_timeout(DEADLINE).expect("answered");
        }
        connections
    };
    let warm = open(100);
    let before = heap();
    let idle = open(CONNECTIONS);
    // Both ends of each are in this process.
    let each = heap().saturating_sub(before) / (2 * CONNECTIONS);
    println!("an idle connection takes {each} bytes of heap");
    // Keys and what is known of who has shown one come on top.
    let plain = matches!(msgr(), Msgr::V1 | Msgr::V2);
    assert!(each <= GOAL || !plain, "{each} bytes, the goal is {GOAL}");
    drop((warm, idle));
}
