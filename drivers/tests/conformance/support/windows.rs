//! Sources of Windows, which are sockets and nothing else.

use std::net::TcpStream;
use std::os::windows::io::OwnedSocket;
use std::sync::Arc;

use socket2::SockRef;

use super::tcp_pair;

/// A socket of the kind that drivers take.
pub fn shared(socket: impl Into<OwnedSocket>) -> Arc<OwnedSocket> {
    let socket = socket.into();
    SockRef::from(&socket).set_nonblocking(true).unwrap();
    Arc::new(socket)
}

/// Two ends of a stream: ours to use, and the driver's to watch.
pub fn pair() -> (TcpStream, TcpStream, Arc<OwnedSocket>) {
    let (ours, theirs) = tcp_pair();
    for end in [&ours, &theirs] {
        end.set_nonblocking(true).unwrap();
        end.set_nodelay(true).unwrap();
    }
    let watched = shared(theirs.try_clone().unwrap());
    (ours, theirs, watched)
}

/// What is written to one end can be read from the other.
pub fn pipe() -> (Arc<OwnedSocket>, TcpStream) {
    let (ours, theirs, _) = pair();
    (shared(theirs), ours)
}

/// Another handle of the same socket.
pub fn duplicate(socket: &OwnedSocket) -> Arc<OwnedSocket> {
    Arc::new(socket.try_clone().unwrap())
}

/// How many sockets may be opened.
pub fn lift_descriptor_limit() -> usize {
    4_000
}

/// With this the close is a reset.
pub fn reset_on_close(stream: &TcpStream) {
    let now = Some(std::time::Duration::ZERO);
    SockRef::from(stream).set_linger(now).unwrap();
}
