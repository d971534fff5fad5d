//! The byte encodings that every protocol version shares: numbers, strings, envelopes, names,
//! addresses, message headers and footers, CRC-32C, feature words and message type numbers.
//!
//! Everything here is a pure function over bytes. Invariants: decoding never panics and never
//! allocates more than the input holds, because each length and count is checked against the
//! bytes left before it is used; encoding a value and decoding it again gives the value back,
//! except where the encoding itself drops something (said at the place).
//!
//! What it does not know: sockets, clocks, threads, sessions, or which bytes come when.
//!
//! Rules are cited as "encoding §n", the chapter on encodings of the protocol notes.

pub mod addr;
pub mod addr_vec;
pub mod codec;
pub mod crc;
pub mod entity;
pub mod features;
pub mod header;
pub mod msgtype;
pub mod time;

pub use addr::{AddrType, EntityAddr};
pub use addr_vec::AddrVec;
pub use codec::{DecodeError, DecodeErrorKind, ParseError, Put, Reader};
pub use crc::crc32c;
pub(crate) use crc::ones_behind;
pub use entity::{AuthName, EntityName, EntityType};
pub use header::{CrcMismatch, MsgFooter, MsgHead, MsgHeader};
pub use time::Timespec;
