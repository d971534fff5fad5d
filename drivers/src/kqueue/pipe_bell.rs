//! Waking by a pipe, for systems of which not all versions have user events.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use super::queue::{self, Queue};
use super::{BELL, sys};
use crate::Waker;
use crate::bell;
use crate::fork::Process;

pub(super) struct Bell(bell::Bell);

impl Bell {
    pub(super) fn new(queue: &Arc<Queue>, process: Process) -> io::Result<Self> {
        let bell = bell::Bell::new(process)?;
        let mut event = queue::no_event();
        event.ident = bell.ear().as_raw_fd() as _;
        event.filter = sys::EVFILT_READ;
        event.flags = sys::EV_ADD | sys::EV_CLEAR;
        event.udata = BELL as _;
        queue.change(&event)?;
        Ok(Self(bell))
    }

    pub(super) fn waker(&self) -> Waker {
        self.0.waker()
    }

    pub(super) fn silence(&self) {
        self.0.silence();
    }
}
