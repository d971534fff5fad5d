//! The first bytes of a v2 connection (msgr2 §4).
//!
//! Invariant: a banner that cannot become one is refused at its first wrong byte, and no more is
//! taken of it than it says it has.

use std::fmt::Write;

use bytes::{Buf, BufMut, BytesMut};

use super::compression;
use super::frame::Revision;
use crate::proto::error::{Mismatch, ProtoError};
use crate::wire::Reader;

const PREFIX: &[u8; 8] = b"ceph v2\n";
/// Prefix and length.
const HEAD_LEN: usize = PREFIX.len() + 2;
/// The two words; what is behind them is for later releases.
const PAYLOAD_LEN: u16 = 16;

const REVISION_1: u64 = 1;
const COMPRESSION: u64 = 2;

/// What a side can do and what the other must be able to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Banner {
    /// Bits that it offers.
    pub supported: u64,
    /// Bits that it requires.
    pub required: u64,
}

impl Banner {
    /// Revision 2.1 or 2.0, whatever the other side speaks. Compression is not offered while no
    /// algorithm is compiled in.
    #[must_use]
    pub fn ours() -> Self {
        let compression = if compression::any_compiled() {
            COMPRESSION
        } else {
            0
        };
        Self {
            supported: REVISION_1 | compression,
            required: 0,
        }
    }

    /// Revision 2.0 alone.
    pub const REVISION_0: Self = Self {
        supported: 0,
        required: 0,
    };

    /// The bytes of it.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(PREFIX);
        out.put_u16_le(PAYLOAD_LEN);
        out.put_u64_le(self.supported);
        out.put_u64_le(self.required);
    }

    /// Takes the other side's banner out of `rx`, and shows its bytes to `taken`. `None`: it is not
    /// complete.
    pub(super) fn take(
        rx: &mut BytesMut,
        taken: impl FnOnce(&[u8]),
    ) -> Result<Option<Self>, ProtoError> {
        check_prefix(rx)?;
        let Some(head) = rx.get(..HEAD_LEN) else {
            return Ok(None);
        };
        let len = u16::from_le_bytes([head[PREFIX.len()], head[PREFIX.len() + 1]]);
        if len < PAYLOAD_LEN {
            let text = format!("its banner has {len} bytes, it must have {PAYLOAD_LEN}");
            return Err(ProtoError::misbehaved(text));
        }
        let whole = HEAD_LEN + usize::from(len);
        let Some(bytes) = rx.get(..whole) else {
            return Ok(None);
        };
        let mut r = Reader::new(&bytes[HEAD_LEN..], "banner");
        let banner = Self {
            supported: r.u64()?,
            required: r.u64()?,
        };
        taken(bytes);
        rx.advance(whole);
        Ok(Some(banner))
    }

    /// Whether two sides fit together.
    pub(super) fn check(&self, theirs: &Self) -> Result<(), Mismatch> {
        let we_lack = theirs.required & !self.supported;
        let peer_lacks = self.required & !theirs.supported;
        if we_lack | peer_lacks != 0 {
            return Err(Mismatch::Banner {
                we_lack,
                peer_lacks,
            });
        }
        Ok(())
    }

    pub(super) fn revision(&self, theirs: &Self) -> Revision {
        if self.supported & theirs.supported & REVISION_1 != 0 {
            Revision::V1
        } else {
            Revision::V0
        }
    }

    /// Whether compression is to be negotiated.
    pub(super) fn compression(&self, theirs: &Self) -> bool {
        self.supported & theirs.supported & COMPRESSION != 0
    }
}

/// The first bytes of protocols that are met by mistake, and what to say then.
const STRANGERS: [(&[u8], &str); 9] = [
    (
        b"ceph v0",
        "it speaks msgr1 and this is a v2 connection; use the v2 address (port 3300)",
    ),
    (
        b"ceph v",
        "it speaks another version of msgr2, which is not supported",
    ),
    (
        b"\x16\x03",
        "it speaks TLS; take away the TLS proxy or setting",
    ),
    (b"HTTP/", "it is an HTTP server; check the address"),
    (b"GET ", "it is an HTTP client; this is not a web port"),
    (b"POST ", "it is an HTTP client; this is not a web port"),
    (b"PUT ", "it is an HTTP client; this is not a web port"),
    (b"HEAD ", "it is an HTTP client; this is not a web port"),
    (b"SSH-", "it is an SSH server; check the address"),
];

fn check_prefix(rx: &[u8]) -> Result<(), ProtoError> {
    let seen = &rx[..rx.len().min(PREFIX.len())];
    if PREFIX.starts_with(seen) {
        return Ok(());
    }
    let known = STRANGERS.iter().find(|(start, _)| {
        let common = start.len().min(seen.len());
        start[..common] == seen[..common]
    });
    let mut text = format!("its banner begins with \"{}\"", seen.escape_ascii());
    if let Some((_, hint)) = known {
        let _ = write!(text, ": {hint}");
    }
    Err(ProtoError::misbehaved(text))
}
