//! Whoever is measured, behind one trait: drivers of this project and others.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use async_messenger::{DriverKind, Event, EventDriver, Interest, Source, Token};
use event_driver::rival::Polling;
use mio::unix::SourceFd;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What all of them return at once, at most.
const EVENTS: usize = event_driver::EVENTS_PER_WAIT;

/// Watches descriptors for reading.
pub(super) trait Poller {
    fn add(&mut self, id: usize, fd: &Arc<OwnedFd>);

    /// Waits, not at all or without limit, and calls `ready` for each source that became readable.
    fn wait(&mut self, block: bool, ready: &mut dyn FnMut(usize));

    /// The source has been read.
    fn done(&mut self, id: usize);

    /// Strikes a source from its own records; the kernel is not to know it by this descriptor.
    fn forget(&mut self, id: usize) {
        let _ = id;
    }
}

/// Who takes part.
pub(super) struct Entrant {
    pub(super) name: &'static str,
    pub(super) make: Box<dyn Fn() -> Box<dyn Poller> + Send + Sync>,
}

impl Entrant {
    /// Whether the kernel tells its sources apart by number and file, as epoll does.
    pub(super) fn knows_files(&self) -> bool {
        ["raw epoll", "mio", "epoll"].contains(&self.name)
    }
}

/// All of them, the raw facility first; and who cannot take part, and why.
pub(super) fn entrants() -> (Vec<Entrant>, Vec<String>) {
    fn entrant<P: Poller + 'static>(
        name: &'static str,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Entrant {
        let make = Box::new(move || Box::new(make()) as Box<dyn Poller>);
        Entrant { name, make }
    }
    let mut all = vec![
        entrant("raw epoll", Raw::new),
        entrant("mio", Mio::new),
        entrant("polling", || Polling::new().expect("opens")),
    ];
    let (runnable, missing) = runnable();
    let ours = |kind: DriverKind| entrant(kind.name(), move || Ours::new(kind));
    all.extend(runnable.into_iter().map(ours));
    (all, missing)
}

/// The drivers that this system has, and why it lacks others.
pub(super) fn runnable() -> (Vec<DriverKind>, Vec<String>) {
    let (mut kinds, mut missing) = (Vec::new(), Vec::new());
    for &kind in DriverKind::compiled() {
        match kind.open() {
            // The stand-in for kqueue says nothing of kqueue.
            Ok(_) if kind.name() == "kqueue" => {}
            Ok(_) => kinds.push(kind),
            Err(error) => missing.push(format!("{kind}: {error}")),
        }
    }
    (kinds, missing)
}

struct Ours {
    driver: Box<dyn EventDriver>,
    /// Nothing is disarmed here, so such a driver need not be told anything.
    keeps_armed: bool,
    events: Vec<Event>,
}

impl Ours {
    fn new(kind: DriverKind) -> Self {
        let driver = kind.open().expect("opens");
        Self {
            keeps_armed: driver.keeps_armed(),
            driver,
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

/// How long to wait for events.
fn timeout(block: bool) -> Option<Duration> {
    if block { None } else { Some(Duration::ZERO) }
}

impl Poller for Ours {
    fn add(&mut self, id: usize, fd: &Arc<OwnedFd>) {
        let source = Source::Fd(Arc::clone(fd));
        let added = self.driver.add(source, token(id), Interest::READ);
        added.expect("adds");
    }

    fn wait(&mut self, block: bool, ready: &mut dyn FnMut(usize)) {
        let waited = self.driver.wait(&mut self.events, timeout(block));
        waited.expect("waits");
        for event in &self.events {
            ready(event.token.slot as usize);
        }
    }

    fn done(&mut self, id: usize) {
        if !self.keeps_armed {
            let armed = self.driver.rearm(token(id), Interest::READ);
            armed.expect("is registered");
        }
    }

    fn forget(&mut self, id: usize) {
        let deleted = self.driver.delete(token(id));
        deleted.expect_err("another file is behind the number");
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
        let polled = self.poll.poll(&mut self.events, timeout(block));
        polled.expect("waits");
        for event in &self.events {
            ready(event.token().0);
        }
    }

    fn done(&mut self, _: usize) {}
}

impl Poller for Polling {
    fn add(&mut self, id: usize, fd: &Arc<OwnedFd>) {
        Self::add(self, fd, id).expect("adds");
    }

    fn wait(&mut self, block: bool, ready: &mut dyn FnMut(usize)) {
        Self::wait(self, timeout(block), ready).expect("waits");
    }

    fn done(&mut self, _: usize) {}
}
