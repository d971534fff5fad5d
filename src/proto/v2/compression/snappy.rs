//! Snappy: a raw block, which begins with its uncompressed length (msgr2 §8.2).

use snap::raw::{Decoder, Encoder, decompress_len};

use super::Fault;

pub(super) const COMPILED: bool = true;

pub(super) fn pack(text: &[u8]) -> Option<Vec<u8>> {
    Encoder::new().compress_vec(text).ok()
}

pub(super) fn unpack(packed: &[u8], max: usize) -> Result<Vec<u8>, Fault> {
    let len = decompress_len(packed).map_err(Fault::damaged)?;
    if len > max {
        return Err(Fault::TooLong(len as u64));
    }
    Decoder::new()
        .decompress_vec(packed)
        .map_err(Fault::damaged)
}
