//! The shape of a frame: preamble, trimming, and where the parts are in each mode
//! (msgr2 §5.1 to §5.7).
//!
//! Plain arithmetic and plain data. Invariant: a [`Preamble`] that was decoded has one to four
//! segments, and the last of several is not empty.

use std::ops::Range;

use bytes::{Buf, Bytes};

use crate::proto::error::{Part, ProtoError};
use crate::wire::crc32c;

/// The most segments of a frame.
pub const SEGMENTS_MAX: usize = 4;
/// Bytes of a preamble, encrypted or not.
pub const PREAMBLE_LEN: usize = 32;
/// Bytes of the first segment that travel with the preamble in revision 2.1, encrypted.
pub const INLINE_LEN: usize = 48;

/// Seed of the checksums of segments (msgr2 §1).
pub(super) const SEED: u32 = 0xffff_ffff;

const PREAMBLE_CRC_AT: usize = 28;
/// Length and alignment of a segment.
const SLOT_LEN: usize = 6;
const BLOCK: usize = 16;
const TAG: usize = crate::crypto::TAG_LEN;

/// The page of the data segment's alignment; a hint for the receiver's allocator.
pub(super) const ALIGN_PAGE: u16 = 4096;
pub(super) const ALIGN_WORD: u16 = 8;

/// Flag of a preamble: the segments are compressed.
pub(super) const FLAG_COMPRESSED: u8 = 1;

/// Which revision of the framing is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Revision {
    /// 2.0, of the first releases.
    V0,
    /// 2.1, since release 15.
    V1,
}

/// The head of a frame (msgr2 §5.1). Alignments are hints; they are sent and not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preamble {
    /// What the frame is.
    pub tag: u8,
    /// How many segments it has.
    pub count: usize,
    /// Their lengths, without padding; 0 behind the last.
    pub lens: [u32; SEGMENTS_MAX],
    /// See msgr2 §5.1.
    pub flags: u8,
}

impl Preamble {
    /// The head of a frame with segments of these lengths, without the empty ones at the end.
    #[must_use]
    pub fn new(tag: u8, lens: [u32; SEGMENTS_MAX]) -> Self {
        let last = lens.iter().rposition(|len| *len > 0).unwrap_or(0);
        Self {
            tag,
            count: last + 1,
            lens,
            flags: 0,
        }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn encode(&self, aligns: [u16; SEGMENTS_MAX]) -> [u8; PREAMBLE_LEN] {
        let mut b = [0; PREAMBLE_LEN];
        b[0] = self.tag;
        b[1] = self.count as u8;
        let segments = self.lens.iter().zip(aligns).take(self.count);
        for ((len, align), slot) in segments.zip(b[2..].chunks_exact_mut(SLOT_LEN)) {
            slot[..4].copy_from_slice(&len.to_le_bytes());
            slot[4..].copy_from_slice(&align.to_le_bytes());
        }
        b[26] = self.flags;
        let crc = crc32c(0, &b[..PREAMBLE_CRC_AT]);
        b[PREAMBLE_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// Reads the 32 bytes, and checks what they say by themselves.
    pub(super) fn decode(b: &[u8; PREAMBLE_LEN]) -> Result<Self, ProtoError> {
        let expected = u32_at(b, PREAMBLE_CRC_AT);
        let got = crc32c(0, &b[..PREAMBLE_CRC_AT]);
        if got != expected {
            return Err(ProtoError::Corrupt {
                part: Part::Preamble,
                expected,
                got,
            });
        }
        let count = usize::from(b[1]);
        if !(1..=SEGMENTS_MAX).contains(&count) {
            let text = format!("a frame with {count} segments, it must have one to four");
            return Err(ProtoError::misbehaved(text));
        }
        let mut lens = [0; SEGMENTS_MAX];
        for (i, len) in lens.iter_mut().enumerate().take(count) {
            *len = u32_at(b, 2 + i * SLOT_LEN);
        }
        if count > 1 && lens[count - 1] == 0 {
            let text = format!("a frame whose last segment, of {count}, is empty");
            return Err(ProtoError::misbehaved(text));
        }
        Ok(Self {
            tag: b[0],
            count,
            lens,
            flags: b[26],
        })
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.lens.iter().map(|len| u64::from(*len)).sum()
    }
}

fn u32_at(b: &[u8; PREAMBLE_LEN], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// Rounds up to whole blocks of the cipher.
pub(super) const fn padded(len: usize) -> usize {
    len.next_multiple_of(BLOCK)
}

/// Where the parts of a frame are (msgr2 §5.3 to §5.6). Offsets count from the end of what is
/// [taken with the preamble](Layout::head_len). Lengths must have been bounded before.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) revision: Revision,
    pub(super) count: usize,
    /// What there is of each segment; less than all of the first one in 2.1, encrypted.
    pub(super) segments: [Range<usize>; SEGMENTS_MAX],
    /// The checksum of the first segment in 2.1.
    pub(super) first_crc: Option<usize>,
    pub(super) epilogue: Option<usize>,
    /// Everything.
    pub(super) len: usize,
}

impl Layout {
    pub(super) fn new(revision: Revision, secure: bool, preamble: &Preamble) -> Self {
        let mut layout = Self {
            revision,
            count: preamble.count,
            segments: [0..0, 0..0, 0..0, 0..0],
            first_crc: None,
            epilogue: None,
            len: 0,
        };
        let lens = preamble.lens.map(|len| len as usize);
        let mut at = 0;
        for (i, &len) in lens.iter().enumerate().take(preamble.count) {
            let first = i == 0 && revision == Revision::V1;
            let here = if first && secure {
                len.saturating_sub(INLINE_LEN)
            } else {
                len
            };
            layout.segments[i] = at..at + here;
            at += if secure { padded(here) } else { here };
            if first && secure && here > 0 {
                at += TAG;
            } else if first && !secure && here > 0 {
                layout.first_crc = Some(at);
                at += 4;
            }
        }
        if revision == Revision::V0 || preamble.count > 1 {
            layout.epilogue = Some(at);
            at += match (revision, secure) {
                (Revision::V0, false) => 1 + 4 * SEGMENTS_MAX,
                (Revision::V1, false) => 1 + 4 * (SEGMENTS_MAX - 1),
                (_, true) => BLOCK + TAG,
            };
        }
        layout.len = at;
        layout
    }

    /// The segments of a body. The last one takes its share in the buffer over: to count another
    /// one, and this one off, are two atomic operations.
    pub(super) fn cut(&self, mut body: Bytes) -> [Bytes; SEGMENTS_MAX] {
        let mut segments = [const { Bytes::new() }; SEGMENTS_MAX];
        let last = self.count - 1;
        for (segment, range) in segments.iter_mut().zip(&self.segments).take(last) {
            if !range.is_empty() {
                *segment = body.slice(range.clone());
            }
        }
        let Range { start, end } = self.segments[last];
        body.truncate(end);
        body.advance(start);
        segments[last] = body;
        segments
    }

    /// Bytes that are needed before anything is known of a frame.
    pub(super) const fn head_len(revision: Revision, secure: bool) -> usize {
        match (revision, secure) {
            (Revision::V1, true) => PREAMBLE_LEN + INLINE_LEN + TAG,
            _ => PREAMBLE_LEN,
        }
    }
}

/// Bytes on the wire of a frame with segments of these lengths (msgr2 §5.7).
#[must_use]
pub fn frame_len(revision: Revision, secure: bool, lens: [u32; SEGMENTS_MAX]) -> u64 {
    let layout = Layout::new(revision, secure, &Preamble::new(0, lens));
    (Layout::head_len(revision, secure) + layout.len) as u64
}

/// What the last byte before the checksums says (msgr2 §5.3, §5.4 and §5.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Late {
    Complete,
    Aborted,
}

impl Late {
    const COMPLETE: u8 = 0xe;
    const ABORTED: u8 = 1;

    /// The byte of a frame that was sent whole.
    pub(super) const fn complete(revision: Revision) -> u8 {
        match revision {
            Revision::V0 => 0,
            Revision::V1 => Self::COMPLETE,
        }
    }

    pub(super) fn decode(revision: Revision, byte: u8) -> Result<Self, ProtoError> {
        match (revision, byte & 0xf) {
            (Revision::V0, flags) if flags & 1 == 0 => Ok(Self::Complete),
            (Revision::V1, Self::COMPLETE) => Ok(Self::Complete),
            (Revision::V0, _) | (Revision::V1, Self::ABORTED) => Ok(Self::Aborted),
            (Revision::V1, _) => {
                let text = format!("a frame whose late status is {byte:#04x}");
                Err(ProtoError::misbehaved(text))
            }
        }
    }
}
