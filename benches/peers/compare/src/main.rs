//! Runs programs that do the same work in turns, and says which of them needs how much.
//!
//! Each figure is the median over rounds, each ratio the median of the ratios within the rounds, so
//! that what else the machine does falls on all alike. What is measured is added to
//! `runs.jsonl` of the report's folder; tables and plots are made of all that is in there.

mod cell;
mod page;
mod plots;
mod program;
mod records;
mod shape;
mod summary;
mod table;

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;

use crate::program::{Catalogue, Program};
use crate::records::{Record, Store};
use crate::shape::Shape;
use crate::summary::Summary;

/// Runs programs that do the same work in turns, and says which of them needs how much
#[derive(Debug, Parser)]
struct Cli {
    /// What to have done, as SIZExDEPTH[xCONNECTIONS][@CORES]; sizes may end in k or m. With one
    /// core both processes share it [default: those of the table]
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<Shape>,

    /// A shape of 4 KiB, depth 1, on one core for each of these numbers of connections
    #[arg(long, value_delimiter = ',', value_name = "C,…")]
    connections: Vec<u32>,

    /// By which programs [default: all there are]
    #[arg(long, value_delimiter = ',')]
    programs: Vec<String>,

    /// A `msgr` to take part, as v1, v2, v2-secure, v1-lossless, v2-lossless, and with @DRIVER
    /// behind each; may be repeated with a name, which stands before them as in NAME:v1
    #[arg(long, value_name = "[NAME=]PATH")]
    msgr: Vec<String>,

    /// Have Ceph's own programs take part as ceph-v1, ceph-v2 and ceph-v2-secure: `.ci/ceph-perf`
    #[arg(long, value_name = "SCRIPT")]
    ceph: Option<PathBuf>,

    #[arg(long, default_value = "5")]
    rounds: u32,

    /// What each cell measures
    #[arg(long, default_value = "1")]
    seconds: f64,

    /// What is not measured before it
    #[arg(long, default_value = "0.2")]
    warm_up: f64,

    /// What others are compared with
    #[arg(long, default_value = "raw")]
    floor: String,

    /// Add the runs to this folder, and write tables and plots of all its runs there
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    /// Run nothing: only make the report anew
    #[arg(long, requires = "report")]
    only_report: bool,
}

fn main() -> io::Result<()> {
    common::server::lift_descriptor_limit()?;
    let cli = Cli::parse();
    let mut store = Store::open(cli.report.as_deref())?;
    let mut failed = 0;
    if !cli.only_report {
        let catalogue = Catalogue::new(&cli.msgr, cli.ceph.as_deref())?;
        let programs = catalogue.choose(&cli.programs)?;
        failed = measure(&cli, &programs, &mut store)?;
    }
    let summary = Summary::new(store.records(), &cli.floor);
    let text = summary.markdown();
    print!("{text}");
    if let Some(dir) = &cli.report {
        page::write(dir, &summary, &text)?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(cell::wrong(format!("{failed} runs failed"))),
    }
}

/// Returns how many runs failed.
fn measure(cli: &Cli, programs: &[Program], store: &mut Store) -> io::Result<u32> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let run = since.expect("after 1970").as_secs();
    let mut failed = 0;
    for shape in shapes(cli) {
        for round in 0..cli.rounds {
            // Nobody always follows the same one.
            let first = round as usize % programs.len().max(1);
            for program in programs[first..].iter().chain(&programs[..first]) {
                let outcome = cell::run(program, shape, cli.seconds, cli.warm_up);
                let figures = match outcome {
                    Ok(figures) => Some(figures),
                    Err(e) => {
                        eprintln!("{} {shape}: {e}", program.name);
                        failed += 1;
                        None
                    }
                };
                store.add(Record {
                    run,
                    round,
                    shape,
                    program: program.name.clone(),
                    figures,
                })?;
            }
        }
    }
    Ok(failed)
}

fn shapes(cli: &Cli) -> Vec<Shape> {
    let scaling = cli.connections.iter().map(|&connections| Shape {
        size: 4096,
        depth: 1,
        connections,
        cores: 1,
    });
    let mut shapes = cli.shapes.clone();
    shapes.extend(scaling);
    if shapes.is_empty() {
        shapes = shape::of_the_table();
    }
    shapes
}
