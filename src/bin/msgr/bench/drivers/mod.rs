//! `msgr bench drivers`: what event drivers cost, side by side in one run: every driver that is
//! compiled in, raw epoll, and the crates mio and polling; timers beside those of tokio.
//!
//! Each figure is the median of rounds in which all take turns, so that what else the machine does
//! falls on all alike, and each has its ratio to the raw facility. `cargo bench --bench drivers`
//! is the same code.

mod events;
mod pin;
mod pollers;
mod posts;
mod report;
mod table;
mod timers;
mod wakes;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use table::Table;

/// What to measure, and how thoroughly.
#[derive(Debug, Args)]
pub(crate) struct DriversArgs {
    /// Measure only these [default: all]
    #[arg(value_name = "WHAT")]
    what: Vec<What>,

    /// Numbers of registered sources
    #[arg(long, value_name = "N,..", value_delimiter = ',',
          default_values_t = [10, 1_000, 10_000, 100_000],
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sources: Vec<u32>,

    /// How often everything is measured
    #[arg(long, value_name = "N", default_value = "7",
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,

    /// Only try whether it runs, with little of everything: the figures mean nothing
    #[arg(long)]
    quick: bool,

    /// Write drivers.html, with the tables and plots of them, to this directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum What {
    /// Events with their reads, and empty waits, by the number of sources
    Events,
    /// Waking another thread
    Wakes,
    /// Timers: insert, cancel, expire
    Timers,
    /// Posting to a thread that is awake
    Posts,
}

/// How much of everything.
struct Plan {
    rounds: u32,
    /// How long one figure of one round takes, if three repetitions do not take longer.
    budget: Duration,
    /// Numbers of sources.
    sources: Vec<usize>,
    /// Turns of two threads in one round.
    turns: u32,
    /// Pending timers.
    timers: usize,
}

impl Plan {
    fn new(args: &DriversArgs) -> Self {
        let sources = args.sources.iter().map(|&count| count as usize);
        if args.quick {
            return Self {
                rounds: 1,
                budget: Duration::from_micros(100),
                sources: sources.filter(|&count| count <= 1_000).collect(),
                turns: 100,
                timers: 1_000,
            };
        }
        Self {
            rounds: args.rounds,
            budget: Duration::from_millis(15),
            sources: sources.collect(),
            turns: 3_000,
            timers: 100_000,
        }
    }
}

/// Measures what was asked for, prints it, and writes the report.
///
/// # Errors
/// What the system says of the report's files, or of output.
pub(crate) fn run(args: &DriversArgs) -> io::Result<()> {
    let plan = Plan::new(args);
    let mut tables: Vec<Table> = Vec::new();
    let mut out = io::stdout().lock();
    writeln!(out, "{}", report::machine())?;
    for &what in What::value_variants() {
        if !args.what.is_empty() && !args.what.contains(&what) {
            continue;
        }
        let measured = match what {
            What::Events => events::tables(&plan),
            What::Wakes => wakes::tables(&plan),
            What::Timers => timers::tables(&plan),
            What::Posts => posts::tables(&plan),
        };
        for table in measured {
            write!(out, "\n{table}")?;
            tables.push(table);
        }
    }
    if let Some(directory) = &args.report {
        let path = report::write(directory, &tables)?;
        writeln!(out, "\nreport: {}", path.display())?;
    }
    Ok(())
}
