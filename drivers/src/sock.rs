//! Sockets: safe calls for what a transport does with them.
//!
//! All sockets made here are non-blocking and closed on exec. No call blocks, allocates (but
//! for the arguments of its error) or logs. It knows nothing of drivers: readiness is somebody
//! else's. Used by any thread.

use std::io;

use bytes::BytesMut;

cfg_if::cfg_if! {
    if #[cfg(unix)] {
        mod unix;
        use unix as system;

        pub use unix::local;
    } else {
        mod windows;
        use windows as system;
    }
}

pub use system::{
    Socket, SocketRef, SpareFd, accept, borrow, connect, is_out_of_descriptors, listen, local_addr,
    peer_addr, read_vectored, shutdown, source, write_vectored,
};

/// Whether a connection that was started is established.
///
/// # Errors
/// Why it has failed, `ConnectionRefused` for example. Told once: the call takes the error away.
///
/// A socket that is connected with itself is refused too. The system may give a socket the very
/// port that it connects to, if that is one of those for clients and nobody listens there; TCP
/// takes it for two ends that open at once, and it would read what it has written.
pub fn connect_finished(socket: SocketRef<'_>) -> io::Result<bool> {
    if !system::is_connected(socket)? {
        return Ok(false);
    }
    if matches!((local_addr(socket), peer_addr(socket)), (Ok(near), Ok(far)) if near == far) {
        return Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "Connection refused: nobody listens there (the socket got the same port, and itself as \
             its peer)",
        ));
    }
    Ok(true)
}

/// The most spaces that one [`read_vectored`] fills.
pub const SPACES_MAX: usize = 4;

/// The most slices that one [`write_vectored`] takes (`IOV_MAX` of all the systems).
pub const SLICES_MAX: usize = 1024;

/// Room for a read: up to `limit` bytes go behind the content of `buf`, within its capacity.
#[derive(Debug)]
pub struct Space<'a> {
    /// Grows by what is read.
    pub buf: &'a mut BytesMut,
    /// The most bytes to add.
    pub limit: usize,
}

impl Space<'_> {
    pub(crate) fn room(&self) -> usize {
        (self.buf.capacity() - self.buf.len()).min(self.limit)
    }
}

/// How sockets are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketOptions {
    /// Sends small segments at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// The size of the receive buffer; the system's choice if there is none.
    pub rcvbuf: Option<usize>,
    /// The size of the send buffer; the system's choice if there is none.
    pub sndbuf: Option<usize>,
    /// Gives packets the class of network control, and on Linux this priority in the queues.
    pub priority: Option<i32>,
    /// How many connections may wait for [`accept`].
    pub backlog: i32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            rcvbuf: None,
            sndbuf: None,
            priority: None,
            backlog: 512,
        }
    }
}
