//! The subject connects: what it makes of each answer (msgr2 §9.3, §9.4).

use std::time::{Duration, Instant};

use async_messenger::ErrorKind;
use async_messenger::auth::{AuthRefusal, Method, Mode};
use async_messenger::proto::v2::{ClientIdent, Control, Reconnect, tag};
use async_messenger::wire::EntityAddr;

use super::acceptor::{CLIENT, granted};
use super::peers::eventually;
use super::script::{BANNER, Home, SUBJECT, bytes, done, frame, hello, literal, message};
use super::*;

const SERVER: u64 = 0x5e12_0000_0000_0002;

fn connecting() -> [Policy; 3] {
    [
        Policy::lossless_peer(0),
        Policy::lossless_peer_reuse(0),
        Policy::lossless_client(0),
    ]
}

fn is_new(asked: Control) -> ClientIdent {
    match asked {
        Control::ClientIdent(ident) => ident,
        other => panic!("not for a new session: {other:?}"),
    }
}

fn goes_on(asked: Control) -> Reconnect {
    match asked {
        Control::SessionReconnect(reconnect) => reconnect,
        other => panic!("not to go on: {other:?}"),
    }
}

/// A session that the subject has opened, in which it has sent message 5, which is not
/// acknowledged. What it asked for comes with it.
fn opened(subject: &Subject, home: &Home) -> (Line, Connection, ClientIdent) {
    let connection = subject.connect(home);
    send(&connection, 5);
    let (mut line, asked) = home.attempt();
    let ident = is_new(asked);
    line.say(&home.grant(SERVER));
    assert_eq!(line.take_numbered(), (1, 0, 5));
    (line, connection, ident)
}

/// The next attempt, which asks to go on.
fn again(home: &Home) -> (Line, Reconnect) {
    let (line, asked) = home.attempt();
    (line, goes_on(asked))
}

fn let_go_on(line: &mut Line, msg_seq: u64) {
    line.say(&Control::SessionReconnectOk { msg_seq });
}

#[test]
fn what_it_asks_for() {
    for policy in connecting() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (mut line, connection, ident) = opened(&subject, &home);
        assert_eq!(ident.addrs, subject.addrs);
        assert_eq!((ident.target, ident.gid), (home.addr(), SUBJECT));
        assert_eq!((ident.lossy, ident.global_seq), (false, 1));
        assert_ne!(ident.cookie, 0);
        line.send(&message(1, 0));
        line.send(&message(2, 0));
        subject.inbox.message();
        subject.inbox.message();
        while line.hear() != Control::Ack(2) {}
        drop(line);
        let (mut line, asked) = again(&home);
        let expected = Reconnect {
            addrs: subject.addrs.clone(),
            client_cookie: ident.cookie,
            server_cookie: SERVER,
            global_seq: 2,
            connect_seq: 1,
            msg_seq: 2,
        };
        assert_eq!(asked, expected);
        let_go_on(&mut line, 0);
        assert_eq!(line.take_again(), (1, 5));
        assert!(connection.is_connected());
        subject.end();
    }
}

/// RECONNECT_OK: what the peer has is forgotten, the rest comes again with its numbers.
#[test]
fn only_what_is_missing_is_sent_again() {
    for policy in connecting() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (mut line, connection, _) = opened(&subject, &home);
        for tid in 6..10 {
            send(&connection, tid);
            assert_eq!(line.take_numbered().2, tid);
        }
        for (round, had) in [(1, 2), (2, 2), (3, 4)] {
            drop(line);
            let (next, asked) = again(&home);
            line = next;
            assert_eq!(asked.connect_seq, round);
            let_go_on(&mut line, had);
            for seq in had + 1..=5 {
                assert_eq!(line.take_numbered(), (seq, 0, seq + 4), "round {round}");
            }
        }
        send(&connection, 10);
        assert_eq!(line.take_numbered(), (6, 0, 10));
        line.say(&Control::Ack(6));
        eventually("all is acknowledged", || connection.unacked() == 0);
        assert_eq!(subject.messenger.stats().connected, 4);
        subject.end();
    }
}

/// RETRY and RETRY_GLOBAL, each on the same link.
#[test]
fn retries_are_obeyed() {
    for policy in connecting() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (line, _connection, _) = opened(&subject, &home);
        drop(line);
        let (mut line, asked) = again(&home);
        assert_eq!((asked.global_seq, asked.connect_seq), (2, 1));
        let mut told = |control: &Control| {
            line.say(control);
            let asked = goes_on(line.hear());
            (asked.global_seq, asked.connect_seq)
        };
        let retry = |connect_seq| Control::SessionRetry { connect_seq };
        let global = |global_seq| Control::SessionRetryGlobal { global_seq };
        assert_eq!(told(&retry(3)), (2, 4));
        assert_eq!(told(&global(100)), (101, 4));
        assert_eq!(told(&global(7)), (102, 4), "a lower one does no harm");
        assert_eq!(told(&retry(50)), (102, 51));
        let_go_on(&mut line, 0);
        assert_eq!(line.take_numbered(), (1, 0, 5));
        // What it was told stays.
        drop(line);
        let (_line, asked) = again(&home);
        assert_eq!((asked.global_seq, asked.connect_seq), (103, 52));
        subject.end();
    }
}

/// RESET(full): everything is void, and the owner knows.
#[test]
fn a_session_that_the_peer_has_lost_is_reset_and_told() {
    for policy in connecting() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (mut line, connection, first) = opened(&subject, &home);
        line.send(&message(1, 0));
        subject.inbox.message();
        assert_eq!(line.hear(), Control::Ack(1));
        drop(line);
        let (mut line, _) = again(&home);
        send(&connection, 6);
        line.say(&Control::SessionReset { full: true });
        let second = is_new(line.hear());
        assert_eq!(second.global_seq, 2);
        assert_ne!(second.cookie, first.cookie);
        assert_eq!(subject.remote_reset(), 2, "messages are lost");
        line.say(&home.grant(SERVER + 1));
        send(&connection, 7);
        assert_eq!(line.take_numbered(), (1, 0, 7));
        line.send(&message(1, 0));
        assert_eq!(subject.inbox.message().0, connection);
        drop(line);
        let (_line, asked) = again(&home);
        let names = [asked.client_cookie, asked.server_cookie];
        assert_eq!(names, [second.cookie, SERVER + 1]);
        assert_eq!((asked.connect_seq, asked.msg_seq), (1, 1));
        subject.end();
    }
}

/// RESET(not full): the session begins anew under its old name, with what it has queued.
#[test]
fn a_session_that_never_was_for_the_peer_begins_anew() {
    for policy in connecting() {
        let subject = Subject::new(policy);
        let home = Home::new(7);
        let (mut line, connection, first) = opened(&subject, &home);
        line.send(&message(1, 0));
        subject.inbox.message();
        assert_eq!(line.hear(), Control::Ack(1));
        drop(line);
        let (mut line, _) = again(&home);
        send(&connection, 6);
        line.say(&Control::SessionReset { full: false });
        let second = is_new(line.hear());
        assert_eq!((second.global_seq, second.cookie), (2, first.cookie));
        line.say(&home.grant(SERVER + 1));
        assert_eq!(line.take_numbered(), (1, 0, 5));
        assert_eq!(line.take_numbered(), (2, 0, 6));
        line.send(&message(1, 2));
        assert_eq!(subject.inbox.message().1.head().seq, 1);
        eventually("all is acknowledged", || connection.unacked() == 0);
        // `end` sees that nobody was told of a reset.
        subject.end();
    }
}

/// WAIT, to either wish: keeps all, and tries again after the longest pause.
#[test]
fn who_is_told_to_wait_waits_long() {
    let max_backoff = Duration::from_millis(400);
    for goes_on_first in [false, true] {
        for policy in connecting() {
            let config = Config {
                max_backoff,
                ..config()
            };
            let subject = Subject::with(policy, 1, config);
            let home = Home::new(7);
            let connection = if goes_on_first {
                opened(&subject, &home).1
            } else {
                let connection = subject.connect(&home);
                send(&connection, 5);
                connection
            };
            let (mut line, first) = home.attempt();
            let told = Instant::now();
            line.send(literal::WAIT);
            assert_eq!(line.end(), b"");
            assert!(!connection.is_closed());
            let (mut line, second) = home.attempt();
            // Not the first back-off, which is a few milliseconds; some of it may be random.
            assert!(told.elapsed() >= max_backoff / 2, "{:?}", told.elapsed());
            assert_eq!(first.tag(), second.tag());
            if goes_on_first {
                let (first, second) = (goes_on(first), goes_on(second));
                assert!(second.global_seq > first.global_seq);
                assert!(second.connect_seq > first.connect_seq);
                let_go_on(&mut line, 0);
            } else {
                let (first, second) = (is_new(first), is_new(second));
                assert!(second.global_seq > first.global_seq);
                assert_eq!(second.cookie, first.cookie);
                line.say(&home.grant(SERVER));
            }
            assert_eq!(line.take_numbered(), (1, 0, 5));
            subject.end();
        }
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
    let home = Home::new(7);
    let connection = subject.connect(&home);
    send(&connection, 5);
    let (mut line, _) = home.attempt();
    line.send(literal::WAIT);
    assert_eq!(line.end(), b"");
    let mut line = Line::knock(&subject.addrs);
    granted(&mut line, &subject, &home.ident(&subject.addrs, 1, CLIENT));
    assert_eq!(line.take_numbered(), (1, 0, 5));
    assert!(connection.is_connected());
    subject.end();
}

/// Answers to one who goes on, upon which it hangs up, keeps its session, and tries again.
#[test]
fn nonsense_ends_the_attempt_and_not_the_session() {
    let subject = Subject::new(Policy::lossless_peer(0));
    let home = Home::new(7);
    let (line, _connection, ident) = opened(&subject, &home);
    drop(line);
    let mut before = ident.global_seq;
    let low = |asked: &Reconnect, less| Control::SessionRetry {
        connect_seq: asked.connect_seq - less,
    };
    type Answer<'a> = &'a dyn Fn(&Reconnect) -> Vec<u8>;
    let wrong: [(Answer<'_>, &str); 8] = [
        (&|_| bytes(&home.grant(3)), "SERVER_IDENT does not belong"),
        (
            &|_| bytes(&Control::IdentMissingFeatures(2)),
            "IDENT_MISSING_FEATURES does not belong",
        ),
        (&|_| bytes(&done()), "AUTH_DONE does not belong"),
        (&|asked| bytes(&low(asked, 1)), "no more than our"),
        (
            &|_| {
                bytes(&Control::SessionRetry {
                    connect_seq: u64::MAX,
                })
            },
            "no more than our",
        ),
        (&|_| bytes(&Control::Ack(1)), "ACK does not belong"),
        (
            &|_| frame(tag::SESSION_RETRY, [&[1; 7], &[], &[], &[]]),
            "SESSION_RETRY",
        ),
        (&|_| message(1, 0), "a message before the session is open"),
    ];
    for (answer, text) in wrong {
        let (mut line, asked) = again(&home);
        assert!(asked.global_seq > before, "{text}");
        line.send(&answer(&asked));
        let error = subject.refused();
        let said = error.to_string();
        assert!(said.contains(text), "{said}: not {text}");
        assert!(said.contains("SESSION_RECONNECTING"), "{said}");
        assert_eq!(error.peer(), Some(home.addr()), "{said}");
        assert_eq!(line.end(), b"", "{text}");
        before = asked.global_seq;
    }
    let (mut line, _) = again(&home);
    let_go_on(&mut line, 0);
    assert_eq!(line.take_numbered(), (1, 0, 5));
    subject.end();
}

/// The same for one who wants a new session.
#[test]
fn refusals_of_a_new_session_are_told_and_tried_again() {
    let subject = Subject::new(Policy::lossless_peer(0));
    let home = Home::new(7);
    let connection = subject.connect(&home);
    send(&connection, 5);
    let elsewhere = Home::new(7);
    let wrong = [
        (Control::IdentMissingFeatures(1 << 59), "MSG_ADDR2"),
        (elsewhere.grant(3), "we meant"),
        (
            Control::SessionReconnectOk { msg_seq: 0 },
            "SESSION_RECONNECT_OK does not belong",
        ),
        (
            Control::SessionReset { full: true },
            "SESSION_RESET does not belong",
        ),
        (
            Control::SessionRetry { connect_seq: 4 },
            "SESSION_RETRY does not belong",
        ),
        (
            Control::SessionRetryGlobal { global_seq: 4 },
            "SESSION_RETRY_GLOBAL does not belong",
        ),
    ];
    let mut cookies = Vec::new();
    for (answer, text) in wrong {
        let (mut line, asked) = home.attempt();
        cookies.push(is_new(asked).cookie);
        line.say(&answer);
        let error = subject.refused();
        let said = error.to_string();
        assert!(said.contains(text), "{said}: not {text}");
        assert!(said.contains("SESSION_CONNECTING"), "{said}");
        assert_eq!(error.peer(), Some::<EntityAddr>(home.addr()), "{said}");
        assert_eq!(line.end(), b"", "{text}");
    }
    let (mut line, asked) = home.attempt();
    cookies.push(is_new(asked).cookie);
    line.say(&home.grant(SERVER));
    assert_eq!(line.take_numbered(), (1, 0, 5));
    cookies.dedup();
    assert_eq!(cookies.len(), 1, "one session, one name");
    subject.end();
}

/// Another sort of program, or one with another protocol: it would be the same the next time
/// (msgr2 §4, §6.3).
#[test]
fn a_peer_that_does_not_fit_ends_the_session() {
    let strange = |line: &mut Line, home: &Home| {
        line.send(BANNER);
        let mon = Control::Hello {
            entity: EntityType::MON,
            peer_addr: home.addr(),
        };
        line.say(&mon);
    };
    let demanding = |line: &mut Line, _: &Home| {
        let mut banner = BANNER.to_vec();
        *banner.last_mut().expect("it is long") = 0x80;
        line.send(&banner);
    };
    type Answer<'a> = &'a dyn Fn(&mut Line, &Home);
    let cases: [(Answer<'_>, &str); 2] = [
        (&strange, "in HELLO_CONNECTING: the peer is of type mon"),
        (&demanding, "in BANNER_CONNECTING: the revisions of msgr2"),
    ];
    for policy in connecting() {
        for (answer, text) in &cases {
            let subject = Subject::new(policy.clone());
            let home = Home::new(7);
            let connection = subject.connect(&home);
            send(&connection, 5);
            let mut line = home.accept();
            answer(&mut line, &home);
            let error = subject.inbox.reset();
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
            assert!(error.to_string().contains(text), "{error}: not {text}");
            assert!(connection.is_closed());
            line.end();
            subject.end();
        }
    }
}

/// Whoever refuses this side may have its mind changed.
#[test]
fn who_is_not_let_in_is_told_why_and_tries_again() {
    let subject = Subject::new(Policy::lossless_peer(0));
    let home = Home::new(7);
    let connection = subject.connect(&home);
    send(&connection, 5);
    let refusal = Control::AuthBadMethod(AuthRefusal {
        method: Method(1),
        result: -95,
        methods: vec![Method(2)],
        modes: vec![Mode(2)],
    });
    for _ in 0..2 {
        let mut line = home.accept();
        line.send(BANNER);
        line.say(&hello(home.addr()));
        line.take_banner();
        assert!(matches!(line.hear(), Control::Hello { .. }));
        assert!(matches!(line.hear(), Control::AuthRequest(_)));
        line.say(&refusal);
        let error = subject.refused();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let said = error.to_string();
        assert!(said.contains("in AUTH_CONNECTING: "), "{said}");
        assert!(said.contains("methods cephx"), "{said}");
        assert_eq!(line.end(), b"");
    }
    let (mut line, _) = home.attempt();
    line.say(&home.grant(SERVER));
    assert_eq!(line.take_numbered(), (1, 0, 5));
    subject.end();
}

/// The acceptor decides what is lossy (msgr2 §9.3).
#[test]
fn a_session_that_the_peer_grants_as_lossy_is_lossy() {
    let subject = Subject::new(Policy::lossless_client(0));
    let home = Home::new(7);
    let connection = subject.connect(&home);
    send(&connection, 5);
    let (mut line, _) = home.attempt();
    line.say(&home.grant(0));
    assert_eq!(line.take_numbered(), (1, 0, 5));
    assert_eq!(connection.unacked(), 0);
    drop(line);
    subject.inbox.reset();
    assert!(connection.is_closed());
    subject.end();
}

#[test]
fn a_server_does_not_connect() {
    let subject = Subject::new(Policy::stateful_server(0));
    let target = Home::new(7).addr().into();
    let error = subject.messenger.connect(EntityType::OSD, &target);
    let text = error.expect_err("a server").to_string();
    assert!(text.contains("the peer must connect"), "{text}");
    subject.end();
}
