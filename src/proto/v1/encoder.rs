//! The writing side of an open v1 connection (msgr1 §16).
//!
//! Lives behind the session's send lock. Payload bytes are passed on by reference.

use bytes::BufMut;

use super::{signed_parts, tag};
use crate::auth::Signer;
use crate::message::{Message, TxBatch};
use crate::proto::Checksums;
use crate::wire::header::flags;
use crate::wire::{MsgFooter, MsgHeader, Timespec, features};

/// Turns messages and control tags into bytes.
#[derive(Debug)]
pub struct Encoder {
    checksums: Checksums,
    signed_footer: bool,
    keepalive2: bool,
    signer: Option<Signer>,
}

impl Encoder {
    /// An encoder for a connection with these negotiated features.
    #[must_use]
    pub fn new(negotiated: u64, checksums: Checksums) -> Self {
        Self {
            checksums,
            signed_footer: features::has(negotiated, features::MSG_AUTH),
            keepalive2: features::has(negotiated, features::MSGR_KEEPALIVE2),
            signer: None,
        }
    }

    /// Has each message signed (cephx §10.3). Without the feature MSG_AUTH there is no place for it.
    #[must_use]
    pub fn with_signer(mut self, signer: Option<Signer>) -> Self {
        self.signer = signer.filter(|_| self.signed_footer);
        self
    }

    /// Appends a message as number `seq`.
    pub fn message(&self, mut message: Message, seq: u64, out: &mut TxBatch) {
        self.payload_of(&mut message, seq, out);
    }

    /// The same, of a message that stays where it is: only its payload is taken.
    pub(crate) fn payload_of(&self, message: &mut Message, seq: u64, out: &mut TxBatch) {
        message.head_mut().seq = seq;
        let head = *message.head();
        let checksums = self.checksums;
        let [front, middle, data] = message.segments_mut();
        let header = MsgHeader {
            head,
            // Segments are bounded by the send queue's limit, far below 4 GiB.
            front_len: front.len() as u32,
            middle_len: middle.len() as u32,
            data_len: data.len() as u32,
        };
        let mut footer = MsgFooter {
            flags: flags::COMPLETE,
            ..MsgFooter::default()
        };
        if checksums.header {
            footer.front_crc = front.crc();
            footer.middle_crc = middle.crc();
        }
        if checksums.data {
            footer.data_crc = data.crc();
        } else {
            footer.flags |= flags::NOCRC;
        }
        let head_bytes = header.encode(checksums.header);
        let mut tagged = [tag::MSG; 1 + MsgHeader::LEN];
        tagged[1..].copy_from_slice(&head_bytes);
        out.copy(&tagged);
        if let Some(signer) = &self.signer {
            footer.sig = signer.sign(&signed_parts(&header, &head_bytes, &footer));
            footer.flags |= flags::SIGNED;
        }
        for segment in message.segments_mut() {
            std::mem::take(segment).give_chunks(|bytes| out.push(bytes));
        }
        if self.signed_footer {
            out.copy(&footer.encode());
        } else {
            out.copy(&footer.encode_old());
        }
    }

    /// Appends the acknowledgement of all messages up to a number.
    pub fn ack(&self, seq: u64, out: &mut TxBatch) {
        let mut bytes = [tag::ACK; 9];
        bytes[1..].copy_from_slice(&seq.to_le_bytes());
        out.copy(&bytes);
    }

    /// Appends a sign of life that asks for an answer, if the peer knows that form.
    pub fn keepalive(&self, stamp: Timespec, out: &mut TxBatch) {
        if self.keepalive2 {
            stamped(tag::KEEPALIVE2, stamp, out);
        } else {
            out.copy(&[tag::KEEPALIVE]);
        }
    }

    /// Appends the answer to the peer's keepalive.
    pub fn keepalive_ack(&self, stamp: Timespec, out: &mut TxBatch) {
        stamped(tag::KEEPALIVE2_ACK, stamp, out);
    }
}

fn stamped(tag: u8, stamp: Timespec, out: &mut TxBatch) {
    let mut bytes = [0; 9];
    let mut rest = &mut bytes[..];
    rest.put_u8(tag);
    rest.put_u32_le(stamp.secs);
    rest.put_u32_le(stamp.nanos);
    out.copy(&bytes);
}
