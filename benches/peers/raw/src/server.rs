//! Answers each request by a frame without data.

use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::thread;

use common::ServerArgs;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::inlet::{Inlet, STAGING};
use crate::outlet::Outlet;

/// Events of one wait.
const EVENTS: usize = 1024;

/// What the listener is known by.
const LISTENER: u64 = u64::MAX;

struct Peer {
    socket: TcpStream,
    inlet: Inlet,
    replies: Outlet,
    blocked: bool,
}

pub(crate) fn run(args: &ServerArgs) -> io::Result<()> {
    common::server::end_when_told()?;
    let listener = TcpListener::bind(args.listen)?;
    listener.set_nonblocking(true)?;
    common::server::announce(listener.local_addr()?)?;
    for _ in 1..args.threads {
        // Whoever comes first accepts.
        let listener = listener.try_clone()?;
        thread::spawn(move || serve(&listener).expect("serves"));
    }
    serve(&listener)
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut staging = vec![0; STAGING];
    let mut events = vec![EpollEvent::empty(); EVENTS];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            if event.data() == LISTENER {
                accept(&epoll, listener, &mut peers)?;
                continue;
            }
            let place = &mut peers[event.data() as usize];
            if let Some(peer) = place
                && !peer
                    .turn(&epoll, event.data(), &mut staging)
                    .unwrap_or(false)
            {
                *place = None;
            }
        }
    }
}

fn accept(epoll: &Epoll, listener: &TcpListener, peers: &mut Vec<Option<Peer>>) -> io::Result<()> {
    let socket = match listener.accept() {
        Ok((socket, _)) => socket,
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(e) => return Err(e),
    };
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    let id = peers.len() as u64;
    epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, id))?;
    peers.push(Some(Peer {
        socket,
        inlet: Inlet::default(),
        replies: Outlet::new(Vec::new()),
        blocked: false,
    }));
    Ok(())
}

impl Peer {
    /// Reads, unless replies wait for room, and replies. Returns whether the peer is still there.
    fn turn(&mut self, epoll: &Epoll, id: u64, staging: &mut [u8]) -> io::Result<bool> {
        if !self.blocked {
            let replies = &mut self.replies;
            let there = self
                .inlet
                .receive(&self.socket, staging, |head| replies.push(head.id))?;
            if !there {
                return Ok(false);
            }
        }
        let blocked = !self.replies.flush(&self.socket)?;
        if blocked != self.blocked {
            let interest = if blocked {
                EpollFlags::EPOLLOUT
            } else {
                EpollFlags::EPOLLIN
            };
            epoll.modify(&self.socket, &mut EpollEvent::new(interest, id))?;
            self.blocked = blocked;
        }
        Ok(true)
    }
}
