//! Ending a wait from another thread.
//!
//! A [`Waker`] is a function behind a handle, so that drivers outside this crate can have their
//! own. `Bell` is the descriptor behind the built-in ones: an eventfd where there is one, and
//! a pipe to oneself elsewhere. A bell is rung by any thread and listened to by the driver's.

use std::fmt;
use std::sync::Arc;

/// Ends a [`wait`](crate::EventDriver::wait) of the driver that gave it, from any thread.
///
/// It never blocks, outlives its driver without harm, and does nothing in a fork child.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker for a driver of one's own. `wake` keeps the contract's lines `wake` and `coalesce`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Ends the current wait, or the next one if none is running.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}
