//! The reading side of an open v2 connection (msgr2 §11 and §15).
//!
//! Nothing of a payload is touched before the [`Gate`] has admitted its message; frames and their
//! buffers are the [`Disassembler`]'s. Invariant: after an error every call gives the same error.

use bytes::BytesMut;

use super::control::{Control, Header2};
use super::disassemble::{Body, Bounds, Disassembler, Frame};
use super::frame::{FLAG_COMPRESSED, Preamble};
use super::state::State;
use super::tag;
use crate::message::{Message, Segment};
use crate::proto::{Decoded, Gate, Incoming, Landing, Limits, ProtoError, Toll};
use crate::wire::EntityName;

/// Turns bytes into messages and signs of life.
#[derive(Debug)]
pub struct Decoder {
    frames: Disassembler,
    bounds: Bounds,
    /// Who sends; messages do not say it.
    peer: EntityName,
    state: State,
    /// Of the message that is being read.
    size: u64,
    /// What has been acknowledged by the peer and reported.
    acked: u64,
    /// What the last message acknowledged, if that is new.
    pending: Option<u64>,
    failed: Option<ProtoError>,
}

impl Decoder {
    /// A decoder of the frames of `peer`, behind the handshake.
    #[must_use]
    pub fn new(frames: Disassembler, peer: EntityName, limits: Limits) -> Self {
        Self {
            frames,
            bounds: Bounds::ready(limits),
            peer,
            state: State::Ready,
            size: 0,
            acked: 0,
            pending: None,
            failed: None,
        }
    }

    /// Where in the stream the decoder is; after an error, where it failed.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The buffer that the next bytes of the stream belong to, if it is not the input buffer. While
    /// there is one the input buffer is empty.
    pub fn landing(&mut self) -> Option<Landing<'_>> {
        self.frames.landing()
    }

    /// Payload bytes of the message that is being read, if its payload has been admitted.
    #[must_use]
    pub fn in_message(&self) -> Option<u64> {
        (self.state == State::ReadFrame).then_some(self.size)
    }

    /// Takes the next thing out of `rx`, and out of the [`landing`](Self::landing) buffer. What a
    /// message acknowledges comes right behind it, if it is news.
    ///
    /// # Errors
    /// What is wrong with the peer's bytes; the same again on every later call.
    pub fn decode(
        &mut self,
        rx: &mut BytesMut,
        gate: &mut dyn Gate,
    ) -> Result<Decoded, ProtoError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let decoded = self.step(rx, gate);
        if let Err(error) = &decoded {
            self.failed = Some(error.clone());
        }
        decoded
    }

    fn step(&mut self, rx: &mut BytesMut, gate: &mut dyn Gate) -> Result<Decoded, ProtoError> {
        if let Some(seq) = self.pending.take() {
            return Ok(Decoded::Incoming(Incoming::Ack(seq)));
        }
        loop {
            let Some(preamble) = self.frames.preamble(rx, &self.bounds)? else {
                return Ok(Decoded::NeedMore);
            };
            if self.state == State::Ready {
                self.begin(&preamble)?;
            }
            if !self.admitted(gate) {
                return Ok(Decoded::Throttled);
            }
            let Some(body) = self.frames.body(rx)? else {
                return Ok(Decoded::NeedMore);
            };
            self.state = State::Ready;
            match body {
                Body::Frame(frame) if frame.tag == tag::MESSAGE => {
                    self.settle(&frame, gate);
                    return self.message(frame).map(Decoded::Incoming);
                }
                Body::Frame(frame) => return self.control(&frame).map(Decoded::Incoming),
                Body::Aborted if preamble.tag == tag::MESSAGE => gate.aborted(),
                Body::Aborted => {}
            }
        }
    }

    /// A preamble has come.
    fn begin(&mut self, preamble: &Preamble) -> Result<(), ProtoError> {
        let [header, front, middle, data] = preamble.lens.map(u64::from);
        if preamble.tag != tag::MESSAGE {
            return Ok(());
        }
        let is_plain = preamble.flags & FLAG_COMPRESSED == 0;
        if is_plain && header < Header2::LEN as u64 {
            return Err(Header2::truncated(header as usize).into());
        }
        self.size = front + middle + data;
        self.state = State::ThrottleMessage;
        Ok(())
    }

    /// Takes the three shares in their order (msgr2 §15). False: one of them is not to be had.
    fn admitted(&mut self, gate: &mut dyn Gate) -> bool {
        loop {
            let (toll, next) = match self.state {
                State::ThrottleMessage => (Toll::Messages, State::ThrottleBytes),
                State::ThrottleBytes => (Toll::Bytes, State::ThrottleDispatchQueue),
                State::ThrottleDispatchQueue => (Toll::Dispatch, State::ReadFrame),
                _ => return true,
            };
            if !gate.admit(toll, self.size) {
                return false;
            }
            self.state = next;
        }
    }

    /// Shares were taken for what came over the wire. What a compressed message has beyond that
    /// takes up memory as well, from now on.
    fn settle(&self, frame: &Frame, gate: &mut dyn Gate) {
        let parts = frame.segments[1..].iter();
        let size: u64 = parts.map(|part| part.len() as u64).sum();
        if size > self.size {
            gate.grown(size - self.size);
        }
    }

    fn message(&mut self, frame: Frame) -> Result<Incoming, ProtoError> {
        let [header, front, middle, data] = frame.segments;
        let header = Header2::decode(&header, self.peer)?;
        if header.ack_seq > self.acked {
            self.acked = header.ack_seq;
            self.pending = Some(header.ack_seq);
        }
        let parts = [front, middle, data].map(|bytes| Segment::received(bytes, None));
        Ok(Incoming::Message(Message::received(header.head, parts)))
    }

    fn control(&mut self, frame: &Frame) -> Result<Incoming, ProtoError> {
        match Control::decode(frame.tag, frame.last())? {
            Control::Ack(seq) => {
                self.acked = self.acked.max(seq);
                Ok(Incoming::Ack(seq))
            }
            Control::Keepalive2(stamp) => Ok(Incoming::Keepalive2(stamp)),
            Control::Keepalive2Ack(stamp) => Ok(Incoming::Keepalive2Ack(stamp)),
            other => {
                let what = tag::describe(other.tag());
                let text = format!("{what} does not belong into an open session");
                Err(ProtoError::misbehaved(text))
            }
        }
    }
}
