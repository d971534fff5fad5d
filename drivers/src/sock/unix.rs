//! The calls of Unix. Sockets are file descriptors.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::socket::{self, Backlog, Shutdown, SockaddrLike, SockaddrStorage};

use super::SocketOptions;
use crate::Source;

pub mod local;
mod spare;
mod transfer;

pub use spare::SpareFd;
pub use transfer::{read_vectored, write_vectored};

/// A socket, closed with its owner.
pub type Socket = OwnedFd;

/// A socket that is somebody else's.
pub type SocketRef<'a> = BorrowedFd<'a>;

/// Lends a socket to a call.
#[must_use]
pub fn borrow(socket: &Socket) -> SocketRef<'_> {
    socket.as_fd()
}

/// The socket as something to watch.
#[must_use]
pub fn source(socket: &Arc<Socket>) -> Source {
    Source::Fd(Arc::clone(socket))
}

cfg_if::cfg_if! {
    if #[cfg(target_vendor = "apple")] {
        mod two_step;
        use two_step as creation;
    } else {
        mod one_step;
        use one_step as creation;
    }
}

cfg_if::cfg_if! {
    if #[cfg(any(target_os = "linux", target_os = "android"))] {
        mod rank_linux;
        use rank_linux as rank;
    } else {
        mod rank_none;
        use rank_none as rank;
    }
}

/// Class selector 6, network control, as the traffic class of prioritised sockets.
const CLASS_SELECTOR_6: c_int = 0xC0;

/// A listening socket on `addr`; port 0 takes a free one, see [`local_addr`].
///
/// An IPv6 socket takes no IPv4 connections. The buffer sizes are set here too, as accepted
/// connections fix their window scale by them.
///
/// # Errors
/// What the system says: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` and others.
pub fn listen(addr: SocketAddr, options: &SocketOptions) -> io::Result<OwnedFd> {
    let fd = open(addr)?;
    set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if addr.is_ipv6() {
        set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    set_buffers(&fd, options)?;
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    // A negative or a huge length means "the most there is" to every system.
    let backlog = Backlog::new(options.backlog).unwrap_or(Backlog::MAXCONN);
    socket::listen(&fd, backlog)?;
    Ok(fd)
}

/// Takes one waiting connection, and tells whose it is.
///
/// # Errors
/// `WouldBlock` if none is waiting; `ConnectionAborted` if the peer has given up, which says
/// nothing of the listener; `EMFILE` or `ENFILE` without a free descriptor, see [`SpareFd`];
/// otherwise what the system says.
pub fn accept(
    listener: BorrowedFd<'_>,
    options: &SocketOptions,
) -> io::Result<(OwnedFd, SocketAddr)> {
    // SAFETY: an address of zero bytes is a valid one, of no family.
    let mut raw: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut len = size_of_val(&raw) as libc::socklen_t;
    let fd = retry(|| creation::accept(listener, &mut raw, &mut len))?;
    // SAFETY: the system has written a valid address of `len` bytes.
    let peer = unsafe { SockaddrStorage::from_raw((&raw const raw).cast(), Some(len)) };
    let peer = peer
        .ok_or(Errno::EAFNOSUPPORT)
        .map_err(io::Error::from)
        .and_then(ip_addr)?;
    // The peer may be gone already, which some systems tell by refusing options.
    configure(&fd, peer, options)
        .map_err(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error))?;
    Ok((fd, peer))
}

/// Whether an error says that the process, or the system, has no descriptor left.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
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
) -> io::Result<OwnedFd> {
    let fd = open(addr)?;
    set_buffers(&fd, options)?;
    configure(&fd, addr, options)?;
    if let Some(bind) = bind {
        socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(bind))?;
    }
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(addr)) {
        // An interrupted connect goes on as well.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(fd),
        Err(e) => Err(e.into()),
    }
}

/// Whether TCP has connected the socket, be it with itself; an error is told once.
pub(super) fn is_connected(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match socket::getsockopt(&fd, socket::sockopt::SocketError)? {
        0 => {}
        code => return Err(io::Error::from_raw_os_error(code)),
    }
    match socket::getpeername::<SockaddrStorage>(fd.as_raw_fd()) {
        Ok(_) => Ok(true),
        Err(Errno::ENOTCONN) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// The address of this end.
///
/// # Errors
/// What the system says; `EAFNOSUPPORT` if it is no internet address.
pub fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    ip_addr(socket::getsockname(fd.as_raw_fd())?)
}

/// The address of the other end.
///
/// # Errors
/// `NotConnected`, or what the system says; `EAFNOSUPPORT` if it is no internet address.
pub fn peer_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    ip_addr(socket::getpeername(fd.as_raw_fd())?)
}

/// Ends both directions. A socket that is not connected any more is ended already.
///
/// # Errors
/// What the system says.
pub fn shutdown(fd: BorrowedFd<'_>) -> io::Result<()> {
    match socket::shutdown(fd.as_raw_fd(), Shutdown::Both) {
        Ok(()) | Err(Errno::ENOTCONN) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn open(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    Ok(creation::socket(family)?)
}

/// Sets what must be set before the connection is made.
fn set_buffers(fd: &OwnedFd, options: &SocketOptions) -> io::Result<()> {
    let sizes = [
        (libc::SO_RCVBUF, options.rcvbuf),
        (libc::SO_SNDBUF, options.sndbuf),
    ];
    for (name, size) in sizes {
        if let Some(size) = size {
            set_option(
                fd,
                libc::SOL_SOCKET,
                name,
                c_int::try_from(size).unwrap_or(c_int::MAX),
            )?;
        }
    }
    Ok(())
}

/// Sets what a connection with `peer` needs.
fn configure(fd: &OwnedFd, peer: SocketAddr, options: &SocketOptions) -> io::Result<()> {
    set_option(
        fd,
        libc::IPPROTO_TCP,
        libc::TCP_NODELAY,
        options.nodelay.into(),
    )?;
    let Some(priority) = options.priority else {
        return Ok(());
    };
    let (level, name) = if peer.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_TOS)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
    };
    set_option(fd, level, name, CLASS_SELECTOR_6)?;
    rank::set(fd, priority)
}

fn set_option(fd: &OwnedFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer and the size are those of `value`, which the system only reads.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            size,
        )
    };
    Errno::result(result)?;
    Ok(())
}

fn ip_addr(addr: SockaddrStorage) -> io::Result<SocketAddr> {
    if let Some(v4) = addr.as_sockaddr_in() {
        Ok(SocketAddr::V4((*v4).into()))
    } else if let Some(v6) = addr.as_sockaddr_in6() {
        Ok(SocketAddr::V6((*v6).into()))
    } else {
        Err(Errno::EAFNOSUPPORT.into())
    }
}

/// Repeats a call that a signal has interrupted.
fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}
