//! The event driver of the simulated network.
//!
//! It never waits: the world steps whoever has something to do. A world's drivers are either
//! edge-triggered, like epoll with `EPOLLET`, or one-shot, like poll with a mask; both keep the
//! contract of [`EventDriver`], and each forgives other mistakes of the code above.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use event_driver::{Event, EventDriver, Interest, Readiness, Source, Token, Waker};

use super::net::{Condition, Net, Wire, net};

/// What one driver watches; kept with the network, so that the world can ask whether it is ready.
pub(super) struct Watches {
    /// Reports a direction when something new has happened to it; otherwise once per `rearm`.
    edge: bool,
    by_slot: BTreeMap<u32, Watch>,
}

#[derive(Clone, Copy)]
struct Watch {
    token: Token,
    source: u64,
    armed: Interest,
    /// The news that were reported, by direction.
    seen: [u64; 2],
}

const DIRECTIONS: [(Interest, Readiness); 2] = [
    (Interest::READ, Readiness::READ),
    (Interest::WRITE, Readiness::WRITE),
];

impl Watches {
    pub(super) fn new(edge: bool) -> Self {
        Self {
            edge,
            by_slot: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_slot.len()
    }

    pub(super) fn clear(&mut self) {
        self.by_slot.clear();
    }

    fn find(&mut self, token: Token) -> io::Result<&mut Watch> {
        let watch = self.by_slot.get_mut(&token.slot);
        watch
            .filter(|watch| watch.token == token)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Watch {
    fn ready(&self, edge: bool, is: Condition) -> Readiness {
        let mut ready = Readiness::NONE;
        for (at, (interest, readiness)) in DIRECTIONS.into_iter().enumerate() {
            let state = [is.readable, is.writable][at] || is.failed;
            let armed = self.armed.contains(interest) || is.failed && !self.armed.is_empty();
            if armed && state && (!edge || is.news[at] > self.seen[at]) {
                ready |= readiness;
            }
        }
        if ready.contains(Readiness::READ) && is.hup {
            ready |= Readiness::HUP;
        }
        if !ready.is_empty() && is.failed {
            ready |= Readiness::ERR | Readiness::READ | Readiness::WRITE;
        }
        ready
    }
}

impl Net {
    /// Whether a driver has something to report.
    pub(super) fn is_ready(&self, driver: usize) -> bool {
        let watches = &self.watches[driver];
        let mut all = watches.by_slot.values();
        all.any(|watch| {
            !watch
                .ready(watches.edge, self.condition(watch.source))
                .is_empty()
        })
    }

    fn report(&mut self, driver: usize, out: &mut Vec<Event>) {
        let slots: Vec<u32> = self.watches[driver].by_slot.keys().copied().collect();
        let first = self.chance.below(slots.len() as u64) as usize;
        for slot in slots[first..].iter().chain(&slots[..first]) {
            let (edge, mut watch) = {
                let watches = &self.watches[driver];
                (watches.edge, watches.by_slot[slot])
            };
            let is = self.condition(watch.source);
            let mut ready = watch.ready(edge, is);
            if ready.is_empty() && self.chance.hits(self.faults.spurious) {
                ready = armed(watch.armed);
            }
            if ready.is_empty() {
                continue;
            }
            for (at, (interest, readiness)) in DIRECTIONS.into_iter().enumerate() {
                if ready.contains(readiness) {
                    watch.seen[at] = is.news[at];
                    if !edge {
                        watch.armed = watch.armed.without(interest);
                    }
                }
            }
            let token = watch.token;
            self.watches[driver].by_slot.insert(*slot, watch);
            out.push(Event { token, ready });
        }
    }
}

fn armed(interest: Interest) -> Readiness {
    let mut all = Readiness::NONE;
    for (direction, readiness) in DIRECTIONS {
        if interest.contains(direction) {
            all |= readiness;
        }
    }
    all
}

/// The driver of one worker.
pub(super) struct SimDriver {
    wire: Wire,
    at: usize,
}

impl SimDriver {
    pub(super) fn new(wire: &Wire, at: usize) -> Self {
        let wire = Wire::clone(wire);
        Self { wire, at }
    }

    fn with<R>(&self, call: impl FnOnce(&mut Watches) -> R) -> R {
        call(&mut net(&self.wire).watches[self.at])
    }
}

impl EventDriver for SimDriver {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn add(&mut self, source: Source, token: Token, interest: Interest) -> io::Result<()> {
        let Source::Virtual(source) = source else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.with(|watches| {
            let all = &mut watches.by_slot;
            let taken = all.values().any(|watch| watch.source == source);
            if taken || all.contains_key(&token.slot) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let watch = Watch {
                token,
                source,
                armed: interest,
                seen: [0, 0],
            };
            all.insert(token.slot, watch);
            Ok(())
        })
    }

    fn rearm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.with(|watches| {
            let watch = watches.find(token)?;
            for (at, (direction, _)) in DIRECTIONS.into_iter().enumerate() {
                // As the kernel does when it is told a new mask: it looks at the source again.
                if interest.contains(direction) && !watch.armed.contains(direction) {
                    watch.seen[at] = 0;
                }
            }
            watch.armed |= interest;
            Ok(())
        })
    }

    fn disarm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.with(|watches| {
            let watch = watches.find(token)?;
            watch.armed = watch.armed.without(interest);
            Ok(())
        })
    }

    fn delete(&mut self, token: Token) -> io::Result<()> {
        self.with(|watches| {
            watches.find(token)?;
            watches.by_slot.remove(&token.slot);
            Ok(())
        })
    }

    fn wait(&mut self, out: &mut Vec<Event>, _: Option<Duration>) -> io::Result<()> {
        out.clear();
        net(&self.wire).report(self.at, out);
        Ok(())
    }

    fn waker(&self) -> Waker {
        // Nobody sleeps: the world looks at every inbox.
        Waker::new(|| {})
    }
}
