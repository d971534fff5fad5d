//! What handlers are called with and when, and handlers that panic.

use std::sync::Arc;

use async_messenger::message::Message;
use async_messenger::wire::EntityName;
use async_messenger::{ErrorKind, Messenger};

use crate::peers::{config, eventually};
use crate::{Call, Client, FAST, NORMAL, POISON, POISON_EARLY, Scribe, Server, client, server};

#[test]
fn every_message_is_seen_in_order_before_it_is_dispatched() {
    let server = server();
    let clients: Vec<Client> = (0..2).map(|_| client(&server)).collect();
    let ids: Vec<u64> = clients.iter().map(|_| server.accepted().id()).collect();
    let each = 500;
    for n in 0..each {
        for client in &clients {
            let kind = if n % 3 == 0 { FAST } else { NORMAL };
            client.send(Message::new(kind));
        }
    }
    let mut calls = Vec::new();
    eventually("all are dispatched", || {
        calls.extend(server.calls());
        let seen = |call: &&Call| matches!(call, Call::Fast(..) | Call::Normal(..));
        calls.iter().filter(seen).count() == 2 * each
    });
    for id in ids {
        let mut seen = Vec::new();
        for call in &calls {
            match *call {
                Call::Pre(of, tid) if of == id => seen.push(tid),
                Call::Fast(of, tid) if of == id => {
                    assert_eq!(seen.last(), Some(&tid), "right before its dispatch");
                }
                Call::Normal(of, _, tid) if of == id => assert!(seen.contains(&tid), "{tid}"),
                _ => {}
            }
        }
        assert!(seen.into_iter().eq(1..=each as u64), "of connection {id}");
    }
    clients.into_iter().for_each(Client::end);
    server.end();
}

#[test]
fn every_dispatcher_sees_every_message_also_on_the_loop_back_connection() {
    let scribes: Vec<Server> = (0..2).map(|_| server()).collect();
    let messenger = Messenger::builder(EntityName::osd(1))
        .config(config())
        .build()
        .expect("made");
    for server in &scribes {
        messenger
            .add_dispatcher_tail(Arc::<Scribe>::clone(&server.scribe))
            .expect("not started");
    }
    messenger.start().expect("starts");
    let own = messenger.loopback().expect("started");
    for tid in 0..100 {
        own.send(Message::new(FAST).with_tid(tid)).expect("room");
    }
    eventually("all came", || {
        messenger.stats().dispatch_messages == 0 && own.queued() == 0
    });
    let expected = (0..100).map(|tid| Call::Pre(own.id(), tid));
    let pre = |call: &Call| matches!(call, Call::Pre(..));
    assert!(scribes[1].calls().into_iter().eq(expected.clone()));
    let first = scribes[0].calls();
    assert!(first.iter().filter(|c| pre(c)).cloned().eq(expected));
    assert_eq!(first.len(), 200);
}

fn check_panic(kind: u16) {
    let server = server();
    let victim = client(&server);
    let victims = server.accepted();
    let bystander = client(&server);
    let bystanders = server.accepted();
    victim.send(Message::new(kind));
    let reset = Call::Reset(victims.id(), ErrorKind::Panicked);
    eventually("the reset is told", || server.calls().contains(&reset));
    assert!(victims.is_closed() && !bystanders.is_closed());
    assert_eq!(server.messenger.stats().panics, 1);
    bystander.send_normal(1, 10);
    let expected = Call::Normal(bystanders.id(), 127, 1);
    assert_eq!(server.dispatched(1), [expected]);
    server.at_rest();
    victim.end();
    bystander.end();
    server.end();
}

#[test]
fn a_panic_in_dispatch_ends_that_connection_only() {
    check_panic(POISON);
}

#[test]
fn a_panic_in_fast_preprocess_ends_that_connection_only() {
    check_panic(POISON_EARLY);
}
