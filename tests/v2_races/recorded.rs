//! The decisions of two real OSDs whose sockets drop now and then, against ours.
//!
//! Only bytes were recorded, not what the daemons knew. So each OSD is followed by the set of all
//! states in which its session can be: open still, at rest, or on its own way to reconnect, once or
//! several times. What it sends or answers rules states out, and some state must remain.
//!
//! OSDs do not look for resets of each other (`lossless_peer`).

use async_messenger::proto::v2::{
    Attempt, Control, Decision, Existing, Reconnect, Stage, arbitrate, compare, tag,
};
use async_messenger::wire::{AddrVec, EntityAddr};

use super::tap::{Connection, connections};

/// How often an OSD may have failed to reconnect, unseen, before the next thing that is seen.
const UNSEEN_MAX: u64 = 3;

/// One request and its answer.
type Round = (Control, Option<Control>);

/// What is known of the session on one side.
#[derive(Debug)]
struct Osd {
    addrs: AddrVec,
    states: Vec<Existing>,
}

impl Osd {
    /// Time has passed: links may have been lost, and attempts may have been begun.
    fn pass(&mut self) {
        let mut states = Vec::new();
        for old in std::mem::take(&mut self.states) {
            states.push(old);
            states.push(Existing {
                stage: Stage::Standby,
                ..old
            });
            states.extend((0..=UNSEEN_MAX).map(|more| Existing {
                stage: Stage::Attempting,
                connect_seq: old.connect_seq + more,
                ..old
            }));
        }
        // A link that was lost counts as one, before the first attempt.
        states.retain(|s| s.stage != Stage::Attempting || s.connect_seq > 0);
        states.dedup();
        self.states = states;
    }
}

fn rounds(connection: &Connection) -> Vec<Round> {
    let sessions = |side: usize| {
        let controls = connection.frames[side].iter().filter_map(|f| f.control());
        controls.filter(|c| (tag::CLIENT_IDENT..=tag::WAIT).contains(&c.tag()))
    };
    let mut answers = sessions(1);
    sessions(0).map(|asked| (asked, answers.next())).collect()
}

fn is_said(decision: Decision, answer: &Control) -> bool {
    match decision {
        Decision::Open | Decision::TakeOver { .. } | Decision::Supersede => {
            matches!(answer, Control::ServerIdent(_))
        }
        Decision::Resume => matches!(answer, Control::SessionReconnectOk { .. }),
        Decision::Reset { full } => *answer == Control::SessionReset { full },
        Decision::RetrySession(connect_seq) => *answer == Control::SessionRetry { connect_seq },
        Decision::RetryGlobal(global_seq) => *answer == Control::SessionRetryGlobal { global_seq },
        Decision::Wait => *answer == Control::Wait,
        Decision::Stale => false,
    }
}

fn attempt(asked: &Control, own: &AddrVec) -> (AddrVec, Attempt) {
    let (addrs, global_seq, client_cookie, connect_seq) = match asked {
        Control::ClientIdent(i) => (&i.addrs, i.global_seq, i.cookie, None),
        Control::SessionReconnect(r) => {
            let Reconnect {
                addrs,
                global_seq,
                client_cookie,
                connect_seq,
                ..
            } = r;
            (addrs, *global_seq, *client_cookie, Some(*connect_seq))
        }
        other => panic!("nobody asks by {other:?}"),
    };
    let attempt = Attempt {
        global_seq,
        client_cookie,
        connect_seq,
        resetcheck: false,
        peer: compare(addrs, own),
    };
    (addrs.clone(), attempt)
}

fn dialled(connection: &Connection) -> EntityAddr {
    match connection.frames[0].first().and_then(|f| f.control()) {
        Some(Control::Hello { peer_addr, .. }) => peer_addr,
        other => panic!("it begins with {other:?}"),
    }
}

/// What the recording gave to judge.
#[derive(Default, PartialEq, Eq, Debug)]
struct Judged {
    /// Answers for which every possible state leads to the recorded one.
    clear: usize,
    /// Answers that rule out some of the states.
    telling: usize,
    opened: usize,
    resumed: usize,
}

fn follow(connection: &Connection, osds: &mut Vec<Osd>, judged: &mut Judged) {
    let name = &connection.recorded.name;
    osds.iter_mut().for_each(Osd::pass);
    for (asked, answer) in rounds(connection) {
        let own = AddrVec::from(dialled(connection));
        let (from, new) = attempt(&asked, &own);
        let at = |addrs: &AddrVec, osds: &mut Vec<Osd>| {
            let known = osds.iter().position(|osd| osd.addrs == *addrs);
            known.unwrap_or_else(|| {
                osds.push(Osd {
                    addrs: addrs.clone(),
                    states: vec![],
                });
                osds.len() - 1
            })
        };
        let (from, to) = (at(&from, osds), at(&own, osds));
        if let Some(connect_seq) = new.connect_seq {
            // Who asks tries itself, with this number; a retry raises it on the way.
            let possible = |s: &Existing| s.connect_seq <= connect_seq;
            osds[from].states.retain(possible);
            assert!(
                !osds[from].states.is_empty(),
                "{name}: it cannot ask {asked:?}"
            );
        }
        let Some(answer) = answer else { continue };
        let before = osds[to].states.clone();
        if before.is_empty() {
            let decision = arbitrate(None, &new);
            assert!(
                is_said(decision, &answer),
                "{name}: {decision:?} {answer:?}"
            );
            judged.clear += 1;
        } else {
            let says = |old: &Existing| is_said(arbitrate(Some(old), &new), &answer);
            osds[to].states.retain(says);
            let after = osds[to].states.len();
            assert_ne!(after, 0, "{name}: {answer:?} from none of {before:#?}");
            if after == before.len() {
                judged.clear += 1;
            } else {
                judged.telling += 1;
            }
        }
        settle(&asked, &answer, (&new, from, to), osds, judged);
    }
}

/// What both sides know after an answer that has opened the session.
fn settle(
    asked: &Control,
    answer: &Control,
    (new, from, to): (&Attempt, usize, usize),
    osds: &mut [Osd],
    judged: &mut Judged,
) {
    let open = |client_cookie, server_cookie, connect_seq, peer_global_seq| Existing {
        stage: Stage::Open,
        lossy: false,
        server: false,
        client_cookie,
        server_cookie,
        connect_seq,
        peer_global_seq,
    };
    match (asked, answer) {
        (Control::ClientIdent(c), Control::ServerIdent(s)) => {
            osds[to].states = vec![open(c.cookie, s.cookie, 0, c.global_seq)];
            osds[from].states = vec![open(c.cookie, s.cookie, 0, s.global_seq)];
            judged.opened += 1;
        }
        (Control::SessionReconnect(r), Control::SessionReconnectOk { .. }) => {
            let seq = r.connect_seq;
            let (c, s) = (r.client_cookie, r.server_cookie);
            osds[to].states = vec![open(c, s, seq, new.global_seq)];
            let seen: Vec<_> = osds[from]
                .states
                .iter()
                .map(|s| s.peer_global_seq)
                .collect();
            let mut states: Vec<_> = seen.into_iter().map(|g| open(c, s, seq, g)).collect();
            states.dedup();
            osds[from].states = states;
            judged.resumed += 1;
        }
        _ => {}
    }
}

#[test]
fn we_decide_as_real_osds_did() {
    let (mut osds, mut judged) = (Vec::new(), Judged::default());
    for connection in connections("v2-none-osd-osd-reconnect") {
        if connection.frames[0].is_empty() {
            continue;
        }
        follow(&connection, &mut osds, &mut judged);
    }
    assert_eq!(osds.len(), 2);
    println!("{judged:?}");
    let expected = Judged {
        clear: 3,
        telling: 3,
        opened: 1,
        resumed: 3,
    };
    assert_eq!(judged, expected);
}
