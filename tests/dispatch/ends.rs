//! What the end of a connection or of a session drops, and that all shares come back.

use std::sync::Arc;

use async_messenger::event::SystemEnv;
use async_messenger::message::Message;
use async_messenger::throttle::Throttle;
use async_messenger::{Builder, Connection, ErrorKind, Policy};

use crate::peers::{config, eventually};
use crate::{Call, Client, POISON, client, client_with, server, server_with};

/// Two connections with messages in the queue of a plugged server, the first of which ends.
fn check_discard(end: impl FnOnce(&Connection, &Client), events: usize) {
    let throttle = Throttle::new("messages", 0);
    let policy = Policy::stateless_server(0).with_throttles(None, Some(Arc::clone(&throttle)));
    let server = server_with(Arc::new(SystemEnv), config(), |b| b.default_policy(policy));
    let victim = client(&server);
    let victims = server.accepted();
    let bystander = client(&server);
    let bystanders = server.accepted();
    server.plug(&bystander);
    victim.send_normal(50, 1000);
    server.queue_has(50);
    bystander.send_normal(20, 1000);
    server.queue_has(70);
    let stats = server.messenger.stats();
    assert_eq!(
        (stats.dispatch_messages, stats.dispatch_bytes),
        (71, 70_000)
    );
    assert_eq!(throttle.current(), 71);

    end(&victims, &victim);
    server.queue_has(20 + events);
    eventually("the shares come back", || {
        let stats = server.messenger.stats();
        let dispatch = (stats.dispatch_messages, stats.dispatch_bytes);
        (dispatch, throttle.current()) == ((21, 20_000), 21)
    });
    assert!(victims.is_closed());
    assert_eq!(server.messenger.stats().discarded, 50);
    server.unplug();
    let calls = server.dispatched(20 + events);
    let of_victim = |call: &&Call| match call {
        Call::Normal(id, ..) => *id != bystanders.id(),
        _ => true,
    };
    let rest: Vec<&Call> = calls.iter().filter(of_victim).collect();
    let reset = Call::Reset(victims.id(), ErrorKind::Disconnected);
    assert_eq!(rest, [&reset].into_iter().take(events).collect::<Vec<_>>());
    server.at_rest();
    assert_eq!(throttle.current(), 0);
    victim.end();
    bystander.end();
    server.end();
}

#[test]
fn mark_down_drops_what_waits_of_that_connection() {
    check_discard(|victims, _| victims.mark_down(), 0);
}

#[test]
fn a_reset_drops_what_waits_of_that_connection_and_is_told() {
    check_discard(|_, victim| victim.connection.mark_down(), 1);
}

#[test]
fn a_peer_that_lost_its_session_finds_nothing_of_it_in_the_queue() {
    let server = server_with(Arc::new(SystemEnv), config(), |b| {
        b.default_policy(Policy::stateful_server(0))
    });
    let lossless = |b: Builder| b.default_policy(Policy::lossless_client(0)).nonce(4711);
    let before = client_with(&server, lossless);
    let connection = server.accepted();
    let plugger = client(&server);
    server.accepted();
    server.plug(&plugger);
    before.send_normal(30, 100);
    server.queue_has(30);
    // A program that ends and starts again under the same address, and knows nothing.
    before.end();
    let after = client_with(&server, lossless);
    assert_eq!(server.accepted(), connection, "the session is the same");
    // The reset, and that the session is ready again.
    server.queue_has(2);
    assert_eq!(server.messenger.stats().discarded, 30);
    after.send_normal(1, 100);
    server.queue_has(3);
    server.unplug();
    let id = connection.id();
    let expected = [
        Call::RemoteReset(id),
        Call::Accepted(id),
        Call::Normal(id, 127, 1),
    ];
    assert_eq!(server.dispatched(3), expected);
    server.at_rest();
    after.end();
    plugger.end();
    server.end();
}

#[test]
fn a_shutdown_drops_what_waits_and_tells_all_resets() {
    let server = server();
    let client = client(&server);
    let id = server.accepted().id();
    server.plug(&client);
    client.send_normal(40, 100);
    server.queue_has(40);
    server.messenger.shutdown();
    eventually("they are dropped", || {
        server.messenger.stats().discarded == 40
    });
    server.unplug();
    server.messenger.wait().expect("ends in time");
    let reset = Call::Reset(id, ErrorKind::MarkedDown);
    assert_eq!(server.dispatched(1), [reset]);
    server.at_rest();
    client.end();
}

#[test]
fn a_panic_in_dispatch_drops_what_waits_of_that_connection() {
    let server = server();
    let victim = client(&server);
    let victims = server.accepted();
    let bystander = client(&server);
    server.plug(&bystander);
    victim.send(Message::new(POISON));
    victim.send_normal(10, 10);
    bystander.send_normal(10, 10);
    server.queue_has(21);
    server.unplug();
    let calls = server.dispatched(11);
    assert!(calls.contains(&Call::Reset(victims.id(), ErrorKind::Panicked)));
    let late = |call: &&Call| matches!(call, Call::Normal(id, ..) if *id == victims.id());
    assert_eq!(calls.iter().find(late), None);
    assert_eq!(server.messenger.stats().discarded, 10);
    server.at_rest();
    victim.end();
    bystander.end();
    server.end();
}
