//! Round trips, moves, features, silence and size.

use std::time::{Duration, Instant};

use async_messenger::message::Message;
use async_messenger::wire::{AddrVec, EntityName, EntityType, features, msgtype};
use async_messenger::{Config, Policy};

use super::peers::{eventually, localhost};
use super::{Node, client, node, ping, send, server, suite_config};

/// The parts of 7, with a server that is bound already.
fn check_simple(server: Node) {
    let client = client(Policy::lossy_client(0));
    let first = client.connect(&server);
    client.round_trip(&first);
    assert!(first.is_connected());
    assert_eq!(
        (client.count(&first), first.peer_type()),
        (1, EntityType::OSD)
    );

    let before: Vec<u16> = server.addrs.0.iter().map(|addr| addr.port()).collect();
    let avoid: Vec<u16> = before
        .iter()
        .flat_map(|&port| (0..10).map(move |i| port.saturating_add(i)))
        .collect();
    let moved = server.messenger.rebind(&avoid).expect("a free port");
    assert_eq!(moved, server.messenger.addrs());
    assert_eq!(moved.0.len(), before.len());
    assert!(moved.0.iter().all(|addr| !avoid.contains(&addr.port())));
    assert!(moved.0.iter().all(|addr| addr.nonce == 1_000_001));
    eventually("the first connection ends", || first.is_closed());
    let server = Node {
        addrs: moved,
        ..server
    };

    let second = client.connect(&server);
    client.round_trip(&second);
    assert_eq!(client.count(&second), 1);
    second.mark_down();
    assert!(!second.is_connected());

    let third = client.connect(&server);
    client.round_trip(&third);
    server.messenger.shutdown();
    server.messenger.wait().expect("ends in time");
    // The send may be before the end is noticed; it does not keep the connection alive.
    let _ = third.send(Message::new(msgtype::PING));
    eventually("the dead connection is noticed", || !third.is_connected());
    client.end();

    server.messenger.start().expect("starts again");
    let own = server.messenger.loopback().expect("it is started");
    let before = server.messages();
    send(&own);
    eventually("its own message", || server.messages() == before + 1);
    assert_eq!(server.count(&own), 1);
    let sources = server.suite.seen().sources.clone();
    assert_eq!(sources.last(), Some(&EntityName::osd(0)));
    server.end();
}

/// A round trip, a server that moves to other ports, both ends of a connection, the messenger to
/// itself.
#[test]
fn behaviour_07_simple() {
    check_simple(server(true, Policy::stateless_server(0)));
}

/// The same with two addresses. The original has one of each version; here both are of version 1,
/// and the client uses the first.
#[test]
fn behaviour_08_simple_with_two_addresses() {
    let both = AddrVec([localhost().0, localhost().0].concat());
    let server = node(EntityName::osd(0), (true, false), |builder| builder);
    let addrs = server.messenger.bind(&both).expect("free ports");
    assert_eq!(addrs.0.len(), 2);
    check_simple(Node { addrs, ..server });
}

/// What the server requires: bits 0 to 9, the addresses and the masks of Nautilus, and bit 13.
const REQUIRED: u64 = 0x3ff | features::MSG_ADDR2 | features::SERVER_NAUTILUS | 1 << 13;

/// A client that lacks a feature never gets in. Policies are fixed when a messenger is built, so it
/// is another client that has the feature later, with the same name and nonce.
#[test]
fn behaviour_09_features() {
    let mut required = Policy::stateless_server(REQUIRED);
    required.features_supported |= REQUIRED;
    let server = server(true, required);
    let mut lacking = Policy::lossy_client(0);
    lacking.features_supported = features::SUPPORTED & !(1 << 13);
    let lame = client(lacking.clone());
    let refused = lame.connect(&server);
    // It may be closed already.
    let _ = refused.send(ping());
    eventually("the client is told", || lame.refusals() > 0);
    assert!(!refused.is_connected());
    assert_eq!(lame.suite.seen().connects, 0);
    assert_eq!((lame.messages(), server.messages()), (0, 0));
    lame.end();

    lacking.features_supported |= 1 << 13 | 1 << 14;
    let able = client(lacking);
    let connection = able.connect(&server);
    able.round_trip(&connection);
    assert_eq!(able.count(&connection), 1);
    able.end();
    server.end();
}

/// A connection that is silent for longer than the limit ends.
#[test]
fn behaviour_10_idle_timeout() {
    let limit = Duration::from_secs(1);
    let config = Config {
        connection_idle_timeout: limit,
        ..suite_config()
    };
    let server = server(true, Policy::stateless_server(0));
    let client = node(EntityName::client(-1), (false, false), |builder| {
        builder.config(config)
    });
    let connection = client.connect(&server);
    client.round_trip(&connection);
    assert!(connection.is_connected());
    let began = Instant::now();
    eventually("the silent connection ends", || !connection.is_connected());
    // The clock of the limit began a little before this one, with the answer.
    assert!(began.elapsed() > limit / 2, "{:?}", began.elapsed());
    client.end();
    server.end();
}

/// A command of 30,720 words, and 780 KiB of data, are answered.
#[test]
fn behaviour_16_large_messages() {
    let server = server(true, Policy::stateful_server(0));
    let client = client(Policy::lossless_client(0));
    let connection = client.connect(&server);

    let word = b"abcdefghijklmnopqrstuvwxyz";
    let mut front = vec![0; 16];
    front.extend_from_slice(&30_720_u32.to_le_bytes());
    for _ in 0..30_720 {
        front.extend_from_slice(&(word.len() as u32).to_le_bytes());
        front.extend_from_slice(word);
    }
    assert_eq!(front.len(), 921_620);
    let command = Message::new(msgtype::COMMAND).with_front(front);
    connection.send(command).expect("room");
    eventually("an answer to the command", || client.messages() == 1);

    let data = vec![7; 798_720];
    let ping = Message::new(msgtype::PING).with_data(data);
    connection.send(ping).expect("room");
    eventually("an answer to the data", || client.messages() == 2);
    assert_eq!((client.count(&connection), server.messages()), (2, 2));
    client.end();
    server.end();
}
