//! What drivers watch on Windows: sockets.

use std::os::windows::io::{AsRawSocket, AsSocket};
use std::sync::Arc;

pub(crate) use std::os::windows::io::{
    BorrowedSocket as HandleRef, OwnedSocket as Handle, RawSocket as RawHandle,
};

use crate::Source;

pub(crate) fn of(source: Source) -> Option<Arc<Handle>> {
    match source {
        Source::Socket(socket) => Some(socket),
        Source::Virtual(_) => None,
    }
}

pub(crate) fn borrow(handle: &Handle) -> HandleRef<'_> {
    handle.as_socket()
}

pub(crate) fn raw(handle: &Handle) -> RawHandle {
    handle.as_raw_socket()
}
