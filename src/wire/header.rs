//! The message header (53 bytes) and footer (21 or 13 bytes); encoding §8, §11 and §12.
//!
//! Invariant: `decode` of what `encode` gave is the same value, except for the reserved word of
//! the header, which is written as 0 and not kept. Limits on the lengths are not known here.

use std::error::Error;
use std::fmt;

use super::{EntityName, EntityType, crc32c};

/// A checksum that does not fit the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrcMismatch {
    /// What the sender wrote.
    pub expected: u32,
    /// What the bytes received give.
    pub got: u32,
}

impl fmt::Display for CrcMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "crc is {:#010x}, the bytes give {:#010x}",
            self.expected, self.got
        )
    }
}

impl Error for CrcMismatch {}

/// What the header says about a message beside its lengths.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MsgHead {
    /// Number of the message within its session; the first is 1.
    pub seq: u64,
    /// Transaction id; belongs to the application, replies echo it.
    pub tid: u64,
    /// Message type, see [`msgtype`](super::msgtype).
    pub kind: u16,
    /// Priority; 0 stands for the sender's default.
    pub priority: u16,
    /// Version of the payload encoding.
    pub version: u16,
    /// Oldest decoder version that can read it; 0 if unknown.
    pub compat_version: u16,
    /// Low 16 bits of the data's offset, a hint for its alignment.
    pub data_off: u16,
    /// Who sent it.
    pub src: EntityName,
}

impl MsgHead {
    /// Priority of background work.
    pub const PRIORITY_LOW: u16 = 64;
    /// Priority of messages that name none.
    pub const PRIORITY_DEFAULT: u16 = 127;
    /// Priority of urgent messages.
    pub const PRIORITY_HIGH: u16 = 196;
    /// Priority before all others.
    pub const PRIORITY_HIGHEST: u16 = 255;
}

/// The header of a message on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MsgHeader {
    /// What it says about the message.
    pub head: MsgHead,
    /// Bytes of the front segment.
    pub front_len: u32,
    /// Bytes of the middle segment.
    pub middle_len: u32,
    /// Bytes of the data segment.
    pub data_len: u32,
}

impl MsgHeader {
    /// Bytes it takes.
    pub const LEN: usize = 53;
    const CRC_AT: usize = 49;

    /// Bytes of the whole payload.
    pub fn size(&self) -> u64 {
        u64::from(self.front_len) + u64::from(self.middle_len) + u64::from(self.data_len)
    }

    /// The 53 bytes; with `crc` false the checksum is left 0.
    #[inline]
    pub fn encode(&self, crc: bool) -> [u8; Self::LEN] {
        let h = &self.head;
        let mut b = [0; Self::LEN];
        b[0..8].copy_from_slice(&h.seq.to_le_bytes());
        b[8..16].copy_from_slice(&h.tid.to_le_bytes());
        b[16..18].copy_from_slice(&h.kind.to_le_bytes());
        b[18..20].copy_from_slice(&h.priority.to_le_bytes());
        b[20..22].copy_from_slice(&h.version.to_le_bytes());
        b[22..26].copy_from_slice(&self.front_len.to_le_bytes());
        b[26..30].copy_from_slice(&self.middle_len.to_le_bytes());
        b[30..34].copy_from_slice(&self.data_len.to_le_bytes());
        b[34..36].copy_from_slice(&h.data_off.to_le_bytes());
        b[36] = h.src.kind.0;
        b[37..45].copy_from_slice(&h.src.num.to_le_bytes());
        b[45..47].copy_from_slice(&h.compat_version.to_le_bytes());
        if crc {
            let sum = crc32c(0, &b[..Self::CRC_AT]);
            b[Self::CRC_AT..].copy_from_slice(&sum.to_le_bytes());
        }
        b
    }

    /// Reads the 53 bytes; with `check_crc` false any checksum will do.
    #[inline]
    pub fn decode(b: &[u8; Self::LEN], check_crc: bool) -> Result<Self, CrcMismatch> {
        if check_crc {
            let expected = u32::from_le_bytes(part(b, Self::CRC_AT));
            let got = crc32c(0, &b[..Self::CRC_AT]);
            if got != expected {
                return Err(CrcMismatch { expected, got });
            }
        }
        Ok(Self {
            head: MsgHead {
                seq: u64::from_le_bytes(part(b, 0)),
                tid: u64::from_le_bytes(part(b, 8)),
                kind: u16::from_le_bytes(part(b, 16)),
                priority: u16::from_le_bytes(part(b, 18)),
                version: u16::from_le_bytes(part(b, 20)),
                compat_version: u16::from_le_bytes(part(b, 45)),
                data_off: u16::from_le_bytes(part(b, 34)),
                src: EntityName::new(EntityType(b[36]), i64::from_le_bytes(part(b, 37))),
            },
            front_len: u32::from_le_bytes(part(b, 22)),
            middle_len: u32::from_le_bytes(part(b, 26)),
            data_len: u32::from_le_bytes(part(b, 30)),
        })
    }
}

/// Flags of a footer.
pub mod flags {
    /// The message was sent whole; without it the sender gave it up midway.
    pub const COMPLETE: u8 = 1;
    /// The data checksum is not valid.
    pub const NOCRC: u8 = 2;
    /// The signature is valid.
    pub const SIGNED: u8 = 4;
}

/// The footer of a message on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MsgFooter {
    /// Checksum of the front segment.
    pub front_crc: u32,
    /// Checksum of the middle segment.
    pub middle_crc: u32,
    /// Checksum of the data segment, unless the flags say otherwise.
    pub data_crc: u32,
    /// Signature; 0 in the short form.
    pub sig: u64,
    /// See [`flags`].
    pub flags: u8,
}

impl MsgFooter {
    /// Bytes of the form for peers that negotiated `MSG_AUTH`.
    pub const LEN: usize = 21;
    /// Bytes of the form for those that did not.
    pub const LEN_OLD: usize = 13;

    /// The 21 bytes.
    #[inline]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut b = [0; Self::LEN];
        b[..12].copy_from_slice(&self.crcs());
        b[12..20].copy_from_slice(&self.sig.to_le_bytes());
        b[20] = self.flags;
        b
    }

    /// The 13 bytes, without the signature.
    #[inline]
    pub fn encode_old(&self) -> [u8; Self::LEN_OLD] {
        let mut b = [0; Self::LEN_OLD];
        b[..12].copy_from_slice(&self.crcs());
        b[12] = self.flags;
        b
    }

    /// Reads the 21 bytes.
    #[inline]
    pub fn decode(b: &[u8; Self::LEN]) -> Self {
        let sig = u64::from_le_bytes(part(b, 12));
        Self {
            sig,
            flags: b[20],
            ..Self::decode_crcs(&part(b, 0))
        }
    }

    /// Reads the 13 bytes.
    #[inline]
    pub fn decode_old(b: &[u8; Self::LEN_OLD]) -> Self {
        Self {
            flags: b[12],
            ..Self::decode_crcs(&part(b, 0))
        }
    }

    fn crcs(&self) -> [u8; 12] {
        let mut b = [0; 12];
        b[..4].copy_from_slice(&self.front_crc.to_le_bytes());
        b[4..8].copy_from_slice(&self.middle_crc.to_le_bytes());
        b[8..].copy_from_slice(&self.data_crc.to_le_bytes());
        b
    }

    fn decode_crcs(b: &[u8; 12]) -> Self {
        Self {
            front_crc: u32::from_le_bytes(part(b, 0)),
            middle_crc: u32::from_le_bytes(part(b, 4)),
            data_crc: u32::from_le_bytes(part(b, 8)),
            ..Self::default()
        }
    }
}

/// `M` bytes from a place inside a fixed array; the callers' offsets are constants.
#[inline(always)]
pub(crate) fn part<const N: usize, const M: usize>(b: &[u8; N], offset: usize) -> [u8; M] {
    let mut out = [0; M];
    out.copy_from_slice(&b[offset..offset + M]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping() -> MsgHeader {
        let head = MsgHead {
            seq: 1,
            kind: 2,
            priority: 127,
            version: 1,
            ..MsgHead::default()
        };
        let head = MsgHead {
            compat_version: 1,
            src: EntityName::client(-1),
            ..head
        };
        MsgHeader {
            head,
            ..MsgHeader::default()
        }
    }

    #[test]
    fn header_checks_its_crc() {
        let mut b = ping().encode(true);
        assert_eq!(MsgHeader::decode(&b, true), Ok(ping()));
        b[0] = 9;
        let e = MsgHeader::decode(&b, true).unwrap_err();
        assert_eq!(e.expected, 0x2d24_92e0);
        assert_eq!(MsgHeader::decode(&b, false).unwrap().head.seq, 9);
        assert_eq!(ping().encode(false)[49..], [0; 4]);
    }

    #[test]
    fn every_field_has_its_place() {
        let mut b = [0; MsgHeader::LEN];
        for (i, byte) in b.iter_mut().enumerate() {
            *byte = if (47..49).contains(&i) { 0 } else { i as u8 };
        }
        let header = MsgHeader::decode(&b, false).unwrap();
        assert_eq!(header.head.data_off, 0x2322);
        assert_eq!(header.encode(true)[..49], b[..49]);

        let mut b = [0; MsgFooter::LEN];
        for (i, byte) in b.iter_mut().enumerate() {
            *byte = i as u8;
        }
        let footer = MsgFooter::decode(&b);
        assert_eq!(footer.encode(), b);
        let old = footer.encode_old();
        assert_eq!((old[11], old[12]), (11, 20));
        assert_eq!(MsgFooter::decode_old(&old), MsgFooter { sig: 0, ..footer });
    }
}
