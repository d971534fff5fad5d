//! Sessions that are lost, and what becomes of what was asked on them.

use std::time::Duration;

use async_messenger::mon::Settings;

use super::peers::{DEADLINE, eventually};
use super::server::{Act, Asked};
use super::{check, client, settings, status, trusting};

#[test]
fn a_command_in_the_middle_of_which_the_session_is_lost_is_sent_once_more() {
    let mon = trusting(&[Act::HangUp]);
    let client = client(settings(&[&mon.addrs]));
    check(&client);
    let ((first, _), (second, _)) = (mon.command(), mon.command());
    assert_eq!(first, second, "the same question");
    assert_eq!(client.sessions(), 2);
    check(&client);
    assert_ne!(mon.command().0, first);
    assert!(mon.was_not_asked(|asked| matches!(asked, Asked::Command(..))));
    mon.end();
}

#[test]
fn an_answer_of_the_lost_session_does_not_count() {
    let mon = trusting(&[Act::Hold, Act::HangUp, Act::Hold]);
    let client = client(settings(&[&mon.addrs]));
    let held = client.command(status(), DEADLINE);
    mon.command();
    check(&client);
    // The one that is answered at last is the one that came by the second session.
    eventually("all is sent again", || mon.release() > 0);
    let answer = held.wait().expect("an answer");
    assert!(
        ["late", r#"{"prefix":"status"}"#]
            .contains(&std::str::from_utf8(&answer.data).expect("text"))
    );
    assert_eq!(client.sessions(), 2);
    mon.end();
}

#[test]
fn a_monitor_that_shows_no_sign_of_life_is_left() {
    let frozen = trusting(&[Act::Freeze]);
    let good = trusting(&[]);
    let client = client(Settings {
        keepalive_interval: Duration::from_millis(30),
        keepalive_timeout: Duration::from_millis(300),
        attempt_timeout: Duration::from_millis(200),
        ..settings(&[&frozen.addrs])
    });
    client.session(DEADLINE).wait().expect("a session");
    // From now on it knows both.
    let both = good.addrs.clone();
    frozen.edit_map(|map| {
        map.epoch += 1;
        map.mons.push(async_messenger::messages::MonInfo {
            name: "b".into(),
            addrs: both,
            ..Default::default()
        });
    });
    // The one that the session began with may still be on its way.
    eventually("the new map", || {
        let map = client.mon_map(DEADLINE).wait().expect("a map");
        map.epoch == 2
    });
    check(&client);
    let connection = client.connection().expect("a session");
    assert_eq!(connection.peer_addr(), good.addrs.0[0]);
    assert_eq!(good.command().1.command.concat(), r#"{"prefix":"status"}"#);
    frozen.end();
    good.end();
}

#[test]
fn a_session_that_is_alive_is_kept() {
    let mon = trusting(&[]);
    let client = client(Settings {
        keepalive_interval: Duration::from_millis(5),
        keepalive_timeout: Duration::from_secs(20),
        ..settings(&[&mon.addrs])
    });
    client.session(DEADLINE).wait().expect("a session");
    let connection = client.connection().expect("a session");
    let first = connection.last_keepalive_ack();
    for _ in 0..3 {
        let before = connection.last_keepalive_ack();
        eventually("a sign of life", || {
            connection.last_keepalive_ack() != before
        });
    }
    assert_ne!(connection.last_keepalive_ack(), first);
    assert_eq!(client.sessions(), 1);
    check(&client);
    mon.end();
}

#[test]
fn a_monitor_that_lets_in_and_hangs_up_is_not_asked_without_pause() {
    let mon = trusting(&[Act::HangUp; 6]);
    let client = client(settings(&[&mon.addrs]));
    check(&client);
    // Six sessions were lost in the middle of the command; each time there was a pause of 5 ms,
    // which grew, before the next.
    assert_eq!(client.sessions(), 7);
    mon.end();
}

#[test]
fn an_answer_that_makes_no_sense_ends_the_session() {
    let mon = trusting(&[Act::Babble]);
    let client = client(settings(&[&mon.addrs]));
    check(&client);
    assert_eq!(client.sessions(), 2);
    mon.end();

    let mon = trusting(&[Act::Babble; 100]);
    let client = super::client(Settings {
        rounds: Some(3),
        ..settings(&[&mon.addrs])
    });
    let error = client.command(status(), DEADLINE).wait();
    let error = error.expect_err("it babbles");
    assert!(error.to_string().contains("makes no sense"), "{error}");
    assert_eq!(error.peer(), Some(mon.addrs.0[0]));
    mon.end();
}
