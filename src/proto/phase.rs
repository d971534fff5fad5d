//! Where a connection stands, whichever version of the protocol it speaks.

use std::fmt;

use super::{v1, v2};

/// A state of one of the two protocols, by the name that Ceph's logs use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Of version 1 (msgr1 §21).
    V1(v1::State),
    /// Of version 2 (msgr2 §10 and §11).
    V2(v2::State),
}

impl Phase {
    /// In the connecting side's handshake.
    #[must_use]
    pub fn is_connecting(self) -> bool {
        match self {
            Self::V1(state) => state < v1::State::StartAccept,
            Self::V2(state) => state < v2::State::StartAccept,
        }
    }

    /// In the connecting side's handshake, before the peer has said anything sensible.
    #[must_use]
    pub fn is_before_hello(self) -> bool {
        match self {
            Self::V1(state) => state <= v1::State::ConnectingWaitBannerAndIdentify,
            Self::V2(state) => state <= v2::State::BannerConnecting,
        }
    }

    /// In the accepting side's handshake, before the peer was let in.
    #[must_use]
    pub fn is_undecided(self) -> bool {
        use {v1::State as V1, v2::State as V2};
        match self {
            Self::V1(state) => (V1::StartAccept..=V1::AcceptingWaitConnectMsgAuth).contains(&state),
            Self::V2(state) => (V2::StartAccept..=V2::SessionAccepting).contains(&state),
        }
    }

    /// Told by the peer to wait for the peer's own connection.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        self == Self::V1(v1::State::Wait) || self == Self::V2(v2::State::Wait)
    }
}

impl From<v1::State> for Phase {
    fn from(state: v1::State) -> Self {
        Self::V1(state)
    }
}

impl From<v2::State> for Phase {
    fn from(state: v2::State) -> Self {
        Self::V2(state)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V1(state) => state.fmt(f),
            Self::V2(state) => state.fmt(f),
        }
    }
}
