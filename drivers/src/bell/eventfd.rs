//! Both ends of the bell are one counter.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};

/// One ring.
pub(super) const STROKE: [u8; 8] = 1_u64.to_ne_bytes();

pub(super) fn open() -> io::Result<(Arc<OwnedFd>, Arc<OwnedFd>)> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let fd = Arc::new(OwnedFd::from(EventFd::from_flags(flags)?));
    Ok((Arc::clone(&fd), fd))
}
