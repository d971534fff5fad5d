//! LZ4: how many blocks there are, the two lengths of each, then the blocks; each may refer to the
//! text of those before it (msgr2 §8.2).
//!
//! We send one block. Received ones are decompressed one behind the other into one buffer, and what
//! of it is filled is the dictionary of the next.

use lz4_flex::block;

use super::Fault;

pub(super) const COMPILED: bool = true;

/// The most that the reference implementation takes in one block.
const BLOCK_MAX: usize = 0x7e00_0000;
/// How far back a block can refer.
const WINDOW: usize = 64 << 10;
/// Length and compressed length of a block.
const ENTRY_LEN: usize = 8;

pub(super) fn pack(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > BLOCK_MAX {
        return None;
    }
    let packed = block::compress(text);
    let words = [1, text.len() as u32, u32::try_from(packed.len()).ok()?];
    let head = words.map(u32::to_le_bytes);
    Some([head.as_flattened(), &packed].concat())
}

pub(super) fn unpack(packed: &[u8], max: usize) -> Result<Vec<u8>, Fault> {
    let cut_off = || Fault::damaged("it is cut off");
    let (count, rest) = packed.split_first_chunk().ok_or_else(cut_off)?;
    let count = u32::from_le_bytes(*count) as usize;
    let table_len = count.checked_mul(ENTRY_LEN).filter(|n| *n <= rest.len());
    let (table, mut blocks) = rest.split_at(table_len.ok_or_else(cut_off)?);
    let total: u64 = entries(table).map(|(len, _)| len as u64).sum();
    let Some(total) = usize::try_from(total).ok().filter(|total| *total <= max) else {
        return Err(Fault::TooLong(total));
    };
    let mut text = vec![0; total];
    let mut done = 0;
    for (len, packed_len) in entries(table) {
        let (packed, behind) = blocks.split_at_checked(packed_len).ok_or_else(cut_off)?;
        blocks = behind;
        let (before, here) = text.split_at_mut(done);
        let window = &before[done.saturating_sub(WINDOW)..];
        // Lengths add up to that of the buffer.
        let here = &mut here[..len];
        let got = block::decompress_into_with_dict(packed, here, window);
        let got = got.map_err(Fault::damaged)?;
        if got != len {
            let text = format!("a block says {len} bytes and holds {got}");
            return Err(Fault::Damaged(text));
        }
        done += len;
    }
    if !blocks.is_empty() {
        return Err(Fault::damaged("there is more behind its end"));
    }
    Ok(text)
}

/// The two lengths of each block.
fn entries(table: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |n, byte| n << 8 | usize::from(*byte))
    };
    let (entries, _) = table.as_chunks::<ENTRY_LEN>();
    entries
        .iter()
        .map(move |entry| (word(&entry[..4]), word(&entry[4..])))
}
