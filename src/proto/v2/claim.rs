//! What a connecting side wants, and what it is told (msgr2 §9 and §12).
//!
//! [`vet`] judges a claim as far as the claim alone tells; [`arbitrate`](super::arbitrate) decides
//! what becomes of an older session with the same peer. Policies are not known here.

use super::setup::{REQUIRED, Standing};
use crate::auth::Authenticated;
use crate::wire::{AddrVec, EntityType};

/// What the connector says it is and wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Its addresses, by which its session is known.
    pub peer_addrs: AddrVec,
    /// What it is.
    pub peer_type: EntityType,
    /// Who it has shown to be.
    pub who: Authenticated,
    /// The number of this attempt.
    pub global_seq: u64,
    /// The connecting side's half of the session's name.
    pub client_cookie: u64,
    /// What it wants.
    pub wants: Wants,
}

impl Claim {
    /// How often the session has been reconnected that it wants to go on with; `None` if it wants a
    /// new one.
    #[must_use]
    pub fn connect_seq(&self) -> Option<u64> {
        match self.wants {
            Wants::New { .. } => None,
            Wants::Resume { connect_seq, .. } => Some(connect_seq),
        }
    }
}

/// What a [`Claim`] is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    /// A new session.
    New {
        /// The number in its name.
        gid: i64,
        /// What it offers.
        features: u64,
        /// What it requires.
        required: u64,
        /// Whether its policy is lossy; ours decides.
        lossy: bool,
    },
    /// To go on with a session.
    Resume {
        /// The accepting side's half of the session's name; not to be relied on (msgr2 §12.2).
        server_cookie: u64,
        /// How often the session has been reconnected.
        connect_seq: u64,
        /// The number of the last message that it has received.
        msg_seq: u64,
    },
}

/// Judges a claim as far as it alone tells: its features (msgr2 §9.2).
///
/// # Errors
/// The verdict that it gets.
pub fn vet(claim: &Claim, required: u64) -> Result<(), Verdict> {
    let Wants::New { features, .. } = claim.wants else {
        return Ok(());
    };
    match (required | REQUIRED) & !features {
        0 => Ok(()),
        missing => Err(Verdict::MissingFeatures(missing)),
    }
}

/// What the caller decides on a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A new session opens; only for [`Wants::New`].
    Open {
        /// Our addresses; the one that was dialled is among them.
        addrs: AddrVec,
        /// The number in our name.
        gid: i64,
        /// What we offer.
        features: u64,
        /// What we require.
        required: u64,
        /// The next value of our own counter.
        global_seq: u64,
        /// Whether our policy is lossy.
        lossy: bool,
        /// Our half of the session's name, random and not 0; 0 if our policy is lossy.
        server_cookie: u64,
    },
    /// The session goes on; only for [`Wants::Resume`].
    Resume {
        /// The number of the last message that we have got in it.
        in_seq: u64,
        /// Our half of the session's name.
        server_cookie: u64,
        /// What was agreed on when it began.
        standing: Standing,
    },
    /// It lacks these features.
    MissingFeatures(u64),
    /// There is no such session.
    Reset {
        /// What the connector has queued for it is void too.
        full: bool,
    },
    /// The session has been reconnected this often.
    Retry(u64),
    /// This newer attempt was seen.
    RetryGlobal(u64),
    /// Our own attempt goes first.
    Wait,
}
