//! What has happened in a run, as a hash and, if wanted, as text.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Hashes everything that happens; two runs of one seed have the same hash.
pub(super) struct Trace {
    hasher: DefaultHasher,
    print: bool,
    count: u64,
}

/// Something that happened. Numbers name nodes, workers and the ends of streams.
#[derive(Hash, Debug)]
pub(super) enum Happened {
    Turn(usize),
    Dispatch(usize),
    Jump(usize, u64),
    Connect(u64, u64),
    Refuse(u64),
    Open(u64),
    Accept(u64),
    Write(u64, usize),
    Arrive(u64, usize, u32),
    Read(u64, usize),
    Fin(u64),
    Reset(u64),
    Cut(u64),
    Close(u64),
    Crash(usize, bool),
    Restart(usize, u32),
    Told(String),
    Message(String),
    Send(String),
    Act(String),
}

impl Trace {
    pub(super) fn new(print: bool) -> Self {
        Self {
            hasher: DefaultHasher::new(),
            print,
            count: 0,
        }
    }

    pub(super) fn note(&mut self, at: u64, what: &Happened) {
        (at, what).hash(&mut self.hasher);
        self.count += 1;
        if self.print {
            println!("{:>14.6} {what:?}", at as f64 / 1e9);
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({:016x} after {})", self.hash(), self.count)
    }
}
