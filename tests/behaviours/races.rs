//! Both sides connect at once.

use async_messenger::Policy;
use async_messenger::inject::{Intercept, Step};
use async_messenger::wire::EntityType;

use super::peers::{eventually, msgr};
use super::{Node, bound_client, send, server};

fn peers(answers: bool, make: fn(u64) -> Policy) -> (Node, Node) {
    let (server, client) = (server(answers, make(0)), bound_client(make(0)));
    assert!(
        server.addrs.0[0] < client.addrs.0[0],
        "the server goes first"
    );
    (server, client)
}

/// Both sides are held up before their first connect struct; each message arrives once, over the
/// one connection that survives.
#[test]
fn behaviour_01_connection_race() {
    let (server, client) = peers(false, Policy::lossless_peer_reuse);
    for node in [&server, &client] {
        node.steps.stop_at(Step::SendConnect);
    }
    // One after the other, so that nobody is put on a worker that will be held up.
    let to_server = client.connect(&server);
    send(&to_server);
    client.steps.wait_for(Step::SendConnect);
    let to_client = server.connect(&client);
    send(&to_client);
    server.steps.wait_for(Step::SendConnect);
    for node in [&server, &client] {
        node.steps.go_on(Step::SendConnect);
    }
    for node in [&server, &client] {
        eventually("a message", || node.messages() == 1);
    }
    eventually("both handles stand", || {
        to_server.is_connected() && to_client.is_connected()
    });
    assert_eq!(to_server.peer_type(), EntityType::OSD);
    assert_eq!(to_client.peer_type(), EntityType::CLIENT);
    assert_eq!((client.messages(), server.messages()), (1, 1));
    client.end();
    server.end();
}

/// The attempt that loses has not sent its banner yet. As version 1 takes a session over by
/// RETRY_GLOBAL, the address that sorts first decides; the server's does.
#[test]
fn behaviour_02_race_with_the_loser_in_its_banner_phase() {
    let (server, client) = peers(false, Policy::lossless_peer_reuse);
    server.steps.stop_at(Step::SendConnect);
    server.steps.stop_at(Step::SendBannerAccepting);
    client.steps.stop_at(Step::SendBannerConnecting);
    // One after the other, so that nobody is put on a worker that will be held up.
    let to_client = server.connect(&client);
    send(&to_client);
    server.steps.wait_for(Step::SendConnect);
    let to_server = client.connect(&server);
    send(&to_server);
    client.steps.wait_for(Step::SendBannerConnecting);
    server.steps.wait_for(Step::SendBannerAccepting);

    client.steps.stop_at(Step::Ready);
    server.steps.go_on(Step::SendConnect);
    client.steps.go_on(Step::SendBannerConnecting);
    assert_eq!(client.steps.wait_for(Step::Ready), Some(to_server.clone()));
    client.steps.go_on(Step::Ready);
    server.steps.go_on(Step::SendBannerAccepting);

    for node in [&server, &client] {
        eventually("a message", || node.messages() == 1);
    }
    eventually("both handles stand", || {
        to_server.is_connected() && to_client.is_connected()
    });
    assert!(server.suite.seen().accepted.is_empty(), "the loser opened");
    let steps = [Step::StartConnecting, Step::SendReconnect, Step::Ready];
    let counts = steps.map(|step| client.steps.count(&to_server, step));
    assert_eq!(counts, [1, 0, 1]);
    assert_eq!((client.messages(), server.messages()), (1, 1));
    client.end();
    server.end();
}

/// Both sides reconnect at once, and the server goes first. Version 1 takes a session over by
/// RETRY_GLOBAL, so the server's connect struct is sent once more for each of these.
#[test]
fn behaviour_06_reconnect_race() {
    let (server, client) = peers(true, Policy::lossless_peer);
    let to_server = client.connect(&server);
    client.round_trip(&to_server);
    client.steps.stop_at(Step::MessageReceived);
    send(&to_server);
    client.steps.wait_for(Step::MessageReceived);

    for node in [&server, &client] {
        node.steps.stop_at(Step::SendReconnect);
    }
    send(&to_server);
    client.steps.decide(Step::MessageReceived, Intercept::Fail);
    for node in [&server, &client] {
        node.steps.wait_for(Step::SendReconnect);
    }
    server.steps.stop_at(Step::Ready);
    for node in [&server, &client] {
        node.steps.go_on(Step::SendReconnect);
    }
    let to_client = server.steps.wait_for(Step::Ready).expect("has a session");

    let of_server = |step| server.steps.count(&to_client, step);
    let of_client = |step| client.steps.count(&to_server, step);
    let retries = of_client(Step::SendRetryGlobal);
    if msgr().is_v2() {
        assert!(retries <= 1, "{retries}");
    } else {
        assert!(retries >= 1);
    }
    assert_eq!(of_server(Step::SendReconnect), 1 + retries);
    assert_eq!(of_server(Step::SendReconnectOk), 0);
    assert_eq!(of_client(Step::SendReconnect), 1);
    assert_eq!(of_client(Step::SendReconnectOk), 1);
    server.steps.go_on(Step::Ready);
    for node in [&server, &client] {
        eventually("all three messages", || node.messages() == 3);
    }
    assert_eq!((client.messages(), server.messages()), (3, 3));
    client.end();
    server.end();
}
