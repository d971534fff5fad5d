//! The call, with timeouts in nanoseconds.

use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, pollfd};

use crate::time;

/// The number of entries whose `revents` is not zero.
pub(super) fn poll(entries: &mut [pollfd], timeout: Option<Duration>) -> nix::Result<usize> {
    let timeout = timeout.map(time::timespec);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the pointer and the length are those of one slice; the timeout is null or lives
    // through the call; no signal mask is given.
    let count = unsafe {
        libc::ppoll(
            entries.as_mut_ptr(),
            entries.len() as libc::nfds_t,
            timeout,
            ptr::null(),
        )
    };
    Errno::result(count).map(|count| count as usize)
}
