//! Every combination against the rows of msgr2 §12.1 and §12.2, written down a second time.

use std::cmp::Ordering;

use async_messenger::proto::v2::{Attempt, Decision, Existing, Stage, arbitrate};

const STAGES: [Stage; 4] = [
    Stage::Open,
    Stage::Standby,
    Stage::Attempting,
    Stage::Replacing,
];
const BOTH: [bool; 2] = [false, true];
const ORDERS: [Ordering; 3] = [Ordering::Less, Ordering::Equal, Ordering::Greater];
const NUMBERS: [u64; 4] = [0, 1, 2, u64::MAX];
const COOKIES: [u64; 3] = [0, 7, 8];

fn attempts() -> Vec<Attempt> {
    let mut all = Vec::new();
    for global_seq in NUMBERS {
        for client_cookie in COOKIES {
            for connect_seq in [None, Some(0), Some(1), Some(2), Some(u64::MAX)] {
                for resetcheck in BOTH {
                    all.extend(ORDERS.map(|peer| Attempt {
                        global_seq,
                        client_cookie,
                        connect_seq,
                        resetcheck,
                        peer,
                    }));
                }
            }
        }
    }
    all
}

fn sessions() -> Vec<Existing> {
    let mut all = Vec::new();
    for stage in STAGES {
        for lossy in BOTH {
            for server in BOTH {
                for client_cookie in COOKIES {
                    for server_cookie in [0, 9] {
                        for connect_seq in NUMBERS {
                            all.extend(NUMBERS.map(|peer_global_seq| Existing {
                                stage,
                                lossy,
                                server,
                                client_cookie,
                                server_cookie,
                                connect_seq,
                                peer_global_seq,
                            }));
                        }
                    }
                }
            }
        }
    }
    all
}

/// A row: its number, when it applies, what it says. The first that applies decides.
type Row = (
    &'static str,
    fn(&Existing, &Attempt) -> bool,
    fn(&Existing, &Attempt) -> Decision,
);

const IDENT: [Row; 8] = [
    (
        "12.1 row 2",
        |e, _| e.stage == Stage::Replacing,
        |_, _| Decision::Wait,
    ),
    (
        "12.1 row 3",
        |e, n| e.peer_global_seq > n.global_seq,
        |_, _| Decision::Stale,
    ),
    ("12.1 row 4", |e, _| e.lossy, |_, _| Decision::Supersede),
    (
        "12.1 row 5",
        |e, n| {
            let known = e.server_cookie != 0 && e.client_cookie != 0;
            known && n.client_cookie != e.client_cookie
        },
        |_, n| Decision::TakeOver {
            reset: n.resetcheck,
        },
    ),
    (
        "12.1 row 6",
        |e, n| e.client_cookie == n.client_cookie,
        |_, _| Decision::TakeOver { reset: false },
    ),
    (
        "12.1 row 7",
        |e, _| e.stage == Stage::Open || e.stage == Stage::Standby,
        |_, _| Decision::TakeOver { reset: false },
    ),
    (
        "12.1 row 8",
        |e, n| n.peer.is_lt() || e.server,
        |_, _| Decision::TakeOver { reset: false },
    ),
    ("12.1 row 9", |_, _| true, |_, _| Decision::Wait),
];

const RECONNECT: [Row; 7] = [
    (
        "12.2 row 3",
        |e, _| e.stage == Stage::Replacing,
        |e, _| Decision::RetryGlobal(e.peer_global_seq),
    ),
    (
        "12.2 row 4",
        |e, n| e.client_cookie != n.client_cookie,
        |_, n| Decision::Reset { full: n.resetcheck },
    ),
    (
        "12.2 row 5",
        |e, _| e.server_cookie == 0,
        |_, _| Decision::Reset { full: false },
    ),
    (
        "12.2 row 6",
        |e, n| e.peer_global_seq > n.global_seq,
        |e, _| Decision::RetryGlobal(e.peer_global_seq),
    ),
    (
        "12.2 row 7",
        |e, n| Some(e.connect_seq) > n.connect_seq,
        |e, _| Decision::RetrySession(e.connect_seq),
    ),
    (
        "12.2 row 8",
        |e, n| Some(e.connect_seq) == n.connect_seq && n.peer.is_gt() && !e.server,
        |_, _| Decision::Wait,
    ),
    ("12.2 row 9", |_, _| true, |_, _| Decision::Resume),
];

#[test]
fn every_combination_is_decided_by_the_first_row_that_applies() {
    let mut used = [[0_usize; 8]; 2];
    for old in sessions() {
        for new in attempts() {
            let (rows, used) = match new.connect_seq {
                None => (&IDENT[..], &mut used[0]),
                Some(_) => (&RECONNECT[..], &mut used[1]),
            };
            let at = rows.iter().position(|(_, applies, _)| applies(&old, &new));
            let at = at.expect("the last row applies always");
            used[at] += 1;
            let (name, _, says) = rows[at];
            assert_eq!(
                arbitrate(Some(&old), &new),
                says(&old, &new),
                "{name}: {old:?} {new:?}"
            );
        }
    }
    for new in attempts() {
        let wanted = match new.connect_seq {
            None => Decision::Open,
            Some(_) => Decision::Reset { full: true },
        };
        assert_eq!(arbitrate(None, &new), wanted, "rows 1 and 2: {new:?}");
    }
    let names = IDENT
        .iter()
        .zip(used[0])
        .chain(RECONNECT.iter().zip(used[1]));
    for ((name, ..), count) in names {
        println!("{count:7} {name}");
        assert_ne!(count, 0, "no combination is for {name}");
    }
    assert_eq!(used.as_flattened().iter().sum::<usize>(), 552_960);
}

/// Two equals that connect at once: each judges the other's attempt by its own session.
#[test]
fn exactly_one_attempt_survives_a_symmetric_race() {
    let mut races = 0;
    for (cookies, server_cookie, connect_seq) in [
        // Neither has been open: each has a cookie of its own, and knows none of the other.
        ([7, 8], 0, None),
        // Both go on with the same session.
        ([7, 7], 9, Some(2)),
    ] {
        for resetcheck in BOTH {
            let decisions = [0, 1].map(|me| {
                let old = Existing {
                    stage: Stage::Attempting,
                    lossy: false,
                    server: false,
                    client_cookie: cookies[me],
                    server_cookie,
                    connect_seq: connect_seq.unwrap_or(0),
                    peer_global_seq: 1,
                };
                let new = Attempt {
                    global_seq: 2,
                    client_cookie: cookies[1 - me],
                    connect_seq,
                    resetcheck,
                    // Side 0 has the smaller address.
                    peer: if me == 0 {
                        Ordering::Greater
                    } else {
                        Ordering::Less
                    },
                };
                arbitrate(Some(&old), &new)
            });
            assert_eq!(decisions[0], Decision::Wait, "its own attempt survives");
            let taken = matches!(
                decisions[1],
                Decision::Resume | Decision::TakeOver { reset: false }
            );
            assert!(taken, "{decisions:?}");
            races += 1;
        }
    }
    assert_eq!(races, 4);
}

/// Who is told to try again is told what gets further.
#[test]
fn a_retry_gets_further() {
    for old in sessions() {
        for new in attempts() {
            match arbitrate(Some(&old), &new) {
                Decision::RetrySession(connect_seq) => {
                    assert!(Some(connect_seq) > new.connect_seq);
                    let Some(next) = connect_seq.checked_add(1) else {
                        continue; // The connecting side gives up.
                    };
                    let again = Attempt {
                        connect_seq: Some(next),
                        ..new
                    };
                    assert_eq!(arbitrate(Some(&old), &again), Decision::Resume);
                }
                Decision::RetryGlobal(above) if old.stage != Stage::Replacing => {
                    assert!(new.global_seq < above);
                    let again = Attempt {
                        global_seq: above.saturating_add(1),
                        ..new
                    };
                    let next = arbitrate(Some(&old), &again);
                    assert!(!matches!(next, Decision::RetryGlobal(_)), "{next:?}");
                }
                Decision::Reset { .. } => {
                    let again = Attempt {
                        connect_seq: None,
                        ..new
                    };
                    let next = arbitrate(Some(&old), &again);
                    assert!(!matches!(next, Decision::Reset { .. }), "{next:?}");
                }
                Decision::Wait => {
                    let busy = matches!(old.stage, Stage::Attempting | Stage::Replacing);
                    assert!(busy || new.connect_seq.is_some(), "{old:?} {new:?}");
                }
                _ => {}
            }
        }
    }
}
