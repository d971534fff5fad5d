//! How a messenger treats its peers, by their type (session §4).

use std::sync::Arc;
use std::time::Duration;

use crate::throttle::Throttle;
use crate::wire::features;

/// How connections to peers of one type behave.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Policy {
    /// An error ends the connection: nothing is sent again, nothing is acknowledged.
    pub lossy: bool,
    /// This side never connects; it waits for the peer to do so.
    pub server: bool,
    /// After an error with nothing to send, wait for something instead of reconnecting.
    pub standby: bool,
    /// Detect that the peer has lost its session, and reset the own one.
    pub resetcheck: bool,
    /// As a lossy server, have at most one connection of each client address.
    pub register_lossy: bool,
    /// Feature bits that are offered to the peer.
    pub features_supported: u64,
    /// Feature bits that the peer must offer.
    pub features_required: u64,
    /// Bounds the payload bytes of received messages that exist, over all connections with this
    /// policy.
    pub throttle_bytes: Option<Arc<Throttle>>,
    /// Bounds the number of received messages that exist.
    pub throttle_messages: Option<Arc<Throttle>>,
    /// A message that has waited longer than this to be sent is dropped instead
    /// ([`Stats::expired`](crate::Stats)): for heartbeats, which say nothing when they are late.
    /// What a lossless session has sent once is not concerned. Ceph has no such limit.
    pub send_age_max: Option<Duration>,
}

impl Policy {
    /// For whoever connects, and starts over with a new connection when one breaks: clients of
    /// monitors and OSDs, heartbeats.
    #[must_use]
    pub fn lossy_client(features_required: u64) -> Self {
        Self::preset([true, false, false, false, true], features_required)
    }

    /// For whoever connects, and wants its messages to survive a broken link: file-system clients.
    #[must_use]
    pub fn lossless_client(features_required: u64) -> Self {
        Self::preset([false, false, false, true, true], features_required)
    }

    /// For equals, each of which may connect: OSDs among themselves. Both have to be bound: who is
    /// told to wait for the other's connection waits for ever if there cannot be one.
    #[must_use]
    pub fn lossless_peer(features_required: u64) -> Self {
        Self::preset([false, false, true, false, true], features_required)
    }

    /// As [`lossless_peer`](Self::lossless_peer), and a peer that was restarted is noticed:
    /// monitors among themselves.
    #[must_use]
    pub fn lossless_peer_reuse(features_required: u64) -> Self {
        Self::preset([false, false, true, true, true], features_required)
    }

    /// For whoever is connected to, and keeps its session with each client: metadata servers.
    #[must_use]
    pub fn stateful_server(features_required: u64) -> Self {
        Self::preset([false, true, true, true, true], features_required)
    }

    /// For whoever is connected to, and keeps nothing of a broken connection.
    #[must_use]
    pub fn stateless_server(features_required: u64) -> Self {
        Self::preset([true, true, false, false, false], features_required)
    }

    /// As [`stateless_server`](Self::stateless_server), with one connection of each client address
    /// at most: the public side of OSDs.
    #[must_use]
    pub fn stateless_registered_server(features_required: u64) -> Self {
        Self::preset([true, true, false, false, true], features_required)
    }

    /// Fields in the order of their declaration.
    fn preset(fields: [bool; 5], features_required: u64) -> Self {
        let [lossy, server, standby, resetcheck, register_lossy] = fields;
        Self {
            lossy,
            server,
            standby,
            resetcheck,
            register_lossy,
            features_supported: features::SUPPORTED,
            features_required,
            throttle_bytes: None,
            throttle_messages: None,
            send_age_max: None,
        }
    }

    /// Accepted connections are nobody's session: no look-up by address.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.server && self.lossy && !self.register_lossy
    }

    /// Drops messages that have waited longer than this to be sent.
    #[must_use]
    pub fn with_send_age_max(mut self, limit: Duration) -> Self {
        self.send_age_max = Some(limit);
        self
    }

    /// Bounds the received messages that exist at a time, by payload bytes and by number.
    #[must_use]
    pub fn with_throttles(
        mut self,
        bytes: Option<Arc<Throttle>>,
        messages: Option<Arc<Throttle>>,
    ) -> Self {
        self.throttle_bytes = bytes;
        self.throttle_messages = messages;
        self
    }
}
