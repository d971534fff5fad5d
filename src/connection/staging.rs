//! The buffer that a worker reads all its sockets into.
//!
//! Messages are cut out of it as shared slices, so nothing is copied but the incomplete tail of a
//! link whose next bytes land elsewhere. When all slices of a chunk are gone it is used again.

use bytes::BytesMut;

/// Less free space than this is not worth a read.
const ROOM_MIN: usize = 16 << 10;

pub(crate) struct Staging {
    /// Empty, with the rest of the current chunk as capacity.
    free: BytesMut,
    chunk: usize,
}

impl Staging {
    /// Works in chunks of that many bytes.
    pub(crate) fn new(chunk: usize) -> Self {
        Self {
            free: BytesMut::new(),
            chunk,
        }
    }

    /// Lends the free space, behind what a link has kept.
    pub(crate) fn begin(&mut self, mut tail: BytesMut) -> BytesMut {
        let free = std::mem::take(&mut self.free);
        if tail.is_empty() {
            return free;
        }
        // `unsplit` joins neighbours without copying; of strangers it would drop the free space.
        if tail.as_ptr_range().end == free.as_ptr() {
            tail.unsplit(free);
            return tail;
        }
        let mut buf = free;
        if buf.capacity() < tail.len() + ROOM_MIN {
            buf.reserve(self.chunk.max(tail.len() + ROOM_MIN));
        }
        buf.extend_from_slice(&tail);
        buf
    }

    /// Sees to it that a read into `buf` is worth its call.
    pub(crate) fn make_room(&self, buf: &mut BytesMut) {
        if buf.capacity() - buf.len() < ROOM_MIN {
            // With the whole chunk asked for, a chunk that nobody uses any more is taken again.
            buf.reserve(self.chunk.saturating_sub(buf.len()).max(ROOM_MIN));
        }
    }

    /// Takes the free space back and returns the content.
    pub(crate) fn end(&mut self, mut buf: BytesMut) -> BytesMut {
        let tail = if buf.is_empty() {
            BytesMut::new()
        } else {
            buf.split()
        };
        self.free = buf;
        tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbouring_tail_is_not_moved_and_a_strange_one_is_copied() {
        let mut staging = Staging::new(64 << 10);
        let mut buf = staging.begin(BytesMut::new());
        staging.make_room(&mut buf);
        buf.extend_from_slice(b"first part");
        let tail = staging.end(buf);
        let at = tail.as_ptr();

        let buf = staging.begin(tail);
        assert_eq!((&buf[..], buf.as_ptr()), (&b"first part"[..], at));
        let tail = staging.end(buf);

        let mut other = staging.begin(BytesMut::new());
        other.extend_from_slice(b"of another link");
        let other = staging.end(other);
        let buf = staging.begin(tail);
        assert_eq!(&buf[..], b"first part");
        assert_ne!(buf.as_ptr(), at);
        assert_eq!(&other[..], b"of another link");
    }

    #[test]
    fn a_chunk_is_used_again_when_its_slices_are_gone() {
        let mut staging = Staging::new(64 << 10);
        let mut chunks = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut buf = staging.begin(BytesMut::new());
            staging.make_room(&mut buf);
            let room = buf.capacity() - buf.len();
            chunks.insert(buf.as_ptr() as usize / (64 << 10));
            buf.resize(room.min(20_000), 1);
            drop(buf.split().freeze());
            staging.end(buf);
        }
        assert!(chunks.len() <= 3, "{} different places", chunks.len());
    }
}
