//! `msgr`: try, probe and measure the messenger from the command line.
//!
//! Each subcommand has a module of its own; [`client`] is the way to ask a monitor something,
//! [`failure`] says what went wrong and which exit code that is.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod client;
mod demo;
mod failure;
mod json;
mod log;
mod mon;
mod ping;
mod probe;
mod serve;
mod usage;
mod who;

use std::io::Write as _;
use std::process::ExitCode;

use args::{Cli, Task};
use clap::Parser as _;
use failure::{Exit, Failure};

fn main() -> ExitCode {
    // Wrong usage ends here, with clap's text and exit code 2.
    let cli = Cli::parse();
    if cli.global.verbose {
        log::to_stderr();
    }
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.task {
        Task::Demo(args) => demo::run(&cli.global, args),
        Task::Bench(args) => bench::run(&cli.global, args),
        Task::Ping(args) => ping::run(&cli.global, args),
        Task::Probe(args) => probe::run(&cli.global, args),
        Task::MonMap(args) => mon::map(&cli.global, args),
        Task::MonCommand(args) => mon::command(&cli.global, args),
        Task::Serve(args) => serve::run(&cli.global, args),
    }
}

/// Writes to stdout, and ends the last line if nobody has.
fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let text = text.as_ref();
    let end: &[u8] = if text.is_empty() || text.ends_with(b"\n") {
        b""
    } else {
        b"\n"
    };
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text).and_then(|()| stdout.write_all(end));
    written.and_then(|()| stdout.flush()).map_err(|error| {
        let what = format!("stdout: cannot write: {error}");
        Failure::new(Exit::Refused, what, "keep the reader of this output open")
    })
}
