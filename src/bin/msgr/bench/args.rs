//! The command line of `msgr bench`.

use std::path::PathBuf;
use std::time::Duration;

use async_messenger::auth::Mode;
use async_messenger::wire::EntityAddr;
use async_messenger::{Config, Policy, WORKERS_MAX};
use clap::{Args, Subcommand, ValueEnum, value_parser};

use super::drivers::DriversArgs;
use crate::args::{Global, Own, mode, own, seconds};
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(super) task: BenchTask,
}

#[derive(Debug, Subcommand)]
pub(super) enum BenchTask {
    /// Answer requests until SIGTERM, SIGINT, or the end of a pipe at stdin
    Server(ServerArgs),
    /// Keep requests in flight, and print how long they took and what they cost
    Client(ClientArgs),
    /// Measure events, wakes, timers and posts of the drivers, beside epoll, mio, polling and tokio
    Drivers(DriversArgs),
}

/// What both sides can be told.
#[derive(Debug, Args)]
pub(super) struct SideArgs {
    /// Threads that run connections [default: as many as cores, 2 to 3]
    #[arg(long, value_name = "N", visible_alias = "threads",
          value_parser = value_parser!(u64).range(1..=WORKERS_MAX as u64))]
    pub(super) workers: Option<u64>,

    /// Authenticate by cephx, with the key of `osd.` in this keyring, which both sides need
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: Option<PathBuf>,

    /// Take this mode of msgr v2 only, crc or secure; secure needs a keyring
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(super) mode: Option<Mode>,
}

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Where to listen, as v1:IP:PORT, v2:IP:PORT or both: `[v2:IP:PORT,v1:IP:PORT]`; port 0 takes
    /// any free one
    #[arg(long, value_name = "ADDR", default_value = "v1:127.0.0.1:0", value_parser = own)]
    pub(super) listen: Own,

    #[command(flatten)]
    pub(super) side: SideArgs,

    /// Answer by this many threads of a pool; 0 is the worker that received the request
    #[arg(long, value_name = "N", default_value = "0",
          value_parser = value_parser!(u64).range(0..=1024))]
    pub(super) pool: u64,

    /// How clients are treated
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = ServerPolicy::Stateless)]
    pub(super) policy: ServerPolicy,
}

#[derive(Debug, Args)]
pub(super) struct ClientArgs {
    /// The server, as it says when it starts: v1:IP:PORT or v2:IP:PORT
    #[arg(value_name = "ADDR", value_parser = peer)]
    pub(super) addr: Own,

    #[command(flatten)]
    pub(super) side: SideArgs,

    /// Bytes of data in a request
    #[arg(long, value_name = "BYTES", default_value = "4096",
          value_parser = value_parser!(u32).range(0..=64 << 20))]
    pub(super) size: u32,

    /// Requests in flight on each connection
    #[arg(long, value_name = "N", default_value = "32",
          value_parser = value_parser!(u32).range(1..=65_536))]
    pub(super) depth: u32,

    /// Connections
    #[arg(long, value_name = "N", default_value = "1",
          value_parser = value_parser!(u32).range(1..=50_000))]
    pub(super) connections: u32,

    /// Measure this many requests, shared out among the connections
    #[arg(long, value_name = "N", conflicts_with = "seconds",
          value_parser = value_parser!(u64).range(1..))]
    pub(super) ops: Option<u64>,

    /// Measure for so long
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    pub(super) seconds: Duration,

    /// What is sent for so long at the beginning is not measured
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = seconds_or_none)]
    pub(super) warm_up: Duration,

    /// How the server is treated; a stateless one makes every session lossy
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = ClientPolicy::Lossless)]
    pub(super) policy: ClientPolicy,

    /// Make a messenger for each connection, as a stateful server keeps one session with each
    #[arg(long)]
    pub(super) own_messengers: bool,

    /// Tell the CPU time of this process, too: the server's
    #[arg(long, value_name = "PID")]
    pub(super) server_pid: Option<u32>,

    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// By Ceph's names of policies.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ServerPolicy {
    /// Keep nothing of a broken connection
    #[value(name = "stateless-server")]
    Stateless,
    /// Keep the session, so that nothing is lost
    #[value(name = "stateful-server")]
    Stateful,
}

impl ServerPolicy {
    pub(super) fn policy(self, features: u64) -> Policy {
        match self {
            Self::Stateless => Policy::stateless_server(features),
            Self::Stateful => Policy::stateful_server(features),
        }
    }
}

/// By Ceph's names of policies.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ClientPolicy {
    /// Send again what was not acknowledged when the connection broke
    #[value(name = "lossless-client")]
    Lossless,
    /// A broken connection is the end
    #[value(name = "lossy-client")]
    Lossy,
}

impl ClientPolicy {
    pub(super) fn policy(self, features: u64) -> Policy {
        match self {
            Self::Lossless => Policy::lossless_client(features),
            Self::Lossy => Policy::lossy_client(features),
        }
    }
}

impl SideArgs {
    /// The options of the messenger.
    pub(super) fn config(&self, global: &Global) -> Result<Config, Failure> {
        let mut config = global.config()?;
        if let Some(workers) = self.workers {
            config.workers = workers as usize;
        }
        config.ready_timeout = global.timeout;
        Ok(config)
    }
}

/// Where a server is.
fn peer(text: &str) -> Result<Own, String> {
    let addrs = own(text)?;
    if addrs.0.0.iter().any(|addr: &EntityAddr| addr.port() == 0) {
        return Err("give the port that the server has printed".into());
    }
    Ok(addrs)
}

fn seconds_or_none(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0.0) => Ok(Duration::ZERO),
        _ => seconds(text),
    }
}
