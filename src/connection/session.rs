//! What is behind a [`Connection`](super::Connection): who the peer is, under which policy, and the
//! sending half, shared by all threads.
//!
//! What is queued, and who writes it, is decided in the [`Outbox`]; here is what follows from it:
//! the flush on this thread, or the [`Cmd`] to the home worker. Receiving state is not here; it
//! belongs to the session's home worker.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use event_driver::Token;

use super::codec::Writing;
use super::handshake::Opened;
use super::outbox::{Flushed, Next, Outbox};
use super::queue::Control;
use crate::auth::Authenticated;
use crate::error::SendError;
use crate::message::{Message, Segment, priority};
use crate::messenger::{Policy, Shared};
use crate::net::WriteHalf;
use crate::processor::AcceptSlot;
use crate::proto::Version;
use crate::wire::{AddrVec, EntityAddr, EntityType, Timespec};
use crate::worker::{Cmd, WorkerHandle, put_off};

/// How much a thread that is not the session's worker writes before it lets the worker go on.
const INLINE_BYTES: usize = 64 << 10;
/// How much the worker writes for one session before it turns to others.
const WORKER_BYTES: usize = 4 << 20;

/// Whom a session is with.
pub(crate) struct Party {
    pub(crate) kind: EntityType,
    /// Where it is: one of the addresses below.
    pub(crate) addr: EntityAddr,
    /// By which the session is known: with v1 that address alone, with v2 all of the peer's.
    pub(crate) addrs: AddrVec,
    /// What is spoken with it.
    pub(crate) version: Version,
}

pub(crate) struct Session {
    /// Unique in the messenger; the class of its messages in the dispatch queue. From 1.
    pub(crate) id: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer_type: EntityType,
    /// See [`Party`].
    pub(crate) peer_addr: EntityAddr,
    pub(crate) peer_addrs: AddrVec,
    pub(crate) version: Version,
    pub(crate) policy: Policy,
    pub(crate) home: WorkerHandle,
    pub(crate) loopback: bool,
    /// Its entry in the home worker's table, once it is there.
    pub(crate) slot: OnceLock<Token>,
    /// Of an accepted connection: it counts as one until the worker has let go of it and its last
    /// event has been dispatched, however long somebody keeps a handle.
    pub(crate) place: Mutex<Option<Arc<AcceptSlot>>>,
    outbox: Outbox,
    features: AtomicU64,
    /// Whether checksums of segments go over the wire, as far as is known.
    sums: AtomicBool,
    /// Who was let in, since the last handshake.
    who: Mutex<Option<Arc<Authenticated>>>,
    last_keepalive: AtomicU64,
    last_keepalive_ack: AtomicU64,
    throttled_since: AtomicU64,
}

impl Session {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        peer: Party,
        policy: Policy,
        home: WorkerHandle,
        loopback: bool,
    ) -> Arc<Self> {
        let config = &shared.config;
        let limits = (config.send_queue_bytes, config.send_queue_messages);
        let outbox = match loopback {
            true => Outbox::local(limits, policy.lossy),
            false => Outbox::new(limits, !policy.server, policy.lossy),
        };
        Arc::new(Self {
            id: shared.next_session_id(),
            shared: Arc::clone(shared),
            peer_type: peer.kind,
            peer_addr: peer.addr,
            peer_addrs: peer.addrs,
            version: peer.version,
            policy,
            home,
            loopback,
            slot: OnceLock::new(),
            place: Mutex::default(),
            outbox,
            features: AtomicU64::new(if loopback { u64::MAX } else { 0 }),
            sums: AtomicBool::new(!loopback),
            who: Mutex::default(),
            last_keepalive: AtomicU64::new(0),
            last_keepalive_ack: AtomicU64::new(0),
            throttled_since: AtomicU64::new(0),
        })
    }

    pub(crate) fn place(&self) -> MutexGuard<'_, Option<Arc<AcceptSlot>>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.outbox.is_connected()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.outbox.is_closed()
    }

    pub(crate) fn features(&self) -> u64 {
        self.features.load(Ordering::Acquire)
    }

    pub(crate) fn is_lossy(&self) -> bool {
        self.outbox.is_lossy()
    }

    pub(crate) fn queued(&self) -> usize {
        self.outbox.queued()
    }

    pub(super) fn unacked(&self) -> usize {
        self.outbox.unacked()
    }

    /// Takes a message for sending; see [`Connection::send`](super::Connection::send).
    pub(crate) fn send(self: &Arc<Self>, message: Message) -> Result<(), SendError> {
        self.queue(message, None)
    }

    /// As [`send`](Self::send); if the queue is full, has the task told when there may be room.
    pub(super) fn send_or_wait(
        self: &Arc<Self>,
        message: Message,
        waker: &Waker,
    ) -> Result<(), SendError> {
        self.queue(message, Some(waker))
    }

    fn queue(
        self: &Arc<Self>,
        mut message: Message,
        waker: Option<&Waker>,
    ) -> Result<(), SendError> {
        if !self.prepare(&mut message) {
            return Err(SendError::TooLarge(message));
        }
        if self.shared.injector.swallows(self.peer_type) {
            return Ok(());
        }
        let now = self.expire();
        let next = self.outbox.push(message, now, waker)?;
        self.go_on(next);
        Ok(())
    }

    pub(super) fn send_control(self: &Arc<Self>, control: Control) {
        let next = self.outbox.push_control(control);
        self.go_on(next);
    }

    /// Has the peer told that all messages up to this number have arrived.
    pub(crate) fn acknowledge(self: &Arc<Self>, seq: u64) {
        self.send_control(Control::Ack(seq));
    }

    /// Fills the head in and computes checksums, on the caller's thread and outside of locks.
    fn prepare(&self, message: &mut Message) -> bool {
        let config = &self.shared.config;
        let head = message.head_mut();
        head.src = self.shared.name;
        if head.priority == 0 {
            head.priority = priority::DEFAULT;
        }
        let limits = config.limits;
        let [front, middle, data] = message.segments_mut();
        if front.len() > limits.front_max as usize
            || middle.len() > limits.middle_max as usize
            || data.len() > limits.data_max as usize
        {
            return false;
        }
        if !self.sums.load(Ordering::Relaxed) {
            return true;
        }
        let sums = config.checksums;
        match self.version {
            Version::V1 => {
                if sums.header {
                    front.crc();
                    middle.crc();
                }
                if sums.data {
                    data.crc();
                }
            }
            Version::V2 if sums.data => {
                let _ = [front, middle, data].map(Segment::crc_v2);
            }
            Version::V2 => {}
        }
        true
    }

    fn go_on(self: &Arc<Self>, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Connect => self.home.post(Cmd::Connect(Arc::clone(self))),
            Next::Flush if self.loopback => self.home.post(Cmd::Deliver(Arc::clone(self), None)),
            Next::Flush if put_off(self) => {}
            Next::Flush => {
                let inline = self.shared.config.inline_send;
                if !inline || self.flush(INLINE_BYTES).ok() != Some(Flushed::Done) {
                    // The worker meets the same full socket, or the same error, and deals with it.
                    self.home.post(Cmd::Flush(Arc::clone(self)));
                }
            }
        }
    }

    /// The home worker's flush.
    pub(crate) fn flush_by_worker(&self) -> io::Result<Flushed> {
        self.flush(WORKER_BYTES)
    }

    /// Writes what is queued. Only for whoever holds the gate.
    fn flush(&self, budget: usize) -> io::Result<Flushed> {
        let injector = &self.shared.injector;
        if injector.breaks_link() {
            self.cut();
        }
        if injector.is_congested() && self.outbox.is_flushing() {
            return Ok(Flushed::More);
        }
        self.expire();
        self.outbox.flush(budget, || self.shared.stamp())
    }

    /// Drops what is too old to be sent, if the policy says that something is. Returns the time, if
    /// that matters.
    fn expire(&self) -> Option<Instant> {
        let limit = self.policy.send_age_max?;
        let now = self.shared.env.now();
        let expired = self.outbox.expire(now, limit);
        if expired > 0 {
            let counter = &self.shared.stats.expired;
            counter.fetch_add(expired as u64, Ordering::Relaxed);
            tracing::debug!(peer = %self.peer_addr, expired, ?limit, "too old to be sent");
        }
        Some(now)
    }

    /// Room in the socket: whether the worker is the flusher now.
    pub(crate) fn unblock(&self) -> bool {
        self.outbox.unblock()
    }

    /// The socket is full: the gate waits for [`unblock`](Self::unblock).
    pub(crate) fn block(&self) {
        self.outbox.block();
    }

    /// Breaks the link from below: its next read or write learns of it.
    pub(crate) fn cut(&self) {
        self.outbox.cut();
    }

    /// The handshake is done: from now on what is queued goes out by `writer`, behind `unsent`. The
    /// caller is the flusher then. False if the session was closed meanwhile.
    pub(crate) fn open(
        &self,
        opened: &Opened,
        writing: Writing,
        writer: Box<dyn WriteHalf>,
        unsent: &[u8],
    ) -> bool {
        // Before anybody can see that it is connected.
        self.features.store(opened.features, Ordering::Release);
        *self.who() = Some(Arc::clone(&opened.who));
        self.sums.store(writing.uses_sums(), Ordering::Relaxed);
        let terms = (opened.lossy, opened.acked);
        self.outbox.open(terms, writing, writer, unsent)
    }

    fn who(&self) -> MutexGuard<'_, Option<Arc<Authenticated>>> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn authenticated(&self) -> Option<Arc<Authenticated>> {
        self.who().clone()
    }

    /// Ends sending for good and says how many messages were not sent. `None` if it was closed
    /// before.
    pub(crate) fn close(&self) -> Option<usize> {
        self.outbox.close()
    }

    /// The session starts over: drops what is queued, and says how many messages that were
    /// (msgr1 §17). Only while there is no open link.
    pub(crate) fn reset(&self, out_seq: u64) -> usize {
        self.outbox.reset(out_seq)
    }

    /// Lets the link go; what the peer has not acknowledged is queued again. Only the home worker
    /// does this.
    pub(crate) fn drop_link(&self) {
        #[cfg(feature = "sim")]
        let replay = crate::sim::plant::replay;
        #[cfg(not(feature = "sim"))]
        let replay = std::convert::identity;
        self.outbox.drop_link(replay);
    }

    /// Without a link, and nobody connects: from now on a message that is queued has somebody do
    /// it. False if one is queued already, and this side may connect.
    pub(crate) fn stand_by(&self) -> bool {
        self.outbox.stand_by()
    }

    /// Somebody connects.
    pub(crate) fn wake(&self) {
        self.outbox.wake();
    }

    /// The peer has all messages up to this number.
    pub(crate) fn acked(&self, seq: u64) {
        self.outbox.acked(seq);
    }

    /// The next message of the loop-back connection; opens the gate when there is none.
    pub(crate) fn pop_local(&self) -> Option<Message> {
        self.outbox.pop()
    }

    /// The session does not survive its next error any more.
    pub(super) fn mark_disposable(&self) {
        self.outbox.set_lossy();
    }

    /// When the link was parked by a throttle, on the messenger's scale; 0 if it is not.
    pub(crate) fn set_throttled(&self, since: Option<Instant>) {
        let nanos = since.map_or(0, |at| self.shared.nanos(at).max(1));
        self.throttled_since.store(nanos, Ordering::Relaxed);
    }

    pub(super) fn throttled_for(&self) -> Option<Duration> {
        let since = self.throttled_since.load(Ordering::Relaxed);
        let now = self.shared.nanos(self.shared.env.now());
        (since != 0).then(|| Duration::from_nanos(now.saturating_sub(since)))
    }

    /// A keepalive of the peer has arrived.
    pub(crate) fn keepalive_came(&self, stamp: Timespec) {
        self.last_keepalive.store(word(stamp), Ordering::Relaxed);
    }

    pub(super) fn last_keepalive(&self) -> Option<SystemTime> {
        time(self.last_keepalive.load(Ordering::Relaxed))
    }

    pub(crate) fn keepalive_acked(&self, stamp: Timespec) {
        self.last_keepalive_ack
            .store(word(stamp), Ordering::Relaxed);
    }

    pub(crate) fn last_keepalive_ack(&self) -> Option<SystemTime> {
        time(self.last_keepalive_ack.load(Ordering::Relaxed))
    }
}

/// A stamp in one atomic word; 0 is none.
fn word(stamp: Timespec) -> u64 {
    u64::from(stamp.secs) << 32 | u64::from(stamp.nanos)
}

fn time(word: u64) -> Option<SystemTime> {
    let stamp = Timespec {
        secs: (word >> 32) as u32,
        nanos: word as u32,
    };
    (word != 0).then(|| SystemTime::UNIX_EPOCH + Duration::from(stamp))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("peer_type", &self.peer_type)
            .field("peer_addr", &self.peer_addr)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
