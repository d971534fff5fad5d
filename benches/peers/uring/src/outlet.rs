//! Frames on their way out of one connection, all with the same data; one send at a time.

use std::io;
use std::mem;
use std::ptr;

use common::frame::{self, HEAD};
use io_uring::types::Fixed;
use io_uring::{cqueue, opcode, squeue};
use nix::libc::{self, iovec, msghdr};

/// More data is sent from where it lies.
const INLINE: usize = 1024;

/// Pieces of one send: heads and data in turns; the kernel takes no more.
const PIECES: usize = 1024;

/// A socket has mostly room for so many bytes.
const PROMPT: usize = 256 << 10;

pub(crate) struct Outlet {
    data: Vec<u8>,
    /// Heads; with the data behind each if it is short.
    queue: Vec<u8>,
    /// Those that the kernel may read.
    going: Vec<u8>,
    /// How many bytes of the stream that these stand for have been sent.
    sent: usize,
    pieces: Vec<iovec>,
    message: Box<msghdr>,
    zero_copy: bool,
    /// Completions that have to come before the next send.
    due: u32,
    /// What the send was asked for.
    asked: usize,
    /// Whether there was no room.
    full: bool,
}

impl Outlet {
    pub(crate) fn new(data: Vec<u8>, zero_copy: Option<usize>) -> Self {
        // SAFETY: all zero is an empty message.
        let message = Box::new(unsafe { mem::zeroed() });
        Self {
            zero_copy: zero_copy.is_some_and(|least| data.len() >= least.max(INLINE + 1)),
            data,
            queue: Vec::new(),
            going: Vec::new(),
            sent: 0,
            pieces: Vec::new(),
            message,
            due: 0,
            asked: 0,
            full: false,
        }
    }

    /// Queues a frame; its crc is computed here.
    pub(crate) fn push(&mut self, id: u64) {
        self.queue.extend_from_slice(&frame::head(id, &self.data));
        if self.inline() {
            self.queue.extend_from_slice(&self.data);
        }
    }

    pub(crate) fn is_sending(&self) -> bool {
        self.due > 0
    }

    /// The next send, if there is anything to send and none on its way; and whether it completes
    /// at once. It points into `self`, which has to stay until then.
    ///
    /// If it is not much the socket is only tried at first. What it has no room for is sent by one
    /// request that waits for room as often as it takes.
    pub(crate) fn send(&mut self, to: Fixed) -> Option<(squeue::Entry, bool)> {
        if self.due > 0 || self.going.is_empty() && self.queue.is_empty() {
            return None;
        }
        if self.going.is_empty() {
            mem::swap(&mut self.going, &mut self.queue);
        }
        self.due = 1;
        let (entry, wire) = self.unit();
        let prompt = !self.full && self.going.len() / entry * wire - self.sent <= PROMPT;
        let how = match prompt {
            true => libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
            false => libc::MSG_NOSIGNAL | libc::MSG_WAITALL,
        };
        let entry = if self.inline() {
            let rest = &self.going[self.sent..];
            self.asked = rest.len();
            let send = opcode::Send::new(to, rest.as_ptr(), rest.len() as u32);
            send.flags(how).build()
        } else {
            self.gather();
            let (message, how) = (&raw const *self.message, how as u32);
            if self.zero_copy {
                opcode::SendMsgZc::new(to, message).flags(how).build()
            } else {
                opcode::SendMsg::new(to, message).flags(how).build()
            }
        };
        Some((entry, prompt))
    }

    /// A send told something.
    pub(crate) fn completed(&mut self, told: &cqueue::Entry) -> io::Result<()> {
        self.due -= 1;
        if cqueue::notif(told.flags()) {
            return Ok(());
        }
        if cqueue::more(told.flags()) {
            // The notification that the data may change.
            self.due += 1;
        }
        let n = match told.result() {
            code if code == -libc::EAGAIN => 0,
            code if code < 0 => return Err(io::Error::from_raw_os_error(-code)),
            n => n as usize,
        };
        self.sent += n;
        self.full = n < self.asked;
        let (entry, wire) = self.unit();
        if self.sent == self.going.len() / entry * wire {
            // Frames that a notification is due for have been copied or will be, but their heads
            // lie here: nothing else is put into this place before it came.
            self.going.clear();
            self.sent = 0;
        }
        Ok(())
    }

    fn inline(&self) -> bool {
        self.data.len() <= INLINE
    }

    /// What one entry of the queue takes there, and on the wire.
    fn unit(&self) -> (usize, usize) {
        let wire = HEAD + self.data.len();
        (if self.inline() { wire } else { HEAD }, wire)
    }

    fn gather(&mut self) {
        let (_, wire) = self.unit();
        let mut skip = self.sent % wire;
        let heads = self.going.chunks_exact(HEAD).skip(self.sent / wire);
        self.pieces.clear();
        self.asked = 0;
        for head in heads.take(PIECES / 2) {
            for piece in [head, &self.data] {
                let rest = &piece[skip.min(piece.len())..];
                skip -= piece.len() - rest.len();
                if !rest.is_empty() {
                    self.pieces.push(iovec {
                        iov_base: ptr::from_ref(rest).cast_mut().cast(),
                        iov_len: rest.len(),
                    });
                    self.asked += rest.len();
                }
            }
        }
        self.message.msg_iov = self.pieces.as_mut_ptr();
        self.message.msg_iovlen = self.pieces.len();
    }
}
