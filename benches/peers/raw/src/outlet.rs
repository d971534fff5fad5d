//! Frames on their way out of one connection, all with the same data.

use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::net::TcpStream;

use common::frame::{self, HEAD};

/// More data is sent from where it lies.
const INLINE: usize = 1024;

/// Pieces of one write: heads and data in turns.
const PIECES: usize = 128;

pub(crate) struct Outlet {
    data: Vec<u8>,
    /// Heads; with the data behind each if it is short.
    queue: Vec<u8>,
    /// How many bytes of the stream that the queue stands for have been written.
    written: usize,
}

impl Outlet {
    pub(crate) fn new(data: Vec<u8>) -> Self {
        Self {
            data,
            queue: Vec::new(),
            written: 0,
        }
    }

    /// Queues a frame; its crc is computed here.
    pub(crate) fn push(&mut self, id: u64) {
        self.queue.extend_from_slice(&frame::head(id, &self.data));
        if self.inline() {
            self.queue.extend_from_slice(&self.data);
        }
    }

    /// Writes until all is out, which it returns, or the socket is full.
    pub(crate) fn flush(&mut self, socket: &TcpStream) -> io::Result<bool> {
        while self.written < self.total() {
            let (n, asked) = match self.write(socket) {
                Ok(done) => done,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            };
            self.written += n;
            if n < asked {
                break;
            }
        }
        self.forget();
        Ok(self.queue.is_empty())
    }

    fn inline(&self) -> bool {
        self.data.len() <= INLINE
    }

    /// What one entry of the queue takes there, and on the wire.
    fn unit(&self) -> (usize, usize) {
        let wire = HEAD + self.data.len();
        (if self.inline() { wire } else { HEAD }, wire)
    }

    fn total(&self) -> usize {
        let (entry, wire) = self.unit();
        self.queue.len() / entry * wire
    }

    /// One write. Returns how many bytes of how many.
    fn write(&self, mut socket: &TcpStream) -> io::Result<(usize, usize)> {
        if self.inline() {
            let rest = &self.queue[self.written..];
            return Ok((socket.write(rest)?, rest.len()));
        }
        let (_, wire) = self.unit();
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let (mut count, mut asked) = (0, 0);
        let mut skip = self.written % wire;
        let heads = self.queue.chunks_exact(HEAD).skip(self.written / wire);
        for head in heads.take(PIECES / 2) {
            for piece in [head, &self.data] {
                let from = skip.min(piece.len());
                skip -= from;
                if from < piece.len() {
                    pieces[count] = IoSlice::new(&piece[from..]);
                    asked += piece.len() - from;
                    count += 1;
                }
            }
        }
        Ok((socket.write_vectored(&pieces[..count])?, asked))
    }

    /// Drops the entries that are out.
    fn forget(&mut self) {
        let (entry, wire) = self.unit();
        let whole = self.written / wire;
        self.queue.drain(..whole * entry);
        self.written -= whole * wire;
    }
}
