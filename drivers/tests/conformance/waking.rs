//! The lines of the contract that are about time and wake-ups.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use event_driver::DriverKind;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::support::{MOMENT, Rig, SOON};

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

pub fn eintr(kind: DriverKind) {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing, and no other one is installed for the signal.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let mut rig = Rig::new(kind);
    let target = pthread_self();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Over and over, as one that comes before the wait interrupts nothing.
            while !done.load(Ordering::Relaxed) {
                pthread_kill(target, Signal::SIGUSR1).unwrap();
                thread::yield_now();
            }
        });
        let mut events = Vec::new();
        let waits: Vec<_> = (0..20)
            .map(|_| {
                let start = Instant::now();
                let result = rig.driver.wait(&mut events, Some(SOON));
                (result, events.len(), start.elapsed())
            })
            .collect();
        // First, as a panic would wait for the other thread.
        done.store(true, Ordering::Relaxed);
        for (result, events, waited) in waits {
            result.unwrap();
            assert_eq!(events, 0);
            assert!(waited < SOON, "not interrupted");
        }
    });
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
    let (_ours, _theirs, watched) = crate::support::pair();
    rig.add(&watched, 0, event_driver::Interest::WRITE);
    waker.wake();
    assert_eq!(rig.one(0), crate::support::WRITE);
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

fn ended_early(rig: &mut Rig) {
    let start = Instant::now();
    assert!(rig.wait(SOON).is_empty(), "a wake is no event");
    assert!(start.elapsed() < SOON, "the wake was lost");
}
