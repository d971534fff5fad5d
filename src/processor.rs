//! Listening sockets: accept until nobody waits, and hand each connection to a worker.
//!
//! A processor lives in one worker. It never spins on an error and never gives up: without a free
//! descriptor it refuses with one kept in reserve, and after any other failure it tries again a
//! little later.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use event_driver::Token;

use crate::event::TimerId;
use crate::messenger::Shared;
use crate::net::{Listener, Stream};
use crate::wire::EntityAddr;

/// Connections that one processor accepts in a turn before others get their turn.
const ACCEPT_BUDGET: usize = 64;
/// Errors in a row after which accepting pauses: some concern a single connection only.
const ACCEPT_FAILURES_MAX: u32 = 4;
/// How long it pauses.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

pub(crate) struct Processor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) listener: Box<dyn Listener>,
    /// The own address that peers of this listener connect to.
    pub(crate) local: EntityAddr,
    /// The listener's registration.
    pub(crate) token: Token,
    /// When to try again, after a failure.
    pub(crate) retry: Option<TimerId>,
}

/// A connection on its way from a processor to a worker. It counts as one of the messenger's
/// accepted connections until it is dropped.
pub(crate) struct Accepted {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stream: Stream,
    pub(crate) peer: SocketAddr,
    pub(crate) local: EntityAddr,
    pub(crate) slot: AcceptSlot,
}

/// One of the [`connections_max`](crate::Config) accepted connections.
pub(crate) struct AcceptSlot(Arc<Shared>);

impl AcceptSlot {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.accepted.fetch_add(1, Ordering::Relaxed);
        let slot = Self(Arc::clone(shared));
        (before < shared.config.connections_max).then_some(slot)
    }
}

impl Drop for AcceptSlot {
    fn drop(&mut self) {
        self.0.accepted.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a round of accepting ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AcceptEnd {
    /// Nobody waits any more.
    Drained,
    /// The budget is used up; somebody may be waiting.
    Budget,
    /// The system refuses; try again after [`ACCEPT_RETRY`].
    Failing,
}

impl Processor {
    /// Accepts whoever waits, and passes each on.
    pub(crate) fn accept(&mut self, mut hand_over: impl FnMut(Accepted)) -> AcceptEnd {
        let mut failures = 0;
        for _ in 0..ACCEPT_BUDGET {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    failures = 0;
                    self.admit(stream, peer, &mut hand_over);
                }
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => return AcceptEnd::Drained,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        failures += 1;
                        if !self.refuse(&e) && failures >= ACCEPT_FAILURES_MAX {
                            return AcceptEnd::Failing;
                        }
                    }
                },
            }
        }
        AcceptEnd::Budget
    }

    fn admit(&self, stream: Stream, peer: SocketAddr, hand_over: &mut impl FnMut(Accepted)) {
        if let Some(slot) = AcceptSlot::take(&self.shared) {
            let shared = Arc::clone(&self.shared);
            hand_over(Accepted {
                shared,
                stream,
                peer,
                local: self.local,
                slot,
            });
        } else {
            self.shared.stats.refused.fetch_add(1, Ordering::Relaxed);
            let max = self.shared.config.connections_max;
            tracing::warn!(%peer, max, "closed at once: connections_max are open already");
        }
    }

    /// Sends one connection away for lack of a descriptor. False if that is not what is wrong.
    fn refuse(&mut self, error: &io::Error) -> bool {
        let refused = self.listener.refuse_one(error).unwrap_or(false);
        if refused {
            self.shared.stats.refused.fetch_add(1, Ordering::Relaxed);
        }
        tracing::warn!(listener = %self.local, %error, refused, "accept failed");
        refused
    }
}
