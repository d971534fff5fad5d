//! The link breaks before its acceptor has answered, or when the session is in use.

use async_messenger::Policy;
use async_messenger::inject::{Intercept, Step};

use super::peers::{eventually, msgr};
use super::{bound_client, client, send, server};

/// A lossy client does not get the answer that lets it in. In version 2 it tries again by itself;
/// in version 1 a lossy connection ends with an error in its handshake, so it is its owner that
/// connects again. The server, which has counted the session in, then takes the client for
/// restarted; but as the session was never open nothing is lost with that.
#[test]
fn behaviour_03_missing_answer_to_a_lossy_client() {
    let server = server(false, Policy::stateful_server(0));
    let client = client(Policy::lossy_client(0));
    server.steps.stop_at(Step::SendAccept);
    let first = client.connect(&server);
    send(&first);
    let accepted = server.steps.wait_for(Step::SendAccept).expect("a session");
    send(&accepted);
    server.steps.decide(Step::SendAccept, Intercept::Fail);
    eventually("the client is told", || client.refusals() == 1);
    assert!(!accepted.is_closed());

    let to_server = if msgr().is_v2() {
        first
    } else {
        assert!(first.is_closed());
        let second = client.connect(&server);
        send(&second);
        second
    };
    eventually("a message at the server", || server.messages() == 1);
    eventually("a message at the client", || client.messages() == 1);
    assert!(to_server.is_connected() && accepted.is_connected());
    assert_eq!((client.count(&to_server), server.count(&accepted)), (1, 1));
    assert_eq!(client.refusals(), 1);
    assert_eq!(server.suite.seen().remote_resets, 0);
    client.end();
    server.end();
}

/// A peer does not get the answer that lets it in. In version 1 the client, which has nothing to
/// send, stands by, and the server, which has, connects to it; so the client is bound here.
#[test]
fn behaviour_04_missing_answer_to_a_peer() {
    let server = server(false, Policy::lossless_peer(0));
    let client = bound_client(Policy::lossless_peer(0));
    server.steps.stop_at(Step::SendAccept);
    let to_server = client.connect(&server);
    let accepted = server.steps.wait_for(Step::SendAccept).expect("a session");
    send(&accepted);
    server.steps.decide(Step::SendAccept, Intercept::Fail);
    eventually("a message at the client", || client.messages() == 1);
    eventually("both handles stand", || {
        to_server.is_connected() && accepted.is_connected()
    });
    assert_eq!(client.count(&to_server), 1);
    assert_eq!(server.count(&accepted), 0);
    client.end();
    server.end();
}

/// A lossless client reconnects. In version 1 that takes two connect structs: the first one is
/// answered with RETRY_GLOBAL, as the session is taken over.
#[test]
fn behaviour_05_reconnect() {
    let server = server(true, Policy::stateful_server(0));
    let client = client(Policy::lossless_client(0));
    let to_server = client.connect(&server);
    client.round_trip(&to_server);
    assert_eq!(client.count(&to_server), 1);
    client.steps.stop_at(Step::MessageReceived);
    send(&to_server);
    client.steps.wait_for(Step::MessageReceived);
    send(&to_server);
    server.steps.stop_at(Step::Ready);
    client.steps.decide(Step::MessageReceived, Intercept::Fail);

    let accepted = server.steps.wait_for(Step::Ready).expect("has a session");
    let of_server = |step| server.steps.count(&accepted, step);
    let of_client = |step| client.steps.count(&to_server, step);
    assert_eq!(of_server(Step::SendReconnect), 0);
    // Version 1 takes a session over by RETRY_GLOBAL, so that the connect is sent once more.
    let retries = usize::from(!msgr().is_v2());
    assert_eq!(of_server(Step::SendRetryGlobal), retries);
    assert_eq!(of_server(Step::SendReconnectOk), 1);
    assert_eq!(of_client(Step::SendReconnect), 1 + retries);
    assert_eq!(of_client(Step::SendReconnectOk), 0);
    server.steps.go_on(Step::Ready);
    for node in [&server, &client] {
        eventually("all three messages", || node.messages() == 3);
    }
    assert_eq!((client.count(&to_server), server.count(&accepted)), (3, 3));
    client.end();
    server.end();
}

/// An attempt that breaks before it is let in leaves no session behind (msgr1 §19, rule 4), so that
/// the next one is not taken for a peer that was restarted.
#[test]
fn an_attempt_that_is_not_let_in_leaves_nothing() {
    let server = server(true, Policy::stateful_server(0));
    let client = client(Policy::lossless_client(0));
    server.steps.stop_at(Step::SendAccept);
    let connection = client.connect(&server);
    let accepted = server.steps.wait_for(Step::SendAccept).expect("a session");
    server.steps.decide(Step::SendAccept, Intercept::Fail);
    eventually("the session ends", || accepted.is_closed());
    client.round_trip(&connection);
    assert_ne!(server.accepted(), accepted);
    assert_eq!(server.suite.seen().remote_resets, 0);
    assert_eq!(server.messenger.stats().connections, 1);
    client.end();
    server.end();
}

/// A connection that an interceptor stops is closed, and its owner is told, even if it is lossless.
#[test]
fn a_connection_that_is_stopped_ends_with_a_reset() {
    let server = server(true, Policy::stateful_server(0));
    let client = client(Policy::lossless_client(0));
    let connection = client.connect(&server);
    client.round_trip(&connection);
    client.steps.stop_at(Step::MessageDecoded);
    send(&connection);
    client.steps.wait_for(Step::MessageDecoded);
    client.steps.decide(Step::MessageDecoded, Intercept::Stop);
    eventually("the client is told", || client.suite.seen().resets == 1);
    assert!(connection.is_closed());
    assert_eq!(client.messages(), 1);
    client.end();
    server.end();
}
