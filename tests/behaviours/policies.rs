//! What becomes of sessions, by policy, when one side ends the connection.

use async_messenger::Policy;
use async_messenger::wire::EntityType;

use super::peers::eventually;
use super::{client, send, server};

/// The server keeps a client's session, until the client comes back without one; and the client
/// notices that the server has lost it.
#[test]
fn behaviour_11_stateful_server_and_lossless_client() {
    let server = server(true, Policy::stateful_server(0));
    let client = client(Policy::lossless_client(0));
    let first = client.connect(&server);
    client.round_trip(&first);
    assert_eq!(client.count(&first), 1);
    let accepted = server.accepted();
    first.mark_down();
    assert!(!first.is_connected());
    assert_eq!(server.count(&accepted), 1);
    assert_eq!(server.accepted(), accepted);

    let second = client.connect(&server);
    client.round_trip(&second);
    assert_eq!(client.count(&second), 1);
    eventually("the server is told", || {
        server.suite.seen().remote_resets == 1
    });
    assert_eq!(client.suite.seen().remote_resets, 0);

    let connects = client.suite.seen().connects;
    let accepted = server.accepted();
    accepted.mark_down();
    assert!(!accepted.is_connected());
    eventually("the client is told", || {
        let seen = client.suite.seen();
        seen.remote_resets == 1 && seen.connects > connects
    });
    eventually("the client connects again", || second.is_connected());
    client.round_trip(&second);
    assert_eq!(client.count(&second), 1);
    assert_eq!(server.count(&server.accepted()), 1);
    client.end();
    server.end();
}

/// Nothing is kept on either side.
#[test]
fn behaviour_12_stateless_server_and_lossy_client() {
    let server = server(true, Policy::stateless_server(0));
    let client = client(Policy::lossy_client(0));
    let first = client.connect(&server);
    client.round_trip(&first);
    let accepted = server.accepted();
    first.mark_down();
    let second = client.connect(&server);
    client.round_trip(&second);
    assert_eq!(client.count(&second), 1);
    assert_ne!(server.accepted(), accepted);
    assert_eq!(server.count(&server.accepted()), 1);

    let accepted = server.accepted();
    accepted.mark_down();
    assert!(!accepted.is_connected());
    second.send_keepalive();
    eventually("the client notices", || !second.is_connected());
    eventually("the client is told", || client.suite.seen().resets == 1);
    let third = client.connect(&server);
    assert_ne!(third, second);
    client.round_trip(&third);
    assert_eq!(client.count(&third), 1);
    client.end();
    server.end();
}

/// Two connections of one client to one server.
#[test]
fn behaviour_13_anonymous_connections() {
    let server = server(true, Policy::stateless_server(0));
    let client = client(Policy::lossy_client(0));
    let connect = || {
        let made = client
            .messenger
            .connect_anonymous(EntityType::OSD, &server.addrs);
        made.expect("connects")
    };
    let pair = [connect(), connect()];
    assert_ne!(pair[0], pair[1]);
    for connection in &pair {
        client.round_trip(connection);
        assert_eq!(client.count(connection), 1);
    }
    let accepted = server.suite.seen().accepted.clone();
    assert_eq!(accepted.len(), 2);
    assert_ne!(accepted[0], accepted[1]);
    for connection in &pair {
        client.round_trip(connection);
        assert_eq!(client.count(connection), 2);
    }
    for connection in &pair {
        connection.mark_down();
        assert!(!connection.is_connected());
    }
    eventually("the server notices", || {
        accepted.iter().all(|connection| !connection.is_connected())
    });
    client.end();
    server.end();
}

fn check_standby(policy: Policy) {
    let stands_by = policy.standby;
    let server = server(true, Policy::stateful_server(0));
    let client = client(policy);
    let connection = client.connect(&server);
    client.round_trip(&connection);
    // The dispatch thread tells it, the worker the answer.
    eventually("the client is told", || client.suite.seen().connects == 1);
    let accepted = server.accepted();
    accepted.mark_down();
    assert!(!accepted.is_connected());
    if stands_by {
        eventually("the client notices", || !connection.is_connected());
        send(&connection);
    }
    eventually("the client is told", || {
        let seen = client.suite.seen();
        seen.remote_resets == 1 && seen.connects == 2
    });
    eventually("the client is back", || {
        connection.is_connected() && server.accepted() != accepted
    });
    // The first message was lost with the session, whose counts began anew.
    assert_eq!(server.count(&server.accepted()), 0);
    client.round_trip(&connection);
    assert_eq!(client.count(&connection), 1);
    assert_eq!(server.count(&server.accepted()), 1);
    client.end();
    server.end();
}

/// A client whose session the server has ended is told so when it comes back. In version 1 a
/// lossless client comes back at once, so the part about the message that is lost is for a peer,
/// which stands by until it has something to send.
#[test]
fn behaviour_14_client_standby() {
    check_standby(Policy::lossless_client(0));
    check_standby(Policy::lossless_peer(0));
}
