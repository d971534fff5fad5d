//! Zstandard: the uncompressed length in four bytes, then a frame (msgr2 §8.2).

use super::Fault;

pub(super) const COMPILED: bool = true;

/// Ceph's default.
const LEVEL: i32 = 1;

pub(super) fn pack(text: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(text.len()).ok()?;
    let frame = ::zstd::bulk::compress(text, LEVEL).ok()?;
    Some([&len.to_le_bytes()[..], &frame].concat())
}

pub(super) fn unpack(packed: &[u8], max: usize) -> Result<Vec<u8>, Fault> {
    let Some((len, frame)) = packed.split_first_chunk() else {
        return Err(Fault::damaged("it is cut off"));
    };
    let len = u32::from_le_bytes(*len) as usize;
    if len > max {
        return Err(Fault::TooLong(len as u64));
    }
    // Straight into the output: the window that a frame asks for is not allocated.
    let text = ::zstd::bulk::decompress(frame, len).map_err(Fault::damaged)?;
    if text.len() != len {
        let text = format!("it says {len} bytes and holds {}", text.len());
        return Err(Fault::Damaged(text));
    }
    Ok(text)
}
