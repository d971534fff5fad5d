//! Instructions per message, for `.ci/icount`: a figure that is the same on every run and on noisy
//! machines, unlike times. What is counted is user code alone; the kernel's part is not seen.
//!
//! `icount WHAT BYTES N` does one thing N times, with so many bytes of data. The script runs it with two numbers under callgrind, so
//! that what is needed around it (handshakes, start-up) drops out of the difference.

#[path = "../tests/common/counted.rs"]
mod counted;

use std::cmp::Ordering;
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use async_messenger::message::{Message, TxBatch};
use async_messenger::net::TcpStack;
use async_messenger::proto::v2::{Assembler, Disassembler, Revision};
use async_messenger::proto::{
    self, Attempt, Checksums, Decoded, Existing, Gate, Incoming, Limits, Stage, Toll, v1, v2,
};
use async_messenger::wire::{EntityName, EntityType, MsgHead, features};
use async_messenger::{Config, Connection, Dispatcher, DriverKind, Messenger, Policy, Workers};
use bytes::{Bytes, BytesMut};
use counted::{Counted, Meter};

/// What the messages of `receive` are made for, whatever part of them is played.
const RECORDED_MAX: u64 = 4000;
/// Bytes of a request beside its data.
const FRONT_BYTES: usize = 150;
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at what a worker does: looking costs instructions.
const PAUSE: Duration = Duration::from_millis(5);
/// What it exits with if the count means nothing.
const DISTURBED: i32 = 3;
/// Numbers of the messages that open a connection and have its worker look at it.
const OPENING: u64 = 1;
const POKE: u64 = 2;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [what, bytes, count] = &args[..] else {
        // What `cargo bench` and `cargo test` call it with.
        println!("run by .ci/icount");
        return;
    };
    let payload = Payload::new(bytes.parse().expect("a number"));
    let count = count.parse().expect("a number");
    match what.as_str() {
        "encode-v1" => encode(&payload, v1_encoder(), count),
        "encode-v2" => encode(&payload, v2_encoder(), count),
        "decode-v1" => {
            let mut decoder = v1::Decoder::new(features::SUPPORTED, CHECKSUMS, Limits::default());
            decode(&payload, v1_encoder(), count, |rx| {
                decoder.decode(rx, &mut Open)
            });
        }
        "decode-v2" => {
            let frames = Disassembler::new(Revision::V1, None, true);
            let mut decoder = v2::Decoder::new(frames, EntityName::client(1), Limits::default());
            decode(&payload, v2_encoder(), count, |rx| {
                decoder.decode(rx, &mut Open)
            });
        }
        "arbitrate-v1" => arbitrate_v1(count),
        "arbitrate-v2" => arbitrate_v2(count),
        "send-v1" => send(&payload, "v1", Policy::lossy_client(0), count),
        "send-v2" => send(&payload, "v2", Policy::lossy_client(0), count),
        "send-v1-lossless" => send(&payload, "v1", Policy::lossless_client(0), count),
        "receive-v1" => receive(&payload, "v1", v1_encoder(), count),
        "receive-v2" => receive(&payload, "v2", v2_encoder(), count),
        other => panic!("{other} is not counted"),
    }
}

const CHECKSUMS: Checksums = Checksums {
    header: true,
    data: true,
};

/// Appends a message under a number.
type Encode = Box<dyn FnMut(Message, u64, &mut TxBatch)>;

fn v1_encoder() -> Encode {
    let encoder = v1::Encoder::new(features::SUPPORTED, CHECKSUMS);
    Box::new(move |message, seq, out| encoder.message(message, seq, out))
}

fn v2_encoder() -> Encode {
    let mut encoder = v2::Encoder::new(Assembler::new(Revision::V1, None, true));
    Box::new(move |message, seq, out| {
        let encoded = encoder.message(message, seq, 0, out);
        encoded.expect("shorter than 4 GiB");
    })
}

struct Open;

impl Gate for Open {
    fn admit(&mut self, _: Toll, _: u64) -> bool {
        true
    }
}

/// The payload that all messages share.
struct Payload {
    front: Bytes,
    data: Bytes,
}

impl Payload {
    fn new(data_bytes: usize) -> Self {
        Self {
            front: Bytes::from(vec![1; FRONT_BYTES]),
            data: Bytes::from(vec![2; data_bytes]),
        }
    }

    fn message(&self) -> Message {
        Message::new(42)
            .with_front(self.front.clone())
            .with_data(self.data.clone())
    }
}

fn drain(batch: &mut TxBatch, mut out: impl FnMut(&[u8])) {
    while !batch.is_empty() {
        let written = batch.write_to(|slices| {
            slices.iter().for_each(|slice| out(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        written.expect("takes everything");
    }
}

fn encode(payload: &Payload, mut encode: Encode, count: u64) {
    let mut batch = TxBatch::default();
    for seq in 1..=count {
        encode(payload.message(), seq, &mut batch);
        if seq % 32 == 0 {
            drain(&mut batch, |slice| {
                black_box(slice);
            });
        }
    }
}

/// The bytes of messages with these numbers.
fn recording(payload: &Payload, mut encode: Encode, seqs: RangeInclusive<u64>) -> Bytes {
    let (mut batch, mut bytes) = (TxBatch::default(), BytesMut::new());
    for seq in seqs {
        encode(payload.message(), seq, &mut batch);
        drain(&mut batch, |slice| bytes.extend_from_slice(slice));
    }
    bytes.freeze()
}

fn decode(
    payload: &Payload,
    encode: Encode,
    count: u64,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Decoded, proto::ProtoError>,
) {
    let one = recording(payload, encode, 1..=1);
    let mut rx = BytesMut::new();
    for _ in 0..count {
        rx.extend_from_slice(&one);
        match decode(&mut rx) {
            Ok(Decoded::Incoming(Incoming::Message(message))) => drop(black_box(message)),
            other => panic!("{other:?}"),
        }
    }
}

fn arbitrate_v1(count: u64) {
    let old = Existing {
        stage: Stage::Attempting,
        lossy: false,
        server: false,
        connect_seq: 1,
        peer_global_seq: 1,
    };
    let new = Attempt {
        global_seq: 2,
        connect_seq: 1,
        resetcheck: true,
        peer_first: true,
    };
    for _ in 0..count {
        black_box(proto::arbitrate(Some(black_box(&old)), black_box(&new)));
    }
}

fn arbitrate_v2(count: u64) {
    let old = v2::Existing {
        stage: v2::Stage::Attempting,
        lossy: false,
        server: false,
        client_cookie: 1,
        server_cookie: 2,
        connect_seq: 1,
        peer_global_seq: 1,
    };
    let new = v2::Attempt {
        global_seq: 2,
        client_cookie: 1,
        connect_seq: Some(1),
        resetcheck: true,
        peer: Ordering::Less,
    };
    for _ in 0..count {
        black_box(v2::arbitrate(Some(black_box(&old)), black_box(&new)));
    }
}

/// Tells when as many messages have come as it waits for.
struct Count {
    left: Mutex<u64>,
    done: Mutex<mpsc::Sender<()>>,
}

impl Dispatcher for Count {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, _: &Connection, message: Message) {
        drop(black_box(message));
        let mut left = self.left.lock().expect("not poisoned");
        *left -= 1;
        if *left == 0 {
            let done = self.done.lock().expect("not poisoned");
            done.send(()).expect("waited for");
        }
    }
}

/// A client with an open connection to a server, each on a worker and a meter of its own.
struct Pair {
    client: (Messenger, Arc<Meter>),
    server: (Messenger, Arc<Meter>),
    connection: Connection,
    counter: Arc<Count>,
    done: mpsc::Receiver<()>,
}

fn messenger(name: EntityName, policy: Policy) -> (Messenger, Arc<Meter>) {
    let config = Config {
        workers: 1,
        bind_port_min: 0,
        bind_port_max: 0,
        ..Config::default()
    };
    let stack = Counted::new(TcpStack::new(DriverKind::default_for_target()));
    let meter = Arc::clone(&stack.meter);
    let env = Arc::new(async_messenger::event::SystemEnv);
    let workers = Workers::start_on(&config, Arc::new(stack), env).expect("a thread");
    let builder = Messenger::builder(name).config(config).workers(&workers);
    let messenger = builder.default_policy(policy).build();
    (messenger.expect("made"), meter)
}

impl Pair {
    fn new(version: &str, policy: Policy) -> Self {
        let (server, server_meter) = messenger(EntityName::osd(0), Policy::stateless_server(0));
        let (tell, done) = mpsc::channel();
        let counter = Arc::new(Count {
            left: Mutex::new(OPENING),
            done: Mutex::new(tell),
        });
        let at = format!("{version}:127.0.0.1:0");
        let addrs = server.bind(&at.parse().expect("an address"));
        let addrs = addrs.expect("a free port");
        server
            .add_dispatcher_tail(Arc::<Count>::clone(&counter))
            .expect("not started");
        server.start().expect("starts");
        let (client, client_meter) = messenger(EntityName::client(1), policy);
        client.start().expect("starts");
        let connection = client.connect(EntityType::OSD, &addrs);
        let connection = connection.expect("a connection");
        connection.send(Message::new(1)).expect("room");
        done.recv_timeout(DEADLINE).expect("opened");
        Self {
            client: (client, client_meter),
            server: (server, server_meter),
            connection,
            counter,
            done,
        }
    }
}

/// The way of a message from the user into the transport.
fn send(payload: &Payload, version: &str, policy: Policy, count: u64) {
    let pair = Pair::new(version, policy);
    pair.client.1.discards.store(true, Relaxed);
    let writes = || pair.client.1.writes.load(Relaxed);
    let send = || pair.connection.send(payload.message()).expect("room");
    // The worker may not be done yet with what opened the connection, and would send these.
    let deadline = Instant::now() + DEADLINE;
    loop {
        let before = writes();
        send();
        if writes() > before {
            break;
        }
        while writes() == before {
            assert!(Instant::now() < deadline, "nothing is sent");
            std::thread::sleep(PAUSE);
        }
    }
    let before = writes();
    (0..count).for_each(|_| send());
    if writes() - before != count {
        eprintln!("disturbed: the worker has sent some of them, together");
        std::process::exit(DISTURBED);
    }
    // What ends would be counted, too.
    std::mem::forget(pair);
}

/// The way of a message out of the transport to the user.
fn receive(payload: &Payload, version: &str, encode: Encode, count: u64) {
    let recorded = recording(payload, encode, POKE + 1..=POKE + RECORDED_MAX);
    let pair = Pair::new(version, Policy::lossy_client(0));
    let each = recorded.len() / RECORDED_MAX as usize;
    *pair.counter.left.lock().expect("not poisoned") = count;
    pair.server
        .1
        .replay(recorded.slice(..each * count as usize));
    pair.connection.send(Message::new(1)).expect("room");
    pair.done.recv_timeout(DEADLINE).expect("all came");
}
