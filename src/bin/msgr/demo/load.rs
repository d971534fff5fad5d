//! One measurement: clients that keep a number of requests in flight, and a server that answers
//! them, both by fast dispatch.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_messenger::message::Message;
use async_messenger::wire::{EntityName, EntityType, MsgHead, msgtype};
use async_messenger::{
    Config, Connection, ConnectionEvent, Dispatcher, DriverKind, Messenger, Policy, Ready, Workers,
};
use bytes::Bytes;
use hdrhistogram::Histogram;

use crate::failure::{Exit, Failure};
use crate::usage::{cpu_time, resident};

/// How long the requests in flight may take to be answered at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(100);
/// The longest latency that is told from longer ones, in nanoseconds.
const LATENCY_MAX: u64 = 100_000_000_000;

/// What to measure.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) driver: DriverKind,
    /// Bytes of a request.
    pub(super) size: u32,
    /// Requests in flight on each connection.
    pub(super) depth: u32,
    pub(super) connections: u32,
    pub(super) warm_up: Duration,
    pub(super) time: Duration,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} B × {}", self.driver, self.size, self.depth)
    }
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) time: Duration,
    /// Requests that were answered in this time, and how long each took, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// CPU time of the whole process; where the system tells it.
    pub(super) cpu: Option<Duration>,
    /// Memory of the process at the begin and at the end, in bytes; where the system tells it.
    pub(super) resident: Option<(u64, u64)>,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

/// Measures; calls `tick` with the time that has passed since the last call.
pub(super) fn run(
    load: &Load,
    config: &Config,
    mut tick: impl FnMut(Duration),
) -> Result<Figures, Failure> {
    let server = Messenger::builder(EntityName::osd(0))
        .config(config.clone())
        .default_policy(Policy::stateless_server(0))
        .build()?;
    let any_port = "v1:127.0.0.1:0"
        .parse()
        .map_err(|error| Failure::new(Exit::Usage, format!("{error}"), "this is a bug"))?;
    let addrs = server.bind(&any_port)?;
    server.add_dispatcher_tail(Arc::new(Answer))?;
    server.start()?;

    let (tell, told) = mpsc::channel();
    let shared = Arc::new(Shared::new(load, tell));
    // A messenger has one connection to a peer; messengers that share workers have many.
    let workers = Workers::start(config)?;
    let mut clients = Vec::new();
    for number in 0..load.connections {
        let messenger = Messenger::builder(EntityName::client(number.into()))
            .config(config.clone())
            .workers(&workers)
            .build()?;
        let client = Arc::new(Client::new(&shared, load.depth)?);
        messenger.add_dispatcher_tail(Arc::clone(&client) as Arc<dyn Dispatcher>)?;
        messenger.start()?;
        messenger.connect(EntityType::OSD, &addrs)?;
        clients.push((messenger, client));
    }

    let mut errors = Errors::default();
    watch(&told, load.warm_up, &mut errors, &mut tick);
    let (began, cpu_before, resident_before) = (Instant::now(), cpu_time(), resident());
    shared.enter(Phase::Measure);
    watch(&told, load.time, &mut errors, &mut tick);
    shared.enter(Phase::Drain);
    let time = began.elapsed();
    let cpu = cpu_time()
        .zip(cpu_before)
        .map(|(after, before)| after.saturating_sub(before));
    let resident = resident_before.zip(resident());
    shared.drain(&told, &mut errors);

    let mut latency = histogram()?;
    for (_, client) in &clients {
        // Same bounds, so this fits.
        let _ = latency.add(&client.slots().latency);
    }
    Ok(Figures {
        time,
        latency,
        cpu,
        resident,
        errors: errors.count,
        first_error: errors.first,
    })
}

fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 2)
        .map_err(|error| Failure::new(Exit::Refused, error.to_string(), "this is a bug"))
}

#[derive(Default)]
struct Errors {
    count: u64,
    first: Option<String>,
}

impl Errors {
    fn add(&mut self, error: String) {
        self.count += 1;
        self.first.get_or_insert(error);
    }
}

/// Lets time pass, or less of it if something goes wrong.
fn watch(
    told: &Receiver<Told>,
    time: Duration,
    errors: &mut Errors,
    tick: &mut impl FnMut(Duration),
) {
    let end = Instant::now() + time;
    let mut last = Instant::now();
    while errors.count == 0 && last < end {
        match told.recv_timeout(TICK.min(end - last)) {
            Ok(Told::Trouble(error)) => errors.add(error),
            Ok(Told::Drained) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => errors.add("all clients are gone".into()),
        }
        tick(last.elapsed());
        last = Instant::now();
    }
}

/// The server: an empty message for each that comes.
struct Answer;

impl Dispatcher for Answer {
    fn can_fast_dispatch(&self, _head: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        let reply = Message::new(message.kind()).with_tid(message.tid());
        if connection.send(reply).is_err() {
            // The client would wait for ever; so it learns at once.
            connection.mark_down();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    WarmUp,
    Measure,
    Drain,
}

/// What clients tell the main thread.
enum Told {
    Trouble(String),
    /// Nothing is in flight any more.
    Drained,
}

/// What all clients share.
struct Shared {
    phase: AtomicU8,
    in_flight: AtomicUsize,
    sent: AtomicU64,
    payload: Bytes,
    tell: Sender<Told>,
}

impl Shared {
    fn new(load: &Load, tell: Sender<Told>) -> Self {
        Self {
            phase: AtomicU8::new(Phase::WarmUp as u8),
            in_flight: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            payload: vec![0; load.size as usize].into(),
            tell,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    fn trouble(&self, error: String) {
        // An error means that the main thread has gone on to the next measurement.
        let _ = self.tell.send(Told::Trouble(error));
    }

    /// Waits for what is in flight; what is not answered is an error.
    fn drain(&self, told: &Receiver<Told>, errors: &mut Errors) {
        let end = Instant::now() + DRAIN_TIMEOUT;
        loop {
            let lost = self.in_flight.load(Ordering::SeqCst);
            if lost == 0 || errors.count > 0 {
                break;
            }
            match told.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Told::Trouble(error)) => errors.add(error),
                Ok(Told::Drained) => {}
                Err(_) => errors.add(format!("{lost} requests were not answered")),
            }
        }
        if self.sent.load(Ordering::SeqCst) == 0 {
            errors.add("no client got through to the server".into());
        }
    }
}

/// A client: sends the next request as soon as one is answered.
struct Client {
    shared: Arc<Shared>,
    slots: Mutex<Slots>,
}

struct Slots {
    /// When each of the requests in flight was sent; a request's tid is its index.
    sent: Vec<Instant>,
    latency: Histogram<u64>,
}

impl Client {
    fn new(shared: &Arc<Shared>, depth: u32) -> Result<Self, Failure> {
        let slots = Slots {
            sent: vec![Instant::now(); depth as usize],
            latency: histogram()?,
        };
        Ok(Self {
            shared: Arc::clone(shared),
            slots: Mutex::new(slots),
        })
    }

    /// Only the connection's worker takes the lock while the load runs.
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, connection: &Connection, tid: u64) {
        let payload = self.shared.payload.clone();
        let request = Message::new(msgtype::PING).with_data(payload).with_tid(tid);
        if let Err(error) = connection.send(request) {
            self.shared.trouble(error.to_string());
        }
    }
}

impl Dispatcher for Client {
    fn can_fast_dispatch(&self, _head: &MsgHead) -> bool {
        true
    }

    fn fast_event(&self, connection: &Connection, _event: Ready) {
        let depth = {
            let mut slots = self.slots();
            slots.sent.fill(Instant::now());
            slots.sent.len()
        };
        self.shared.in_flight.fetch_add(depth, Ordering::SeqCst);
        self.shared.sent.fetch_add(depth as u64, Ordering::SeqCst);
        (0..depth as u64).for_each(|tid| self.send(connection, tid));
    }

    fn fast_dispatch(&self, connection: &Connection, reply: Message) {
        let now = Instant::now();
        let tid = reply.tid();
        {
            let mut slots = self.slots();
            let Slots { sent, latency } = &mut *slots;
            let Some(sent) = sent.get_mut(tid as usize) else {
                return self
                    .shared
                    .trouble(format!("an answer to nothing: {reply}"));
            };
            if self.shared.is_in(Phase::Measure) {
                latency.saturating_record((now - *sent).as_nanos() as u64);
            }
            *sent = now;
        }
        if !self.shared.is_in(Phase::Drain) {
            self.send(connection, tid);
        } else if self.shared.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            let _ = self.shared.tell.send(Told::Drained);
        }
    }

    fn event(&self, _connection: &Connection, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::Reset { error, .. } | ConnectionEvent::Refused(error) => {
                self.shared.trouble(error.to_string());
            }
            _ => {}
        }
    }
}
