//! The calls of Windows, by the crate `socket2`.
//!
//! A process runs out of memory before it runs out of sockets here, and a port that is bound stays
//! exclusive without an option.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::windows::io::{AsSocket, BorrowedSocket, OwnedSocket};
use std::sync::Arc;

use socket2::{Domain, MaybeUninitSlice, SockAddr, SockRef, Type};

use super::{SLICES_MAX, SPACES_MAX, SocketOptions, Space};
use crate::Source;

/// "Too many open sockets."
const WSAEMFILE: i32 = 10024;

/// "Cannot send after socket shutdown."
const WSAESHUTDOWN: i32 = 10058;

/// A socket, closed with its owner.
pub type Socket = OwnedSocket;

/// A socket that is somebody else's.
pub type SocketRef<'a> = BorrowedSocket<'a>;

/// Lends a socket to a call.
#[must_use]
pub fn borrow(socket: &Socket) -> SocketRef<'_> {
    socket.as_socket()
}

/// The socket as something to watch.
#[must_use]
pub fn source(socket: &Arc<Socket>) -> Source {
    Source::Socket(Arc::clone(socket))
}

/// A listening socket on `addr`; port 0 takes a free one, see [`local_addr`].
///
/// An IPv6 socket takes no IPv4 connections. The buffer sizes are set here too, as accepted
/// connections fix their window scale by them.
///
/// # Errors
/// What the system says: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` and others.
pub fn listen(addr: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let socket = open(addr)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    set_buffers(&socket, options)?;
    socket.bind(&addr.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// Takes one waiting connection, and tells whose it is.
///
/// # Errors
/// `WouldBlock` if none is waiting; `ConnectionAborted` if the peer has given up, which says
/// nothing of the listener; otherwise what the system says.
pub fn accept(
    listener: SocketRef<'_>,
    options: &SocketOptions,
) -> io::Result<(Socket, SocketAddr)> {
    let (socket, peer) = SockRef::from(&listener).accept()?;
    let peer = ip_addr(&peer)?;
    // The peer may be gone already.
    configure(&socket, options)
        .map_err(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error))?;
    Ok((socket.into(), peer))
}

/// Whether an error says that the process has no socket left.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    error.raw_os_error() == Some(WSAEMFILE)
}

/// Starts a connection, from the address `bind` if one is given.
///
/// It is finished when the socket is writable and [`connect_finished`](super::connect_finished) says so.
///
/// # Errors
/// What the system says at once; most failures are told by `connect_finished`.
pub fn connect(
    addr: SocketAddr,
    bind: Option<SocketAddr>,
    options: &SocketOptions,
) -> io::Result<Socket> {
    let socket = open(addr)?;
    set_buffers(&socket, options)?;
    configure(&socket, options)?;
    if let Some(bind) = bind {
        socket.bind(&bind.into())?;
    }
    match socket.connect(&addr.into()) {
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
        _ => Ok(socket.into()),
    }
}

/// Whether TCP has connected the socket, be it with itself; an error is told once.
pub(super) fn is_connected(socket: SocketRef<'_>) -> io::Result<bool> {
    let socket = SockRef::from(&socket);
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(e) => Err(e),
    }
}

/// The address of this end.
///
/// # Errors
/// What the system says; `Unsupported` if it is no internet address.
pub fn local_addr(socket: SocketRef<'_>) -> io::Result<SocketAddr> {
    ip_addr(&SockRef::from(&socket).local_addr()?)
}

/// The address of the other end.
///
/// # Errors
/// `NotConnected`, or what the system says; `Unsupported` if it is no internet address.
pub fn peer_addr(socket: SocketRef<'_>) -> io::Result<SocketAddr> {
    ip_addr(&SockRef::from(&socket).peer_addr()?)
}

/// Ends both directions. A socket that is not connected any more is ended already.
///
/// # Errors
/// What the system says.
pub fn shutdown(socket: SocketRef<'_>) -> io::Result<()> {
    match SockRef::from(&socket).shutdown(std::net::Shutdown::Both) {
        Err(e) if e.kind() != io::ErrorKind::NotConnected => Err(e),
        _ => Ok(()),
    }
}

/// Reads once, filling the spaces one after the other, at most [`SPACES_MAX`] of them.
///
/// Returns the number of bytes; 0 is the end of the stream. The buffers never grow beyond their
/// capacity.
///
/// # Errors
/// `WouldBlock` if there is nothing to read yet; `InvalidInput` if there is no room in the
/// spaces, which would look like the end of the stream; otherwise what the system says.
pub fn read_vectored(socket: SocketRef<'_>, spaces: &mut [Space<'_>]) -> io::Result<usize> {
    let count = spaces.len().min(SPACES_MAX);
    let rooms: [usize; SPACES_MAX] = std::array::from_fn(|i| spaces.get(i).map_or(0, Space::room));
    if rooms.iter().all(|room| *room == 0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no room to read into",
        ));
    }
    let mut slices: [MaybeUninitSlice<'_>; SPACES_MAX] =
        std::array::from_fn(|_| MaybeUninitSlice::new(&mut []));
    for (slice, (space, room)) in slices.iter_mut().zip(spaces.iter_mut().zip(rooms)) {
        *slice = MaybeUninitSlice::new(&mut space.buf.spare_capacity_mut()[..room]);
    }
    let (total, _) = SockRef::from(&socket).recv_vectored(&mut slices[..count])?;
    let mut rest = total;
    for (space, room) in spaces.iter_mut().zip(rooms) {
        let filled = room.min(rest);
        let len = space.buf.len() + filled;
        // SAFETY: the system has filled the slices in order, so these bytes are written; they
        // are within the capacity, as room is.
        unsafe { space.buf.set_len(len) };
        rest -= filled;
    }
    Ok(total)
}

/// Sends the slices, at most [`SLICES_MAX`] of them, by one call. For stream sockets.
///
/// Returns the number of bytes that were taken.
///
/// # Errors
/// `WouldBlock` without room in the send buffer; `BrokenPipe` after the end of the connection;
/// otherwise what the system says.
pub fn write_vectored(socket: SocketRef<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let slices = &slices[..slices.len().min(SLICES_MAX)];
    SockRef::from(&socket)
        .send_vectored(slices)
        .map_err(|error| {
            if error.raw_os_error() == Some(WSAESHUTDOWN) {
                io::Error::new(io::ErrorKind::BrokenPipe, error)
            } else {
                error
            }
        })
}

/// Gets rid of a connection that cannot be kept. There is no reserve to keep here.
#[derive(Debug)]
pub struct SpareFd;

impl SpareFd {
    /// Reserves nothing.
    ///
    /// # Errors
    /// None.
    pub fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Accepts one waiting connection and closes it; false if none was waiting.
    ///
    /// # Errors
    /// As of [`accept`].
    pub fn refuse_one(&mut self, listener: SocketRef<'_>) -> io::Result<bool> {
        match accept(listener, &SocketOptions::default()) {
            Ok(_closed_here) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }
}

fn open(addr: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sets what must be set before the connection is made.
fn set_buffers(socket: &socket2::Socket, options: &SocketOptions) -> io::Result<()> {
    if let Some(size) = options.rcvbuf {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(size) = options.sndbuf {
        socket.set_send_buffer_size(size)?;
    }
    Ok(())
}

/// Sets what a connection needs. The class of packets is the administrator's here.
fn configure(socket: &socket2::Socket, options: &SocketOptions) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(options.nodelay)
}

fn ip_addr(addr: &SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket()
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}
