//! Pings an OSD's heartbeat port and counts the answers; see `usage` below.
//!
//! The port is in `ceph osd dump -f json`, as `heartbeat_front_addrs`. Each answer is taken on
//! the worker that received it, and sends the next ping, so that a number of them is always in
//! flight. Prints one line of JSON; exit code 1 if a ping was not answered.

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_messenger::message::{Message, Payload as _};
use async_messenger::messages::{Fsid, MOSDPing, OsdPingOp};
use async_messenger::wire::{AddrVec, EntityName, EntityType, MsgHead, Timespec};
use async_messenger::{
    Config, Connection, ConnectionEvent, Dispatcher, DriverKind, Messenger, Ready,
};

/// How long the handshake may take, and the last answers.
const DEADLINE: Duration = Duration::from_secs(5);

const USAGE: &str = "osd_ping v1:IP:PORT/NONCE --fsid UUID [--osd N] [--in-flight N] \
                     [--seconds S] [--driver NAME]";

struct Options {
    addr: AddrVec,
    fsid: Fsid,
    /// The OSD that pings. The other side answers those that its map has.
    osd: i64,
    in_flight: u64,
    seconds: f64,
    driver: DriverKind,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let (mut addr, mut fsid) = (None, None);
        let (mut osd, mut in_flight, mut seconds) = (0, 64, 10.0);
        let mut driver = DriverKind::default_for_target();
        while let Some(arg) = args.next() {
            if !arg.starts_with("--") {
                addr = Some(arg.parse()?);
                continue;
            }
            let value = args.next().ok_or(USAGE)?;
            match arg.as_str() {
                "--fsid" => fsid = Some(value.parse()?),
                "--osd" => osd = value.parse()?,
                "--in-flight" => in_flight = value.parse()?,
                "--seconds" => seconds = value.parse()?,
                "--driver" => driver = value.parse()?,
                _ => return Err(USAGE.into()),
            }
        }
        let (addr, fsid) = (addr.ok_or(USAGE)?, fsid.ok_or(USAGE)?);
        Ok(Self {
            addr,
            fsid,
            osd,
            in_flight,
            seconds,
            driver,
        })
    }
}

/// Sends pings and takes the answers.
struct Pinger {
    fsid: Fsid,
    in_flight: u64,
    began: Instant,
    first_ping: OnceLock<Instant>,
    sent: AtomicU64,
    answered: AtomicU64,
    stopping: AtomicBool,
    tell: Sender<Told>,
}

/// What the main thread waits for.
enum Told {
    Ready,
    /// Nothing is in flight any more.
    Drained,
    Lost(async_messenger::Error),
}

impl Pinger {
    fn ping(&self, connection: &Connection) {
        let now = self.began.elapsed();
        let ping = MOSDPing {
            fsid: self.fsid,
            op: OsdPingOp::PING,
            ping_stamp: Timespec::from(now),
            up_from: 1,
            mono_ping_stamp: now.into(),
            mono_send_stamp: now.into(),
            ..MOSDPing::default()
        };
        self.sent.fetch_add(1, Ordering::SeqCst);
        // If the connection is closed, its end is told by an event.
        let _ = connection.send(Message::from_payload(&ping, connection.features()));
    }

    fn tell(&self, told: Told) {
        // An error means that the main thread has given up.
        let _ = self.tell.send(told);
    }
}

impl Dispatcher for Pinger {
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        head.kind == MOSDPing::KIND
    }

    fn fast_event(&self, connection: &Connection, _event: Ready) {
        self.first_ping.get_or_init(Instant::now);
        (0..self.in_flight).for_each(|_| self.ping(connection));
        self.tell(Told::Ready);
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        // YOU_DIED may come too, if the OSD's map has this one down.
        if !message
            .decode::<MOSDPing>()
            .is_ok_and(|ping| ping.op == OsdPingOp::PING_REPLY)
        {
            return;
        }
        let answered = self.answered.fetch_add(1, Ordering::SeqCst) + 1;
        if !self.stopping.load(Ordering::SeqCst) {
            self.ping(connection);
        } else if answered == self.sent.load(Ordering::SeqCst) {
            self.tell(Told::Drained);
        }
    }

    fn event(&self, _connection: &Connection, event: &ConnectionEvent) {
        if let ConnectionEvent::Reset { error, .. } | ConnectionEvent::Refused(error) = event {
            self.tell(Told::Lost(error.clone()));
        }
    }
}

fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let config = Config {
        driver: options.driver,
        ready_timeout: DEADLINE,
        ..Config::default()
    };
    let messenger = Messenger::builder(EntityName::osd(options.osd))
        .config(config)
        .cluster_protocol(10) // The version that OSDs speak among themselves.
        .build()?;
    let (tell, told) = mpsc::channel();
    let pinger = Arc::new(Pinger {
        fsid: options.fsid,
        in_flight: options.in_flight,
        began: Instant::now(),
        first_ping: OnceLock::new(),
        sent: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        stopping: AtomicBool::new(false),
        tell,
    });
    messenger.add_dispatcher_tail(pinger.clone())?;
    messenger.start()?;
    let _connection = messenger.connect(EntityType::OSD, &options.addr)?;

    match told.recv_timeout(DEADLINE)? {
        Told::Lost(error) => return Err(error.into()),
        Told::Ready | Told::Drained => {}
    }
    match told.recv_timeout(Duration::try_from_secs_f64(options.seconds)?) {
        Ok(Told::Lost(error)) => return Err(error.into()),
        Ok(Told::Ready | Told::Drained) | Err(RecvTimeoutError::Timeout) => {}
        Err(error) => return Err(error.into()),
    }
    pinger.stopping.store(true, Ordering::SeqCst);
    let began = pinger.first_ping.get().copied().unwrap_or(pinger.began);
    let rate = pinger.answered.load(Ordering::SeqCst) as f64 / began.elapsed().as_secs_f64();
    // Time out or drained: the counts say which.
    let _ = told.recv_timeout(DEADLINE);
    let sent = pinger.sent.load(Ordering::SeqCst);
    let answered = pinger.answered.load(Ordering::SeqCst);
    println!(r#"{{"sent":{sent},"answered":{answered},"per_second":{rate:.0}}}"#);
    Ok(sent == answered)
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("osd_ping: {error}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("osd_ping: {error}");
            ExitCode::FAILURE
        }
    }
}
