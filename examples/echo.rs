//! Two messengers in one process: a server that echoes, and a client that waits for the echoes.
//!
//! `cargo run --example echo`

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use async_messenger::message::Message;
use async_messenger::wire::{EntityName, EntityType};
use async_messenger::{Config, Connection, Dispatcher, Handled, Messenger, Policy};

/// A message type of our own. Ceph's are in `async_messenger::wire::msgtype`.
const NOTE: u16 = 0x7001;

/// The server's side: sends back what comes.
struct Echo;

impl Dispatcher for Echo {
    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        let reply = Message::new(NOTE)
            .with_tid(message.tid())
            .with_front(message.front().to_bytes());
        if let Err(error) = connection.send(reply) {
            eprintln!("no echo for {message}: {error}");
        }
        Handled::Yes
    }
}

/// The client's side: passes on what comes.
struct Forward(Sender<Message>);

impl Dispatcher for Forward {
    fn dispatch(&self, _: &Connection, message: Message) -> Handled {
        match self.0.send(message) {
            Ok(()) => Handled::Yes,
            // Nobody waits any more; the messenger counts and logs what no dispatcher takes.
            Err(refused) => Handled::No(refused.0),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // A server plays an OSD, is connected to, and listens on a port that the system chooses.
    let config = Config {
        bind_port_min: 0,
        bind_port_max: 0,
        ..Config::default()
    };
    let server = Messenger::builder(EntityName::osd(0))
        .config(config)
        .default_policy(Policy::stateless_server(0))
        .build()?;
    let addrs = server.bind(&"v1:127.0.0.1:0".parse()?)?;
    server.add_dispatcher_tail(Arc::new(Echo))?;
    server.start()?;
    println!("{} listens on {addrs}", server.name());

    let client = Messenger::builder(EntityName::client(-1)).build()?;
    let (echoes, inbox) = channel();
    client.add_dispatcher_tail(Arc::new(Forward(echoes)))?;
    client.start()?;

    // `connect` returns at once; what is sent before the handshake is done waits for it.
    let connection = client.connect(EntityType::OSD, &addrs)?;
    for (tid, text) in ["one", "two", "three"].into_iter().enumerate() {
        let note = Message::new(NOTE).with_tid(tid as u64).with_front(text);
        connection.send(note)?;
    }
    for tid in 0..3 {
        let echo = inbox.recv_timeout(Duration::from_secs(10))?;
        assert_eq!(echo.tid(), tid, "messages of one connection stay in order");
        let text = String::from_utf8_lossy(&echo.front().to_bytes()).into_owned();
        println!("{} says {text:?}", echo.src());
    }

    // Dropping a messenger does the same.
    client.shutdown();
    client.wait()?;
    Ok(())
}
