//! Timers with 100,000 pending, beside those of tokio.
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
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Sleep, sleep_until};

use crate::{ROUNDS, median};

const PENDING: u64 = 100_000;

/// Deadlines without order, an hour away and spread over ten minutes, so that none fires.
fn later(i: u64) -> Duration {
    let spread = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 600_000_000_000;
    Duration::from_secs(3600) + Duration::from_nanos(spread)
}

/// Soon enough not to wait long for it, and without order.
fn soon(i: u64) -> Duration {
    Duration::from_nanos(i * 7919 % 1_000_000)
}

/// Nanoseconds for each of the pending timers: insert; cancel and insert again; expire.
type Figures = [f64; 3];

fn each(time: Duration) -> f64 {
    time.as_nanos() as f64 / PENDING as f64
}

struct InOrder {
    fired: u64,
    last: Duration,
}

impl Handler<()> for InOrder {
    fn file_event(&mut self, _: &mut EventCenter<()>, _: Token, _: u64, _: Readiness) {}
    fn time_event(&mut self, _: &mut EventCenter<()>, _: TimerId, tag: u64) {
        assert!(soon(tag) >= self.last, "out of order");
        self.last = soon(tag);
        self.fired += 1;
    }
    fn external_event(&mut self, _: &mut EventCenter<()>, (): ()) {}
}

fn center() -> EventCenter<()> {
    let driver = DriverKind::default_for_target().open().expect("opens");
    EventCenter::new(driver, Arc::new(SystemEnv))
}

fn ours() -> Figures {
    let mut center = center();
    let now = center.now();
    let mut ids = Vec::with_capacity(PENDING as usize);
    let start = Instant::now();
    for i in 0..PENDING {
        ids.push(center.set_timer(now + later(i), i));
    }
    let insert = each(start.elapsed());
    let start = Instant::now();
    for i in 0..PENDING {
        let at = (i * 48_271 % PENDING) as usize;
        assert!(center.cancel_timer(ids[at]));
        ids[at] = center.set_timer(now + later(PENDING + i), i);
    }
    let again = each(start.elapsed());

    let mut center = self::center();
    let now = center.now();
    for i in 0..PENDING {
        center.set_timer(now + soon(i), i);
    }
    while now.elapsed() < Duration::from_millis(3) {
        std::hint::spin_loop();
    }
    let mut order = InOrder {
        fired: 0,
        last: Duration::ZERO,
    };
    let start = Instant::now();
    while order.fired < PENDING {
        center.turn(None, &mut order).expect("turns");
    }
    [insert, again, each(start.elapsed())]
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
}

fn tokios() -> Figures {
    let runtime = runtime();
    let _context = runtime.enter();
    let now = tokio::time::Instant::now();
    let mut nobody = Context::from_waker(Waker::noop());
    let mut sleeps: Vec<Pin<Box<Sleep>>> = (0..PENDING)
        .map(|i| Box::pin(sleep_until(now + later(i))))
        .collect();
    let start = Instant::now();
    for sleep in &mut sleeps {
        assert!(sleep.as_mut().poll(&mut nobody).is_pending());
    }
    let insert = each(start.elapsed());
    let start = Instant::now();
    for i in 0..PENDING {
        let at = (i * 48_271 % PENDING) as usize;
        sleeps[at].as_mut().reset(now + later(PENDING + i));
    }
    let again = each(start.elapsed());

    // Far enough away for all to be pending at the start.
    let from = tokio::time::Instant::now() + Duration::from_millis(30);
    for (i, sleep) in (0..).zip(&mut sleeps) {
        sleep.as_mut().reset(from + soon(i));
        assert!(sleep.as_mut().poll(&mut nobody).is_pending());
    }
    while from.elapsed() < Duration::from_millis(3) {
        std::hint::spin_loop();
    }
    let start = Instant::now();
    while !sleeps.iter().all(|sleep| sleep.is_elapsed()) {
        runtime.block_on(tokio::task::yield_now());
    }
    [insert, again, each(start.elapsed())]
}

/// Prints the table.
pub(crate) fn report() {
    println!("\nns per timer with {PENDING} pending; median of {ROUNDS} rounds");
    println!(
        "{:>15} {:>9} {:>17} {:>9}",
        "", "insert", "cancel + insert", "expire"
    );
    let mut rounds: Vec<[Figures; 2]> = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push([ours(), tokios()]);
    }
    for (i, name) in ["event center", "tokio"].into_iter().enumerate() {
        let column = |c: usize| -> Vec<f64> { rounds.iter().map(|round| round[i][c]).collect() };
        println!(
            "{name:>15} {:>9.1} {:>17.1} {:>9.1}",
            median(&mut column(0)),
            median(&mut column(1)),
            median(&mut column(2))
        );
    }
}
