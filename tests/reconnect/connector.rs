//! The subject connects to the script.

use std::time::{Duration, Instant};

use async_messenger::wire::EntityType;

use super::peers::eventually;
use super::*;

pub(crate) fn connect(subject: &Subject, listener: &Listener) -> Connection {
    let target = AddrVec(vec![listener.addr()]);
    let connection = subject.messenger.connect(EntityType::OSD, &target);
    connection.expect("a connection")
}

/// The policies of sides that connect and keep their session.
fn lossless() -> [Policy; 3] {
    [
        Policy::lossless_peer(0),
        Policy::lossless_peer_reuse(0),
        Policy::lossless_client(0),
    ]
}

/// The next connection of the subject, and its connect. A client of another test, whose server had
/// this port before, is sent away.
fn attempt(listener: &Listener) -> (Wire, Connect) {
    loop {
        let mut wire = listener.accept();
        listener.greet(&mut wire);
        let connect = take_connect(&mut wire);
        if (connect.host_type, connect.protocol) == (OSD, CLUSTER) {
            return (wire, connect);
        }
    }
}

/// Opens the session that was asked for; the subject has received that much, the script this much.
fn let_in(wire: &mut Wire, connect: &Connect, (theirs, ours): (u64, u64)) {
    wire.send(&answer(reply::SEQ, 1, connect.connect_seq + 1).bytes());
    wire.send(&ours.to_le_bytes());
    assert_eq!(wire.take(SEQ_LEN), theirs.to_le_bytes(), "what it received");
}

/// A new session with one message of the subject, which is not acknowledged.
fn opened(subject: &Subject, listener: &Listener) -> (Wire, Connection, Connect) {
    let connection = connect(subject, listener);
    send(&connection, 5);
    let (mut wire, connect) = attempt(listener);
    assert_eq!(connect.connect_seq, 0);
    let_in(&mut wire, &connect, (0, 0));
    assert_eq!(take_numbered(&mut wire), (1, 5));
    (wire, connection, connect)
}

#[test]
fn a_link_that_breaks_is_replaced_at_once_and_the_rest_is_sent_again() {
    for policy in lossless() {
        let subject = Subject::new(policy);
        let listener = Listener::new();
        let (mut wire, connection, first) = opened(&subject, &listener);
        for tid in [6, 7] {
            send(&connection, tid);
            assert_eq!(take_numbered(&mut wire).1, tid);
        }
        wire.send(&[Frame::new(1).bytes(), ack(1)].concat());
        assert_eq!(wire.take(9), ack(1));
        drop(wire);
        let (mut wire, second) = attempt(&listener);
        assert!(second.global_seq > first.global_seq);
        assert_eq!(
            second.connect_seq, 2,
            "one more than the session that was open"
        );
        let_in(&mut wire, &second, (1, 2));
        assert_eq!(take_numbered(&mut wire), (3, 7));
        check_nothing_pending(&mut wire);
        wire.send(&[1, 2].map(|seq| Frame::new(seq).bytes()).concat());
        assert_eq!(subject.inbox.message().1.head().seq, 1);
        assert_eq!(
            subject.inbox.message().1.head().seq,
            2,
            "the first came once"
        );
        assert_eq!(wire.take(9), ack(2));
        subject.end();
    }
}

/// All that a reply can ask for, in a row on one socket.
#[test]
fn retries_are_followed_on_the_same_socket() {
    for policy in lossless() {
        let subject = Subject::new(policy);
        let listener = Listener::new();
        let (wire, connection, _) = opened(&subject, &listener);
        drop(wire);
        let (mut wire, offered) = attempt(&listener);
        let numbers = |connect: &Connect| (connect.global_seq, connect.connect_seq);
        let (global_seq, connect_seq) = numbers(&offered);
        assert_eq!(connect_seq, 2);
        let mut retry = |tag, told: (u32, u32)| {
            wire.send(&answer(tag, told.0, told.1).bytes());
            numbers(&take_connect(&mut wire))
        };
        let (session, global) = (reply::RETRY_SESSION, reply::RETRY_GLOBAL);
        assert_eq!(retry(session, (0, 3)), (global_seq, 3));
        assert_eq!(retry(global, (100, 0)), (101, 3));
        assert_eq!(retry(global, (7, 0)), (102, 3), "a lower one does no harm");
        assert_eq!(retry(session, (0, 50)), (102, 50));
        let last = offer(102, 50);
        let_in(&mut wire, &last, (0, 0));
        assert_eq!(take_numbered(&mut wire), (1, 5));
        assert!(connection.is_connected());
        subject.end();
    }
}

#[test]
fn a_session_that_the_peer_has_lost_is_reset_and_told() {
    for policy in lossless() {
        let subject = Subject::new(policy);
        let listener = Listener::new();
        let (mut wire, connection, _) = opened(&subject, &listener);
        wire.send(&Frame::new(1).bytes());
        assert_eq!(wire.take(9), ack(1));
        subject.inbox.message();
        drop(wire);
        let (mut wire, second) = attempt(&listener);
        assert_eq!(second.connect_seq, 2);
        send(&connection, 6);
        wire.send(&answer(reply::RESETSESSION, 0, 0).bytes());
        let third = take_connect(&mut wire);
        let numbers = (third.global_seq, third.connect_seq);
        assert_eq!(numbers, (second.global_seq, 0));
        assert_eq!(subject.remote_reset(), 2, "messages are lost");
        let_in(&mut wire, &third, (0, 0));
        send(&connection, 7);
        assert_eq!(take_numbered(&mut wire), (1, 7));
        wire.send(&Frame::new(1).bytes());
        assert_eq!(subject.inbox.message().0, connection);
        subject.end();
    }
}

/// Replies after which the subject hangs up, keeps its session, and tries again.
#[test]
fn refusals_and_nonsense_end_the_attempt_and_not_the_session() {
    let refusals = [
        answer(reply::FEATURES, 0, 0),
        answer(reply::BADPROTOVER, 0, 0),
        answer(reply::BADAUTHORIZER, 0, 0),
        answer(99, 0, 0),
        // No larger than what was offered.
        answer(reply::RETRY_SESSION, 0, 2),
        answer(reply::RETRY_SESSION, 0, 0),
        // Not one more than what was offered.
        answer(reply::READY, 1, 2),
        answer(reply::SEQ, 1, 4),
    ];
    let subject = Subject::new(Policy::lossless_peer(0));
    let listener = Listener::new();
    let (wire, connection, mut before) = opened(&subject, &listener);
    drop(wire);
    for refusal in refusals {
        let (mut wire, connect) = attempt(&listener);
        assert_eq!(connect.connect_seq, 2, "{refusal:?}");
        assert!(connect.global_seq > before.global_seq, "{refusal:?}");
        wire.send(&refusal.bytes());
        subject.inbox.find("refusal", |seen| match seen {
            Seen::Event(of, ConnectionEvent::Refused(_)) if of == connection => Some(()),
            _ => None,
        });
        assert_eq!(wire.end(), b"", "{refusal:?}");
        before = connect;
    }
    let (mut wire, connect) = attempt(&listener);
    let_in(&mut wire, &connect, (0, 0));
    assert_eq!(take_numbered(&mut wire), (1, 5));
    subject.end();
}

#[test]
fn who_is_told_to_wait_keeps_the_session_and_waits_long() {
    for policy in lossless() {
        let max_backoff = Duration::from_millis(400);
        let config = Config {
            max_backoff,
            ..config()
        };
        let subject = Subject::with(policy, 1, config);
        let listener = Listener::new();
        let (wire, connection, _) = opened(&subject, &listener);
        drop(wire);
        let (mut wire, first) = attempt(&listener);
        let told = Instant::now();
        wire.send(&answer(reply::WAIT, 0, 0).bytes());
        assert_eq!(wire.end(), b"");
        assert!(!connection.is_closed());
        let (mut wire, second) = attempt(&listener);
        // Not the first back-off, which is a few milliseconds; some of it may be random.
        assert!(told.elapsed() >= max_backoff / 2, "{:?}", told.elapsed());
        assert_eq!(second.connect_seq, first.connect_seq);
        assert!(second.global_seq > first.global_seq);
        let_in(&mut wire, &second, (0, 0));
        assert_eq!(take_numbered(&mut wire), (1, 5));
        subject.end();
    }
}

/// While it waits, the peer's own attempt goes first, as it was told.
#[test]
fn who_waits_is_taken_over_by_the_peer() {
    let config = Config {
        max_backoff: Duration::from_secs(600),
        ..config()
    };
    let subject = Subject::with(Policy::lossless_peer(0), 0xff, config);
    let listener = Listener::new();
    let connection = connect(&subject, &listener);
    send(&connection, 5);
    let (mut wire, _) = attempt(&listener);
    wire.send(&answer(reply::WAIT, 0, 0).bytes());
    assert_eq!(wire.end(), b"");
    let mut wire = Wire::connect(&subject.addrs);
    wire.take(SERVER_HELLO_LEN);
    wire.send(&[BANNER, &addr(listener.at(), SERVER_NONCE)].concat());
    assert_eq!(ask(&mut wire, (1, 0)), (reply::RETRY_GLOBAL, 0, 0));
    check_open(&mut wire, (2, 0), (0, 0));
    assert_eq!(take_numbered(&mut wire), (1, 5));
    subject.end();
}

/// A handshake that never ends is given up, each time after a longer pause, up to the longest.
#[test]
fn pauses_between_attempts_double_up_to_the_longest() {
    let ms = Duration::from_millis;
    let config = Config {
        ready_timeout: ms(30),
        initial_backoff: ms(40),
        max_backoff: ms(160),
        ..config()
    };
    let subject = Subject::with(Policy::lossless_peer(0), 1, config);
    let listener = Listener::new();
    let begun = Instant::now();
    let connection = connect(&subject, &listener);
    send(&connection, 5);
    let mut silent = listener.accept();
    let mut least = Duration::ZERO;
    for pause in [40, 80, 160, 160, 160, 160, 160, 160, 160, 160] {
        // It sends its banner, if there is time for that, and gives up without an answer.
        assert!(BANNER.starts_with(&silent.end()));
        let ended = Instant::now();
        silent = listener.accept();
        // Up to a quarter of each pause is left out by chance.
        least += ms(30 + pause * 3 / 4);
        let (whole, last) = (begun.elapsed(), ended.elapsed());
        assert!(
            whole >= least,
            "{whole:?} at the pause of {pause} ms, not {least:?}"
        );
        // Unbounded, the last one would take more than 15 seconds.
        assert!(last < ms(10_000), "{last:?} is more than {pause} ms");
    }
    assert!(!connection.is_closed());
    assert_eq!(connection.queued(), 1);
    subject.end();
}

/// With nothing to send, a peer waits for something to send, or to be connected to. That it did not
/// connect meanwhile shows in the incarnation that it asks for: it is the one that was open.
#[test]
fn a_peer_at_rest_connects_when_something_is_sent() {
    for policy in [Policy::lossless_peer(0), Policy::lossless_peer_reuse(0)] {
        let config = Config {
            workers: 1,
            ..config()
        };
        let subject = Subject::with(policy, 1, config);
        let mut other = Home::new(7).open(&subject);
        let listener = Listener::new();
        let (mut wire, connection, first) = opened(&subject, &listener);
        wire.send(&ack(1));
        check_nothing_pending(&mut wire);
        drop(wire);
        eventually("it notices", || !connection.is_connected());
        // When its only worker answers somebody else, it is done with the broken link.
        check_nothing_pending(&mut other);
        connection.send_keepalive();
        assert_eq!(subject.messenger.stats().connected, 1);
        send(&connection, 6);
        let (mut wire, second) = attempt(&listener);
        assert_eq!(second.connect_seq, 1, "as if nothing had happened");
        assert!(second.global_seq > first.global_seq);
        wire.send(&answer(reply::RETRY_SESSION, 0, 2).bytes());
        let third = take_connect(&mut wire);
        let numbers = (third.global_seq, third.connect_seq);
        assert_eq!(numbers, (second.global_seq, 2));
        wire.send(&answer(reply::RETRY_GLOBAL, first.global_seq, 0).bytes());
        let fourth = take_connect(&mut wire);
        assert!(fourth.global_seq > third.global_seq);
        let_in(&mut wire, &fourth, (0, 1));
        assert_eq!(wire.take(1), [tag::KEEPALIVE2]);
        wire.take(8);
        assert_eq!(take_numbered(&mut wire), (2, 6));
        assert_eq!(subject.messenger.stats().faults, 1);
        subject.end();
    }
}

/// Who has something to send, or does not rest by its policy, does not wait for it.
#[test]
fn a_client_without_standby_connects_with_nothing_to_send() {
    let subject = Subject::new(Policy::lossless_client(0));
    let listener = Listener::new();
    let (mut wire, _connection, _) = opened(&subject, &listener);
    wire.send(&ack(1));
    check_nothing_pending(&mut wire);
    drop(wire);
    let (mut wire, second) = attempt(&listener);
    assert_eq!(second.connect_seq, 2);
    let_in(&mut wire, &second, (0, 1));
    check_nothing_pending(&mut wire);
    subject.end();
}

#[test]
fn a_server_does_not_connect() {
    let subject = Subject::new(Policy::stateful_server(0));
    let listener = Listener::new();
    let target = AddrVec(vec![listener.addr()]);
    let error = subject.messenger.connect(EntityType::OSD, &target);
    let text = error.expect_err("a server").to_string();
    assert!(text.contains("the peer must connect"), "{text}");
    subject.end();
}
