//! The buffer that a worker reads all its sockets into.
//!
//! Messages are cut out of it as shared slices, so nothing is copied but the incomplete tail of a
//! link, if it is small or its next bytes land elsewhere. When all slices of a chunk are gone it is
//! used again.

use bytes::BytesMut;

/// An incomplete tail up to this size is moved out of the chunk: a few bytes of a slow peer must
/// not keep a whole chunk in memory.
const TAIL_COPY_MAX: usize = 4 << 10;

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
    pub(crate) fn begin(&mut self, tail: &mut Tail) -> BytesMut {
        let free = std::mem::take(&mut self.free);
        let mut large = std::mem::take(&mut tail.large);
        let tail = if large.is_empty() {
            &mut tail.small
        } else {
            // `unsplit` joins neighbours without copying; of strangers it would drop the free space.
            if large.as_ptr_range().end == free.as_ptr() {
                large.unsplit(free);
                return large;
            }
            &mut large
        };
        if tail.is_empty() {
            return free;
        }
        let mut buf = free;
        if buf.capacity() < tail.len() + ROOM_MIN {
            buf.reserve(self.chunk.max(tail.len() + ROOM_MIN));
        }
        buf.extend_from_slice(tail);
        tail.clear();
        buf
    }

    /// Sees to it that a read into `buf` is worth its call.
    pub(crate) fn make_room(&self, buf: &mut BytesMut) {
        if buf.capacity() - buf.len() < ROOM_MIN {
            // With the whole chunk asked for, a chunk that nobody uses any more is taken again.
            buf.reserve(self.chunk.saturating_sub(buf.len()).max(ROOM_MIN));
        }
    }

    /// Takes the free space back, and leaves the content with the link.
    pub(crate) fn end(&mut self, mut buf: BytesMut, tail: &mut Tail) {
        debug_assert!(tail.small.is_empty() && tail.large.is_empty());
        if buf.len() <= TAIL_COPY_MAX {
            tail.small.extend_from_slice(&buf);
            buf.clear();
        } else {
            tail.large = buf.split();
        }
        self.free = buf;
    }
}

/// Input that a link keeps because it is not a complete thing yet.
#[derive(Default)]
pub(crate) struct Tail {
    /// The link's own; its allocation is kept.
    small: BytesMut,
    /// A slice of a chunk.
    large: BytesMut,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pass that finds `bytes` and handles none of them.
    fn receive(staging: &mut Staging, tail: &mut Tail, bytes: &[u8]) {
        let mut buf = staging.begin(tail);
        staging.make_room(&mut buf);
        buf.extend_from_slice(bytes);
        staging.end(buf, tail);
    }

    #[test]
    fn a_large_neighbouring_tail_is_not_moved_and_a_strange_one_is() {
        let mut staging = Staging::new(64 << 10);
        let (mut one, mut other) = (Tail::default(), Tail::default());
        receive(&mut staging, &mut one, &[1; 5000]);
        let at = one.large.as_ptr();

        receive(&mut staging, &mut one, &[1; 100]);
        assert_eq!((one.large.as_ptr(), one.large.len()), (at, 5100));

        receive(&mut staging, &mut other, &[2; 5000]);
        receive(&mut staging, &mut one, &[1; 1]);
        assert_ne!(one.large.as_ptr(), at);
        assert_eq!(one.large, [1; 5101][..]);
        assert_eq!(other.large, [2; 5000][..]);
    }

    #[test]
    fn a_small_tail_does_not_keep_the_chunk() {
        let mut staging = Staging::new(64 << 10);
        let mut tails: Vec<Tail> = (0..1000).map(|_| Tail::default()).collect();
        for (i, tail) in tails.iter_mut().enumerate() {
            receive(&mut staging, tail, &[i as u8; 10]);
        }
        for (i, tail) in tails.iter_mut().enumerate() {
            let buf = staging.begin(tail);
            assert_eq!(&buf[..], &[i as u8; 10]);
            staging.end(buf, tail);
            assert!(tail.large.is_empty() && tail.small.capacity() < 1000);
        }
    }

    #[test]
    fn a_chunk_is_used_again_when_its_slices_are_gone() {
        let mut staging = Staging::new(64 << 10);
        let mut tail = Tail::default();
        let mut chunks = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut buf = staging.begin(&mut tail);
            staging.make_room(&mut buf);
            let room = buf.capacity() - buf.len();
            chunks.insert(buf.as_ptr() as usize / (64 << 10));
            buf.resize(room.min(20_000), 1);
            drop(buf.split().freeze());
            staging.end(buf, &mut tail);
        }
        assert!(chunks.len() <= 3, "{} different places", chunks.len());
    }
}
