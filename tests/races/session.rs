//! The model's session: numbers, and what is to be sent, as in the library's `connection` module.

use std::collections::VecDeque;

use async_messenger::proto::v1::Opened;

use super::wire::LinkId;

/// A message by its number in the session, and by its name in the test.
pub(crate) type Sent = (u64, u8);

/// Whether the session can send.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Gate {
    Down,
    Standby,
    Open,
}

/// What is sent on an open link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    Message(Sent),
    Ack(u64),
    Keepalive,
}

impl Frame {
    const LEN: usize = 10;

    fn encode(self, out: &mut Vec<u8>) {
        let (tag, number, name) = match self {
            Self::Message((seq, name)) => (7, seq, name),
            Self::Ack(seq) => (8, seq, 0),
            Self::Keepalive => (9, 0, 0),
        };
        out.push(tag);
        out.extend(number.to_le_bytes());
        out.push(name);
    }

    /// Takes all frames; there is never a part of one.
    pub(crate) fn decode(bytes: &[u8]) -> Vec<Self> {
        let frames = bytes.chunks(Self::LEN).map(|frame| {
            let number = u64::from_le_bytes(frame[1..9].try_into().expect("8 bytes"));
            match frame[0] {
                7 => Self::Message((number, frame[9])),
                8 => Self::Ack(number),
                9 => Self::Keepalive,
                tag => panic!("the open phase begins with {tag}"),
            }
        });
        frames.collect()
    }
}

#[derive(Clone, Hash, Debug)]
pub(crate) struct Session {
    // What the worker has of it.
    pub(crate) connect_seq: u32,
    pub(crate) peer_global_seq: u32,
    pub(crate) in_seq: u64,
    pub(crate) link: Option<LinkId>,
    /// Waits for the next attempt.
    pub(crate) timer: bool,
    /// Timers of the other side that went first.
    pub(crate) overtaken: u8,
    pub(crate) replacing: bool,
    pub(crate) peer_reset: bool,
    pub(crate) was_ready: bool,
    /// Attempts turned down in a row because of a takeover.
    pub(crate) turned_down: u8,
    /// Times that the peer has asked for a newer incarnation, since the last link that opened.
    pub(crate) leaps: u8,
    // What all threads share.
    pub(crate) gate: Gate,
    pub(crate) queue: VecDeque<u8>,
    pub(crate) replay: VecDeque<Sent>,
    pub(crate) sent: VecDeque<Sent>,
    pub(crate) out_seq: u64,
    pub(crate) ack: Option<u64>,
    pub(crate) keepalive: bool,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            connect_seq: 0,
            peer_global_seq: 0,
            in_seq: 0,
            link: None,
            timer: false,
            overtaken: 0,
            replacing: false,
            peer_reset: false,
            was_ready: false,
            turned_down: 0,
            leaps: 0,
            gate: Gate::Down,
            queue: VecDeque::new(),
            replay: VecDeque::new(),
            sent: VecDeque::new(),
            out_seq: 0,
            ack: None,
            keepalive: false,
        }
    }

    pub(crate) fn has_messages(&self) -> bool {
        !self.queue.is_empty() || !self.replay.is_empty()
    }

    /// `Session::drop_link` and `SendQueue::requeue`.
    pub(crate) fn drop_link(&mut self) {
        self.out_seq -= self.sent.len() as u64;
        let old = std::mem::take(&mut self.replay);
        self.replay = std::mem::take(&mut self.sent);
        self.replay.extend(old);
        self.ack = None;
        self.gate = Gate::Down;
    }

    /// `Session::stand_by`.
    pub(crate) fn stand_by(&mut self, server: bool) -> bool {
        let may = server || !(self.has_messages() || self.keepalive);
        if may {
            self.gate = Gate::Standby;
        }
        may
    }

    /// `Session::open`.
    pub(crate) fn open(&mut self, opened: &Opened) {
        assert!(self.sent.is_empty(), "a fault has queued them again");
        match opened.acked {
            Some(acked) if self.replay.is_empty() => self.out_seq = acked,
            Some(acked) => {
                let known = self.replay.partition_point(|(seq, _)| *seq <= acked);
                self.replay.drain(..known);
                self.out_seq += known as u64;
            }
            None if self.replay.is_empty() => self.out_seq = 0,
            None => {}
        }
        self.gate = Gate::Open;
    }

    /// `Peer::reset_session` and `Session::reset`: what was on its way is void, if anything was.
    pub(crate) fn reset(&mut self) -> Vec<u8> {
        (self.connect_seq, self.in_seq) = (0, 0);
        if !std::mem::take(&mut self.was_ready) {
            return Vec::new();
        }
        (self.out_seq, self.ack, self.keepalive) = (0, None, false);
        let sent = std::mem::take(&mut self.sent);
        let replay = std::mem::take(&mut self.replay);
        let names = sent.into_iter().chain(replay).map(|(_, name)| name);
        names.chain(std::mem::take(&mut self.queue)).collect()
    }

    /// `Session::flush`: everything that waits.
    pub(crate) fn flush(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.gate != Gate::Open {
            return out;
        }
        if std::mem::take(&mut self.keepalive) {
            Frame::Keepalive.encode(&mut out);
        }
        if let Some(seq) = self.ack.take() {
            Frame::Ack(seq).encode(&mut out);
        }
        let replay = std::mem::take(&mut self.replay).into_iter();
        let names = replay.map(|(_, name)| name);
        for name in names.chain(std::mem::take(&mut self.queue)) {
            self.out_seq += 1;
            self.sent.push_back((self.out_seq, name));
            Frame::Message((self.out_seq, name)).encode(&mut out);
        }
        out
    }

    /// What a frame means; the name of a message that is new.
    pub(crate) fn receive(&mut self, frame: Frame) -> Option<u8> {
        match frame {
            Frame::Message((seq, name)) if seq > self.in_seq => {
                self.in_seq = seq;
                self.ack = Some(seq);
                Some(name)
            }
            Frame::Message(_) | Frame::Keepalive => None,
            Frame::Ack(seq) => {
                let known = self.sent.partition_point(|(sent, _)| *sent <= seq);
                self.sent.drain(..known);
                None
            }
        }
    }
}
