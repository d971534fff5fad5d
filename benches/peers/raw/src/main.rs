//! The floor: what the work costs with nothing between it and the sockets.
//!
//! One epoll loop, frames with a length and a crc32c that the sender computes and the receiver
//! checks. All requests of one read are answered by one write; small requests are sent by one
//! buffer, larger ones from where their data lies; large ones are received where they belong.

mod client;
mod inlet;
mod outlet;
mod server;

use std::io;

use clap::Parser as _;
use common::{Command, args::Cli};

fn main() -> io::Result<()> {
    common::server::lift_descriptor_limit()?;
    match Cli::parse().command {
        Command::Server(args) => server::run(&args),
        Command::Client(args) => client::run(&args),
    }
}
