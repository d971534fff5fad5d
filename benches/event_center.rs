//! What the event center costs: timers with 100,000 pending, and posts from another thread.
//!
//! Prints the median and the spread of repeated rounds; run by `cargo bench --bench event_center`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_messenger::event::{EventCenter, Handler, SystemEnv, TimerId};
use async_messenger::{DriverKind, Readiness, Token};

const PENDING: u64 = 100_000;
const OPERATIONS: u64 = 1_000_000;
const ROUNDS: usize = 9;

struct Count(u64);

impl Handler<u64> for Count {
    fn file_event(&mut self, _: &mut EventCenter<u64>, _: Token, _: u64, _: Readiness) {}
    fn time_event(&mut self, _: &mut EventCenter<u64>, _: TimerId, _: u64) {
        self.0 += 1;
    }
    fn external_event(&mut self, _: &mut EventCenter<u64>, _: u64) {
        self.0 += 1;
    }
}

/// Runs `round` a few times; it returns how many operations it did in which time.
fn report(what: &str, mut round: impl FnMut() -> (u64, Duration)) {
    let mut nanos: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (operations, time) = round();
            time.as_nanos() as f64 / operations as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    let (low, median, high) = (nanos[0], nanos[ROUNDS / 2], nanos[ROUNDS - 1]);
    println!("{what:<48} {median:>8.1} ns  ({low:.1} to {high:.1})");
}

fn center() -> EventCenter<u64> {
    let driver = DriverKind::default_for_target().open().expect("opens");
    EventCenter::new(driver, Arc::new(SystemEnv))
}

/// Deadlines without order, an hour away so that none fires.
fn deadline(center: &EventCenter<u64>, i: u64) -> Instant {
    let spread = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 34;
    center.now() + Duration::from_secs(3600) + Duration::from_nanos(spread)
}

fn cancel_and_insert() -> (u64, Duration) {
    let mut center = center();
    let mut ids: Vec<TimerId> = (0..PENDING)
        .map(|i| center.set_timer(deadline(&center, i), i))
        .collect();
    let start = Instant::now();
    for i in 0..OPERATIONS {
        let at = (i.wrapping_mul(48_271) % PENDING) as usize;
        assert!(center.cancel_timer(ids[at]));
        ids[at] = center.set_timer(deadline(&center, PENDING + i), i);
    }
    let time = start.elapsed();
    assert_eq!(center.timers(), PENDING as usize);
    (OPERATIONS, time)
}

fn insert() -> (u64, Duration) {
    let mut center = center();
    let start = Instant::now();
    for i in 0..PENDING {
        black_box(center.set_timer(deadline(&center, i), i));
    }
    (PENDING, start.elapsed())
}

fn expire() -> (u64, Duration) {
    let mut center = center();
    for i in 0..PENDING {
        center.set_timer(center.now() + Duration::from_nanos(i * 7919 % PENDING), i);
    }
    let mut count = Count(0);
    let start = Instant::now();
    while count.0 < PENDING {
        center.turn(None, &mut count).expect("turns");
    }
    (PENDING, start.elapsed())
}

fn post_to_a_busy_owner() -> (u64, Duration) {
    let mut center = center();
    let handle = center.handle();
    let mut count = Count(0);
    let mut time = Duration::ZERO;
    // In portions, so that the queue stays as short as it is in practice.
    for _ in 0..OPERATIONS / 1000 {
        let start = Instant::now();
        for i in 0..1000 {
            handle.submit(i).expect("open");
        }
        time += start.elapsed();
        center
            .turn(Some(Duration::ZERO), &mut count)
            .expect("turns");
    }
    (OPERATIONS, time)
}

fn wake_a_sleeping_owner() -> (u64, Duration) {
    const WAKES: u64 = 20_000;
    let (mut ping, mut pong) = (center(), center());
    let (to_ping, to_pong) = (ping.handle(), pong.handle());
    let other = std::thread::spawn(move || {
        let mut count = Count(0);
        while count.0 < WAKES {
            let before = count.0;
            pong.turn(None, &mut count).expect("turns");
            (before..count.0).for_each(|i| to_ping.submit(i).expect("open"));
        }
    });
    let mut count = Count(0);
    let start = Instant::now();
    for i in 0..WAKES {
        to_pong.submit(i).expect("open");
        while count.0 <= i {
            ping.turn(None, &mut count).expect("turns");
        }
    }
    let time = start.elapsed();
    other.join().expect("no panic");
    (2 * WAKES, time)
}

fn main() {
    println!("median of {ROUNDS} rounds (spread), per operation; {PENDING} timers pending");
    report("timer: cancel and insert", cancel_and_insert);
    report("timer: insert", insert);
    report("timer: expire, in order", expire);
    report("post to a busy owner", post_to_a_busy_owner);
    report("wake a sleeping owner, one way", wake_a_sleeping_owner);
}
