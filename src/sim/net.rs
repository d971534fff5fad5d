//! The simulated network: streams between nodes that delay, split, stall and break.
//!
//! A stream has two ends. What is written at one end arrives at the other in order and later;
//! different streams overtake each other. A stream that is cut swallows what is written from then
//! on, and its ends learn of it independently, as with a cable that is pulled. Nothing here runs by
//! itself: the world asks for the next event and says what time it is.

mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::chance::Chance;
use super::driver::Watches;
use super::trace::{Happened, Trace};
use crate::wire::crc32c;

/// Simulated time, since the world began.
pub(super) type Nanos = u64;

/// One millisecond.
pub(super) const MS: Nanos = 1_000_000;

/// The network, as stacks, drivers and the world share it.
pub(super) type Wire = Arc<Mutex<Net>>;

/// Locks the network. Never across a call into a messenger.
pub(super) fn net(wire: &Wire) -> MutexGuard<'_, Net> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often things go wrong, each of a thousand cases.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Streams that are cut after some bytes or some time.
    pub cuts: u32,
    /// Attempts to connect that are refused although somebody listens.
    pub refusals: u32,
    /// Accepted streams that fail in `accept`.
    pub accept_failures: u32,
    /// Writes that arrive seconds later.
    pub stalls: u32,
    /// Reads and writes that transfer less than they could.
    pub short: u32,
    /// Waits that report a source which is not ready.
    pub spurious: u32,
    /// Turns after which a thread gets no processor for a while.
    pub preemptions: u32,
    /// Bytes that a stream takes before its reader reads; 0: 256 KiB.
    pub window: usize,
}

pub(super) struct Net {
    pub(super) now: Nanos,
    pub(super) faults: Faults,
    pub(super) trace: Trace,
    pub(super) chance: Chance,
    pub(super) watches: Vec<Watches>,
    ends: BTreeMap<u64, End>,
    listeners: BTreeMap<u64, Listening>,
    events: BTreeMap<(Nanos, u64), Event>,
    serial: u64,
}

struct End {
    peer: u64,
    /// The address of whoever connected.
    addr: SocketAddr,
    node: usize,
    connecting: bool,
    inbox: VecDeque<Bytes>,
    fin: bool,
    error: Option<ErrorKind>,
    shut: bool,
    /// Halves that somebody holds.
    halves: u8,
    /// What is written vanishes.
    cut: bool,
    cut_after: Option<u64>,
    sent: u64,
    /// Written here and not yet read at the peer.
    in_flight: usize,
    last_arrival: Nanos,
    /// How often something happened that a reader or a writer may wait for.
    news: [u64; 2],
    /// A write came back short, so room is news.
    starved: bool,
}

struct Listening {
    addr: SocketAddr,
    node: usize,
    backlog: VecDeque<u64>,
    news: u64,
}

enum Event {
    Syn { end: u64, to: SocketAddr },
    Established { end: u64 },
    Refused { end: u64 },
    Data { from: u64, to: u64, bytes: Bytes },
    Fin { to: u64 },
    Reset { to: u64 },
    Nudge { end: u64, direction: usize },
    Cut { end: u64 },
}

/// What a source is like, and how much has happened to it, for a driver.
#[derive(Clone, Copy, Default)]
pub(super) struct Condition {
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) hup: bool,
    pub(super) failed: bool,
    pub(super) news: [u64; 2],
}

impl Net {
    pub(super) fn new(seed: u64, trace: Trace) -> Self {
        Self {
            now: 0,
            faults: Faults::default(),
            trace,
            chance: Chance::new(seed, 1),
            watches: Vec::new(),
            ends: BTreeMap::new(),
            listeners: BTreeMap::new(),
            events: BTreeMap::new(),
            serial: 0,
        }
    }

    pub(super) fn note(&mut self, what: &Happened) {
        self.trace.note(self.now, what);
    }

    /// Streams' ends and listeners that exist.
    pub(super) fn holds(&self) -> [usize; 2] {
        [self.ends.len(), self.listeners.len()]
    }

    fn id(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn schedule(&mut self, at: Nanos, event: Event) {
        let id = self.id();
        self.events.insert((at.max(self.now), id), event);
    }

    fn latency(&mut self) -> Nanos {
        let usual = 20_000 + self.chance.below(200_000);
        if self.chance.hits(self.faults.stalls) {
            usual + self.chance.magnitude(4_000 * MS)
        } else {
            usual
        }
    }

    // Listening.

    pub(super) fn listen(&mut self, node: usize, mut addr: SocketAddr) -> io::Result<u64> {
        if addr.port() == 0 {
            addr.set_port(20_000 + (self.id() % 40_000) as u16);
        }
        if self.listener_at(addr).is_some() {
            return Err(ErrorKind::AddrInUse.into());
        }
        let id = self.id();
        let listening = Listening {
            addr,
            node,
            backlog: VecDeque::new(),
            news: 0,
        };
        self.listeners.insert(id, listening);
        Ok(id)
    }

    fn listener_at(&self, addr: SocketAddr) -> Option<u64> {
        let found = self.listeners.iter().find(|(_, l)| l.addr == addr);
        found.map(|(id, _)| *id)
    }

    pub(super) fn local_addr(&self, listener: u64) -> io::Result<SocketAddr> {
        let known = self.listeners.get(&listener);
        known
            .map(|l| l.addr)
            .ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// The next stream's end of a listener, and where its peer is.
    pub(super) fn accept(&mut self, listener: u64) -> io::Result<(u64, SocketAddr)> {
        let known = self.listeners.get_mut(&listener);
        let end = known
            .and_then(|l| l.backlog.pop_front())
            .ok_or(ErrorKind::WouldBlock)?;
        if self.chance.hits(self.faults.accept_failures) {
            self.reset_peer_of(end);
            self.ends.remove(&end);
            return Err(ErrorKind::ConnectionAborted.into());
        }
        self.note(&Happened::Accept(end));
        let addr = self.ends.get(&end).map(|end| end.addr);
        Ok((end, addr.ok_or(ErrorKind::ConnectionAborted)?))
    }

    pub(super) fn unlisten(&mut self, listener: u64) {
        let Some(listening) = self.listeners.remove(&listener) else {
            return;
        };
        for end in listening.backlog {
            self.reset_peer_of(end);
            self.ends.remove(&end);
        }
    }

    // Events.

    /// When something happens next.
    pub(super) fn next_at(&self) -> Option<Nanos> {
        self.events.keys().next().map(|(at, _)| *at)
    }

    /// Lets the next event happen. Only if it is due.
    pub(super) fn happen(&mut self) {
        let Some((_, event)) = self.events.pop_first() else {
            return;
        };
        match event {
            Event::Syn { end, to } => self.syn(end, to),
            Event::Data { from, to, bytes } => self.arrive(from, to, bytes),
            Event::Cut { end } => self.cut(end),
            Event::Established { end } => {
                self.note(&Happened::Open(end));
                self.tell(end, |end| end.connecting = false);
            }
            Event::Refused { end } => {
                self.note(&Happened::Refuse(end));
                self.tell(end, |end| end.error = Some(ErrorKind::ConnectionRefused));
            }
            Event::Fin { to } => {
                self.note(&Happened::Fin(to));
                self.tell(to, |end| end.fin = true);
            }
            Event::Reset { to } => {
                self.note(&Happened::Reset(to));
                let purge = self.chance.hits(500);
                self.tell(to, |end| {
                    end.error.get_or_insert(ErrorKind::ConnectionReset);
                    if purge {
                        end.inbox.clear();
                    }
                });
            }
            Event::Nudge { end, direction } => {
                if let Some(end) = self.ends.get_mut(&end) {
                    end.news[direction] += 1;
                }
            }
        }
    }

    fn tell(&mut self, id: u64, change: impl FnOnce(&mut End)) {
        if let Some(end) = self.ends.get_mut(&id) {
            change(end);
            end.news = end.news.map(|news| news + 1);
        }
    }

    fn arrive(&mut self, from: u64, to: u64, bytes: Bytes) {
        let Some(end) = self.ends.get_mut(&to).filter(|end| !end.shut) else {
            let delay = self.latency();
            return self.schedule(self.now + delay, Event::Reset { to: from });
        };
        if end.error.is_some() || end.fin {
            return;
        }
        let crc = crc32c(0, &bytes);
        let len = bytes.len();
        end.inbox.push_back(bytes);
        end.news[0] += 1;
        self.note(&Happened::Arrive(to, len, crc));
    }

    /// What a driver sees of a source.
    pub(super) fn condition(&self, source: u64) -> Condition {
        if let Some(listening) = self.listeners.get(&source) {
            return Condition {
                readable: !listening.backlog.is_empty(),
                news: [listening.news, 0],
                ..Condition::default()
            };
        }
        let Some(end) = self.ends.get(&source) else {
            return Condition::default();
        };
        let window = match self.faults.window {
            0 => 256 << 10,
            window => window,
        };
        let over = end.fin || end.shut || end.error.is_some();
        Condition {
            readable: over || !end.inbox.is_empty(),
            writable: end.error.is_some() || end.shut || !end.connecting && end.in_flight < window,
            // As kernels do: a reset ends both directions.
            hup: over,
            failed: end.error.is_some(),
            news: end.news,
        }
    }
}
