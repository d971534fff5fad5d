//! Ends of messengers: from inside, in the middle of everything, and what begins again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use async_messenger::message::Message;
use async_messenger::wire::{AddrVec, EntityType};
use async_messenger::{Connection, ConnectionEvent, ErrorKind, Messenger, SendError, Workers};

use crate::bed::{alone, descriptors};
use crate::peers::{DEADLINE, Seen, config, eventually, localhost};
use crate::scripted::{Frame, Listener, Wire, open_client};
use crate::{Setting, Stage, echo, keep};

fn echoing(messenger: &Messenger, connection: &Connection, message: Message) -> Option<Message> {
    let _ = messenger;
    echo(connection, &message);
    None
}

fn check_from_inside(fast: bool) {
    let server = Setting::server(fast).start(|messenger, _, message| {
        let error = messenger.wait().expect_err("it would wait for itself");
        assert_eq!(error.kind(), ErrorKind::Misuse);
        assert!(error.to_string().contains("wait for itself"), "{error}");
        messenger.shutdown();
        let again = messenger.wait().expect_err("still");
        assert_eq!(again.kind(), ErrorKind::Misuse);
        assert_eq!(
            messenger.start().expect_err("not yet").kind(),
            ErrorKind::Misuse
        );
        Some(message)
    });
    let mut wire = open_client(&server.addrs, 1);
    wire.send(&Frame::new(1).bytes());
    wire.end();
    server.messenger.wait().expect("ends in time");
    assert_eq!(server.inbox.message().1.head().seq, 1);
    let error = server.inbox.reset();
    assert_eq!(error.kind(), ErrorKind::MarkedDown);
    assert!(
        error.to_string().contains("the messenger was shut down"),
        "{error}"
    );
    assert!(error.peer().is_some());
    assert_eq!(server.messenger.stats().panics, 0);
    server.end();
}

#[test]
fn a_fast_handler_may_shut_its_messenger_down_but_not_wait() {
    let _alone = alone();
    check_from_inside(true);
}

#[test]
fn a_handler_may_shut_its_messenger_down_but_not_wait() {
    let _alone = alone();
    check_from_inside(false);
}

/// Clients that send without a pause while one side is shut down.
fn check_in_flight(server_ends: bool, fast: bool) {
    let server = Setting::server(fast).start(echoing);
    let clients: Vec<Stage> = (0..3).map(|_| Setting::client().start(keep)).collect();
    let connections: Vec<Connection> = clients.iter().map(|c| c.connect(&server)).collect();
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for connection in &connections {
            scope.spawn(|| {
                let deadline = Instant::now() + DEADLINE;
                loop {
                    let message = Message::new(1).with_data(vec![1; 4 << 10]);
                    match connection.send(message) {
                        Ok(()) => drop(sent.fetch_add(1, Ordering::SeqCst)),
                        Err(SendError::Full(_)) => std::thread::yield_now(),
                        Err(SendError::Closed(_)) => return,
                        Err(other) => panic!("{other}"),
                    }
                    assert!(Instant::now() < deadline, "the connection never ends");
                }
            });
        }
        // One that is still connecting would go on trying.
        eventually("traffic flows", || {
            connections.iter().all(Connection::is_connected)
                && sent.load(Ordering::SeqCst) > 500
                && server.messenger.stats().received > 300
        });
        if server_ends {
            server.messenger.shutdown();
            server.messenger.wait().expect("ends in time");
        } else {
            clients
                .iter()
                .for_each(|client| client.messenger.shutdown());
            clients
                .iter()
                .for_each(|client| client.messenger.wait().expect("ends in time"));
        }
    });
    for (client, connection) in clients.iter().zip(&connections) {
        let kind = client.inbox.reset().kind();
        let expected = if server_ends {
            ErrorKind::Disconnected
        } else {
            ErrorKind::MarkedDown
        };
        assert_eq!(kind, expected);
        assert!(connection.is_closed());
    }
    eventually("the server lets go", || server.connections() == 0);
    let stats = server.messenger.stats();
    assert_eq!(stats.panics, 0);
    clients.into_iter().for_each(Stage::end);
    server.end();
}

#[test]
fn a_server_can_be_shut_down_while_messages_fly() {
    let _alone = alone();
    check_in_flight(true, true);
    check_in_flight(true, false);
}

#[test]
fn clients_can_be_shut_down_while_messages_fly() {
    let _alone = alone();
    check_in_flight(false, true);
    check_in_flight(false, false);
}

#[test]
fn whoever_is_being_accepted_while_a_messenger_ends_is_let_go() {
    let _alone = alone();
    for round in 0..40 {
        let before = descriptors();
        let server = Setting::server(true).start(echoing);
        let target = server.addrs.0[0].sock.expect("an address that was bound");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + DEADLINE;
                while !done.load(Ordering::SeqCst) && Instant::now() < deadline {
                    // Refused as soon as nobody listens.
                    if let Ok(socket) = std::net::TcpStream::connect(target) {
                        drop(socket);
                    }
                }
            });
            eventually("they knock", || {
                server.messenger.stats().handshakes_failed > round % 7
            });
            server.messenger.shutdown();
            server.messenger.wait().expect("ends in time");
            done.store(true, Ordering::SeqCst);
        });
        // One that was on its way between two workers is dropped when it gets there.
        eventually("all connections end", || server.connections() == 0);
        drop(server);
        eventually("descriptors are given back", || descriptors() <= before);
    }
}

#[test]
fn whoever_is_still_silent_when_a_messenger_ends_is_let_go() {
    let _alone = alone();
    for round in 0..40 {
        let server = Setting::server(true).start(echoing);
        // Some are accepted by the one worker and handed to the other while it ends.
        let wires: Vec<Wire> = (0..20).map(|_| Wire::connect(&server.addrs)).collect();
        if round % 2 == 0 {
            eventually("some are in", || server.connections() > round / 4);
        }
        server.messenger.shutdown();
        server.messenger.wait().expect("ends in time");
        eventually("all connections end", || server.connections() == 0);
        wires.into_iter().for_each(|wire| drop(wire.end()));
    }
}

#[test]
fn no_connection_outlives_the_messenger_that_made_it() {
    let _alone = alone();
    let listener = Listener::new();
    let target = AddrVec(vec![listener.addr()]);
    for round in 0..100 {
        let Stage {
            messenger, inbox, ..
        } = Setting::client().start(keep);
        let made = AtomicU64::new(0);
        let connections = std::thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                let mut connections = Vec::new();
                let deadline = Instant::now() + DEADLINE;
                while let Ok(connection) = messenger.connect(EntityType::OSD, &target) {
                    // The next one is another one.
                    connections.last().map(Connection::mark_down);
                    connections.push(connection);
                    made.fetch_add(1, Ordering::SeqCst);
                    assert!(Instant::now() < deadline, "the messenger never ends");
                }
                connections
            });
            eventually("it connects", || made.load(Ordering::SeqCst) > round % 5);
            messenger.shutdown();
            messenger.wait().expect("ends in time");
            connecting.join().expect("does not panic")
        });
        eventually("all of them are closed", || {
            connections.iter().all(Connection::is_closed)
        });
        drop(inbox);
    }
}

#[test]
fn a_messenger_that_was_shut_down_can_be_started_again() {
    let _alone = alone();
    let server = Setting::server(false).start(echoing);
    let client = Setting::client().start(keep);
    let mut addrs = server.addrs.clone();
    let mut old: Vec<Connection> = Vec::new();
    for tid in 0..5 {
        let connection = client
            .messenger
            .connect(EntityType::OSD, &addrs)
            .expect("started");
        client.check_echo(&connection, tid);
        let loopback = server.messenger.loopback().expect("started");
        old.extend([connection, loopback]);
        for ending in [&server, &client] {
            ending.messenger.shutdown();
            ending.messenger.wait().expect("ends in time");
            let error = ending
                .messenger
                .connect(EntityType::OSD, &addrs)
                .expect_err("ended");
            assert_eq!(error.kind(), ErrorKind::Misuse);
        }
        assert!(
            old.iter().all(Connection::is_closed),
            "they do not come back to life"
        );
        client.inbox.find("reset", |seen| match seen {
            Seen::Event(_, ConnectionEvent::Reset { .. }) => Some(()),
            _ => None,
        });
        addrs = server.messenger.bind(&localhost()).expect("a free port");
        server.messenger.start().expect("starts again");
        client.messenger.start().expect("starts again");
    }
    client.end();
    server.end();
}

#[test]
fn a_messenger_goes_on_when_another_one_on_its_workers_ends() {
    let _alone = alone();
    let workers = Workers::start(&config()).expect("workers");
    let stay = Setting::server(true)
        .change(|b| b.workers(&workers))
        .start(echoing);
    let client = Setting::client()
        .change(|b| b.workers(&workers))
        .start(keep);
    let connection = client.connect(&stay);
    for round in 0..20 {
        let fast = round % 2 == 0;
        let ends = Setting::server(fast)
            .change(|b| b.workers(&workers))
            .start(echoing);
        let mut wire = open_client(&ends.addrs, 1);
        wire.send(&Frame::new(1).bytes());
        wire.take_message();
        // On its way while the other one ends.
        for tid in 0..50 {
            connection
                .send(Message::new(1).with_tid(tid))
                .expect("room");
        }
        ends.messenger.shutdown();
        for tid in 0..50 {
            assert_eq!(client.inbox.message().1.tid(), tid);
        }
        ends.messenger.wait().expect("ends in time");
        wire.end();
    }
    assert!(connection.is_connected());
    assert_eq!(stay.messenger.stats().faults, 0);
    client.end();
    stay.end();
}
