//! The simulated network: streams between nodes that delay, split, stall and break.
//!
//! A stream has two ends. What is written at one end arrives at the other in order and later;
//! different streams overtake each other. A stream that is cut swallows what is written from then
//! on, and its ends learn of it independently, as with a cable that is pulled. Nothing here runs by
//! itself: the world asks for the next event and says what time it is.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use event_driver::sock::Space;

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

    // Streams.

    pub(super) fn connect(&mut self, node: usize, mut from: SocketAddr, to: SocketAddr) -> u64 {
        let id = self.id();
        from.set_port(30_000 + (id % 30_000) as u16);
        let end = self.end(node, 0, from);
        self.ends.insert(id, end);
        let delay = self.latency();
        self.schedule(self.now + delay, Event::Syn { end: id, to });
        self.note(&Happened::Connect(id, node as u64));
        id
    }

    fn end(&mut self, node: usize, peer: u64, addr: SocketAddr) -> End {
        // By magnitude, so that handshakes are cut as often as long messages.
        let cut_after = self
            .chance
            .hits(self.faults.cuts)
            .then(|| self.chance.magnitude(300_000));
        End {
            peer,
            addr,
            node,
            connecting: true,
            inbox: VecDeque::new(),
            fin: false,
            error: None,
            shut: false,
            halves: 2,
            cut: false,
            cut_after,
            sent: 0,
            in_flight: 0,
            last_arrival: 0,
            news: [1, 1],
            starved: false,
        }
    }

    fn syn(&mut self, end: u64, to: SocketAddr) {
        let Some(addr) = self.ends.get(&end).map(|end| end.addr) else {
            return;
        };
        let delay = self.latency();
        let refused = self.chance.hits(self.faults.refusals);
        let listener = self.listener_at(to).filter(|_| !refused);
        let Some(listener) = listener else {
            return self.schedule(self.now + delay, Event::Refused { end });
        };
        let node = self.listeners[&listener].node;
        let id = self.id();
        let mut accepted = self.end(node, end, addr);
        accepted.connecting = false;
        self.ends.insert(id, accepted);
        if let Some(connecting) = self.ends.get_mut(&end) {
            connecting.peer = id;
        }
        if let Some(listening) = self.listeners.get_mut(&listener) {
            listening.backlog.push_back(id);
            listening.news += 1;
        }
        self.schedule(self.now + delay, Event::Established { end });
        if self.chance.hits(self.faults.cuts / 2) {
            let after = self.chance.magnitude(2_000 * MS);
            self.schedule(self.now + after, Event::Cut { end });
        }
    }

    /// Whether a stream stands.
    pub(super) fn is_connected(&self, end: u64) -> io::Result<bool> {
        let end = self.ends.get(&end).ok_or(ErrorKind::NotConnected)?;
        match end.error {
            Some(kind) => Err(kind.into()),
            None => Ok(!end.connecting),
        }
    }

    pub(super) fn write(&mut self, id: u64, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let window = match self.faults.window {
            0 => 256 << 10,
            window => window,
        };
        let short = self.chance.hits(self.faults.short);
        let end = self.ends.get_mut(&id).ok_or(ErrorKind::BrokenPipe)?;
        if let Some(kind) = end.error {
            return Err(kind.into());
        }
        if end.shut {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut n = total.min(window.saturating_sub(end.in_flight));
        if n == 0 || end.connecting {
            end.starved = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if short {
            n = 1 + self.chance.below(n as u64) as usize;
        }
        if n < total {
            end.starved = true;
            if end.in_flight + n < window {
                // Nothing has to be read for more room, so nobody else would report it.
                let after = self.chance.below(MS);
                let nudge = Event::Nudge {
                    end: id,
                    direction: 1,
                };
                self.schedule(self.now + after, nudge);
            }
        }
        let mut bytes = Vec::with_capacity(n);
        for slice in slices {
            let take = slice.len().min(n - bytes.len());
            bytes.extend_from_slice(&slice[..take]);
        }
        self.note(&Happened::Write(id, n));
        self.transmit(id, bytes.into());
        Ok(n)
    }

    fn transmit(&mut self, id: u64, mut bytes: Bytes) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        end.in_flight += bytes.len();
        let before = end.sent;
        end.sent += bytes.len() as u64;
        if end.cut {
            return;
        }
        let cut = end.cut_after.filter(|after| *after < end.sent);
        if let Some(after) = cut {
            bytes.truncate(after.saturating_sub(before) as usize);
        }
        while !bytes.is_empty() {
            let len = match self.chance.below(4) {
                0 => 1 + self.chance.below(bytes.len() as u64) as usize,
                _ => bytes.len(),
            };
            let part = bytes.split_to(len);
            let delay = self.latency();
            let now = self.now;
            let Some(end) = self.ends.get_mut(&id) else {
                return;
            };
            end.last_arrival = end.last_arrival.max(now + delay);
            let (at, to) = (end.last_arrival, end.peer);
            let data = Event::Data {
                from: id,
                to,
                bytes: part,
            };
            self.schedule(at, data);
        }
        if cut.is_some() {
            self.cut(id);
        }
    }

    pub(super) fn read(&mut self, id: u64, spaces: &mut [Space<'_>]) -> io::Result<usize> {
        let short = self.chance.hits(self.faults.short);
        let end = self.ends.get_mut(&id).ok_or(ErrorKind::NotConnected)?;
        let mut limit = usize::MAX;
        if short && let Some(first) = end.inbox.front() {
            limit = 1 + self.chance.below(first.len() as u64) as usize;
        }
        let mut total = 0;
        for space in spaces {
            let mut room = (space.buf.capacity() - space.buf.len()).min(space.limit);
            while room > 0
                && limit > total
                && let Some(first) = end.inbox.front_mut()
            {
                let n = first.len().min(room).min(limit - total);
                space.buf.extend_from_slice(&first[..n]);
                first.advance(n);
                if first.is_empty() {
                    end.inbox.pop_front();
                }
                room -= n;
                total += n;
            }
        }
        if total > 0 {
            self.was_read(id, total);
            return Ok(total);
        }
        match end.error {
            Some(kind) => Err(kind.into()),
            None if end.fin || end.shut => Ok(0),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn was_read(&mut self, id: u64, n: usize) {
        self.note(&Happened::Read(id, n));
        let peer = self.ends[&id].peer;
        if let Some(peer) = self.ends.get_mut(&peer) {
            peer.in_flight = peer.in_flight.saturating_sub(n);
            if std::mem::take(&mut peer.starved) {
                peer.news[1] += 1;
            }
        }
        if !self.ends[&id].inbox.is_empty() {
            // It was a short read, and what is left is as good as new.
            let after = self.chance.below(MS);
            let nudge = Event::Nudge {
                end: id,
                direction: 0,
            };
            self.schedule(self.now + after, nudge);
        }
    }

    /// Both directions end.
    pub(super) fn shutdown(&mut self, id: u64) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut end.shut, true) || end.error.is_some() {
            return;
        }
        end.news = end.news.map(|news| news + 1);
        self.send_fin(id);
    }

    /// One of the two halves is gone; with the last one the stream is closed.
    pub(super) fn drop_half(&mut self, id: u64) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        end.halves -= 1;
        if end.halves > 0 {
            return;
        }
        self.note(&Happened::Close(id));
        let end = &self.ends[&id];
        if !end.shut && end.error.is_none() {
            if end.inbox.is_empty() {
                self.send_fin(id);
            } else {
                self.reset_peer_of(id);
            }
        }
        self.ends.remove(&id);
    }

    fn send_fin(&mut self, id: u64) {
        let delay = self.latency();
        let now = self.now;
        if let Some(end) = self.ends.get_mut(&id)
            && !end.cut
        {
            end.last_arrival = end.last_arrival.max(now + delay);
            let (at, to) = (end.last_arrival, end.peer);
            self.schedule(at, Event::Fin { to });
        }
    }

    fn reset_peer_of(&mut self, id: u64) {
        let delay = self.latency();
        if let Some(end) = self.ends.get(&id)
            && !end.cut
        {
            let to = end.peer;
            self.schedule(self.now + delay, Event::Reset { to });
        }
    }

    /// Breaks a stream. What is on its way may arrive; the ends learn of it each in its time.
    fn cut(&mut self, id: u64) {
        let Some(peer) = self.ends.get(&id).map(|end| end.peer) else {
            return;
        };
        self.note(&Happened::Cut(id));
        for end in [id, peer] {
            let late = if self.chance.hits(100) {
                8_000 * MS
            } else {
                200 * MS
            };
            let mut at = self.now + self.chance.magnitude(late);
            let fin = self.chance.hits(300);
            let Some(known) = self.ends.get_mut(&end) else {
                continue;
            };
            if std::mem::replace(&mut known.cut, true) {
                continue;
            }
            if fin {
                // Behind what is on its way already.
                let other = self.ends.get(if end == id { &peer } else { &id });
                at = at.max(other.map_or(0, |other| other.last_arrival));
            }
            let told = if fin {
                Event::Fin { to: end }
            } else {
                Event::Reset { to: end }
            };
            self.schedule(at, told);
        }
    }

    /// Every stream and listener of a node is gone, and nobody is told: its power failed. Who waits
    /// for room learns of it by a probe.
    pub(super) fn vanish(&mut self, node: usize) {
        self.listeners.retain(|_, listener| listener.node != node);
        self.ends.retain(|_, end| end.node != node);
        let lost = |end: &End| end.in_flight > 0 && !self.ends.contains_key(&end.peer);
        let waiting = self.ends.iter().filter(|(_, end)| lost(end));
        let waiting: Vec<u64> = waiting.map(|(id, _)| *id).collect();
        for to in waiting {
            let after = self.chance.magnitude(10_000 * MS);
            self.schedule(self.now + after, Event::Reset { to });
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
