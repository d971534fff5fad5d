//! The ends of the bell are those of a pipe.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

/// One ring.
pub(super) const STROKE: [u8; 1] = [0];

pub(super) fn open() -> io::Result<(Arc<OwnedFd>, Arc<OwnedFd>)> {
    let (ear, hand) = nix::unistd::pipe()?;
    for end in [&ear, &hand] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok((Arc::new(ear), Arc::new(hand)))
}
