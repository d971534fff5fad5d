//! The frame of those programs that bring no framing of their own: a length, a crc32c of what
//! follows it, a number by which a reply names its request, and the data.
//!
//! All numbers are little-endian. A reply is a frame without data.

/// Bytes before the data.
pub const HEAD: usize = 16;

/// Bytes of the length, which counts those after it.
pub const LENGTH: usize = 4;

/// A decoded head.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Bytes of data.
    pub len: usize,
    pub crc: u32,
    pub id: u64,
}

/// The crc of a frame without data; data is to be appended.
pub fn crc_of_id(id: u64) -> u32 {
    crc32c::crc32c(&id.to_le_bytes())
}

/// The head of a frame with this data.
pub fn head(id: u64, data: &[u8]) -> [u8; HEAD] {
    let crc = crc32c::crc32c_append(crc_of_id(id), data);
    let len = (HEAD - LENGTH + data.len()) as u32;
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    head[8..].copy_from_slice(&id.to_le_bytes());
    head
}

/// Takes a head apart.
///
/// # Panics
///
/// If the length is less than that of the head.
pub fn parse(head: &[u8; HEAD]) -> Head {
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four"));
    let len = word(0) as usize;
    assert!(len >= HEAD - LENGTH, "a frame of {len} bytes");
    Head {
        len: len - (HEAD - LENGTH),
        crc: word(4),
        id: u64::from_le_bytes(head[8..].try_into().expect("eight")),
    }
}

/// Checks a whole frame whose length was taken off, and returns its number and the data.
///
/// # Panics
///
/// If the crc is not that of the content.
pub fn check(frame: &[u8]) -> (u64, &[u8]) {
    let (crc, content) = frame.split_first_chunk().expect("a crc");
    assert_eq!(crc32c::crc32c(content), u32::from_le_bytes(*crc), "crc");
    let (id, data) = content.split_first_chunk().expect("a number");
    (u64::from_le_bytes(*id), data)
}
