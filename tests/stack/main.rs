//! What the network stack suite of Ceph checks (session §16.3), number by number: TCP below event
//! centers, on the driver that `EVENT_DRIVER` names. Ports are the system's choice.

mod stress;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_messenger::event::{EventCenter, Handler, SystemEnv, TimerId};
use async_messenger::net::{Listener, SocketOptions, Stack, Stream, TcpStack};
use async_messenger::{DriverKind, Interest, Readiness, Source, Token};
use bytes::BytesMut;
use event_driver::sock::Space;

const DEADLINE: Duration = Duration::from_secs(30);

fn stack() -> TcpStack {
    let kind = match std::env::var("EVENT_DRIVER") {
        Ok(name) => name.parse().expect("EVENT_DRIVER names a driver"),
        Err(_) => DriverKind::default_for_target(),
    };
    TcpStack::new(kind)
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn options() -> SocketOptions {
    SocketOptions::default()
}

/// What a worker thread is in the suite: an event center, and who is ready.
struct Bench {
    center: EventCenter<()>,
    ready: Ready,
}

#[derive(Default)]
struct Ready(BTreeMap<u64, Readiness>);

impl Handler<()> for Ready {
    fn file_event(&mut self, _: &mut EventCenter<()>, _: Token, tag: u64, ready: Readiness) {
        *self.0.entry(tag).or_insert(Readiness::NONE) |= ready;
    }

    fn time_event(&mut self, _: &mut EventCenter<()>, _: TimerId, _: u64) {}

    fn external_event(&mut self, _: &mut EventCenter<()>, (): ()) {}
}

impl Bench {
    fn new(stack: &TcpStack) -> Self {
        let driver = stack.driver().expect("opens");
        Self {
            center: EventCenter::new(driver, Arc::new(SystemEnv)),
            ready: Ready::default(),
        }
    }

    fn watch(&mut self, source: Source, interest: Interest, tag: u64) -> Token {
        let token = self.center.register(source, interest, tag);
        token.expect("registers")
    }

    fn turn(&mut self, wait: Duration) {
        self.center
            .turn(Some(wait), &mut self.ready)
            .expect("turns");
    }

    /// Turns until this source is ready in that way.
    fn wait_for(&mut self, tag: u64, wanted: Readiness) {
        let began = Instant::now();
        while !self.take(tag, wanted) {
            assert!(began.elapsed() < DEADLINE, "{tag} is never {wanted:?}");
            self.turn(Duration::from_millis(500));
        }
    }

    /// Whether it was ready in that way since this was asked last.
    fn take(&mut self, tag: u64, wanted: Readiness) -> bool {
        let got = self.ready.0.get(&tag);
        let is = got.is_some_and(|got| got.contains(wanted));
        if is {
            self.ready.0.remove(&tag);
        }
        is
    }
}

fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}

fn read(stream: &mut Stream, limit: usize) -> io::Result<BytesMut> {
    let mut buf = BytesMut::with_capacity(limit);
    let space = Space {
        buf: &mut buf,
        limit,
    };
    stream.reader.read(&mut [space])?;
    Ok(buf)
}

fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
    stream.writer.write(&[IoSlice::new(bytes)])
}

fn listen(stack: &TcpStack) -> (Box<dyn Listener>, SocketAddr) {
    let listener = stack.listen(any_port(), &options()).expect("listens");
    let addr = listener.local_addr().expect("is bound");
    (listener, addr)
}

const LISTENER: u64 = 1;
const CLIENT: u64 = 2;
const SERVER: u64 = 3;

/// One end of a connection, with its registration.
struct End {
    stream: Stream,
    token: Token,
}

impl End {
    fn new(bench: &mut Bench, stream: Stream, tag: u64) -> Self {
        let token = bench.watch(stream.source.clone(), Interest::BOTH, tag);
        Self { stream, token }
    }

    /// Reads what is there, if necessary after waiting for it. Nothing is the end of the stream.
    fn read(&mut self, bench: &mut Bench, tag: u64) -> BytesMut {
        loop {
            match read(&mut self.stream, 100) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let rearmed = bench.center.rearm(self.token, Interest::READ);
                    rearmed.expect("is registered");
                    bench.wait_for(tag, Readiness::READ);
                }
                read => return read.expect("no error"),
            }
        }
    }
}

/// Waits until a connect has ended, in whatever way.
fn finish(bench: &mut Bench, end: &mut End, tag: u64) -> io::Result<()> {
    while !end.stream.writer.finish_connect()? {
        bench.center.rearm(end.token, Interest::WRITE)?;
        bench.wait_for(tag, Readiness::WRITE);
    }
    Ok(())
}

/// Connects to a listener of the same bench, and accepts.
fn pair(
    bench: &mut Bench,
    stack: &TcpStack,
    (listener, token): (&mut Box<dyn Listener>, Token),
) -> (End, End) {
    let addr = listener.local_addr().expect("is bound");
    let client = stack
        .connect(addr, None, &options())
        .expect("begins to connect");
    let mut client = End::new(bench, client, CLIENT);
    let server = loop {
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                bench.center.rearm(token, Interest::READ).expect("rearms");
                bench.wait_for(LISTENER, Readiness::READ);
            }
            accepted => break accepted.expect("somebody waits").0,
        }
    };
    let server = End::new(bench, server, SERVER);
    finish(bench, &mut client, CLIENT).expect("connects");
    (client, server)
}

fn gone(error: io::Error) {
    let refused = [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::ConnectionReset,
    ];
    assert!(refused.contains(&error.kind()), "{error}");
}

/// Connecting to this address fails.
fn check_refused(bench: &mut Bench, stack: &TcpStack, addr: SocketAddr) {
    // The system may know at once.
    match stack.connect(addr, None, &options()) {
        Err(error) => gone(error),
        Ok(stream) => {
            let mut client = End::new(bench, stream, CLIENT);
            gone(finish(bench, &mut client, CLIENT).expect_err("nobody listens"));
            bench.center.deregister(client.token).expect("registered");
        }
    }
}

/// A message from one end to the other, and the end of the stream.
#[test]
fn behaviour_23_simple() {
    let stack = stack();
    let mut bench = Bench::new(&stack);
    let (mut listener, _) = listen(&stack);
    let token = bench.watch(listener.source(), Interest::READ, LISTENER);
    let (mut client, mut server) = pair(&mut bench, &stack, (&mut listener, token));
    let text = b"this is a new message";
    assert_eq!(write(&mut client.stream, text).expect("room"), 21);
    assert_eq!(server.read(&mut bench, SERVER)[..], text[..]);

    client.stream.writer.shutdown();
    let after = write(&mut client.stream, text);
    assert_eq!(kind(after), Some(io::ErrorKind::BrokenPipe));
    assert!(server.read(&mut bench, SERVER).is_empty());
}

/// A port where nobody listens, and a peer that does not answer. The original takes an address for
/// the latter that may have no route, or be answered by a proxy; here it is a full backlog.
#[test]
fn behaviour_24_connect_failure() {
    let stack = stack();
    let mut bench = Bench::new(&stack);
    let closed = listen(&stack).1;
    check_refused(&mut bench, &stack, closed);

    // Nobody accepts here, so that those who do not fit into the backlog get no answer.
    let narrow = SocketOptions {
        backlog: 1,
        ..options()
    };
    let listener = stack.listen(any_port(), &narrow).expect("listens");
    let addr = listener.local_addr().expect("is bound");
    let connect = |tag| {
        let mut bench = Bench::new(&stack);
        let stream = stack
            .connect(addr, None, &options())
            .expect("begins to connect");
        let mut client = End::new(&mut bench, stream, tag);
        bench.turn(Duration::from_millis(500));
        let connected = client.stream.writer.finish_connect();
        (connected.ok() == Some(true), client)
    };
    let clients: Vec<_> = (0..4).map(connect).collect();
    let connected = clients.iter().filter(|(connected, _)| *connected).count();
    assert!(
        connected < clients.len(),
        "all connected to a backlog of one"
    );
}

/// Nobody else can listen on an address that is taken.
#[test]
fn behaviour_25_listen_twice() {
    let stack = stack();
    let (_listener, addr) = listen(&stack);
    let second = stack.listen(addr, &options());
    assert_eq!(kind(second), Some(io::ErrorKind::AddrInUse));
}

/// Ends that come at inconvenient moments.
#[test]
fn behaviour_26_accept_and_close() {
    let stack = stack();
    let mut bench = Bench::new(&stack);
    let (mut listener, addr) = listen(&stack);
    let token = bench.watch(listener.source(), Interest::READ, LISTENER);
    assert_eq!(kind(listener.accept()), Some(io::ErrorKind::WouldBlock));

    let (mut client, server) = pair(&mut bench, &stack, (&mut listener, token));
    bench.center.deregister(server.token).expect("registered");
    drop(server.stream);
    assert!(client.read(&mut bench, CLIENT).is_empty());
    bench.center.deregister(client.token).expect("registered");
    drop(client.stream);

    // The client is gone before it is accepted.
    let client = stack
        .connect(addr, None, &options())
        .expect("begins to connect");
    let mut client = End::new(&mut bench, client, CLIENT);
    finish(&mut bench, &mut client, CLIENT).expect("connects");
    bench.center.deregister(client.token).expect("registered");
    drop(client.stream);
    bench.center.rearm(token, Interest::READ).expect("rearms");
    bench.wait_for(LISTENER, Readiness::READ);
    listener.accept().expect("who is gone is accepted too");

    bench.center.deregister(token).expect("registered");
    drop(listener);
    check_refused(&mut bench, &stack, addr);
}

const BLOCKS: usize = 100;
const BLOCK: usize = 10_240;

/// The byte at a place of the stream: none of the lengths above is a multiple of the period.
fn byte_at(at: usize) -> u8 {
    (at % 251) as u8
}

/// Twice a hundred blocks, gathered, from one thread to another that reads them in small pieces.
#[test]
fn behaviour_27_complex() {
    let stack = stack();
    let (mut listener, addr) = listen(&stack);
    let reader = std::thread::spawn(move || {
        let mut bench = Bench::new(&stack);
        let token = bench.watch(listener.source(), Interest::READ, LISTENER);
        bench.wait_for(LISTENER, Readiness::READ);
        let (server, _) = listener.accept().expect("somebody waits");
        bench.center.deregister(token).expect("registered");
        let mut server = End::new(&mut bench, server, SERVER);
        let mut total = 0;
        while total < 2 * BLOCKS * BLOCK {
            match read(&mut server.stream, 1000) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let rearmed = bench.center.rearm(server.token, Interest::READ);
                    rearmed.expect("registered");
                    bench.wait_for(SERVER, Readiness::READ);
                }
                got => {
                    let got = got.expect("no error");
                    assert!(!got.is_empty(), "the end after {total}");
                    let right = |(i, byte): (usize, &u8)| *byte == byte_at(total + i);
                    assert!(got.iter().enumerate().all(right), "after {total}");
                    total += got.len();
                }
            }
        }
    });

    let mut bench = Bench::new(&stack);
    let client = stack
        .connect(addr, None, &options())
        .expect("begins to connect");
    let mut client = End::new(&mut bench, client, CLIENT);
    finish(&mut bench, &mut client, CLIENT).expect("connects");
    for list in 0..2 {
        let first = list * BLOCKS * BLOCK;
        let bytes: Vec<u8> = (first..first + BLOCKS * BLOCK).map(byte_at).collect();
        let mut slices: Vec<IoSlice<'_>> = bytes.chunks(BLOCK).map(IoSlice::new).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            match client.stream.writer.write(rest) {
                Ok(sent) => IoSlice::advance_slices(&mut rest, sent),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let rearmed = bench.center.rearm(client.token, Interest::WRITE);
                    rearmed.expect("registered");
                    bench.wait_for(CLIENT, Readiness::WRITE);
                }
            }
        }
    }
    reader.join().expect("all bytes arrived intact");
}
