//! The descriptor that wakes a driver: an eventfd where there is one, a pipe to oneself elsewhere.
//!
//! Ringing makes it readable, each time anew: an edge-triggered facility reports each ring. It
//! stays readable until it is silenced. Rung by any thread, otherwise used by the driver's.
#![allow(dead_code, reason = "no backend uses all of it")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::Waker;
use crate::fork::Process;

cfg_if::cfg_if! {
    if #[cfg(any(target_os = "linux", target_os = "android"))] {
        mod eventfd;
        use eventfd as facility;
    } else {
        mod pipe;
        use pipe as facility;
    }
}

pub(crate) struct Bell {
    ear: Arc<OwnedFd>,
    waker: Waker,
}

impl Bell {
    pub(crate) fn new(process: Process) -> io::Result<Self> {
        let (ear, hand) = facility::open()?;
        // A waker may outlive the driver. It keeps both ends, as a write without a reader fails.
        let ends = (Arc::clone(&ear), hand);
        let waker = Waker::new(move || {
            if process.is_current() {
                // Refused only if so much was written that it is readable anyway.
                let _ = nix::unistd::write(&*ends.1, &facility::STROKE);
            }
        });
        Ok(Self { ear, waker })
    }

    /// What becomes readable.
    pub(crate) fn ear(&self) -> BorrowedFd<'_> {
        self.ear.as_fd()
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Makes it unreadable again, until the next ring.
    pub(crate) fn silence(&self) {
        let mut sink = [0; 512];
        while nix::unistd::read(&*self.ear, &mut sink).is_ok_and(|n| n == sink.len()) {}
    }
}
