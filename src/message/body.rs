//! The bytes of a message: chains of shared slices.

use bytes::{Bytes, BytesMut};

use crate::wire::{crc32c, ones_behind};

/// From here on it is cheaper to convert a checksum that is known than to compute another.
const CONVERT_MIN: usize = 16 << 10;
/// The seed of version 2 of the protocol (msgr2 §5.10), all ones.
const SEED_V2: u32 = u32::MAX;

/// One of a message's three parts: a chain of [`Bytes`], and its CRC-32C once it was computed.
///
/// Building one from bytes never copies. A received segment is one slice of the buffer that the
/// socket was read into; a message that is kept long should be [compacted](super::Message::compact).
#[derive(Clone, Debug, Default)]
pub struct Segment {
    chain: Chain,
    sum: Sum,
}

/// A checksum that is known: from seed 0, or from that of version 2.
#[derive(Clone, Copy, Debug, Default)]
enum Sum {
    #[default]
    Unknown,
    Zero(u32),
    V2(u32),
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
        sum: Sum::Unknown,
    };

    /// A received segment whose CRC has been checked.
    #[inline]
    pub(crate) fn received(bytes: Bytes, crc: Option<u32>) -> Self {
        Self {
            chain: if bytes.is_empty() {
                Chain::Empty
            } else {
                Chain::One(bytes)
            },
            sum: crc.map_or(Sum::Unknown, Sum::Zero),
        }
    }

    /// Length in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match &self.chain {
            Chain::Empty => 0,
            Chain::One(bytes) => bytes.len(),
            Chain::Many(chunks) => chunks.iter().map(Bytes::len).sum(),
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        matches!(self.chain, Chain::Empty)
    }

    /// The pieces, none of them empty.
    #[must_use]
    #[inline]
    pub fn chunks(&self) -> &[Bytes] {
        match &self.chain {
            Chain::Empty => &[],
            Chain::One(bytes) => std::slice::from_ref(bytes),
            Chain::Many(chunks) => chunks,
        }
    }

    /// Appends a piece, without copying it.
    #[inline]
    pub fn push(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return;
        }
        self.sum = Sum::Unknown;
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
    #[inline]
    pub fn crc(&mut self) -> u32 {
        let crc = match self.sum {
            Sum::Zero(crc) => crc,
            _ => self.sum_from(0),
        };
        self.sum = Sum::Zero(crc);
        crc
    }

    /// The same with the seed of version 2. It differs from the other by what as many zeros make of
    /// the seed, since a CRC is linear.
    #[inline]
    pub(crate) fn crc_v2(&mut self) -> u32 {
        let crc = match self.sum {
            Sum::V2(crc) => crc,
            Sum::Zero(crc) if self.len() >= CONVERT_MIN => crc ^ ones_behind(self.len()),
            _ => self.sum_from(SEED_V2),
        };
        self.sum = Sum::V2(crc);
        crc
    }

    fn sum_from(&self, seed: u32) -> u32 {
        let chunks = self.chunks().iter();
        chunks.fold(seed, |crc, chunk| crc32c(crc, chunk))
    }

    /// Moves the bytes out of whatever larger buffer they share.
    pub(super) fn compact(&mut self) {
        if !self.is_empty() {
            let copy = self.chunks().concat();
            self.chain = Chain::One(copy.into());
        }
    }

    /// Gives the pieces away.
    #[inline]
    pub(crate) fn give_chunks(self, mut take: impl FnMut(Bytes)) {
        match self.chain {
            Chain::Empty => {}
            Chain::One(bytes) => take(bytes),
            Chain::Many(chunks) => chunks.into_iter().for_each(take),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_either_seed_are_right_whichever_is_known() {
        let lens = [
            0,
            1,
            1000,
            CONVERT_MIN - 1,
            CONVERT_MIN,
            CONVERT_MIN + 7,
            1 << 20,
        ];
        for len in lens {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 31 + i / 256) as u8).collect();
            let (zero, v2) = (crc32c(0, &bytes), crc32c(SEED_V2, &bytes));
            let mut segment = Segment::from(bytes);
            assert_eq!(segment.crc_v2(), v2, "{len}");
            assert_eq!(segment.crc(), zero, "{len} behind the other");
            assert_eq!(segment.crc_v2(), v2, "{len} converted");
            assert_eq!(segment.crc_v2(), v2, "{len} known");
        }
    }
}
