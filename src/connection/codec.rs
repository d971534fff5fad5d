//! The open phase of either protocol: what reads a link, and what writes it. Nobody above asks which
//! protocol it is.

use bytes::BytesMut;

use crate::message::{Message, TxBatch};
use crate::proto::{Decoded, Gate, Landing, Phase, ProtoError, v1, v2};
use crate::wire::Timespec;

/// Turns bytes into messages.
pub(super) enum Reading {
    V1(Box<v1::Decoder>),
    V2(Box<v2::Decoder>),
}

impl Reading {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::V1(decoder) => decoder.state().into(),
            Self::V2(decoder) => decoder.state().into(),
        }
    }

    /// Where the next bytes of the stream go before the input buffer.
    pub(super) fn landing(&mut self) -> Option<Landing<'_>> {
        match self {
            Self::V1(decoder) => decoder.landing(),
            Self::V2(decoder) => decoder.landing(),
        }
    }

    /// Payload bytes of the message that is being read, if it was admitted.
    pub(super) fn in_message(&self) -> Option<u64> {
        match self {
            Self::V1(decoder) => decoder.in_message(),
            Self::V2(decoder) => decoder.in_message(),
        }
    }

    pub(super) fn decode(
        &mut self,
        rx: &mut BytesMut,
        gate: &mut dyn Gate,
    ) -> Result<Decoded, ProtoError> {
        match self {
            Self::V1(decoder) => decoder.decode(rx, gate),
            Self::V2(decoder) => decoder.decode(rx, gate),
        }
    }
}

/// Turns messages into bytes.
pub(crate) enum Writing {
    V1(v1::Encoder),
    V2(Box<v2::Encoder>),
}

impl Writing {
    /// Whether messages tell what has arrived, so that nothing else has to.
    pub(super) fn acks_ride(&self) -> bool {
        matches!(self, Self::V2(_))
    }

    /// Whether the checksums of a message's segments go over the wire.
    pub(super) fn uses_sums(&self) -> bool {
        match self {
            Self::V1(_) => true,
            Self::V2(encoder) => encoder.uses_sums(),
        }
    }

    /// Exchanges the room for encrypted bytes, of which a thread needs one and a connection none.
    pub(super) fn swap_room(&mut self, room: &mut BytesMut) {
        if let Self::V2(encoder) = self {
            encoder.swap_room(room);
        }
    }

    /// Appends a message, whose payload it takes, as number `seq`; all up to `ack_seq` have arrived.
    pub(super) fn message(
        &mut self,
        message: &mut Message,
        seq: u64,
        ack_seq: u64,
        out: &mut TxBatch,
    ) -> Result<(), ProtoError> {
        match self {
            Self::V1(encoder) => {
                encoder.payload_of(message, seq, out);
                Ok(())
            }
            Self::V2(encoder) => encoder.payload_of(message, seq, ack_seq, out),
        }
    }

    pub(super) fn ack(&mut self, seq: u64, out: &mut TxBatch) -> Result<(), ProtoError> {
        match self {
            Self::V1(encoder) => {
                encoder.ack(seq, out);
                Ok(())
            }
            Self::V2(encoder) => encoder.ack(seq, out),
        }
    }

    pub(super) fn keepalive(
        &mut self,
        stamp: Timespec,
        out: &mut TxBatch,
    ) -> Result<(), ProtoError> {
        match self {
            Self::V1(encoder) => {
                encoder.keepalive(stamp, out);
                Ok(())
            }
            Self::V2(encoder) => encoder.keepalive(stamp, out),
        }
    }

    pub(super) fn keepalive_ack(
        &mut self,
        stamp: Timespec,
        out: &mut TxBatch,
    ) -> Result<(), ProtoError> {
        match self {
            Self::V1(encoder) => {
                encoder.keepalive_ack(stamp, out);
                Ok(())
            }
            Self::V2(encoder) => encoder.keepalive_ack(stamp, out),
        }
    }
}
