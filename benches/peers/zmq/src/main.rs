//! ZeroMQ: a DEALER socket for each connection, and a ROUTER that answers all.
//!
//! Its sockets are served by I/O threads of its own (`--threads`), beside the thread that uses them.
//! Nothing checks the data. A process can have a thousand sockets.

mod client;
mod server;

use clap::Parser as _;
use common::{Command, args::Cli};

fn main() -> zmq::Result<()> {
    common::server::lift_descriptor_limit().expect("its hard limit");
    match Cli::parse().command {
        Command::Server(args) => server::run(&args),
        Command::Client(args) => client::run(&args),
    }
}
