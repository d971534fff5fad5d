//! The writing side of an open v2 connection (msgr2 §11.1).
//!
//! Lives behind the session's send lock. In the plain mode payload bytes are passed on by
//! reference, in the encrypted one they are copied once.

use bytes::BytesMut;

use super::assemble::Assembler;
use super::control::{Control, Header2};
use super::tag;
use crate::message::{Message, Segment, TxBatch};
use crate::proto::ProtoError;
use crate::wire::Timespec;

const NONE: [Segment; 3] = [Segment::EMPTY, Segment::EMPTY, Segment::EMPTY];

/// Turns messages and signs of life into bytes. Each method fails only if a segment has 4 GiB, or
/// the nonces of an encrypted connection are used up; the link must be given up then.
#[derive(Debug)]
pub struct Encoder {
    frames: Assembler,
}

impl Encoder {
    /// An encoder behind the handshake.
    #[must_use]
    pub fn new(frames: Assembler) -> Self {
        Self { frames }
    }

    /// Whether checksums of a message's segments are needed.
    pub(crate) fn uses_sums(&self) -> bool {
        self.frames.uses_sums()
    }

    /// Exchanges the room for sealed frames; see [`Assembler::swap_room`].
    pub fn swap_room(&mut self, room: &mut BytesMut) {
        self.frames.swap_room(room);
    }

    /// Appends a message as number `seq`; all messages up to `ack_seq` have been received.
    ///
    /// # Errors
    /// See [`Encoder`].
    pub fn message(
        &mut self,
        mut message: Message,
        seq: u64,
        ack_seq: u64,
        out: &mut TxBatch,
    ) -> Result<(), ProtoError> {
        self.payload_of(&mut message, seq, ack_seq, out)
    }

    /// The same, of a message that stays where it is: only its payload is taken.
    pub(crate) fn payload_of(
        &mut self,
        message: &mut Message,
        seq: u64,
        ack_seq: u64,
        out: &mut TxBatch,
    ) -> Result<(), ProtoError> {
        let mut head = *message.head();
        head.seq = seq;
        let header = Header2 { head, ack_seq };
        let segments = message.segments_mut();
        self.frames
            .frame_of(tag::MESSAGE, &header.encode(), segments, out)
    }

    /// Appends the acknowledgement of all messages up to a number.
    ///
    /// # Errors
    /// See [`Encoder`].
    pub fn ack(&mut self, seq: u64, out: &mut TxBatch) -> Result<(), ProtoError> {
        // As Control encodes it, without an allocation: these go with the traffic.
        self.frames.frame(tag::ACK, &seq.to_le_bytes(), NONE, out)
    }

    /// Appends a sign of life that asks for an answer.
    ///
    /// # Errors
    /// See [`Encoder`].
    pub fn keepalive(&mut self, stamp: Timespec, out: &mut TxBatch) -> Result<(), ProtoError> {
        self.control(&Control::Keepalive2(stamp), out)
    }

    /// Appends the answer to the peer's keepalive.
    ///
    /// # Errors
    /// See [`Encoder`].
    pub fn keepalive_ack(&mut self, stamp: Timespec, out: &mut TxBatch) -> Result<(), ProtoError> {
        self.control(&Control::Keepalive2Ack(stamp), out)
    }

    fn control(&mut self, control: &Control, out: &mut TxBatch) -> Result<(), ProtoError> {
        self.frames
            .frame(control.tag(), &control.encode(), NONE, out)
    }
}
