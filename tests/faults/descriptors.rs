//! A listener in a process that has no descriptor left.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_messenger::message::Message;
use async_messenger::wire::EntityName;
use async_messenger::{Messenger, Policy};

use crate::bed::{cpu_time_over, in_child};
use crate::peers::{DEADLINE, Recorder, config, eventually, localhost};
use crate::scripted::*;
use crate::{Setting, keep};

const DESCRIPTORS: u32 = 160;
const WAITING: u64 = 40;
/// Over a second; a listener that spins uses all of it.
const CPU_MAX: Duration = Duration::from_millis(200);

/// Every descriptor that there is.
fn exhaust() -> Vec<File> {
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
        assert!(taken.len() <= DESCRIPTORS as usize, "there is a limit");
    }
    taken
}

/// A listener that begins to accept when no descriptor is free; with `greedy` another thread takes
/// even the one that it keeps in reserve.
fn check_exhaustion(greedy: bool) {
    let server = Messenger::builder(EntityName::osd(0))
        .config(config())
        .default_policy(Policy::stateless_server(0))
        .build()
        .expect("a messenger");
    let addrs = server.bind(&localhost()).expect("a free port");
    let (recorder, inbox) = Recorder::new(true, true);
    server
        .add_dispatcher_tail(Arc::<Recorder>::clone(&recorder))
        .expect("not started");
    let mut wires: Vec<Wire> = (0..WAITING).map(|_| Wire::connect(&addrs)).collect();
    let mut taken = exhaust();
    let done = AtomicBool::new(!greedy);
    std::thread::scope(|scope| {
        let thief = scope.spawn(|| {
            let deadline = Instant::now() + DEADLINE;
            while !done.load(Ordering::SeqCst) && Instant::now() < deadline {
                if let Ok(file) = File::open("/dev/null") {
                    return Some(file);
                }
            }
            None
        });
        server.start().expect("needs no descriptor");
        eventually("all are refused, or none can be", || {
            server.stats().refused == WAITING || (greedy && thief.is_finished())
        });
        done.store(true, Ordering::SeqCst);
        taken.extend(thief.join().expect("does not panic"));
    });
    let used = cpu_time_over(Duration::from_secs(1));
    assert!(
        used < CPU_MAX,
        "{used:?} of processor time in a second without descriptors"
    );
    taken.clear();
    let refused = server.stats().refused;
    assert!(greedy || refused == WAITING);
    let served = wires.iter_mut().filter_map(Wire::greeted).count() as u64;
    assert_eq!(served, WAITING - refused, "who was not refused is served");
    println!("{refused} refused, {served} served");
    drop(wires);
    let mut wire = open_client(&addrs, 1);
    wire.send(&Frame::new(1).bytes());
    wire.take_message();
    drop(wire);
    server.shutdown();
    server.wait().expect("ends in time");
    drop((inbox, recorder));
    eventually("all connections end", || server.stats().connections == 0);
    assert_eq!(server.stats().panics, 0);
}

#[test]
fn a_listener_without_descriptors_refuses_and_recovers() {
    if in_child(
        "descriptors::a_listener_without_descriptors_refuses_and_recovers",
        DESCRIPTORS,
    ) {
        check_exhaustion(false);
    }
}

#[test]
fn a_listener_without_even_its_reserve_waits_and_recovers() {
    if in_child(
        "descriptors::a_listener_without_even_its_reserve_waits_and_recovers",
        DESCRIPTORS,
    ) {
        check_exhaustion(true);
    }
}

#[test]
fn who_connects_without_descriptors_is_told_and_tries_again() {
    if !in_child(
        "descriptors::who_connects_without_descriptors_is_told_and_tries_again",
        DESCRIPTORS,
    ) {
        return;
    }
    let server = Setting::server(true).start(|_, connection, message| {
        crate::echo(connection, &message);
        None
    });
    let client = Setting::client().start(keep);
    let taken = exhaust();
    let connection = client.connect(&server);
    connection.send(Message::new(1).with_tid(9)).expect("room");
    let error = client.inbox.refusal();
    assert!(error.to_string().contains("Too many open files"), "{error}");
    let used = cpu_time_over(Duration::from_secs(1));
    assert!(
        used < CPU_MAX,
        "{used:?} of processor time in a second without descriptors"
    );
    drop(taken);
    assert_eq!(client.inbox.message().1.tid(), 9);
    [client, server].into_iter().for_each(crate::Stage::end);
}
