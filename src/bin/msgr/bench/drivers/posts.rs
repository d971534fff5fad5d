//! What it costs to post to a thread that is awake: no call of the system in an event center.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use async_messenger::event::{EventCenter, Handler, SystemEnv, TimerId};
use async_messenger::{DriverKind, Readiness, Token};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Plan;
use super::pin::pinned;
use super::table::Table;
use super::wakes::ring;

/// Posts between two turns of the owner: as many as there are in practice, if there are many.
const PORTION: u32 = 1_000;

/// Counts what it is told.
#[derive(Default)]
pub(super) struct Count(u64);

impl Handler<u64> for Count {
    fn file_event(&mut self, _: &mut EventCenter<u64>, _: Token, _: u64, _: Readiness) {}
    fn time_event(&mut self, _: &mut EventCenter<u64>, _: TimerId, _: u64) {}
    fn external_event(&mut self, _: &mut EventCenter<u64>, event: u64) {
        self.0 += event;
    }
}

/// Times portions of posts, without what empties the queue after each.
fn portions(plan: &Plan, mut post: impl FnMut(u64), mut take: impl FnMut()) -> f64 {
    let (mut time, mut posts) = (Duration::ZERO, 0);
    while posts == 0 || time < plan.budget {
        let start = Instant::now();
        for i in 0..PORTION {
            post(u64::from(i));
        }
        time += start.elapsed();
        posts += PORTION;
        take();
    }
    time.as_nanos() as f64 / f64::from(posts)
}

fn to_center(plan: &Plan) -> f64 {
    let driver = DriverKind::default_for_target().open().expect("opens");
    let mut center = EventCenter::new(driver, Arc::new(SystemEnv));
    let handle = center.handle();
    let mut count = Count::default();
    portions(
        plan,
        |i| handle.submit(i).expect("open"),
        || {
            let turned = center.turn(Some(Duration::ZERO), &mut count);
            turned.expect("turns");
        },
    )
}

fn to_channel(plan: &Plan) -> f64 {
    let (sender, receiver) = mpsc::channel();
    portions(
        plan,
        |i| sender.send(i).expect("open"),
        || receiver.try_iter().for_each(drop),
    )
}

fn to_mio(plan: &Plan) -> f64 {
    let mut poll = mio::Poll::new().expect("opens");
    let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("opens");
    let mut events = mio::Events::with_capacity(64);
    let (sender, receiver) = mpsc::channel();
    portions(
        plan,
        |i| {
            sender.send(i).expect("open");
            waker.wake().expect("wakes");
        },
        || {
            let polled = poll.poll(&mut events, Some(Duration::ZERO));
            polled.expect("waits");
            receiver.try_iter().for_each(drop);
        },
    )
}

fn to_eventfd(plan: &Plan) -> f64 {
    let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
    let fd = fd.expect("a descriptor").into();
    portions(
        plan,
        |_| ring(&fd),
        || {
            nix::unistd::read(&fd, &mut [0; 8]).expect("was written");
        },
    )
}

/// A name, and what is measured.
type Entrant = (&'static str, fn(&Plan) -> f64);

/// One table.
pub(super) fn tables(plan: &Plan) -> Vec<Table> {
    const ENTRANTS: [Entrant; 4] = [
        ("raw eventfd", to_eventfd),
        ("mpsc + mio", to_mio),
        ("mpsc alone", to_channel),
        ("event center", to_center),
    ];
    let round = || {
        ENTRANTS
            .map(|(_, measure)| vec![Some(measure(plan))])
            .to_vec()
    };
    let rounds: Vec<_> = pinned(|| (0..plan.rounds).map(|_| round()).collect());
    let title = "ns per post to a thread that is awake, from one thread (x: ratio to a write of a \
        raw eventfd)";
    let names = ENTRANTS.map(|(name, _)| name);
    vec![Table::new(title, &["post"], &names, &rounds)]
}
