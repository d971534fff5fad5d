//! The socket calls, against the loopback interface.
#![cfg(unix)]
#![allow(missing_docs)]

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::BytesMut;
use event_driver::sock::{self, SocketOptions, Space, read_vectored, write_vectored};
use event_driver::{DriverKind, Interest, Source, Token};

fn localhost() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// An address at which nobody listens.
fn deserted() -> SocketAddr {
    let listener = sock::listen(localhost(), &SocketOptions::default()).unwrap();
    sock::local_addr(listener.as_fd()).unwrap()
}

/// Waits until `fd` is ready for `interest`.
fn wait_for(fd: &Arc<OwnedFd>, interest: Interest) {
    let mut driver = DriverKind::default_for_target().open().unwrap();
    let token = Token {
        slot: 0,
        generation: 0,
    };
    driver
        .add(Source::Fd(Arc::clone(fd)), token, interest)
        .unwrap();
    driver.wait(&mut Vec::new(), None).unwrap();
}

fn pair(addr: SocketAddr, options: &SocketOptions) -> (Arc<OwnedFd>, Arc<OwnedFd>) {
    let listener = Arc::new(sock::listen(addr, options).unwrap());
    let addr = sock::local_addr(listener.as_fd()).unwrap();
    let client = Arc::new(sock::connect(addr, None, options).unwrap());
    wait_for(&client, Interest::WRITE);
    assert!(sock::connect_finished(client.as_fd()).unwrap());
    wait_for(&listener, Interest::READ);
    let (server, peer) = sock::accept(listener.as_fd(), options).unwrap();
    assert_eq!(peer, sock::local_addr(client.as_fd()).unwrap());
    assert_eq!(addr, sock::peer_addr(client.as_fd()).unwrap());
    (client, Arc::new(server))
}

fn read(fd: BorrowedFd<'_>, buf: &mut BytesMut) -> io::Result<usize> {
    read_vectored(
        fd,
        &mut [Space {
            buf,
            limit: usize::MAX,
        }],
    )
}

#[test]
fn a_connection_carries_bytes_and_ends() {
    let (client, server) = pair(localhost(), &SocketOptions::default());
    let mut buf = BytesMut::with_capacity(16);
    assert_eq!(
        read(server.as_fd(), &mut buf).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    let slices = [
        IoSlice::new(b"one"),
        IoSlice::new(b""),
        IoSlice::new(b"two"),
    ];
    assert_eq!(write_vectored(client.as_fd(), &slices).unwrap(), 6);
    wait_for(&server, Interest::READ);
    assert_eq!(read(server.as_fd(), &mut buf).unwrap(), 6);
    assert_eq!(&buf[..], b"onetwo");

    sock::shutdown(client.as_fd()).unwrap();
    sock::shutdown(client.as_fd()).unwrap();
    let error = write_vectored(client.as_fd(), &slices).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    wait_for(&server, Interest::READ);
    assert_eq!(
        read(server.as_fd(), &mut buf).unwrap(),
        0,
        "end of the stream"
    );
    assert_eq!(&buf[..], b"onetwo");
}

#[test]
fn ipv6_and_all_options() {
    let options = SocketOptions {
        nodelay: true,
        rcvbuf: Some(32 << 10),
        sndbuf: Some(32 << 10),
        priority: Some(6),
        backlog: 4,
    };
    pair(localhost(), &options);
    // Some machines have no IPv6.
    match sock::listen((Ipv6Addr::LOCALHOST, 0).into(), &options) {
        Ok(_) => drop(pair((Ipv6Addr::LOCALHOST, 0).into(), &options)),
        Err(e) => println!("skipped: no IPv6 here: {e}"),
    }
}

#[test]
fn connecting_from_a_chosen_address() {
    let options = SocketOptions::default();
    let listener = sock::listen(localhost(), &options).unwrap();
    let addr = sock::local_addr(listener.as_fd()).unwrap();
    let client = sock::connect(addr, Some(localhost()), &options).unwrap();
    assert_eq!(
        sock::local_addr(client.as_fd()).unwrap().ip(),
        Ipv4Addr::LOCALHOST
    );
}

#[test]
fn a_refused_connection_says_so() {
    let client = sock::connect(deserted(), None, &SocketOptions::default()).unwrap();
    let client = Arc::new(client);
    wait_for(&client, Interest::WRITE);
    let error = sock::connect_finished(client.as_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

/// What the system does now and then by itself, when it chooses the port.
#[test]
fn a_connection_with_itself_is_refused() {
    let addr = deserted();
    let client = sock::connect(addr, Some(addr), &SocketOptions::default()).unwrap();
    let client = Arc::new(client);
    wait_for(&client, Interest::WRITE);
    assert_eq!(sock::peer_addr(client.as_fd()).unwrap(), addr, "it is");
    let error = sock::connect_finished(client.as_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains("nobody listens"), "{error}");
}

#[test]
fn a_connection_in_progress_is_not_finished() {
    // A queue of one that nobody empties: what comes later stays in progress.
    let options = SocketOptions {
        backlog: 0,
        ..SocketOptions::default()
    };
    let listener = sock::listen(localhost(), &options).unwrap();
    let addr = sock::local_addr(listener.as_fd()).unwrap();
    let clients: Vec<_> = (0..8)
        .map(|_| sock::connect(addr, None, &options).unwrap())
        .collect();
    let open = clients
        .iter()
        .filter(|fd| !sock::connect_finished(fd.as_fd()).unwrap());
    assert!(open.count() > 0);
}

#[test]
fn an_address_is_taken_once_and_accept_would_block() {
    let options = SocketOptions::default();
    let listener = sock::listen(localhost(), &options).unwrap();
    let addr = sock::local_addr(listener.as_fd()).unwrap();
    assert_eq!(
        sock::listen(addr, &options).unwrap_err().kind(),
        ErrorKind::AddrInUse
    );
    let error = sock::accept(listener.as_fd(), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn reads_fill_the_spaces_in_order_and_within_their_limits() {
    let (client, server) = UnixStream::pair().unwrap();
    assert_eq!(
        write_vectored(client.as_fd(), &[IoSlice::new(b"0123456789")]).unwrap(),
        10
    );
    let mut first = BytesMut::with_capacity(64);
    first.extend_from_slice(b"head");
    let mut second = BytesMut::with_capacity(3);
    let mut third = BytesMut::with_capacity(64);
    let pointers = [first.as_ptr(), second.as_ptr(), third.as_ptr()];
    let mut spaces = [
        Space {
            buf: &mut first,
            limit: 2,
        },
        Space {
            buf: &mut second,
            limit: usize::MAX,
        },
        Space {
            buf: &mut third,
            limit: 4,
        },
    ];
    assert_eq!(read_vectored(server.as_fd(), &mut spaces).unwrap(), 9);
    assert_eq!(
        (&first[..], &second[..], &third[..]),
        (&b"head01"[..], &b"234"[..], &b"5678"[..])
    );
    assert_eq!(
        pointers,
        [first.as_ptr(), second.as_ptr(), third.as_ptr()],
        "no reallocation"
    );
    assert_eq!(read(server.as_fd(), &mut third).unwrap(), 1);
    assert_eq!(&third[..], b"56789");

    // What comes is less than what the first has room for, so the second gets nothing.
    assert_eq!(
        write_vectored(client.as_fd(), &[IoSlice::new(b"abc")]).unwrap(),
        3
    );
    let mut spaces = [&mut first, &mut third].map(|buf| Space { buf, limit: 16 });
    assert_eq!(read_vectored(server.as_fd(), &mut spaces).unwrap(), 3);
    assert_eq!((&first[..], &third[..]), (&b"head01abc"[..], &b"56789"[..]));
}

#[test]
fn no_room_is_not_the_end_of_the_stream() {
    let (_client, server) = UnixStream::pair().unwrap();
    let mut buf = BytesMut::with_capacity(8);
    let mut none = [Space {
        buf: &mut buf,
        limit: 0,
    }];
    assert_eq!(
        read_vectored(server.as_fd(), &mut none).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        read(server.as_fd(), &mut BytesMut::new())
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn more_slices_than_the_system_takes_are_a_partial_write() {
    let (client, server) = UnixStream::pair().unwrap();
    let slices = vec![IoSlice::new(b"x"); 3 * sock::SLICES_MAX];
    assert_eq!(
        write_vectored(client.as_fd(), &slices).unwrap(),
        sock::SLICES_MAX
    );
    let mut buf = BytesMut::with_capacity(4 * sock::SLICES_MAX);
    assert_eq!(read(server.as_fd(), &mut buf).unwrap(), sock::SLICES_MAX);
}

#[test]
fn a_full_send_buffer_would_block() {
    let (client, _server) = pair(localhost(), &SocketOptions::default());
    let block = vec![0; 1 << 20];
    let error = loop {
        if let Err(e) = write_vectored(client.as_fd(), &[IoSlice::new(&block)]) {
            break e;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}
