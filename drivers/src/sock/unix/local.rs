//! Unix-domain stream sockets: connections within a host, named by paths.
//!
//! What [`sock`](super::super) does with a connection it does with theirs too.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, Backlog, UnixAddr};

use super::{creation, retry, set_buffers};
use crate::sock::SocketOptions;

/// A listening socket, as the file `path`, which is there until it is removed.
///
/// # Errors
/// `AddrInUse` if there is such a file; `InvalidInput` for a path that is too long (about 100
/// bytes); otherwise what the system says.
pub fn listen(path: &Path, options: &SocketOptions) -> io::Result<OwnedFd> {
    let addr = address(path)?;
    let fd = creation::socket(libc::AF_UNIX)?;
    set_buffers(&fd, options)?;
    socket::bind(fd.as_raw_fd(), &addr)?;
    let backlog = Backlog::new(options.backlog).unwrap_or(Backlog::MAXCONN);
    socket::listen(&fd, backlog)?;
    Ok(fd)
}

/// Takes one waiting connection.
///
/// # Errors
/// As of [`accept`](super::accept).
pub fn accept(listener: BorrowedFd<'_>, options: &SocketOptions) -> io::Result<OwnedFd> {
    let fd = retry(|| creation::accept_unnamed(listener))?;
    set_buffers(&fd, options)?;
    Ok(fd)
}

/// A connection to the socket at `path`. It is made at once or not at all.
///
/// # Errors
/// `ConnectionRefused` if nobody listens there, or too many wait to be accepted; `NotFound` if
/// there is no such file; otherwise what the system says.
pub fn connect(path: &Path, options: &SocketOptions) -> io::Result<OwnedFd> {
    let addr = address(path)?;
    let fd = creation::socket(libc::AF_UNIX)?;
    set_buffers(&fd, options)?;
    match retry(|| socket::connect(fd.as_raw_fd(), &addr)) {
        Ok(()) => Ok(fd),
        Err(Errno::EAGAIN) => Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "too many connections wait to be accepted; try again",
        )),
        Err(e) => Err(e.into()),
    }
}

fn address(path: &Path) -> io::Result<UnixAddr> {
    UnixAddr::new(path).map_err(|_| {
        let text = format!(
            "{} is too long for a socket's path; take a shorter directory",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}
