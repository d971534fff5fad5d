//! A real OSD as the peer of a lossless session whose link keeps breaking, on the driver that
//! `EVENT_DRIVER` names: over v1, v2, and v2 encrypted.
//!
//! This side is another OSD on the OSD's cluster address. It sends commands, each of which the OSD
//! answers on the same session, and pings, which it only acknowledges. What went over the wire is
//! recorded and, where it is not encrypted, checked afterwards by a reader of its own.

// Ceph's daemons want a Unix.
#![cfg(unix)]

#[path = "../common/ceph.rs"]
mod ceph;
mod frames;
mod node;
#[path = "../common/peers.rs"]
mod peers;
mod side;
mod talk;
mod tap;

use std::time::Instant;

use async_messenger::inject::Step;
use async_messenger::message::{Message, Payload as _};
use async_messenger::messages::MPing;
use node::{Kind, Node};
use peers::eventually;
use side::Osd;
use talk::{Reply, Talk};
use tap::Cut;

/// Links that are cut in the middle of traffic.
const CUTS: usize = 100;
/// Links that are cut when nothing is left to say.
const STANDBYS: u64 = 10;

/// What has to hold of the numbers of all links of one session. How many links were open.
fn check(talks: &[Talk]) -> usize {
    // What this side has written and read so far, and what the OSD has acknowledged.
    let (mut written, mut read, mut acked) = (0, 0, 0);
    let mut replayed = 0;
    for (i, talk) in talks.iter().enumerate() {
        if talk.replies.contains(&Reply::Reset) || talk.replies.last() == Some(&Reply::New) {
            (written, read, acked) = (0, 0, 0);
        }
        if !talk.is_open() {
            continue;
        }
        let [theirs, ours] = talk.in_seqs.unwrap_or_default();
        let context = || format!("link {i}: {talk:?}");
        assert!(
            (acked..=written).contains(&theirs),
            "{acked} {written} {}",
            context()
        );
        assert_eq!(ours, read, "{}", context());
        replayed += written - theirs;
        for (speech, had) in [(&talk.sent, theirs), (&talk.received, ours)] {
            // Neither what the other side has, nor a gap.
            let expected: Vec<u64> = (had + 1..).take(speech.seqs.len()).collect();
            assert_eq!(speech.seqs, expected, "{}", context());
        }
        let last = |speech: &[u64], before| speech.last().copied().unwrap_or(before);
        written = last(&talk.sent.seqs, theirs);
        read = last(&talk.received.seqs, read);
        acked = last(&talk.received.acks, theirs);
        assert!(acked <= written, "{}", context());
    }
    assert_eq!(acked, written, "the last message is acknowledged");
    check_names(talks);
    let open = talks.iter().filter(|talk| talk.is_open()).count();
    println!("{written} messages sent, {read} received, {replayed} sent again, {open} links open");
    open
}

/// With v2, whoever goes on with the session names it as the other side does, and has reconnected
/// it more often than anybody before.
fn check_names(talks: &[Talk]) {
    let mut before = None;
    for talk in talks {
        if talk.replies.last() == Some(&Reply::New) {
            before = None;
        }
        let Some(name) = talk.name else { continue };
        if let Some((cookies, connect_seq)) = before {
            assert_eq!(name.cookies, cookies);
            assert!(name.connect_seq > connect_seq, "{name:?} {connect_seq}");
        }
        assert!(!name.cookies.contains(&0), "{name:?}");
        before = Some((name.cookies, name.connect_seq));
    }
}

/// Prints how often each side has given each reply.
fn print_replies(talks: &[Talk]) {
    for (whose, dialed) in [("the OSD", true), ("this side", false)] {
        let of_it: Vec<_> = talks.iter().filter(|talk| talk.dialed == dialed).collect();
        print!("{whose} replied to {} links:", of_it.len());
        for reply in Reply::ALL {
            let all = of_it.iter().flat_map(|talk| &talk.replies);
            print!(" {reply:?} {}", all.filter(|said| **said == reply).count());
        }
        println!();
    }
}

fn reply_count(talks: &[Talk], reply: Reply) -> usize {
    let all = talks.iter().flat_map(|talk| &talk.replies);
    all.filter(|said| **said == reply).count()
}

/// What this side knows of the links without reading them. How many were open.
fn check_steps(osd: &Osd) -> usize {
    let stats = osd.messenger.stats();
    let count = |step, accepting| osd.steps.count(step, accepting);
    println!(
        "connected {}: {} asked for a new session, {} to go on; accepted {}: {} new, {} went on; \
         {} faults, {} peers not let in",
        stats.connected,
        count(Step::SendConnect, false),
        count(Step::SendReconnect, false),
        stats.accepted,
        count(Step::SendAccept, true),
        count(Step::SendReconnectOk, true),
        stats.faults,
        stats.handshakes_failed,
    );
    for (why, count) in &osd.ear.heard().not_accepted {
        println!("not let in, {count} times: {why}");
    }
    assert_eq!(stats.duplicates, 0);
    let open = count(Step::Ready, false) + count(Step::Ready, true);
    assert_eq!(open as u64, stats.connected + stats.accepted);
    open
}

/// A number that makes this side's address sort before the OSD's, or behind it: that decides who
/// wins when both connect at once (encoding §6.5, msgr2 §12.4).
fn nonce(first: bool) -> u32 {
    if first { 0x1100 } else { 0x11ff }
}

fn a_hundred_cuts(node: &Node, number: i64, first: bool) {
    let began = Instant::now();
    let mut osd = Osd::new(node, number, nonce(first), 2);
    osd.ask(1);
    osd.all_is_answered();
    let begun = |osd: &Osd| {
        let steps = [(Step::SendConnect, false), (Step::SendAccept, true)];
        steps.map(|(step, accepting)| osd.steps.count(step, accepting))
    };
    let begun_before = begun(&osd);
    for round in 0..CUTS {
        // At least one over the link that is cut then.
        let answers = osd.ear.heard().answers + 1 + round as u64 % 7;
        osd.ask(10);
        osd.ear
            .wait("some answers", |heard| heard.answers >= answers);
        let ready = osd.ear.heard().ready;
        osd.wire.cut(match round % 4 {
            0 => Cut::Between,
            1 => Cut::Deaf,
            2 => Cut::Lost,
            _ => Cut::InWrite(round * 7 % 150),
        });
        osd.ask(1);
        osd.ear
            .wait("the session again", |heard| heard.ready > ready);
    }
    osd.all_is_answered();
    println!("osd.{number}, first: {first}, {:.1?}", began.elapsed());
    assert!(check_steps(&osd) > CUTS);
    assert_eq!(osd.ear.heard().remote_resets, 0);
    if node.kind != Kind::V1 {
        assert_eq!(begun(&osd), begun_before, "nobody asks for another session");
    }
    if let Some(talks) = osd.talks() {
        print_replies(&talks);
        assert!(check(&talks) > CUTS);
        assert_eq!(reply_count(&talks, Reply::Reset), 0);
        assert!(reply_count(&talks, Reply::GoesOn) >= CUTS);
        // Of who takes a session over by v1, that is asked each time.
        let retries = reply_count(&talks, Reply::RetryGlobal);
        assert!(retries > 0 || node.kind != Kind::V1);
    }
    osd.end();
}

/// With nothing to say neither side connects, until one has: with the number of the old link, for
/// which the other has to tell it the new one.
fn standbys(node: &Node, number: i64) {
    let mut osd = Osd::new(node, number, nonce(true), 1);
    let themselves = osd.messenger.loopback().expect("started");
    osd.ask(1);
    osd.all_is_answered();
    for round in 1..=STANDBYS {
        let noticed = |osd: &Osd| osd.messenger.stats().faults + osd.ear.heard().ready;
        let before = noticed(&osd);
        osd.wire.cut(Cut::Between);
        eventually("the cut is noticed", || noticed(&osd) > before);
        // The one worker gets to this when it is done with the fault.
        themselves
            .send(Message::new(MPing::KIND))
            .expect("there is room");
        osd.ear
            .wait("the own ping", |heard| heard.own_pings == round);
        osd.ask(1);
        osd.all_is_answered();
    }
    println!("osd.{number}, idle when cut");
    check_steps(&osd);
    if let Some(talks) = osd.talks() {
        print_replies(&talks);
        check(&talks);
        // In v2 the one who connects counts up before it asks.
        let retries = reply_count(&talks, Reply::RetrySession);
        assert!(retries > 0 || node.kind != Kind::V1);
    }
    osd.end();
}

fn survives_a_hundred_cuts(kind: Kind) {
    let Some(mut node) = Node::start(kind, 1, &[]) else {
        return;
    };
    node.share_key();
    for (number, first) in [(7, true), (8, false)] {
        a_hundred_cuts(&node, number, first);
        node.assert_alive();
    }
    standbys(&node, 9);
    node.assert_alive();
}

#[test]
fn an_osd_acknowledges_everything_over_a_hundred_cuts() {
    survives_a_hundred_cuts(Kind::V1);
}

#[test]
fn an_osd_acknowledges_everything_over_a_hundred_cuts_of_v2() {
    survives_a_hundred_cuts(Kind::V2);
}

#[test]
fn an_osd_acknowledges_everything_over_a_hundred_cuts_of_v2_secure() {
    survives_a_hundred_cuts(Kind::V2Secure);
}

fn is_reset(kind: Kind) {
    // Whether osd.1 is up is the test's decision alone.
    let set = &[
        "osd fast fail on connection refused = false",
        "osd heartbeat grace = 3600",
    ];
    let Some(mut node) = Node::start(kind, 2, set) else {
        return;
    };
    node.share_key();
    // This side takes the place of a member of the cluster: only those does an OSD disown.
    let place = node.cluster_addr(1);
    let mut osd = Osd::at(&node, (1, place.nonce), 2, || {
        node.cluster.kill_osd(1);
        place.into()
    });
    osd.ask(5);
    osd.all_is_answered();
    node.cluster.ceph(&["osd", "down", "1"]);
    eventually("the OSD drops the link", || !osd.connection.is_connected());

    // A ping, which goes with the session.
    osd.ask(0);
    osd.ear.wait("a reset", |heard| heard.remote_resets == 1);
    osd.ask(5);
    osd.all_is_answered();
    assert_eq!(osd.ear.heard().remote_resets, 1);
    check_steps(&osd);
    if let Some(talks) = osd.talks() {
        print_replies(&talks);
        check(&talks);
        assert_eq!(reply_count(&talks, Reply::Reset), 1);
    }
    node.assert_alive();
    osd.end();
}

#[test]
fn an_osd_that_has_dropped_the_session_resets_it() {
    is_reset(Kind::V1);
}

#[test]
fn an_osd_that_has_dropped_the_session_resets_it_in_v2() {
    is_reset(Kind::V2);
}

#[test]
fn an_osd_that_has_dropped_the_session_resets_it_in_v2_secure() {
    is_reset(Kind::V2Secure);
}

fn is_another_one(kind: Kind) {
    let Some(mut node) = Node::start(kind, 1, &[]) else {
        return;
    };
    node.share_key();
    let mut osd = Osd::new(&node, 7, nonce(true), 2);
    osd.ask(5);
    osd.all_is_answered();
    let before = node.cluster_addr(0).sock;
    node.kill();
    osd.ask(2);
    osd.ear
        .wait("a failure to connect", |heard| heard.refused.is_some());
    // For its cluster this OSD is an old one with a new address.
    node.restart();
    // The session belongs to the process that is gone. Who asks to go on with it does not say in
    // v2 whom it means, so that another process on the same port answers that there is none.
    let is_asked = node.cluster_addr(0).sock == before && kind != Kind::V1;
    let resets = u64::from(is_asked);
    osd.ear.wait("the end of the session", |heard| {
        heard.remote_resets == resets
    });
    println!("the old address: {:?}", osd.ear.heard());
    assert!(!osd.connection.is_connected());
    // Else nothing is lost, and nothing arrives. Some may have been written before the end of the
    // link was noticed.
    let kept = osd.connection.queued() + osd.connection.unacked();
    assert_eq!(kept, if is_asked { 0 } else { 3 });
    if is_asked {
        // It is refused as a new session too, and there is nothing left to reset.
        osd.ear.heard().refused = None;
        osd.ask(2);
        osd.ear.wait("a refusal", |heard| heard.refused.is_some());
    }
    osd.connection.mark_down();
    osd.connect(&node);
    osd.ear.heard().answers = osd.asked;
    osd.ask(5);
    osd.all_is_answered();
    assert_eq!(osd.ear.heard().remote_resets, resets);
    osd.end();
}

#[test]
fn an_osd_that_was_restarted_is_another_one() {
    is_another_one(Kind::V1);
}

#[test]
fn an_osd_that_was_restarted_is_another_one_in_v2() {
    is_another_one(Kind::V2);
}

#[test]
fn an_osd_that_was_restarted_is_another_one_in_v2_secure() {
    is_another_one(Kind::V2Secure);
}
