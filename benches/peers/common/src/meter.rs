//! What a client measures: operations, their latencies, and the CPU time of both processes.
//!
//! It is told of batches, not of single operations, and given the time: the clock is read once per
//! batch by whoever drives it.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::args::ClientArgs;
use crate::cpu;

/// The line of figures. CPU times are in microseconds per operation, latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Figures {
    pub ops: u64,
    pub seconds: f64,
    pub ops_per_s: f64,
    /// Data bytes of requests, in millions.
    pub mb_per_s: f64,
    pub client_cpu_us_per_op: f64,
    /// If the server's process was named.
    pub server_cpu_us_per_op: Option<f64>,
    /// Not every program knows its latencies.
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
}

/// Measures one run: first the warm-up, then the window.
pub struct Meter {
    args: ClientArgs,
    warm_until: Instant,
    window: Option<Window>,
    over: bool,
    figures: Option<Figures>,
}

/// What was when the warm-up was over, and what was done since.
struct Window {
    began: Instant,
    cpu: (Duration, Option<Duration>),
    ops: u64,
    nanos: Histogram<u64>,
}

impl Meter {
    /// The warm-up begins now.
    pub fn new(args: &ClientArgs) -> Self {
        Self {
            args: args.clone(),
            warm_until: Instant::now() + Duration::from_secs_f64(args.warm_up),
            window: None,
            over: false,
            figures: None,
        }
    }

    /// Replies came, to `count` requests that were all sent at one time.
    pub fn done(&mut self, sent: Instant, now: Instant, count: u64) {
        let Some(window) = &mut self.window else {
            return;
        };
        window.ops += count;
        let nanos = now.duration_since(sent).as_nanos() as u64;
        window.nanos.saturating_record_n(nanos.max(1), count);
    }

    /// Moves on from the warm-up to the window and to the end. To be called once per batch, after
    /// its `done`. Returns whether it is over.
    pub fn advance(&mut self, now: Instant) -> bool {
        if self.over {
            return true;
        }
        let Some(window) = &self.window else {
            if now >= self.warm_until {
                self.window = Some(self.begin());
            }
            return false;
        };
        self.over = match self.args.ops {
            Some(ops) => window.ops >= ops,
            None => now - window.began >= Duration::from_secs_f64(self.args.seconds),
        };
        if self.over {
            self.figures = Some(self.end(window));
        }
        self.over
    }

    /// Prints the figures, as JSON if that was asked for.
    ///
    /// # Panics
    ///
    /// If it is not over.
    pub fn print(&self) {
        let figures = self.figures.expect("is over");
        if self.args.json {
            println!("{}", serde_json::to_string(&figures).expect("numbers"));
        } else {
            println!("{figures:#?}");
        }
    }

    fn cpu(&self) -> (Duration, Option<Duration>) {
        let own = cpu::of_process(std::process::id()).unwrap_or_default();
        (own, self.args.server_pid.and_then(cpu::of_process))
    }

    fn begin(&self) -> Window {
        let nanos = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
        let cpu = self.cpu();
        Window {
            began: Instant::now(),
            cpu,
            ops: 0,
            nanos,
        }
    }

    fn end(&self, window: &Window) -> Figures {
        let seconds = window.began.elapsed().as_secs_f64();
        let (own, server) = self.cpu();
        let ops = window.ops.max(1) as f64;
        let per_op = |spent: Duration| spent.as_secs_f64() * 1e6 / ops;
        let both = window.cpu.1.zip(server);
        let quantile = |q: f64| Some(window.nanos.value_at_quantile(q) as f64 / 1e3);
        Figures {
            ops: window.ops,
            seconds,
            ops_per_s: window.ops as f64 / seconds,
            mb_per_s: window.ops as f64 * f64::from(self.args.size) / 1e6 / seconds,
            client_cpu_us_per_op: per_op(own.saturating_sub(window.cpu.0)),
            server_cpu_us_per_op: both.map(|(then, now)| per_op(now.saturating_sub(then))),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
        }
    }
}
