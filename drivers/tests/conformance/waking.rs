//! The lines of the contract that are about time and wake-ups.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use event_driver::{DriverKind, Interest};

use crate::support::{MOMENT, Probe, READ, Rig, SOON, WRITE, drain, pair, token};

pub fn round_up(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    for micros in [0, 1, 10, 500, 999, 1_000, 1_001, 1_999, 20_500] {
        for timeout in [
            Duration::from_micros(micros),
            Duration::from_nanos(micros * 1_000 + 1),
        ] {
            let start = Instant::now();
            assert!(rig.wait(timeout).is_empty());
            // One wait, without a return before its time.
            let waited = start.elapsed();
            assert!(waited >= timeout, "{timeout:?} asked, {waited:?} waited");
        }
    }
}

pub fn saturate(kind: DriverKind) {
    let years = Duration::from_secs(1 << 40);
    for timeout in [Duration::MAX, years, Duration::from_secs(1 << 31)] {
        let mut rig = Rig::new(kind);
        let waker = rig.driver.waker();
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(move || {
                // Another driver is the clock.
                let mut clock = kind.open().unwrap();
                clock.wait(&mut Vec::new(), Some(MOMENT)).unwrap();
                waker.wake();
            });
            assert!(rig.wait(timeout).is_empty());
        });
        assert!(start.elapsed() >= MOMENT, "{timeout:?} did not wait");
    }
}

/// Opened by one thread, used by another, and by a third when the second is gone.
pub fn moved(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let (ours, theirs, watched) = pair();
    let (mut other, _other_end, idle) = pair();
    let waker = rig.driver.waker();
    rig.add(&watched, 0, Interest::READ);
    rig.add(&idle, 1, Interest::WRITE);
    rig.until(1, WRITE);
    rig.driver.disarm(token(1), Interest::BOTH).unwrap();
    other.write_all(b"not to be told").unwrap();
    for _ in 0..3 {
        let probe = &mut *rig;
        let (mut ours, theirs, waker) = (&ours, &theirs, &waker);
        thread::scope(|scope| {
            scope.spawn(move || {
                // What the thread before has left.
                probe.settle();
                drain(theirs);
                probe.rearm(0, Interest::READ);
                ours.write_all(b"x").unwrap();
                // Systems may drop what a thread that is gone has asked for, and say so.
                assert!(probe.one(0).contains(READ));
                assert_eq!(drain(theirs), 1);
                probe.rearm(0, Interest::READ);
                probe.quiet();
                waker.wake();
                ended_early(probe);
                // For the next thread to find.
                waker.wake();
            });
        });
        ended_early(&mut rig);
        ours.write_all(b"y").unwrap();
    }
    // Here, too.
    let seen = rig.until(0, READ);
    assert!(seen == READ || cfg!(windows), "{seen:?}");
    rig.driver.delete(token(0)).unwrap();
    rig.driver.delete(token(1)).unwrap();
    rig.settle();
}

pub fn wake(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let waker = rig.driver.waker();
    // Before a wait; by any handle.
    for handle in [waker.clone(), rig.driver.waker()] {
        handle.wake();
        ended_early(&mut rig);
    }
    // From another thread, in the midst of a wait or before.
    for _ in 0..100 {
        thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            ended_early(&mut rig);
        });
    }
    // Among events it is no event, and is not lost by them.
    let (_ours, _theirs, watched) = pair();
    rig.add(&watched, 0, Interest::WRITE);
    waker.wake();
    assert_eq!(rig.one(0), WRITE);
    // It outlives its driver.
    drop(rig);
    waker.wake();
}

pub fn coalesce(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let waker = rig.driver.waker();
    for _ in 0..3 {
        for _ in 0..70_000 {
            waker.wake();
        }
        ended_early(&mut rig);
        let start = Instant::now();
        rig.quiet();
        assert!(start.elapsed() >= MOMENT, "the wakes ended a second wait");
    }
}

fn ended_early(rig: &mut Probe) {
    let start = Instant::now();
    assert!(rig.wait(SOON).is_empty(), "a wake is no event");
    assert!(start.elapsed() < SOON, "the wake was lost");
}
