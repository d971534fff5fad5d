//! The table of the workloads (session §16.1, 17a to 17g): who takes part, what is done how often,
//! and which faults are made.

use std::time::Duration;

use async_messenger::wire::EntityType;
use async_messenger::{Inject, Policy};

/// The normal tests do this part of the operations, with times of faults shortened likewise.
const QUICK_PART: u32 = 10;

/// Connections that a quick run begins with. More than [`DROP_MIN`], so that some are dropped.
const QUICK_CONNECTIONS: usize = 24;

/// How long a full run may take to answer what is outstanding at the end; Ceph's limit.
const FULL_DRAIN: Duration = Duration::from_secs(300);
const QUICK_DRAIN: Duration = Duration::from_secs(60);

/// The most connections at a time.
const CONNECTIONS_MAX: usize = 128;

/// With fewer connections none is dropped.
pub(super) const DROP_MIN: usize = 10;

/// The most pings without a pong when something is sent.
pub(super) const OUTSTANDING_MAX: usize = 64;

/// Of 100 operations; what is missing to 100 does nothing.
#[derive(Clone, Copy)]
pub(super) struct Odds {
    pub(super) generate: usize,
    pub(super) drop: usize,
    pub(super) send: usize,
    pub(super) sleep: usize,
}

const COMMON: Odds = Odds {
    generate: 9,
    drop: 10,
    send: 70,
    sleep: 11,
};

/// What the operations are.
#[derive(Clone, Copy)]
pub(super) enum Load {
    /// Drawn by these odds.
    Mixed(Odds),
    /// Large commands only. While so many are sent, and connections stand, networks are congested
    /// so much.
    Large { congested: usize, congestion: u32 },
}

/// A workload.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) servers: usize,
    pub(super) clients: usize,
    /// The default policies of servers and of clients.
    pub(super) server: fn(u64) -> Policy,
    pub(super) client: fn(u64) -> Policy,
    /// Connections that are generated before the operations.
    pub(super) connections: usize,
    pub(super) connections_max: usize,
    pub(super) ops: usize,
    pub(super) load: Load,
    pub(super) inject: Inject,
    /// 0: as by default.
    pub(super) dispatch_throttle_bytes: u64,
    /// How long the outstanding pings may take in the end.
    pub(super) drain: Duration,
}

impl Plan {
    fn new(name: &'static str, [servers, clients]: [usize; 2]) -> Self {
        Self {
            name,
            servers,
            clients,
            server: Policy::stateful_server,
            client: Policy::lossless_client,
            connections: 100,
            connections_max: CONNECTIONS_MAX,
            ops: 1000,
            load: Load::Mixed(COMMON),
            inject: Inject::default(),
            dispatch_throttle_bytes: 0,
            drain: FULL_DRAIN,
        }
    }

    fn peers(self, policy: fn(u64) -> Policy) -> Self {
        self.policies(policy, policy)
    }

    fn policies(mut self, server: fn(u64) -> Policy, client: fn(u64) -> Policy) -> Self {
        (self.server, self.client) = (server, client);
        self
    }

    /// The same with a part of the operations.
    pub(super) fn quick(mut self) -> Self {
        let part = QUICK_PART as usize;
        self.ops /= part;
        self.connections = self.connections.min(QUICK_CONNECTIONS);
        self.inject.internal_delays /= QUICK_PART;
        self.inject.delay_max /= QUICK_PART;
        self.drain = QUICK_DRAIN;
        if let Load::Large { congested, .. } = &mut self.load {
            *congested /= part;
        }
        self
    }

    pub(super) fn is_lossy(&self) -> bool {
        (self.client)(0).lossy
    }

    /// Whether both sides connect, so that a connection has to be dropped at both ends.
    pub(super) fn is_of_peers(&self) -> bool {
        !(self.server)(0).server && !(self.client)(0).server
    }
}

fn failures(one_in: u32) -> Inject {
    Inject {
        socket_failures: one_in,
        internal_delays: Duration::from_millis(100),
        ..Inject::default()
    }
}

pub(super) fn stress() -> Plan {
    Plan {
        ops: 5000,
        ..Plan::new("17a", [8, 32])
    }
}

pub(super) fn stress_1() -> Plan {
    let odds = Odds {
        generate: 19,
        drop: 20,
        send: 50,
        sleep: 11,
    };
    Plan {
        connections: 10,
        ops: 10_000,
        load: Load::Mixed(odds),
        ..Plan::new("17b", [16, 32]).peers(Policy::lossless_peer_reuse)
    }
}

pub(super) fn inject_1() -> Plan {
    Plan {
        inject: failures(30),
        dispatch_throttle_bytes: 16 << 20,
        ..Plan::new("17c", [8, 32])
    }
}

pub(super) fn inject_2() -> Plan {
    Plan {
        inject: failures(30),
        ..Plan::new("17d", [8, 16]).peers(Policy::lossless_peer_reuse)
    }
}

pub(super) fn inject_3() -> Plan {
    Plan {
        inject: failures(600),
        ..Plan::new("17e", [8, 16]).policies(Policy::stateless_server, Policy::lossy_client)
    }
}

pub(super) fn inject_4() -> Plan {
    let odds = Odds {
        generate: 4,
        drop: 0,
        ..COMMON
    };
    let inject = Inject {
        delay_type: vec![EntityType::CLIENT, EntityType::OSD],
        delay_probability: 1.0,
        delay_max: Duration::from_secs(5),
        ..failures(30)
    };
    Plan {
        load: Load::Mixed(odds),
        inject,
        ..Plan::new("17f", [16, 32]).peers(Policy::lossless_peer)
    }
}

pub(super) fn inject_5() -> Plan {
    Plan {
        connections: 2,
        connections_max: 2,
        ops: 5000,
        load: Load::Large {
            congested: 1600,
            congestion: 100,
        },
        ..Plan::new("17g", [1, 8])
    }
}
