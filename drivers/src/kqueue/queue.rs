//! The two system calls.

use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::fork::Process;
use crate::kqueue_sys as sys;
use crate::time;

/// An event without content. Systems have additional fields, which stay zero.
pub(super) fn no_event() -> sys::kevent {
    // SAFETY: plain numbers and a pointer, all of which may be zero.
    unsafe { mem::zeroed() }
}

pub(super) struct Queue {
    fd: ManuallyDrop<OwnedFd>,
    process: Process,
}

impl Queue {
    pub(super) fn new(process: Process) -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = Errno::result(unsafe { sys::kqueue() })?;
        // SAFETY: the descriptor is new and nobody else's.
        let fd = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
        let queue = Self { fd, process };
        fcntl(&*queue.fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(queue)
    }

    /// Makes one change. From any thread.
    pub(super) fn change(&self, change: &sys::kevent) -> nix::Result<()> {
        let queue = self.fd.as_raw_fd();
        // SAFETY: one change, and no room for events.
        let result = unsafe { sys::kevent(queue, change, 1, ptr::null_mut(), 0, ptr::null()) };
        Errno::result(result).map(drop)
    }

    /// Fills `events` with as many as it returns.
    pub(super) fn wait(
        &self,
        events: &mut [sys::kevent],
        timeout: Option<Duration>,
    ) -> nix::Result<usize> {
        let timeout = timeout.map(time::timespec);
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        let (queue, room) = (self.fd.as_raw_fd(), events.len());
        // SAFETY: no changes; the pointer and the length are those of one slice; the timeout is
        // null or lives through the call.
        let count = unsafe {
            sys::kevent(
                queue,
                ptr::null(),
                0,
                events.as_mut_ptr(),
                room as _,
                timeout,
            )
        };
        Errno::result(count).map(|count| count as usize)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Queues are not inherited: in a fork child the number may be another descriptor's.
        if self.process.is_current() {
            // SAFETY: dropped here only, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}
