//! The protocols as plain data: state machines that are given bytes and give bytes.
//!
//! Nothing here knows a socket, a clock, a thread or a lock; `tests/tidy` checks it. Handshakes
//! have `handle_*` methods for what happened and return events for what the caller must decide.
//! After the handshake a connection has a decoder, owned by whoever reads, and an encoder, owned by
//! whoever writes.

mod arbitrate;
mod error;
mod phase;
pub mod v1;
pub mod v2;

use bytes::BytesMut;

pub use arbitrate::{Attempt, Decision, Existing, Stage, arbitrate};
pub use error::{Mismatch, Part, ProtoError};
pub use phase::Phase;

use crate::message::Message;
use crate::wire::Timespec;

/// A version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// Of all releases up to Mimic, and of the addresses that begin with `v1:` since.
    V1,
    /// Since Nautilus; addresses begin with `v2:`.
    V2,
}

/// Bounds on what a peer may announce, checked before anything is allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest front segment, in bytes.
    pub front_max: u32,
    /// The longest middle segment, in bytes.
    pub middle_max: u32,
    /// The longest data segment, in bytes.
    pub data_max: u32,
}

impl Default for Limits {
    /// 64 MiB, 16 MiB and 256 MiB: above what daemons send, below what hurts.
    fn default() -> Self {
        Self {
            front_max: 64 << 20,
            middle_max: 16 << 20,
            data_max: 256 << 20,
        }
    }
}

/// Which checksums are made and checked. Both sides must agree on `header` (encoding §11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksums {
    /// Of the header, front and middle (`ms_crc_header`).
    pub header: bool,
    /// Of the data (`ms_crc_data`).
    pub data: bool,
}

impl Default for Checksums {
    fn default() -> Self {
        Self {
            header: true,
            data: true,
        }
    }
}

/// What a received message has to take a share of before its payload is read (msgr1 §15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Toll {
    /// The policy's count of messages.
    Messages,
    /// The policy's bytes.
    Bytes,
    /// The messenger's bytes and messages on the way to a dispatcher.
    Dispatch,
}

/// Admits messages, or makes their connection wait.
pub trait Gate {
    /// Takes the share of a message with `size` payload bytes. False: the share is not to be had
    /// now; the decoder asks again when it is called again, and reads nothing until then.
    fn admit(&mut self, toll: Toll, size: u64) -> bool;

    /// The peer has given up the message that was admitted last: what it has taken goes back. Only
    /// v2 knows that (msgr2 §5.9).
    fn aborted(&mut self) {}

    /// The message that was admitted last was compressed and has so many payload bytes more than
    /// it was admitted with. It has been received already and cannot wait: those behind it do.
    fn grown(&mut self, by: u64) {
        let _ = by;
    }
}

/// What the open phase brings.
#[derive(Debug)]
pub enum Incoming {
    /// A message whose checksums are right. Its sequence number is in the head.
    Message(Message),
    /// The peer has received all messages up to this number.
    Ack(u64),
    /// The peer shows that it is alive, and expects nothing.
    Keepalive,
    /// The peer shows that it is alive, and expects the stamp back.
    Keepalive2(Timespec),
    /// The peer sends back the stamp of an earlier keepalive of ours.
    Keepalive2Ack(Timespec),
    /// The peer ends the connection.
    Close,
}

/// What [`v1::Decoder::decode`] or [`v2::Decoder::decode`] came to.
#[derive(Debug)]
pub enum Decoded {
    /// One thing; call again.
    Incoming(Incoming),
    /// The buffer holds no complete thing.
    NeedMore,
    /// The [`Gate`] did not admit a message; call again when it would.
    Throttled,
}

/// A buffer that wants the next bytes of the stream before the decoder's input does.
#[derive(Debug)]
pub struct Landing<'a> {
    /// Bytes go behind its content.
    pub buf: &'a mut BytesMut,
    /// How many of them.
    pub wanted: usize,
}
