//! Questions and their answers on one session.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use async_messenger::ErrorKind;
use async_messenger::mon::{Command, Settings};

use super::peers::DEADLINE;
use super::server::{Act, FSID};
use super::{check, client, settings, status, trusting};

#[test]
fn everything_that_can_be_asked() {
    let mon = trusting(&[]);
    let client = client(settings(&[&mon.addrs]));
    assert!(client.connection().is_none(), "nobody has asked yet");
    let peer = client.session(DEADLINE).wait().expect("a session");
    assert_eq!(peer, mon.addrs.0[0]);
    check(&client);
    let (tid, command) = mon.command();
    assert_ne!(tid, 0);
    assert_eq!(command.fsid, FSID);

    let versions = client
        .versions("osdmap", DEADLINE)
        .wait()
        .expect("versions");
    assert_eq!((versions.newest, versions.oldest), (9, 2));
    let map = client.mon_map(DEADLINE).wait().expect("a map");
    assert_eq!((map.fsid, map.epoch), (FSID, 1));
    assert_eq!(client.known_map(), Some(map));
    let well = client.ping(&mon.addrs, DEADLINE).wait().expect("a word");
    assert_eq!(well, "well");

    let input = Command::new("{}").with_input("bulk");
    client.command(input, DEADLINE).wait().expect("an answer");
    assert_eq!(mon.command().1.input, "bulk");
    assert_eq!(client.sessions(), 1);
    mon.end();
}

#[test]
fn many_at_a_time_are_told_apart() {
    let mon = trusting(&[]);
    let client = client(settings(&[&mon.addrs]));
    let asked: Vec<_> = (0..200)
        .map(|n| client.command(Command::new(n.to_string()), DEADLINE))
        .collect();
    for (n, pending) in asked.into_iter().enumerate() {
        let answer = pending.wait().expect("an answer");
        assert_eq!(answer.data, n.to_string());
    }
    mon.end();
}

#[test]
fn an_answer_with_the_wrong_tid_is_none() {
    let mon = trusting(&[Act::AnswerOther, Act::AnswerTwice]);
    let client = client(settings(&[&mon.addrs]));
    for _ in 0..3 {
        check(&client);
    }
    assert_eq!(client.sessions(), 1);
    mon.end();
}

#[test]
fn a_late_answer_is_dropped() {
    let mon = trusting(&[Act::Hold]);
    let client = client(settings(&[&mon.addrs]));
    client.session(DEADLINE).wait().expect("a session");
    let error = client
        .command(status(), Duration::from_millis(30))
        .wait()
        .expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.peer(), Some(mon.addrs.0[0]));
    let text = error.to_string();
    assert!(
        text.contains(r#"the command {"prefix":"status"}"#),
        "{text}"
    );
    mon.command();
    assert_eq!(mon.release(), 1);
    check(&client);
    assert_eq!(client.sessions(), 1);
    mon.end();
}

#[test]
fn open_questions_are_bounded() {
    let mon = trusting(&[Act::Hold, Act::Hold]);
    let client = client(Settings {
        requests_max: 2,
        ..settings(&[&mon.addrs])
    });
    let held = [(); 2].map(|()| client.command(status(), DEADLINE));
    for refused in [
        client.command(status(), DEADLINE).wait().map(drop),
        client.ping(&mon.addrs, DEADLINE).wait().map(drop),
    ] {
        let error = refused.expect_err("there are two");
        assert!(error.to_string().contains("requests_max"), "{error}");
    }
    mon.command();
    mon.command();
    mon.release();
    for pending in held {
        assert_eq!(pending.wait().expect("released").data, "late");
    }
    check(&client);
    mon.end();
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn answers_are_futures() {
    let mon = trusting(&[Act::Hold]);
    let client = client(settings(&[&mon.addrs]));
    let mut command = pin!(client.command(status(), DEADLINE));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    assert!(command.as_mut().poll(&mut cx).is_pending());
    mon.command();
    mon.release();
    let answer = loop {
        match command.as_mut().poll(&mut cx) {
            Poll::Ready(answer) => break answer,
            Poll::Pending => thread::park_timeout(DEADLINE),
        }
    };
    assert_eq!(answer.expect("an answer").data, "late");
    mon.end();
}

#[test]
fn the_end_of_the_messenger_or_the_client_ends_all_waiting() {
    let mon = trusting(&[Act::Hold, Act::Hold]);
    let first = client(settings(&[&mon.addrs]));
    let held = first.command(status(), DEADLINE);
    mon.command();
    first.messenger().shutdown();
    let error = held.wait().expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::MarkedDown);
    first.messenger().wait().expect("ends");
    let error = first.command(status(), DEADLINE).wait();
    assert_eq!(error.expect_err("it is down").kind(), ErrorKind::MarkedDown);

    let second = client(settings(&[&mon.addrs]));
    let held = second.command(status(), DEADLINE);
    mon.command();
    drop(second);
    let error = held.wait().expect_err("nobody waits");
    assert_eq!(error.kind(), ErrorKind::MarkedDown);
    mon.end();
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    use async_messenger::wire::EntityName;
    use async_messenger::{Messenger, mon};

    let messenger = Messenger::builder(EntityName::client(-1)).build();
    let messenger = Arc::new(messenger.expect("a messenger"));
    let good = Settings::new(mon::parse_hosts("10.0.0.1").expect("an address"));
    for bad in [
        Settings::new(Vec::new()),
        Settings {
            rounds: Some(0),
            ..good.clone()
        },
        Settings {
            keepalive_interval: Duration::ZERO,
            ..good.clone()
        },
        Settings {
            monitors: vec![good.monitors[0].clone(); mon::MONITORS_MAX + 1],
            ..good
        },
    ] {
        let error = mon::Client::new(&messenger, bad).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Misuse);
    }
}
