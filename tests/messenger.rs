//! Messengers talking to each other over real sockets, on the driver that `EVENT_DRIVER` names.

#[path = "common/peers.rs"]
mod peers;

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use async_messenger::message::{Message, Registry, UnknownTypes, priority};
use async_messenger::throttle::Throttle;
use async_messenger::wire::{EntityName, EntityType};
use async_messenger::{
    Connection, ConnectionEvent, Dispatcher, ErrorKind, Handled, Messenger, Policy, Ready,
    SendError, Workers,
};
use peers::{DEADLINE, Recorder, Seen, client, config, eventually, localhost, server};

fn check_echo(fast: bool) {
    let server = server(fast, |b| b);
    let client = client(fast, |b| b);
    let connection = client.connect(&server);
    let sizes = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (100, 7, 4096), (40_000, 0, 900_000)];
    for (tid, (front, middle, data)) in sizes.into_iter().enumerate() {
        let message = Message::new(42)
            .with_tid(tid as u64)
            .with_front(vec![1; front])
            .with_middle(vec![2; middle])
            .with_data(vec![3; data]);
        connection.send(message).expect("room");
    }
    for (tid, (front, middle, data)) in sizes.into_iter().enumerate() {
        let (from, reply) = client.inbox.message();
        assert_eq!(from, connection);
        assert_eq!(reply.tid(), tid as u64, "order is kept");
        assert_eq!(reply.src(), EntityName::osd(0));
        assert_eq!(reply.head().priority, priority::DEFAULT);
        assert_eq!(reply.front().to_bytes(), vec![1; front]);
        assert_eq!(reply.middle().to_bytes(), vec![2; middle]);
        assert_eq!(reply.data().to_bytes(), vec![3; data]);
    }
    assert!(connection.is_connected());
    assert_ne!(connection.features(), 0);
    client.end();
    server.end();
}

#[test]
fn echo_by_normal_dispatch() {
    check_echo(false);
}

#[test]
fn echo_by_fast_dispatch() {
    check_echo(true);
}
