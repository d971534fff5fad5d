//! Timers, many of them pending, beside those of tokio.
//!
//! Tokio's are reached by its `Sleep`, as its users do: the wheel, its lock and the check of the
//! clock. Ours are the event center's, with its clock read once per turn.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use async_messenger::event::{EventCenter, Handler, SystemEnv, TimerId};
use async_messenger::{DriverKind, Readiness, Token};
use tokio::runtime::Builder;
use tokio::time::{Sleep, sleep_until};

use super::Plan;
use super::pin::pinned;
use super::table::Table;

const COLUMNS: [&str; 4] = ["insert", "cancel", "cancel + insert", "expire"];

/// What is cancelled at once, then inserted at once: a tenth of all, so that all but that are
/// pending.
const PORTIONS: usize = 10;

/// Deadlines from now, in no order.
struct Deadlines {
    /// So far away that none fires.
    later: Vec<Duration>,
    /// Soon enough not to wait long for them.
    soon: Vec<Duration>,
    /// In which order timers are inserted at first, so that they lie about without order too; all
    /// that comes after goes by number, as what is measured is not the memory of this bench.
    order: Vec<usize>,
}

impl Deadlines {
    fn new(count: usize) -> Self {
        let later = |i: usize| {
            let spread = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 600_000_000_000;
            Duration::from_secs(3600) + Duration::from_nanos(spread)
        };
        Self {
            later: (0..count).map(later).collect(),
            soon: (0..count as u64)
                .map(|i| Duration::from_nanos(i * 7919 % 1_000_000))
                .collect(),
            order: (0..count).map(|i| i * 48_271 % count).collect(),
        }
    }

    /// What each timer cost, if all took these times.
    fn each<const N: usize>(&self, times: [Duration; N]) -> Vec<Option<f64>> {
        let count = self.later.len() as f64;
        times
            .map(|time| Some(time.as_nanos() as f64 / count))
            .to_vec()
    }
}

/// Timers that can be cancelled and inserted anew.
trait Timers {
    /// Cancels the timer of this number.
    fn cancel(&mut self, number: usize);

    /// Inserts the timer of this number.
    fn insert(&mut self, number: usize, after: Duration);

    /// Cancels the timer of this number, and inserts it.
    fn replace(&mut self, number: usize, after: Duration);
}

/// The times of all inserts, cancels, and both in turns. The first pass is for the memory.
fn churn(timers: &mut impl Timers, deadlines: &Deadlines) -> [Duration; 3] {
    let later = &deadlines.later;
    let mut times = [Duration::ZERO; 3];
    for _ in 0..2 {
        times = [Duration::ZERO; 3];
        let numbers: Vec<usize> = (0..later.len()).collect();
        for portion in numbers.chunks(later.len().div_ceil(PORTIONS)) {
            let start = Instant::now();
            portion.iter().for_each(|&number| timers.cancel(number));
            times[1] += start.elapsed();
            let start = Instant::now();
            for &number in portion {
                timers.insert(number, later[later.len() - 1 - number]);
            }
            times[0] += start.elapsed();
        }
        let start = Instant::now();
        for &number in &numbers {
            timers.replace(number, later[number]);
        }
        times[2] = start.elapsed();
    }
    times
}

/// Waits until all deadlines have passed that are soon after `start`.
fn let_pass(start: Instant) {
    while start.elapsed() < Duration::from_millis(3) {
        std::hint::spin_loop();
    }
}

struct InOrder<'a> {
    deadlines: &'a [Duration],
    fired: usize,
    last: Duration,
}

impl Handler<()> for InOrder<'_> {
    fn file_event(&mut self, _: &mut EventCenter<()>, _: Token, _: u64, _: Readiness) {}
    fn time_event(&mut self, _: &mut EventCenter<()>, _: TimerId, tag: u64) {
        let deadline = self.deadlines[tag as usize];
        assert!(deadline >= self.last, "out of order");
        self.last = deadline;
        self.fired += 1;
    }
    fn external_event(&mut self, _: &mut EventCenter<()>, (): ()) {}
}

struct Ours {
    center: EventCenter<()>,
    now: Instant,
    ids: Vec<TimerId>,
}

impl Timers for Ours {
    fn cancel(&mut self, number: usize) {
        assert!(self.center.cancel_timer(self.ids[number]));
    }

    fn insert(&mut self, number: usize, after: Duration) {
        self.ids[number] = self.center.set_timer(self.now + after, number as u64);
    }

    fn replace(&mut self, number: usize, after: Duration) {
        self.cancel(number);
        self.insert(number, after);
    }
}

fn ours(deadlines: &Deadlines) -> Vec<Option<f64>> {
    let driver = DriverKind::default_for_target().open().expect("opens");
    let mut center: EventCenter<()> = EventCenter::new(driver, Arc::new(SystemEnv));
    let now = center.now();
    let mut ids = vec![center.set_timer(now, 0); deadlines.later.len()];
    center.cancel_timer(ids[0]);
    for &number in &deadlines.order {
        ids[number] = center.set_timer(now + deadlines.later[number], number as u64);
    }
    let mut timers = Ours { center, now, ids };
    let [insert, cancel, both] = churn(&mut timers, deadlines);

    let now = Instant::now();
    for (number, &after) in deadlines.soon.iter().enumerate() {
        timers.cancel(number);
        timers.center.set_timer(now + after, number as u64);
    }
    let_pass(now);
    let mut order = InOrder {
        deadlines: &deadlines.soon,
        fired: 0,
        last: Duration::ZERO,
    };
    let start = Instant::now();
    while order.fired < deadlines.soon.len() {
        timers.center.turn(None, &mut order).expect("turns");
    }
    deadlines.each([insert, cancel, both, start.elapsed()])
}

struct Tokios {
    now: tokio::time::Instant,
    sleeps: Vec<Pin<Box<Sleep>>>,
}

impl Timers for Tokios {
    fn cancel(&mut self, number: usize) {
        // The new one is not in the wheel before it is polled.
        self.sleeps[number].set(sleep_until(self.now));
    }

    fn insert(&mut self, number: usize, after: Duration) {
        let sleep = &mut self.sleeps[number];
        sleep.set(sleep_until(self.now + after));
        let polled = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }

    fn replace(&mut self, number: usize, after: Duration) {
        self.sleeps[number].as_mut().reset(self.now + after);
    }
}

fn tokios(deadlines: &Deadlines) -> Vec<Option<f64>> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let now = tokio::time::Instant::now();
    let new = |&after: &Duration| Box::pin(sleep_until(now + after));
    let mut timers = Tokios {
        now,
        sleeps: deadlines.later.iter().map(new).collect(),
    };
    for &number in &deadlines.order {
        timers.insert(number, deadlines.later[number]);
    }
    let [insert, cancel, both] = churn(&mut timers, deadlines);

    // Far enough away for all to be pending at the start.
    timers.now = tokio::time::Instant::now() + Duration::from_millis(30);
    for (number, &after) in deadlines.soon.iter().enumerate() {
        timers.insert(number, after);
    }
    let_pass(timers.now.into_std());
    let start = Instant::now();
    while !timers.sleeps.iter().all(|sleep| sleep.is_elapsed()) {
        runtime.block_on(tokio::task::yield_now());
    }
    deadlines.each([insert, cancel, both, start.elapsed()])
}

/// One table.
pub(super) fn tables(plan: &Plan) -> Vec<Table> {
    let rounds: Vec<_> = pinned(|| {
        let deadlines = Deadlines::new(plan.timers);
        let round = || vec![ours(&deadlines), tokios(&deadlines)];
        (0..plan.rounds).map(|_| round()).collect()
    });
    let title = format!(
        "ns per timer with {} pending (x: ratio to the event center)",
        plan.timers
    );
    vec![Table::new(
        title,
        &COLUMNS,
        &["event center", "tokio"],
        &rounds,
    )]
}
