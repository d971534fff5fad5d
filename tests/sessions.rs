//! Lossless sessions over links that break, on the driver that `EVENT_DRIVER` names.

#[path = "common/faulty.rs"]
mod faulty;
#[path = "common/peers.rs"]
mod peers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use async_messenger::event::SystemEnv;
use async_messenger::message::Message;
use async_messenger::wire::{EntityName, EntityType, MsgHead, crc32c};
use async_messenger::{Connection, ConnectionEvent, Dispatcher, Policy, Workers};
use faulty::{Faults, FaultyStack};
use peers::{DEADLINE, builder, config, driver, localhost};

/// Checks that messages come once and in order, with the content that belongs to their number.
struct Checker {
    next: AtomicU64,
    echo: bool,
    resets: AtomicU64,
    wrong: Mutex<Option<String>>,
    wanted: u64,
    done: Mutex<Sender<()>>,
}

fn payload(number: u64) -> Vec<u8> {
    let len = (number * 37 % 3000) as usize;
    (0..len).map(|i| (number as usize + i) as u8).collect()
}

fn numbered(number: u64) -> Message {
    let data = payload(number);
    let crc = crc32c(0, &data);
    Message::new(42)
        .with_tid(number)
        .with_front(crc.to_le_bytes().to_vec())
        .with_data(data)
}

impl Checker {
    fn new(wanted: u64, echo: bool) -> (Arc<Self>, Receiver<()>) {
        let (done, rx) = channel();
        let checker = Self {
            next: AtomicU64::new(0),
            echo,
            resets: AtomicU64::new(0),
            wrong: Mutex::new(None),
            wanted,
            done: Mutex::new(done),
        };
        (Arc::new(checker), rx)
    }

    fn complain(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.get_or_insert(what);
        let _ = self
            .done
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(());
    }

    fn assert_right(&self) {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*wrong, None);
    }
}

impl Dispatcher for Checker {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        let expected = self.next.fetch_add(1, Ordering::SeqCst);
        let data = message.data().to_bytes();
        if message.tid() != expected {
            return self.complain(format!("{} came instead of {expected}", message.tid()));
        }
        let crc = crc32c(0, &data).to_le_bytes();
        if data[..] != payload(expected)[..] || message.front().to_bytes()[..] != crc {
            return self.complain(format!("{expected} has another content"));
        }
        if self.echo
            && let Err(error) = connection.send(numbered(expected))
        {
            return self.complain(format!("{expected} was not echoed: {error}"));
        }
        if expected + 1 == self.wanted {
            let _ = self
                .done
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .send(());
        }
    }

    fn event(&self, _: &Connection, event: &ConnectionEvent) {
        if matches!(
            event,
            ConnectionEvent::Reset { .. } | ConnectionEvent::RemoteReset { .. }
        ) {
            self.resets.fetch_add(1, Ordering::SeqCst);
            self.complain(format!("a lossless session ended: {event:?}"));
        }
    }
}

fn send(connection: &Connection, number: u64) {
    let mut message = numbered(number);
    while let Err(error) = connection.send(message) {
        assert!(!connection.is_closed(), "closed at {number}");
        message = error.into_message();
        std::thread::yield_now();
    }
}

/// Returns how many links were broken.
fn check_lossless(seed: u64, one_in: u32, messages: u64, [server, client]: [Policy; 2]) -> u64 {
    let faults = Faults::new(seed, one_in);
    let stack = FaultyStack::new(driver(), &faults);
    let workers = Workers::start_on(&config(), stack, Arc::new(SystemEnv)).expect("start");
    let build = |name: EntityName, policy: Policy| {
        let builder = builder(name).config(config()).workers(&workers);
        builder
            .default_policy(policy)
            .cluster_protocol(10)
            .build()
            .expect("made")
    };
    let a = build(EntityName::osd(0), server);
    let addrs = a.bind(&localhost()).expect("a free port");
    let (there, _there_done) = Checker::new(messages, true);
    a.add_dispatcher_tail(Arc::<Checker>::clone(&there))
        .expect("not started");
    a.start().expect("starts");

    let b = build(EntityName::osd(1), client);
    b.bind(&localhost()).expect("a free port");
    let (back, done) = Checker::new(messages, false);
    b.add_dispatcher_tail(Arc::<Checker>::clone(&back))
        .expect("not started");
    b.start().expect("starts");

    let connection = b.connect(EntityType::OSD, &addrs).expect("a connection");
    (0..messages).for_each(|number| send(&connection, number));
    let waited = done.recv_timeout(10 * DEADLINE);
    there.assert_right();
    back.assert_right();
    let state = (&there.next, &back.next, &faults.broken, &connection);
    waited.unwrap_or_else(|e| panic!("{e}: {state:?} {:?} {:?}", a.stats(), b.stats()));
    let broken = faults.broken.load(Ordering::Relaxed);
    println!("{broken} links broken, {messages} messages each way");
    faults.one_in.store(0, Ordering::Relaxed);
    broken
}

#[test]
fn a_lossless_client_loses_nothing_when_links_break() {
    let policies = [Policy::stateful_server(0), Policy::lossless_client(0)];
    check_lossless(1, 30, 5_000, policies);
}

#[test]
fn lossless_peers_lose_nothing_when_links_break() {
    for make in [Policy::lossless_peer, Policy::lossless_peer_reuse] {
        check_lossless(2, 30, 5_000, [make(0), make(0)]);
    }
}

#[test]
#[ignore = "the full number of messages, a minute"]
fn a_thousand_broken_links_in_a_hundred_thousand_messages() {
    let broken = check_lossless(
        3,
        40,
        100_000,
        [Policy::lossless_peer(0), Policy::lossless_peer(0)],
    );
    assert!(broken >= 1000, "only {broken}");
}
