//! Priority in the queues of the network interface.

use std::io;
use std::os::fd::OwnedFd;

use nix::libc;

pub(super) fn set(fd: &OwnedFd, priority: i32) -> io::Result<()> {
    super::set_option(fd, libc::SOL_SOCKET, libc::SO_PRIORITY, priority)
}
