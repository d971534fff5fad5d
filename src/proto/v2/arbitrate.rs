//! Who wins when a peer connects and there is a session with it already (msgr2 §12).
//!
//! One pure function over two small structs: the old session as its home worker sees it, and the
//! peer's attempt. The caller has authenticated the peer and holds the session still.
//!
//! | the peer wants | row | condition | decision |
//! |---|---|---|---|
//! | a new session (msgr2 §12.1) | 1 | there is none, or it is closed | [`Open`](Decision::Open) |
//! | | 2 | it is being taken over | [`Wait`](Decision::Wait) |
//! | | 3 | it knows of a newer attempt | [`Stale`](Decision::Stale) |
//! | | 4 | it is lossy | [`Supersede`](Decision::Supersede) |
//! | | 5 | both cookies are known, and the peer has another | [`TakeOver`](Decision::TakeOver), with a reset if that is looked for |
//! | | 6 | the same cookie | `TakeOver` |
//! | | 7 | it is open or rests | `TakeOver` |
//! | | 8 | both connect; the peer's address is smaller, or the own side never connects | `TakeOver` |
//! | | 9 | both connect | `Wait` |
//! | to go on (msgr2 §12.2) | 1, 2 | there is none, or it is closed | [`Reset`](Decision::Reset), full |
//! | | 3 | it is being taken over | [`RetryGlobal`](Decision::RetryGlobal) |
//! | | 4 | another cookie | `Reset`, full if that is looked for |
//! | | 5 | the own side never saw it open | `Reset` |
//! | | 6 | it knows of a newer attempt | `RetryGlobal` |
//! | | 7 | it has been reconnected more often | [`RetrySession`](Decision::RetrySession) |
//! | | 8 | as often; the peer's address is larger, and the own side connects | `Wait` |
//! | | 9 | | [`Resume`](Decision::Resume) |
//!
//! The first row that applies decides.

use std::cmp::Ordering;

use crate::wire::{AddrType, AddrVec, EntityAddr};

/// Where the registered session stands. One that is closed is none.
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

/// The session that is registered under the peer's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Existing {
    /// Where it stands.
    pub stage: Stage,
    /// It is lossy.
    pub lossy: bool,
    /// Its policy never connects.
    pub server: bool,
    /// The half of its name of the side that connected first; 0 if there is none yet.
    pub client_cookie: u64,
    /// The other half; 0 as long as it has not been open.
    pub server_cookie: u64,
    /// How often it has been reconnected.
    pub connect_seq: u64,
    /// The number of the peer's attempt that it last heard of.
    pub peer_global_seq: u64,
}

/// The peer's attempt, and what the local policy and the addresses say about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// The number of the attempt.
    pub global_seq: u64,
    /// The cookie of the side that connected first.
    pub client_cookie: u64,
    /// How often the session has been reconnected; `None` if a new one is wanted.
    pub connect_seq: Option<u64>,
    /// The policy detects that a peer has lost its session.
    pub resetcheck: bool,
    /// How the peer's address compares to the own one, see [`compare`].
    pub peer: Ordering,
}

/// What to do with the attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Open a new session.
    Open,
    /// Close the link without an answer: it was overtaken.
    Stale,
    /// End the old, lossy session and open a new one.
    Supersede,
    /// The old session takes the attempt's link and begins anew on it (msgr2 §12.3).
    TakeOver {
        /// All that it has is void, and its owner has to know.
        reset: bool,
    },
    /// The old session takes the attempt's link and goes on where it was.
    Resume,
    /// This side knows no such session: start over.
    Reset {
        /// What the peer has queued is void too.
        full: bool,
    },
    /// The session has been reconnected this often: try again with more.
    RetrySession(u64),
    /// Try again above this number.
    RetryGlobal(u64),
    /// The own attempt goes first.
    Wait,
}

/// Decides on an attempt.
#[must_use]
pub fn arbitrate(old: Option<&Existing>, new: &Attempt) -> Decision {
    match (new.connect_seq, old) {
        (None, None) => Decision::Open,
        (Some(_), None) => Decision::Reset { full: true },
        (None, Some(old)) => on_ident(old, new),
        (Some(connect_seq), Some(old)) => on_reconnect(old, new, connect_seq),
    }
}

fn on_ident(old: &Existing, new: &Attempt) -> Decision {
    let known = old.server_cookie != 0 && old.client_cookie != 0;
    let settled = matches!(old.stage, Stage::Open | Stage::Standby);
    if old.stage == Stage::Replacing {
        Decision::Wait
    } else if old.peer_global_seq > new.global_seq {
        Decision::Stale
    } else if old.lossy {
        Decision::Supersede
    } else if known && old.client_cookie != new.client_cookie {
        let reset = new.resetcheck;
        Decision::TakeOver { reset }
    } else if old.client_cookie == new.client_cookie
        || settled
        || old.server
        || new.peer == Ordering::Less
    {
        Decision::TakeOver { reset: false }
    } else {
        Decision::Wait
    }
}

fn on_reconnect(old: &Existing, new: &Attempt, connect_seq: u64) -> Decision {
    if old.stage == Stage::Replacing {
        Decision::RetryGlobal(old.peer_global_seq)
    } else if old.client_cookie != new.client_cookie {
        let full = new.resetcheck;
        Decision::Reset { full }
    } else if old.server_cookie == 0 {
        Decision::Reset { full: false }
    } else if old.peer_global_seq > new.global_seq {
        Decision::RetryGlobal(old.peer_global_seq)
    } else if old.connect_seq > connect_seq {
        Decision::RetrySession(old.connect_seq)
    } else if old.connect_seq == connect_seq && new.peer == Ordering::Greater && !old.server {
        Decision::Wait
    } else {
        Decision::Resume
    }
}

/// How the addresses of a peer compare to the own ones in a race: the first of each for v2 counts,
/// byte by byte as they lie in the memory of a little-endian machine (msgr2 §12.4).
#[must_use]
pub fn compare(peer: &AddrVec, own: &AddrVec) -> Ordering {
    let first = |addrs: &AddrVec| -> EntityAddr {
        let mut all = addrs.0.iter().copied();
        all.find(|addr| addr.kind == AddrType::Msgr2)
            .unwrap_or_default()
    };
    first(peer).cmp(&first(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first byte that matters is the last of the nonce as it is written.
    #[test]
    fn addresses_compare_by_their_bytes() {
        let addrs = |text: &str| text.parse::<AddrVec>().unwrap();
        let (a, b) = ("v2:127.0.0.1:6800/16777032", "v2:127.0.0.1:6800/10057");
        assert_eq!((16_777_032, 10_057), (0x00FF_FF48, 0x0000_2749));
        assert_eq!(compare(&addrs(a), &addrs(b)), Ordering::Less);
        assert_eq!(compare(&addrs(b), &addrs(a)), Ordering::Greater);
        let both = addrs("[v1:127.0.0.1:1/16777032,v2:127.0.0.1:6800/10057]");
        assert_eq!(
            compare(&both, &addrs(b)),
            Ordering::Equal,
            "v1 does not count"
        );
        assert_eq!(compare(&AddrVec::default(), &addrs(b)), Ordering::Less);
        // What is an address but no msgr2 one is none.
        let any = addrs("any:127.0.0.1:0/7");
        assert_eq!(compare(&any, &AddrVec::default()), Ordering::Equal);
    }
}
