//! Zlib: a marker of one byte, then raw deflate (msgr2 §8.2).
//!
//! The length of the text is nowhere said: the output grows as it comes, and no further than its
//! bound.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Fault;

pub(super) const COMPILED: bool = true;

/// Says that no hardware has made it. Readers ignore it.
const MARKER: u8 = 0;
/// Ceph's default.
const LEVEL: Compression = Compression::new(5);
/// What the first guess of the length is, in lengths of the compressed form.
const GUESS: usize = 4;
/// The least room that output gets.
const ROOM_MIN: usize = 256;

pub(super) fn pack(text: &[u8]) -> Option<Vec<u8>> {
    let mut deflate = Compress::new(LEVEL, false);
    let mut packed = Vec::with_capacity(text.len() / 2 + ROOM_MIN);
    packed.push(MARKER);
    loop {
        let taken = usize::try_from(deflate.total_in()).ok()?;
        let rest = text.get(taken..)?;
        let status = deflate.compress_vec(rest, &mut packed, FlushCompress::Finish);
        if status.ok()? == Status::StreamEnd {
            return Some(packed);
        }
        packed.reserve(packed.len());
    }
}

pub(super) fn unpack(packed: &[u8], max: usize) -> Result<Vec<u8>, Fault> {
    let Some((_, mut rest)) = packed.split_first() else {
        return Err(Fault::damaged("it is empty"));
    };
    let mut inflate = Decompress::new(false);
    // One more than may come, so that "too long" shows without room for all of it.
    let most = max.saturating_add(1);
    let mut text = Vec::new();
    loop {
        if text.len() == text.capacity() {
            let wanted = text.len().max(rest.len().saturating_mul(GUESS));
            let wanted = wanted.max(ROOM_MIN).min(most - text.len());
            text.reserve_exact(wanted);
        }
        let before = (inflate.total_in(), text.len());
        let status = inflate.decompress_vec(rest, &mut text, FlushDecompress::None);
        let status = status.map_err(Fault::damaged)?;
        if text.len() > max {
            return Err(Fault::TooLong(text.len() as u64));
        }
        let taken = (inflate.total_in() - before.0) as usize;
        rest = rest.get(taken..).unwrap_or_default();
        match status {
            Status::StreamEnd if rest.is_empty() => return Ok(text),
            Status::StreamEnd => return Err(Fault::damaged("there is more behind its end")),
            _ if taken == 0 && text.len() == before.1 => {
                return Err(Fault::damaged("it is cut off"));
            }
            _ => {}
        }
    }
}
