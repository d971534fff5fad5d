//! Turns of a driver allocate nothing, once it has seen as much as there will be.
#![cfg(unix)]
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use event_driver::{DriverKind, Interest, Source, Token};

/// Counts each thread's allocations.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn none_in_steady_state() {
    for kind in DriverKind::compiled() {
        // The stand-in for kqueue allocates; the driver's own code is the same everywhere.
        if *kind == DriverKind::Kqueue && cfg!(feature = "kqueue-shim") {
            continue;
        }
        let mut driver = match kind.open() {
            // Not every kernel has it, and not every sandbox allows it.
            Err(e) if *kind == DriverKind::IoUring && e.kind() == ErrorKind::Unsupported => {
                println!("skipped: {kind}: {e}");
                continue;
            }
            opened => opened.unwrap(),
        };
        let waker = driver.waker();
        let pairs: Vec<_> = (0..64).map(|_| UnixStream::pair().unwrap()).collect();
        for (slot, (_, theirs)) in (0..).zip(&pairs) {
            let fd = Arc::new(OwnedFd::from(theirs.try_clone().unwrap()));
            let token = Token {
                slot,
                generation: 0,
            };
            driver.add(Source::Fd(fd), token, Interest::READ).unwrap();
        }
        let mut events = Vec::new();
        let mut before = 0;
        for turn in 0..1_000 {
            if turn == 10 {
                before = COUNT.get();
            }
            for (ours, _) in &pairs {
                (&mut &*ours).write_all(b"x").unwrap();
            }
            waker.wake();
            driver.wait(&mut events, Some(Duration::MAX)).unwrap();
            for event in &events {
                (&mut &pairs[event.token.slot as usize].1)
                    .read_exact(&mut [0])
                    .unwrap();
                driver.rearm(event.token, Interest::READ).unwrap();
            }
            driver
                .disarm(
                    Token {
                        slot: 0,
                        generation: 0,
                    },
                    Interest::READ,
                )
                .unwrap();
            driver
                .rearm(
                    Token {
                        slot: 0,
                        generation: 0,
                    },
                    Interest::BOTH,
                )
                .unwrap();
            driver
                .disarm(
                    Token {
                        slot: 0,
                        generation: 0,
                    },
                    Interest::WRITE,
                )
                .unwrap();
            driver.wait(&mut events, Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(COUNT.get() - before, 0, "allocations of {kind}");
    }
}
