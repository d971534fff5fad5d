//! How long it takes to wake a thread that waits: two threads that wake each other in turn.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::pollers::runnable;
use crate::{ROUNDS, median};

/// Turns of one round.
const TURNS: u32 = 10_000;

/// A thread's end: what it waits by, and how others wake it.
type End = (Box<dyn FnMut() + Send>, Box<dyn Fn() + Send>);

type Entrant = (String, Box<dyn Fn() -> End>);

fn entrants() -> Vec<Entrant> {
    let mut all: Vec<Entrant> = vec![
        ("raw eventfd".into(), Box::new(raw)),
        ("raw epoll".into(), Box::new(epoll)),
        ("mio".into(), Box::new(of_mio)),
        ("polling".into(), Box::new(of_polling)),
    ];
    for kind in runnable() {
        let end = move || -> End {
            let mut driver = kind.open().expect("opens");
            let waker = driver.waker();
            let mut events = Vec::new();
            let wait = move || driver.wait(&mut events, None).expect("waits");
            (Box::new(wait), Box::new(move || waker.wake()))
        };
        all.push((kind.to_string(), Box::new(end)));
    }
    all
}

fn eventfd(flags: EfdFlags) -> Arc<OwnedFd> {
    let fd = EventFd::from_flags(flags | EfdFlags::EFD_CLOEXEC);
    Arc::new(fd.expect("a descriptor").into())
}

fn ring(fd: Arc<OwnedFd>) -> Box<dyn Fn() + Send> {
    Box::new(move || {
        nix::unistd::write(&*fd, &1_u64.to_ne_bytes()).expect("room");
    })
}

/// A thread that reads an eventfd, and can wait for nothing else.
fn raw() -> End {
    let fd = eventfd(EfdFlags::empty());
    let ear = Arc::clone(&fd);
    let wait = move || {
        nix::unistd::read(&*ear, &mut [0; 8]).expect("rings");
    };
    (Box::new(wait), ring(fd))
}

/// What all but this bench do: an eventfd in an epoll, edge-triggered.
fn epoll() -> End {
    let fd = eventfd(EfdFlags::EFD_NONBLOCK);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("opens");
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(&fd, EpollEvent::new(flags, 0)).expect("adds");
    let mut events = vec![EpollEvent::empty(); 64];
    let wait = move || {
        epoll.wait(&mut events, EpollTimeout::NONE).expect("waits");
    };
    (Box::new(wait), ring(fd))
}

fn of_mio() -> End {
    let mut poll = mio::Poll::new().expect("opens");
    let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("opens");
    let mut events = mio::Events::with_capacity(64);
    let wait = move || poll.poll(&mut events, None).expect("waits");
    (
        Box::new(wait),
        Box::new(move || waker.wake().expect("wakes")),
    )
}

fn of_polling() -> End {
    let poller = Arc::new(polling::Poller::new().expect("opens"));
    let waker = Arc::clone(&poller);
    let mut events = polling::Events::new();
    let wait = move || {
        events.clear();
        poller.wait(&mut events, None).expect("waits");
    };
    (
        Box::new(wait),
        Box::new(move || waker.notify().expect("wakes")),
    )
}

/// Nanoseconds from one wake to the other thread's. A wait may end for nothing, and then goes on.
fn round(make: &dyn Fn() -> End) -> f64 {
    let ((mut wait, wake), (mut wait_there, wake_there)) = (make(), make());
    let (here, there) = (&AtomicU32::new(0), &AtomicU32::new(0));
    let time = thread::scope(|scope| {
        let there_too = scope.spawn(move || {
            for turn in 1..=TURNS {
                while there.load(Ordering::Acquire) < turn {
                    wait_there();
                }
                here.store(turn, Ordering::Release);
                wake();
            }
            // Closed now, it would take its last wake away.
            (wake, wait_there)
        });
        let start = Instant::now();
        for turn in 1..=TURNS {
            there.store(turn, Ordering::Release);
            wake_there();
            while here.load(Ordering::Acquire) < turn {
                wait();
            }
        }
        let time = start.elapsed();
        drop(there_too.join());
        time
    });
    time.as_nanos() as f64 / f64::from(2 * TURNS)
}

/// Prints the table.
pub(crate) fn report() {
    println!("\nns from a wake to the end of the other thread's wait; median of {ROUNDS} rounds");
    let entrants = entrants();
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(entrants.iter().map(|(_, make)| round(make)).collect());
    }
    for (i, (name, _)) in entrants.iter().enumerate() {
        let mut own: Vec<f64> = rounds.iter().map(|round| round[i]).collect();
        let mut ratios: Vec<f64> = rounds.iter().map(|round| round[i] / round[0]).collect();
        println!(
            "{name:>15} {:>9.0} x{:.2}",
            median(&mut own),
            median(&mut ratios)
        );
    }
}
