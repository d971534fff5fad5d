//! Compressed connections of messengers: OSDs among each other, over links that break, plain and
//! encrypted; and everybody else, who does not compress.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use async_messenger::event::SystemEnv;
use async_messenger::message::Message;
use async_messenger::proto::v2::{Algorithm, Algorithms, CompressMode, Compression};
use async_messenger::wire::{AddrVec, EntityName, MsgHead};
use async_messenger::{Config, Connection, Dispatcher, Messenger, Policy, Stats, Workers};

use super::ALGORITHMS;
use super::faulty::{Faults, FaultyStack};
use super::peers::{DEADLINE, Msgr, Recorder, builder_for, config, driver, eventually};

const MESSAGES: u64 = 600;

/// Wants messages once and in order, and sends them back.
struct Echo {
    next: AtomicU64,
    answers: bool,
    done: Mutex<Sender<Result<(), String>>>,
}

impl Echo {
    fn new(answers: bool) -> (Arc<Self>, Receiver<Result<(), String>>) {
        let (done, rx) = channel();
        let echo = Self {
            next: AtomicU64::new(0),
            answers,
            done: Mutex::new(done),
        };
        (Arc::new(echo), rx)
    }

    fn tell(&self, what: Result<(), String>) {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        // The test may have ended.
        let _ = done.send(what);
    }
}

/// Text that can be compressed, some of it long, some too short for it.
fn numbered(number: u64) -> Message {
    let line = format!("object {number} of pool {} is in place; ", number % 7);
    let lines = [1, 3, 40, 100, 400][(number % 5) as usize];
    Message::new(42)
        .with_tid(number)
        .with_front(line.clone())
        .with_data(line.repeat(lines))
}

impl Dispatcher for Echo {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let wanted = numbered(number);
        if message.tid() != number {
            return self.tell(Err(format!("{} came instead of {number}", message.tid())));
        }
        if (message.front(), message.data()) != (wanted.front(), wanted.data()) {
            return self.tell(Err(format!("{number} has another content")));
        }
        if self.answers && connection.send(numbered(number)).is_err() {
            return self.tell(Err(format!("{number} was not answered")));
        }
        if number + 1 == MESSAGES {
            self.tell(Ok(()));
        }
    }
}

fn wants(algorithm: Algorithm, secure: bool) -> Config {
    Config {
        compression: Compression {
            osd_mode: CompressMode::Force,
            osd_algorithms: Algorithms(vec![algorithm]),
            secure,
            ..Compression::default()
        },
        ..config()
    }
}

/// What came of an exchange.
struct Outcome {
    /// Over the wire, in both directions.
    written: u64,
    broken: u64,
    /// Of the messages, in both directions.
    payload: u64,
}

/// Two messengers send each other everything, over links one in so many of whose operations fail.
fn exchange(msgr: Msgr, names: [EntityName; 2], configs: [Config; 2], one_in: u32) -> Outcome {
    let faults = Faults::new(7, one_in);
    let stack = FaultyStack::new(driver(), &faults);
    let workers = Workers::start_on(&config(), stack, Arc::new(SystemEnv)).expect("start");
    let [a_config, b_config] = configs;
    let build = |name: EntityName, config: Config| -> Messenger {
        let builder = builder_for(msgr, name).config(config).workers(&workers);
        let builder = builder.default_policy(Policy::lossless_peer(0));
        builder.cluster_protocol(10).build().expect("made")
    };
    let localhost: AddrVec = "v2:127.0.0.1:0".parse().expect("an address");
    let a = build(names[0], a_config);
    let addrs = a.bind(&localhost).expect("a free port");
    let (there, there_done) = Echo::new(true);
    a.add_dispatcher_tail(there).expect("not started");
    a.start().expect("starts");
    let b = build(names[1], b_config);
    b.bind(&localhost).expect("a free port");
    let (back, back_done) = Echo::new(false);
    b.add_dispatcher_tail(back).expect("not started");
    b.start().expect("starts");

    let connection = b.connect(names[0].kind, &addrs).expect("a connection");
    let mut payload = 0;
    for number in 0..MESSAGES {
        let message = numbered(number);
        payload += 2 * message.size();
        connection.send(message).expect("room");
    }
    for done in [there_done, back_done] {
        let told = done.recv_timeout(2 * DEADLINE);
        let told = told.unwrap_or_else(|e| panic!("{e}: {:?} {:?}", a.stats(), b.stats()));
        assert_eq!(told, Ok(()));
    }
    let (written, broken) = (&faults.written, &faults.broken);
    let outcome = Outcome {
        written: written.load(Ordering::Relaxed),
        broken: broken.load(Ordering::Relaxed),
        payload,
    };
    faults.one_in.store(0, Ordering::Relaxed);
    // What compressed messages have grown by is given back with the rest.
    for messenger in [&a, &b] {
        eventually("all shares are given back", || {
            let Stats { dispatch_bytes, .. } = messenger.stats();
            dispatch_bytes == 0
        });
    }
    outcome
}

const OSDS: [EntityName; 2] = [EntityName::osd(0), EntityName::osd(1)];

#[test]
fn osds_compress_what_they_send_each_other() {
    for algorithm in ALGORITHMS {
        for msgr in [Msgr::V2, Msgr::V2Secure] {
            let configs = [wants(algorithm, true), wants(algorithm, true)];
            let outcome = exchange(msgr, OSDS, configs, 0);
            let Outcome {
                written, payload, ..
            } = outcome;
            println!("{msgr:?} {algorithm}: {written} bytes for {payload}");
            assert!(
                written < payload / 4,
                "{msgr:?} {algorithm}: {written} of {payload}"
            );
        }
    }
}

#[test]
fn compressed_sessions_lose_nothing_when_links_break() {
    for algorithm in ALGORITHMS {
        for msgr in [Msgr::V2, Msgr::V2Secure] {
            let configs = [wants(algorithm, true), wants(algorithm, true)];
            let outcome = exchange(msgr, OSDS, configs, 30);
            println!("{msgr:?} {algorithm}: {} links broken", outcome.broken);
            assert!(outcome.broken > 0, "{msgr:?} {algorithm}");
        }
    }
}

/// What is short on the wire and too long in memory ends the connection, and the reason is told.
#[test]
fn a_bomb_ends_the_connection_that_it_came_by() {
    for algorithm in ALGORITHMS {
        let build = |name: EntityName, policy: Policy, data_max: u32| {
            let mut config = wants(algorithm, false);
            config.limits.data_max = data_max;
            let builder = builder_for(Msgr::V2, name).config(config);
            builder.default_policy(policy).build().expect("made")
        };
        let victim = build(OSDS[0], Policy::stateless_server(0), 100_000);
        let localhost: AddrVec = "v2:127.0.0.1:0".parse().expect("an address");
        let addrs = victim.bind(&localhost).expect("a free port");
        let (recorder, inbox) = Recorder::new(false, true);
        victim.add_dispatcher_tail(recorder).expect("not started");
        victim.start().expect("starts");
        let bomber = build(OSDS[1], Policy::lossy_client(0), 1 << 30);
        bomber.start().expect("starts");
        let connection = bomber.connect(OSDS[0].kind, &addrs).expect("a connection");
        let fits = Message::new(1).with_data(vec![0; 100_000]);
        connection.send(fits).expect("room");
        assert_eq!(inbox.message().1.size(), 100_000, "{algorithm}");
        let bomb = Message::new(1).with_data(vec![0; 1_000_000]);
        connection.send(bomb).expect("room");
        let error = inbox.reset().to_string();
        assert!(
            error.contains("peer exceeds a limit: data segment"),
            "{error}"
        );
        assert!(error.contains("at most 100000 are taken"), "{error}");
        eventually("its shares are given back", || {
            victim.stats().dispatch_bytes == 0
        });
    }
}

/// One side does not want it, or is no OSD, or they have no algorithm in common, or the connection
/// is encrypted and that was not allowed for.
#[test]
fn nobody_else_compresses() {
    let lz4 = || wants(Algorithm::Lz4, false);
    let mds = EntityName::new(async_messenger::wire::EntityType::MDS, 3);
    for (what, msgr, names, configs) in [
        ("one does not want to", Msgr::V2, OSDS, [config(), lz4()]),
        ("the other does not", Msgr::V2, OSDS, [lz4(), config()]),
        ("one is no OSD", Msgr::V2, [OSDS[0], mds], [lz4(), lz4()]),
        (
            "the other is none",
            Msgr::V2,
            [mds, OSDS[0]],
            [lz4(), lz4()],
        ),
        (
            "nothing in common",
            Msgr::V2,
            OSDS,
            [wants(Algorithm::Zstd, false), lz4()],
        ),
        ("encrypted", Msgr::V2Secure, OSDS, [lz4(), lz4()]),
        (
            "one does not want it encrypted",
            Msgr::V2Secure,
            OSDS,
            [wants(Algorithm::Lz4, true), lz4()],
        ),
    ] {
        let Outcome {
            written, payload, ..
        } = exchange(msgr, names, configs, 0);
        assert!(written > payload, "{what}: {written} of {payload}");
    }
}
