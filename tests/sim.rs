//! Messengers on a simulated network.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_messenger::message::Message;
use async_messenger::sim::{Plant, Run, World};
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
    let v2 = speaks_v2();
    let log = tracing::Dispatch::new(Log);
    let _log = tracing::dispatcher::set_default(&log);
    let outcome = Run {
        seed,
        print,
        plant: None,
        v2,
    }
    .go();
    println!("{outcome:#?}");
    assert_eq!(outcome.wrong, None);
}

/// What a sweep came to.
#[derive(Default)]
struct Sweep {
    messages: u64,
    steps: u64,
    faults: u64,
    time: Duration,
    wrong: Vec<(u64, String)>,
}

/// Whether `MSGR` says so: `v1`, which is the default, or `v2`.
fn speaks_v2() -> bool {
    match std::env::var("MSGR").as_deref() {
        Err(_) | Ok("v1") => false,
        Ok("v2") => true,
        Ok(other) => panic!("MSGR={other}: it is v1 or v2"),
    }
}

/// Runs seeds on all cores. With `first` it ends at the first one that goes wrong.
fn sweep(seeds: Range<u64>, plant: Option<Plant>, first: bool) -> Sweep {
    let next = AtomicU64::new(seeds.start);
    let v2 = speaks_v2();
    let total = Mutex::new(Sweep::default());
    let work = || {
        while let Some(seed) = Some(next.fetch_add(1, SeqCst)).filter(|seed| *seed < seeds.end) {
            let print = false;
            let outcome = Run {
                seed,
                print,
                plant,
                v2,
            }
            .go();
            let mut total = total.lock().expect("no panic");
            total.messages += outcome.messages;
            total.steps += outcome.steps;
            total.faults += outcome.faults;
            total.time += outcome.time;
            if let Some(wrong) = outcome.wrong {
                if plant.is_none() {
                    println!("{wrong}");
                }
                total.wrong.push((seed, wrong));
                if first {
                    next.store(seeds.end, SeqCst);
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    total.into_inner().expect("no panic")
}

fn assert_right(seeds: Range<u64>) {
    let count = seeds.end - seeds.start;
    let began = Instant::now();
    let total = sweep(seeds, None, false);
    let took = began.elapsed();
    println!(
        "{count} seeds in {took:.1?}: {} messages, {} steps, {} faults, {:.0?} simulated, \
         {:.0} seeds a second",
        total.messages,
        total.steps,
        total.faults,
        total.time,
        count as f64 / took.as_secs_f64()
    );
    let wrong: Vec<&str> = total.wrong.iter().map(|(_, text)| &text[..]).collect();
    assert!(
        wrong.is_empty(),
        "{} went wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn nothing_goes_wrong_in_500_seeds() {
    assert_right(0..500);
}

#[test]
#[ignore = "takes minutes; MSGR_SEEDS=from..to chooses others"]
fn nothing_goes_wrong_in_20000_seeds() {
    let chosen = std::env::var("MSGR_SEEDS").ok();
    let parse = |text: String| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    let seeds = chosen.map(|text| parse(text).expect("MSGR_SEEDS is from..to"));
    assert_right(seeds.unwrap_or(0..20_000));
}

/// A reconnect that is told to begin anew while the answer to the own attempt, and messages behind
/// it, are still on their way (msgr2 §12.2, row 5).
#[test]
fn what_was_wrong_once_is_right() {
    let outcome = Run {
        v2: true,
        ..Run::new(18_273)
    };
    assert_eq!(outcome.go().wrong, None);
}

#[test]
fn a_seed_is_one_run() {
    let mut hashes = Vec::new();
    for seed in 0..40 {
        let outcome = Run::new(seed).go();
        assert_eq!(outcome, Run::new(seed).go(), "seed {seed}");
        hashes.push(outcome.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 40, "different seeds are different runs");
}

fn assert_found(plant: Plant) {
    let found = sweep(0..1000, Some(plant), true);
    let (seed, wrong) = found.wrong.first().expect("found in 1000 seeds");
    println!("{plant:?} is found by seed {seed}: {wrong}");
}

#[test]
fn a_dropped_ack_is_found() {
    assert_found(Plant::AckDroppedOnTakeover);
}

#[test]
fn a_wrong_order_of_replay_is_found() {
    assert_found(Plant::ReplayOutOfOrder);
}

#[test]
fn a_leaked_share_is_found() {
    assert_found(Plant::ShareLeakedOnFault);
}

/// Prints the log between the steps of a replay.
struct Log;

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        println!("{:>16}{}", event.metadata().level(), fields.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
