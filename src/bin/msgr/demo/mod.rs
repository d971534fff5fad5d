//! `msgr demo`: how fast two messengers of one process talk to each other, over each driver.

mod load;
mod report;

use std::io::{ErrorKind, IsTerminal as _};
use std::time::Duration;

use async_messenger::DriverKind;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{DemoArgs, Global};
use crate::failure::{Exit, Failure};
use load::Load;
use report::Line;

/// Sizes of requests in the table, in bytes.
const SIZES: [u32; 3] = [64, 4 << 10, 1 << 20];
/// Requests in flight in the table.
const DEPTHS: [u32; 2] = [1, 32];
/// How long a warm-up is at most; it is a quarter of the time otherwise.
const WARM_UP_MAX: Duration = Duration::from_secs(2);

/// Measures everything that was asked for, and prints it.
pub(crate) fn run(global: &Global, args: &DemoArgs) -> Result<(), Failure> {
    let loads = loads(global, args)?;
    let config = global.config()?;
    let bar = progress_bar(&loads);
    let mut lines = Vec::new();
    for load in loads {
        bar.set_message(load.to_string());
        let mut config = config.clone();
        config.driver = load.driver;
        let figures = load::run(&load, &config, |passed| bar.inc(millis(passed)))?;
        lines.push(Line { load, figures });
    }
    bar.finish_and_clear();
    crate::print(if args.json {
        report::json(&lines)
    } else {
        report::table(&lines)
    })?;
    match lines.iter().find_map(Line::trouble) {
        None => Ok(()),
        Some(what) => {
            let cure = "run it again with -v, which logs what the messengers do";
            Err(Failure::new(Exit::Refused, what, cure))
        }
    }
}

/// The table; or a single line, if the time for it was given.
fn loads(global: &Global, args: &DemoArgs) -> Result<Vec<Load>, Failure> {
    let drivers = drivers(global.chosen_driver()?)?;
    let (mut sizes, mut depths) = (SIZES.to_vec(), DEPTHS.to_vec());
    sizes = args.size.map_or(sizes, |size| vec![size]);
    depths = args.depth.map_or(depths, |depth| vec![depth]);
    let load = |driver, size, depth, time: Duration| {
        let warm_up = (time / 4).min(WARM_UP_MAX);
        Load {
            driver,
            size,
            depth,
            connections: args.connections,
            warm_up,
            time: time - warm_up,
        }
    };
    if let Some(time) = args.seconds {
        let (size, depth) = (
            args.size.unwrap_or(SIZES[1]),
            args.depth.unwrap_or(DEPTHS[1]),
        );
        return Ok(vec![load(drivers[0], size, depth, time)]);
    }
    let mut loads = Vec::new();
    for driver in drivers {
        for &size in &sizes {
            loads.extend(
                depths
                    .iter()
                    .map(|&depth| load(driver, size, depth, args.seconds_per_cell)),
            );
        }
    }
    Ok(loads)
}

/// The one that was chosen, or all there are. Where the system refuses io_uring another driver would
/// run, and its figures would stand under the wrong name: it is left out, with a word on why.
fn drivers(chosen: Option<DriverKind>) -> Result<Vec<DriverKind>, Failure> {
    let compiled = DriverKind::compiled().to_vec();
    let mut drivers = chosen.map_or(compiled, |kind| vec![kind]);
    let (one, mut refusal) = (drivers.len() == 1, None);
    drivers.retain(|kind| match kind.open() {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            if !one {
                eprintln!("msgr: {kind} is left out: {error}");
            }
            refusal = Some(error);
            false
        }
        _ => true,
    });
    match refusal {
        Some(error) if drivers.is_empty() => {
            let cure = "take another --driver, or leave it away to measure all that can run";
            Err(Failure::new(Exit::Refused, error.to_string(), cure))
        }
        _ => Ok(drivers),
    }
}

/// A bar for those who watch; for a file or a pipe there is none.
fn progress_bar(loads: &[Load]) -> ProgressBar {
    if !std::io::stderr().is_terminal() || !std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let all = loads
        .iter()
        .map(|load| millis(load.warm_up + load.time))
        .sum();
    let bar = ProgressBar::new(all);
    // The template is fixed; without it the bar has the default look.
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {msg} {eta:>4}") {
        bar.set_style(style);
    }
    bar
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
