//! Faults made on purpose: what of them, how often, and from which seed.
//!
//! Plain data; who makes the faults rolls the dice.

use std::time::Duration;

use crate::wire::EntityType;

/// Faults made on purpose (`ms_inject_*`), to test what runs above a messenger.
///
/// All are off by default.
#[derive(Clone, PartialEq, Debug)]
pub struct Inject {
    /// One of so many socket operations ends its link; 0 is off (`ms_inject_socket_failures`).
    pub socket_failures: u32,

    /// How long to wait where a race is likely; 0 is off (`ms_inject_internal_delays`).
    pub internal_delays: Duration,

    /// Types of peers whose messages go through a delay line (`ms_inject_delay_type`).
    pub delay_type: Vec<EntityType>,

    /// The probability that a message waits on that line, 0 to 1 (`ms_inject_delay_probability`).
    pub delay_probability: f64,

    /// The longest wait on that line (`ms_inject_delay_max`). Default 1 s.
    pub delay_max: Duration,

    /// A turn of writing is skipped with probability (N − 1)/N; 0 and 1 are off
    /// (`ms_inject_network_congestion`).
    pub network_congestion: u32,

    /// Messages to and from OSDs vanish (`ms_blackhole_osd`).
    pub blackhole_osd: bool,

    /// Messages to and from monitors vanish (`ms_blackhole_mon`).
    pub blackhole_mon: bool,

    /// Messages to and from metadata servers vanish (`ms_blackhole_mds`).
    pub blackhole_mds: bool,

    /// Messages to and from managers vanish (`ms_blackhole_mgr`; it has no effect in Ceph).
    pub blackhole_mgr: bool,

    /// Messages to and from clients vanish (`ms_blackhole_client`).
    pub blackhole_client: bool,

    /// What the dice start from; without it they are drawn. Ceph has no such option.
    pub seed: Option<u64>,
}

impl Default for Inject {
    fn default() -> Self {
        Self {
            socket_failures: 0,
            internal_delays: Duration::ZERO,
            delay_type: Vec::new(),
            delay_probability: 0.0,
            delay_max: Duration::from_secs(1),
            network_congestion: 0,
            blackhole_osd: false,
            blackhole_mon: false,
            blackhole_mds: false,
            blackhole_mgr: false,
            blackhole_client: false,
            seed: None,
        }
    }
}
