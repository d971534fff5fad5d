//! Writes an object to a real OSD, reads it back and compares; the usage is in `options`.
//!
//! A monitor says in which placement group the object is, and which OSD to talk to; that OSD is
//! spoken to by the same version of the protocol as the monitor. An object that has the name already
//! is replaced; it is removed in the end, without `--keep`. Prints one line with the rates.

mod options;

use std::collections::VecDeque;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};

use async_messenger::message::{Message, Payload as _};
use async_messenger::messages::{
    MOSDOp, MOSDOpReply, NOSNAP, ObjectLocator, ObjectStat, OsdOp, OsdReqId, PgId,
};
use async_messenger::mon::{Client, Command, Settings};
use async_messenger::wire::{AddrType, AddrVec, EntityName, EntityType, MsgHead, Reader, features};
use async_messenger::{
    Config, Connection, ConnectionEvent, Dispatcher, Handled, Messenger, Policy,
};
use bytes::Bytes;
use options::{Options, USAGE};

/// How long each answer may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// What one request reads or writes at most.
const PIECE: usize = 4 << 20;
/// Requests on their way at a time.
const IN_FLIGHT: usize = 4;

type Failure = Box<dyn Error>;

/// Passes on what the OSD says. Everything else is the monitor client's.
struct Ear(Sender<Told>);

enum Told {
    /// The answer to a request by its tid.
    Reply(u64, MOSDOpReply),
    Lost(String),
}

impl Ear {
    fn tell(&self, told: Told) {
        // An error means that the main thread has given up.
        let _ = self.0.send(told);
    }
}

impl Dispatcher for Ear {
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        head.kind == MOSDOpReply::KIND
    }

    fn fast_dispatch(&self, _: &Connection, message: Message) {
        self.tell(match message.decode() {
            Ok(reply) => Told::Reply(message.tid(), reply),
            Err(error) => Told::Lost(error.to_string()),
        });
    }

    /// Maps that an OSD hands out are not needed here.
    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        match connection.peer_type() {
            EntityType::OSD => Handled::Yes,
            _ => Handled::No(message),
        }
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        if connection.peer_type() != EntityType::OSD {
            return;
        }
        if let ConnectionEvent::Reset { error, .. } | ConnectionEvent::Refused(error) = event {
            self.tell(Told::Lost(error.to_string()));
        }
    }
}

/// Where the object is.
struct Place {
    epoch: u32,
    /// The hash of its name, and its placement group, which is a part of that.
    hash: u32,
    pg: PgId,
    osd: AddrVec,
}

/// Asks the monitor for what could also be computed from its OSD map.
fn locate(monitor: &Client, options: &Options) -> Result<Place, Failure> {
    let spoken = monitor.session(DEADLINE).wait()?.kind;
    let (pool, object) = (&options.pool, &options.object);
    let question =
        format!(r#"{{"prefix":"osd map","pool":"{pool}","object":"{object}","format":"json"}}"#);
    let map = ask(monitor, question)?;
    let (_, hash) = split_pg(field(&map, "raw_pgid")?)?;
    let (pool, seed) = split_pg(field(&map, "pgid")?)?;
    let primary: i64 = field(&map, "acting_primary")?.parse()?;
    if primary < 0 {
        return Err(format!("no OSD has the placement group {pool}.{seed:x} now").into());
    }
    let found = ask(
        monitor,
        format!(r#"{{"prefix":"osd find","id":{primary},"format":"json"}}"#),
    )?;
    let list = found
        .split_once(r#""addrvec":["#)
        .ok_or("an OSD without addresses")?
        .1;
    let list = list.split_once("}]").ok_or("addresses without an end")?.0;
    let addr = |entry| -> Result<_, Failure> {
        let (kind, addr) = (field(entry, "type")?, field(entry, "addr")?);
        Ok(format!("{kind}:{addr}/{}", field(entry, "nonce")?).parse()?)
    };
    let mut osd = AddrVec(list.split("},").map(addr).collect::<Result<_, _>>()?);
    // With v2 a peer is known by all its addresses, with v1 by that one.
    if spoken == AddrType::Legacy {
        osd.0.retain(|addr| addr.kind == spoken);
    }
    Ok(Place {
        epoch: field(&map, "epoch")?.parse()?,
        hash,
        pg: PgId { pool, seed },
        osd,
    })
}

fn ask(monitor: &Client, question: String) -> Result<String, Failure> {
    let answer = monitor.command(Command::new(question), DEADLINE).wait()?;
    if answer.result != 0 {
        return Err(format!("the monitor says {}: {}", answer.result, answer.text).into());
    }
    Ok(String::from_utf8_lossy(&answer.data).into_owned())
}

/// The first field of this name in a JSON text. Enough for names that occur once, and values
/// without escapes.
fn field<'a>(json: &'a str, name: &str) -> Result<&'a str, Failure> {
    let missing = || format!("no {name} in {json}");
    let (_, rest) = json
        .split_once(&format!("\"{name}\":"))
        .ok_or_else(missing)?;
    let rest = rest.trim_start();
    let value = match rest.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => rest.split([',', '}', '\n']).next(),
    };
    Ok(value.ok_or_else(missing)?.trim())
}

/// Takes `1.7fc1f406` apart: a pool, and a number in hexadecimal.
fn split_pg(text: &str) -> Result<(u64, u32), Failure> {
    let (pool, seed) = text
        .split_once('.')
        .ok_or("a placement group without a dot")?;
    Ok((pool.parse()?, u32::from_str_radix(seed, 16)?))
}

/// A session with the OSD that has the object.
struct ObjectIo {
    connection: Connection,
    told: Receiver<Told>,
    place: Place,
    object: Bytes,
    /// This client in the cluster.
    name: EntityName,
    last_tid: u64,
}

impl ObjectIo {
    fn request(&self, op: OsdOp) -> Result<MOSDOp, Failure> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let way = if op.code.is_write() {
            MOSDOp::WRITE
        } else {
            MOSDOp::READ
        };
        Ok(MOSDOp {
            pg: self.place.pg.into(),
            hash: self.place.hash,
            map_epoch: self.place.epoch,
            flags: way | MOSDOp::ONDISK | MOSDOp::KNOWN_REDIR,
            reqid: OsdReqId {
                name: self.name,
                tid: self.last_tid,
                inc: 0,
            },
            mtime: now.into(),
            locator: ObjectLocator::of_pool(self.place.pg.pool.try_into()?),
            object: self.object.clone(),
            ops: vec![op],
            snap: NOSNAP,
            features: features::SUPPORTED,
            ..MOSDOp::default()
        })
    }

    /// Has all of it done, a request for each, in this order, and gives what came out.
    fn run(&mut self, ops: impl IntoIterator<Item = OsdOp>) -> Result<Vec<Bytes>, Failure> {
        let (mut ops, mut waiting) = (ops.into_iter(), VecDeque::new());
        let mut outputs = Vec::new();
        loop {
            while waiting.len() < IN_FLIGHT
                && let Some(op) = ops.next()
            {
                self.last_tid += 1;
                waiting.push_back(self.last_tid);
                let request = Message::from_payload(&self.request(op)?, features::SUPPORTED);
                self.connection.send(request.with_tid(self.last_tid))?;
            }
            let Some(tid) = waiting.pop_front() else {
                return Ok(outputs);
            };
            // An OSD answers requests for the same object in their order.
            match self.told.recv_timeout(DEADLINE)? {
                Told::Reply(of, mut reply) if of == tid => match reply.ops.pop() {
                    Some(done) if reply.result >= 0 => outputs.push(done.op.data),
                    _ => return Err(format!("the OSD says {}", reply.result).into()),
                },
                Told::Reply(of, _) => return Err(format!("an answer to {of}, not {tid}").into()),
                Told::Lost(error) => return Err(error.into()),
            }
        }
    }
}

/// Bytes that were not there before.
fn fresh_bytes(size: usize) -> Result<Bytes, Failure> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut state = now.as_nanos() as u64 | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    Ok(bytes.into())
}

fn run(options: &Options) -> Result<(), Failure> {
    let config = Config {
        driver: options.driver,
        // Who names one wants that one.
        driver_strict: true,
        ..Config::default()
    };
    let messenger = Messenger::builder(EntityName::client(-1))
        .config(config)
        .credentials(options.credentials.clone())
        .policy(EntityType::OSD, Policy::lossy_client(MOSDOp::FEATURES))
        .build()?;
    let messenger = Arc::new(messenger);
    let (tell, told) = mpsc::channel();
    messenger.add_dispatcher_tail(Arc::new(Ear(tell)))?;
    let monitor = Client::new(&messenger, Settings::new(options.monitors.clone()))?;
    messenger.start()?;

    let place = locate(&monitor, options)?;
    // The number that the monitor gave tells the requests of this run from all others.
    let number = messenger.credentials().tickets().global_id;
    let mut io = ObjectIo {
        connection: messenger.connect(EntityType::OSD, &place.osd)?,
        told,
        object: options.object.clone().into(),
        name: EntityName::client(number.try_into()?),
        last_tid: 0,
        place,
    };

    let size = options.size;
    let bytes = fresh_bytes(size)?;
    let pieces = || (0..size).step_by(PIECE).map(|at| at..size.min(at + PIECE));
    // Also the handshake with the OSD, which is not to be a part of the rates.
    io.run([OsdOp::write_full("")])?;
    let began = Instant::now();
    io.run(pieces().map(|piece| OsdOp::write(piece.start as u64, bytes.slice(piece))))?;
    let write_time = began.elapsed();
    let began = Instant::now();
    let read = pieces().map(|piece| OsdOp::read(piece.start as u64, piece.len() as u64));
    let read = io.run(read)?;
    let read_time = began.elapsed();
    let stat = io.run([OsdOp::stat()])?;
    if !options.keep {
        io.run([OsdOp::delete()])?;
    }

    if read.concat() != bytes {
        return Err("what was read is not what was written".into());
    }
    let stat = ObjectStat::decode(&mut Reader::new(&stat.concat(), "stat"))?;
    if stat.size != size as u64 {
        return Err(format!("the object has {} bytes, not {size}", stat.size).into());
    }
    let rate = |time: Duration| size as f64 / time.as_secs_f64() / 1e6;
    let (write, read, osd) = (rate(write_time), rate(read_time), &io.place.osd);
    println!("{size} bytes at {osd}: wrote {write:.0} MB/s, read {read:.0} MB/s, same bytes");
    Ok(())
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("object_io: {error}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("object_io: {error}");
            ExitCode::FAILURE
        }
    }
}
