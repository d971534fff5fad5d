//! What is received on one connection.
//!
//! A read goes into a staging buffer that all connections of a thread share; frames that are whole
//! are checked there. A large frame that is not whole gets a buffer of its own, into which the
//! rest of it is read, and after it no more than the head of the next one.

use std::io::{self, IoSliceMut, Read as _};
use std::net::TcpStream;

use common::frame::{self, HEAD, Head};

/// Bytes of the staging buffer.
pub(crate) const STAGING: usize = 1 << 20;

/// Frames with as much data do not wait in the staging buffer to become whole.
const LARGE: usize = 128 << 10;

#[derive(Default)]
pub(crate) struct Inlet {
    /// The beginning of a frame, if it is not large.
    begun: Vec<u8>,
    large: Option<Large>,
    /// The buffer for large ones.
    landing: Vec<u8>,
}

/// A large frame on its way.
struct Large {
    head: Head,
    /// How much data of it there is.
    at: usize,
    /// The crc of that.
    crc: u32,
}

impl Inlet {
    /// Reads once and hands out the heads of the frames that became whole and are sound. Returns
    /// whether there is more to come: `false` at the end of the stream.
    pub(crate) fn receive(
        &mut self,
        mut socket: &TcpStream,
        staging: &mut [u8],
        mut frame: impl FnMut(Head),
    ) -> io::Result<bool> {
        let Some(large) = &mut self.large else {
            let begun = self.begun.len();
            staging[..begun].copy_from_slice(&self.begun);
            self.begun.clear();
            let n = socket.read(&mut staging[begun..])?;
            self.take(&staging[..begun + n], &mut frame);
            return Ok(n > 0);
        };
        let rest = &mut self.landing[large.at..large.head.len];
        let room = rest.len();
        let mut into = [IoSliceMut::new(rest), IoSliceMut::new(&mut staging[..HEAD])];
        let n = socket.read_vectored(&mut into)?;
        let landed = n.min(room);
        let fresh = &self.landing[large.at..large.at + landed];
        large.crc = crc32c::crc32c_append(large.crc, fresh);
        large.at += landed;
        if landed == room {
            assert_eq!(large.crc, large.head.crc, "crc");
            frame(large.head);
            self.large = None;
            self.take(&staging[..n - landed], &mut frame);
        }
        Ok(n > 0)
    }

    fn take(&mut self, mut bytes: &[u8], frame: &mut impl FnMut(Head)) {
        while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
            let head = frame::parse(head);
            let crc = frame::crc_of_id(head.id);
            if rest.len() < head.len {
                if head.len >= LARGE {
                    self.land(head, crc, rest);
                    return;
                }
                break;
            }
            let (data, rest) = rest.split_at(head.len);
            assert_eq!(crc32c::crc32c_append(crc, data), head.crc, "crc");
            frame(head);
            bytes = rest;
        }
        self.begun.extend_from_slice(bytes);
    }

    fn land(&mut self, head: Head, crc: u32, data: &[u8]) {
        if self.landing.len() < head.len {
            self.landing.resize(head.len, 0);
        }
        self.landing[..data.len()].copy_from_slice(data);
        self.large = Some(Large {
            head,
            at: data.len(),
            crc: crc32c::crc32c_append(crc, data),
        });
    }
}
