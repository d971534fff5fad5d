//! How long it takes to wake a thread that waits: two threads that wake each other in turn, both on
//! one processor, and each on one of its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use async_messenger::DriverKind;
use async_messenger::event::{EventCenter, SystemEnv};
use event_driver::rival::Polling;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Plan;
use super::pin;
use super::pollers::runnable;
use super::posts::Count;
use super::table::Table;

/// A thread's end: what it waits by, and how others wake it.
struct End {
    wait: Box<dyn FnMut() + Send>,
    wake: Box<dyn Fn() + Send>,
}

impl End {
    fn new(wait: impl FnMut() + Send + 'static, wake: impl Fn() + Send + 'static) -> Self {
        Self {
            wait: Box::new(wait),
            wake: Box::new(wake),
        }
    }
}

struct Entrant {
    name: &'static str,
    make: Box<dyn Fn() -> End>,
}

/// All of them, the raw facility first; and who cannot take part, and why.
fn entrants() -> (Vec<Entrant>, Vec<String>) {
    let entrant = |name, make: fn() -> End| Entrant {
        name,
        make: Box::new(make),
    };
    let mut all = vec![
        entrant("raw epoll", epoll),
        entrant("raw eventfd", raw),
        entrant("mio", of_mio),
        entrant("polling", of_polling),
    ];
    let (runnable, missing) = runnable();
    for kind in runnable {
        all.push(Entrant {
            name: kind.name(),
            make: Box::new(move || of_driver(kind)),
        });
    }
    all.push(entrant("event center", of_center));
    (all, missing)
}

fn eventfd(flags: EfdFlags) -> Arc<OwnedFd> {
    let fd = EventFd::from_flags(flags | EfdFlags::EFD_CLOEXEC);
    Arc::new(fd.expect("a descriptor").into())
}

pub(super) fn ring(fd: &OwnedFd) {
    nix::unistd::write(fd, &1_u64.to_ne_bytes()).expect("room");
}

/// An eventfd in an epoll, edge-triggered: what all but `raw` do.
fn epoll() -> End {
    let fd = eventfd(EfdFlags::EFD_NONBLOCK);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("opens");
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(&fd, EpollEvent::new(flags, 0)).expect("adds");
    let mut events = vec![EpollEvent::empty(); 64];
    let wait = move || {
        epoll.wait(&mut events, EpollTimeout::NONE).expect("waits");
    };
    End::new(wait, move || ring(&fd))
}

/// A thread that reads an eventfd, and can wait for nothing else.
fn raw() -> End {
    let fd = eventfd(EfdFlags::empty());
    let ear = Arc::clone(&fd);
    let wait = move || {
        nix::unistd::read(&*ear, &mut [0; 8]).expect("rings");
    };
    End::new(wait, move || ring(&fd))
}

fn of_mio() -> End {
    let mut poll = mio::Poll::new().expect("opens");
    let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("opens");
    let mut events = mio::Events::with_capacity(64);
    let wait = move || poll.poll(&mut events, None).expect("waits");
    End::new(wait, move || waker.wake().expect("wakes"))
}

fn of_polling() -> End {
    let mut poller = Polling::new().expect("opens");
    let waker = poller.waker();
    let wait = move || poller.wait(None, &mut |_| {}).expect("waits");
    End::new(wait, move || waker.wake())
}

fn of_driver(kind: DriverKind) -> End {
    let mut driver = kind.open().expect("opens");
    let waker = driver.waker();
    let mut events = Vec::new();
    let wait = move || driver.wait(&mut events, None).expect("waits");
    End::new(wait, move || waker.wake())
}

/// What a worker of a messenger does: the wake is a post, and the wait delivers it.
fn of_center() -> End {
    let driver = DriverKind::default_for_target().open().expect("opens");
    let mut center = EventCenter::new(driver, Arc::new(SystemEnv));
    let handle = center.handle();
    let mut count = Count::default();
    let wait = move || {
        center.turn(None, &mut count).expect("turns");
    };
    End::new(wait, move || handle.submit(0).expect("open"))
}

/// Nanoseconds from one wake to the other thread's, on these processors. A wait may end for
/// nothing, and then goes on.
fn round(plan: &Plan, entrant: &Entrant, cpus: [usize; 2]) -> f64 {
    let (mut mine, mut other) = ((entrant.make)(), (entrant.make)());
    let wake_other = std::mem::replace(&mut other.wake, Box::new(|| {}));
    let wake_me = std::mem::replace(&mut mine.wake, Box::new(|| {}));
    let (here, there) = (&AtomicU32::new(0), &AtomicU32::new(0));
    let nanos = thread::scope(|scope| {
        // Both are returned: closed now, they would take the last wake away.
        let second = scope.spawn(move || {
            pin::to(cpus[1]);
            for turn in 1..=plan.turns {
                while there.load(Ordering::Acquire) < turn {
                    (other.wait)();
                }
                here.store(turn, Ordering::Release);
                wake_me();
            }
            (wake_me, other)
        });
        let first = scope.spawn(move || {
            pin::to(cpus[0]);
            let start = Instant::now();
            for turn in 1..=plan.turns {
                there.store(turn, Ordering::Release);
                wake_other();
                while here.load(Ordering::Acquire) < turn {
                    (mine.wait)();
                }
            }
            (start.elapsed(), wake_other, mine)
        });
        let (second, first) = (second.join(), first.join());
        drop(second.expect("no panic"));
        first.expect("no panic").0.as_nanos()
    });
    nanos as f64 / f64::from(2 * plan.turns)
}

/// One table.
pub(super) fn tables(plan: &Plan) -> Vec<Table> {
    let (entrants, mut skipped) = entrants();
    let cpus = pin::processors();
    if cpus.len() < 2 {
        skipped.push("two processors: there is only one".to_owned());
    }
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let both = |entrant| {
            let one = round(plan, entrant, [cpus[0]; 2]);
            let two = cpus.get(1).map(|&far| round(plan, entrant, [cpus[0], far]));
            vec![Some(one), two]
        };
        rounds.push(entrants.iter().map(both).collect());
    }
    let names: Vec<&str> = entrants.iter().map(|entrant| entrant.name).collect();
    let title = "ns from a wake to the end of the other thread's wait (x: ratio to an eventfd in a \
        raw epoll)";
    vec![Table {
        skipped,
        ..Table::new(title, &["one processor", "two processors"], &names, &rounds)
    }]
}
