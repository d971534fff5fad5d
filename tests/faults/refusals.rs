//! Servers that are not there yet.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use async_messenger::ErrorKind;
use async_messenger::message::Message;
use async_messenger::proto::v1::State;
use async_messenger::wire::{AddrType, AddrVec, EntityAddr, EntityType};

use crate::bed::{Fault, alone, check_fault};
use crate::peers::{config, eventually};
use crate::scripted::{Listener, SERVER_NONCE};
use crate::{Setting, keep};

#[test]
fn attempts_are_refused_ever_more_slowly_until_the_server_is_there() {
    let _alone = alone();
    let mut waits = config();
    waits.initial_backoff = Duration::from_millis(20);
    waits.max_backoff = Duration::from_millis(100);
    let client = Setting::client().change(|b| b.config(waits)).start(keep);
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = socket.local_addr().expect("it is bound");
    drop(socket);
    let target = EntityAddr::new(AddrType::Legacy, at, SERVER_NONCE);
    let peer = AddrVec(vec![target]);
    let began = Instant::now();
    let connection = client
        .messenger
        .connect(EntityType::OSD, &peer)
        .expect("started");
    connection.send(Message::new(42).with_tid(5)).expect("room");
    let refused = Fault {
        kind: ErrorKind::Unreachable,
        phase: State::StartConnect,
        words: &["refused"],
    };
    // Between two of them lies at least the back-off less a quarter. Telling takes time, too, so it
    // is the sum that counts.
    let mut sum = Duration::ZERO;
    for (attempt, wait) in [0, 15, 30, 60, 75, 75].into_iter().enumerate() {
        let error = client.inbox.refusal();
        check_fault(&format!("attempt {attempt}"), &error, target, &refused);
        assert!(error.is_retryable());
        sum += Duration::from_millis(wait);
        let waited = began.elapsed();
        assert!(waited >= sum, "{attempt}: after {waited:?}, not {sum:?}");
    }
    assert!(!connection.is_connected() && !connection.is_closed());
    assert_eq!(connection.queued(), 1);
    // The server appears, and what has waited is sent.
    let mut wire = Listener::at_port(at).open();
    let (seq, parts) = wire.take_message();
    assert_eq!((seq, parts.concat().len()), (1, 0));
    eventually("the connection knows", || connection.is_connected());
    connection.mark_down();
    wire.end();
    client.end();
}
