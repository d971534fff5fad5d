//! What waits to be sent on one connection, and the gate that elects who sends it.
//!
//! The gate is changed only under the queue's lock, so "the queue is empty" and "nobody is sending"
//! are one decision. Whoever turns it from [`Idle`](Gate::Idle) to [`Flushing`](Gate::Flushing) is
//! the one flusher until it says otherwise; everybody else just queues.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::SendError;
use crate::message::Message;
use crate::wire::Timespec;

/// The most answers to keepalives that wait. A peer that sends more without reading gets the newest.
const KEEPALIVE_ACKS_MAX: usize = 8;

/// An emptied lane with room for more messages than this gives its memory back.
const SPARE_MAX: usize = 1024;

/// Whether the connection can send, and who does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gate {
    /// There is no open link; what is queued waits for it.
    Down,
    /// As `Down`, and nobody tries to connect: who queues something has to see to it.
    Standby,
    /// Open, nothing to send.
    Idle,
    /// Somebody sends.
    Flushing,
    /// The socket is full; the worker goes on when it has room.
    Blocked,
    /// For good.
    Closed,
}

/// Something small that goes before messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Control {
    Keepalive,
    KeepaliveAck(Timespec),
    /// All messages up to this number have arrived.
    Ack(u64),
}

/// Messages of one priority, and since when they wait, if that matters.
type Lane = VecDeque<(Message, Option<Instant>)>;

#[derive(Debug)]
pub(super) struct SendQueue {
    pub(super) gate: Gate,
    /// Highest priority first; never an empty lane.
    lanes: Vec<(u16, Lane)>,
    /// An emptied lane's allocation, kept for the next message.
    spare: Lane,
    /// Messages of an earlier link that the peer did not acknowledge, in their order. They go
    /// first.
    replay: VecDeque<Message>,
    keepalive: bool,
    acks: VecDeque<Timespec>,
    ack: Option<u64>,
    bytes: u64,
    messages: usize,
    bytes_max: u64,
    messages_max: usize,
    /// Who waits for room. At most one for each future that was polled and not dropped.
    waiting: Vec<Waker>,
}

impl SendQueue {
    pub(super) fn new(gate: Gate, bytes_max: u64, messages_max: usize) -> Self {
        Self {
            gate,
            lanes: Vec::new(),
            spare: Lane::new(),
            replay: VecDeque::new(),
            keepalive: false,
            acks: VecDeque::new(),
            ack: None,
            bytes: 0,
            messages: 0,
            bytes_max,
            messages_max,
            waiting: Vec::new(),
        }
    }

    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn is_empty(&self) -> bool {
        let controls = self.keepalive || self.ack.is_some() || !self.acks.is_empty();
        !controls && !self.has_messages()
    }

    pub(super) fn has_messages(&self) -> bool {
        self.messages > 0 || !self.replay.is_empty()
    }

    pub(super) fn wants_keepalive(&self) -> bool {
        self.keepalive
    }

    /// Puts messages of a broken link before all others, which may be left over from an earlier
    /// one.
    pub(super) fn requeue(&mut self, mut sent: VecDeque<Message>) {
        sent.append(&mut self.replay);
        self.replay = sent;
        self.ack = None;
    }

    pub(super) fn replays(&self) -> usize {
        self.replay.len()
    }

    /// Forgets the first replays, up to a number that the peer has. Returns how many these were.
    pub(super) fn trim_replay(&mut self, acked: u64) -> u64 {
        let known = self
            .replay
            .partition_point(|message| message.head().seq <= acked);
        self.replay.drain(..known);
        known as u64
    }

    /// Queues a message behind those of its priority. `now` is for [`expire`](Self::expire).
    pub(super) fn push(&mut self, message: Message, now: Option<Instant>) -> Result<(), SendError> {
        if self.gate == Gate::Closed {
            return Err(SendError::Closed(message));
        }
        let bytes = self.bytes + message.size();
        let full = self.messages >= self.messages_max;
        if full || (bytes > self.bytes_max && self.messages > 0) {
            return Err(SendError::Full(message));
        }
        self.bytes = bytes;
        self.messages += 1;
        let priority = message.head().priority;
        let at = self.lanes.partition_point(|(p, _)| *p > priority);
        if self.lanes.get(at).is_none_or(|(p, _)| *p != priority) {
            let mut lane = std::mem::take(&mut self.spare);
            // Most connections never have two messages waiting, and a first growth is to four.
            lane.reserve_exact(1);
            self.lanes.reserve_exact(1);
            self.lanes.insert(at, (priority, lane));
        }
        self.lanes[at].1.push_back((message, now));
        Ok(())
    }

    /// Takes out what was queued longer ago than `limit`; it is returned to be dropped outside of
    /// the lock. What has had a number once is never too old.
    pub(super) fn expire(&mut self, now: Instant, limit: Duration) -> Vec<Message> {
        let mut expired = Vec::new();
        for (_, lane) in &mut self.lanes {
            let is_old = |since: &Instant| now.saturating_duration_since(*since) > limit;
            while let Some((_, since)) = lane.front()
                && since.as_ref().is_some_and(is_old)
                && let Some((message, _)) = lane.pop_front()
            {
                self.messages -= 1;
                self.bytes -= message.size();
                expired.push(message);
            }
        }
        self.lanes.retain(|(_, lane)| !lane.is_empty());
        expired
    }

    /// Has a task told when there may be room.
    pub(super) fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    /// Who is to be told, outside of the lock, that there may be room.
    pub(super) fn take_waiting(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn push_control(&mut self, control: Control) {
        match control {
            Control::Keepalive => self.keepalive = true,
            Control::Ack(seq) => self.ack = Some(seq),
            Control::KeepaliveAck(stamp) => {
                if self.acks.len() == KEEPALIVE_ACKS_MAX {
                    self.acks.pop_front();
                }
                self.acks.push_back(stamp);
            }
        }
    }

    pub(super) fn pop_control(&mut self) -> Option<Control> {
        if let Some(stamp) = self.acks.pop_front() {
            return Some(Control::KeepaliveAck(stamp));
        }
        if std::mem::take(&mut self.keepalive) {
            return Some(Control::Keepalive);
        }
        self.ack.take().map(Control::Ack)
    }

    /// The next replay, or the oldest message of the highest priority.
    pub(super) fn pop(&mut self) -> Option<Message> {
        if let Some(message) = self.replay.pop_front() {
            return Some(message);
        }
        let (_, lane) = self.lanes.first_mut()?;
        let (message, _) = lane.pop_front()?;
        self.drop_empty_lane();
        self.messages -= 1;
        self.bytes -= message.size();
        Some(message)
    }

    /// Moves what fits into one batch to the end of `out`: at least one message, if there is one.
    pub(super) fn pop_batch(
        &mut self,
        out: &mut Vec<Message>,
        bytes_max: u64,
        messages_max: usize,
    ) {
        let mut bytes = 0;
        while bytes < bytes_max && out.len() < messages_max {
            if !self.replay.is_empty() {
                let Some(message) = self.replay.pop_front() else {
                    return;
                };
                bytes += message.size();
                out.push(message);
                continue;
            }
            let Some((_, lane)) = self.lanes.first_mut() else {
                return;
            };
            let room = messages_max - out.len();
            let before = bytes;
            let fits = |(message, _): &&(Message, _)| {
                let fits = bytes < bytes_max;
                bytes += if fits { message.size() } else { 0 };
                fits
            };
            let count = lane.iter().take(room).take_while(fits).count();
            out.extend(lane.drain(..count).map(|(message, _)| message));
            self.messages -= count;
            self.bytes -= bytes - before;
            self.drop_empty_lane();
        }
    }

    /// Keeps the allocation of the first lane, if there is nothing in it any more.
    fn drop_empty_lane(&mut self) {
        if self.lanes.first().is_some_and(|(_, lane)| lane.is_empty()) {
            let empty = self.lanes.remove(0).1;
            if empty.capacity() <= SPARE_MAX {
                self.spare = empty;
            }
        }
    }

    /// Forgets everything. The messages are returned, to be dropped outside of the lock.
    pub(super) fn clear(&mut self) -> Vec<Message> {
        self.keepalive = false;
        self.acks.clear();
        self.ack = None;
        (self.bytes, self.messages) = (0, 0);
        let lanes = std::mem::take(&mut self.lanes);
        let lanes = lanes.into_iter().flat_map(|(_, lane)| lane);
        let lanes = lanes.map(|(message, _)| message);
        std::mem::take(&mut self.replay)
            .into_iter()
            .chain(lanes)
            .collect()
    }

    /// Forgets everything, and takes nothing any more.
    pub(super) fn close(&mut self) -> Vec<Message> {
        self.gate = Gate::Closed;
        self.clear()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> SendQueue {
        SendQueue::new(Gate::Idle, 100, 4)
    }

    fn message(tid: u64, priority: u16, bytes: usize) -> Message {
        Message::new(1)
            .with_tid(tid)
            .with_priority(priority)
            .with_data(vec![0; bytes])
    }

    #[test]
    fn priorities_first_then_order_of_arrival() {
        let mut queue = queue();
        for (tid, priority) in [(1, 127), (2, 196), (3, 127), (4, 196)] {
            queue.push(message(tid, priority, 0), None).expect("room");
        }
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop())
            .map(|m| m.tid())
            .collect();
        assert_eq!(order, [2, 4, 1, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn limits_give_the_message_back() {
        let mut queue = queue();
        queue
            .push(message(1, 1, 1000), None)
            .expect("a large one alone is taken");
        let back = queue
            .push(message(2, 1, 1), None)
            .expect_err("over the bytes");
        assert!(matches!(&back, SendError::Full(m) if m.tid() == 2));
        assert_eq!(queue.pop().map(|m| m.tid()), Some(1));
        for tid in 0..4 {
            queue.push(message(tid, 1, 25), None).expect("fits exactly");
        }
        assert!(matches!(
            queue.push(message(9, 1, 0), None),
            Err(SendError::Full(_))
        ));
        assert_eq!(queue.close().len(), 4);
        assert!(matches!(
            queue.push(message(9, 1, 0), None),
            Err(SendError::Closed(_))
        ));
        assert!(queue.is_empty());
    }

    #[test]
    fn what_was_sent_again_goes_before_what_was_not() {
        let mut queue = queue();
        queue.push(message(9, 255, 0), None).expect("room");
        queue.requeue((1..=4).map(|tid| message(tid, 1, 0)).collect());
        let again = [queue.pop(), queue.pop()].map(|m| m.expect("two of four"));
        assert_eq!(queue.replays(), 2);
        queue.requeue(again.into());
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop())
            .map(|m| m.tid())
            .collect();
        assert_eq!(order, [1, 2, 3, 4, 9]);
    }

    #[test]
    fn a_flood_of_keepalives_is_answered_with_the_newest() {
        let mut queue = queue();
        for secs in 0..100 {
            queue.push_control(Control::KeepaliveAck(Timespec { secs, nanos: 0 }));
        }
        let acks: Vec<Control> = std::iter::from_fn(|| queue.pop_control()).collect();
        assert_eq!(acks.len(), KEEPALIVE_ACKS_MAX);
        assert_eq!(
            acks.last(),
            Some(&Control::KeepaliveAck(Timespec { secs: 99, nanos: 0 }))
        );
    }

    #[test]
    fn what_is_too_old_is_taken_out_and_nothing_else() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut queue = queue();
        queue.requeue([message(1, 1, 0)].into());
        queue.push(message(2, 1, 10), Some(at(0))).expect("room");
        queue.push(message(3, 9, 10), Some(at(1))).expect("room");
        queue.push(message(4, 1, 10), Some(at(2))).expect("room");
        let limit = Duration::from_secs(1);
        assert!(queue.expire(at(1), limit).is_empty(), "just young enough");
        let old: Vec<u64> = queue
            .expire(at(3), limit)
            .iter()
            .map(Message::tid)
            .collect();
        assert_eq!(old, [3, 2]);
        assert_eq!(queue.messages(), 1);
        let left: Vec<u64> = std::iter::from_fn(|| queue.pop())
            .map(|m| m.tid())
            .collect();
        assert_eq!(left, [1, 4]);
        queue
            .push(message(5, 1, 100), None)
            .expect("the bytes are free");
    }
}
