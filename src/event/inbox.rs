//! External events: a queue into an event center, from any thread.
//!
//! The owner swaps the whole queue out once per turn. A poster writes the wake-up only if the owner
//! is parked or about to be: the owner raises `parked`, looks at the queue once more, and waits;
//! whoever posts takes `parked` down and wakes. Both sides pass the queue's mutex between the two
//! steps, so either the owner sees the event or the poster sees the flag.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_driver::Waker;

/// The most external events that wait in one center. A poster that finds the queue full gets its
/// event back.
pub const EXTERNAL_EVENTS_MAX: usize = 1 << 20;

pub(crate) struct Inbox<X> {
    queue: Mutex<Queue<X>>,
    parked: AtomicBool,
    waker: Waker,
}

struct Queue<X> {
    events: Vec<X>,
    closed: bool,
}

impl<X> Inbox<X> {
    pub(super) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue {
                events: Vec::new(),
                closed: false,
            }),
            parked: AtomicBool::new(false),
            waker,
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue<X>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what is queued into `out`, which must be empty; its allocation becomes the queue's.
    pub(super) fn swap(&self, out: &mut Vec<X>) {
        debug_assert!(out.is_empty());
        mem::swap(&mut self.queue().events, out);
    }

    /// Whether nothing is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.queue().events.is_empty()
    }

    /// Announces that the owner is about to wait. False: something is queued, do not wait.
    pub(super) fn park(&self) -> bool {
        self.parked.store(true, Ordering::SeqCst);
        let empty = self.queue().events.is_empty();
        if !empty {
            self.unpark();
        }
        empty
    }

    pub(super) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// No event will be taken any more. Returns those that were left.
    pub(super) fn close(&self) -> Vec<X> {
        let mut queue = self.queue();
        queue.closed = true;
        mem::take(&mut queue.events)
    }
}

/// Posts external events to an [`EventCenter`](super::EventCenter), from any thread.
pub struct Handle<X>(Arc<Inbox<X>>);

impl<X> Handle<X> {
    pub(super) fn new(inbox: Arc<Inbox<X>>) -> Self {
        Self(inbox)
    }

    /// Queues an event. Events of one thread are delivered in the order of their posting.
    ///
    /// # Errors
    /// The event comes back if [`EXTERNAL_EVENTS_MAX`] wait already, or the center is gone.
    pub fn submit(&self, event: X) -> Result<(), SubmitError<X>> {
        let mut queue = self.0.queue();
        if queue.closed {
            return Err(SubmitError::Closed(event));
        }
        if queue.events.len() >= EXTERNAL_EVENTS_MAX {
            return Err(SubmitError::Full(event));
        }
        queue.events.push(event);
        drop(queue);
        if self.0.parked.swap(false, Ordering::SeqCst) {
            self.0.waker.wake();
        }
        Ok(())
    }
}

impl<X> Clone for Handle<X> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<X> fmt::Debug for Handle<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("parked", &self.0.parked)
            .finish_non_exhaustive()
    }
}

/// An external event that was not taken, and why.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SubmitError<X> {
    /// [`EXTERNAL_EVENTS_MAX`] events are waiting.
    Full(X),
    /// The event center is gone.
    Closed(X),
}

impl<X> fmt::Debug for SubmitError<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Closed(_) => "Closed",
        })
    }
}

impl<X> fmt::Display for SubmitError<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => write!(f, "{EXTERNAL_EVENTS_MAX} external events are waiting"),
            Self::Closed(_) => f.write_str("the event center is gone"),
        }
    }
}

impl<X> std::error::Error for SubmitError<X> {}
