//! Many that begin a handshake and do not end it: bounded in number and in time.

use std::time::Duration;

use async_messenger::ErrorKind;
use async_messenger::proto::v2::Control;

use super::acceptor::{CLIENT, granted};
use super::peers::eventually;
use super::script::{BANNER, Home, hello, none};
use super::*;

/// Goes so far into a handshake, and no further.
fn half_open(subject: &Subject, step: usize) -> Line {
    if step % 5 == 4 {
        // Is somebody, asks for something, and leaves it at the answer.
        let mut line = Line::knock(&subject.addrs);
        line.say(&Home::new(9).reconnect([1, 2], [3, 4, 5]));
        assert_eq!(line.hear(), Control::SessionReset { full: true });
        return line;
    }
    let mut line = Line::connect(&subject.addrs);
    match step % 5 {
        0 => line.take_banner(),
        1 => line.send(&BANNER[..9]),
        2 => {
            line.send(BANNER);
            line.say(&hello(subject.addrs.0[0]));
        }
        _ => {
            line.send(BANNER);
            line.say(&hello(subject.addrs.0[0]));
            line.say(&none());
        }
    }
    line
}

#[test]
fn a_crowd_of_half_open_handshakes_is_bounded_in_number() {
    const MAX: usize = 40;
    let config = Config {
        connections_max: MAX,
        ..config()
    };
    let subject = Subject::with(Policy::lossless_peer(0), 1, config);
    let mut line = Line::knock(&subject.addrs);
    let home = Home::new(7);
    granted(&mut line, &subject, &home.ident(&subject.addrs, 1, CLIENT));
    let mut crowd: Vec<Line> = (1..MAX).map(|i| half_open(&subject, i)).collect();
    let stats = || subject.messenger.stats();
    eventually("the crowd is in", || stats().connections == MAX);
    for refused in 1..=20 {
        assert_eq!(Line::connect(&subject.addrs).end(), b"", "not even greeted");
        eventually("it is counted", || stats().refused == refused);
    }
    line.check_nothing_pending();
    // One goes, and there is a place again.
    crowd.pop();
    eventually("there is a place", || stats().connections < MAX);
    let mut next = Line::knock(&subject.addrs);
    let wish = Home::new(8).ident(&subject.addrs, 1, CLIENT);
    granted(&mut next, &subject, &wish);
    subject.end();
}

#[test]
fn a_crowd_of_half_open_handshakes_is_bounded_in_time() {
    const CROWD: usize = 100;
    let config = Config {
        // Enough for those who get as far as a question, however busy the machine is.
        ready_timeout: Duration::from_secs(1),
        ..config()
    };
    let subject = Subject::with(Policy::lossless_peer(0), 1, config);
    let crowd: Vec<Line> = (0..CROWD).map(|i| half_open(&subject, i)).collect();
    for _ in 0..CROWD {
        let error = subject.inbox.accept_failed();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        let phase = error.phase().expect("it has begun").to_string();
        assert!(
            phase.ends_with("_ACCEPTING") || phase.ends_with("_SIGN"),
            "{error}"
        );
    }
    for line in crowd {
        line.end();
    }
    let stats = subject.messenger.stats();
    assert_eq!(stats.handshakes_failed, CROWD as u64);
    eventually("all are gone", || {
        subject.messenger.stats().connections == 0
    });
    // A session outlives it.
    let mut line = Line::knock(&subject.addrs);
    let wish = Home::new(7).ident(&subject.addrs, 1, CLIENT);
    granted(&mut line, &subject, &wish);
    line.check_nothing_pending();
    subject.end();
}
