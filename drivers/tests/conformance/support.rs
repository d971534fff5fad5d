//! What the tests share: a driver with its events, and sources that are ready at once.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
#[cfg(unix)]
use std::sync::RwLockWriteGuard;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use event_driver::sock::{self, Socket};
use event_driver::{DriverKind, EVENTS_PER_WAIT, Event, EventDriver, Interest, Readiness, Token};

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;

pub const READ: Readiness = Readiness::READ;
pub const WRITE: Readiness = Readiness::WRITE;
pub const BOTH: Readiness = READ.with(WRITE);

/// Long enough for whatever is going to happen.
pub const SOON: Duration = Duration::from_secs(10);

/// Long enough to notice what should not happen.
pub const MOMENT: Duration = Duration::from_millis(20);

pub fn token(slot: u32) -> Token {
    Token {
        slot,
        generation: 1,
    }
}

/// While a test forks, no other one runs: the child holds copies of all descriptors, so that
/// those which others close stay open for a while.
static FORKING: RwLock<()> = RwLock::new(());

/// Keeps forks away, or the other tests.
#[expect(dead_code, reason = "held, not looked at")]
enum Hold {
    Shared(RwLockReadGuard<'static, ()>),
    #[cfg(unix)]
    Alone(RwLockWriteGuard<'static, ()>),
}

/// Whether this system has the facility; all that are compiled in, but for io_uring.
pub fn is_there(kind: DriverKind) -> bool {
    match kind.open() {
        Err(e) if kind == DriverKind::IoUring && e.kind() == io::ErrorKind::Unsupported => {
            println!("skipped: {kind}: {e}");
            false
        }
        _ => true,
    }
}

/// A driver under test. A test has one at a time.
pub struct Rig {
    probe: Probe,
    _hold: Hold,
}

/// The part of it that can go to another thread.
pub struct Probe {
    pub driver: Box<dyn EventDriver>,
    events: Vec<Event>,
}

impl Deref for Rig {
    type Target = Probe;

    fn deref(&self) -> &Probe {
        &self.probe
    }
}

impl DerefMut for Rig {
    fn deref_mut(&mut self) -> &mut Probe {
        &mut self.probe
    }
}

impl Rig {
    pub fn new(kind: DriverKind) -> Self {
        let hold = FORKING.read().unwrap_or_else(PoisonError::into_inner);
        Self::holding(kind, Hold::Shared(hold))
    }

    /// For a test that forks.
    #[cfg(unix)]
    pub fn alone(kind: DriverKind) -> Self {
        let hold = FORKING.write().unwrap_or_else(PoisonError::into_inner);
        Self::holding(kind, Hold::Alone(hold))
    }

    fn holding(kind: DriverKind, hold: Hold) -> Self {
        let driver = kind.open().unwrap();
        let events = Vec::new();
        Self {
            probe: Probe { driver, events },
            _hold: hold,
        }
    }
}

impl Probe {
    pub fn try_add(&mut self, fd: &Arc<Socket>, token: Token, i: Interest) -> io::Result<()> {
        self.driver.add(sock::source(fd), token, i)
    }

    pub fn add(&mut self, fd: &Arc<Socket>, slot: u32, interest: Interest) {
        self.try_add(fd, token(slot), interest).unwrap();
    }

    pub fn rearm(&mut self, slot: u32, interest: Interest) {
        self.driver.rearm(token(slot), interest).unwrap();
    }

    /// What one wait returns; the promises for every wait are checked in passing.
    pub fn wait(&mut self, timeout: Duration) -> &[Event] {
        self.driver.wait(&mut self.events, Some(timeout)).unwrap();
        assert!(self.events.len() <= EVENTS_PER_WAIT);
        let mut seen = HashSet::new();
        for Event { token, ready } in &self.events {
            assert!(seen.insert(token), "{token:?} twice in one wait");
            assert!(!ready.is_empty());
            assert!(
                !ready.contains(Readiness::HUP) || ready.contains(READ),
                "{ready:?}"
            );
            assert!(
                !ready.contains(Readiness::ERR) || ready.contains(BOTH),
                "{ready:?}"
            );
        }
        &self.events
    }

    /// The next wait returns one event, of `slot`; what for.
    pub fn one(&mut self, slot: u32) -> Readiness {
        let events = self.wait(SOON);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].token, token(slot));
        events[0].ready
    }

    /// Waits until `slot` was reported as `ready` at least, with or without others before.
    pub fn until(&mut self, slot: u32, ready: Readiness) -> Readiness {
        let mut seen = Readiness::NONE;
        while !seen.contains(ready) {
            let events = self.wait(SOON);
            assert!(
                !events.is_empty(),
                "slot {slot}: saw {seen:?}, wanted {ready:?}"
            );
            for event in events.iter().filter(|event| event.token == token(slot)) {
                seen |= event.ready;
            }
        }
        seen
    }

    /// Whatever is reported again without a re-arm, that ends.
    pub fn settle(&mut self) {
        let repeated = (0..10)
            .take_while(|_| !self.wait(MOMENT).is_empty())
            .count();
        assert!(repeated < 10, "{:?} over and over", self.events);
    }

    /// Nothing is reported.
    pub fn quiet(&mut self) {
        let events = self.wait(MOMENT);
        assert!(events.is_empty(), "{events:?}");
    }
}

pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// Reads until the call would block; how many bytes.
pub fn drain(mut from: impl Read) -> usize {
    let (mut total, mut buf) = (0, [0; 4096]);
    loop {
        match from.read(&mut buf) {
            Ok(0) => return total,
            Ok(n) => total += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return total,
            Err(e) => panic!("{e}"),
        }
    }
}

/// Writes until the call would block.
pub fn fill(mut to: impl Write) {
    while to.write(&[0; 4096]).is_ok() {}
}
