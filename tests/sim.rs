//! Messengers on a simulated network.

use std::sync::Arc;

use async_messenger::message::Message;
use async_messenger::sim::{Run, World};
use async_messenger::wire::{EntityName, EntityType};
use async_messenger::{Config, Connection, Dispatcher, Handled, Policy};

struct Take;

impl Dispatcher for Take {
    fn dispatch(&self, _: &Connection, _: Message) -> Handled {
        Handled::Yes
    }
}

#[test]
fn one_message_arrives_and_nothing_is_left() {
    let mut world = World::new(7);
    let config = Config {
        workers: 1,
        ..Config::default()
    };
    let (a, b) = (
        world.node(&config).expect("a node"),
        world.node(&config).expect("a node"),
    );
    let server = world.builder(a, EntityName::osd(0), &config);
    let server = server
        .default_policy(Policy::stateless_server(0))
        .build()
        .expect("made");
    let addrs = server.bind(&world.addr(a, 6800)).expect("free");
    server.add_dispatcher_tail(Arc::new(Take)).expect("new");
    world.start(a, server).expect("starts");
    let client = world
        .builder(b, EntityName::client(-1), &config)
        .build()
        .expect("made");
    world.start(b, client).expect("starts");

    let connection = world
        .messenger(b)
        .expect("runs")
        .connect(EntityType::OSD, &addrs)
        .expect("a connection");
    connection.send(Message::new(42)).expect("room");
    let received = |world: &World| world.messenger(a).expect("runs").stats().received;
    while received(&world) == 0 {
        assert!(world.step(), "the message is lost");
    }
    drop(connection);
    assert_eq!(world.finish(), "");
}

/// The seed of `MSGR_SEED`, printed step by step.
#[test]
#[ignore = "for replaying a seed"]
fn replay() {
    let seed = std::env::var("MSGR_SEED").expect("MSGR_SEED is a number");
    let seed = seed.parse().expect("MSGR_SEED is a number");
    let print = true;
    let outcome = Run { seed, print, plant: None }.go();
    println!("{outcome:#?}");
    assert_eq!(outcome.wrong, None);
}

#[test]
fn a_fraction_of_the_seeds() {
    let mut wrong = Vec::new();
    let (mut messages, mut steps, mut faults) = (0, 0, 0);
    for seed in 0..500 {
        let outcome = Run::new(seed).go();
        messages += outcome.messages;
        steps += outcome.steps;
        faults += outcome.faults;
        wrong.extend(outcome.wrong);
    }
    println!("{messages} messages, {steps} steps, {faults} faults");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
