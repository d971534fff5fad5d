//! The search for a monitor: dead ones, refusing ones, silent ones.

use std::net::TcpListener;
use std::time::Duration;

use async_messenger::ErrorKind;
use async_messenger::mon::Settings;
use async_messenger::wire::AddrVec;

use super::peers::{DEADLINE, msgr};
use super::server::Asked;
use super::{addr_at, check, client, deaf, refusing, settings, trusting};

/// Accepts connections, by the kernel's hand, and says nothing.
fn silent() -> (TcpListener, AddrVec) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = addr_at(listener.local_addr().expect("bound"));
    (listener, addr)
}

#[test]
fn a_dead_a_silent_and_a_refusing_monitor_are_passed_over() {
    let (_held, dead) = deaf();
    let (_listener, mute) = silent();
    // The order is random: some of these begin with each of them. The good one has to be done in
    // one attempt: if the others fail, a round that one of them denied is the last.
    for _ in 0..8 {
        let (refusing, good) = (refusing(), trusting(&[]));
        let client = client(Settings {
            attempt_timeout: Duration::from_millis(500),
            ..settings(&[&dead, &mute, &refusing.addrs, &good.addrs])
        });
        let peer = client.session(DEADLINE).wait().expect("one is good");
        assert_eq!(peer, good.addrs.0[0]);
        check(&client);
        assert_eq!(client.sessions(), 1);
        good.end();
        refusing.end();
    }
}

#[test]
fn when_all_fail_the_error_names_each() {
    let ((_a, first), (_b, second)) = (deaf(), deaf());
    let client = client(Settings {
        rounds: Some(2),
        ..settings(&[&first, &second])
    });
    let error = client.session(DEADLINE).wait().expect_err("none is there");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let text = error.to_string();
    for addr in [&first, &second] {
        assert!(text.contains(&addr.0[0].to_string()), "{text}");
    }
    assert!(text.contains("refused"), "{text}");

    let alone = super::client(Settings {
        rounds: Some(1),
        ..settings(&[&first])
    });
    let error = alone.session(DEADLINE).wait().expect_err("it is not there");
    assert_eq!(error.peer(), Some(first.0[0]), "its own error: {error}");
}

#[test]
fn without_a_limit_the_deadline_ends_it_and_says_why() {
    let (_held, dead) = deaf();
    let client = client(settings(&[&dead]));
    let ended = |limit| {
        let error = client.session(limit).wait();
        let error = error.expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let text = error.to_string();
        assert!(text.contains("session"), "{text}");
        text.contains("refused")
    };
    // The first attempt may take longer than the first of these.
    let limits = [Duration::from_millis(60), Duration::from_secs(1), DEADLINE];
    assert!(limits.into_iter().any(ended), "it never says why");
}

#[test]
fn a_monitor_that_answers_after_a_while_is_found() {
    if msgr().is_v2() {
        return;
    }
    let mon = trusting(&[]);
    mon.answer_auth(&[None; 2]);
    let client = client(Settings {
        attempt_timeout: Duration::from_millis(50),
        ..settings(&[&mon.addrs])
    });
    check(&client);
    let auths = [mon.auth(), mon.auth(), mon.auth()];
    assert!(auths.iter().all(|auth| auth.protocol == 0));
    mon.end();
}

#[test]
fn a_refusal_is_told_at_once_and_says_who_and_why() {
    let mon = refusing();
    let client = client(settings(&[&mon.addrs]));
    let error = client.session(DEADLINE).wait().expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.peer(), Some(mon.addrs.0[0]));
    let text = error.to_string();
    for part in ["authentication", "cephx"] {
        assert!(text.contains(part), "{text}");
    }
    mon.end();

    if !msgr().is_v2() {
        let mon = trusting(&[]);
        mon.answer_auth(&[Some(-13); 1000]);
        let client = super::client(settings(&[&mon.addrs]));
        let error = client.session(DEADLINE).wait().expect_err("refused");
        let text = error.to_string();
        for part in ["as client.admin", "-13", "not today"] {
            assert!(text.contains(part), "{text}");
        }
        mon.end();
    }
}

#[test]
fn a_monitor_of_another_cluster_is_refused() {
    let mon = trusting(&[]);
    mon.edit_map(|map| map.fsid.0 = [9; 16]);
    let client = client(Settings {
        fsid: Some(super::server::FSID),
        ..settings(&[&mon.addrs])
    });
    let error = client.session(DEADLINE).wait().expect_err("another one");
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(mon.was_not_asked(|asked| matches!(asked, Asked::Command(..))));
    mon.end();
}

#[test]
fn monitors_of_the_map_are_tried_when_the_first_is_gone() {
    let (first, second) = (trusting(&[]), trusting(&[]));
    let addrs = second.addrs.clone();
    first.edit_map(|map| {
        map.mons.push(async_messenger::messages::MonInfo {
            name: "b".into(),
            addrs,
            ..Default::default()
        });
    });
    let client = client(settings(&[&first.addrs]));
    check(&client);
    first.end();
    check(&client);
    let connection = client.connection().expect("a session");
    assert_eq!(connection.peer_addr(), second.addrs.0[0]);
    assert_eq!(client.sessions(), 2);
    second.end();
}

#[test]
fn a_ping_needs_no_session() {
    // In v2 there is no connection without a log-in.
    let mon = if msgr().is_v2() {
        trusting(&[])
    } else {
        refusing()
    };
    let client = client(settings(&[&mon.addrs]));
    assert_eq!(
        client.ping(&mon.addrs, DEADLINE).wait().expect("a word"),
        "well"
    );
    assert_eq!(client.sessions(), 0);
    assert!(mon.was_not_asked(|asked| matches!(asked, Asked::Auth(_))));

    let (_held, dead) = deaf();
    let error = client.ping(&dead, DEADLINE).wait().expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let (_listener, mute) = silent();
    let error = client.ping(&mute, Duration::from_millis(30)).wait();
    let error = error.expect_err("not a word");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.peer(), Some(mute.0[0]));
    mon.end();
}
