//! Sources of Unix: streams and pipes whose bytes arrive at once.

use std::io::{self, PipeReader, PipeWriter};
use std::net::TcpStream;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt::Linger};

/// A descriptor of the kind that drivers take.
pub fn shared(fd: impl Into<OwnedFd>) -> Arc<OwnedFd> {
    let fd = fd.into();
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    Arc::new(fd)
}

/// Two ends of a stream whose bytes arrive at once: ours to use, and the driver's to watch.
pub fn pair() -> (UnixStream, UnixStream, Arc<OwnedFd>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let watched = shared(theirs.try_clone().unwrap());
    (ours, theirs, watched)
}

pub fn pipe() -> (Arc<OwnedFd>, PipeWriter) {
    let (reader, writer): (PipeReader, PipeWriter) = io::pipe().unwrap();
    (shared(reader), writer)
}

/// Another descriptor for the same file, its number at least `number`.
pub fn duplicate_at(fd: impl AsFd, number: i32) -> Arc<OwnedFd> {
    let fd = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(number)).unwrap();
    // SAFETY: the descriptor is new and nobody else's.
    Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lifts the limit of open descriptors as far as it goes; how many may be opened.
pub fn lift_descriptor_limit() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // Systems with an unlimited hard limit have a lower true one.
    let limit = hard.min(100_000);
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
    usize::try_from(limit).unwrap()
}

/// Another descriptor for the same file.
pub fn duplicate(fd: impl AsFd) -> Arc<OwnedFd> {
    duplicate_at(fd, 0)
}

/// With this the close is a reset.
pub fn reset_on_close(stream: &TcpStream) {
    let now = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(stream, Linger, &now).unwrap();
}
