//! Dispatchers, and the queue of the one thread that runs normal dispatch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::prio::{COMMON, PrioQueue};
use crate::config::Config;
use crate::connection::Connection;
use crate::error::Error;
use crate::message::Message;
use crate::processor::AcceptSlot;
use crate::throttle::Permit;
use crate::wire::MsgHead;

/// What the owner of a messenger does with messages and events.
///
/// Fast dispatch runs on the worker that received the message, without a hand-over: it must not
/// block, and holds up every connection of its worker while it runs. Normal dispatch runs on the
/// messenger's dispatch thread, one call at a time. A panic in a handler ends the connection
/// that it was called for, with [`ErrorKind::Panicked`](crate::ErrorKind::Panicked), and no other.
/// A handler that takes longer than `dispatch_warn_after` of [`Config`] is logged and
/// counted.
///
/// Normal dispatch takes the highest priority first; below 64 each priority gets a share that
/// follows its number. Within a priority connections take turns, and the messages of each keep
/// their order. When a connection ends, or the peer has lost the session, those of its messages
/// that still wait are dropped.
pub trait Dispatcher: Send + Sync + 'static {
    /// Whether [`fast_dispatch`](Self::fast_dispatch) takes messages with this head. Must depend on
    /// the head alone.
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        let _ = head;
        false
    }

    /// Looks at a message on the worker, before it is dispatched in either way. Each dispatcher
    /// sees each message that was received, those of one connection in the order of receiving.
    fn fast_preprocess(&self, connection: &Connection, message: &Message) {
        let _ = (connection, message);
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

    /// Learns, on the dispatch thread, what happened to a connection. Events go before messages
    /// with a priority below 255 that wait there.
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
    /// An attempt to connect has failed; further attempts follow until the connection is marked
    /// down.
    Refused(Error),
}

/// The priority of events.
const EVENT_PRIORITY: u16 = 255;

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
        /// An accepted connection counts as one while an event of it waits, so that
        /// `connections_max` bounds these, too.
        _counts: Option<Arc<AcceptSlot>>,
    },
}

impl Item {
    /// Where it goes in the queue: priority, class and cost (session §6).
    fn place(&self) -> (u16, u64, u64) {
        match self {
            Self::Event { .. } => (EVENT_PRIORITY, COMMON, 0),
            Self::Message {
                connection,
                message,
                ..
            } => {
                let cost = message.data().len() as u64;
                (message.head().priority, class(connection), cost)
            }
        }
    }
}

/// What the loop-back connection delivers is in the class of events.
fn class(connection: &Connection) -> u64 {
    if connection.is_loopback() {
        COMMON
    } else {
        connection.id()
    }
}

/// What waits for the dispatch thread. Messages in it are bounded by the dispatch throttles; events
/// by the number of connections, as one that is referred to by an event counts as open.
pub(crate) struct DispatchQueue {
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    items: PrioQueue<Item>,
    /// Messages that were dropped because of the end of their connection.
    discarded: u64,
    waiting: bool,
    stopped: bool,
    /// The dispatch thread is gone.
    ended: bool,
}

impl State {
    /// Whether an item comes too late.
    fn refuses(&mut self, item: &Item) -> bool {
        if self.ended {
            return true;
        }
        let Item::Message { connection, .. } = item else {
            return false;
        };
        // Under the lock: who closed the connection discards after that, and finds what got in.
        let late = class(connection) != COMMON && connection.is_closed();
        self.discarded += u64::from(late);
        late || self.stopped
    }
}

impl DispatchQueue {
    pub(super) fn new(config: &Config) -> Self {
        let items = PrioQueue::new(config.pq_min_cost, config.pq_max_tokens_per_priority);
        let state = State {
            items,
            discarded: 0,
            waiting: false,
            stopped: false,
            ended: false,
        };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an item. After the stop, and after the end of their connection, messages are dropped,
    /// and so give back what they hold.
    pub(crate) fn push(&self, item: Item) {
        let (priority, class, cost) = item.place();
        let mut state = self.state();
        if state.refuses(&item) {
            drop(state);
            return;
        }
        state.items.push(priority, class, cost, item);
        if std::mem::take(&mut state.waiting) {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// The next item; waits for one if there is none. `None`: stopped, and nothing is left.
    pub(crate) fn pop(&self) -> Option<Item> {
        let mut state = self.state();
        loop {
            let item = state.items.pop();
            if item.is_some() {
                return item;
            }
            if state.stopped {
                state.ended = true;
                return None;
            }
            state.waiting = true;
            // Ends with the messenger: `stop` is called by its shutdown and by its drop.
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`pop`](Self::pop), to the end of `out`. False: stopped, and nothing is left.
    #[cfg(feature = "sim")]
    pub(crate) fn take(&self, out: &mut std::collections::VecDeque<Item>) -> bool {
        let item = self.pop();
        let more = item.is_some();
        out.extend(item);
        more
    }

    /// Drops the messages of a connection that has ended, or whose session starts over; what they
    /// hold is given back.
    pub(crate) fn discard(&self, connection: &Connection) {
        let mut state = self.state();
        let gone = state.items.discard(class(connection));
        state.discarded += gone.len() as u64;
        // Outside the lock: whoever gets their shares may come back here.
        drop(state);
        drop(gone);
    }

    /// Lets the dispatch thread end: events that are queued are still delivered, messages not.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        let (events, messages): (Vec<Item>, Vec<Item>) = std::iter::from_fn(|| state.items.pop())
            .partition(|item| matches!(item, Item::Event { .. }));
        for event in events {
            let (priority, class, cost) = event.place();
            state.items.push(priority, class, cost, event);
        }
        drop(state);
        self.arrived.notify_all();
        drop(messages);
    }

    /// Forgets a stop, for a messenger that is started again.
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        (state.stopped, state.ended) = (false, false);
    }

    pub(crate) fn len(&self) -> usize {
        self.state().items.len()
    }

    /// How many messages were dropped because of the end of their connection.
    pub(crate) fn discarded(&self) -> u64 {
        self.state().discarded
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
