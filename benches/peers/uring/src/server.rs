//! Answers each request by a frame without data.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::thread;

use common::ServerArgs;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};

use crate::How;
use crate::link::{self, Link};
use crate::ring::Ring;

/// What the accept is known by.
const LISTENER: u64 = u64::MAX;

/// A connection, and whether it is still there.
struct Peer {
    link: Link,
    there: bool,
}

pub(crate) fn run(args: &ServerArgs, how: How) -> io::Result<()> {
    // First, so that this fails where the system refuses it, even if it is told to end at once.
    let ring = Ring::new(how)?;
    common::server::end_when_told()?;
    let listener = TcpListener::bind(args.listen)?;
    common::server::announce(listener.local_addr()?)?;
    for _ in 1..args.threads {
        // Whoever comes first accepts.
        let listener = listener.try_clone()?;
        thread::spawn(move || {
            let ring = Ring::new(how).expect("a ring as the first");
            serve(ring, &listener, how).expect("serves");
        });
    }
    serve(ring, &listener, how)
}

fn serve(mut ring: Ring, listener: &TcpListener, how: How) -> io::Result<()> {
    // Never dropped: there are requests to the end.
    let mut peers: ManuallyDrop<Vec<Option<Peer>>> = ManuallyDrop::new(Vec::new());
    let mut completed = Vec::new();
    accept(&mut ring, listener)?;
    loop {
        ring.turn(&mut completed)?;
        for told in &completed {
            if told.user_data() == LISTENER {
                if told.result() >= 0 {
                    let peer = welcome(&mut ring, told, peers.len(), how)?;
                    peers.push(Some(peer));
                }
                if !cqueue::more(told.flags()) {
                    accept(&mut ring, listener)?;
                }
                continue;
            }
            let Some(peer) = &mut peers[link::number(told)] else {
                continue;
            };
            let reply = peer.link.completed(&mut ring, told, |replies, head| {
                replies.push(head.id);
            });
            peer.there &= reply.is_ok();
        }
        for told in &completed {
            let Some(place) = peers.get_mut(link::number(told)) else {
                continue;
            };
            match place {
                Some(peer) if peer.there => peer.link.request(&mut ring)?,
                Some(peer) if peer.link.is_busy() => {}
                _ => {
                    if let Some(peer) = place.take() {
                        peer.link.leave(&mut ring)?;
                    }
                }
            }
        }
    }
}

fn accept(ring: &mut Ring, listener: &TcpListener) -> io::Result<()> {
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build();
    // SAFETY: it points to nothing.
    unsafe { ring.push(&accept.user_data(LISTENER), false) }
}

fn welcome(ring: &mut Ring, told: &cqueue::Entry, number: usize, how: How) -> io::Result<Peer> {
    // SAFETY: a descriptor that nobody else has.
    let socket = unsafe { TcpStream::from_raw_fd(told.result()) };
    let mut link = Link::new(ring, socket, number, Vec::new(), how)?;
    link.request(ring)?;
    Ok(Peer { link, there: true })
}
