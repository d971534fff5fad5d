//! For systems where a socket gets its flags after its birth.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc::{self, c_int};

/// None needed: the sockets do not raise `SIGPIPE`.
pub(super) const SEND_FLAGS: c_int = 0;

pub(super) fn socket(family: c_int) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM, 0) };
    adopt(fd)
}

pub(super) fn accept(
    listener: BorrowedFd<'_>,
    addr: &mut libc::sockaddr_storage,
    len: &mut libc::socklen_t,
) -> nix::Result<OwnedFd> {
    // SAFETY: the address and its length may be written as far as the length says.
    let fd = unsafe { libc::accept(listener.as_raw_fd(), ptr::from_mut(addr).cast(), len) };
    adopt(fd)
}

/// [`accept`] without asking whose it is.
pub(super) fn accept_unnamed(listener: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::accept(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut()) };
    adopt(fd)
}

/// Owns what a call has returned, and sets its flags.
fn adopt(fd: c_int) -> nix::Result<OwnedFd> {
    let fd = Errno::result(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    match super::set_option(&fd, libc::SOL_SOCKET, libc::SO_NOSIGPIPE, 1) {
        Ok(()) => Ok(fd),
        Err(e) => Err(Errno::from_raw(e.raw_os_error().unwrap_or(0))),
    }
}
