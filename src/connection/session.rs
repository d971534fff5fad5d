//! What is behind a [`Connection`](super::Connection): the sending half, shared by all threads.
//!
//! Two locks, never held while user code runs, and taken in this order: `tx` (the flusher's
//! things), then `queue`. Receiving state is not here; it belongs to the session's home worker.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use event_driver::Token;

use super::queue::{Control, Gate, SendQueue};
use crate::error::SendError;
use crate::message::{Message, TxBatch, priority};
use crate::messenger::{Policy, Shared};
use crate::net::WriteHalf;
use crate::processor::AcceptSlot;
use crate::proto::v1::{Encoder, Opened};
use crate::wire::{EntityAddr, EntityType, Timespec};
use crate::worker::{Cmd, WorkerHandle, put_off};

/// How much is encoded before it is written: the size of one write.
const BATCH_BYTES: u64 = 256 << 10;
/// How many messages are encoded before they are written.
const BATCH_MESSAGES: usize = 64;
/// How much a thread that is not the session's worker writes before it lets the worker go on.
const INLINE_BYTES: usize = 64 << 10;
/// How much the worker writes for one session before it turns to others.
const WORKER_BYTES: usize = 4 << 20;

thread_local! {
    /// Messages between the queue and their encoding, which is outside of the queue's lock. Empty
    /// between flushes; here for its allocation, which each session would have otherwise.
    static TAKEN: Cell<Vec<Message>> = const { Cell::new(Vec::new()) };
}

pub(crate) struct Session {
    /// Unique in the messenger; the class of its messages in the dispatch queue. From 1.
    pub(crate) id: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer_type: EntityType,
    pub(crate) peer_addr: EntityAddr,
    pub(crate) policy: Policy,
    pub(crate) home: WorkerHandle,
    pub(crate) loopback: bool,
    /// Its entry in the home worker's table, once it is there.
    pub(crate) slot: OnceLock<Token>,
    /// Of an accepted connection: it counts as one until the worker has let go of it and its last
    /// event has been dispatched, however long somebody keeps a handle.
    pub(crate) place: Mutex<Option<Arc<AcceptSlot>>>,
    queue: Mutex<SendQueue>,
    tx: Mutex<Tx>,
    /// What the policy says, until the accepting side has said otherwise.
    lossy: AtomicBool,
    connected: AtomicBool,
    /// The gate is closed; for whoever only wants to know.
    closed: AtomicBool,
    features: AtomicU64,
    last_keepalive: AtomicU64,
    last_keepalive_ack: AtomicU64,
    throttled_since: AtomicU64,
}

/// What only the one flusher uses, and the home worker when the link comes or goes.
#[derive(Default)]
struct Tx {
    /// Number of the last message that was encoded.
    out_seq: u64,
    link: Option<TxLink>,
    batch: TxBatch,
    /// Messages of this link that the peer has not acknowledged; always empty if lossy.
    sent: VecDeque<Message>,
}

struct TxLink {
    encoder: Encoder,
    writer: Box<dyn WriteHalf>,
}

/// How a flush ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flushed {
    /// Everything is written, or the gate has been taken away; somebody else flushes next time.
    Done,
    /// The socket is full; the gate is still in the caller's hand.
    Full,
    /// The budget is used up; the gate is still in the caller's hand.
    More,
}

impl Session {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        (peer_type, peer_addr): (EntityType, EntityAddr),
        policy: Policy,
        home: WorkerHandle,
        loopback: bool,
    ) -> Arc<Self> {
        let config = &shared.config;
        let gate = if loopback { Gate::Idle } else { Gate::Down };
        let queue = SendQueue::new(gate, config.send_queue_bytes, config.send_queue_messages);
        let lossy = AtomicBool::new(policy.lossy);
        Arc::new(Self {
            lossy,
            id: shared.next_session_id(),
            shared: Arc::clone(shared),
            peer_type,
            peer_addr,
            policy,
            home,
            loopback,
            slot: OnceLock::new(),
            place: Mutex::default(),
            queue: Mutex::new(queue),
            tx: Mutex::default(),
            connected: AtomicBool::new(loopback),
            closed: AtomicBool::new(false),
            features: AtomicU64::new(if loopback { u64::MAX } else { 0 }),
            last_keepalive: AtomicU64::new(0),
            last_keepalive_ack: AtomicU64::new(0),
            throttled_since: AtomicU64::new(0),
        })
    }

    pub(crate) fn place(&self) -> MutexGuard<'_, Option<Arc<AcceptSlot>>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, SendQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tx(&self) -> MutexGuard<'_, Tx> {
        self.tx.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn features(&self) -> u64 {
        self.features.load(Ordering::Acquire)
    }

    pub(crate) fn is_lossy(&self) -> bool {
        self.lossy.load(Ordering::Relaxed)
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue().messages()
    }

    pub(super) fn unacked(&self) -> usize {
        let tx = self.tx();
        // Between the two there is no moment in which a message is in neither.
        tx.sent.len() + self.queue().replays()
    }

    /// Takes a message for sending; see [`Connection::send`](super::Connection::send).
    pub(crate) fn send(self: &Arc<Self>, mut message: Message) -> Result<(), SendError> {
        if !self.prepare(&mut message) {
            return Err(SendError::TooLarge(message));
        }
        let mut queue = self.queue();
        queue.push(message)?;
        self.elect(queue);
        Ok(())
    }

    /// As [`send`](Self::send); if the queue is full, has the task told when there may be room.
    pub(super) fn send_or_wait(
        self: &Arc<Self>,
        mut message: Message,
        waker: &Waker,
    ) -> Result<(), SendError> {
        if !self.prepare(&mut message) {
            return Err(SendError::TooLarge(message));
        }
        let mut queue = self.queue();
        if let Err(error) = queue.push(message) {
            if matches!(error, SendError::Full(_)) {
                queue.wait(waker);
            }
            return Err(error);
        }
        self.elect(queue);
        Ok(())
    }

    pub(super) fn send_control(self: &Arc<Self>, control: Control) {
        let mut queue = self.queue();
        if queue.gate != Gate::Closed {
            queue.push_control(control);
            self.elect(queue);
        }
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
        if !self.loopback && config.checksums.header {
            front.crc();
            middle.crc();
        }
        if !self.loopback && config.checksums.data {
            data.crc();
        }
        true
    }

    /// If nobody sends, sees to it that somebody does.
    fn elect(self: &Arc<Self>, mut queue: MutexGuard<'_, SendQueue>) {
        if queue.gate == Gate::Standby && !self.policy.server && queue.has_messages() {
            queue.gate = Gate::Down;
            drop(queue);
            return self.home.post(Cmd::Connect(Arc::clone(self)));
        }
        if queue.gate != Gate::Idle {
            return;
        }
        queue.gate = Gate::Flushing;
        drop(queue);
        if self.loopback {
            self.home.post(Cmd::Deliver(Arc::clone(self), None));
        } else if !put_off(self) {
            let inline = self.shared.config.inline_send;
            if !inline || self.flush(INLINE_BYTES).ok() != Some(Flushed::Done) {
                // The worker meets the same full socket, or the same error, and deals with it.
                self.home.post(Cmd::Flush(Arc::clone(self)));
            }
        }
    }

    /// The home worker's flush.
    pub(crate) fn flush_by_worker(&self) -> io::Result<Flushed> {
        self.flush(WORKER_BYTES)
    }

    /// Room in the socket: whether the worker is the flusher now.
    pub(crate) fn unblock(&self) -> bool {
        let mut queue = self.queue();
        let blocked = queue.gate == Gate::Blocked;
        if blocked {
            queue.gate = Gate::Flushing;
        }
        blocked
    }

    /// The socket is full: the gate waits for [`unblock`](Self::unblock).
    pub(crate) fn block(&self) {
        let mut queue = self.queue();
        if queue.gate == Gate::Flushing {
            queue.gate = Gate::Blocked;
        }
    }

    /// Breaks the link from below: its next read or write learns of it.
    pub(crate) fn cut(&self) {
        if let Some(link) = &mut self.tx().link {
            link.writer.shutdown();
        }
    }

    /// Writes what is queued. Only for whoever holds the gate at `Flushing`.
    fn flush(&self, budget: usize) -> io::Result<Flushed> {
        let mut waiting = Vec::new();
        let mut taken = TAKEN.take();
        let flushed = self.flush_locked(budget, &mut taken, &mut waiting);
        debug_assert!(taken.is_empty());
        TAKEN.set(taken);
        // No task is woken under a lock: what wakers do is not ours.
        waiting.into_iter().for_each(Waker::wake);
        flushed
    }

    fn flush_locked(
        &self,
        budget: usize,
        taken: &mut Vec<Message>,
        waiting: &mut Vec<Waker>,
    ) -> io::Result<Flushed> {
        let injector = &self.shared.injector;
        if injector.breaks_link() {
            self.cut();
        }
        if injector.is_congested() && self.queue().gate == Gate::Flushing {
            return Ok(Flushed::More);
        }
        let mut tx = self.tx();
        let mut written = 0;
        loop {
            while !tx.batch.is_empty() {
                if written >= budget {
                    return Ok(Flushed::More);
                }
                match tx.write() {
                    Ok(n) => written += n,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Full),
                    Err(e) => return Err(e),
                }
            }
            let mut queue = self.queue();
            if queue.gate != Gate::Flushing {
                return Ok(Flushed::Done);
            }
            if queue.is_empty() {
                queue.gate = Gate::Idle;
                return Ok(Flushed::Done);
            }
            if written >= budget {
                return Ok(Flushed::More);
            }
            tx.take(&mut queue, &self.shared, taken);
            waiting.append(&mut queue.take_waiting());
            drop(queue);
            tx.encode(taken, !self.is_lossy());
        }
    }

    /// The handshake is done: from now on what is queued goes out by `writer`, behind `unsent`.
    /// What the peer says it has is not sent again (msgr1 §16). The caller is the flusher then.
    /// False if the session was closed meanwhile.
    pub(crate) fn open(
        &self,
        opened: &Opened,
        encoder: Encoder,
        writer: Box<dyn WriteHalf>,
        unsent: &[u8],
    ) -> bool {
        let mut tx = self.tx();
        debug_assert!(tx.sent.is_empty(), "a fault has queued them again");
        tx.batch = TxBatch::default();
        tx.batch.copy(unsent);
        tx.link = Some(TxLink { encoder, writer });
        let mut queue = self.queue();
        if queue.gate == Gate::Closed {
            return false;
        }
        let features = opened.features;
        self.lossy.store(opened.lossy, Ordering::Relaxed);
        match opened.acked {
            Some(acked) if queue.replays() == 0 => tx.out_seq = acked,
            Some(acked) => tx.out_seq = tx.out_seq.wrapping_add(queue.trim_replay(acked)),
            None if queue.replays() == 0 => tx.out_seq = 0,
            None => {}
        }
        queue.gate = Gate::Flushing;
        self.features.store(features, Ordering::Release);
        self.connected.store(true, Ordering::Release);
        true
    }

    /// Ends sending for good and says how many messages were not sent. `None` if it was closed
    /// before.
    pub(crate) fn close(&self) -> Option<usize> {
        let mut queue = self.queue();
        // Under the lock, or an `open` in between would have the last word.
        self.connected.store(false, Ordering::Release);
        self.closed.store(true, Ordering::Release);
        if queue.gate == Gate::Closed {
            return None;
        }
        let unsent = queue.close();
        let waiting = queue.take_waiting();
        drop(queue);
        waiting.into_iter().for_each(Waker::wake);
        Some(unsent.len())
    }

    /// The session starts over: drops what is queued, and says how many messages that were
    /// (msgr1 §17). Only while there is no open link.
    pub(crate) fn reset(&self, out_seq: u64) -> usize {
        let mut tx = self.tx();
        let sent = std::mem::take(&mut tx.sent);
        tx.out_seq = out_seq;
        drop(tx);
        let unsent = self.queue().clear();
        unsent.len() + sent.len()
    }

    /// Lets the link go; what the peer has not acknowledged is queued again, in its order. Only the
    /// home worker does this; it may have to wait for the end of a flush by another thread, which
    /// is bounded and never blocks.
    pub(crate) fn drop_link(&self) {
        let mut tx = self.tx();
        if let Some(mut link) = tx.link.take() {
            link.writer.shutdown();
        }
        tx.batch = TxBatch::default();
        let sent = std::mem::take(&mut tx.sent);
        #[cfg(feature = "sim")]
        let sent = crate::sim::plant::replay(sent);
        tx.out_seq = tx.out_seq.wrapping_sub(sent.len() as u64);
        self.connected.store(false, Ordering::Release);
        let mut queue = self.queue();
        if queue.gate != Gate::Closed {
            queue.requeue(sent);
            queue.gate = Gate::Down;
        }
    }

    /// Without a link, and nobody connects: from now on a message that is queued has somebody do
    /// it. False if one is queued already, and this side may connect.
    pub(crate) fn stand_by(&self) -> bool {
        let mut queue = self.queue();
        let busy = queue.has_messages() || queue.wants_keepalive();
        let may = queue.gate == Gate::Down && (self.policy.server || !busy);
        if may {
            queue.gate = Gate::Standby;
        }
        may
    }

    /// Somebody connects.
    pub(crate) fn wake(&self) {
        let mut queue = self.queue();
        if queue.gate == Gate::Standby {
            queue.gate = Gate::Down;
        }
    }

    /// The peer has all messages up to this number.
    pub(crate) fn acked(&self, seq: u64) {
        let mut tx = self.tx();
        let known = tx.sent.partition_point(|message| message.head().seq <= seq);
        tx.sent.drain(..known);
    }

    /// The next message of the loop-back connection; opens the gate when there is none.
    pub(crate) fn pop_local(&self) -> Option<Message> {
        let mut queue = self.queue();
        let message = queue.pop();
        let waiting = queue.take_waiting();
        if message.is_none() && queue.gate == Gate::Flushing {
            queue.gate = Gate::Idle;
        }
        drop(queue);
        waiting.into_iter().for_each(Waker::wake);
        message
    }

    /// The session does not survive its next error any more.
    pub(super) fn mark_disposable(&self) {
        self.lossy.store(true, Ordering::Relaxed);
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

impl Tx {
    fn write(&mut self) -> io::Result<usize> {
        let Some(link) = &mut self.link else {
            // The home worker took the link; what was encoded for it is void.
            self.batch = TxBatch::default();
            return Ok(0);
        };
        self.batch.write_to(|slices| link.writer.write(slices))
    }

    /// Takes what fits into one batch.
    fn take(&mut self, queue: &mut SendQueue, shared: &Shared, taken: &mut Vec<Message>) {
        let Some(link) = &self.link else {
            debug_assert!(false, "flushing without a link");
            queue.gate = Gate::Down;
            return;
        };
        while let Some(control) = queue.pop_control() {
            match control {
                Control::Keepalive => link.encoder.keepalive(shared.stamp(), &mut self.batch),
                Control::KeepaliveAck(stamp) => link.encoder.keepalive_ack(stamp, &mut self.batch),
                Control::Ack(seq) => link.encoder.ack(seq, &mut self.batch),
            }
        }
        let mut bytes = 0;
        while bytes < BATCH_BYTES && taken.len() < BATCH_MESSAGES {
            let Some(message) = queue.pop() else { return };
            bytes += message.size();
            taken.push(message);
        }
    }

    fn encode(&mut self, taken: &mut Vec<Message>, keep: bool) {
        let Some(link) = &self.link else { return };
        for mut message in taken.drain(..) {
            self.out_seq = self.out_seq.wrapping_add(1);
            if keep {
                message.head_mut().seq = self.out_seq;
                self.sent.push_back(message.share());
            }
            link.encoder.message(message, self.out_seq, &mut self.batch);
        }
    }
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
