//! One connection: a receive that stays, and a send at a time.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::ptr;

use common::frame::{HEAD, Head};
use io_uring::types::Fixed;
use io_uring::{cqueue, opcode, squeue};
use nix::libc;

use crate::How;
use crate::buffers::GROUP;
use crate::inlet::Inlet;
use crate::outlet::Outlet;
use crate::ring::Ring;

/// Have a receive wait before it tries.
const POLL_FIRST: u16 = 1;

/// What the request is, in what names it.
const SEND: u64 = 1;

pub(crate) struct Link {
    pub(crate) outlet: Outlet,
    inlet: Inlet,
    how: How,
    number: u32,
    receiving: bool,
    _socket: TcpStream,
}

/// The link that a completion is for.
pub(crate) fn number(told: &cqueue::Entry) -> usize {
    (told.user_data() >> 1) as usize
}

impl Link {
    /// The number has to be free until both the link is dropped and nothing of it is in flight.
    pub(crate) fn new(
        ring: &mut Ring,
        socket: TcpStream,
        number: usize,
        data: Vec<u8>,
        how: How,
    ) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        ring.register(number as u32, socket.as_raw_fd())?;
        Ok(Self {
            outlet: Outlet::new(data, how.zero_copy),
            inlet: Inlet::default(),
            how,
            number: number as u32,
            receiving: false,
            _socket: socket,
        })
    }

    /// Gives the number back; the socket is closed with that.
    pub(crate) fn leave(&self, ring: &mut Ring) -> io::Result<()> {
        ring.register(self.number, -1)
    }

    /// Whether a request of it is in flight; it must not be dropped then.
    pub(crate) fn is_busy(&self) -> bool {
        self.receiving || self.outlet.is_sending()
    }

    /// Something of this link completed. Hands out the heads of whole frames.
    pub(crate) fn completed(
        &mut self,
        ring: &mut Ring,
        told: &cqueue::Entry,
        mut frame: impl FnMut(&mut Outlet, Head),
    ) -> io::Result<()> {
        if told.user_data() & SEND != 0 {
            return self.outlet.completed(told);
        }
        self.receiving = cqueue::more(told.flags());
        let len = match told.result() {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            // All buffers are in use; they are back when this turn is over.
            code if code == -libc::ENOBUFS => return Ok(()),
            code if code < 0 => return Err(io::Error::from_raw_os_error(-code)),
            len => len as usize,
        };
        let outlet = &mut self.outlet;
        let mut frame = |head| frame(outlet, head);
        match cqueue::buffer_select(told.flags()) {
            Some(first) => {
                let inlet = &mut self.inlet;
                let take = |bytes: &[u8]| inlet.take(bytes, &mut frame);
                ring.buffers.take(first, len, take);
            }
            None => self.inlet.landed(len, &mut frame),
        }
        Ok(())
    }

    /// Requests what there is to request, once for each turn.
    pub(crate) fn request(&mut self, ring: &mut Ring) -> io::Result<()> {
        let name = u64::from(self.number) << 1;
        if !self.receiving {
            let receive = self.receive().user_data(name);
            // SAFETY: links that are busy are not dropped, and leave the landing as it is.
            unsafe { ring.push(&receive, false)? };
            self.receiving = true;
        }
        if let Some((send, prompt)) = self.outlet.send(Fixed(self.number)) {
            // SAFETY: links that are busy are not dropped, and leave what they send as it is.
            unsafe { ring.push(&send.user_data(name | SEND), prompt)? };
        }
        Ok(())
    }

    fn receive(&mut self) -> squeue::Entry {
        let from = Fixed(self.number);
        if self.how.bundle {
            return opcode::RecvMultiBundle::new(from, GROUP).build();
        }
        if !self.how.single_shot {
            return opcode::RecvMulti::new(from, GROUP).build();
        }
        if let Some(rest) = self.inlet.landing() {
            let receive = opcode::Recv::new(from, rest.as_mut_ptr(), rest.len() as u32);
            return receive.flags(libc::MSG_WAITALL).build();
        }
        // A large frame is likely there already.
        let (most, how) = match self.inlet.expects_large() {
            true => (HEAD as u32, 0),
            false => (0, POLL_FIRST),
        };
        let receive = opcode::Recv::new(from, ptr::null_mut(), most);
        let receive = receive.buf_group(GROUP).ioprio(how);
        receive.build().flags(squeue::Flags::BUFFER_SELECT)
    }
}
