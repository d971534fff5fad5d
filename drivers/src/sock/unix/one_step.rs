//! Sockets are born non-blocking and closed on exec.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_int};

const FLAGS: c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

/// Keeps a send to a closed peer from raising `SIGPIPE`.
pub(super) const SEND_FLAGS: c_int = libc::MSG_NOSIGNAL;

pub(super) fn socket(family: c_int) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | FLAGS, 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn accept(
    listener: BorrowedFd<'_>,
    addr: &mut libc::sockaddr_storage,
    len: &mut libc::socklen_t,
) -> nix::Result<OwnedFd> {
    // SAFETY: the address and its length may be written as far as the length says.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), ptr::from_mut(addr).cast(), len, FLAGS) };
    let fd = Errno::result(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// [`accept`] without asking whose it is.
pub(super) fn accept_unnamed(listener: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            ptr::null_mut(),
            ptr::null_mut(),
            FLAGS,
        )
    };
    let fd = Errno::result(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
