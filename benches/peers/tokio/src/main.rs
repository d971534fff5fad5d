//! tokio with `LengthDelimitedCodec` and crc32c, as many would write it; or over TLS.
//!
//! What has come is handled before anything is flushed, so replies and requests travel in batches.
//! Over TLS there is no crc: the records carry a stronger check. `--tuned` is for those who
//! looked what costs: larger buffers, and frames that are encoded where they are sent from.

mod client;
mod codec;
mod server;
mod tls;

use std::io;

use clap::Parser;
use common::Command;

#[derive(Debug, Parser)]
struct Cli {
    /// TLS 1.3 with AES-128-GCM by ring
    #[arg(long, global = true)]
    tls: bool,

    /// Larger buffers than the codec's own, and a copy less
    #[arg(long, global = true)]
    tuned: bool,

    #[command(subcommand)]
    command: Command,
}

fn main() -> io::Result<()> {
    common::server::lift_descriptor_limit()?;
    let cli = Cli::parse();
    let how = codec::How {
        crc: !cli.tls,
        tuned: cli.tuned,
    };
    match cli.command {
        Command::Server(args) => server::run(&args, cli.tls, how),
        Command::Client(args) => client::run(args, cli.tls, how),
    }
}
