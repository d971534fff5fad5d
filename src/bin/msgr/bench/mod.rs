//! `msgr bench`: the work of Ceph's `perf_msgr`, between two processes.
//!
//! A client keeps object requests (MOSDOp) with some bytes of data in flight on some connections,
//! a server answers each (MOSDOpReply). Either side may be Ceph's own program, as both speak to
//! whatever follows the protocol.

mod args;
mod client;
mod figures;
mod lanes;
mod op;
mod secrets;
mod server;

pub(crate) use args::BenchArgs;
use args::BenchTask;

use crate::args::Global;
use crate::failure::Failure;

/// Runs one side.
pub(crate) fn run(global: &Global, args: &BenchArgs) -> Result<(), Failure> {
    match &args.task {
        BenchTask::Server(args) => server::run(global, args),
        BenchTask::Client(args) => client::run(global, args),
    }
}
