//! The open phase: numbers, acknowledgements, signs of life (msgr2 §11).

use async_messenger::proto::v2::Control;
use async_messenger::wire::Timespec;

use super::acceptor::{CLIENT, granted};
use super::peers::eventually;
use super::script::{Home, bytes, literal, message};
use super::*;

/// A new session of each kind.
fn open(subject: &Subject) -> Line {
    let mut line = Line::knock(&subject.addrs);
    let wish = Home::new(7).ident(&subject.addrs, 10, CLIENT);
    granted(&mut line, subject, &wish);
    line
}

#[test]
fn the_frames_of_the_worked_examples() {
    assert_eq!(bytes(&Control::Wait), literal::WAIT);
    assert_eq!(bytes(&Control::Ack(5)), literal::ACK_5);
}

#[test]
fn duplicates_are_dropped_and_gaps_are_not() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let mut line = open(&subject);
        let replayed = [1, 2, 2, 1, 6, 6, 3].map(|seq| message(seq, 0));
        line.send(&replayed.concat());
        let got = [(); 3].map(|()| subject.inbox.message().1.head().seq);
        assert_eq!(got, [1, 2, 6]);
        // The script's bytes may have come in parts.
        let mut acked = 0;
        while acked != 6 {
            let Control::Ack(seq) = line.hear() else {
                panic!("not an acknowledgement")
            };
            assert!(seq > acked && [1, 2, 6].contains(&seq), "{seq} {acked}");
            acked = seq;
        }
        line.check_nothing_pending();
        assert_eq!(subject.messenger.stats().duplicates, 4);
        subject.end();
    }
}

#[test]
fn messages_that_come_together_are_acknowledged_once() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let mut line = open(&subject);
        let five: Vec<u8> = (1..=5).flat_map(|seq| message(seq, 0)).collect();
        line.send(&five);
        assert_eq!(line.hear_bytes(), literal::ACK_5);
        line.check_nothing_pending();
        subject.end();
    }
}

/// What goes back anyway says what has arrived; nothing else does.
#[test]
fn a_message_acknowledges_in_place_of_a_frame() {
    for (policy, _) in lossless() {
        let subject = Subject::built(true, |b| b.default_policy(policy));
        let mut line = open(&subject);
        for seq in 1..=20 {
            line.send(&message(seq, 0));
            assert_eq!(line.take_numbered(), (seq, seq, seq));
        }
        line.check_nothing_pending();
        subject.end();
    }
}

/// By a frame, and by what a message says.
#[test]
fn what_is_acknowledged_is_forgotten() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let mut line = open(&subject);
        line.send(&message(1, 0));
        let (connection, _) = subject.inbox.message();
        assert_eq!(line.hear(), Control::Ack(1));
        for tid in 1..=9 {
            send(&connection, tid);
            assert_eq!(line.take_numbered(), (tid, 1, tid));
        }
        assert_eq!(connection.unacked(), 9);
        line.send(literal::ACK_5);
        eventually("a frame counts", || connection.unacked() == 4);
        line.send(&message(2, 8));
        eventually("a message counts", || connection.unacked() == 1);
        assert_eq!(line.hear(), Control::Ack(2));
        // Neither an old number nor one that was never sent does harm.
        line.send(&message(3, 4));
        line.say(&Control::Ack(3));
        assert_eq!(line.hear(), Control::Ack(3));
        line.check_nothing_pending();
        assert_eq!(connection.unacked(), 1);
        line.say(&Control::Ack(1 << 40));
        eventually("all is acknowledged", || connection.unacked() == 0);
        send(&connection, 10);
        assert_eq!(line.take_numbered(), (10, 3, 10));
        subject.end();
    }
}

#[test]
fn nothing_is_acknowledged_on_a_lossy_connection() {
    for policy in [
        Policy::stateless_server(0),
        Policy::stateless_registered_server(0),
    ] {
        let subject = Subject::new(policy);
        let mut line = Line::knock(&subject.addrs);
        line.say(&Home::new(7).ident(&subject.addrs, 1, 0));
        assert!(matches!(line.hear(), Control::ServerIdent(ident) if ident.lossy));
        line.send(&message(1, 0));
        let (connection, _) = subject.inbox.message();
        line.check_nothing_pending();
        send(&connection, 5);
        assert_eq!(line.take_numbered(), (1, 0, 5));
        assert_eq!(connection.unacked(), 0);
        drop(line);
        subject.inbox.reset();
        subject.end();
    }
}

#[test]
fn signs_of_life_go_both_ways() {
    let subject = Subject::new(Policy::lossless_peer(0));
    let mut line = open(&subject);
    line.send(&message(1, 0));
    let (connection, _) = subject.inbox.message();
    assert_eq!(line.hear(), Control::Ack(1));
    assert_eq!(connection.last_keepalive(), None);
    line.check_nothing_pending();
    assert!(connection.last_keepalive().is_some());
    connection.send_keepalive();
    let Control::Keepalive2(stamp) = line.hear() else {
        panic!("not a sign of life")
    };
    assert!(stamp > Timespec::default());
    assert_eq!(connection.last_keepalive_ack(), None);
    line.say(&Control::Keepalive2Ack(stamp));
    eventually("it counts", || connection.last_keepalive_ack().is_some());
    subject.end();
}

/// One that is given up midway leaves no gap (msgr2 §5.9).
#[test]
fn an_aborted_message_never_was() {
    let subject = Subject::new(Policy::lossless_peer(0));
    let mut line = open(&subject);
    let mut aborted = message(1, 0);
    let late = aborted.len() - 13;
    assert_eq!(aborted[late], 0x0e);
    aborted[late] = 0xf1;
    line.send(&aborted);
    line.send(&message(1, 0));
    assert_eq!(subject.inbox.message().1.head().seq, 1);
    assert_eq!(line.hear(), Control::Ack(1));
    line.check_nothing_pending();
    assert_eq!(subject.messenger.stats().received, 1);
    subject.end();
}
