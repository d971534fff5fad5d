//! Waking by a user event of the queue itself.

use std::io;
use std::sync::Arc;

use super::queue::{self, Queue};
use super::{BELL, sys};
use crate::Waker;
use crate::fork::Process;

pub(super) struct Bell(Waker);

impl Bell {
    pub(super) fn new(queue: &Arc<Queue>, process: Process) -> io::Result<Self> {
        let mut event = queue::no_event();
        event.filter = sys::EVFILT_USER;
        event.flags = sys::EV_ADD | sys::EV_CLEAR;
        event.udata = BELL as _;
        queue.change(&event)?;
        let queue = Arc::clone(queue);
        let waker = Waker::new(move || {
            if process.is_current() {
                let mut ring = queue::no_event();
                ring.filter = sys::EVFILT_USER;
                ring.fflags = sys::NOTE_TRIGGER;
                // A change replaces this word too.
                ring.udata = BELL as _;
                // The event exists as long as its queue, so this cannot be refused.
                let _ = queue.change(&ring);
            }
        });
        Ok(Self(waker))
    }

    pub(super) fn waker(&self) -> Waker {
        self.0.clone()
    }

    /// The event has cleared itself.
    pub(super) fn silence(&self) {}
}
