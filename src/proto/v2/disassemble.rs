//! Frames that are received (msgr2 §5.11).
//!
//! A frame comes in two steps, its preamble and its body, so that the caller can look at the tag
//! and the lengths before anything is allocated for them. A body is one buffer, cut out of the
//! input if it is complete there, and otherwise, if it is long, one of its own that the rest is read
//! to; segments are slices of it, and what is encrypted is opened in place. Invariants: lengths are
//! within [`Bounds`] before they are used; nothing of a frame is handed out before all its
//! checksums or tags have been checked.

use bytes::{Buf, Bytes, BytesMut};

use super::compression::{self, Algorithm};
use super::frame::{
    FLAG_COMPRESSED, INLINE_LEN, Late, Layout, PREAMBLE_LEN, Preamble, Revision, SEED,
    SEGMENTS_MAX, padded,
};
use super::tag;
use crate::crypto::{Opener, TAG_LEN};
use crate::proto::{Landing, Limits, Part, ProtoError};
use crate::wire::crc32c;

/// Bodies shorter than this wait in the input buffer until they are complete.
pub(super) const LANDING_MIN: usize = 32 << 10;

/// The longest header segment of a message that is taken. 41 bytes are known; what is behind them
/// is for later releases (msgr2 §11.1).
const HEADER_MAX: u32 = 4096;

/// Bounds on the lengths in a preamble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// All segments together of a frame that is no message.
    pub control: u32,
    /// The segments of a message; `None` where there must be none.
    pub message: Option<Limits>,
}

impl Bounds {
    /// Before the peer has shown who it is: 64 KiB (msgr2 §17).
    pub const STRANGER: Self = Self {
        control: 64 << 10,
        message: None,
    };
    /// After it has, and before the session is open: 1 MiB.
    pub const KNOWN: Self = Self {
        control: 1 << 20,
        message: None,
    };

    /// Of an open session.
    #[must_use]
    pub const fn ready(limits: Limits) -> Self {
        Self {
            control: 1 << 20,
            message: Some(limits),
        }
    }

    fn check(&self, preamble: &Preamble) -> Result<(), ProtoError> {
        let is_message = preamble.tag == tag::MESSAGE;
        if is_message && self.message.is_none() {
            let text = "a message before the session is open";
            return Err(ProtoError::misbehaved(text));
        }
        for (i, len) in preamble.lens.iter().enumerate() {
            let (what, max, is_shared) = self.of_segment(preamble.tag, i);
            let max = match preamble.flags & FLAG_COMPRESSED {
                0 => max,
                _ => compression::packed_max(max),
            };
            let got = if is_shared {
                preamble.size()
            } else {
                u64::from(*len)
            };
            let max = u64::from(max);
            if got > max {
                return Err(ProtoError::Limit { what, got, max });
            }
        }
        Ok(())
    }

    /// The bound of one segment of a frame: what it is called, how many bytes it may have, and
    /// whether this is for all segments of the frame together.
    pub(super) fn of_segment(&self, tag: u8, segment: usize) -> (&'static str, u32, bool) {
        let limits = match self.message {
            Some(limits) if tag == tag::MESSAGE => limits,
            _ => return ("control frame", self.control, true),
        };
        match segment {
            0 => ("message header", HEADER_MAX, false),
            1 => ("front segment", limits.front_max, false),
            2 => ("middle segment", limits.middle_max, false),
            _ => ("data segment", limits.data_max, false),
        }
    }
}

/// A frame that was received whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it is.
    pub tag: u8,
    /// How many segments it has.
    pub count: usize,
    /// The segments; empty behind the last.
    pub segments: [Bytes; SEGMENTS_MAX],
}

impl Frame {
    /// The segment that a frame which is no message has its content in (msgr2 §5.11).
    #[must_use]
    pub fn last(&self) -> &Bytes {
        &self.segments[self.count - 1]
    }
}

/// What the body of a frame came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// It is complete and right.
    Frame(Frame),
    /// The peer has given the frame up midway (msgr2 §5.9).
    Aborted,
}

/// Takes frames apart.
#[derive(Debug)]
pub struct Disassembler {
    revision: Revision,
    /// Whether the checksums of segments count (msgr2 §5.10).
    sums: bool,
    opener: Option<Opener>,
    /// What was agreed on, and only then a frame may be compressed.
    algorithm: Option<Algorithm>,
    current: Option<Current>,
    /// A copy of everything that was taken, while there is one.
    pub(super) transcript: Option<Vec<u8>>,
}

/// The frame whose preamble has been taken.
#[derive(Debug)]
struct Current {
    preamble: Preamble,
    bounds: Bounds,
    layout: Layout,
    /// The beginning of the first segment, in 2.1, encrypted.
    inline: [u8; INLINE_LEN],
    fill: Option<Fill>,
}

/// A body that is being read into a buffer of its own.
#[derive(Debug)]
struct Fill {
    buf: BytesMut,
    len: usize,
    sums: Sums,
}

/// Checksums of the segments, as far as their bytes have come.
#[derive(Clone, Copy, Debug)]
struct Sums {
    crc: [u32; SEGMENTS_MAX],
    /// Bytes of the body that have been looked at.
    done: usize,
}

impl Disassembler {
    /// A disassembler for the plain mode, or for the encrypted one if there is an opener.
    #[must_use]
    pub fn new(revision: Revision, opener: Option<Opener>, sums: bool) -> Self {
        Self {
            revision,
            sums,
            opener,
            algorithm: None,
            current: None,
            transcript: None,
        }
    }

    /// From the next frame on, it decrypts.
    pub(super) fn decrypt(&mut self, opener: Opener) {
        debug_assert!(self.current.is_none(), "in the middle of a frame");
        self.opener = Some(opener);
    }

    /// From the next frame on, frames may be compressed by this algorithm.
    pub fn decompress(&mut self, algorithm: Algorithm) {
        self.algorithm = Some(algorithm);
    }

    /// Whether it decrypts.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.opener.is_some()
    }

    /// Takes the preamble of the next frame out of `rx`; if it has been taken already, says it
    /// again. `None`: there are not enough bytes.
    ///
    /// # Errors
    /// What is wrong with it. A length beyond its bound is.
    pub fn preamble(
        &mut self,
        rx: &mut BytesMut,
        bounds: &Bounds,
    ) -> Result<Option<Preamble>, ProtoError> {
        if let Some(current) = &self.current {
            return Ok(Some(current.preamble));
        }
        let head_len = Layout::head_len(self.revision, self.is_secure());
        if rx.len() < head_len {
            return Ok(None);
        }
        let mut head = [0; PREAMBLE_LEN];
        let mut inline = [0; INLINE_LEN];
        head.copy_from_slice(&rx[..PREAMBLE_LEN]);
        match (&mut self.opener, self.revision) {
            (None, _) => {
                record(&mut self.transcript, &head);
                rx.advance(PREAMBLE_LEN);
            }
            // It is opened with the body, and stays before it.
            (Some(opener), Revision::V0) => opener.peek(&mut head),
            (Some(opener), Revision::V1) => {
                let mut text = rx.split_to(head_len);
                open(opener, &mut text, Part::Preamble)?;
                head.copy_from_slice(&text[..PREAMBLE_LEN]);
                inline.copy_from_slice(&text[PREAMBLE_LEN..PREAMBLE_LEN + INLINE_LEN]);
            }
        }
        let preamble = Preamble::decode(&head)?;
        if preamble.flags & FLAG_COMPRESSED != 0 && self.algorithm.is_none() {
            let text = "a compressed frame, and compression was not agreed on";
            return Err(ProtoError::misbehaved(text));
        }
        bounds.check(&preamble)?;
        self.current = Some(Current {
            preamble,
            bounds: *bounds,
            layout: Layout::new(self.revision, self.is_secure(), &preamble),
            inline,
            fill: None,
        });
        Ok(Some(preamble))
    }

    /// Takes the body of the frame whose preamble has been taken. `None`: it is not complete.
    ///
    /// # Errors
    /// If a checksum or a tag does not fit, or it does not decompress to something in its bounds.
    pub fn body(&mut self, rx: &mut BytesMut) -> Result<Option<Body>, ProtoError> {
        let Some(current) = &mut self.current else {
            return Err(ProtoError::LocalBug("a body without a preamble"));
        };
        let lead = match (&self.opener, self.revision) {
            (Some(_), Revision::V0) => PREAMBLE_LEN,
            _ => 0,
        };
        let sums = self.sums && self.opener.is_none();
        let taken = current.take(lead, sums, rx, &mut self.transcript);
        let Some((body, crcs)) = taken else {
            return Ok(None);
        };
        let (late, mut segments) = match &mut self.opener {
            Some(opener) => current.opened(lead, opener, body)?,
            None => current.checked(sums.then_some(crcs), body)?,
        };
        let bounds = current.bounds;
        let Preamble {
            tag, count, flags, ..
        } = current.preamble;
        self.current = None;
        if late == Late::Aborted {
            return Ok(Some(Body::Aborted));
        }
        if let Some(algorithm) = self.algorithm.filter(|_| flags & FLAG_COMPRESSED != 0) {
            compression::unpack(algorithm, tag, &bounds, &mut segments)?;
        }
        Ok(Some(Body::Frame(Frame {
            tag,
            count,
            segments,
        })))
    }

    /// The buffer that the next bytes of the stream belong to, if it is not the input buffer. While
    /// there is one the input buffer is empty.
    pub fn landing(&mut self) -> Option<Landing<'_>> {
        let fill = self.current.as_mut()?.fill.as_mut()?;
        let wanted = fill.len - fill.buf.len();
        (wanted > 0).then_some(Landing {
            buf: &mut fill.buf,
            wanted,
        })
    }
}

impl Current {
    /// The complete body, behind `lead` bytes that have waited before it.
    fn take(
        &mut self,
        lead: usize,
        sums: bool,
        rx: &mut BytesMut,
        transcript: &mut Option<Vec<u8>>,
    ) -> Option<(BytesMut, Sums)> {
        let len = lead + self.layout.len;
        if self.fill.is_none() {
            if rx.len() >= len {
                let body = rx.split_to(len);
                record(transcript, &body);
                let mut done = Sums::NONE;
                if sums {
                    done.add(&self.layout, &body);
                }
                return Some((body, done));
            }
            if len < LANDING_MIN {
                return None;
            }
        }
        let fill = self.fill.get_or_insert_with(|| Fill {
            buf: BytesMut::with_capacity(len),
            len,
            sums: Sums::NONE,
        });
        let staged = rx.len().min(fill.len - fill.buf.len());
        record(transcript, &rx[..staged]);
        fill.buf.extend_from_slice(&rx.split_to(staged));
        if sums {
            fill.sums.add(&self.layout, &fill.buf);
        }
        if fill.buf.len() < fill.len {
            return None;
        }
        self.fill.take().map(|fill| (fill.buf, fill.sums))
    }

    /// Checks the checksums of a plain frame.
    fn checked(
        &self,
        sums: Option<Sums>,
        body: BytesMut,
    ) -> Result<(Late, [Bytes; SEGMENTS_MAX]), ProtoError> {
        let layout = &self.layout;
        let stored = |at: usize| {
            let bytes = body.get(at..at + 4).and_then(|b| b.first_chunk());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        for i in 0..layout.count {
            // In 2.1 the first has its own place, and those in the epilogue begin with the second.
            let at = match (layout.revision, i) {
                (Revision::V0, i) => layout.epilogue.map(|at| at + 1 + 4 * i),
                (Revision::V1, 0) => layout.first_crc,
                (Revision::V1, i) => layout.epilogue.map(|at| at + 1 + 4 * (i - 1)),
            };
            let (Some(at), Some(sums)) = (at, &sums) else {
                continue;
            };
            let (expected, got) = (stored(at), sums.crc[i]);
            if expected != got {
                return Err(ProtoError::Corrupt {
                    part: part(self.preamble.tag, i),
                    expected,
                    got,
                });
            }
        }
        let late = match layout.epilogue {
            Some(at) => Late::decode(layout.revision, body[at])?,
            None => Late::Complete,
        };
        Ok((late, layout.cut(body.freeze())))
    }

    /// Opens an encrypted frame.
    fn opened(
        &self,
        lead: usize,
        opener: &mut Opener,
        mut body: BytesMut,
    ) -> Result<(Late, [Bytes; SEGMENTS_MAX]), ProtoError> {
        let layout = &self.layout;
        let first = layout.segments[0].clone();
        let mut from = 0;
        if layout.revision == Revision::V1 && !first.is_empty() {
            from = padded(first.len()) + TAG_LEN;
            open(opener, &mut body[..from], part(self.preamble.tag, 0))?;
        }
        if layout.epilogue.is_some() {
            open(opener, &mut body[from..], part(self.preamble.tag, 1))?;
        }
        let mut body = body.freeze();
        body.advance(lead);
        let late = match layout.epilogue {
            Some(at) => Late::decode(layout.revision, body[at])?,
            None => Late::Complete,
        };
        let mut segments = layout.cut(body);
        if layout.revision == Revision::V1 {
            let len = (self.preamble.lens[0] as usize).min(INLINE_LEN);
            let mut whole = BytesMut::with_capacity(len + first.len());
            whole.extend_from_slice(&self.inline[..len]);
            whole.extend_from_slice(&segments[0]);
            segments[0] = whole.freeze();
        }
        Ok((late, segments))
    }
}

impl Sums {
    const NONE: Self = Self {
        crc: [SEED; SEGMENTS_MAX],
        done: 0,
    };

    /// Goes on with what is new at the end of `body`, while it is in the cache.
    fn add(&mut self, layout: &Layout, body: &[u8]) {
        for (crc, segment) in self.crc.iter_mut().zip(&layout.segments) {
            let from = segment.start.max(self.done);
            let to = segment.end.min(body.len());
            if from < to {
                *crc = crc32c(*crc, &body[from..to]);
            }
        }
        self.done = body.len();
    }
}

fn open(opener: &mut Opener, text: &mut [u8], part: Part) -> Result<(), ProtoError> {
    let tampered = ProtoError::Tampered { part };
    let Some((text, tag)) = text.split_last_chunk_mut() else {
        return Err(tampered);
    };
    opener.open(text, tag).map_err(|_| tampered)
}

pub(super) fn part(tag: u8, segment: usize) -> Part {
    match (tag, segment) {
        (tag::MESSAGE, 0) => Part::Header,
        (tag::MESSAGE, 1) => Part::Front,
        (tag::MESSAGE, 2) => Part::Middle,
        (tag::MESSAGE, _) => Part::Data,
        _ => Part::Control,
    }
}

fn record(transcript: &mut Option<Vec<u8>>, bytes: &[u8]) {
    if let Some(transcript) = transcript {
        transcript.extend_from_slice(bytes);
    }
}
