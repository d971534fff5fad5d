//! Who wins when a peer connects and there is a session with it already (msgr1 §11).
//!
//! One pure function over two small structs: the old session as its home worker sees it, and the
//! peer's attempt. The caller has authenticated the peer and holds the session still.

use std::cmp::Ordering;

/// Where the registered session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Its link is open.
    Open,
    /// It has no link and waits for something to send, or for the peer.
    Standby,
    /// It tries to connect itself, or waits to try again.
    Attempting,
    /// It is being taken over by an earlier attempt of the peer.
    Replacing,
}

/// The session that is registered under the peer's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Existing {
    /// Where it stands.
    pub stage: Stage,
    /// Its policy is lossy.
    pub lossy: bool,
    /// Its policy never connects.
    pub server: bool,
    /// Its incarnation.
    pub connect_seq: u32,
    /// The number of the peer's attempt that it last heard of.
    pub peer_global_seq: u32,
}

/// The peer's attempt, and what the local policy and the two addresses say about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// The number of the attempt.
    pub global_seq: u32,
    /// The incarnation that the peer wants to go on with; 0 for a new session.
    pub connect_seq: u32,
    /// The policy detects that a peer has lost its session.
    pub resetcheck: bool,
    /// The peer's legacy address sorts before the own one (encoding §6.5).
    pub peer_first: bool,
}

/// What to do with the attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Open a new session.
    Open,
    /// End the old, lossy session and open a new one.
    Supersede,
    /// The old session takes the attempt's link. The peer has to connect once more on it, above
    /// this number.
    Replace {
        /// What the peer gets as its answer, with RETRY_GLOBAL.
        global_seq: u32,
        /// The peer has lost its session: numbers start over.
        peer_reset: bool,
        /// The own session is void too, and its owner has to know.
        reset: bool,
    },
    /// The attempt is older than one that was seen: try again above this number.
    RetryGlobal(u32),
    /// The session has a newer incarnation: try again with this one.
    RetrySession(u32),
    /// This side knows no session: start over.
    ResetSession,
    /// The own attempt goes first.
    Wait,
}

/// Decides on an attempt (msgr1 §11, rules 3 and 4; rules 1 and 2 need no session).
#[must_use]
pub fn arbitrate(old: Option<&Existing>, new: &Attempt) -> Decision {
    let Some(old) = old else {
        return if new.connect_seq > 0 {
            Decision::ResetSession
        } else {
            Decision::Open
        };
    };
    if old.stage == Stage::Replacing || new.global_seq < old.peer_global_seq {
        return Decision::RetryGlobal(old.peer_global_seq);
    }
    if old.lossy {
        return Decision::Supersede;
    }
    let replace = Decision::Replace {
        global_seq: old.peer_global_seq,
        peer_reset: false,
        reset: false,
    };
    if new.connect_seq == 0 && old.connect_seq > 0 {
        return Decision::Replace {
            global_seq: old.peer_global_seq,
            peer_reset: true,
            reset: new.resetcheck,
        };
    }
    match new.connect_seq.cmp(&old.connect_seq) {
        Ordering::Less => Decision::RetrySession(old.connect_seq + 1),
        Ordering::Greater if new.resetcheck && old.connect_seq == 0 => Decision::ResetSession,
        Ordering::Greater => replace,
        Ordering::Equal => match old.stage {
            Stage::Open | Stage::Standby if new.resetcheck && old.connect_seq == 0 => replace,
            Stage::Open | Stage::Standby => Decision::RetrySession(old.connect_seq + 1),
            // Both sides try at once: the attempt of the side with the smaller address survives.
            _ if new.peer_first || old.server => replace,
            _ => Decision::Wait,
        },
    }
}
