//! Replies that ask the connecting side for another connect.

use async_messenger::ConnectionEvent;
use async_messenger::message::Message;

use crate::bed::{Bed, Role};
use crate::of_a_script;
use crate::peers::{Seen, eventually};
use crate::scripted::*;

pub(crate) fn tagged(tag: u8) -> Reply {
    Reply {
        tag,
        connect_seq: 0,
        flags: 0,
        ..Reply::default()
    }
}

/// A reply that asks for another connect, the connect that has to follow, and then success.
fn check_retry(first: &Reply, global_seq: impl Fn(u32) -> u32, connect_seq: u32) {
    let bed = Bed::new(Role::Connector, |b| b);
    let connection = bed.connect();
    for tid in 1..4 {
        connection
            .send(Message::new(42).with_tid(tid))
            .expect("room");
    }
    let mut wire = bed.listener().accept();
    bed.listener().greet(&mut wire);
    let before = take_connect(&mut wire);
    wire.send(&first.bytes());
    let after = take_connect(&mut wire);
    assert_eq!(after.connect_seq, connect_seq);
    assert_eq!(
        after.global_seq,
        global_seq(before.global_seq),
        "was {}",
        before.global_seq
    );
    assert_eq!(
        (after.features, &after.authorizer),
        (before.features, &before.authorizer)
    );
    finish_open(
        &mut wire,
        &Reply {
            connect_seq: connect_seq + 1,
            ..Reply::default()
        },
    );
    eventually("the connection is ready", || connection.is_connected());
    connection.send(Message::new(42).with_tid(4)).expect("room");
    for seq in 1..=4 {
        assert_eq!(wire.take_message().0, seq, "nothing is lost");
    }
    wire.send(&Frame::new(1).bytes());
    bed.subject.inbox.find("message", of_a_script);
    connection.mark_down();
    wire.end();
    drop(connection);
    bed.finish();
}

#[test]
fn a_connector_tries_again_with_a_larger_number_when_told() {
    let told = Reply {
        global_seq: 100,
        ..tagged(reply::RETRY_GLOBAL)
    };
    check_retry(&told, |_| 101, 0);
}

#[test]
fn a_connector_takes_over_the_incarnation_that_it_is_told() {
    let told = Reply {
        connect_seq: 5,
        ..tagged(reply::RETRY_SESSION)
    };
    check_retry(&told, |before| before, 5);
}

#[test]
fn a_connector_that_was_never_open_loses_nothing_to_a_reset() {
    check_retry(&tagged(reply::RESETSESSION), |before| before, 0);
}

#[test]
fn a_connector_whose_session_is_lost_drops_what_was_queued_and_tells() {
    let bed = Bed::new(Role::Connector, |b| b);
    let connection = bed.connect();
    // The acceptor decides that the session is a lossless one.
    let lossless = Reply {
        flags: 0,
        ..Reply::default()
    };
    let mut wire = bed.listener().accept();
    bed.listener().greet(&mut wire);
    take_connect(&mut wire);
    finish_open(&mut wire, &lossless);
    eventually("the connection is ready", || connection.is_connected());
    drop(wire);
    let mut wire = bed.listener().accept();
    bed.listener().greet(&mut wire);
    assert!(take_connect(&mut wire).connect_seq > 0, "it goes on");
    for tid in 1..4 {
        connection
            .send(Message::new(42).with_tid(tid))
            .expect("room");
    }
    wire.send(&tagged(reply::RESETSESSION).bytes());
    assert_eq!(take_connect(&mut wire).connect_seq, 0, "it begins anew");
    let unsent = bed.subject.inbox.find("remote reset", |seen| match seen {
        Seen::Event(of, ConnectionEvent::RemoteReset { unsent }) if of == connection => {
            Some(unsent)
        }
        _ => None,
    });
    assert_eq!(unsent, 3);
    finish_open(&mut wire, &lossless);
    let last = Message::new(42).with_front(&b"last"[..]);
    connection.send(last).expect("room");
    assert_eq!(wire.take_message().1[0], b"last");
    connection.mark_down();
    wire.end();
    drop(connection);
    bed.finish();
}
