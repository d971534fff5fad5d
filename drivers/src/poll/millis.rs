//! The call, with timeouts in milliseconds.

use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, pollfd};

use crate::time;

/// The number of entries whose `revents` is not zero.
pub(super) fn poll(entries: &mut [pollfd], timeout: Option<Duration>) -> nix::Result<usize> {
    let timeout = time::millis(timeout);
    // SAFETY: the pointer and the length are those of one slice.
    let count = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout) };
    Errno::result(count).map(|count| count as usize)
}
