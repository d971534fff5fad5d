//! The floor by completions: what `raw` does, with requests to an io_uring instead of system calls.
//!
//! A multishot accept, a multishot receive for each connection into buffers that the kernel picks,
//! and one send in flight for each connection with all that is queued. A turn is one system call:
//! it hands over what was requested and waits for what completes.

mod buffers;
mod client;
mod inlet;
mod link;
mod outlet;
mod ring;
mod server;

use std::io;

use clap::{Args, Parser};
use common::Command;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    how: How,

    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, Args)]
struct How {
    /// Send data of at least so many bytes from where it lies, without a copy
    #[arg(long, value_name = "BYTES", global = true)]
    zero_copy: Option<usize>,

    /// Request each receive, and have the rest of large data come where it belongs
    #[arg(long, global = true, conflicts_with = "bundle")]
    single_shot: bool,

    /// Let one completion stand for several buffers
    #[arg(long, global = true)]
    bundle: bool,

    /// Buffers for what is received, a power of two
    #[arg(long, value_name = "N", global = true, default_value = "32")]
    buffers: u16,

    /// Bytes of each
    #[arg(long, value_name = "BYTES", global = true, default_value = "262144")]
    buffer_size: u32,
}

fn main() -> io::Result<()> {
    common::server::lift_descriptor_limit()?;
    let cli = Cli::parse();
    match cli.command {
        Command::Server(args) => server::run(&args, cli.how),
        Command::Client(args) => client::run(&args, cli.how),
    }
}
