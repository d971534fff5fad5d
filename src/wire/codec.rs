//! Reading and writing of scalars, strings, counts and versioned envelopes
//! (encoding §1, §2 and §4). All integers are little-endian, nothing is padded.
//!
//! Invariant: a [`Reader`] never hands out more than it was given, and a count it returns is
//! small enough for that many elements to be in the bytes left, so that a caller may reserve
//! room for it.

use std::error::Error;
use std::fmt;

use bytes::BufMut;

/// Bytes of a peer that are not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeError {
    /// What was being decoded.
    pub what: &'static str,
    /// What was wrong with it.
    pub kind: DecodeErrorKind,
}

/// What was wrong with bytes that do not decode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// More bytes were needed than were left.
    Truncated {
        /// Bytes the next field takes.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A count of elements that cannot all be in the bytes left.
    Count {
        /// The count.
        count: u32,
        /// Bytes that were left.
        left: usize,
    },
    /// The encoding says that a newer decoder is needed.
    TooNew {
        /// The oldest decoder version that would do.
        compat: u8,
        /// The newest version this decoder knows.
        known: u8,
    },
    /// A string that is not UTF-8.
    NotUtf8,
    /// A value that the field cannot have.
    Value(u64),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.what)?;
        match self.kind {
            DecodeErrorKind::Truncated { needed, left } => {
                write!(f, "needs {needed} more bytes, {left} are left")
            }
            DecodeErrorKind::Count { count, left } => {
                write!(
                    f,
                    "says it has {count} elements, only {left} bytes are left"
                )
            }
            DecodeErrorKind::TooNew { compat, known } => {
                write!(
                    f,
                    "needs a decoder of version {compat}, this one knows {known}"
                )
            }
            DecodeErrorKind::NotUtf8 => f.write_str("is not UTF-8"),
            DecodeErrorKind::Value(v) => write!(f, "cannot be {v:#x}"),
        }
    }
}

impl Error for DecodeError {}

/// A text that does not say what it should.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    what: &'static str,
    text: String,
}

impl ParseError {
    pub(crate) fn new(what: &'static str, text: &str) -> Self {
        Self {
            what,
            text: text.into(),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not {}", self.text, self.what)
    }
}

impl Error for ParseError {}

/// A cursor over bytes of a peer.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

macro_rules! scalars {
    ($($name:ident)*) => {$(
        #[doc = concat!("The next `", stringify!($name), "`.")]
        #[inline]
        pub fn $name(&mut self) -> Result<$name, DecodeError> {
            Ok($name::from_le_bytes(self.array()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `what` names them in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    scalars! { u8 u16 u32 u64 i8 i16 i32 i64 }

    /// The next byte as a truth value; anything but 0 is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    /// The next `n` bytes.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, rest)) = self.rest.split_at_checked(n) else {
            return Err(self.truncated(n));
        };
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes by value.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((head, rest)) = self.rest.split_first_chunk() else {
            return Err(self.truncated(N));
        };
        self.rest = rest;
        Ok(*head)
    }

    /// The next length and as many bytes.
    pub fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()?;
        self.bytes(len as usize)
    }

    /// The next string. On the wire it is bytes; one that is not UTF-8 is an error here, who
    /// needs it all the same takes [`blob`](Self::blob).
    pub fn string(&mut self) -> Result<String, DecodeError> {
        let bytes = self.blob()?;
        match str::from_utf8(bytes) {
            Ok(s) => Ok(s.into()),
            Err(_) => Err(self.error(DecodeErrorKind::NotUtf8)),
        }
    }

    /// The next count of elements that take at least `element_bytes_min` each.
    pub fn count(&mut self, element_bytes_min: usize) -> Result<usize, DecodeError> {
        let count = self.u32()?;
        if count as usize > self.rest.len() / element_bytes_min.max(1) {
            let left = self.rest.len();
            return Err(self.error(DecodeErrorKind::Count { count, left }));
        }
        Ok(count as usize)
    }

    /// The next versioned envelope, named `what`: its version and a reader of its body. This
    /// reader goes on behind it, whether the body is read to its end or not.
    pub fn envelope(
        &mut self,
        newest_known: u8,
        what: &'static str,
    ) -> Result<(u8, Self), DecodeError> {
        let mut head = Self {
            rest: self.rest,
            what,
        };
        let version = head.u8()?;
        let compat = head.u8()?;
        if compat > newest_known {
            return Err(head.error(DecodeErrorKind::TooNew {
                compat,
                known: newest_known,
            }));
        }
        let body = head.blob()?;
        self.rest = head.rest;
        Ok((version, Self { rest: body, what }))
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether no bytes are left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The error that the value just read cannot be `value`.
    pub fn bad_value(&self, value: impl Into<u64>) -> DecodeError {
        self.error(DecodeErrorKind::Value(value.into()))
    }

    fn truncated(&self, needed: usize) -> DecodeError {
        self.error(DecodeErrorKind::Truncated {
            needed,
            left: self.rest.len(),
        })
    }

    fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError {
            what: self.what,
            kind,
        }
    }
}

/// What [`BufMut`] lacks for our encodings.
pub trait Put: BufMut {
    /// Writes a count of elements, or a length.
    ///
    /// # Panics
    /// If it does not fit 32 bits, which only our own caller can cause.
    fn put_count(&mut self, n: usize) {
        self.put_u32_le(u32::try_from(n).expect("more than 4 GiB in one field"));
    }

    /// Writes a length and the bytes.
    fn put_blob(&mut self, bytes: &[u8]) {
        self.put_count(bytes.len());
        self.put_slice(bytes);
    }

    /// Writes a length and the string's bytes.
    fn put_string(&mut self, s: &str) {
        self.put_blob(s.as_bytes());
    }

    /// Writes a versioned envelope around the `len` bytes that `body` writes, without a copy.
    fn put_envelope_of(&mut self, version: u8, compat: u8, len: usize, body: impl FnOnce(&mut Self))
    where
        Self: Sized,
    {
        self.put_u8(version);
        self.put_u8(compat);
        self.put_count(len);
        let room = self.remaining_mut();
        body(self);
        debug_assert_eq!(
            room - self.remaining_mut(),
            len,
            "the length of an envelope"
        );
    }

    /// Writes a versioned envelope around what `body` writes, however long that is.
    fn put_envelope(&mut self, version: u8, compat: u8, body: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = Vec::new();
        body(&mut inner);
        self.put_u8(version);
        self.put_u8(compat);
        self.put_blob(&inner);
    }
}

impl<T: BufMut + ?Sized> Put for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_in_order() {
        let mut out = Vec::new();
        out.put_u8(1);
        out.put_u16_le(0x0302);
        out.put_u32_le(0x0706_0504);
        out.put_i64_le(-2);
        out.put_string("héllo");
        out.put_blob(&[9, 8]);
        assert_eq!(out[..7], [1, 2, 3, 4, 5, 6, 7]);
        let mut r = Reader::new(&out, "test");
        assert!(r.bool().unwrap());
        assert_eq!(r.u16().unwrap(), 0x0302);
        assert_eq!(r.i32().unwrap(), 0x0706_0504);
        assert_eq!(r.i64().unwrap(), -2);
        assert_eq!(r.string().unwrap(), "héllo");
        assert_eq!(r.blob().unwrap(), [9, 8]);
        assert!(r.is_empty());
        let e = r.u64().unwrap_err();
        assert_eq!(e.to_string(), "test: needs 8 more bytes, 0 are left");
    }

    #[test]
    fn lengths_and_counts_are_bounded() {
        let mut r = Reader::new(&[0xff; 8], "names");
        assert_eq!(
            r.clone().blob().unwrap_err().kind,
            DecodeErrorKind::Truncated {
                needed: u32::MAX as usize,
                left: 4,
            }
        );
        let e = r.count(2).unwrap_err();
        assert_eq!(
            e.to_string(),
            "names: says it has 4294967295 elements, only 4 bytes are left"
        );
        assert_eq!(Reader::new(&[2, 0, 0, 0, 1, 1, 1, 1], "x").count(2), Ok(2));
        assert!(
            Reader::new(&[3, 0, 0, 0, 1, 1, 1, 1], "x")
                .count(2)
                .is_err()
        );
        let e = Reader::new(&[1, 0, 0, 0, 0xff], "name")
            .string()
            .unwrap_err();
        assert_eq!(e.to_string(), "name: is not UTF-8");
    }

    #[test]
    fn envelopes_skip_what_is_newer() {
        let mut out = Vec::new();
        out.put_envelope(3, 1, |b| {
            b.put_u16_le(7);
            b.put_envelope(1, 1, |b| b.put_u8(5));
            b.put_u32_le(0xdead); // a field of version 3, unknown to the reader below
        });
        out.put_u8(0x77);
        let mut r = Reader::new(&out, "outer");
        let (version, mut body) = r.envelope(2, "thing").unwrap();
        assert_eq!((version, body.u16().unwrap()), (3, 7));
        let (_, mut inner) = body.envelope(1, "inner").unwrap();
        assert_eq!(inner.u8().unwrap(), 5);
        assert_eq!(inner.u8().unwrap_err().what, "inner");
        assert_eq!(r.u8().unwrap(), 0x77);

        out[1] = 3;
        let e = Reader::new(&out, "outer").envelope(2, "thing").unwrap_err();
        assert_eq!(
            e.to_string(),
            "thing: needs a decoder of version 3, this one knows 2"
        );
        out[1] = 1;
        out[2] = 200;
        assert!(Reader::new(&out, "outer").envelope(2, "thing").is_err());
    }
}
