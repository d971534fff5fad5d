//! The way of a message in pieces: through encoder and decoder, to another messenger and back, and
//! from the worker to a dispatcher's thread.
//!
//! Run by `cargo bench --bench messenger [-- FILTER]`. With other programs, and between processes,
//! messengers are compared by `benches/peers`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use async_messenger::crypto::{NonceStep, Opener, Role, Sealer, best, session_ciphers};
use async_messenger::message::{Message, TxBatch};
use async_messenger::proto::v2::{Assembler, Disassembler, Revision};
use async_messenger::proto::{
    Checksums, Decoded, Gate, Incoming, Limits, ProtoError, Toll, v1, v2,
};
use async_messenger::wire::{EntityName, EntityType, MsgHead, features};
use async_messenger::{Config, Connection, Dispatcher, Handled, Messenger, Policy};
use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput};

/// Bytes beside the data of a request.
const FRONT: usize = 150;

/// Messages of one batch.
const BATCH: u64 = 32;

/// No wait takes as long.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    // Not by criterion's macros, whose functions have no documentation.
    let mut criterion = Criterion::default().configure_from_args();
    frames(&mut criterion);
    round_trips(&mut criterion);
    criterion.final_summary();
}

fn request(data: &Bytes) -> Message {
    Message::new(42)
        .with_front(vec![1; FRONT])
        .with_data(data.clone())
}

// Frames, without a socket.

/// Appends a message under a number.
type Encode = Box<dyn FnMut(Message, u64, &mut TxBatch)>;

/// Takes what is at the front of the bytes.
type Decode = Box<dyn FnMut(&mut BytesMut) -> Result<Decoded, ProtoError>>;

/// Admits everything.
struct Open;

impl Gate for Open {
    fn admit(&mut self, _: Toll, _: u64) -> bool {
        true
    }
}

fn through_v1() -> (Encode, Decode) {
    let checksums = Checksums {
        header: true,
        data: true,
    };
    let encoder = v1::Encoder::new(features::SUPPORTED, checksums);
    let mut decoder = v1::Decoder::new(features::SUPPORTED, checksums, Limits::default());
    (
        Box::new(move |message, seq, out| encoder.message(message, seq, out)),
        Box::new(move |rx| decoder.decode(rx, &mut Open)),
    )
}

fn ciphers(role: Role) -> (Sealer, Opener) {
    let secret: Vec<u8> = (0x40..0x80).collect();
    session_ciphers(best(), &secret, role, NonceStep::Last64).expect("64 bytes are enough")
}

fn through_v2(secure: bool) -> (Encode, Decode) {
    let sealer = secure.then(|| ciphers(Role::Client).0);
    let opener = secure.then(|| ciphers(Role::Server).1);
    let mut encoder = v2::Encoder::new(Assembler::new(Revision::V1, sealer, true));
    let frames = Disassembler::new(Revision::V1, opener, true);
    let mut decoder = v2::Decoder::new(frames, EntityName::client(1), Limits::default());
    (
        Box::new(move |message, seq, out| {
            let encoded = encoder.message(message, seq, 0, out);
            encoded.expect("shorter than 4 GiB");
        }),
        Box::new(move |rx| decoder.decode(rx, &mut Open)),
    )
}

/// Encodes batches of messages, copies them as a socket would, and decodes them.
fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    for size in [64, 4096, 65_536] {
        group.throughput(Throughput::Elements(BATCH));
        for mode in ["v1-crc", "v2-crc", "v2-secure"] {
            let (mut encode, mut decode) = match mode {
                "v1-crc" => through_v1(),
                _ => through_v2(mode == "v2-secure"),
            };
            let data = Bytes::from(vec![2; size]);
            let (mut batch, mut rx, mut seq) = (TxBatch::default(), BytesMut::new(), 0);
            group.bench_function(BenchmarkId::new(mode, size), |bencher| {
                bencher.iter(|| {
                    for _ in 0..BATCH {
                        seq += 1;
                        encode(request(&data), seq, &mut batch);
                    }
                    transfer(&mut batch, &mut rx);
                    take(&mut decode, &mut rx);
                });
            });
        }
    }
    group.finish();
}

fn transfer(batch: &mut TxBatch, rx: &mut BytesMut) {
    while !batch.is_empty() {
        let written = batch.write_to(|slices| {
            slices.iter().for_each(|slice| rx.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        written.expect("takes everything");
    }
}

/// Decodes a batch.
fn take(decode: &mut Decode, rx: &mut BytesMut) {
    let mut left = BATCH;
    while left > 0 {
        match decode(rx) {
            Ok(Decoded::Incoming(Incoming::Message(message))) => drop(message),
            other => panic!("{other:?}"),
        }
        left -= 1;
    }
    assert!(rx.is_empty(), "more than was sent");
}

// Between two messengers.

/// Answers requests: at once, by the worker that received them, or by way of the dispatch queue.
struct Server {
    fast: bool,
}

impl Server {
    fn answer(from: &Connection) {
        // A client that goes does not wait for it.
        let _ = from.send(Message::new(43));
    }
}

impl Dispatcher for Server {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        self.fast
    }

    fn fast_dispatch(&self, from: &Connection, _: Message) {
        Self::answer(from);
    }

    fn dispatch(&self, from: &Connection, _: Message) -> Handled {
        Self::answer(from);
        Handled::Yes
    }
}

/// Sends a request for each reply, until as many were sent as asked for.
struct Client {
    data: Bytes,
    to_send: AtomicU64,
    to_come: AtomicU64,
    done: Mutex<mpsc::Sender<()>>,
}

impl Dispatcher for Client {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, from: &Connection, _: Message) {
        let less = |left: u64| left.checked_sub(1);
        let order = Ordering::Relaxed;
        if self.to_send.fetch_update(order, order, less).is_ok() {
            from.send(request(&self.data)).expect("room");
        }
        if self.to_come.fetch_sub(1, order) == 1 {
            let done = self.done.lock().expect("not poisoned");
            done.send(()).expect("waited for");
        }
    }
}

/// Two messengers with a connection, one worker each.
struct Pair {
    /// Kept, as they end when they are dropped.
    _messengers: [Messenger; 2],
    connection: Connection,
    client: Arc<Client>,
    done: mpsc::Receiver<()>,
}

fn messenger(name: EntityName, policy: Policy) -> Messenger {
    let config = Config {
        workers: 1,
        bind_port_min: 0,
        bind_port_max: 0,
        ..Config::default()
    };
    let builder = Messenger::builder(name).config(config);
    builder.default_policy(policy).build().expect("made")
}

impl Pair {
    fn new(version: &str, fast: bool, size: usize) -> Self {
        let server = messenger(EntityName::osd(0), Policy::stateless_server(0));
        let at = format!("{version}:127.0.0.1:0").parse();
        let addrs = server.bind(&at.expect("an address")).expect("a free port");
        server
            .add_dispatcher_tail(Arc::new(Server { fast }))
            .expect("not started");
        server.start().expect("starts");

        let (tell, done) = mpsc::channel();
        let client = Arc::new(Client {
            data: Bytes::from(vec![2; size]),
            to_send: AtomicU64::new(0),
            to_come: AtomicU64::new(0),
            done: Mutex::new(tell),
        });
        let other = messenger(EntityName::client(1), Policy::lossy_client(0));
        other
            .add_dispatcher_tail(Arc::<Client>::clone(&client))
            .expect("not started");
        other.start().expect("starts");
        let connection = other.connect(EntityType::OSD, &addrs);
        let pair = Self {
            _messengers: [server, other],
            connection: connection.expect("a connection"),
            client,
            done,
        };
        pair.run(1, 1);
        pair
    }

    /// Sends so many requests, `depth` of them in flight. Returns how long it took.
    fn run(&self, count: u64, depth: u64) -> Duration {
        let first = depth.min(count);
        self.client.to_come.store(count, Ordering::Relaxed);
        self.client.to_send.store(count - first, Ordering::Relaxed);
        let began = Instant::now();
        for _ in 0..first {
            let sent = self.connection.send(request(&self.client.data));
            sent.expect("room");
        }
        self.done.recv_timeout(DEADLINE).expect("all came");
        began.elapsed()
    }
}

/// The difference between `fast` and `queued` is the hand-off to the dispatcher's thread.
fn round_trips(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round-trip");
    group.throughput(Throughput::Elements(1));
    for version in ["v1", "v2"] {
        for (way, fast) in [("fast", true), ("queued", false)] {
            let pair = Pair::new(version, fast, 4096);
            for depth in [1, 32] {
                let id = BenchmarkId::new(format!("{version}-{way}"), depth);
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|count| pair.run(count, depth));
                });
            }
        }
    }
    group.finish();
}
