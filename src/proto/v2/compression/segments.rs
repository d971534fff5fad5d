//! The segments of a frame, compressed and back (msgr2 §8.2): each by itself, and empty ones stay
//! empty.

use bytes::Bytes;

use super::{Algorithm, Fault};
use crate::message::Segment;
use crate::proto::ProtoError;
use crate::proto::v2::assemble::Rest;
use crate::proto::v2::disassemble::{Bounds, part};
use crate::proto::v2::frame::SEGMENTS_MAX;

/// All segments but the first, compressed.
type Packed = [Segment; SEGMENTS_MAX - 1];

/// Compresses frames that are sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::proto::v2) struct Packer {
    algorithm: Algorithm,
    /// Shorter ones are not worth it.
    min_size: u64,
}

impl Packer {
    pub(in crate::proto::v2) fn new(algorithm: Algorithm, min_size: u64) -> Self {
        Self {
            algorithm,
            min_size,
        }
    }

    /// The segments compressed; `None` if the frame is to be sent as it is. Whether they became
    /// shorter is not asked, as Ceph does not.
    pub(in crate::proto::v2) fn pack(
        &self,
        first: &[u8],
        rest: &Rest<'_>,
    ) -> Option<(Vec<u8>, Packed)> {
        let size = first.len() + rest.iter().map(|segment| segment.len()).sum::<usize>();
        if (size as u64) < self.min_size {
            return None;
        }
        let pack = |text: &[u8]| match text {
            [] => Some(Vec::new()),
            text => self.algorithm.pack(text),
        };
        let first = pack(first)?;
        let mut packed = [Segment::EMPTY, Segment::EMPTY, Segment::EMPTY];
        for (packed, segment) in packed.iter_mut().zip(rest) {
            *packed = Segment::from(pack(&segment.to_bytes())?);
        }
        Some((first, packed))
    }
}

/// The most bytes that so many have once they are compressed: no algorithm adds more to what it
/// cannot make shorter than snappy, a sixth.
pub(in crate::proto::v2) fn packed_max(len: u32) -> u32 {
    const HEADS: u32 = 64;
    len.saturating_add(len / 6).saturating_add(HEADS)
}

/// Decompresses the segments of a frame that was received, each into one of its own. What they come
/// to has the bounds that a frame has which is not compressed.
pub(in crate::proto::v2) fn unpack(
    algorithm: Algorithm,
    tag: u8,
    bounds: &Bounds,
    segments: &mut [Bytes; SEGMENTS_MAX],
) -> Result<(), ProtoError> {
    let mut before = 0;
    for (i, segment) in segments.iter_mut().enumerate() {
        if segment.is_empty() {
            continue;
        }
        let (what, max, is_shared) = bounds.of_segment(tag, i);
        let max = if is_shared { max - before } else { max };
        let unpacked = algorithm.unpack(segment, max as usize);
        let text = unpacked.map_err(|fault| match fault {
            Fault::TooLong(got) => ProtoError::Limit {
                what,
                got: got + u64::from(before),
                max: u64::from(max) + u64::from(before),
            },
            Fault::Damaged(why) => {
                let part = part(tag, i);
                let text = format!("its {part} does not decompress by {algorithm}: {why}");
                ProtoError::misbehaved(text)
            }
        })?;
        if is_shared {
            before += text.len() as u32;
        }
        *segment = text.into();
    }
    Ok(())
}
