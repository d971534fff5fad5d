//! The client's side of each connection: which requests are in flight, since when, and how many
//! are still to be sent. Replies come on workers, and each is followed by the next request there.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_messenger::message::{Message, Payload as _};
use async_messenger::messages::MOSDOpReply;
use async_messenger::wire::MsgHead;
use async_messenger::{Connection, ConnectionEvent, Dispatcher, Error, Ready};
use hdrhistogram::Histogram;

use super::op::Requests;

/// The longest latency that is told from longer ones, in nanoseconds.
const LATENCY_MAX: u64 = 100_000_000_000;

/// Ends of bits of a tid: the slot below, the connection above.
const SLOT_BITS: u32 = 32;

/// What is measured at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    WarmUp,
    Measure,
    /// Nothing more is sent.
    Drain,
}

/// What the main thread learns.
pub(super) enum Told {
    /// A connection is ready.
    Ready,
    /// A connection has failed.
    Failed(Error),
    /// A peer does what makes no sense.
    Nonsense(String),
    /// Nothing is in flight any more.
    Drained,
}

type Latency = Arc<Mutex<Histogram<u64>>>;

thread_local! {
    /// Where this worker records: one for all of its connections, so that few lines of cache are
    /// touched.
    static LATENCY: RefCell<Option<Latency>> = const { RefCell::new(None) };
}

/// All connections.
pub(super) struct Lanes {
    lanes: Vec<Mutex<Lane>>,
    phase: AtomicU8,
    in_flight: AtomicU64,
    requests: Requests,
    latencies: Mutex<Vec<Latency>>,
    tell: Sender<Told>,
}

/// One connection.
struct Lane {
    /// When each of the requests in flight was sent.
    sent: Vec<Instant>,
    /// How many of its requests are to be measured; those have begun if the flag is set.
    quota: u64,
    measuring: bool,
    /// How many are still to be sent.
    unsent: u64,
}

impl Lane {
    /// Begins to count, with some requests in flight already.
    fn measure(&mut self, in_flight: u64) {
        self.measuring = true;
        self.unsent = self.quota.saturating_sub(in_flight);
    }

    /// Whether another request may go.
    fn take(&mut self) -> bool {
        let more = self.unsent > 0;
        self.unsent -= u64::from(more);
        more
    }
}

impl Lanes {
    /// `quotas` says of each connection how many requests are to be measured.
    pub(super) fn new(
        quotas: impl Iterator<Item = u64>,
        depth: u32,
        requests: Requests,
        tell: Sender<Told>,
    ) -> Self {
        let lane = |quota| {
            Mutex::new(Lane {
                sent: vec![Instant::now(); depth as usize],
                quota,
                measuring: false,
                unsent: u64::MAX,
            })
        };
        Self {
            lanes: quotas.map(lane).collect(),
            phase: AtomicU8::new(Phase::WarmUp as u8),
            in_flight: AtomicU64::new(0),
            requests,
            latencies: Mutex::default(),
            tell,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// Sends the first requests of all connections.
    pub(super) fn begin(&self, connections: &[Connection]) {
        // So that it is not 0 before all have begun.
        self.in_flight.store(1, Ordering::Relaxed);
        for (number, connection) in connections.iter().enumerate() {
            let mut lane = lock(&self.lanes[number]);
            if self.is_in(Phase::Measure) {
                lane.measure(0);
            }
            let depth = (lane.sent.len() as u64).min(lane.unsent);
            lane.unsent -= depth;
            let now = Instant::now();
            lane.sent.fill(now);
            drop(lane);
            self.in_flight.fetch_add(depth, Ordering::Relaxed);
            let base = (number as u64) << SLOT_BITS;
            (0..depth).for_each(|slot| self.send(connection, base | slot));
        }
        self.retire();
    }

    /// What was measured.
    pub(super) fn latency(&self) -> Histogram<u64> {
        let mut all = histogram();
        for latency in lock(&self.latencies).iter() {
            // Of the same bounds, so this fits.
            let _ = all.add(&*lock(latency));
        }
        all
    }

    fn send(&self, connection: &Connection, tid: u64) {
        let request = self.requests.make(tid, connection.features());
        if let Err(error) = connection.send(request)
            && !connection.is_closed()
        {
            self.tell(Told::Nonsense(error.to_string()));
        }
    }

    /// A request was answered, and no other one follows.
    fn retire(&self) {
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.tell(Told::Drained);
        }
    }

    fn tell(&self, what: Told) {
        // The main thread does not listen any more once it has heard of trouble.
        let _ = self.tell.send(what);
    }

    fn record(&self, nanos: u64) {
        LATENCY.with_borrow_mut(|own| {
            let latency = own.get_or_insert_with(|| {
                let new = Arc::new(Mutex::new(histogram()));
                lock(&self.latencies).push(Arc::clone(&new));
                new
            });
            lock(latency).saturating_record(nanos);
        });
    }

    /// Takes note of an answer; false if it answers nothing. Sends the next request.
    fn answered(&self, connection: &Connection, tid: u64) -> bool {
        let (number, slot) = ((tid >> SLOT_BITS) as usize, tid as u32 as usize);
        let Some(lane) = self.lanes.get(number) else {
            return false;
        };
        let mut lane = lock(lane);
        let in_flight = lane.sent.len() as u64;
        let now = Instant::now();
        let Some(sent) = lane.sent.get_mut(slot) else {
            return false;
        };
        let took = now - std::mem::replace(sent, now);
        if self.is_in(Phase::Measure) {
            if !lane.measuring {
                lane.measure(in_flight);
            }
            if lane.quota > 0 {
                lane.quota -= 1;
                self.record(took.as_nanos() as u64);
            }
        }
        let more = !self.is_in(Phase::Drain) && lane.take();
        drop(lane);
        if more {
            self.send(connection, tid);
        } else {
            self.retire();
        }
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 2).expect("bounds that make sense")
}

impl Dispatcher for Lanes {
    fn can_fast_dispatch(&self, _head: &MsgHead) -> bool {
        true
    }

    fn fast_event(&self, _connection: &Connection, _event: Ready) {
        self.tell(Told::Ready);
    }

    fn fast_dispatch(&self, connection: &Connection, reply: Message) {
        let is_reply = reply.kind() == MOSDOpReply::KIND;
        if !is_reply || !self.answered(connection, reply.tid()) {
            self.tell(Told::Nonsense(format!("an answer to nothing: {reply}")));
        }
    }

    fn event(&self, _connection: &Connection, event: &ConnectionEvent) {
        if let ConnectionEvent::Reset { error, .. } | ConnectionEvent::Refused(error) = event {
            self.tell(Told::Failed(error.clone()));
        }
    }
}
