//! How a messenger treats its peers, by their type (session §4).

use std::sync::Arc;

use crate::throttle::Throttle;
use crate::wire::features;

/// How connections to peers of one type behave.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Policy {
    /// An error ends the connection: nothing is sent again.
    pub lossy: bool,
    /// This side never connects; it waits for the peer to do so.
    pub server: bool,
    /// Feature bits that are offered to the peer.
    pub features_supported: u64,
    /// Feature bits that the peer must offer.
    pub features_required: u64,
    /// Bounds the payload bytes of received messages that exist, over all connections with this
    /// policy.
    pub throttle_bytes: Option<Arc<Throttle>>,
    /// Bounds the number of received messages that exist.
    pub throttle_messages: Option<Arc<Throttle>>,
}

impl Policy {
    /// For whoever connects, and starts over with a new connection when one breaks: clients of
    /// monitors and OSDs, heartbeats.
    #[must_use]
    pub fn lossy_client(features_required: u64) -> Self {
        Self::preset(true, false, features_required)
    }

    /// For whoever is connected to, and keeps nothing of a broken connection.
    #[must_use]
    pub fn stateless_server(features_required: u64) -> Self {
        Self::preset(true, true, features_required)
    }

    fn preset(lossy: bool, server: bool, features_required: u64) -> Self {
        Self {
            lossy,
            server,
            features_supported: features::SUPPORTED,
            features_required,
            throttle_bytes: None,
            throttle_messages: None,
        }
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
