//! One OSD: six messengers on the same workers, and what it does with them.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_messenger::message::{Message, Payload as _};
use async_messenger::messages::{MOSDPing, OsdPingOp};
use async_messenger::throttle::Throttle;
use async_messenger::wire::{AddrVec, EntityName, EntityType, MsgHead};
use async_messenger::{
    Config, Connection, ConnectionEvent, Dispatcher, ErrorKind, Handled, Messenger, Policy, Workers,
};

/// Message types of this example; a real OSD has MOSDOp, MOSDRepOp and others.
const OP: u16 = 0x7001;
const OP_REPLY: u16 = 0x7002;

/// The version of the protocol between OSDs (msgr1 §5).
const OSD_PROTOCOL: u32 = 10;
/// Between two heartbeats. A real OSD waits for seconds.
const TICK: Duration = Duration::from_millis(50);
/// Without an answer for so long, a peer is down. Twenty seconds in a real OSD.
const GRACE: Duration = Duration::from_millis(500);
/// Operations sent in a tick, the most that wait for an answer, and how many make the point.
const OPS: u64 = 50;
const OPS_PENDING: u64 = 500;
const OPS_ENOUGH: u64 = 500;

/// The messengers of an OSD, with the policies of a real one.
struct Messengers {
    /// Clients connect here. What they have in flight is bounded.
    public: Messenger,
    /// OSDs among themselves: sessions that survive broken links, in either direction.
    cluster: Messenger,
    /// Asks other OSDs whether they are alive.
    hb_client: Messenger,
    /// Answer that, on the cluster's network and on the public one.
    hb_back_server: Messenger,
    hb_front_server: Messenger,
    /// This OSD as a client of others.
    objecter: Messenger,
}

impl Messengers {
    fn new(name: EntityName) -> Result<Self, Box<dyn Error>> {
        let config = Config {
            // Any free port. Real OSDs stay within 6800 to 7568, the default.
            bind_port_min: 0,
            bind_port_max: 0,
            // A story of seconds has no time for the default of 15 s.
            initial_backoff: Duration::from_millis(20),
            max_backoff: Duration::from_millis(200),
            ..Config::default()
        };
        let workers = Workers::start(&config)?;
        let new = |default: Policy| {
            let builder = Messenger::builder(name).config(config.clone());
            // One nonce for all: it tells this process from those before it at the same ports.
            let builder = builder.nonce(std::process::id());
            builder.workers(&workers).default_policy(default)
        };
        let heartbeat = |default: Policy| {
            // Anybody may ask; so pings need no tickets, which may be out of date just then.
            let builder = new(default).cluster_protocol(OSD_PROTOCOL);
            builder.require_authorizer(false).build()
        };
        let bytes = Throttle::new("osd_client_bytes", 500 << 20);
        let messages = Throttle::new("osd_client_messages", 256);
        let clients = Policy::stateless_registered_server(0);
        let clients = clients.with_throttles(Some(bytes), Some(messages));
        let daemon = Policy::lossy_client(0);
        Ok(Self {
            public: new(Policy::stateless_registered_server(0))
                .policy(EntityType::CLIENT, clients)
                .policy(EntityType::MON, daemon.clone())
                .policy(EntityType::MGR, daemon.clone())
                .build()?,
            cluster: new(Policy::stateless_server(0))
                .cluster_protocol(OSD_PROTOCOL)
                .policy(EntityType::OSD, Policy::lossless_peer(0))
                .policy(EntityType::MON, daemon)
                .build()?,
            hb_client: heartbeat(Policy::lossy_client(0))?,
            hb_back_server: heartbeat(Policy::stateless_server(0))?,
            hb_front_server: heartbeat(Policy::stateless_server(0))?,
            objecter: new(Policy::lossy_client(0)).build()?,
        })
    }

    fn all(&self) -> [&Messenger; 6] {
        [
            &self.public,
            &self.cluster,
            &self.hb_client,
            &self.hb_back_server,
            &self.hb_front_server,
            &self.objecter,
        ]
    }

    /// Binds the four that listen, has every messenger dispatch to this OSD, and starts them.
    fn start(&self, osd: &Arc<Osd>) -> Result<String, Box<dyn Error>> {
        let mut addrs = Vec::new();
        let listening = [
            &self.public,
            &self.cluster,
            &self.hb_back_server,
            &self.hb_front_server,
        ];
        for messenger in listening {
            addrs.push(messenger.bind(&"v1:127.0.0.1:0".parse()?)?.to_string());
        }
        for messenger in self.all() {
            messenger.add_dispatcher_tail(osd.clone())?;
            messenger.start()?;
        }
        Ok(addrs.join(" "))
    }
}

/// What the OSD knows; its messengers' dispatcher.
#[derive(Default)]
struct Osd {
    /// Heartbeats that were answered, and operations that were done for others.
    heartbeats: AtomicU64,
    served: AtomicU64,
    peer: Mutex<Option<Peer>>,
}

/// The other OSD.
struct Peer {
    number: i64,
    addrs: Vec<AddrVec>,
    cluster: Connection,
    /// To the back and the front server.
    heartbeats: [Connection; 2],
    heard: [Instant; 2],
    down: bool,
    refused: bool,
    /// Numbers of the next operations to send, to be answered, and to be received.
    to_send: u64,
    to_end: u64,
    to_come: Option<u64>,
    /// The end of which operation is to be told.
    enough: u64,
}

/// For the one who started this process. Children's stdout is not a terminal.
fn say(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

impl Osd {
    fn peer(&self) -> MutexGuard<'_, Option<Peer>> {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another OSD's operation. Over a lossless session each comes once and in order.
    fn serve(&self, connection: &Connection, op: &Message) {
        self.served.fetch_add(1, Ordering::Relaxed);
        if let Some(peer) = &mut *self.peer()
            && peer.cluster == *connection
        {
            let expected = peer.to_come.unwrap_or(op.tid());
            if op.tid() != expected {
                say(format!(
                    "wrong: operation {} instead of {expected}",
                    op.tid()
                ));
            }
            peer.to_come = Some(op.tid() + 1);
        }
        // If the connection has ended meanwhile, nobody waits for the reply.
        let _ = connection.send(Message::new(OP_REPLY).with_tid(op.tid()));
    }

    fn ended(&self, connection: &Connection, reply: &Message) {
        let mut peer = self.peer();
        let Some(peer) = peer.as_mut() else { return };
        if peer.cluster != *connection {
            return say(format!(
                "public side of osd.{} answers the objecter",
                peer.number
            ));
        }
        if reply.tid() != peer.to_end {
            say(format!(
                "wrong: reply {} instead of {}",
                reply.tid(),
                peer.to_end
            ));
        }
        peer.to_end = reply.tid() + 1;
        if peer.to_end == peer.enough {
            let heartbeats = self.heartbeats.load(Ordering::Relaxed);
            say(format!(
                "exchanged {} operations, {heartbeats} heartbeats",
                peer.to_end
            ));
        }
    }

    /// Asks, or answers.
    fn heartbeat(&self, connection: &Connection, message: &Message) {
        let Ok(ping) = message.decode::<MOSDPing>() else {
            return;
        };
        if ping.op == OsdPingOp::PING {
            let op = OsdPingOp::PING_REPLY;
            let reply = Message::from_payload(&MOSDPing { op, ..ping }, connection.features());
            let _ = connection.send(reply);
        } else if let Some(peer) = &mut *self.peer() {
            self.heartbeats.fetch_add(1, Ordering::Relaxed);
            for (of, heard) in peer.heartbeats.iter().zip(&mut peer.heard) {
                if of == connection {
                    *heard = Instant::now();
                }
            }
        }
    }
}

impl Dispatcher for Osd {
    // On the workers, as in a real OSD: nothing here blocks.
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        matches!(head.kind, OP_REPLY | MOSDPing::KIND)
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        match message.kind() {
            OP_REPLY => self.ended(connection, &message),
            _ => self.heartbeat(connection, &message),
        }
    }

    // On the messenger's dispatch thread, where handlers may take their time.
    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        if message.kind() != OP {
            return Handled::No(message);
        }
        self.serve(connection, &message);
        Handled::Yes
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        let mut peer = self.peer();
        let Some(peer) = peer.as_mut() else { return };
        if let ConnectionEvent::Refused(error) = event
            && peer.cluster == *connection
            && error.kind() == ErrorKind::Unreachable
            && !std::mem::replace(&mut peer.refused, true)
        {
            let kept = connection.queued();
            say(format!(
                "refused, and tries again with {kept} messages: {error}"
            ));
        }
    }
}

/// A new map. As in a real OSD sessions with the old address are given up, whatever they have.
fn map(messengers: &Messengers, osd: &Osd, words: &[&str]) -> Result<(), Box<dyn Error>> {
    let number = words[0].parse()?;
    let addrs: Vec<AddrVec> = words[1..]
        .iter()
        .map(|w| w.parse())
        .collect::<Result<_, _>>()?;
    let [public, cluster, back, front] = &addrs[..] else {
        return Err("a map has four addresses".into());
    };
    let mut peer = osd.peer();
    let old = peer.take();
    if let Some(old) = &old {
        say(format!("dropped {} queued messages", old.cluster.queued()));
        old.cluster.mark_down();
        old.heartbeats.iter().for_each(Connection::mark_down);
    }
    let to_end = old.map_or(0, |old| old.to_end);
    *peer = Some(Peer {
        number,
        cluster: messengers.cluster.connect(EntityType::OSD, cluster)?,
        heartbeats: [
            messengers.hb_client.connect(EntityType::OSD, back)?,
            messengers.hb_client.connect(EntityType::OSD, front)?,
        ],
        heard: [Instant::now(); 2],
        down: false,
        refused: false,
        to_send: to_end,
        to_end,
        to_come: None,
        enough: to_end + OPS_ENOUGH,
        addrs: addrs.clone(),
    });
    drop(peer);
    let connection = messengers.objecter.connect(EntityType::OSD, public)?;
    connection.send(Message::new(OP))?;
    Ok(())
}

/// Sends heartbeats and operations, and looks who is missing.
fn tick(messengers: &Messengers, peer: &mut Peer) -> Result<(), Box<dyn Error>> {
    for (connection, addrs) in peer.heartbeats.iter_mut().zip(&peer.addrs[2..]) {
        // Lossy: a link that breaks is the end of a connection, and this is the next one.
        if connection.is_closed() {
            *connection = messengers.hb_client.connect(EntityType::OSD, addrs)?;
        }
        let ping = MOSDPing::default();
        let _ = connection.send(Message::from_payload(&ping, connection.features()));
    }
    let silence = peer.heard.map(|heard| heard.elapsed());
    let down = silence.iter().any(|silence| *silence > GRACE);
    if !std::mem::replace(&mut peer.down, down) && down {
        say(format!(
            "no heartbeat of osd.{} for {silence:.1?}: it is down",
            peer.number
        ));
    }
    for _ in 0..OPS {
        if peer.to_send - peer.to_end >= OPS_PENDING {
            break;
        }
        peer.cluster.send(Message::new(OP).with_tid(peer.to_send))?;
        peer.to_send += 1;
    }
    Ok(())
}

/// Lives until it is told to stop.
pub(crate) fn run(number: &str) -> Result<(), Box<dyn Error>> {
    let messengers = Messengers::new(EntityName::osd(number.parse()?))?;
    let osd = Arc::<Osd>::default();
    say(format!("up {}", messengers.start(&osd)?));
    let (tell, told) = channel();
    thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        lines.map_while(|line| tell.send(line).ok()).for_each(drop);
    });
    loop {
        let line = match told.recv_timeout(TICK) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(peer) = &mut *osd.peer() {
                    tick(&messengers, peer)?;
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Err("nobody is there any more".into()),
        };
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["map", ref words @ ..] => map(&messengers, &osd, words)?,
            _ => break,
        }
    }
    for messenger in messengers.all() {
        messenger.shutdown();
        messenger.wait()?;
    }
    let served = osd.served.load(Ordering::Relaxed);
    let received = messengers.all().map(|messenger| messenger.stats().received);
    say(format!(
        "end: {served} operations served; received by each messenger: {received:?}"
    ));
    Ok(())
}
