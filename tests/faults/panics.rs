//! Handlers that panic: the connection they were called for ends, and no other.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use async_messenger::message::Message;
use async_messenger::{ConnectionEvent, ErrorKind, Ready};

use crate::bed::alone;
use crate::peers::{Seen, eventually};
use crate::scripted::{Frame, open_client};
use crate::{Setting, echo, keep};

/// The type of message that makes the handler panic.
const POISON: u16 = 66;
const ON_PURPOSE: &str = "on purpose";

/// Keeps what is expected out of the test's output.
fn quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>();
            if text.is_none_or(|text| text != ON_PURPOSE) {
                before(info);
            }
        }));
    });
}

fn check_panic(fast: bool) {
    quietly();
    let server = Setting::server(fast).start(|_, connection, message| {
        assert!(message.kind() != POISON, "{ON_PURPOSE}");
        echo(connection, &message);
        None
    });
    let (one, other) = (Setting::client().start(keep), Setting::client().start(keep));
    let (victim, bystander) = (one.connect(&server), other.connect(&server));
    one.check_echo(&victim, 1);
    other.check_echo(&bystander, 1);
    victim.send(Message::new(POISON)).expect("room");
    let (connection, error) = server.inbox.find("reset", |seen| match seen {
        Seen::Event(connection, ConnectionEvent::Reset { error, .. }) => Some((connection, error)),
        _ => None,
    });
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert_eq!(error.peer(), Some(connection.peer_addr()), "{error}");
    assert!(
        error.to_string().contains("a dispatcher panicked"),
        "{error}"
    );
    assert!(connection.is_closed());
    drop(connection);
    assert_eq!(one.inbox.reset().kind(), ErrorKind::Disconnected);
    assert_eq!(server.messenger.stats().panics, 1);
    other.check_echo(&bystander, 2);
    let again = one.connect(&server);
    one.check_echo(&again, 2);
    [one, other, server].into_iter().for_each(crate::Stage::end);
}

#[test]
fn a_panic_in_fast_dispatch_ends_that_connection_only() {
    let _alone = alone();
    check_panic(true);
}

#[test]
fn a_panic_in_dispatch_ends_that_connection_only() {
    let _alone = alone();
    check_panic(false);
}

#[test]
fn a_panic_in_a_fast_event_ends_that_connection_only() {
    let _alone = alone();
    static ARMED: AtomicBool = AtomicBool::new(false);
    quietly();
    let mut setting = Setting::server(true);
    setting.on_ready = |event| {
        let panics = event == Ready::Accepted && ARMED.swap(false, Ordering::SeqCst);
        assert!(!panics, "{ON_PURPOSE}");
    };
    let server = setting.start(|_, connection, message| {
        echo(connection, &message);
        None
    });
    let (one, other) = (Setting::client().start(keep), Setting::client().start(keep));
    let bystander = other.connect(&server);
    other.check_echo(&bystander, 1);
    ARMED.store(true, Ordering::SeqCst);
    one.connect(&server);
    let error = server.inbox.reset();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.peer().is_some() && error.phase().is_some(), "{error}");
    assert_eq!(one.inbox.reset().kind(), ErrorKind::Disconnected);
    other.check_echo(&bystander, 2);
    let again = one.connect(&server);
    one.check_echo(&again, 1);
    assert_eq!(server.messenger.stats().panics, 1);
    [one, other, server].into_iter().for_each(crate::Stage::end);
}

#[test]
fn nothing_is_dispatched_behind_the_reset_that_follows_a_panic() {
    let _alone = alone();
    quietly();
    for round in 0..20 {
        let server = Setting::server(false).start(|_, _, message| {
            assert!(message.head().seq != 3, "{ON_PURPOSE}");
            Some(message)
        });
        let mut wire = open_client(&server.addrs, 1);
        let frames: Vec<u8> = (1..2000).flat_map(|seq| Frame::new(seq).bytes()).collect();
        wire.try_send(&frames);
        server.inbox.reset();
        wire.end();
        server.messenger.shutdown();
        server.messenger.wait().expect("ends in time");
        for seen in server.inbox.0.try_iter() {
            let late = matches!(seen, Seen::Message(..));
            assert!(!late, "round {round}: {seen:?} behind the reset");
        }
        eventually("all is given back", || {
            server.messenger.stats().dispatch_messages == 0
        });
    }
}
