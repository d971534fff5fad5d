//! The lines of the contract that only Unix can break: files, pipes, signals, fork, numbers of
//! descriptors that are used again.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use event_driver::{DriverKind, Interest, Token};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork as nix_fork};

use crate::support::{MOMENT, READ, Rig, SOON, WRITE, duplicate_at, fill, pair, shared, token};

/// A pipe without a reader, and without room: some facilities call it an error, and all ready.
pub fn err_both_of_pipes(kind: DriverKind) {
    let (reader, writer) = std::io::pipe().unwrap();
    let watched = shared(writer.try_clone().unwrap());
    fill(&writer);
    let mut rig = Rig::new(kind);
    rig.add(&watched, 0, Interest::WRITE);
    rig.quiet();
    drop(reader);
    rig.until(0, WRITE);
    rig.settle();
}

/// `bad_source`: some facilities refuse regular files.
pub fn files(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let file = shared(File::open(std::env::current_exe().unwrap()).unwrap());
    match rig.try_add(&file, token(0), Interest::READ) {
        // Some facilities have regular files: always ready.
        Ok(()) => {
            assert_eq!(rig.one(0), READ);
            rig.driver.delete(token(0)).unwrap();
        }
        Err(e) => println!("{kind} refuses files: {e}"),
    }
    // Slot and descriptor are as free as before.
    let (_ours, _theirs, watched) = pair();
    rig.add(&watched, 0, Interest::WRITE);
    assert_eq!(rig.one(0), WRITE);
}

/// A descriptor's number is used again at once: what was pending is not the new tenant's.
pub fn stale_tokens(kind: DriverKind) {
    // A range of numbers that no other test uses.
    let number = 700
        + 50 * DriverKind::compiled()
            .iter()
            .position(|k| *k == kind)
            .unwrap();
    let number = i32::try_from(number).unwrap();
    let mut rig = Rig::new(kind);
    let (mut old, old_end, _) = pair();
    let (mut new, new_end, _) = pair();
    for generation in [1, 3, 5] {
        let tenant = Token {
            slot: 0,
            generation,
        };
        let watched = duplicate_at(&old_end, number);
        assert_eq!(watched.as_raw_fd(), number);
        rig.try_add(&watched, tenant, Interest::READ).unwrap();
        drop(watched);
        old.write_all(b"x").unwrap();
        rig.driver.delete(tenant).unwrap();

        let successor = Token {
            slot: 0,
            generation: generation + 1,
        };
        let watched = duplicate_at(&new_end, number);
        assert_eq!(watched.as_raw_fd(), number);
        rig.try_add(&watched, successor, Interest::READ).unwrap();
        if generation == 1 {
            rig.quiet();
        }
        new.write_all(b"x").unwrap();
        let events = rig.wait(SOON);
        assert_eq!(
            (events.len(), events[0].token, events[0].ready),
            (1, successor, READ)
        );
        rig.driver.delete(successor).unwrap();
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
    // What names a thread is a number on some systems and a pointer on others.
    let target = pthread_self() as usize;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Over and over, as one that comes before the wait interrupts nothing.
            while !done.load(Ordering::Relaxed) {
                pthread_kill(target as Pthread, Signal::SIGUSR1).unwrap();
                thread::yield_now();
            }
        });
        let mut events = Vec::new();
        // One that is not told of signals waits its time.
        let limit = if kind == DriverKind::Portable {
            MOMENT
        } else {
            SOON
        };
        let waits: Vec<_> = (0..20)
            .map(|_| {
                let start = Instant::now();
                let result = rig.driver.wait(&mut events, Some(limit));
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

pub fn fork(kind: DriverKind) {
    let mut rig = Rig::alone(kind);
    let (mut ours, _theirs, watched) = pair();
    let (_other, _other_end, second) = pair();
    rig.add(&watched, 0, Interest::READ);
    let waker = rig.driver.waker();
    // SAFETY: the child calls the driver, which may allocate (allowed by the C libraries that
    // have this test's systems), and leaves by `_exit`.
    match unsafe { nix_fork() }.unwrap() {
        ForkResult::Child => {
            waker.wake();
            let results = [
                rig.try_add(&second, token(1), Interest::READ),
                rig.driver.rearm(token(0), Interest::BOTH),
                rig.driver.disarm(token(0), Interest::READ),
                rig.driver.delete(token(0)),
                rig.driver.wait(&mut Vec::new(), Some(MOMENT)),
            ];
            let refused = |e: &std::io::Error| e.kind() == std::io::ErrorKind::Unsupported;
            let good = results
                .iter()
                .all(|result| result.as_ref().is_err_and(refused));
            drop(rig);
            // One of its own is as good as any.
            let own = kind
                .open()
                .and_then(|mut own| own.wait(&mut Vec::new(), Some(MOMENT)));
            // SAFETY: ends the process.
            unsafe { nix::libc::_exit(i32::from(!(good && own.is_ok()))) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            // Neither the child's wake nor the end of its copy has reached this driver.
            let start = Instant::now();
            rig.quiet();
            assert!(start.elapsed() >= MOMENT);
            ours.write_all(b"x").unwrap();
            assert_eq!(rig.one(0), READ);
        }
    }
}
