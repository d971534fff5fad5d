//! The sending half of a session without its surroundings: the queue, its gate, and what is written
//! through them.
//!
//! Who turns the gate to `Flushing` is the one flusher, whichever thread that is; the gate changes
//! under the queue's lock only. Two locks, never held while user code runs, and taken in this
//! order: `tx` (the flusher's things), then `queue`. A link comes and goes by the home worker's
//! hand.
//!
//! No messenger, worker or clock is known here. What there is to do elsewhere is returned
//! ([`Next`], [`Flushed`]), so that `loom_models` can run this code, and nothing else, in all orders.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::codec::Writing;
use super::queue::{Control, Gate, SendQueue};
use crate::error::SendError;
use crate::message::{Message, TxBatch};
use crate::net::WriteHalf;
use crate::proto::ProtoError;
use crate::sync::{AtomicBool, Mutex, MutexGuard};
use crate::wire::Timespec;

#[cfg(all(test, loom))]
mod loom_models;

/// How much is encoded before it is written: the size of one write.
const BATCH_BYTES: u64 = 256 << 10;
/// How many messages are encoded before they are written.
const BATCH_MESSAGES: usize = 64;

thread_local! {
    /// Messages between the queue and their encoding, which is outside of the queue's lock. Empty
    /// between flushes; here for its allocation, which each session would have otherwise.
    static TAKEN: Cell<Vec<Message>> = const { Cell::new(Vec::new()) };
    /// Where this thread encrypts.
    static ROOM: Cell<BytesMut> = Cell::new(BytesMut::new());
}

pub(super) struct Outbox {
    queue: Mutex<SendQueue>,
    tx: Mutex<Tx>,
    /// This side connects when there is something to send; else it waits for the peer to do it.
    connects: bool,
    /// What the policy says, until the accepting side has said otherwise.
    lossy: AtomicBool,
    connected: AtomicBool,
    /// The gate is closed; for whoever only wants to know.
    closed: AtomicBool,
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
    writing: Writing,
    writer: Box<dyn WriteHalf>,
    /// The number up to which the peer's messages have arrived, as far as it is to be told.
    arrived: u64,
}

/// What has to follow when something was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Next {
    /// Somebody sees to it already, or it waits for a link.
    Nothing,
    /// The caller is the flusher: it flushes, or has the home worker do it.
    Flush,
    /// The home worker has to connect: nobody else will.
    Connect,
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

impl Outbox {
    /// For a link that is to come. The limits are bytes and messages that may be queued.
    pub(super) fn new(limits: (u64, usize), connects: bool, lossy: bool) -> Self {
        Self::with_gate(Gate::Down, limits, connects, lossy)
    }

    /// Without links: somebody [pops](Self::pop) what is queued.
    pub(super) fn local(limits: (u64, usize), lossy: bool) -> Self {
        Self::with_gate(Gate::Idle, limits, false, lossy)
    }

    fn with_gate(gate: Gate, (bytes, messages): (u64, usize), connects: bool, lossy: bool) -> Self {
        Self {
            queue: Mutex::new(SendQueue::new(gate, bytes, messages)),
            tx: Mutex::new(Tx::default()),
            connects,
            lossy: AtomicBool::new(lossy),
            connected: AtomicBool::new(gate == Gate::Idle),
            closed: AtomicBool::new(false),
        }
    }

    fn queue(&self) -> MutexGuard<'_, SendQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tx(&self) -> MutexGuard<'_, Tx> {
        self.tx.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn is_lossy(&self) -> bool {
        self.lossy.load(Ordering::Relaxed)
    }

    /// From now on nothing is kept for another link.
    pub(super) fn set_lossy(&self) {
        self.lossy.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_flushing(&self) -> bool {
        self.queue().gate == Gate::Flushing
    }

    pub(super) fn queued(&self) -> usize {
        self.queue().messages()
    }

    pub(super) fn unacked(&self) -> usize {
        let tx = self.tx();
        // Between the two there is no moment in which a message is in neither.
        tx.sent.len() + self.queue().replays()
    }

    /// Queues a message, or gives it back. If there is no room, the task is told when there may be.
    /// `now` is for [`expire`](Self::expire).
    pub(super) fn push(
        &self,
        message: Message,
        now: Option<Instant>,
        waker: Option<&Waker>,
    ) -> Result<Next, SendError> {
        let mut queue = self.queue();
        if let Err(error) = queue.push(message, now) {
            if let (SendError::Full(_), Some(waker)) = (&error, waker) {
                queue.wait(waker);
            }
            return Err(error);
        }
        Ok(self.elect(&mut queue))
    }

    /// Drops what was queued longer ago than `limit` and has not been sent, and says how many these
    /// were.
    pub(super) fn expire(&self, now: Instant, limit: Duration) -> usize {
        let mut queue = self.queue();
        let expired = queue.expire(now, limit);
        let waiting = if expired.is_empty() {
            Vec::new()
        } else {
            queue.take_waiting()
        };
        drop(queue);
        waiting.into_iter().for_each(Waker::wake);
        expired.len()
    }

    pub(super) fn push_control(&self, control: Control) -> Next {
        let mut queue = self.queue();
        if queue.gate == Gate::Closed {
            return Next::Nothing;
        }
        queue.push_control(control);
        self.elect(&mut queue)
    }

    /// If nobody sends, sees to it that somebody does.
    fn elect(&self, queue: &mut SendQueue) -> Next {
        if queue.gate == Gate::Standby && self.connects && queue.has_messages() {
            queue.gate = Gate::Down;
            return Next::Connect;
        }
        if queue.gate != Gate::Idle {
            return Next::Nothing;
        }
        queue.gate = Gate::Flushing;
        Next::Flush
    }

    /// Room in the socket: whether the caller, the home worker, is the flusher now.
    pub(super) fn unblock(&self) -> bool {
        let mut queue = self.queue();
        let blocked = queue.gate == Gate::Blocked;
        if blocked {
            queue.gate = Gate::Flushing;
        }
        blocked
    }

    /// The socket is full: the gate waits for [`unblock`](Self::unblock).
    pub(super) fn block(&self) {
        let mut queue = self.queue();
        if queue.gate == Gate::Flushing {
            queue.gate = Gate::Blocked;
        }
    }

    /// Breaks the link from below: its next read or write learns of it.
    pub(super) fn cut(&self) {
        if let Some(link) = &mut self.tx().link {
            link.writer.shutdown();
        }
    }

    /// Writes what is queued. Only for whoever holds the gate at `Flushing`. `stamp` is the time of
    /// a keepalive.
    pub(super) fn flush(&self, budget: usize, stamp: impl Fn() -> Timespec) -> io::Result<Flushed> {
        let mut waiting = Vec::new();
        let mut taken = TAKEN.take();
        let flushed = self.flush_locked(budget, stamp, &mut taken, &mut waiting);
        debug_assert!(taken.is_empty());
        TAKEN.set(taken);
        // No task is woken under a lock: what wakers do is not ours.
        waiting.into_iter().for_each(Waker::wake);
        flushed
    }

    fn flush_locked(
        &self,
        budget: usize,
        stamp: impl Fn() -> Timespec,
        taken: &mut Vec<Message>,
        waiting: &mut Vec<Waker>,
    ) -> io::Result<Flushed> {
        let mut tx = self.tx();
        let mut room = ROOM.take();
        tx.swap_room(&mut room);
        // What the handshake has left there.
        room = BytesMut::new();
        let flushed = self.flush_with(&mut tx, budget, stamp, (taken, waiting));
        tx.swap_room(&mut room);
        ROOM.set(room);
        flushed
    }

    fn flush_with(
        &self,
        tx: &mut Tx,
        budget: usize,
        stamp: impl Fn() -> Timespec,
        (taken, waiting): (&mut Vec<Message>, &mut Vec<Waker>),
    ) -> io::Result<Flushed> {
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
            let controls = tx.take(&mut queue, &stamp, taken);
            waiting.append(&mut queue.take_waiting());
            drop(queue);
            let messages = tx.encode(taken, !self.is_lossy());
            controls.and(messages).map_err(io::Error::other)?;
        }
    }

    /// The handshake is done: from now on what is queued goes out by `writer`, behind `unsent`.
    /// What the peer says it has is not sent again (msgr1 §16). The caller is the flusher then.
    /// False if this was closed meanwhile.
    pub(super) fn open(
        &self,
        (lossy, acked): (bool, Option<u64>),
        writing: Writing,
        writer: Box<dyn WriteHalf>,
        unsent: &[u8],
    ) -> bool {
        let mut tx = self.tx();
        debug_assert!(tx.sent.is_empty(), "a fault has queued them again");
        tx.batch = TxBatch::default();
        tx.batch.copy(unsent);
        tx.link = Some(TxLink {
            writing,
            writer,
            arrived: 0,
        });
        let mut queue = self.queue();
        if queue.gate == Gate::Closed {
            return false;
        }
        self.lossy.store(lossy, Ordering::Relaxed);
        match acked {
            Some(acked) if queue.replays() == 0 => tx.out_seq = acked,
            Some(acked) => tx.out_seq = tx.out_seq.wrapping_add(queue.trim_replay(acked)),
            None if queue.replays() == 0 => tx.out_seq = 0,
            None => {}
        }
        queue.gate = Gate::Flushing;
        self.connected.store(true, Ordering::Release);
        true
    }

    /// Ends sending for good and says how many messages were not sent. `None` if it was closed
    /// before.
    pub(super) fn close(&self) -> Option<usize> {
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
    pub(super) fn reset(&self, out_seq: u64) -> usize {
        let mut tx = self.tx();
        let sent = std::mem::take(&mut tx.sent);
        tx.out_seq = out_seq;
        drop(tx);
        let unsent = self.queue().clear();
        unsent.len() + sent.len()
    }

    /// Lets the link go; what the peer has not acknowledged is queued again, in its order, as
    /// `replay` returns it. Only the home worker does this; it may have to wait for the end of a
    /// flush by another thread, which is bounded and never blocks.
    pub(super) fn drop_link(&self, replay: impl FnOnce(VecDeque<Message>) -> VecDeque<Message>) {
        let mut tx = self.tx();
        if let Some(mut link) = tx.link.take() {
            link.writer.shutdown();
        }
        tx.batch = TxBatch::default();
        let sent = replay(std::mem::take(&mut tx.sent));
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
    pub(super) fn stand_by(&self) -> bool {
        let mut queue = self.queue();
        let busy = queue.has_messages() || queue.wants_keepalive();
        let may = queue.gate == Gate::Down && (!self.connects || !busy);
        if may {
            queue.gate = Gate::Standby;
        }
        may
    }

    /// Somebody connects.
    pub(super) fn wake(&self) {
        let mut queue = self.queue();
        if queue.gate == Gate::Standby {
            queue.gate = Gate::Down;
        }
    }

    /// The peer has all messages up to this number.
    pub(super) fn acked(&self, seq: u64) {
        let mut tx = self.tx();
        let known = tx.sent.partition_point(|message| message.head().seq <= seq);
        tx.sent.drain(..known);
    }

    /// Takes the next message out; opens the gate when there is none.
    pub(super) fn pop(&self) -> Option<Message> {
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
}

impl Tx {
    fn swap_room(&mut self, room: &mut BytesMut) {
        if let Some(link) = &mut self.link {
            link.writing.swap_room(room);
        }
    }

    fn write(&mut self) -> io::Result<usize> {
        let Some(link) = &mut self.link else {
            // The home worker took the link; what was encoded for it is void.
            self.batch = TxBatch::default();
            return Ok(0);
        };
        self.batch.write_to(|slices| link.writer.write(slices))
    }

    /// Takes what fits into one batch.
    fn take(
        &mut self,
        queue: &mut SendQueue,
        stamp: impl Fn() -> Timespec,
        taken: &mut Vec<Message>,
    ) -> Result<(), ProtoError> {
        let Some(link) = &mut self.link else {
            debug_assert!(false, "flushing without a link");
            queue.gate = Gate::Down;
            return Ok(());
        };
        let mut done = Ok(());
        while let Some(control) = queue.pop_control() {
            let encoded = match control {
                Control::Keepalive => link.writing.keepalive(stamp(), &mut self.batch),
                Control::KeepaliveAck(stamp) => link.writing.keepalive_ack(stamp, &mut self.batch),
                Control::Ack(seq) => {
                    link.arrived = seq;
                    if link.writing.acks_ride() && queue.has_messages() {
                        continue;
                    }
                    link.writing.ack(seq, &mut self.batch)
                }
            };
            done = done.and(encoded);
        }
        queue.pop_batch(taken, BATCH_BYTES, BATCH_MESSAGES);
        done
    }

    /// Encodes what was taken. An error concerns the link: all of it is kept for another one.
    fn encode(&mut self, taken: &mut Vec<Message>, keep: bool) -> Result<(), ProtoError> {
        let mut done = Ok(());
        for message in taken.iter_mut() {
            self.out_seq = self.out_seq.wrapping_add(1);
            if keep {
                message.head_mut().seq = self.out_seq;
                self.sent.push_back(message.share());
            }
            if let (Some(link), Ok(())) = (&mut self.link, &done) {
                let arrived = link.arrived;
                done = link
                    .writing
                    .message(message, self.out_seq, arrived, &mut self.batch);
            }
        }
        taken.clear();
        done
    }
}
