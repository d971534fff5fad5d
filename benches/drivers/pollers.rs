//! Whoever is measured, behind one trait: drivers of this project and others.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use async_messenger::{DriverKind, Event, EventDriver, Interest, Source, Token};
use mio::unix::SourceFd;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use polling::{PollMode, Poller as PollingPoller};

/// What all of them return at once, at most.
const EVENTS: usize = 1024;

/// Watches descriptors for reading.
pub(crate) trait Poller {
    fn add(&mut self, id: usize, fd: &Arc<OwnedFd>);

    /// Waits, not at all or without limit, and calls `ready` for each source that became readable.
    fn wait(&mut self, block: bool, ready: &mut dyn FnMut(usize));

    /// The source has been read.
    fn done(&mut self, id: usize);
}

/// Who takes part: a name, and how to make one.
pub(crate) type Entrant = (String, Box<dyn Fn() -> Box<dyn Poller>>);

pub(crate) fn entrants() -> Vec<Entrant> {
    let mut all: Vec<Entrant> = vec![
        ("raw epoll".into(), Box::new(|| Box::new(Raw::new()))),
        ("mio".into(), Box::new(|| Box::new(Mio::new()))),
        ("polling".into(), Box::new(|| Box::new(Polling::new()))),
    ];
    for kind in runnable() {
        all.push((
            kind.to_string(),
            Box::new(move || Box::new(Ours::new(kind))),
        ));
    }
    all
}

/// The drivers that this system has. The stand-in for kqueue says nothing of kqueue.
pub(crate) fn runnable() -> Vec<DriverKind> {
    let mut kinds = DriverKind::compiled().to_vec();
    kinds.retain(|kind| match kind.open() {
        Ok(_) => *kind != DriverKind::Kqueue,
        Err(e) => {
            println!("skipped: {kind}: {e}");
            false
        }
    });
    kinds
}

struct Ours {
    driver: Box<dyn EventDriver>,
    events: Vec<Event>,
}

impl Ours {
    fn new(kind: DriverKind) -> Self {
        Self {
            driver: kind.open().expect("opens"),
            events: Vec::with_capacity(EVENTS),
        }
    }
}

fn token(id: usize) -> Token {
    Token {
        slot: id as u32,
        generation: 1,
    }
}

impl Poller for Ours {
    fn add(&mut self, id: usize, fd: &Arc<OwnedFd>) {
        let source = Source::Fd(Arc::clone(fd));
        let added = self.driver.add(source, token(id), Interest::READ);
        added.expect("adds");
    }

    fn wait(&mut self, block: bool, ready: &mut dyn FnMut(usize)) {
        let timeout = if block { None } else { Some(Duration::ZERO) };
        self.driver.wait(&mut self.events, timeout).expect("waits");
        for event in &self.events {
            ready(event.token.slot as usize);
        }
    }

    fn done(&mut self, id: usize) {
        let armed = self.driver.rearm(token(id), Interest::READ);
        armed.expect("is registered");
    }
}

struct Raw {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Raw {
    fn new() -> Self {
        Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("opens"),
            events: vec![EpollEvent::empty(); EVENTS],
        }
    }
}

impl Poller for Raw {
    fn add(&mut self, id: usize, fd: &Arc<OwnedFd>) {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        let added = self.epoll.add(fd, EpollEvent::new(flags, id as u64));
        added.expect("adds");
    }

    fn wait(&mut self, block: bool, ready: &mut dyn FnMut(usize)) {
        let timeout = if block {
            EpollTimeout::NONE
        } else {
            EpollTimeout::ZERO
        };
        let count = self.epoll.wait(&mut self.events, timeout).expect("waits");
        for event in &self.events[..count] {
            ready(event.data() as usize);
        }
    }

    fn done(&mut self, _: usize) {}
}

struct Mio {
    poll: mio::Poll,
    events: mio::Events,
}

impl Mio {
    fn new() -> Self {
        Self {
            poll: mio::Poll::new().expect("opens"),
            events: mio::Events::with_capacity(EVENTS),
        }
    }
}

impl Poller for Mio {
    fn add(&mut self, id: usize, fd: &Arc<OwnedFd>) {
        let raw = fd.as_raw_fd();
        let registry = self.poll.registry();
        registry
            .register(&mut SourceFd(&raw), mio::Token(id), mio::Interest::READABLE)
            .expect("adds");
    }

    fn wait(&mut self, block: bool, ready: &mut dyn FnMut(usize)) {
        let timeout = if block { None } else { Some(Duration::ZERO) };
        self.poll.poll(&mut self.events, timeout).expect("waits");
        for event in &self.events {
            ready(event.token().0);
        }
    }

    fn done(&mut self, _: usize) {}
}

struct Polling {
    poller: PollingPoller,
    events: polling::Events,
    /// They must not be closed before they are deleted.
    fds: Vec<Arc<OwnedFd>>,
}

impl Polling {
    fn new() -> Self {
        let capacity = NonZeroUsize::new(EVENTS).expect("not zero");
        Self {
            poller: PollingPoller::new().expect("opens"),
            events: polling::Events::with_capacity(capacity),
            fds: Vec::new(),
        }
    }
}

impl Poller for Polling {
    fn add(&mut self, id: usize, fd: &Arc<OwnedFd>) {
        let event = polling::Event::readable(id);
        // SAFETY: it is kept until it is deleted, when this is dropped.
        let added = unsafe { self.poller.add_with_mode(&**fd, event, PollMode::Edge) };
        added.expect("adds");
        self.fds.push(Arc::clone(fd));
    }

    fn wait(&mut self, block: bool, ready: &mut dyn FnMut(usize)) {
        let timeout = if block { None } else { Some(Duration::ZERO) };
        self.events.clear();
        self.poller.wait(&mut self.events, timeout).expect("waits");
        for event in self.events.iter() {
            ready(event.key);
        }
    }

    fn done(&mut self, _: usize) {}
}

impl Drop for Polling {
    fn drop(&mut self) {
        for fd in &self.fds {
            self.poller.delete(fd.as_fd()).expect("was added");
        }
    }
}
