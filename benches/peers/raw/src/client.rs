//! Keeps requests in flight on all connections, from one thread.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::Instant;

use common::{ClientArgs, InFlight, Meter};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::inlet::{Inlet, STAGING};
use crate::outlet::Outlet;

/// Events of one wait.
const EVENTS: usize = 1024;

struct Link {
    socket: TcpStream,
    inlet: Inlet,
    requests: Outlet,
    in_flight: InFlight,
    blocked: bool,
}

pub(crate) fn run(args: &ClientArgs) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut links = Vec::new();
    for id in 0..u64::from(args.connections) {
        let link = Link::new(args)?;
        epoll.add(&link.socket, EpollEvent::new(EpollFlags::EPOLLIN, id))?;
        links.push(link);
    }
    let mut meter = Meter::new(args);
    for (link, id) in links.iter_mut().zip(0..) {
        link.issue(u64::from(args.depth), Instant::now());
        link.flush(&epoll, id)?;
    }
    let mut staging = vec![0; STAGING];
    let mut events = vec![EpollEvent::empty(); EVENTS];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let link = &mut links[event.data() as usize];
            if event.events().contains(EpollFlags::EPOLLIN) {
                let now = link.receive(&mut staging, &mut meter)?;
                if meter.advance(now) {
                    meter.print();
                    return Ok(());
                }
            }
            link.flush(&epoll, event.data())?;
        }
    }
}

impl Link {
    fn new(args: &ClientArgs) -> io::Result<Self> {
        let socket = TcpStream::connect(args.addr)?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            inlet: Inlet::default(),
            requests: Outlet::new(vec![0x5a; args.size as usize]),
            in_flight: InFlight::default(),
            blocked: false,
        })
    }

    fn issue(&mut self, count: u64, now: Instant) {
        for id in self.in_flight.issue(now, count) {
            self.requests.push(id);
        }
    }

    /// Reads replies and issues as many requests. Returns when.
    fn receive(&mut self, staging: &mut [u8], meter: &mut Meter) -> io::Result<Instant> {
        let (mut count, oldest) = (0, self.in_flight.oldest());
        let there = self.inlet.receive(&self.socket, staging, |head| {
            assert_eq!((head.id, head.len), (oldest + count, 0), "a reply");
            count += 1;
        })?;
        if !there {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let now = Instant::now();
        self.in_flight.replied(now, count, meter);
        if count > 0 {
            self.issue(count, now);
        }
        Ok(now)
    }

    fn flush(&mut self, epoll: &Epoll, id: u64) -> io::Result<()> {
        let blocked = !self.requests.flush(&self.socket)?;
        if blocked != self.blocked {
            let mut interest = EpollFlags::EPOLLIN;
            interest.set(EpollFlags::EPOLLOUT, blocked);
            epoll.modify(&self.socket, &mut EpollEvent::new(interest, id))?;
            self.blocked = blocked;
        }
        Ok(())
    }
}
