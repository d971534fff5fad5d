//! Connections that end from inside a handler, and the loop-back connection.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use async_messenger::message::Message;
use async_messenger::{ConnectionEvent, SendError};

use crate::bed::alone;
use crate::peers::{Seen, config, eventually};
use crate::scripted::{Frame, open_client};
use crate::{Setting, Stage, echo, keep};

#[test]
fn a_fast_handler_that_marks_its_connection_down_gets_no_more_of_it() {
    let _alone = alone();
    let server = Setting::server(true).start(|_, connection, message| {
        if message.head().seq == 2 {
            connection.mark_down();
            let sent = connection.send(Message::new(42));
            assert!(matches!(sent, Err(SendError::Closed(_))), "{sent:?}");
        }
        Some(message)
    });
    let mut other = open_client(&server.addrs, 2);
    let mut wire = open_client(&server.addrs, 1);
    wire.try_send(
        &(1..10)
            .flat_map(|seq| Frame::new(seq).bytes())
            .collect::<Vec<u8>>(),
    );
    wire.end();
    other.send(&Frame::new(100).bytes());
    for seq in [1, 2, 100] {
        let message = server.inbox.find("message", |seen| match seen {
            Seen::Message(_, message) => Some(message),
            Seen::Event(_, ConnectionEvent::Reset { error, .. }) => panic!("an event: {error}"),
            _ => None,
        });
        assert_eq!(message.head().seq, seq);
    }
    eventually("the link goes", || server.connections() == 1);
    drop(other);
    server.inbox.reset();
    server.end();
}

#[test]
fn a_handler_that_marks_its_connection_down_gets_no_more_of_it() {
    let _alone = alone();
    let (go, wait): (Sender<()>, Receiver<()>) = channel();
    let wait = Mutex::new(wait);
    let server = Setting::server(false).start(move |_, connection, message| {
        if message.head().seq == 1 {
            // Until all of them are in the queue.
            wait.lock()
                .expect("not poisoned")
                .recv()
                .expect("told to go on");
            connection.mark_down();
        }
        Some(message)
    });
    // Dropped before the messenger, whatever happens: the handler does not wait for ever.
    let go = go;
    let mut wire = open_client(&server.addrs, 1);
    wire.send(
        &(1..10)
            .flat_map(|seq| Frame::new(seq).bytes())
            .collect::<Vec<u8>>(),
    );
    eventually("all are queued", || server.messenger.stats().received == 9);
    go.send(()).expect("the handler waits");
    wire.end();
    let mut other = open_client(&server.addrs, 2);
    other.send(&Frame::new(100).bytes());
    for seq in [1, 100] {
        let message = server.inbox.find("message", |seen| match seen {
            Seen::Message(_, message) => Some(message),
            Seen::Event(_, ConnectionEvent::Reset { error, .. }) => panic!("an event: {error}"),
            _ => None,
        });
        assert_eq!(message.head().seq, seq);
    }
    drop(other);
    server.inbox.reset();
    server.end();
}

#[test]
fn marking_a_connection_down_that_is_being_made_leaves_nothing() {
    let _alone = alone();
    let server = Setting::server(true).start(|_, connection, message| {
        echo(connection, &message);
        None
    });
    let client = Setting::client().start(keep);
    for tid in 0..300 {
        let connection = client.connect(&server);
        connection
            .send(Message::new(1).with_tid(tid))
            .expect("room");
        connection.mark_down();
        let sent = connection.send(Message::new(1));
        assert!(matches!(sent, Err(SendError::Closed(_))), "{sent:?}");
        assert!(connection.is_closed() && !connection.is_connected());
    }
    let connection = client.connect(&server);
    client.check_echo(&connection, 1000);
    eventually("only one is left", || server.connections() == 1);
    client.end();
    server.end();
}

fn check_loopback(fast: bool) {
    let stage = Setting::server(fast).start(|messenger, connection, message| {
        assert!(connection.is_loopback());
        if message.tid() % 100 == 0 && message.kind() == 1 {
            // From inside of a handler: behind what is queued.
            let again = Message::new(2).with_tid(message.tid());
            messenger
                .loopback()
                .expect("started")
                .send(again)
                .expect("room");
        }
        Some(message)
    });
    let loopback = stage.messenger.loopback().expect("started");
    let to_self = stage.connect(&stage);
    assert_eq!(loopback, to_self);
    for tid in 0..2000 {
        loopback.send(Message::new(1).with_tid(tid)).expect("room");
    }
    let (mut next, mut again) = (0, 0);
    while next < 2000 || again < 2000 {
        let (from, message) = stage.inbox.message();
        assert_eq!(from, loopback);
        let expected = if message.kind() == 1 {
            &mut next
        } else {
            &mut again
        };
        assert_eq!(message.tid(), *expected, "order is kept");
        *expected += if message.kind() == 1 { 1 } else { 100 };
    }
    loopback.mark_down();
    assert!(matches!(
        loopback.send(Message::new(1)),
        Err(SendError::Closed(_))
    ));
    stage.end();
}

#[test]
fn the_loopback_connection_keeps_the_order_in_fast_dispatch() {
    let _alone = alone();
    check_loopback(true);
}

#[test]
fn the_loopback_connection_keeps_the_order_in_dispatch() {
    let _alone = alone();
    check_loopback(false);
}

#[test]
fn the_loopback_connection_is_full_when_its_handler_does_not_keep_up() {
    let _alone = alone();
    let mut small = config();
    small.send_queue_messages = 10;
    let (go, wait): (Sender<()>, Receiver<()>) = channel();
    let wait = Mutex::new(wait);
    let stage: Stage =
        Setting::server(true)
            .change(|b| b.config(small))
            .start(move |_, _, message| {
                // Ends too when the test does.
                let _ = wait.lock().expect("not poisoned").recv();
                Some(message)
            });
    // Dropped before the messenger, whatever happens: the handler does not wait for ever.
    let go = go;
    let loopback = stage.messenger.loopback().expect("started");
    let mut sent = 0;
    let back = loop {
        match loopback.send(Message::new(1).with_tid(sent)) {
            Ok(()) => sent += 1,
            Err(SendError::Full(back)) => break back,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(back.tid(), sent);
    // Ten wait, and at most one is with the handler.
    assert!((10..=11).contains(&sent), "{sent}");
    for tid in 0..sent {
        go.send(()).expect("the handler waits");
        assert_eq!(stage.inbox.message().1.tid(), tid);
    }
    drop(go);
    stage.end();
}
