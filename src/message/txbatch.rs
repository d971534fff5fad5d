//! What is to be written to a socket: small pieces copied together, large ones by reference.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;

use bytes::Bytes;

/// Pieces up to this many bytes are copied behind their head: cheaper than one more slice for the
/// kernel to walk.
const COPY_MAX: usize = 512;

/// The most slices that one write passes to the kernel.
const SLICES_MAX: usize = 128;

/// As many are enough for one message. A list of them is made anew for each write, and one of the
/// full length costs more than the encoding of a message.
const SLICES_FEW: usize = 8;

/// An ordered batch of bytes to send, many messages long, written by gathering writes.
#[derive(Debug, Default)]
pub struct TxBatch {
    /// The copied bytes; emptied when the batch has been written, so its allocation is kept.
    scratch: Vec<u8>,
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are written already.
    written: usize,
    len: usize,
}

#[derive(Debug)]
enum Piece {
    Copied(Range<usize>),
    Shared(Bytes),
}

impl TxBatch {
    /// Bytes not written yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether everything has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy.
    #[inline]
    pub fn copy(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = self.scratch.len();
        self.scratch.extend_from_slice(bytes);
        self.len += bytes.len();
        match self.pieces.back_mut() {
            Some(Piece::Copied(range)) if range.end == start => range.end = self.scratch.len(),
            _ => self
                .pieces
                .push_back(Piece::Copied(start..self.scratch.len())),
        }
    }

    /// Appends by reference, or by copy what is small.
    #[inline]
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_MAX {
            self.copy(&bytes);
        } else {
            self.len += bytes.len();
            self.pieces.push_back(Piece::Shared(bytes));
        }
    }

    /// Gives the first pieces to `write` and forgets as many bytes as it says it wrote.
    ///
    /// # Errors
    /// What `write` says, and `WriteZero` if it took nothing.
    pub fn write_to(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.pieces.len() <= SLICES_FEW {
            self.write_slices::<SLICES_FEW>(write)
        } else {
            self.write_slices::<SLICES_MAX>(write)
        }
    }

    fn write_slices<const MAX: usize>(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); MAX];
        let mut count = 0;
        let mut skip = self.written;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let bytes: &[u8] = match piece {
                Piece::Copied(range) => &self.scratch[range.clone()],
                Piece::Shared(bytes) => bytes,
            };
            *slice = IoSlice::new(&bytes[skip..]);
            skip = 0;
            count += 1;
        }
        let written = write(&slices[..count])?;
        if written == 0 && !self.is_empty() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written);
        Ok(written)
    }

    fn advance(&mut self, mut by: usize) {
        debug_assert!(by <= self.len);
        self.len -= by;
        while let Some(piece) = self.pieces.front() {
            let left = match piece {
                Piece::Copied(range) => range.len(),
                Piece::Shared(bytes) => bytes.len(),
            } - self.written;
            if by < left {
                self.written += by;
                return;
            }
            by -= left;
            self.written = 0;
            self.pieces.pop_front();
        }
        self.scratch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes at most `max` bytes a time and returns all that came out.
    fn drain(batch: &mut TxBatch, max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !batch.is_empty() {
            let before = batch.len();
            let n = batch
                .write_to(|slices| {
                    let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
                    let n = all.len().min(max);
                    out.extend_from_slice(&all[..n]);
                    Ok(n)
                })
                .expect("never fails");
            assert_eq!(batch.len(), before - n);
        }
        out
    }

    #[test]
    fn order_is_kept_however_short_the_writes() {
        let large = Bytes::from(vec![7; COPY_MAX + 1]);
        let mut expected = b"head".to_vec();
        expected.extend_from_slice(&large);
        expected.extend_from_slice(b"foot small");
        for max in [1, 3, 500, 10_000] {
            let mut batch = TxBatch::default();
            batch.copy(b"head");
            batch.push(large.clone());
            batch.copy(b"foot");
            batch.push(Bytes::from_static(b" small"));
            assert_eq!(batch.pieces.len(), 3, "small neighbours are one piece");
            assert_eq!(drain(&mut batch, max), expected);
            assert!(batch.scratch.is_empty() && batch.pieces.is_empty());
        }
    }

    #[test]
    fn more_pieces_than_one_write_takes() {
        let mut batch = TxBatch::default();
        for i in 0..3 * SLICES_MAX {
            batch.push(Bytes::from(vec![i as u8; COPY_MAX + 1]));
        }
        let out = drain(&mut batch, usize::MAX);
        assert!(
            out.chunks(COPY_MAX + 1)
                .enumerate()
                .all(|(i, c)| c.iter().all(|&b| b == i as u8))
        );
        assert_eq!(out.len(), 3 * SLICES_MAX * (COPY_MAX + 1));
    }

    #[test]
    fn a_writer_that_takes_nothing_is_an_error() {
        let mut batch = TxBatch::default();
        batch.copy(b"x");
        let error = batch.write_to(|_| Ok(0)).expect_err("would spin otherwise");
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        assert_eq!(batch.len(), 1);
    }
}
