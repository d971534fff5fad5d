//! Runs: what the nodes of a world are, what they do, and what befalls them, all from a seed.
//!
//! A run has two parts. In the first one, messages go both ways while streams break, processes end
//! and start again, clocks jump and connections are closed. Then the faults stop, and whatever was
//! promised has to be kept: all that a lossless session has taken arrives, nothing is left over.

use std::time::Duration;

use super::app::lock;
use super::chance::Chance;
use super::net::{Faults, MS, Nanos};
use super::plant::{self, Plant};
use super::scene::Scene;
use crate::config::{Config, Inject};
use crate::messenger::Policy;
use crate::wire::EntityType;

/// What to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// Decides everything.
    pub seed: u64,
    /// Prints what happens.
    pub print: bool,
    /// A bug to switch on.
    pub plant: Option<Plant>,
    /// The nodes speak version 2 of the protocol.
    pub v2: bool,
}

/// What came of a [`Run`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What was wrong, if anything.
    pub wrong: Option<String>,
    /// Stands for all that has happened.
    pub hash: u64,
    /// How many steps it took.
    pub steps: u64,
    /// Messages that were delivered.
    pub messages: u64,
    /// Links that broke, handshakes that failed.
    pub faults: u64,
    /// Simulated time.
    pub time: Duration,
}

impl Run {
    /// The run of a seed, without a planted bug.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Runs it.
    #[must_use]
    pub fn go(self) -> Outcome {
        plant::set(self.plant);
        let mut scene = Scene::new(self.seed, self.print, self.v2);
        let wrong = scene.play().err();
        let outcome = Outcome {
            wrong: wrong.map(|wrong| format!("MSGR_SEED={} ({scene}): {wrong}", self.seed)),
            hash: scene.world.trace_hash(),
            steps: scene.world.steps(),
            messages: lock(&scene.ledger).messages,
            faults: scene.faults,
            time: scene.world.now(),
        };
        // With the plant: what is dropped here is a part of the run.
        drop(scene);
        plant::set(None);
        outcome
    }
}

/// How two sides treat each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pair {
    Stateless,
    Registered,
    Stateful,
    Peers,
    ReusedPeers,
}

pub(super) const PAIRS: [Pair; 5] = [
    Pair::Stateless,
    Pair::Registered,
    Pair::Stateful,
    Pair::Peers,
    Pair::ReusedPeers,
];

impl Pair {
    pub(super) fn is_lossless(self) -> bool {
        !matches!(self, Self::Stateless | Self::Registered)
    }

    pub(super) fn are_peers(self) -> bool {
        matches!(self, Self::Peers | Self::ReusedPeers)
    }

    pub(super) fn policy(self, server: bool) -> Policy {
        match (self, server) {
            (Self::Stateless, true) => Policy::stateless_server(0),
            (Self::Registered, true) => Policy::stateless_registered_server(0),
            (Self::Stateless | Self::Registered, false) => Policy::lossy_client(0),
            (Self::Stateful, true) => Policy::stateful_server(0),
            (Self::Stateful, false) => Policy::lossless_client(0),
            (Self::Peers, _) => Policy::lossless_peer(0),
            (Self::ReusedPeers, _) => Policy::lossless_peer_reuse(0),
        }
    }
}

/// How likely each thing to do is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) crashes: u64,
    pub(super) hang_ups: u64,
    pub(super) jumps: u64,
    /// A process that starts again has the nonce that it had.
    pub(super) same_nonce: bool,
    pub(super) acts: u64,
    /// The longest pause between two acts.
    pub(super) pause: Nanos,
}

pub(super) fn config(chance: &mut Chance) -> Config {
    Config {
        workers: chance.pick(&[1, 1, 2, 3]),
        receive_buffer: 64 << 10,
        inline_send: chance.hits(700),
        initial_backoff: Duration::from_nanos(chance.pick(&[5 * MS, 200 * MS])),
        max_backoff: Duration::from_nanos(chance.pick(&[200 * MS, 3_000 * MS])),
        dispatch_throttle_bytes: chance.pick(&[0, 10_000, 100 << 20]),
        dispatch_throttle_messages: chance.pick(&[0, 2, 1 << 16]),
        send_queue_messages: chance.pick(&[30, 1 << 16]),
        bind_retry_count: 1,
        inject: inject(chance),
        ..Config::default()
    }
}

/// Faults that the messenger makes itself; they do not end with the others.
fn inject(chance: &mut Chance) -> Inject {
    if chance.hits(700) {
        return Inject::default();
    }
    Inject {
        socket_failures: chance.pick(&[0, 0, 300]),
        delay_type: vec![EntityType::OSD, EntityType::CLIENT],
        delay_probability: chance.pick(&[0.0, 0.02, 0.3]),
        delay_max: Duration::from_nanos(chance.pick(&[MS, 100 * MS])),
        network_congestion: chance.pick(&[0, 0, 3]),
        seed: Some(chance.next()),
        ..Inject::default()
    }
}

pub(super) fn faults(chance: &mut Chance) -> Faults {
    if chance.hits(150) {
        return Faults::default();
    }
    Faults {
        cuts: chance.pick(&[0, 200, 500, 800]),
        refusals: chance.pick(&[0, 100]),
        accept_failures: chance.pick(&[0, 50]),
        stalls: chance.pick(&[0, 0, 5, 30]),
        short: chance.pick(&[0, 100, 400]),
        spurious: chance.pick(&[0, 20]),
        preemptions: chance.pick(&[0, 20]),
        window: chance.pick(&[0, 0, 1_000, 16_000]),
    }
}
