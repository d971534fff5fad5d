//! The arguments that all programs take.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

/// The whole of a program that takes nothing else.
#[derive(Debug, Parser)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests, until SIGTERM, SIGINT or the end of the standard input
    Server(ServerArgs),
    /// Keep requests in flight, and print figures
    Client(ClientArgs),
}

#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Threads that serve connections
    #[arg(long, value_name = "T", default_value = "1",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
}

#[derive(Clone, Debug, Args)]
pub struct ClientArgs {
    /// What the server printed
    pub addr: SocketAddr,

    /// Bytes of data in a request
    #[arg(long, value_name = "N", default_value = "4096",
          value_parser = clap::value_parser!(u32).range(0..=64 << 20))]
    pub size: u32,

    /// Requests in flight on each connection
    #[arg(long, value_name = "D", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub depth: u32,

    /// Connections
    #[arg(long, value_name = "C", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,

    /// Measure so many requests
    #[arg(long, value_name = "K", conflicts_with = "seconds")]
    pub ops: Option<u64>,

    /// Measure for so long
    #[arg(long, value_name = "S", default_value = "1")]
    pub seconds: f64,

    /// Do not measure for so long at first
    #[arg(long, value_name = "S", default_value = "0.2")]
    pub warm_up: f64,

    /// The server's process, whose CPU time is then told too
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
