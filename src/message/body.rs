//! The bytes of a message: chains of shared slices.

use bytes::{Bytes, BytesMut};

use crate::wire::crc32c;

/// One of a message's three parts: a chain of [`Bytes`], and its CRC-32C once it was computed.
///
/// Building one from bytes never copies. A received segment is one slice of the buffer that the
/// socket was read into; a message that is kept long should be [compacted](super::Message::compact).
#[derive(Clone, Debug, Default)]
pub struct Segment {
    chain: Chain,
    crc: Option<u32>,
}

#[derive(Clone, Debug, Default)]
enum Chain {
    #[default]
    Empty,
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Segment {
    /// A segment without bytes.
    pub const EMPTY: Self = Self {
        chain: Chain::Empty,
        crc: None,
    };

    /// A received segment whose CRC has been checked.
    pub(crate) fn received(bytes: Bytes, crc: Option<u32>) -> Self {
        Self {
            chain: if bytes.is_empty() {
                Chain::Empty
            } else {
                Chain::One(bytes)
            },
            crc,
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks().iter().map(Bytes::len).sum()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.chain, Chain::Empty)
    }

    /// The pieces, none of them empty.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        match &self.chain {
            Chain::Empty => &[],
            Chain::One(bytes) => std::slice::from_ref(bytes),
            Chain::Many(chunks) => chunks,
        }
    }

    /// Appends a piece, without copying it.
    pub fn push(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return;
        }
        self.crc = None;
        self.chain = match std::mem::take(&mut self.chain) {
            Chain::Empty => Chain::One(bytes),
            Chain::One(first) => Chain::Many(vec![first, bytes]),
            Chain::Many(mut chunks) => {
                chunks.push(bytes);
                Chain::Many(chunks)
            }
        };
    }

    /// All bytes in one piece; copies only if there are several.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.chain {
            Chain::Empty => Bytes::new(),
            Chain::One(bytes) => bytes.clone(),
            Chain::Many(chunks) => {
                let mut all = BytesMut::with_capacity(self.len());
                chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
                all.freeze()
            }
        }
    }

    /// CRC-32C over all bytes with seed 0 (encoding §7), computed once.
    pub fn crc(&mut self) -> u32 {
        let crc = self.crc.unwrap_or_else(|| {
            self.chunks()
                .iter()
                .fold(0, |crc, chunk| crc32c(crc, chunk))
        });
        self.crc = Some(crc);
        crc
    }

    /// That CRC, if it was computed.
    pub(crate) fn known_crc(&self) -> Option<u32> {
        self.crc
    }

    /// Moves the bytes out of whatever larger buffer they share.
    pub(super) fn compact(&mut self) {
        if !self.is_empty() {
            let copy = self.chunks().concat();
            self.chain = Chain::One(copy.into());
        }
    }

    /// The pieces, by value.
    pub(crate) fn into_chunks(self) -> impl Iterator<Item = Bytes> {
        let (one, many) = match self.chain {
            Chain::Empty => (None, Vec::new()),
            Chain::One(bytes) => (Some(bytes), Vec::new()),
            Chain::Many(chunks) => (None, chunks),
        };
        one.into_iter().chain(many)
    }
}

impl<T: Into<Bytes>> From<T> for Segment {
    fn from(bytes: T) -> Self {
        let mut segment = Self::EMPTY;
        segment.push(bytes);
        segment
    }
}

/// Segments are equal if their bytes are, however they are cut.
impl PartialEq for Segment {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |s: &Self| s.chunks().iter().flatten().copied().collect::<Vec<u8>>();
        self.len() == other.len() && bytes(self) == bytes(other)
    }
}

impl Eq for Segment {}
