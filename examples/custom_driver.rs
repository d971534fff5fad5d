//! An event driver of your own, without a change to the crate.
//!
//! `Counting` wraps another driver and counts what goes through it. It reaches the workers by a
//! transport: a [`Stack`] makes the driver for each of them, and here also the sockets, by
//! handing on to [`TcpStack`]. Two messengers then run an echo on it.
//!
//! `cargo run --example custom_driver`

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use async_messenger::event::SystemEnv;
use async_messenger::message::Message;
use async_messenger::net::{Listener, Stack, Stream, TcpStack};
use async_messenger::wire::{EntityName, EntityType, MsgHead};
use async_messenger::{
    Config, Connection, Dispatcher, DriverKind, Event, EventDriver, Handled, Interest, Messenger,
    Policy, Source, Token, Waker, Workers,
};
use event_driver::sock::SocketOptions;

const ROUNDS: u64 = 1000;
const PING: u16 = 0x7001;

// The driver.

#[derive(Default)]
struct Counts {
    waits: AtomicU64,
    events: AtomicU64,
    wakes: AtomicU64,
    rearms: AtomicU64,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}

struct Counting {
    inner: Box<dyn EventDriver>,
    counts: Arc<Counts>,
}

impl EventDriver for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn add(&mut self, source: Source, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.add(source, token, interest)
    }

    fn rearm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        count(&self.counts.rearms, 1);
        self.inner.rearm(token, interest)
    }

    fn disarm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.disarm(token, interest)
    }

    fn delete(&mut self, token: Token) -> io::Result<()> {
        self.inner.delete(token)
    }

    fn wait(&mut self, out: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        count(&self.counts.waits, 1);
        self.inner.wait(out, timeout)?;
        count(&self.counts.events, out.len() as u64);
        Ok(())
    }

    fn waker(&self) -> Waker {
        let (inner, counts) = (self.inner.waker(), Arc::clone(&self.counts));
        Waker::new(move || {
            count(&counts.wakes, 1);
            inner.wake();
        })
    }
}

// The transport that brings it.

struct CountingTcp {
    tcp: TcpStack,
    counts: Arc<Counts>,
}

impl Stack for CountingTcp {
    fn driver(&self) -> io::Result<Box<dyn EventDriver>> {
        Ok(Box::new(Counting {
            inner: self.tcp.driver()?,
            counts: Arc::clone(&self.counts),
        }))
    }

    fn listen(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<Box<dyn Listener>> {
        self.tcp.listen(addr, options)
    }

    fn connect(
        &self,
        addr: SocketAddr,
        from: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<Stream> {
        self.tcp.connect(addr, from, options)
    }
}

// The messengers.

/// Replies on the worker that received the message.
struct Echo;

impl Dispatcher for Echo {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        if let Err(error) = connection.send(Message::new(PING).with_tid(message.tid())) {
            eprintln!("no echo: {error}");
        }
    }
}

struct Forward(Sender<u64>);

impl Dispatcher for Forward {
    fn dispatch(&self, _: &Connection, message: Message) -> Handled {
        // If nobody waits any more, the example is over.
        let _ = self.0.send(message.tid());
        Handled::Yes
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let counts = Arc::new(Counts::default());
    let stack = Arc::new(CountingTcp {
        tcp: TcpStack::new(DriverKind::default_for_target()),
        counts: Arc::clone(&counts),
    });
    let config = Config {
        bind_port_min: 0,
        bind_port_max: 0,
        ..Config::default()
    };
    let workers = Workers::start_on(&config, stack, Arc::new(SystemEnv))?;
    println!("{} workers on `{}`", workers.len(), workers.driver_name());

    let server = Messenger::builder(EntityName::osd(0))
        .config(config.clone())
        .default_policy(Policy::stateless_server(0))
        .workers(&workers)
        .build()?;
    let addrs = server.bind(&"v1:127.0.0.1:0".parse()?)?;
    server.add_dispatcher_tail(Arc::new(Echo))?;
    server.start()?;

    let client = Messenger::builder(EntityName::client(-1))
        .config(config)
        .workers(&workers)
        .build()?;
    let (echoes, inbox) = channel();
    client.add_dispatcher_tail(Arc::new(Forward(echoes)))?;
    client.start()?;

    let connection = client.connect(EntityType::OSD, &addrs)?;
    for tid in 0..ROUNDS {
        connection.send(Message::new(PING).with_tid(tid))?;
        assert_eq!(inbox.recv_timeout(Duration::from_secs(10))?, tid);
    }

    let of = |counter: &AtomicU64| counter.load(Relaxed);
    println!("{ROUNDS} round trips took");
    println!("{:>8} waits", of(&counts.waits));
    println!("{:>8} events", of(&counts.events));
    println!("{:>8} re-arms", of(&counts.rearms));
    println!("{:>8} wakes by other threads", of(&counts.wakes));
    assert!(
        of(&counts.events) >= ROUNDS,
        "each round trip is a message to each side"
    );
    Ok(())
}
