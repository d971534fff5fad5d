//! What is received on one connection.
//!
//! Frames that are whole in a buffer are checked there. The data of one that is not is gathered in
//! a buffer of its own.

use common::frame::{self, HEAD, Head};

/// Of frames with as much data the rest comes where it belongs, if receives are single.
const LARGE: usize = 128 << 10;

#[derive(Default)]
pub(crate) struct Inlet {
    /// The beginning of a head.
    begun: Vec<u8>,
    partial: Option<Partial>,
    /// The data of it.
    landing: Vec<u8>,
    /// Whether the last frame was large.
    large: bool,
}

/// A frame that is not whole yet.
struct Partial {
    head: Head,
    /// How much data of it there is.
    at: usize,
    /// The crc of that.
    crc: u32,
}

impl Inlet {
    /// Takes what came, and hands out the heads of the frames that became whole and are sound.
    pub(crate) fn take(&mut self, mut bytes: &[u8], frame: &mut impl FnMut(Head)) {
        if !self.begun.is_empty() {
            let missing = (HEAD - self.begun.len()).min(bytes.len());
            self.begun.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            let Some((head, [])) = self.begun.split_first_chunk() else {
                return;
            };
            self.begin(frame::parse(head));
            self.begun.clear();
        }
        if let Some(partial) = &self.partial {
            let missing = (partial.head.len - partial.at).min(bytes.len());
            let at = partial.at;
            self.landing[at..at + missing].copy_from_slice(&bytes[..missing]);
            self.landed(missing, frame);
            bytes = &bytes[missing..];
        }
        while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
            let head = frame::parse(head);
            if rest.len() < head.len {
                self.begin(head);
                self.landing[..rest.len()].copy_from_slice(rest);
                self.landed(rest.len(), frame);
                return;
            }
            let (data, rest) = rest.split_at(head.len);
            let crc = crc32c::crc32c_append(frame::crc_of_id(head.id), data);
            assert_eq!(crc, head.crc, "crc");
            frame(head);
            self.large = head.len >= LARGE;
            bytes = rest;
        }
        self.begun.extend_from_slice(bytes);
    }

    /// Where the rest of a large frame belongs.
    pub(crate) fn landing(&mut self) -> Option<&mut [u8]> {
        let partial = self.partial.as_ref()?;
        (partial.head.len >= LARGE).then(|| &mut self.landing[partial.at..partial.head.len])
    }

    /// So much came where it belongs.
    pub(crate) fn landed(&mut self, len: usize, frame: &mut impl FnMut(Head)) {
        let partial = self.partial.as_mut().expect("a frame");
        let fresh = &self.landing[partial.at..partial.at + len];
        partial.crc = crc32c::crc32c_append(partial.crc, fresh);
        partial.at += len;
        if partial.at == partial.head.len {
            assert_eq!(partial.crc, partial.head.crc, "crc");
            frame(partial.head);
            self.large = partial.head.len >= LARGE;
            self.partial = None;
        }
    }

    /// Whether the next frame is likely large, so that no more than its head should be received.
    pub(crate) fn expects_large(&self) -> bool {
        self.large && self.begun.is_empty()
    }

    fn begin(&mut self, head: Head) {
        if self.landing.len() < head.len {
            self.landing.resize(head.len, 0);
        }
        let crc = frame::crc_of_id(head.id);
        self.partial = Some(Partial { head, at: 0, crc });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_wherever_buffers_end() {
        let mut stream = Vec::new();
        for (id, len) in [(0, 0), (1, 5), (2, LARGE + 3), (3, 40), (4, 0)] {
            let data = vec![id as u8; len];
            stream.extend(frame::head(id, &data));
            stream.extend(data);
        }
        for size in (1..60).chain([4096, LARGE, stream.len()]) {
            let mut inlet = Inlet::default();
            let mut ids = Vec::new();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                // As single receives do it, if the buffers are large enough.
                let landing = (size > HEAD).then(|| inlet.landing()).flatten();
                let len = landing.as_ref().map_or(size, |place| place.len());
                let (piece, after) = rest.split_at(len.min(rest.len()));
                if let Some(place) = landing {
                    place.copy_from_slice(piece);
                    inlet.landed(piece.len(), &mut |head| ids.push(head.id));
                } else {
                    inlet.take(piece, &mut |head| ids.push(head.id));
                }
                rest = after;
            }
            assert_eq!(ids, [0, 1, 2, 3, 4], "buffers of {size} bytes");
        }
    }
}
