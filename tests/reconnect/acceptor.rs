//! The script connects.

use super::peers::eventually;
use super::*;

const fn retry_global(global_seq: u32) -> Answer {
    (reply::RETRY_GLOBAL, global_seq, 0)
}

const fn retry_session(connect_seq: u32) -> Answer {
    (reply::RETRY_SESSION, 0, connect_seq)
}

const RESET: Answer = (reply::RESETSESSION, 0, 0);

/// The policies under which sessions are kept, and whether this side may connect.
fn lossless() -> [(Policy, bool); 3] {
    [
        (Policy::lossless_peer(0), true),
        (Policy::lossless_peer_reuse(0), true),
        (Policy::stateful_server(0), false),
    ]
}

/// A session in which each side has sent one message, and only the script's is acknowledged.
fn exchanged(subject: &Subject, home: &Home) -> (Wire, Connection) {
    let mut wire = home.open(subject);
    wire.send(&Frame::new(1).bytes());
    let (connection, message) = subject.inbox.message();
    assert_eq!(message.head().seq, 1);
    assert_eq!(wire.take(9), ack(1));
    send(&connection, 77);
    assert_eq!(take_numbered(&mut wire), (1, 77));
    (wire, connection)
}

/// Breaks the link; returns when the subject has noticed.
fn broken(wire: Wire, connection: &Connection, home: &Home, connects: bool) {
    drop(wire);
    if connects {
        // By then it has counted its incarnation up.
        eventually("it connects", || home.is_visited());
    } else {
        eventually("it notices", || !connection.is_connected());
    }
}

/// The worked reconnect of msgr1 §23.
#[test]
fn a_session_goes_on_after_the_retries_of_the_worked_reconnect() {
    for (policy, connects) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (wire, connection) = exchanged(&subject, &home);
        broken(wire, &connection, &home, connects);
        let newest = if connects { 3 } else { 2 };
        let mut wire = home.knock(&subject);
        assert_eq!(ask(&mut wire, (9, 1)), retry_global(10));
        assert_eq!(ask(&mut wire, (11, 1)), retry_session(newest));
        assert_eq!(ask(&mut wire, (11, newest)), retry_global(10));
        // Whatever it says now, it is let in.
        check_open(&mut wire, (12, 40), (1, 0));
        assert_eq!(take_numbered(&mut wire), (1, 77));
        wire.send(&ack(1));
        wire.send(&Frame::new(2).bytes());
        let (again, message) = subject.inbox.message();
        assert_eq!((again == connection, message.head().seq), (true, 2));
        assert_eq!(wire.take(9), ack(2));
        assert!(connects || !home.is_visited(), "a server does not connect");
        subject.end();
    }
}

#[test]
fn a_message_that_arrived_is_not_sent_again() {
    for (policy, connects) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (mut wire, connection) = exchanged(&subject, &home);
        send(&connection, 78);
        assert_eq!(take_numbered(&mut wire), (2, 78));
        broken(wire, &connection, &home, connects);
        let mut wire = home.knock(&subject);
        assert_eq!(ask(&mut wire, (11, 9)), retry_global(10));
        check_open(&mut wire, (12, 9), (1, 1));
        assert_eq!(
            take_numbered(&mut wire),
            (2, 78),
            "only the second is missing"
        );
        check_nothing_pending(&mut wire);
        send(&connection, 79);
        assert_eq!(take_numbered(&mut wire), (3, 79));
        subject.end();
    }
}

#[test]
fn what_was_acknowledged_is_forgotten() {
    for (policy, connects) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (mut wire, connection) = exchanged(&subject, &home);
        for tid in [78, 79] {
            send(&connection, tid);
            assert_eq!(take_numbered(&mut wire).1, tid);
        }
        wire.send(&ack(2));
        // Its answer shows that the acknowledgement has been read.
        check_nothing_pending(&mut wire);
        broken(wire, &connection, &home, connects);
        let mut wire = home.knock(&subject);
        assert_eq!(ask(&mut wire, (11, 9)), retry_global(10));
        // A lie: the script claims that it has got nothing.
        check_open(&mut wire, (12, 9), (1, 0));
        assert_eq!(take_numbered(&mut wire), (3, 79));
        check_nothing_pending(&mut wire);
        subject.end();
    }
}

#[test]
fn who_asks_for_an_unknown_session_has_to_start_over() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let mut wire = home.knock(&subject);
        assert_eq!(ask(&mut wire, (5, 3)), RESET);
        assert_eq!(ask(&mut wire, (5, u32::MAX)), RESET);
        check_open(&mut wire, (5, 0), (0, 0));
        check_nothing_pending(&mut wire);
        subject.end();
    }
}

/// A peer that was restarted: where resets are looked for, what was queued for it is void.
#[test]
fn a_peer_that_was_restarted_begins_anew() {
    for (policy, connects) in lossless() {
        let resetcheck = policy.resetcheck;
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (wire, connection) = exchanged(&subject, &home);
        broken(wire, &connection, &home, connects);
        let mut wire = home.knock(&subject);
        assert_eq!(ask(&mut wire, (11, 0)), retry_global(10));
        let (tag, _, connect_seq) = ask(&mut wire, (12, 0));
        assert_eq!((tag, connect_seq), (reply::READY, 1), "without numbers");
        if resetcheck {
            assert_eq!(subject.remote_reset(), 1, "message is lost");
        } else {
            assert_eq!(take_numbered(&mut wire), (1, 77), "it is kept");
        }
        wire.send(&Frame::new(1).bytes());
        let (again, message) = subject.inbox.message();
        assert_eq!((again == connection, message.head().seq), (true, 1));
        assert_eq!(wire.take(9), ack(1));
        send(&connection, 78);
        let seq = if resetcheck { 1 } else { 2 };
        assert_eq!(take_numbered(&mut wire), (seq, 78));
        subject.end();
    }
}

#[test]
fn a_stale_attempt_does_not_disturb_an_open_link() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (mut wire, connection) = exchanged(&subject, &home);
        let mut stale = home.knock(&subject);
        for connect_seq in [0, 1, 2] {
            assert_eq!(ask(&mut stale, (9, connect_seq)), retry_global(10));
        }
        check_nothing_pending(&mut wire);
        assert!(connection.is_connected());
        subject.end();
    }
}

/// The peer has noticed the end of a link, and this side has not.
#[test]
fn a_link_that_is_open_here_only_is_taken_over() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (old, connection) = exchanged(&subject, &home);
        let mut wire = home.knock(&subject);
        assert_eq!(ask(&mut wire, (11, 1)), retry_session(2));
        assert!(connection.is_connected(), "nothing has happened yet");
        assert_eq!(ask(&mut wire, (11, 2)), retry_global(10));
        assert_eq!(old.end(), b"", "the old link ends");
        // Meanwhile nobody else gets in.
        let mut other = home.knock(&subject);
        assert_eq!(ask(&mut other, (12, 2)), retry_global(10));
        check_open(&mut wire, (13, 2), (1, 0));
        assert_eq!(take_numbered(&mut wire), (1, 77));
        // Now the other one is late.
        assert_eq!(ask(&mut other, (12, 3)), retry_global(13));
        check_nothing_pending(&mut wire);
        subject.end();
    }
}

/// A takeover whose link breaks leaves the session as it was.
#[test]
fn a_takeover_that_breaks_can_be_tried_again() {
    for (policy, connects) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (wire, connection) = exchanged(&subject, &home);
        broken(wire, &connection, &home, connects);
        for global_seq in [11, 21] {
            let mut wire = home.knock(&subject);
            assert_eq!(ask(&mut wire, (global_seq, 9)), retry_global(10));
            let faults = subject.messenger.stats().faults;
            drop(wire);
            eventually("it notices", || subject.messenger.stats().faults > faults);
        }
        let mut wire = home.knock(&subject);
        assert_eq!(ask(&mut wire, (31, 99)), retry_global(10));
        check_open(&mut wire, (32, 99), (1, 0));
        assert_eq!(take_numbered(&mut wire), (1, 77));
        subject.end();
    }
}

#[test]
fn duplicates_are_dropped_and_gaps_are_not() {
    for (policy, connects) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (wire, connection) = exchanged(&subject, &home);
        broken(wire, &connection, &home, connects);
        let mut wire = home.knock(&subject);
        assert_eq!(ask(&mut wire, (11, 9)), retry_global(10));
        check_open(&mut wire, (12, 9), (1, 1));
        let replayed: Vec<u8> = [1, 2, 2, 1, 6]
            .into_iter()
            .flat_map(|seq| Frame::new(seq).bytes())
            .collect();
        wire.send(&replayed);
        let got = [(); 2].map(|()| subject.inbox.message().1.head().seq);
        assert_eq!(got, [2, 6]);
        assert_eq!(subject.messenger.stats().duplicates, 3);
        let mut acked = wire.take(9);
        if acked == ack(2) {
            // The script's bytes came in parts.
            acked = wire.take(9);
        }
        assert_eq!(acked, ack(6));
        check_nothing_pending(&mut wire);
        subject.end();
    }
}

#[test]
fn three_messages_in_one_segment_are_acknowledged_once() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let mut wire = Home::new(7).open(&subject);
        let three: Vec<u8> = (1..=3).flat_map(|seq| Frame::new(seq).bytes()).collect();
        wire.send(&three);
        assert_eq!(wire.take(9), ack(3));
        check_nothing_pending(&mut wire);
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
        let home = Home::new(7);
        let mut wire = home.knock(&subject);
        wire.send(&offer(1, 0).bytes());
        let opened = wire.take(REPLY_LEN + SEQ_LEN);
        assert_eq!((opened[0], opened[25]), (reply::SEQ, 1), "open and lossy");
        wire.send(&[0; SEQ_LEN]);
        wire.send(&Frame::new(1).bytes());
        subject.inbox.message();
        check_nothing_pending(&mut wire);
        drop(wire);
        subject.inbox.reset();
        subject.end();
    }
}

/// Only a peer that chooses its incarnations badly gets there.
#[test]
fn behind_the_last_incarnation_a_session_starts_over() {
    const LAST: u32 = u32::MAX;
    for (policy, connects) in lossless() {
        let resetcheck = policy.resetcheck;
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (wire, connection) = exchanged(&subject, &home);
        broken(wire, &connection, &home, connects);
        let mut wire = home.knock(&subject);
        assert_eq!(ask(&mut wire, (11, LAST - 1)), retry_global(10));
        check_open(&mut wire, (12, LAST - 1), (1, 1));
        check_nothing_pending(&mut wire);
        let mut next = home.knock(&subject);
        for connect_seq in [5, LAST - 1, LAST] {
            assert_eq!(ask(&mut next, (13, connect_seq)), RESET);
        }
        assert_eq!(ask(&mut next, (13, 0)), retry_global(12));
        assert_eq!(ask(&mut next, (14, 0)).0, reply::READY);
        if resetcheck {
            assert_eq!(subject.remote_reset(), 0);
        }
        check_nothing_pending(&mut next);
        subject.end();
    }
}

/// Both connect at once. By the first bytes of the nonces, the script's address is the larger one.
#[test]
fn in_a_race_the_larger_address_has_to_wait() {
    let subject = Subject::with(Policy::lossless_peer(0), 1, config());
    let listener = Listener::new();
    let (mut attempt, connection) = attempted(&subject, &listener);
    let mut wire = from_listener(&subject, &listener);
    assert_eq!(ask(&mut wire, (1, 0)), (reply::WAIT, 0, 0));
    // The attempt of the subject goes on.
    let first = take_connect(&mut attempt);
    finish_open(&mut attempt, &answer(reply::SEQ, 1, first.connect_seq + 1));
    assert_eq!(
        attempt.take(1),
        [tag::KEEPALIVE2],
        "so that it is sure to get opened"
    );
    attempt.take(8);
    assert_eq!(take_numbered(&mut attempt), (1, 5));
    assert!(connection.is_connected());
    // And with a link that is open there is no race.
    assert_eq!(ask(&mut wire, (2, 1)), retry_session(2));
    subject.end();
}

#[test]
fn in_a_race_the_smaller_address_takes_over() {
    for policy in [Policy::lossless_peer(0), Policy::lossless_peer_reuse(0)] {
        let subject = Subject::with(policy, 0xff, config());
        let listener = Listener::new();
        let (mut attempt, connection) = attempted(&subject, &listener);
        take_connect(&mut attempt);
        let mut wire = from_listener(&subject, &listener);
        assert_eq!(ask(&mut wire, (1, 0)), retry_global(0));
        assert_eq!(attempt.end(), b"", "the subject's own attempt ends");
        check_open(&mut wire, (2, 0), (0, 0));
        assert_eq!(take_numbered(&mut wire), (1, 5));
        assert!(connection.is_connected());
        subject.end();
    }
}

/// The subject connects, has a message, and has sent its connect.
fn attempted(subject: &Subject, listener: &Listener) -> (Wire, Connection) {
    let connection = connector::connect(subject, listener);
    send(&connection, 5);
    let mut wire = listener.accept();
    listener.greet(&mut wire);
    (wire, connection)
}

/// Connects to the subject from where it connects to.
fn from_listener(subject: &Subject, listener: &Listener) -> Wire {
    let mut wire = Wire::connect(&subject.addrs);
    wire.take(SERVER_HELLO_LEN);
    wire.send(&[BANNER, &addr(listener.at(), SERVER_NONCE)].concat());
    wire
}

/// A peer that claims to have received more than could ever be sent.
#[test]
fn a_peer_that_claims_to_have_received_everything_does_no_harm() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let mut wire = home.knock(&subject);
        check_open(&mut wire, (1, 0), (0, u64::MAX));
        wire.send(&Frame::new(1).bytes());
        let (connection, _) = subject.inbox.message();
        wire.take(9);
        send(&connection, 5);
        send(&connection, 6);
        // The worker lives.
        let mut other = Home::new(8).open(&subject);
        check_nothing_pending(&mut other);
        subject.end();
    }
}

/// It is let in, and breaks before it has said what it received (msgr1 §13).
#[test]
fn a_session_that_was_let_in_is_not_being_taken_over_any_more() {
    let subject = Subject::new(Policy::stateful_server(0));
    let home = Home::new(7);
    let (wire, connection) = exchanged(&subject, &home);
    broken(wire, &connection, &home, false);
    let mut wire = home.knock(&subject);
    assert_eq!(ask(&mut wire, (11, 9)), retry_global(10));
    assert_eq!(ask(&mut wire, (12, 9)).0, reply::SEQ);
    let mut next = home.knock(&subject);
    assert_eq!(ask(&mut next, (13, 9)), retry_session(11));
    assert_eq!(ask(&mut next, (13, 11)), retry_global(12));
    check_open(&mut next, (14, 11), (1, 0));
    assert_eq!(take_numbered(&mut next), (1, 77));
    subject.end();
}

/// A reset session still knows which attempts are stale (msgr1 §17).
#[test]
fn a_reset_session_still_knows_which_attempts_are_stale() {
    let subject = Subject::new(Policy::stateful_server(0));
    let home = Home::new(7);
    let (wire, connection) = exchanged(&subject, &home);
    broken(wire, &connection, &home, false);
    let mut wire = home.knock(&subject);
    assert_eq!(ask(&mut wire, (11, 0)), retry_global(10));
    assert_eq!(subject.remote_reset(), 1);
    let faults = subject.messenger.stats().faults;
    drop(wire);
    eventually("it notices", || subject.messenger.stats().faults > faults);
    let mut wire = home.knock(&subject);
    assert_eq!(ask(&mut wire, (5, 0)), retry_global(10));
    subject.end();
}
