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
        Ordering::Less => newer(old),
        Ordering::Greater if new.resetcheck && old.connect_seq == 0 => Decision::ResetSession,
        Ordering::Greater => replace,
        Ordering::Equal => match old.stage {
            Stage::Open | Stage::Standby if new.resetcheck && old.connect_seq == 0 => replace,
            Stage::Open | Stage::Standby => newer(old),
            // Both sides try at once: the attempt of the side with the smaller address survives.
            _ if new.peer_first || old.server => replace,
            _ => Decision::Wait,
        },
    }
}

/// Has the peer ask for the next incarnation. Only a peer that chose its numbers badly gets the
/// session to the last one; it has to start over.
fn newer(old: &Existing) -> Decision {
    let next = old.connect_seq.checked_add(1);
    next.map_or(Decision::ResetSession, Decision::RetrySession)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = u32::MAX;
    /// Incarnations: none yet, small ones on each side of another, and the end of the range.
    const INCARNATIONS: [u32; 6] = [0, 1, 2, 3, MAX - 1, MAX];
    const ATTEMPTS: [u32; 5] = [0, 1, 2, 3, MAX];
    const STAGES: [Stage; 4] = [
        Stage::Open,
        Stage::Standby,
        Stage::Attempting,
        Stage::Replacing,
    ];
    const BOTH: [bool; 2] = [false, true];

    /// Every attempt that differs in what the rules look at.
    fn attempts() -> Vec<Attempt> {
        let mut all = Vec::new();
        for global_seq in ATTEMPTS {
            for connect_seq in INCARNATIONS {
                for resetcheck in BOTH {
                    all.extend(BOTH.map(|peer_first| Attempt {
                        global_seq,
                        connect_seq,
                        resetcheck,
                        peer_first,
                    }));
                }
            }
        }
        all
    }

    /// Every session that differs in what the rules look at.
    fn sessions() -> Vec<Existing> {
        let mut all = Vec::new();
        for stage in STAGES {
            for connect_seq in INCARNATIONS {
                for peer_global_seq in ATTEMPTS {
                    for lossy in BOTH {
                        all.extend(BOTH.map(|server| Existing {
                            stage,
                            lossy,
                            server,
                            connect_seq,
                            peer_global_seq,
                        }));
                    }
                }
            }
        }
        all
    }

    fn replace(old: &Existing, peer_reset: bool, reset: bool) -> Decision {
        Decision::Replace {
            global_seq: old.peer_global_seq,
            peer_reset,
            reset,
        }
    }

    /// A rule of msgr1 §11: its number, when it applies, what it says. The first that applies
    /// decides.
    type Rule = (
        &'static str,
        fn(&Existing, &Attempt) -> bool,
        fn(&Existing) -> Decision,
    );

    fn settled(old: &Existing) -> bool {
        matches!(old.stage, Stage::Open | Stage::Standby)
    }

    const RULES: [Rule; 14] = [
        (
            "3.2 taken over already",
            |e, _| e.stage == Stage::Replacing,
            |e| Decision::RetryGlobal(e.peer_global_seq),
        ),
        (
            "3.3 stale",
            |e, m| e.peer_global_seq > m.global_seq,
            |e| Decision::RetryGlobal(e.peer_global_seq),
        ),
        ("3.4 lossy", |e, _| e.lossy, |_| Decision::Supersede),
        (
            "3.5 the peer forgot, and that is looked for",
            |e, m| m.resetcheck && m.connect_seq == 0 && e.connect_seq != 0,
            |e| replace(e, true, true),
        ),
        (
            "3.5 the peer forgot",
            |e, m| m.connect_seq == 0 && e.connect_seq != 0,
            |e| replace(e, true, false),
        ),
        (
            "beyond the rules: behind the last incarnation",
            |e, m| e.connect_seq == MAX && m.connect_seq != MAX,
            |_| Decision::ResetSession,
        ),
        (
            "3.6 older incarnation",
            |e, m| i64::from(m.connect_seq) - i64::from(e.connect_seq) < 0,
            |e| Decision::RetrySession(e.connect_seq.wrapping_add(1)),
        ),
        (
            "3.7 same, settled, never used, and that is looked for",
            |e, m| {
                m.connect_seq == e.connect_seq && settled(e) && m.resetcheck && e.connect_seq == 0
            },
            |e| replace(e, false, false),
        ),
        (
            "beyond the rules: the last incarnation, settled",
            |e, m| e.connect_seq == MAX && m.connect_seq == MAX && settled(e),
            |_| Decision::ResetSession,
        ),
        (
            "3.7 same, settled",
            |e, m| m.connect_seq == e.connect_seq && settled(e),
            |e| Decision::RetrySession(e.connect_seq.wrapping_add(1)),
        ),
        (
            "3.7 race, the peer's attempt survives",
            |e, m| m.connect_seq == e.connect_seq && (m.peer_first || e.server),
            |e| replace(e, false, false),
        ),
        (
            "3.7 race, the own attempt survives",
            |e, m| m.connect_seq == e.connect_seq,
            |_| Decision::Wait,
        ),
        (
            "3.8 newer than nothing, and that is looked for",
            |e, m| m.resetcheck && e.connect_seq == 0,
            |_| Decision::ResetSession,
        ),
        ("3.8 newer", |_, _| true, |e| replace(e, false, false)),
    ];

    #[test]
    fn every_combination_is_decided_by_the_first_rule_that_applies() {
        let mut used = [0; RULES.len()];
        for old in sessions() {
            for new in attempts() {
                let at = RULES.iter().position(|(_, applies, _)| applies(&old, &new));
                let at = at.expect("the last rule applies always");
                used[at] += 1;
                let (name, _, says) = RULES[at];
                assert_eq!(
                    arbitrate(Some(&old), &new),
                    says(&old),
                    "{name}: {old:?} {new:?}"
                );
            }
        }
        for new in attempts() {
            let wanted = if new.connect_seq == 0 {
                Decision::Open
            } else {
                Decision::ResetSession
            };
            assert_eq!(arbitrate(None, &new), wanted, "rule 4: {new:?}");
        }
        assert_eq!(used.iter().sum::<usize>(), 57_600);
        for (count, (name, ..)) in used.iter().zip(RULES) {
            println!("{count:6} {name}");
            assert_ne!(*count, 0, "no combination is for rule {name}");
        }
    }

    /// An open session in its second incarnation, made by the peer's fifth attempt.
    const OLD: Existing = Existing {
        stage: Stage::Open,
        lossy: false,
        server: false,
        connect_seq: 2,
        peer_global_seq: 5,
    };
    /// An attempt to go on with [`OLD`] after its link broke.
    const NEW: Attempt = Attempt {
        global_seq: 6,
        connect_seq: 3,
        resetcheck: true,
        peer_first: false,
    };
    const REPLACE: Decision = Decision::Replace {
        global_seq: 5,
        peer_reset: false,
        reset: false,
    };

    fn check(old: Existing, new: Attempt, decision: Decision) {
        assert_eq!(arbitrate(Some(&old), &new), decision);
    }

    #[test]
    fn no_session_and_a_new_one_is_asked_for_opens() {
        let new = Attempt {
            connect_seq: 0,
            ..NEW
        };
        assert_eq!(arbitrate(None, &new), Decision::Open);
    }

    #[test]
    fn no_session_and_an_old_one_is_asked_for_resets() {
        assert_eq!(arbitrate(None, &NEW), Decision::ResetSession);
    }

    #[test]
    fn a_session_being_taken_over_wants_a_later_attempt() {
        let old = Existing {
            stage: Stage::Replacing,
            lossy: true,
            ..OLD
        };
        check(old, NEW, Decision::RetryGlobal(5));
    }

    #[test]
    fn an_attempt_that_was_overtaken_is_stale_and_the_same_again_is_not() {
        for (global_seq, decision) in [(4, Decision::RetryGlobal(5)), (5, REPLACE)] {
            check(OLD, Attempt { global_seq, ..NEW }, decision);
        }
    }

    #[test]
    fn a_lossy_session_makes_way() {
        check(Existing { lossy: true, ..OLD }, NEW, Decision::Supersede);
    }

    #[test]
    fn a_peer_that_forgot_the_session_resets_it_only_where_that_is_looked_for() {
        for resetcheck in BOTH {
            let new = Attempt {
                connect_seq: 0,
                resetcheck,
                ..NEW
            };
            check(OLD, new, replace(&OLD, true, resetcheck));
        }
    }

    #[test]
    fn an_older_incarnation_is_told_the_next_one() {
        let new = Attempt {
            connect_seq: 1,
            ..NEW
        };
        check(OLD, new, Decision::RetrySession(3));
    }

    #[test]
    fn the_same_incarnation_is_told_the_next_one_if_nothing_is_on_its_way() {
        for stage in [Stage::Open, Stage::Standby] {
            let new = Attempt {
                connect_seq: 2,
                peer_first: true,
                ..NEW
            };
            check(Existing { stage, ..OLD }, new, Decision::RetrySession(3));
        }
    }

    #[test]
    fn a_session_that_never_was_open_is_taken_over_where_resets_are_looked_for() {
        let old = Existing {
            stage: Stage::Standby,
            connect_seq: 0,
            ..OLD
        };
        for (resetcheck, decision) in [(true, REPLACE), (false, Decision::RetrySession(1))] {
            let new = Attempt {
                connect_seq: 0,
                resetcheck,
                ..NEW
            };
            check(old, new, decision);
        }
    }

    #[test]
    fn the_attempt_of_the_smaller_address_survives_a_race() {
        let old = Existing {
            stage: Stage::Attempting,
            ..OLD
        };
        let new = Attempt {
            connect_seq: 2,
            ..NEW
        };
        check(old, new, Decision::Wait);
        let first = Attempt {
            peer_first: true,
            ..new
        };
        check(old, first, REPLACE);
        check(
            Existing {
                server: true,
                ..old
            },
            new,
            REPLACE,
        );
    }

    #[test]
    fn a_newer_incarnation_takes_over() {
        for stage in [Stage::Open, Stage::Standby, Stage::Attempting] {
            check(Existing { stage, ..OLD }, NEW, REPLACE);
        }
    }

    #[test]
    fn a_newer_incarnation_of_a_session_that_never_was_open_is_void_where_that_is_looked_for() {
        let old = Existing {
            connect_seq: 0,
            ..OLD
        };
        check(old, NEW, Decision::ResetSession);
        let new = Attempt {
            resetcheck: false,
            ..NEW
        };
        check(old, new, REPLACE);
    }

    #[test]
    fn there_is_no_incarnation_behind_the_last() {
        let old = Existing {
            connect_seq: MAX,
            ..OLD
        };
        for connect_seq in [1, MAX - 1, MAX] {
            let new = Attempt { connect_seq, ..NEW };
            check(old, new, Decision::ResetSession);
        }
    }

    /// Who is told to try again is told something that differs from what it tried, and does not
    /// get the same answer for it.
    #[test]
    fn a_retry_gets_further() {
        for old in sessions() {
            for new in attempts() {
                match arbitrate(Some(&old), &new) {
                    Decision::RetrySession(connect_seq) => {
                        assert!(connect_seq > new.connect_seq, "{old:?} {new:?}");
                        let again = Attempt { connect_seq, ..new };
                        check(old, again, replace(&old, false, false));
                    }
                    Decision::RetryGlobal(above) => {
                        let stale = new.global_seq < above;
                        assert!(
                            stale || old.stage == Stage::Replacing,
                            "{old:?} {new:?} was not stale"
                        );
                        let again = Attempt {
                            global_seq: above.saturating_add(1),
                            ..new
                        };
                        let taken = Existing {
                            stage: Stage::Standby,
                            ..old
                        };
                        let next = arbitrate(Some(&taken), &again);
                        assert!(!matches!(next, Decision::RetryGlobal(_)), "{next:?}");
                    }
                    Decision::ResetSession => {
                        assert_ne!(new.connect_seq, 0, "there is nothing to reset");
                        let again = Attempt {
                            connect_seq: 0,
                            ..new
                        };
                        let next = arbitrate(Some(&old), &again);
                        let further = matches!(next, Decision::Replace { .. } | Decision::Wait);
                        assert!(further, "{next:?} for {old:?} {again:?}");
                    }
                    Decision::Wait => {
                        assert_eq!(old.stage, Stage::Attempting, "nothing to wait for");
                        assert!(!old.server, "a server's own attempt does not exist");
                    }
                    Decision::Open => panic!("{old:?} was overlooked for {new:?}"),
                    Decision::Supersede | Decision::Replace { .. } => {}
                }
            }
        }
    }

    /// Two equals that try at once: each judges the other's attempt by its own session.
    #[test]
    fn exactly_one_attempt_survives_a_symmetric_race() {
        let mut races = 0;
        for connect_seq in INCARNATIONS {
            for resetcheck in BOTH {
                for seen in ATTEMPTS {
                    let session = Existing {
                        stage: Stage::Attempting,
                        connect_seq,
                        peer_global_seq: seen,
                        ..OLD
                    };
                    let decisions = BOTH.map(|peer_first| {
                        let attempt = Attempt {
                            global_seq: seen.saturating_add(1),
                            connect_seq,
                            resetcheck,
                            peer_first,
                        };
                        arbitrate(Some(&session), &attempt)
                    });
                    assert_eq!(decisions[0], Decision::Wait);
                    assert_eq!(decisions[1], replace(&session, false, false));
                    races += 1;
                }
            }
        }
        assert_eq!(races, 60);
    }

    /// Two that try at once with different incarnations are never both told to wait.
    #[test]
    fn in_an_unequal_race_nobody_waits() {
        for old in sessions() {
            for new in attempts() {
                if old.connect_seq != new.connect_seq {
                    assert_ne!(arbitrate(Some(&old), &new), Decision::Wait);
                }
            }
        }
    }
}
