//! For systems where a socket has no priority beside its traffic class.

use std::io;
use std::os::fd::OwnedFd;

pub(super) fn set(_fd: &OwnedFd, _priority: i32) -> io::Result<()> {
    Ok(())
}
