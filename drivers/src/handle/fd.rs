//! What drivers watch on Unix: file descriptors.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

pub(crate) use std::os::fd::{BorrowedFd as HandleRef, OwnedFd as Handle, RawFd as RawHandle};

use crate::Source;

pub(crate) fn of(source: Source) -> Option<Arc<Handle>> {
    match source {
        Source::Fd(fd) => Some(fd),
        Source::Virtual(_) => None,
    }
}

pub(crate) fn borrow(handle: &Handle) -> HandleRef<'_> {
    handle.as_fd()
}

pub(crate) fn raw(handle: &Handle) -> RawHandle {
    handle.as_raw_fd()
}
