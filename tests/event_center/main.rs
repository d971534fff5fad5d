//! The event center on the driver that `EVENT_DRIVER` names.

// Pipes are ready at once, and only Unix can watch them.
#[cfg(unix)]
mod files;
mod spin;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_messenger::event::{
    Env, EventCenter, Handle, Handler, ManualEnv, SubmitError, SystemEnv, TimerId, Turn,
};
use async_messenger::{DriverKind, EventDriver, Readiness, Token};

const DEADLINE: Duration = Duration::from_secs(30);

fn driver() -> Box<dyn EventDriver> {
    let kind = match std::env::var("EVENT_DRIVER") {
        Ok(name) => name.parse().expect("EVENT_DRIVER names a driver"),
        Err(_) => DriverKind::default_for_target(),
    };
    kind.open().expect("opens")
}

fn center() -> EventCenter<u64> {
    EventCenter::new(driver(), Arc::new(SystemEnv))
}

fn stepped() -> (EventCenter<u64>, Arc<ManualEnv>) {
    let env = Arc::new(ManualEnv::new(1));
    (
        EventCenter::new(driver(), Arc::<ManualEnv>::clone(&env)),
        env,
    )
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Seen {
    File(u64, Readiness),
    Time(u64),
    External(u64),
    End,
}

type Then = Box<dyn FnMut(&mut EventCenter<u64>, Seen)>;

/// Writes down what it sees, and does what the test wants on top.
struct Script {
    seen: Vec<Seen>,
    then: Then,
}

impl Script {
    fn new(then: impl FnMut(&mut EventCenter<u64>, Seen) + 'static) -> Self {
        Self {
            seen: Vec::new(),
            then: Box::new(then),
        }
    }

    fn silent() -> Self {
        Self::new(|_, _| {})
    }

    fn note(&mut self, center: &mut EventCenter<u64>, seen: Seen) {
        self.seen.push(seen);
        (self.then)(center, seen);
    }

    /// What was seen since the last call, without the turns' ends.
    fn take(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
            .into_iter()
            .filter(|s| *s != Seen::End)
            .collect()
    }
}

impl Handler<u64> for Script {
    fn file_event(&mut self, c: &mut EventCenter<u64>, _: Token, tag: u64, ready: Readiness) {
        self.note(c, Seen::File(tag, ready));
    }
    fn time_event(&mut self, c: &mut EventCenter<u64>, _: TimerId, tag: u64) {
        self.note(c, Seen::Time(tag));
    }
    fn external_event(&mut self, c: &mut EventCenter<u64>, event: u64) {
        self.note(c, Seen::External(event));
    }
    fn turn_end(&mut self, c: &mut EventCenter<u64>) {
        self.note(c, Seen::End);
    }
}

fn step(center: &mut EventCenter<u64>, script: &mut Script) -> Turn {
    center.turn(Some(Duration::ZERO), script).expect("turns")
}

#[test]
fn a_timer_fires_when_its_time_has_come_and_not_before() {
    let (mut center, env) = stepped();
    let mut script = Script::silent();
    center.set_timer(center.now() + Duration::from_millis(10), 1);
    env.advance(Duration::from_nanos(9_999_999));
    assert!(step(&mut center, &mut script).is_empty());
    env.advance(Duration::from_nanos(1));
    step(&mut center, &mut script);
    assert_eq!(script.take(), [Seen::Time(1)]);
    assert_eq!(center.timers(), 0);
}

#[test]
fn timers_fire_by_deadline_and_equal_ones_by_creation() {
    let (mut center, env) = stepped();
    let start = center.now();
    // Deterministic, but in no order: multiples of a generator of the numbers below 1009.
    let mut expected = BTreeMap::new();
    for i in 0..1008u64 {
        let deadline = 1 + (i * 11) % 1009 / 10;
        center.set_timer(start + Duration::from_millis(deadline), i);
        expected
            .entry(deadline)
            .or_insert_with(Vec::new)
            .push(Seen::Time(i));
    }
    env.advance(Duration::from_secs(1));
    let mut script = Script::silent();
    step(&mut center, &mut script);
    assert_eq!(
        script.take(),
        expected.into_values().flatten().collect::<Vec<_>>()
    );
}

#[test]
fn a_hundred_thousand_timers_fire_in_order_each_in_its_time() {
    const TIMERS: u64 = 100_000;
    let (mut center, env) = stepped();
    let start = center.now();
    // In no order, by multiples of a prime; each is cancelled once and set anew.
    let after = |tag: u64| Duration::from_micros(1 + tag * 48_271 % TIMERS);
    let ids: Vec<TimerId> = (0..TIMERS)
        .map(|tag| center.set_timer(start + after(TIMERS - 1 - tag), tag))
        .collect();
    for (tag, id) in (0..).zip(ids) {
        assert!(center.cancel_timer(id));
        center.set_timer(start + after(tag), tag);
    }
    assert_eq!(center.timers() as u64, TIMERS);
    let mut script = Script::silent();
    let (mut fired, mut passed) = (0, Duration::ZERO);
    for _ in 0..100 {
        env.advance(Duration::from_millis(1));
        let turn = step(&mut center, &mut script);
        assert_eq!(turn.time_events as u64, TIMERS / 100);
        assert!(step(&mut center, &mut script).is_empty(), "nothing is due");
        for seen in script.take() {
            let Seen::Time(tag) = seen else {
                panic!("{seen:?}")
            };
            assert!(after(tag) > passed, "out of order");
            passed = after(tag);
            fired += 1;
        }
        assert!(start + passed <= center.now(), "early");
    }
    assert_eq!((fired, center.timers()), (TIMERS, 0));
}

#[test]
fn a_wait_for_a_timer_has_no_empty_turns() {
    let mut center = center();
    let mut script = Script::silent();
    let mut empty = 0;
    let start = Instant::now();
    for i in 0..50 {
        // Odd fractions of milliseconds, so that rounding is needed everywhere.
        let after = Duration::from_nanos(300_001 + i * 137_171);
        let deadline = Instant::now() + after;
        center.set_timer(deadline, i);
        while script.take() != [Seen::Time(i)] {
            let turn = center.turn(Some(DEADLINE), &mut script).expect("turns");
            empty += u32::from(turn.is_empty());
            assert!(start.elapsed() < DEADLINE);
        }
        assert!(Instant::now() >= deadline, "early");
    }
    assert_eq!(empty, 0);
}

#[test]
fn a_cancelled_timer_neither_fires_nor_ends_a_wait() {
    let mut center = center();
    let mut script = Script::silent();
    let soon = center.set_timer(Instant::now() + Duration::from_millis(1), 1);
    center.set_timer(Instant::now() + Duration::from_millis(20), 2);
    assert!(center.cancel_timer(soon));
    let turn = center.turn(Some(DEADLINE), &mut script).expect("turns");
    assert_eq!((turn.time_events, script.take()), (1, vec![Seen::Time(2)]));
}

#[test]
fn what_a_handler_causes_waits_for_the_next_turn() {
    let (mut center, _env) = stepped();
    let mut script = Script::new(|center, seen| {
        if let Seen::External(n) = seen {
            center.handle().submit(n + 1).expect("open");
            center.set_timer(center.now(), n);
        }
    });
    center.handle().submit(0).expect("open");
    for turn in 0..5 {
        let counts = step(&mut center, &mut script);
        assert_eq!(counts.external_events, 1, "turn {turn}");
        assert_eq!(counts.time_events, usize::from(turn > 0), "turn {turn}");
    }
}

#[test]
fn a_timer_that_sets_itself_again_does_not_hold_the_turn() {
    let (mut center, _env) = stepped();
    let mut script = Script::new(|center, seen| {
        if seen == Seen::Time(1) {
            center.set_timer(center.now(), 1);
        }
    });
    center.set_timer(center.now(), 1);
    for _ in 0..3 {
        assert_eq!(step(&mut center, &mut script).time_events, 1);
    }
}

#[test]
fn posts_of_many_threads_arrive_all_and_in_their_order() {
    const THREADS: u64 = 8;
    const EACH: u64 = 20_000;
    let mut center = center();
    let mut script = Script::silent();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let handle = center.handle();
            scope.spawn(move || {
                for i in 0..EACH {
                    handle.submit(thread * EACH + i).expect("open");
                    if i % 64 == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let start = Instant::now();
        while script.seen.iter().filter(|s| **s != Seen::End).count() < (THREADS * EACH) as usize {
            center.turn(Some(DEADLINE), &mut script).expect("turns");
            assert!(start.elapsed() < DEADLINE, "a wake-up was lost");
        }
    });
    let mut next = [0; THREADS as usize];
    for seen in script.take() {
        let Seen::External(event) = seen else {
            panic!("{seen:?}")
        };
        let (thread, i) = ((event / EACH) as usize, event % EACH);
        assert_eq!(i, next[thread]);
        next[thread] += 1;
    }
}

/// Behaviour 22 of Ceph's event driver suite: external dispatch to two running centers.
#[test]
fn external_dispatch_to_two_running_centers() {
    const STOP: u64 = u64::MAX;
    let ran = Arc::new(AtomicU64::new(0));
    let mut handles: Vec<Handle<u64>> = Vec::new();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let mut center = center();
            handles.push(center.handle());
            let ran = Arc::clone(&ran);
            std::thread::spawn(move || {
                let count = move |_: &mut EventCenter<u64>, seen: Seen| {
                    if let Seen::External(event) = seen {
                        ran.fetch_add(u64::from(event != STOP), Ordering::Release);
                    }
                };
                let mut script = Script::new(count);
                while !script.seen.contains(&Seen::External(STOP)) {
                    script.seen.clear();
                    center
                        .turn(Some(Duration::from_secs(1)), &mut script)
                        .expect("turns");
                }
            })
        })
        .collect();
    let start = Instant::now();
    for round in 1..=10_000 {
        handles.iter().for_each(|h| h.submit(round).expect("open"));
        while ran.load(Ordering::Acquire) < 2 * round {
            std::thread::yield_now();
            assert!(start.elapsed() < DEADLINE, "lost in round {round}");
        }
    }
    handles.iter().for_each(|h| h.submit(STOP).expect("open"));
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
}

#[test]
fn a_closed_center_returns_what_it_did_not_deliver_and_refuses_more() {
    let center = center();
    let handle = center.handle();
    handle.submit(1).expect("open");
    handle.submit(2).expect("open");
    assert_eq!(center.close(), [1, 2]);
    assert_eq!(handle.submit(3), Err(SubmitError::Closed(3)));
}

#[test]
fn a_dropped_center_refuses_posts_too() {
    let center = center();
    let handle = center.handle();
    drop(center);
    assert_eq!(handle.submit(1), Err(SubmitError::Closed(1)));
}

#[test]
fn a_seed_gives_the_same_random_numbers_again() {
    let numbers = |seed| {
        let env = ManualEnv::new(seed);
        (0..100).map(|_| env.random()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(5), numbers(5));
    assert_ne!(numbers(5), numbers(6));
}
