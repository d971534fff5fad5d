//! The promises, for many sources, threads and waits.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use event_driver::{DriverKind, Interest};

use crate::support::{
    MOMENT, READ, Rig, SOON, drain, duplicate, lift_descriptor_limit, pair, pipe, token,
};

/// The backends take turns: one process may not have enough descriptors for all at once, nor the
/// machine enough cores.
static TURN: Mutex<()> = Mutex::new(());

/// More at once than any queue between the kernel and the driver takes: nobody is passed over, and
/// everybody is heard again.
pub fn all_at_once(kind: DriverKind) {
    const PIPES: usize = 16;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let total = 6_000.min(lift_descriptor_limit() - 2_000);
    let mut rig = Rig::new(kind);
    let mut pairs: Vec<_> = (0..PIPES).map(|_| pair()).collect();
    for slot in 0..total {
        let (_, _, watched) = &pairs[slot % PIPES];
        rig.add(
            &duplicate(watched),
            u32::try_from(slot).unwrap(),
            Interest::READ,
        );
    }
    for _ in 0..3 {
        for (ours, _, _) in &mut pairs {
            ours.write_all(b"x").unwrap();
        }
        let mut seen = HashSet::new();
        while seen.len() < total {
            let events = rig.wait(SOON);
            assert!(!events.is_empty(), "{} of {total} seen", seen.len());
            seen.extend(events.iter().map(|event| event.token.slot));
        }
        for (_, theirs, _) in &pairs {
            assert_eq!(drain(theirs), 1);
        }
        rig.settle();
        for slot in 0..total {
            rig.rearm(u32::try_from(slot).unwrap(), Interest::READ);
        }
    }
    // What is dropped with all of them in it lets go of their files, and does so before it returns.
    drop(rig);
    for (mut ours, theirs, watched) in pairs {
        drop((theirs, watched));
        assert_eq!(ours.read(&mut [0]).unwrap(), 0, "the end of the stream");
    }
}

/// Sources by the thousand: those that are ready are found, and only those.
pub fn ten_thousand_sources(kind: DriverKind) {
    const PIPES: usize = 100;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let room = lift_descriptor_limit() - 2_000;
    let per_pipe = 100.min(room / PIPES);
    let total = per_pipe * PIPES;
    if total < 10_000 {
        println!("ONLY {total} SOURCES: the hard limit of descriptors is too low for 10000");
    }
    let mut rig = Rig::new(kind);
    let mut pipes: Vec<_> = (0..PIPES).map(|_| pipe()).collect();
    for slot in 0..total {
        let (reader, _) = &pipes[slot % PIPES];
        rig.add(
            &duplicate(reader),
            u32::try_from(slot).unwrap(),
            Interest::READ,
        );
    }
    rig.quiet();
    for active in [0, PIPES / 2, PIPES - 1] {
        pipes[active].1.write_all(b"x").unwrap();
        let mut seen = HashSet::new();
        while seen.len() < per_pipe {
            let events = rig.wait(SOON);
            assert!(!events.is_empty(), "{} of {per_pipe} seen", seen.len());
            for event in events {
                assert_eq!(event.token.slot as usize % PIPES, active);
                assert_eq!(event.ready, READ);
                seen.insert(event.token);
            }
        }
    }
    for slot in 0..total {
        rig.driver
            .delete(token(u32::try_from(slot).unwrap()))
            .unwrap();
    }
    rig.quiet();
}

/// Eight threads post and wake, each only after its last post was seen: one lost wake of the
/// last thread would stop them all.
pub fn wakes_of_many_threads(kind: DriverKind) {
    const THREADS: usize = 8;
    const POSTS: usize = 500;
    let mut rig = Rig::new(kind);
    let waker = rig.driver.waker();
    let posted: [AtomicUsize; THREADS] = Default::default();
    let seen: [AtomicUsize; THREADS] = Default::default();
    let (mut waits, mut events, mut lost) = (0, 0, false);
    thread::scope(|scope| {
        let (posted, seen, waker) = (&posted, &seen, &waker);
        let threads: Vec<_> = (0..THREADS)
            .map(|i| {
                scope.spawn(move || {
                    for post in 1..=POSTS {
                        posted[i].store(post, Ordering::Release);
                        waker.wake();
                        while seen[i].load(Ordering::Acquire) < post {
                            thread::park();
                        }
                    }
                })
            })
            .collect();
        while seen.iter().any(|seen| seen.load(Ordering::Relaxed) < POSTS) {
            let start = Instant::now();
            events += rig.wait(SOON).len();
            lost = start.elapsed() >= SOON;
            waits += 1;
            for (i, thread) in threads.iter().enumerate() {
                // After a failure nobody is kept waiting.
                let post = if lost {
                    POSTS
                } else {
                    posted[i].load(Ordering::Acquire)
                };
                seen[i].store(post, Ordering::Release);
                thread.thread().unpark();
            }
        }
    });
    assert!(!lost, "a wake was lost after {waits} waits");
    assert_eq!(events, 0, "a wake is no event");
    println!("{kind}: {waits} waits for {} wakes", THREADS * POSTS);
    assert!(
        waits <= THREADS * POSTS + 1,
        "a wake ends one wait, not several"
    );
}

/// What becomes ready in the midst of a call is told by that call or the next one, and the call
/// ends: it does not wait for something more to happen.
pub fn ready_amid_a_call(kind: DriverKind) {
    const ROUNDS: usize = 10_000;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rig = Rig::new(kind);
    let (_ours, _theirs, quiet) = pair();
    rig.add(&quiet, 0, Interest::READ);
    let (mut ours, theirs, watched) = pair();
    rig.add(&watched, 1, Interest::READ);
    let seen = AtomicUsize::new(0);
    let stuck = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..=ROUNDS {
                ours.write_all(b"x").unwrap();
                let start = Instant::now();
                while seen.load(Ordering::Acquire) < round {
                    thread::yield_now();
                    if start.elapsed() > SOON {
                        // Something more, so that the test comes to an end.
                        ours.write_all(b"x").unwrap();
                        return Some(round);
                    }
                }
            }
            None
        });
        while !writer.is_finished() {
            // The call has something to change, too.
            rig.driver.disarm(token(0), Interest::READ).unwrap();
            rig.rearm(0, Interest::READ);
            if rig.wait(Duration::ZERO).is_empty() {
                continue;
            }
            let bytes = drain(&theirs);
            rig.rearm(1, Interest::READ);
            seen.fetch_add(bytes, Ordering::Release);
        }
        writer.join().unwrap()
    });
    assert_eq!(stuck, None, "the call after this write did not end");
}

/// Waits without end leave nothing behind, and the driver works as on the first day.
pub fn a_million_timeouts(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let (mut ours, _theirs, watched) = pair();
    rig.add(&watched, 0, Interest::READ);
    for _ in 0..1_000_000 {
        assert!(rig.wait(Duration::ZERO).is_empty());
    }
    for _ in 0..200 {
        assert!(rig.wait(Duration::from_nanos(1)).is_empty());
    }
    // Waiting until a time takes one wait, not several that come back too early.
    let mut waits = 0;
    let end = Instant::now() + MOMENT;
    while let Some(rest) = end
        .checked_duration_since(Instant::now())
        .filter(|d| !d.is_zero())
    {
        assert!(rig.wait(rest).is_empty());
        waits += 1;
    }
    assert_eq!(waits, 1);
    ours.write_all(b"x").unwrap();
    assert_eq!(rig.one(0), READ);
}
