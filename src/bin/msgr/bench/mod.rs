//! `msgr bench`: the work of Ceph's `perf_msgr`, between two processes; and the drivers by
//! themselves, beside others.
//!
//! A client keeps object requests (MOSDOp) with some bytes of data in flight on some connections,
//! a server answers each (MOSDOpReply). Either side may be Ceph's own program, as both speak to
//! whatever follows the protocol.

mod args;
mod client;
#[cfg(all(feature = "bench", target_os = "linux"))]
mod drivers;
#[cfg(not(all(feature = "bench", target_os = "linux")))]
#[path = "drivers_absent.rs"]
mod drivers;
mod figures;
mod lanes;
mod op;
mod secrets;
mod server;

pub(crate) use args::BenchArgs;
use args::BenchTask;

use crate::args::Global;
use crate::failure::{Exit, Failure};

/// Runs one side, or measures drivers.
pub(crate) fn run(global: &Global, args: &BenchArgs) -> Result<(), Failure> {
    match &args.task {
        BenchTask::Server(args) => server::run(global, args),
        BenchTask::Client(args) => client::run(global, args),
        BenchTask::Drivers(args) => drivers::run(args).map_err(|error| {
            let cure = "give a directory that can be written, and keep the reader of this output";
            Failure::new(Exit::Refused, format!("bench drivers: {error}"), cure)
        }),
    }
}
