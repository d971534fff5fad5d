//! tonic with one stream each way per connection, and windows that hold all that is in flight.
//!
//! Nothing checks the data: HTTP/2 has no checksum.

mod client;
mod message;
mod server;

/// What the build script makes.
#[allow(unreachable_pub, unused_qualifications, clippy::all)]
mod service {
    include!(concat!(env!("OUT_DIR"), "/bench.Bench.rs"));
}

use clap::Parser as _;
use common::{Command, args::Cli};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Bytes in flight that a stream and a connection may hold.
const WINDOW: u32 = 256 << 20;

/// The longest message.
const MESSAGE: usize = 128 << 20;

fn main() -> Result<(), Error> {
    common::server::lift_descriptor_limit()?;
    match Cli::parse().command {
        Command::Server(args) => server::run(&args),
        Command::Client(args) => client::run(&args),
    }
}
