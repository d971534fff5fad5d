//! Counters of a messenger.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a messenger counts. Each counter is on its own; together they are no snapshot.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) unhandled: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) slow_handlers: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
}

/// What a messenger has counted since it was built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Handshakes that ended well on the accepting side.
    pub accepted: u64,
    /// Handshakes that ended well on the connecting side.
    pub connected: u64,
    /// Connections that were closed at once, for lack of descriptors or by `connections_max`.
    pub refused: u64,
    /// Handshakes that failed on the accepting side.
    pub handshakes_failed: u64,
    /// Links that ended by an error; failed attempts to connect and failed handshakes are among
    /// them.
    pub faults: u64,
    /// Times that a connection had to wait at a throttle.
    pub throttled: u64,
    /// Received messages that were dropped because their number had been received before.
    pub duplicates: u64,
    /// Received messages that no dispatcher took.
    pub unhandled: u64,
    /// Messages that were too old to be sent (`Policy::send_age_max`).
    pub expired: u64,
    /// Panics of dispatchers.
    pub panics: u64,
    /// Calls on the dispatch thread, and passes of a worker over what it has received, in which
    /// dispatchers took longer than `dispatch_warn_after`.
    pub slow_handlers: u64,
    /// Messages that were received, and dropped before their dispatch because their connection
    /// ended or the peer had lost the session.
    pub discarded: u64,
    /// Messages received over the network.
    pub received: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
    /// Payload bytes on their way to a dispatcher, now.
    pub dispatch_bytes: u64,
    /// Messages on their way to a dispatcher, now.
    pub dispatch_messages: u64,
    /// Items in the queue of the dispatch thread, now.
    pub dispatch_queue: usize,
    /// Accepted connections that exist, now.
    pub connections: usize,
}

impl Counters {
    pub(crate) fn read(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            accepted: get(&self.accepted),
            connected: get(&self.connected),
            refused: get(&self.refused),
            handshakes_failed: get(&self.handshakes_failed),
            faults: get(&self.faults),
            throttled: get(&self.throttled),
            duplicates: get(&self.duplicates),
            unhandled: get(&self.unhandled),
            expired: get(&self.expired),
            panics: get(&self.panics),
            slow_handlers: get(&self.slow_handlers),
            received: get(&self.received),
            received_bytes: get(&self.received_bytes),
            ..Stats::default()
        }
    }
}
