//! The framing, by `LengthDelimitedCodec`: a crc32c, a number, data.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use common::frame::{self, HEAD, LENGTH};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Decoder, Encoder, Framed, LengthDelimitedCodec};

/// Bytes for each direction of a connection, if tuned; otherwise the codec's own 8 KiB.
const BUFFER: usize = 256 << 10;

/// How the two sides agreed to speak.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) crc: bool,
    pub(crate) tuned: bool,
}

impl How {
    pub(crate) fn framed<S: AsyncRead + AsyncWrite>(self, socket: S) -> Framed<S, Codec> {
        let inner = LengthDelimitedCodec::builder()
            .little_endian()
            .length_field_length(LENGTH)
            .max_frame_length(128 << 20)
            .new_codec();
        let codec = Codec { inner, how: self };
        if !self.tuned {
            return Framed::new(socket, codec);
        }
        let mut framed = Framed::with_capacity(socket, codec, BUFFER);
        framed.set_backpressure_boundary(BUFFER);
        framed
    }

    /// A number and data, of a frame that was received.
    pub(crate) fn open(self, frame: &[u8]) -> (u64, &[u8]) {
        if self.crc {
            return frame::check(frame);
        }
        let (id, data) = frame[4..].split_first_chunk().expect("a number");
        (u64::from_le_bytes(*id), data)
    }

    fn head(self, id: u64, data: &[u8]) -> [u8; HEAD] {
        if self.crc {
            return frame::head(id, data);
        }
        let mut head = [0; HEAD];
        head[..LENGTH].copy_from_slice(&((HEAD - LENGTH + data.len()) as u32).to_le_bytes());
        head[8..].copy_from_slice(&id.to_le_bytes());
        head
    }
}

pub(crate) struct Codec {
    inner: LengthDelimitedCodec,
    how: How,
}

impl Encoder<(u64, &[u8])> for Codec {
    type Error = io::Error;

    fn encode(&mut self, (id, data): (u64, &[u8]), into: &mut BytesMut) -> io::Result<()> {
        let head = self.how.head(id, data);
        if self.how.tuned {
            into.reserve(HEAD + data.len());
            into.put_slice(&head);
            into.put_slice(data);
            return Ok(());
        }
        // The codec takes a frame in one piece.
        let mut frame = BytesMut::with_capacity(HEAD - LENGTH + data.len());
        frame.put_slice(&head[LENGTH..]);
        frame.put_slice(data);
        self.inner.encode(Bytes::from(frame), into)
    }
}

impl Decoder for Codec {
    type Item = BytesMut;
    type Error = io::Error;

    fn decode(&mut self, from: &mut BytesMut) -> io::Result<Option<BytesMut>> {
        self.inner.decode(from)
    }
}
