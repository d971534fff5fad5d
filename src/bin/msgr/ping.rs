//! `msgr ping`: is the monitor well?

use crate::args::{Global, PeerArgs};
use crate::client::Asker;
use crate::failure::Failure;

/// Prints the monitor's own words. A monitor answers without quorum, and in v1 without a key.
pub(crate) fn run(global: &Global, args: &PeerArgs) -> Result<(), Failure> {
    crate::print(Asker::new(global, args)?.ping()?)
}
