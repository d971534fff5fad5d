//! Frames to be sent (msgr2 §5).
//!
//! In the plain mode payload bytes go out by reference; in the encrypted one they are copied once,
//! into the buffer where they are sealed in place. Invariant: an assembler that failed once has
//! given nothing of that frame away.

use bytes::{BufMut, Bytes, BytesMut};

use super::compression::{Algorithm, Packer};
use super::frame::{
    ALIGN_PAGE, ALIGN_WORD, FLAG_COMPRESSED, INLINE_LEN, Late, Preamble, Revision, SEED,
    SEGMENTS_MAX, padded,
};
use super::tag;
use crate::crypto::{Sealer, TAG_LEN};
use crate::message::{Segment, TxBatch};
use crate::proto::ProtoError;
use crate::wire::crc32c;

/// Sealed frames are cut out of buffers of this size, so that they do not have one each, whose
/// memory the system may take back and give out anew every time: at 64 KiB that took more than all
/// else. A thread has one.
const CIPHER_BUFFER: usize = 256 << 10;

/// Where frames go to.
pub trait Sink {
    /// Appends a copy.
    fn copy(&mut self, bytes: &[u8]);
    /// Appends, by reference if that pays.
    fn push(&mut self, bytes: Bytes);
}

impl Sink for TxBatch {
    fn copy(&mut self, bytes: &[u8]) {
        Self::copy(self, bytes);
    }

    fn push(&mut self, bytes: Bytes) {
        Self::push(self, bytes);
    }
}

impl Sink for BytesMut {
    fn copy(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn push(&mut self, bytes: Bytes) {
        self.extend_from_slice(&bytes);
    }
}

/// The segments behind the first.
pub(super) type Rest<'a> = [&'a mut Segment; SEGMENTS_MAX - 1];

/// Makes frames of segments.
#[derive(Debug)]
pub struct Assembler {
    revision: Revision,
    /// Whether segments get checksums (msgr2 §5.10).
    sums: bool,
    sealer: Option<Sealer>,
    packer: Option<Packer>,
    /// Room for sealed frames, unless they are long.
    cipher: BytesMut,
}

impl Assembler {
    /// An assembler for the plain mode, or for the encrypted one if there is a sealer.
    #[must_use]
    pub fn new(revision: Revision, sealer: Option<Sealer>, sums: bool) -> Self {
        Self {
            revision,
            sums,
            sealer,
            packer: None,
            cipher: BytesMut::new(),
        }
    }

    /// Whether checksums of a message's own segments go over the wire.
    pub(super) fn uses_sums(&self) -> bool {
        self.sums && self.sealer.is_none() && self.packer.is_none()
    }

    /// The revision that it speaks.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Exchanges the room for sealed frames, so that assemblers which rest need not keep one each.
    pub fn swap_room(&mut self, room: &mut BytesMut) {
        std::mem::swap(&mut self.cipher, room);
    }

    /// From the next frame on, it encrypts.
    pub(super) fn encrypt(&mut self, sealer: Sealer) {
        self.sealer = Some(sealer);
    }

    /// From the next frame on, those with at least so many bytes are compressed.
    pub fn compress(&mut self, algorithm: Algorithm, min_size: u64) {
        self.packer = Some(Packer::new(algorithm, min_size));
    }

    /// Appends a frame; empty segments at its end are left away.
    ///
    /// # Errors
    /// If a segment has 4 GiB or more, or the nonces of the key are used up.
    pub fn frame(
        &mut self,
        tag: u8,
        first: &[u8],
        mut rest: [Segment; SEGMENTS_MAX - 1],
        out: &mut impl Sink,
    ) -> Result<(), ProtoError> {
        self.frame_of(tag, first, rest.each_mut(), out)
    }

    /// The same, of segments that are somebody's; they are empty behind it.
    pub(super) fn frame_of(
        &mut self,
        tag: u8,
        first: &[u8],
        rest: Rest<'_>,
        out: &mut impl Sink,
    ) -> Result<(), ProtoError> {
        let Some(packer) = self.packer else {
            return self.put(tag, 0, first, rest, out);
        };
        let Some((first, mut packed)) = packer.pack(first, &rest) else {
            return self.put(tag, 0, first, rest, out);
        };
        rest.into_iter()
            .for_each(|segment| *segment = Segment::EMPTY);
        self.put(tag, FLAG_COMPRESSED, &first, packed.each_mut(), out)
    }

    /// Appends a frame of segments as they go over the wire.
    fn put(
        &mut self,
        tag: u8,
        flags: u8,
        first: &[u8],
        mut rest: Rest<'_>,
        out: &mut impl Sink,
    ) -> Result<(), ProtoError> {
        let [front, middle, data] = &rest;
        let mut lens = [0; SEGMENTS_MAX];
        let sizes = [first.len(), front.len(), middle.len(), data.len()];
        for (len, size) in lens.iter_mut().zip(sizes) {
            let fits = u32::try_from(size);
            *len = fits.map_err(|_| ProtoError::LocalBug("a segment of 4 GiB or more"))?;
        }
        let mut preamble = Preamble::new(tag, lens);
        preamble.flags = flags;
        let page = if tag == tag::MESSAGE {
            ALIGN_PAGE
        } else {
            ALIGN_WORD
        };
        let head = preamble.encode([ALIGN_WORD, ALIGN_WORD, ALIGN_WORD, page]);
        if self.sealer.is_some() {
            return self.seal(&preamble, &head, first, rest, out);
        }
        let sums = self.sums.then(|| sums(first, &mut rest, preamble.count));
        let sums = sums.unwrap_or_default().map(u32::to_le_bytes);
        let first_sum = match self.revision {
            Revision::V1 if !first.is_empty() => &sums[0][..],
            _ => &[],
        };
        put_together([&head, first, first_sum], out);
        for segment in rest {
            std::mem::take(segment).give_chunks(|bytes| out.push(bytes));
        }
        match self.revision {
            Revision::V0 => {
                put_together(
                    [&[Late::complete(Revision::V0)], sums.as_flattened(), &[]],
                    out,
                );
            }
            Revision::V1 if preamble.count > 1 => {
                let sums = sums[1..].as_flattened();
                put_together([&[Late::complete(Revision::V1)], sums, &[]], out);
            }
            Revision::V1 => {}
        }
        Ok(())
    }

    fn seal(
        &mut self,
        preamble: &Preamble,
        head: &[u8],
        first: &[u8],
        rest: Rest<'_>,
        out: &mut impl Sink,
    ) -> Result<(), ProtoError> {
        let Some(sealer) = &mut self.sealer else {
            return Err(ProtoError::LocalBug("nothing to seal with"));
        };
        let size = preamble.lens.iter().map(|len| padded(*len as usize));
        // Preamble, inline part, epilogue, and three tags.
        let most = size.sum::<usize>() + head.len() + INLINE_LEN + padded(1) + 3 * TAG_LEN;
        // A longer one has its own, so that a thread does not keep as much.
        let mut own = BytesMut::new();
        let buf = if most > CIPHER_BUFFER {
            own.reserve(most);
            &mut own
        } else {
            if self.cipher.capacity() < most {
                self.cipher.reserve(CIPHER_BUFFER);
            }
            &mut self.cipher
        };
        debug_assert!(buf.is_empty());
        let sealed = lay_out(self.revision, sealer, preamble, head, first, rest, buf);
        if let Err(error) = sealed {
            buf.clear();
            return Err(error);
        }
        out.push(buf.split().freeze());
        Ok(())
    }
}

/// Writes the parts of a frame into `buf` and seals each operation's (msgr2 §5.5 and §5.6).
fn lay_out(
    revision: Revision,
    sealer: &mut Sealer,
    preamble: &Preamble,
    head: &[u8],
    first: &[u8],
    rest: Rest<'_>,
    buf: &mut BytesMut,
) -> Result<(), ProtoError> {
    let mut from = 0;
    buf.put_slice(head);
    if revision == Revision::V1 {
        let (inline, beyond) = first.split_at(first.len().min(INLINE_LEN));
        buf.put_slice(inline);
        buf.put_bytes(0, INLINE_LEN - inline.len());
        from = seal_from(from, sealer, buf)?;
        if !beyond.is_empty() {
            put_padded(beyond, buf);
            from = seal_from(from, sealer, buf)?;
        }
        if preamble.count == 1 {
            return Ok(());
        }
    } else {
        put_padded(first, buf);
    }
    for segment in rest.map(std::mem::take) {
        let len = segment.len();
        segment
            .chunks()
            .iter()
            .for_each(|bytes| buf.put_slice(bytes));
        buf.put_bytes(0, padded(len) - len);
    }
    put_padded(&[Late::complete(revision)], buf);
    seal_from(from, sealer, buf)?;
    Ok(())
}

/// Copies small parts by one call of the sink, as each of them costs more than its bytes.
fn put_together(parts: [&[u8]; 3], out: &mut impl Sink) {
    const TOGETHER_MAX: usize = 96;
    let len: usize = parts.iter().map(|part| part.len()).sum();
    if len > TOGETHER_MAX {
        return parts.iter().for_each(|part| out.copy(part));
    }
    let (mut all, mut at) = ([0; TOGETHER_MAX], 0);
    for part in parts {
        all[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    out.copy(&all[..at]);
}

fn put_padded(bytes: &[u8], buf: &mut BytesMut) {
    buf.put_slice(bytes);
    buf.put_bytes(0, padded(bytes.len()) - bytes.len());
}

/// Seals what is behind `from`, and returns where the next text begins.
fn seal_from(from: usize, sealer: &mut Sealer, buf: &mut BytesMut) -> Result<usize, ProtoError> {
    let tag = sealer.seal(&mut buf[from..]);
    let used_up = "all nonces of the connection's key have been used";
    buf.put_slice(&tag.map_err(|_| ProtoError::LocalBug(used_up))?);
    Ok(buf.len())
}

/// The checksums of the segments that are counted, 0 for the others.
fn sums(first: &[u8], rest: &mut Rest<'_>, count: usize) -> [u32; SEGMENTS_MAX] {
    let mut sums = [0; SEGMENTS_MAX];
    sums[0] = crc32c(SEED, first);
    for (sum, segment) in sums[1..count].iter_mut().zip(rest) {
        *sum = segment.crc_v2();
    }
    sums
}
