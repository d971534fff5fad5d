//! Links that end in each state (msgr2 §13).

use async_messenger::proto::v2::Control;

use super::acceptor::{CLIENT, granted};
use super::peers::eventually;
use super::script::{BANNER, Home, SIGNATURE, bytes, done, hello, message, none};
use super::*;

/// How far the script goes before it hangs up, and the state that the subject is in by then.
const CONNECTING: [&str; 6] = [
    "BANNER_CONNECTING",
    "HELLO_CONNECTING",
    "AUTH_CONNECTING",
    "AUTH_CONNECTING_SIGN",
    "SESSION_CONNECTING",
    "SESSION_RECONNECTING",
];

/// Goes as far as one of those states, and waits until the subject is there.
fn lead(line: &mut Line, home: &Home, state: usize) {
    line.take_banner();
    if state >= 1 {
        line.send(BANNER);
        assert!(matches!(line.hear(), Control::Hello { .. }));
    }
    if state >= 2 {
        line.say(&hello(home.addr()));
        assert!(matches!(line.hear(), Control::AuthRequest(_)));
    }
    if state >= 3 {
        line.say(&done());
        assert_eq!(line.hear(), SIGNATURE);
    }
    if state >= 4 {
        line.say(&SIGNATURE);
        let asked = line.hear();
        let goes_on = matches!(asked, Control::SessionReconnect(_));
        assert_eq!(goes_on, state == 5, "{asked:?}");
    }
}

#[test]
fn who_connects_tries_again_from_each_state() {
    for policy in [Policy::lossless_peer(0), Policy::lossless_client(0)] {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let connection = subject.connect(&home);
        send(&connection, 5);
        for (state, name) in CONNECTING.iter().enumerate() {
            if state == 5 {
                // From here on there is a session to go on with.
                let (mut line, _) = home.attempt();
                line.say(&home.grant(3));
                assert_eq!(line.take_numbered(), (1, 0, 5));
            }
            let mut line = home.accept();
            lead(&mut line, &home, state);
            drop(line);
            let error = subject.refused();
            let said = error.to_string();
            assert!(said.contains(&format!("in {name}: ")), "{said}");
            assert_eq!(error.peer(), Some(home.addr()), "{said}");
            assert!(error.is_retryable(), "{said}");
        }
        let (mut line, _) = home.attempt();
        line.say(&Control::SessionReconnectOk { msg_seq: 0 });
        assert_eq!(line.take_numbered(), (1, 0, 5));
        assert!(connection.is_connected());
        subject.end();
    }
}

/// With nothing to say a peer rests, whichever state the attempt had got to.
#[test]
fn who_has_nothing_to_send_rests_after_each_state() {
    for (state, name) in CONNECTING[..5].iter().enumerate() {
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
        let mut line = home.accept();
        lead(&mut line, &home, state);
        drop(line);
        let said = subject.refused().to_string();
        assert!(said.contains(name), "{said}");
        // When its only worker answers somebody else, it is done with the broken link.
        other.check_nothing_pending();
        send(&connection, 5);
        let (mut line, asked) = home.attempt();
        let Control::ClientIdent(asked) = asked else {
            panic!("not for a new session: {asked:?}")
        };
        // Attempts are numbered, and there was none in between.
        let behind = u64::from(state >= 4);
        assert!(asked.global_seq > behind, "{}", asked.global_seq);
        line.say(&home.grant(3));
        assert_eq!(line.take_numbered(), (1, 0, 5));
        assert_eq!(subject.messenger.stats().faults, 1);
        subject.end();
    }
}

/// Otherwise than in v1, a lossy connection lasts until it has been open (rule 2).
#[test]
fn a_lossy_connection_tries_again_from_each_state() {
    let subject = Subject::new(Policy::lossy_client(0));
    let home = Home::new(7);
    let connection = subject.connect(&home);
    send(&connection, 5);
    for (state, name) in CONNECTING[..5].iter().enumerate() {
        let mut line = home.accept();
        lead(&mut line, &home, state);
        drop(line);
        let error = subject.refused();
        let said = error.to_string();
        assert!(said.contains(&format!("in {name}: ")), "{said}");
        assert!(error.is_retryable() && !connection.is_closed(), "{said}");
    }
    let (mut line, asked) = home.attempt();
    let Control::ClientIdent(asked) = asked else {
        panic!("not for a new session: {asked:?}")
    };
    assert_eq!((asked.lossy, asked.cookie), (true, 0));
    line.say(&home.grant(0));
    assert_eq!(line.take_numbered(), (1, 0, 5));
    subject.end();
}

#[test]
fn a_lossy_connection_ends_when_it_was_open() {
    let subject = Subject::new(Policy::lossy_client(0));
    let home = Home::new(7);
    let connection = subject.connect(&home);
    send(&connection, 5);
    let (mut line, asked) = home.attempt();
    let Control::ClientIdent(asked) = asked else {
        panic!("not for a new session: {asked:?}")
    };
    assert_eq!((asked.lossy, asked.cookie), (true, 0));
    line.say(&home.grant(0));
    assert_eq!(line.take_numbered(), (1, 0, 5));
    drop(line);
    let said = subject.inbox.reset().to_string();
    assert!(said.contains("in READY: "), "{said}");
    assert!(connection.is_closed());
    subject.end();
}

/// A stranger that hangs up leaves nothing behind but a line in the log.
#[test]
fn who_accepts_forgets_a_stranger_in_each_state() {
    let names = [
        "BANNER_ACCEPTING",
        "HELLO_ACCEPTING",
        "AUTH_ACCEPTING",
        "AUTH_ACCEPTING_SIGN",
        "SESSION_ACCEPTING",
    ];
    for (policy, _) in lossless() {
        let subject = Subject::new(policy);
        for (state, name) in names.iter().enumerate() {
            let mut line = Line::connect(&subject.addrs);
            let seen = line.seen();
            line.take_banner();
            if state >= 1 {
                line.send(BANNER);
                assert_eq!(line.hear(), hello(seen));
            }
            if state >= 2 {
                line.say(&hello(subject.addrs.0[0]));
            }
            if state >= 3 {
                line.say(&none());
                line.hear_let_in();
            }
            if state >= 4 {
                line.say(&SIGNATURE);
                let mut wish = Home::new(7).reconnect([1, 2], [3, 4, 5]);
                // Which is answered, and leaves it in its state.
                for _ in 0..2 {
                    line.say(&wish);
                    assert_eq!(line.hear(), Control::SessionReset { full: true });
                    wish = Home::new(9).reconnect([1, 2], [3, 4, 5]);
                }
            }
            drop(line);
            let error = subject.inbox.accept_failed();
            let said = error.to_string();
            // Nothing is sent in answer to HELLO: it may not have come yet.
            let early = state == 2 && said.contains("HELLO_ACCEPTING");
            assert!(early || said.contains(&format!("in {name}: ")), "{said}");
            assert_eq!(error.peer(), Some(seen), "{said}");
        }
        eventually("all are gone", || {
            subject.messenger.stats().connections == 0
        });
        subject.end();
    }
}

/// An open link breaks on the side that accepted it.
#[test]
fn who_accepted_goes_on_by_its_policy() {
    for (policy, connects) in lossless() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let mut line = Line::knock(&subject.addrs);
        let server = granted(&mut line, &subject, &home.ident(&subject.addrs, 4, CLIENT));
        line.send(&message(1, 0));
        let (connection, _) = subject.inbox.message();
        assert_eq!(line.hear(), Control::Ack(1));
        send(&connection, 5);
        assert_eq!(line.take_numbered(), (1, 1, 5));
        drop(line);
        eventually("it notices", || !connection.is_connected());
        if connects {
            // The names are not swapped (msgr2 §9.1).
            let (mut line, asked) = home.attempt();
            let Control::SessionReconnect(asked) = asked else {
                panic!("not to go on: {asked:?}")
            };
            let names = (asked.client_cookie, asked.server_cookie);
            assert_eq!(names, (CLIENT, server));
            assert_eq!((asked.connect_seq, asked.msg_seq), (1, 1));
            line.say(&Control::SessionReconnectOk { msg_seq: 0 });
            assert_eq!(line.take_again(), (1, 5));
        } else {
            // It is not lost, and waits for the peer.
            assert_eq!(connection.unacked(), 1);
            let mut line = Line::knock(&subject.addrs);
            line.say(&home.reconnect([CLIENT, server], [5, 1, 0]));
            assert_eq!(line.hear(), Control::SessionReconnectOk { msg_seq: 1 });
            assert_eq!(line.take_again(), (1, 5));
            assert!(home.try_accept().is_none(), "a server does not connect");
        }
        subject.end();
    }
}

/// With all said, a peer rests, and goes on when there is something again.
#[test]
fn a_peer_at_rest_goes_on_when_something_is_sent() {
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
    send(&connection, 5);
    let (mut line, _) = home.attempt();
    line.send(&[bytes(&home.grant(3)), bytes(&Control::Ack(1))].concat());
    assert_eq!(line.take_numbered(), (1, 0, 5));
    line.say(&Control::Ack(1));
    eventually("it is acknowledged", || connection.unacked() == 0);
    drop(line);
    eventually("it notices", || !connection.is_connected());
    other.check_nothing_pending();
    assert!(home.try_accept().is_none(), "it rests");
    send(&connection, 6);
    let (mut line, asked) = home.attempt();
    let Control::SessionReconnect(asked) = asked else {
        panic!("not to go on: {asked:?}")
    };
    assert_eq!(asked.connect_seq, 1);
    line.say(&Control::SessionReconnectOk { msg_seq: 1 });
    assert_eq!(line.take_numbered(), (2, 0, 6));
    subject.end();
}
