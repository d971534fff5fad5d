//! The identifier of a cluster.

use std::fmt;
use std::str::FromStr;

use bytes::BufMut;

use crate::wire::{DecodeError, ParseError, Reader};

/// The identifier of a cluster: a UUID, in the order of its text (encoding §1).
///
/// ```
/// use async_messenger::messages::Fsid;
///
/// let fsid: Fsid = "a7f64266-0894-4f1e-a635-d0aeaca0e993".parse().unwrap();
/// assert_eq!(fsid.0[0], 0xa7);
/// assert_eq!(fsid.to_string(), "a7f64266-0894-4f1e-a635-d0aeaca0e993");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fsid(pub [u8; 16]);

impl Fsid {
    /// Bytes it takes.
    pub const LEN: usize = 16;

    /// Writes the 16 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.0);
    }

    /// Reads 16 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.array().map(Self)
    }
}

impl fmt::Display for Fsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let dash = if DASHED.contains(&i) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// The bytes that have a dash before them.
const DASHED: [usize; 4] = [4, 6, 8, 10];

impl fmt::Debug for Fsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fsid {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || {
            ParseError::new(
                "a UUID such as \"a7f64266-0894-4f1e-a635-d0aeaca0e993\"",
                text,
            )
        };
        let mut bytes = [0; Self::LEN];
        let mut rest = text;
        for (i, byte) in bytes.iter_mut().enumerate() {
            if DASHED.contains(&i) {
                rest = rest.strip_prefix('-').ok_or_else(error)?;
            }
            let (digits, after) = rest.split_at_checked(2).ok_or_else(error)?;
            // `from_str_radix` alone would take a sign.
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| error())?;
            rest = after;
        }
        if rest.is_empty() {
            Ok(Self(bytes))
        } else {
            Err(error())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let fsid: Fsid = text.parse().expect("a UUID");
        assert_eq!(fsid.0[4], 0x44);
        assert_eq!(fsid.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(fsid));
        for bad in [
            "",
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeeff0",
            "00112233445566778899aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddee+f",
            "00112233-4455-6677-8899-aabbccddeeé",
        ] {
            assert!(bad.parse::<Fsid>().is_err(), "{bad:?}");
        }
    }
}
