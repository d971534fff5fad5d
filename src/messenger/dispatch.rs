//! Dispatchers, and the queue of the one thread that runs normal dispatch.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::connection::Connection;
use crate::error::Error;
use crate::message::Message;
use crate::throttle::Permit;
use crate::wire::MsgHead;

/// What the owner of a messenger does with messages and events.
///
/// Fast dispatch runs on the worker that received the message, without a hand-over: it must not
/// block, and holds up every connection of its worker while it runs. Normal dispatch runs on the
/// messenger's dispatch thread, one call at a time. A panic in a handler ends the connection
/// that it was called for, with [`ErrorKind::Panicked`](crate::ErrorKind::Panicked), and no other.
pub trait Dispatcher: Send + Sync + 'static {
    /// Whether [`fast_dispatch`](Self::fast_dispatch) takes messages with this head. Must depend on
    /// the head alone.
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        let _ = head;
        false
    }

    /// Takes a message on the worker. Messages of one connection come in order and one at a time;
    /// those of several connections come at the same time.
    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        // Only called for heads that `can_fast_dispatch` has claimed.
        let _ = (connection, message);
    }

    /// Takes a message on the dispatch thread, or passes it on to the next dispatcher.
    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        let _ = connection;
        Handled::No(message)
    }

    /// Learns, on the worker, that a connection is ready, before any of its messages arrives.
    fn fast_event(&self, connection: &Connection, event: Ready) {
        let _ = (connection, event);
    }

    /// Learns, on the dispatch thread, what happened to a connection.
    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        let _ = (connection, event);
    }

    /// Learns, on a worker, that somebody connected to this messenger and did not get through the
    /// handshake. Scanners and other protocols end up here.
    fn accept_failed(&self, error: &Error) {
        let _ = error;
    }
}

/// Whether a dispatcher took a message.
#[derive(Debug)]
pub enum Handled {
    /// It did.
    Yes,
    /// It did not; here it is back for the next one.
    No(Message),
}

/// How a connection became ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ready {
    /// This side connected.
    Connected,
    /// The peer connected.
    Accepted,
}

/// What happened to a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The handshake is done.
    Ready(Ready),
    /// The connection is dead; no more messages come from it. Send to the peer by a new one.
    Reset {
        /// Why.
        error: Error,
        /// Messages that were queued and never written. What was written may or may not have
        /// arrived.
        unsent: usize,
    },
    /// The peer has lost the session and began a new one. Messages that were queued are lost.
    RemoteReset {
        /// How many.
        unsent: usize,
    },
    /// An attempt to connect has failed; further attempts follow.
    Refused(Error),
}

/// An entry of the dispatch queue.
pub(crate) enum Item {
    Message {
        connection: Connection,
        message: Message,
        permits: [Option<Permit>; 2],
    },
    Event {
        connection: Connection,
        event: ConnectionEvent,
    },
}

/// What waits for the dispatch thread. Messages in it are bounded by the dispatch throttles; events
/// by the number of connections, as one that is referred to by an event counts as open.
#[derive(Default)]
pub(crate) struct DispatchQueue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    waiting: bool,
    stopped: bool,
    /// The dispatch thread is gone.
    ended: bool,
}

impl DispatchQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an item. After the stop messages are dropped, and so give back what they hold.
    pub(crate) fn push(&self, item: Item) {
        let mut state = self.state();
        if state.ended || state.stopped && matches!(item, Item::Message { .. }) {
            drop(state);
            return;
        }
        state.items.push_back(item);
        if std::mem::take(&mut state.waiting) {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Swaps all items into `out`, which must be empty, and waits for some if there are none.
    /// False: stopped, and nothing is left.
    pub(crate) fn take(&self, out: &mut VecDeque<Item>) -> bool {
        debug_assert!(out.is_empty());
        let mut state = self.state();
        while state.items.is_empty() && !state.stopped {
            state.waiting = true;
            // Ends with the messenger: `stop` is called by its shutdown and by its drop.
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.items, out);
        state.ended = out.is_empty();
        !state.ended
    }

    /// Lets the dispatch thread end: events that are queued are still delivered, messages not.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        let dropped: VecDeque<Item>;
        (dropped, state.items) = std::mem::take(&mut state.items)
            .into_iter()
            .partition(|item| matches!(item, Item::Message { .. }));
        drop(state);
        self.arrived.notify_all();
        drop(dropped);
    }

    /// Forgets a stop, for a messenger that is started again.
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        (state.stopped, state.ended) = (false, false);
    }

    pub(crate) fn len(&self) -> usize {
        self.state().items.len()
    }
}

/// A handler panicked. What it said has gone through the panic hook already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Panicked;

/// Calls user code; a panic stays inside.
pub(crate) fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, Panicked> {
    // Whatever the handler left half-done is its own: nothing of ours is reachable from it except
    // through locks and atomics, which are consistent between operations.
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Panicked)
}
