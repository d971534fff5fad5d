//! Which message is next: strict and weighted priorities, turns of connections, events.

use async_messenger::message::Message;

use crate::{Call, Client, NORMAL, Server, client, server};

/// Has a message wait in the queue of a plugged server, behind those that it has.
fn queue_at(server: &Server, client: &Client, priority: u16) {
    let queued = server.messenger.stats().dispatch_queue;
    client.send(Message::new(NORMAL).with_priority(priority));
    server.queue_has(queued + 1);
}

fn priorities(calls: &[Call]) -> Vec<u16> {
    let priority = |call: &Call| match call {
        Call::Normal(_, priority, _) => *priority,
        other => panic!("{other:?}"),
    };
    calls.iter().map(priority).collect()
}

#[test]
fn the_highest_strict_priority_goes_first_and_weighted_ones_last() {
    let server = server();
    let client = client(&server);
    server.plug(&client);
    for priority in [64, 127, 63, 300, 127, 255, 10, 196, 64] {
        queue_at(&server, &client, priority);
    }
    server.unplug();
    let order = priorities(&server.dispatched(9));
    assert_eq!(order, [300, 255, 196, 127, 127, 64, 64, 63, 10]);
    server.at_rest();
    client.end();
    server.end();
}

#[test]
fn weighted_priorities_get_shares_that_follow_their_numbers() {
    let server = server();
    let client = client(&server);
    server.plug(&client);
    let each = 1200;
    for (i, priority) in [10, 20, 30].into_iter().enumerate() {
        for _ in 0..each {
            client.send(Message::new(NORMAL).with_priority(priority));
        }
        server.queue_has((i + 1) * each);
    }
    server.unplug();
    let order = priorities(&server.dispatched(3 * each));
    // While all of them have something to give.
    let first = &order[..each];
    for (priority, fair) in [(10, 1.0 / 6.0), (20, 1.0 / 3.0), (30, 1.0 / 2.0)] {
        let count = first.iter().filter(|&&p| p == priority).count();
        let share = count as f64 / each as f64;
        println!("priority {priority}: {share:.3} of all, {fair:.3} by its number");
        assert!((share - fair).abs() < 0.05, "{priority}: {share}");
    }
    server.at_rest();
    client.end();
    server.end();
}

#[test]
fn connections_take_turns_and_each_keeps_its_order() {
    let server = server();
    let clients: Vec<Client> = (0..3).map(|_| client(&server)).collect();
    let ids: Vec<u64> = clients.iter().map(|_| server.accepted().id()).collect();
    server.plug(&clients[0]);
    let each = 100;
    for (i, client) in clients.iter().enumerate() {
        // The first one is far ahead of the others.
        client.send_normal(each, 10);
        server.queue_has((i + 1) * each);
    }
    server.unplug();
    let calls = server.dispatched(3 * each);
    for &id in &ids {
        let mut tids = calls.iter().filter_map(|call| match call {
            Call::Normal(of, _, tid) if *of == id => Some(*tid),
            _ => None,
        });
        let first = tids.next().expect("some");
        assert!(
            tids.eq(first + 1..first + each as u64),
            "of connection {id}"
        );
    }
    for turn in calls.chunks(3) {
        let mut of: Vec<u64> = turn
            .iter()
            .map(|call| match call {
                Call::Normal(id, ..) => *id,
                other => panic!("{other:?}"),
            })
            .collect();
        of.sort_unstable();
        let mut all = ids.clone();
        all.sort_unstable();
        assert_eq!(of, all, "one of each in a turn");
    }
    clients.into_iter().for_each(Client::end);
    server.end();
}

#[test]
fn an_event_goes_before_messages_below_255_that_wait() {
    let server = server();
    let one = client(&server);
    server.plug(&one);
    for priority in [10, 64, 127, 254, 300] {
        queue_at(&server, &one, priority);
    }
    let other = client(&server);
    server.accepted();
    let id = server.accepted().id();
    server.queue_has(6);
    server.unplug();
    let calls = server.dispatched(6);
    assert_eq!(calls[1], Call::Accepted(id), "{calls:?}");
    let messages: Vec<Call> = calls
        .into_iter()
        .filter(|c| *c != Call::Accepted(id))
        .collect();
    assert_eq!(priorities(&messages), [300, 254, 127, 64, 10]);
    one.end();
    other.end();
    server.end();
}
