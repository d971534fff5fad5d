//! Benches only: what is unsafe there. The crate `polling` in its edge mode, as programs for Linux
//! use it without a driver of this crate; and a way to have more sources than descriptors.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use polling::{Event, Events, PollMode, Poller};

use crate::{EVENTS_PER_WAIT, Waker};

/// A poller that keeps its sources open.
pub struct Polling {
    poller: Arc<Poller>,
    events: Events,
    fds: Vec<Arc<OwnedFd>>,
}

impl Polling {
    /// A poller without sources.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poller: Arc::new(Poller::new()?),
            events: Events::with_capacity(EVENTS_PER_WAIT.try_into().expect("not zero")),
            fds: Vec::new(),
        })
    }

    /// Watches a descriptor for reading, as `key`.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, fd: &Arc<OwnedFd>, key: usize) -> io::Result<()> {
        // SAFETY: it is kept open until it is deleted, when this is dropped.
        unsafe {
            self.poller
                .add_with_mode(&**fd, Event::readable(key), PollMode::Edge)
        }?;
        self.fds.push(Arc::clone(fd));
        Ok(())
    }

    /// Waits, and calls `ready` with the key of each source that became readable.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut(usize),
    ) -> io::Result<()> {
        self.events.clear();
        self.poller.wait(&mut self.events, timeout)?;
        self.events.iter().for_each(|event| ready(event.key));
        Ok(())
    }

    /// Ends a wait from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        let poller = Arc::clone(&self.poller);
        Waker::new(move || poller.notify().expect("wakes"))
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        for fd in &self.fds {
            let deleted = self.poller.delete(fd.as_fd());
            debug_assert!(deleted.is_ok(), "it was added");
        }
    }
}

impl fmt::Debug for Polling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polling").finish_non_exhaustive()
    }
}

/// Puts another file behind a descriptor. Who watches the file that was there goes on to do so, as
/// long as it is open elsewhere.
///
/// # Errors
/// What the system says.
pub fn replace(fd: &OwnedFd, by: impl AsFd) -> io::Result<()> {
    // SAFETY: both are open, and `fd` stays so: its number is at no time anyone else's.
    let result = unsafe { libc::dup2(by.as_fd().as_raw_fd(), fd.as_raw_fd()) };
    Errno::result(result)?;
    Ok(())
}
