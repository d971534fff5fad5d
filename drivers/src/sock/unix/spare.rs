//! Getting rid of a connection when there is no descriptor to accept it with.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{accept, local};
use crate::sock::SocketOptions;

/// A descriptor kept in reserve.
///
/// When `accept` fails for want of descriptors the connection stays in the queue, and the
/// listener stays readable: its owner would spin, or never hear of it again. With the reserve
/// freed for a moment, the connection is taken and closed, so that its peer learns of it.
#[derive(Debug)]
pub struct SpareFd {
    /// Absent while another thread has been faster to take a freed descriptor.
    reserve: Option<OwnedFd>,
}

impl SpareFd {
    /// Takes a descriptor into reserve.
    ///
    /// # Errors
    /// What the system says, `EMFILE` for example.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            reserve: Some(reserve()?),
        })
    }

    /// Accepts one waiting connection and closes it; false if none was waiting.
    ///
    /// # Errors
    /// As of [`accept`]: `EMFILE` again if another thread took the descriptor meanwhile.
    pub fn refuse_one(&mut self, listener: BorrowedFd<'_>) -> io::Result<bool> {
        self.refuse(|options| accept(listener, options).map(|(socket, _)| socket))
    }

    /// The same for a unix-domain socket.
    ///
    /// # Errors
    /// As of [`local::accept`].
    pub fn refuse_local(&mut self, listener: BorrowedFd<'_>) -> io::Result<bool> {
        self.refuse(|options| local::accept(listener, options))
    }

    fn refuse(
        &mut self,
        accept: impl FnOnce(&SocketOptions) -> io::Result<OwnedFd>,
    ) -> io::Result<bool> {
        self.reserve = None;
        let refused = match accept(&SocketOptions::default()) {
            Ok(_closed_here) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        };
        // Without success it is tried again next time; until then the reserve is empty.
        self.reserve = reserve().ok();
        refused
    }
}

fn reserve() -> io::Result<OwnedFd> {
    Ok(File::open("/dev/null")?.into())
}
