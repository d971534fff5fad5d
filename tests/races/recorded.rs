//! The decisions of two real OSDs whose sockets drop now and then, against ours.
//!
//! Only bytes were recorded, not what the daemons knew. So each OSD is followed by the set of all
//! states in which its session can be. A connection that comes up may find it open still, at rest,
//! or on its own way to reconnect; what an OSD sends or answers rules states out, and some state
//! must remain. Where all states lead to one decision, that has to be the recorded one; where they
//! differ, at least one has to lead to it, and the test says how often that is so. A connect whose
//! answer is missing was either dealt with, so that the numbers count, or not; the OSD's next
//! connect tells.
//!
//! OSDs do not look for resets of each other (`lossless_peer`).

use async_messenger::proto::v1::{Connect, ConnectReply, ReplyTag};
use async_messenger::proto::{Attempt, Decision, Existing, Stage, arbitrate};
use async_messenger::wire::{EntityAddr, Reader};

use super::vectors::{From, Recorded, load};

const BANNER_LEN: usize = 9;

/// What one connection shows.
struct Handshake {
    name: String,
    connector: EntityAddr,
    acceptor: EntityAddr,
    /// The connects, each with its answer if there is one.
    rounds: Vec<(Connect, Option<ConnectReply>)>,
    /// The connector has got the last answer, and says what it has received.
    confirmed: bool,
}

/// `None` if it did not get as far as a connect.
fn handshake(recorded: &Recorded) -> Option<Handshake> {
    let streams = [recorded.stream(From::Client), recorded.stream(From::Server)];
    let mut c = Reader::new(&streams[0], "client");
    let mut s = Reader::new(&streams[1], "server");
    c.bytes(BANNER_LEN).ok()?;
    let connector = EntityAddr::decode_legacy(&mut c).ok()?;
    s.bytes(BANNER_LEN).ok()?;
    let acceptor = EntityAddr::decode_legacy(&mut s).ok()?;
    EntityAddr::decode_legacy(&mut s).ok()?;
    let mut rounds = Vec::new();
    let mut opened = false;
    while !opened && let Ok(connect) = Connect::decode(&mut c) {
        c.bytes(connect.authorizer_len as usize).expect("complete");
        let reply = ConnectReply::decode(&mut s).ok();
        opened = reply.is_some_and(|reply| reply.tag == ReplyTag::Seq);
        rounds.push((connect, reply));
    }
    let confirmed = opened && c.u64().is_ok();
    (!rounds.is_empty()).then(|| Handshake {
        name: recorded.name.clone(),
        connector,
        acceptor,
        rounds,
        confirmed,
    })
}

/// The states in which an OSD's session can be; none before it is made.
#[derive(Debug)]
struct Osd {
    addr: EntityAddr,
    states: Vec<Existing>,
}

fn state(stage: Stage, connect_seq: u32, peer_global_seq: u32) -> Existing {
    Existing {
        stage,
        lossy: false,
        server: false,
        connect_seq,
        peer_global_seq,
    }
}

impl Osd {
    /// Time has passed: links may have been lost, and attempts may have been begun.
    fn pass(&mut self) {
        let mut states = Vec::new();
        for old in std::mem::take(&mut self.states) {
            let (c, g) = (old.connect_seq, old.peer_global_seq);
            let later = match old.stage {
                Stage::Open | Stage::Replacing => {
                    vec![
                        old,
                        state(Stage::Standby, c, g),
                        state(Stage::Attempting, c + 1, g),
                    ]
                }
                Stage::Attempting | Stage::Standby => {
                    vec![state(Stage::Standby, c, g), state(Stage::Attempting, c, g)]
                }
            };
            for new in later {
                if !states.contains(&new) {
                    states.push(new);
                }
            }
        }
        self.states = states;
    }
}

fn is_said(decision: Decision, reply: &ConnectReply, connect: &Connect) -> bool {
    match decision {
        Decision::Open => {
            reply.tag == ReplyTag::Seq && reply.connect_seq == connect.connect_seq + 1
        }
        Decision::Replace { global_seq, .. } | Decision::RetryGlobal(global_seq) => {
            reply.tag == ReplyTag::RetryGlobal && reply.global_seq == global_seq
        }
        Decision::RetrySession(connect_seq) => {
            reply.tag == ReplyTag::RetrySession && reply.connect_seq == connect_seq
        }
        Decision::ResetSession => reply.tag == ReplyTag::ResetSession,
        Decision::Wait => reply.tag == ReplyTag::Wait,
        Decision::Supersede => false,
    }
}

/// What the recording gave to judge.
#[derive(Default, PartialEq, Eq, Debug)]
struct Judged {
    /// Answers for which every possible state leads to the recorded one.
    clear: usize,
    /// Answers that rule out some of the states.
    telling: usize,
    /// Links that were taken over and then opened.
    opened: usize,
    /// Connects without an answer.
    unanswered: usize,
}

fn follow(handshake: &Handshake, osds: &mut [Osd; 2], judged: &mut Judged) {
    let name = &handshake.name;
    let at = |addr: &EntityAddr, osds: &[Osd; 2]| {
        osds.iter()
            .position(|osd| osd.addr == *addr)
            .expect("an OSD")
    };
    let (from, to) = (
        at(&handshake.connector, osds),
        at(&handshake.acceptor, osds),
    );
    osds.iter_mut().for_each(Osd::pass);
    let fresh = osds[from].states.is_empty();
    let mut taken_over = false;
    for (connect, reply) in &handshake.rounds {
        let wanted = connect.connect_seq;
        let is_its = |s: &Existing| s.stage == Stage::Attempting && s.connect_seq == wanted;
        osds[from].states.retain(is_its);
        assert!(
            fresh || !osds[from].states.is_empty(),
            "{name}: it cannot want {wanted}"
        );
        let open = state(Stage::Open, wanted + 1, connect.global_seq);
        if taken_over {
            // The session itself is asked: it opens, with whatever number.
            match reply {
                Some(reply) => {
                    assert!(is_said(Decision::Open, reply, connect), "{name}: {reply:?}");
                    osds[to].states = vec![open];
                    judged.opened += 1;
                }
                None => {
                    osds[to].states.push(open);
                    judged.unanswered += 1;
                }
            }
            continue;
        }
        let Some(reply) = reply else {
            judged.unanswered += 1;
            continue;
        };
        let attempt = Attempt {
            global_seq: connect.global_seq,
            connect_seq: wanted,
            resetcheck: false,
            peer_first: handshake.connector < handshake.acceptor,
        };
        if osds[to].states.is_empty() {
            let decision = arbitrate(None, &attempt);
            assert!(
                is_said(decision, reply, connect),
                "{name}: {decision:?} {reply:?}"
            );
            osds[to].states = vec![open];
            judged.clear += 1;
            continue;
        }
        let before = osds[to].states.clone();
        let says = |old: &Existing| is_said(arbitrate(Some(old), &attempt), reply, connect);
        osds[to].states.retain(says);
        let after = &mut osds[to].states;
        assert!(
            !after.is_empty(),
            "{name}: {reply:?} from none of {before:#?}"
        );
        if after.len() == before.len() {
            judged.clear += 1;
        } else {
            println!("{name}: {:?} tells {before:?} from {after:?}", reply.tag);
            judged.telling += 1;
        }
        assert_eq!(
            reply.tag,
            ReplyTag::RetryGlobal,
            "{name}: what real OSDs said here"
        );
        taken_over = true;
        after
            .iter_mut()
            .for_each(|old| old.stage = Stage::Replacing);
    }
    if handshake.confirmed {
        let last = handshake.rounds.last().and_then(|(_, reply)| *reply);
        let reply = last.expect("it was answered");
        osds[from].states = vec![state(Stage::Open, reply.connect_seq, reply.global_seq)];
    }
}

#[test]
fn we_decide_as_real_osds_did() {
    let handshakes: Vec<_> = load("v1-none-osd-osd-reconnect")
        .iter()
        .filter_map(handshake)
        .collect();
    let mut osds = [&handshakes[0].connector, &handshakes[0].acceptor].map(|addr| Osd {
        addr: *addr,
        states: vec![],
    });
    let mut judged = Judged::default();
    for handshake in &handshakes {
        follow(handshake, &mut osds, &mut judged);
    }
    let expected = Judged {
        clear: 5,
        telling: 2,
        opened: 3,
        unanswered: 3,
    };
    assert_eq!(judged, expected);
}
