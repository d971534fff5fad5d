//! A listener in a process without free descriptors. Alone in its process, as it takes them all.
#![cfg(unix)]
#![allow(missing_docs)]

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use event_driver::sock::{self, SocketOptions, SpareFd};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[test]
fn connections_that_cannot_be_accepted_are_refused() {
    let options = SocketOptions::default();
    let listener = sock::listen(SocketAddr::from(([127, 0, 0, 1], 0)), &options).unwrap();
    let addr = sock::local_addr(listener.as_fd()).unwrap();
    let mut spare = SpareFd::new().unwrap();
    assert!(!spare.refuse_one(listener.as_fd()).unwrap(), "nobody waits");

    let clients = [(); 2].map(|()| TcpStream::connect(addr).unwrap());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let mut hoard = Vec::new();
    let full = loop {
        match io::pipe() {
            Ok(pipe) => hoard.push(pipe),
            Err(e) => break e,
        }
    };
    assert_eq!(full.raw_os_error(), Some(Errno::EMFILE as i32));
    // A pipe needs two: the last one.
    let _last = clients[0].try_clone();

    let error = sock::accept(listener.as_fd(), &options).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::EMFILE as i32));
    for mut client in &clients {
        assert!(spare.refuse_one(listener.as_fd()).unwrap());
        assert_eq!(
            client.read(&mut [0; 1]).unwrap(),
            0,
            "the peer learns of it"
        );
    }
    assert!(
        !spare.refuse_one(listener.as_fd()).unwrap(),
        "the listener is idle again"
    );
}
