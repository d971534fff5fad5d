//! The script connects: what becomes of its wish when there is a session already (msgr2 §12).

use async_messenger::Connection;
use async_messenger::auth::{AuthRefusal, AuthRequest, Method, Mode};
use async_messenger::proto::v2::Control;

use super::peers::{config, eventually};
use super::script::{BANNER, Home, Line, SIGNATURE, SUBJECT, bytes, hello, literal, message, none};
use super::*;

/// The script's half of the session's name.
pub(super) const CLIENT: u64 = 0xc11e_0000_0000_0001;
const RESET_FULL: Control = Control::SessionReset { full: true };
const RESET: Control = Control::SessionReset { full: false };

const fn retry(connect_seq: u64) -> Control {
    Control::SessionRetry { connect_seq }
}

const fn retry_global(global_seq: u64) -> Control {
    Control::SessionRetryGlobal { global_seq }
}

const fn goes_on(msg_seq: u64) -> Control {
    Control::SessionReconnectOk { msg_seq }
}

/// Asks, and returns what answers that.
fn ask(line: &mut Line, wish: &Control) -> Control {
    line.say(wish);
    line.hear()
}

/// A new session is granted: the subject's half of its name.
pub(super) fn granted(line: &mut Line, subject: &Subject, wish: &Control) -> u64 {
    let Control::ServerIdent(ident) = ask(line, wish) else {
        panic!("it is not granted")
    };
    assert_eq!(ident.addrs, subject.addrs);
    assert_eq!((ident.gid, ident.lossy), (SUBJECT, false));
    assert_ne!(ident.cookie, 0);
    ident.cookie
}

/// A session in which each side has sent one message, and only the script's is acknowledged. With
/// the subject's half of its name.
fn exchanged(subject: &Subject, home: &Home) -> (Line, Connection, u64) {
    let mut line = Line::knock(&subject.addrs);
    let wish = home.ident(&subject.addrs, 10, CLIENT);
    let server = granted(&mut line, subject, &wish);
    line.send(&message(1, 0));
    let (connection, message) = subject.inbox.message();
    assert_eq!(message.head().seq, 1);
    assert_eq!(line.hear(), Control::Ack(1));
    send(&connection, 77);
    assert_eq!(line.take_numbered(), (1, 1, 77));
    (line, connection, server)
}

/// §12.2, rows 6, 7 and 9, on one link; and that what is not acknowledged comes again.
#[test]
fn a_session_goes_on_after_retries() {
    for (policy, connects) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (line, connection, server) = exchanged(&subject, &home);
        let _own = broken(line, &connection, &home, connects);
        let mut line = Line::knock(&subject.addrs);
        let mut wish = |numbers| ask(&mut line, &home.reconnect([CLIENT, server], numbers));
        assert_eq!(wish([9, 5, 0]), retry_global(10));
        if connects {
            assert_eq!(wish([11, 0, 0]), retry(1));
        }
        assert_eq!(wish([11, 5, 0]), goes_on(1));
        assert_eq!(line.take_again(), (1, 77));
        line.say(&Control::Ack(1));
        line.send(&message(2, 1));
        let (again, message) = subject.inbox.message();
        assert_eq!((again == connection, message.head().seq), (true, 2));
        assert_eq!(line.hear(), Control::Ack(2));
        // The number of the last time counts from here on.
        let mut late = Line::knock(&subject.addrs);
        let mut wish = |numbers| ask(&mut late, &home.reconnect([CLIENT, server], numbers));
        assert_eq!(wish([11, 4, 0]), retry(5));
        assert_eq!(wish([10, 6, 0]), retry_global(11));
        line.check_nothing_pending();
        subject.end();
    }
}

/// §12.2, row 8: both are about to go on, and have counted alike.
#[test]
fn in_a_race_to_go_on_the_larger_address_has_to_wait() {
    for (policy, connects) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (line, connection, server) = exchanged(&subject, &home);
        let own = broken(line, &connection, &home, connects);
        let mut line = Line::knock(&subject.addrs);
        let wish = home.reconnect([CLIENT, server], [11, 1, 1]);
        let Some(mut own) = own else {
            // Who never connects is not waited for.
            assert_eq!(ask(&mut line, &wish), goes_on(1));
            line.check_nothing_pending();
            subject.end();
            continue;
        };
        line.say(&wish);
        assert_eq!(line.hear_bytes(), literal::WAIT);
        // The subject's own attempt goes on.
        own.send(BANNER);
        own.say(&hello(own.seen()));
        assert!(matches!(own.hear(), Control::Hello { .. }));
        own.authenticate();
        let Control::SessionReconnect(asked) = own.hear() else {
            panic!("not to go on")
        };
        // Both name the session alike, whoever connects.
        assert_eq!((asked.client_cookie, asked.server_cookie), (CLIENT, server));
        assert_eq!((asked.connect_seq, asked.msg_seq), (1, 1));
        own.say(&goes_on(1));
        // So that it is sure to get opened.
        assert!(matches!(own.hear(), Control::Keepalive2(_)));
        own.check_nothing_pending();
        assert!(connection.is_connected());
        subject.end();
    }
}

#[test]
fn in_a_race_to_go_on_the_smaller_address_takes_over() {
    let subject = Subject::with(Policy::lossless_peer(0), 0xff, config());
    let home = Home::new(7);
    let (line, connection, server) = exchanged(&subject, &home);
    let own = broken(line, &connection, &home, true).expect("it connects");
    let mut line = Line::knock(&subject.addrs);
    let wish = home.reconnect([CLIENT, server], [11, 1, 0]);
    assert_eq!(ask(&mut line, &wish), goes_on(1));
    assert_eq!(own.end(), b"", "the subject's own attempt ends");
    assert_eq!(line.take_again(), (1, 77));
    subject.end();
}

/// §12.2, rows 1 and 2.
#[test]
fn who_asks_for_an_unknown_session_has_to_start_over() {
    let lossy = [
        Policy::stateless_server(0),
        Policy::stateless_registered_server(0),
    ];
    let all = lossless().map(|(policy, _)| policy).into_iter();
    for policy in all.chain(lossy) {
        let is_lossy = policy.lossy;
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let mut line = Line::knock(&subject.addrs);
        let wish = home.reconnect([CLIENT, 3], [5, 3, 9]);
        line.say(&wish);
        assert_eq!(line.hear_bytes(), bytes(&RESET_FULL));
        assert_eq!(ask(&mut line, &wish), RESET_FULL);
        // On the same link.
        let wish = home.ident(&subject.addrs, 5, CLIENT);
        if is_lossy {
            let Control::ServerIdent(ident) = ask(&mut line, &wish) else {
                panic!("it is not granted")
            };
            assert_eq!((ident.lossy, ident.cookie), (true, 0));
            line.check_nothing_pending();
            drop(line);
            subject.inbox.reset();
        } else {
            granted(&mut line, &subject, &wish);
            line.check_nothing_pending();
        }
        subject.end();
    }
}

#[test]
fn a_session_that_was_marked_down_is_unknown() {
    let subject = Subject::new(Policy::lossless_peer(0));
    let home = Home::new(7);
    let (line, connection, server) = exchanged(&subject, &home);
    connection.mark_down();
    assert_eq!(line.end(), b"");
    let mut line = Line::knock(&subject.addrs);
    let wish = home.reconnect([CLIENT, server], [11, 1, 0]);
    assert_eq!(ask(&mut line, &wish), RESET_FULL);
    // §12.1, row 1.
    let wish = home.ident(&subject.addrs, 1, CLIENT);
    assert_ne!(granted(&mut line, &subject, &wish), server);
    line.send(&message(1, 0));
    assert_ne!(subject.inbox.message().0, connection);
    subject.end();
}

/// §12.2, row 4, and then §12.1, row 5: a peer that was restarted.
#[test]
fn a_peer_with_another_cookie_begins_anew() {
    for (policy, connects) in lossless() {
        let resetcheck = policy.resetcheck;
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (line, connection, server) = exchanged(&subject, &home);
        let _own = broken(line, &connection, &home, connects);
        let mut line = Line::knock(&subject.addrs);
        let wish = home.reconnect([CLIENT + 1, server], [11, 9, 1]);
        let reset = if resetcheck { RESET_FULL } else { RESET };
        assert_eq!(ask(&mut line, &wish), reset);
        let wish = home.ident(&subject.addrs, 11, CLIENT + 1);
        let again = granted(&mut line, &subject, &wish);
        assert_ne!(again, server);
        if resetcheck {
            assert_eq!(subject.remote_reset(), 1, "message is lost");
        } else {
            assert_eq!(line.take_numbered(), (1, 0, 77), "it is kept");
        }
        // Received numbers begin anew.
        line.send(&message(1, 0));
        let (same, message) = subject.inbox.message();
        assert_eq!((same == connection, message.head().seq), (true, 1));
        assert_eq!(line.hear(), Control::Ack(1));
        send(&connection, 78);
        let seq = if resetcheck { 1 } else { 2 };
        assert_eq!(line.take_numbered(), (seq, 1, 78));
        // The session has its new name.
        let mut next = Line::knock(&subject.addrs);
        let wish = home.reconnect([CLIENT, server], [12, 1, 0]);
        assert_eq!(ask(&mut next, &wish), reset);
        let wish = home.reconnect([CLIENT + 1, again], [12, 1, 2]);
        assert_eq!(ask(&mut next, &wish), goes_on(1));
        subject.end();
    }
}

/// §12.1, row 6: the peer has not heard that its session was granted.
#[test]
fn a_peer_with_the_same_cookie_is_granted_its_session_again() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (old, connection, server) = exchanged(&subject, &home);
        let mut line = Line::knock(&subject.addrs);
        let wish = home.ident(&subject.addrs, 11, CLIENT);
        let again = granted(&mut line, &subject, &wish);
        assert_ne!(again, server);
        assert_eq!(old.end(), b"", "the old link ends");
        assert_eq!(line.take_numbered(), (1, 0, 77));
        assert!(connection.is_connected());
        subject.end();
    }
}

/// §12.1, row 3.
#[test]
fn a_stale_wish_is_not_answered() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (mut line, connection, _) = exchanged(&subject, &home);
        let mut stale = Line::knock(&subject.addrs);
        stale.say(&home.ident(&subject.addrs, 9, CLIENT));
        assert_eq!(stale.end(), b"", "without a word");
        let error = subject.inbox.accept_failed().to_string();
        assert!(error.contains("newer attempt"), "{error}");
        line.check_nothing_pending();
        assert!(connection.is_connected());
        subject.end();
    }
}

/// §12.1, row 4.
#[test]
fn a_lossy_session_makes_way_for_the_next() {
    let subject = Subject::new(Policy::stateless_registered_server(0));
    let home = Home::new(7);
    let mut lines = Vec::new();
    for global_seq in [10, 10, 11] {
        let mut line = Line::knock(&subject.addrs);
        line.say(&home.ident(&subject.addrs, global_seq, 0));
        assert!(matches!(line.hear(), Control::ServerIdent(_)));
        line.check_nothing_pending();
        lines.push(line);
    }
    for _ in 0..2 {
        let error = subject.inbox.reset().to_string();
        assert!(error.contains("opened a new connection"), "{error}");
    }
    let mut last = lines.pop().expect("the last");
    last.check_nothing_pending();
    for line in lines {
        assert_eq!(line.end(), b"");
    }
    subject.end();
}

/// §12.1, row 7: a session that rests, and has never been open.
#[test]
fn a_session_that_rests_is_taken_over_by_a_stranger() {
    let config = Config {
        workers: 1,
        ..config()
    };
    let subject = Subject::with(Policy::lossless_peer(0), 1, config);
    let mut other = Line::knock(&subject.addrs);
    let wish = Home::new(8).ident(&subject.addrs, 1, 8);
    granted(&mut other, &subject, &wish);
    let home = Home::new(7);
    let connection = subject.connect(&home);
    // With nothing to send it rests after the first failure.
    home.accept().take_banner();
    subject.refused();
    other.check_nothing_pending();
    let mut line = Line::knock(&subject.addrs);
    granted(&mut line, &subject, &home.ident(&subject.addrs, 1, CLIENT));
    send(&connection, 5);
    assert_eq!(line.take_numbered(), (1, 0, 5));
    subject.end();
}

/// The subject has a message, has connected, and has asked for a session.
fn attempted(subject: &Subject, home: &Home) -> (Line, Connection, u64) {
    let connection = subject.connect(home);
    send(&connection, 5);
    let (line, asked) = home.attempt();
    let Control::ClientIdent(ident) = asked else {
        panic!("not for a new session: {asked:?}")
    };
    (line, connection, ident.cookie)
}

/// §12.2, row 5: the script has granted the session, its link broke before that was heard, and it
/// wants to go on. The answer that is still on its way must not count then.
#[test]
fn a_session_that_was_granted_unheard_begins_anew() {
    for policy in [Policy::lossless_peer(0), Policy::lossless_peer_reuse(0)] {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (own, connection, cookie) = attempted(&subject, &home);
        let mut line = Line::knock(&subject.addrs);
        let wish = home.reconnect([cookie, 9], [1, 1, 0]);
        assert_eq!(ask(&mut line, &wish), RESET);
        assert_eq!(own.end(), b"");
        let (mut own, asked) = home.attempt();
        assert!(matches!(asked, Control::ClientIdent(ident) if ident.cookie == cookie));
        own.say(&home.grant(10));
        assert_eq!(own.take_numbered(), (1, 0, 5));
        assert!(connection.is_connected());
        subject.end();
    }
}

/// §12.1, row 9. By the first bytes of the nonces, the script's address is the
/// larger one.
#[test]
fn in_a_race_the_larger_address_has_to_wait() {
    let subject = Subject::new(Policy::lossless_peer(0));
    let home = Home::new(7);
    let (mut own, connection, _) = attempted(&subject, &home);
    let mut line = Line::knock(&subject.addrs);
    line.say(&home.ident(&subject.addrs, 1, CLIENT));
    assert_eq!(line.hear_bytes(), literal::WAIT);
    own.say(&home.grant(9));
    assert!(matches!(own.hear(), Control::Keepalive2(_)));
    assert_eq!(own.take_numbered(), (1, 0, 5));
    assert!(connection.is_connected());
    subject.end();
}

/// §12.1, row 8.
#[test]
fn in_a_race_the_smaller_address_takes_over() {
    for policy in [Policy::lossless_peer(0), Policy::lossless_peer_reuse(0)] {
        let subject = Subject::with(policy, 0xff, config());
        let home = Home::new(7);
        let (own, connection, _) = attempted(&subject, &home);
        let mut line = Line::knock(&subject.addrs);
        granted(&mut line, &subject, &home.ident(&subject.addrs, 1, CLIENT));
        assert_eq!(own.end(), b"", "the subject's own attempt ends");
        assert_eq!(line.take_numbered(), (1, 0, 5));
        assert!(connection.is_connected());
        subject.end();
    }
}

/// The cookie of the subject is looked at by nobody (msgr2 §12.2), and the link that is open here
/// only is given up.
#[test]
fn a_link_that_is_open_here_only_is_taken_over() {
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (old, connection, server) = exchanged(&subject, &home);
        let mut line = Line::knock(&subject.addrs);
        let wish = home.reconnect([CLIENT, !server], [11, 1, 0]);
        assert_eq!(ask(&mut line, &wish), goes_on(1));
        assert_eq!(old.end(), b"", "the old link ends");
        assert_eq!(line.take_again(), (1, 77));
        assert!(connection.is_connected());
        subject.end();
    }
}

/// A peer that sends again what it cannot know to have arrived, or says that it has got more than
/// there is.
#[test]
fn what_comes_twice_counts_once() {
    for (policy, connects) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (line, connection, server) = exchanged(&subject, &home);
        let _own = broken(line, &connection, &home, connects);
        let mut line = Line::knock(&subject.addrs);
        let wish = home.reconnect([CLIENT, server], [11, 9, u64::MAX]);
        assert_eq!(ask(&mut line, &wish), goes_on(1));
        let replayed = [1, 2, 2, 1, 6].map(|seq| message(seq, 0));
        line.send(&replayed.concat());
        let got = [(); 2].map(|()| subject.inbox.message().1.head().seq);
        assert_eq!(got, [2, 6]);
        while line.hear() != Control::Ack(6) {}
        line.check_nothing_pending();
        assert_eq!(subject.messenger.stats().duplicates, 3);
        assert_eq!(connection.unacked(), 0);
        subject.end();
    }
}

/// A peer of the first revision goes on with a session that it began in the second.
#[test]
fn each_link_has_a_revision_of_its_own() {
    let subject = Subject::new(Policy::lossless_peer(0));
    let home = Home::new(7);
    let (line, connection, server) = exchanged(&subject, &home);
    let _own = broken(line, &connection, &home, true);
    let mut line = Line::old(&subject.addrs);
    let wish = home.reconnect([CLIENT, server], [11, 9, 0]);
    assert_eq!(ask(&mut line, &wish), goes_on(1));
    assert_eq!(line.take_again(), (1, 77));
    line.check_nothing_pending();
    assert!(connection.is_connected());
    subject.end();
}

/// Whoever asks in the wrong way may ask in another, on the same link (msgr2 §7.1).
#[test]
fn a_method_that_is_not_taken_is_refused_and_another_one_taken() {
    let subject = Subject::new(Policy::lossless_peer(0));
    let home = Home::new(7);
    let mut line = Line::connect(&subject.addrs);
    line.send(BANNER);
    line.take_banner();
    line.say(&hello(subject.addrs.0[0]));
    assert_eq!(line.hear(), hello(line.seen()));
    for method in [Method(2), Method(4), Method(0)] {
        let Control::AuthRequest(request) = none() else {
            panic!("a request")
        };
        let wrong = AuthRequest { method, ..request };
        let Control::AuthBadMethod(refusal) = ask(&mut line, &Control::AuthRequest(wrong)) else {
            panic!("method {method} is taken")
        };
        let expected = AuthRefusal {
            method,
            result: -95,
            methods: vec![Method(1)],
            modes: vec![Mode(1)],
        };
        assert_eq!(refusal, expected);
    }
    line.say(&none());
    line.hear_let_in();
    line.say(&SIGNATURE);
    granted(&mut line, &subject, &home.ident(&subject.addrs, 1, CLIENT));
    subject.end();
}

/// On a link that was let in and breaks before anybody has used it, nothing is lost.
#[test]
fn going_on_can_be_tried_again_and_again() {
    for (policy, connects) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (mut line, mut connection, server) = exchanged(&subject, &home);
        for round in 1..=5 {
            let _own = broken(line, &connection, &home, connects);
            line = Line::knock(&subject.addrs);
            let wish = home.reconnect([CLIENT, server], [10 + round, 100 * round, 0]);
            assert_eq!(ask(&mut line, &wish), goes_on(1));
            assert_eq!(line.take_again(), (1, 77));
        }
        line.say(&Control::Ack(1));
        eventually("it is acknowledged", || connection.unacked() == 0);
        send(&connection, 78);
        assert_eq!(line.take_again(), (2, 78));
        line.send(&message(2, 2));
        connection = subject.inbox.message().0;
        eventually("it is acknowledged", || connection.unacked() == 0);
        subject.end();
    }
}
