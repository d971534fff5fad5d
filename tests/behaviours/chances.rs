//! Faults by chance (session §14): lossless sessions lose nothing to them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_messenger::message::Message;
use async_messenger::wire::{EntityName, EntityType, MsgHead};
use async_messenger::{Config, Connection, ConnectionEvent, Dispatcher, Inject, Messenger, Policy};

use super::peers::{builder, config, eventually, localhost};

/// Numbers of messages, which have to come once and in order.
struct InOrder {
    echo: bool,
    next: AtomicU64,
    wrong: Mutex<Option<String>>,
}

impl InOrder {
    fn new(echo: bool) -> Arc<Self> {
        Arc::new(Self {
            echo,
            next: AtomicU64::new(0),
            wrong: Mutex::default(),
        })
    }

    fn complain(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.get_or_insert(what);
    }

    fn check(&self) {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*wrong, None);
    }
}

impl Dispatcher for InOrder {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        let expected = self.next.fetch_add(1, Ordering::SeqCst);
        if message.tid() != expected {
            self.complain(format!("{} came instead of {expected}", message.tid()));
        }
        if self.echo && connection.send(numbered(message.tid())).is_err() {
            self.complain(format!("{} was not echoed", message.tid()));
        }
    }

    fn event(&self, _: &Connection, event: &ConnectionEvent) {
        if matches!(
            event,
            ConnectionEvent::Reset { .. } | ConnectionEvent::RemoteReset { .. }
        ) {
            self.complain(format!("a session ended: {event:?}"));
        }
    }
}

fn numbered(tid: u64) -> Message {
    Message::new(2)
        .with_tid(tid)
        .with_data(vec![tid as u8; 100])
}

fn start(num: i64, policy: Policy, inject: &Inject, dispatcher: &Arc<InOrder>) -> Messenger {
    let config = Config {
        inject: inject.clone(),
        ..config()
    };
    let messenger = builder(EntityName::osd(num))
        .config(config)
        .cluster_protocol(10)
        .default_policy(policy)
        .build()
        .expect("made");
    println!("osd.{num}: seed {}", messenger.inject_seed());
    messenger.bind(&localhost()).expect("a free port");
    let dispatcher = Arc::<InOrder>::clone(dispatcher);
    messenger.add_dispatcher_tail(dispatcher).expect("new");
    messenger.start().expect("starts");
    messenger
}

/// So many messages there and back; returns how many links broke.
fn check(inject: &Inject, messages: u64, [there, back]: [Policy; 2]) -> u64 {
    let (at_server, at_client) = (InOrder::new(true), InOrder::new(false));
    let server = start(0, there, inject, &at_server);
    let client = start(1, back, inject, &at_client);
    let connection = client
        .connect(EntityType::OSD, &server.addrs())
        .expect("connects");
    for tid in 0..messages {
        connection.send(numbered(tid)).expect("room");
    }
    eventually("all messages have come back", || {
        [&at_server, &at_client]
            .iter()
            .for_each(|side| side.check());
        at_client.next.load(Ordering::SeqCst) >= messages
    });
    assert_eq!(at_server.next.load(Ordering::SeqCst), messages);
    let faults = server.stats().faults + client.stats().faults;
    // The end of the messengers is a reset; that of the sessions was checked.
    [&at_server, &at_client]
        .iter()
        .for_each(|side| side.check());
    for messenger in [&client, &server] {
        messenger.shutdown();
        messenger.wait().expect("ends in time");
        assert_eq!(messenger.stats().dispatch_messages, 0);
    }
    faults
}

fn peers() -> [Policy; 2] {
    [Policy::lossless_peer(0), Policy::lossless_peer(0)]
}

fn client_and_server() -> [Policy; 2] {
    [Policy::stateful_server(0), Policy::lossless_client(0)]
}

#[test]
fn injected_socket_failures_break_links_and_lose_nothing() {
    let inject = Inject {
        socket_failures: 30,
        internal_delays: Duration::from_millis(1),
        seed: Some(1),
        ..Inject::default()
    };
    for policies in [peers(), client_and_server()] {
        let faults = check(&inject, 1_000, policies);
        assert!(faults > 0, "no link broke");
    }
}

#[test]
fn injected_congestion_slows_down_and_loses_nothing() {
    let inject = Inject {
        network_congestion: 100,
        seed: Some(2),
        ..Inject::default()
    };
    assert_eq!(check(&inject, 200, client_and_server()), 0);
}

#[test]
fn injected_delays_keep_the_order() {
    let inject = Inject {
        delay_type: vec![EntityType::OSD],
        delay_probability: 0.5,
        delay_max: Duration::from_millis(50),
        seed: Some(3),
        ..Inject::default()
    };
    assert_eq!(check(&inject, 500, peers()), 0);
}

#[test]
fn everything_injected_at_once_loses_nothing() {
    let inject = Inject {
        socket_failures: 50,
        internal_delays: Duration::from_millis(1),
        delay_type: vec![EntityType::OSD],
        delay_probability: 0.5,
        delay_max: Duration::from_millis(50),
        network_congestion: 4,
        seed: Some(4),
        ..Inject::default()
    };
    check(&inject, 500, peers());
}

#[test]
fn blackholes_swallow_what_is_sent_and_what_comes_and_nothing_else() {
    let osds_vanish = Inject {
        blackhole_osd: true,
        ..Inject::default()
    };
    let (at_deaf, at_server) = (InOrder::new(false), InOrder::new(true));
    let server = start(
        0,
        Policy::stateless_server(0),
        &Inject::default(),
        &at_server,
    );
    let deaf = start(1, Policy::lossless_peer(0), &osds_vanish, &at_deaf);
    // What it sends to an OSD is taken, and gone.
    let connected = deaf.connect(EntityType::OSD, &server.addrs());
    let to_osd = connected.expect("connects");
    eventually("the handshake is done", || to_osd.is_connected());
    to_osd.send(numbered(0)).expect("taken");
    assert_eq!((to_osd.queued(), to_osd.unacked()), (0, 0));
    // What an OSD sends to it is counted, and gone.
    let at_third = InOrder::new(false);
    let third = start(2, Policy::lossless_peer(0), &Inject::default(), &at_third);
    let connected = third.connect(EntityType::OSD, &deaf.addrs());
    let to_deaf = connected.expect("connects");
    to_deaf.send(numbered(0)).expect("taken");
    eventually("it has come", || deaf.stats().received == 1);
    assert_eq!(at_deaf.next.load(Ordering::SeqCst), 0, "it was dispatched");
    // Whoever is not in the list is heard.
    let connected = third.connect(EntityType::OSD, &server.addrs());
    connected
        .expect("connects")
        .send(numbered(0))
        .expect("room");
    eventually("the echo", || at_third.next.load(Ordering::SeqCst) == 1);
    assert_eq!(at_server.next.load(Ordering::SeqCst), 1);
}
