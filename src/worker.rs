//! Workers: the threads that run connections.
//!
//! A [`Worker`] owns one event center, the processors and links that were given to it, and the
//! receiving half of the sessions at home there. Other threads reach it only by posting a [`Cmd`];
//! there are at most a few of these per connection at a time, because each kind is posted on a
//! change of state. [`Workers`] is a pool that several messengers can share.
//!
//! Here is the loop and what its events are about; what they lead to is in the parts: a peer's
//! [`links`], its [`admission`] to a session, and [`listening`].

mod admission;
mod alarm;
mod links;
mod listening;
mod peer;
mod pool;
mod rules;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use event_driver::{Readiness, Token};

use crate::connection::{Claim, Connection, Link, Session, Staging};
use crate::error::{Error, ErrorKind};
use crate::event::{EventCenter, Handler, Slab, TimerId};
use crate::messenger::{Latch, Pass, Shared};
use crate::net::{Listener, Stack};
use crate::processor::{Accepted, Processor};
use crate::throttle::Permit;
use crate::wire::EntityAddr;

pub(crate) use alarm::Alarm;
use peer::Peer;
pub(crate) use pool::WorkerHandle;
pub use pool::Workers;
use pool::let_go;

/// The longest wait of an idle worker. Nothing depends on it; it bounds what a lost wake-up of a
/// faulty driver could cost.
const IDLE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Failures of the driver in a row after which a worker gives up.
const WAIT_FAILURES_MAX: u32 = 100;
/// Messages that the loop-back connection delivers before others get their turn.
const LOCAL_BUDGET: usize = 64;

/// What other threads tell a worker.
pub(crate) enum Cmd {
    Listen(Arc<Shared>, Box<dyn Listener>, EntityAddr),
    Accept(Box<Accepted>),
    /// Connect, if the session has no link and nothing is on its way to one.
    Connect(Arc<Session>),
    /// A peer that wants in, and whose session lives here.
    Adopt(Box<Nascent>),
    /// Go on sending: the gate of this session is in the worker's hand.
    Flush(Arc<Session>),
    /// Deliver what waits on this loop-back connection, the first message with this permit.
    Deliver(Arc<Session>, Option<Permit>),
    MarkDown(Arc<Session>),
    Granted {
        slot: Token,
        link: Token,
        toll: usize,
        permit: Permit,
    },
    /// Call somebody at this time.
    Alarm(Instant, Alarm),
    /// Stop listening for this messenger.
    StopListening(Arc<Shared>),
    /// End every connection of this messenger, for this reason.
    MarkAllDown(Arc<Shared>, Error),
    /// End everything that belongs to this messenger.
    Shutdown(Arc<Shared>, Arc<Latch>),
    Stop,
}

/// A link in the middle of its handshake, on its way to the session's home.
pub(crate) struct Nascent {
    link: Link,
    shared: Arc<Shared>,
    claim: Claim,
}

thread_local! {
    /// The worker whose turn runs on this thread, and the sessions it has to flush at its end.
    static TURN: RefCell<(u64, Vec<Arc<Session>>)> = const { RefCell::new((0, Vec::new())) };
}

/// Puts a flush off to the end of the turn, if this is a turn of the session's worker.
pub(crate) fn put_off(session: &Arc<Session>) -> bool {
    TURN.with_borrow_mut(|(worker, dirty)| {
        let home = *worker == session.home.id;
        if home {
            dirty.push(Arc::clone(session));
        }
        home
    })
}

/// One thread's loop: the event center, and what its events are about.
pub(crate) struct Worker {
    center: EventCenter<Cmd>,
    state: WorkerState,
}

struct WorkerState {
    me: WorkerHandle,
    pool: Arc<[WorkerHandle]>,
    stack: Arc<dyn Stack>,
    entries: Slab<Entry>,
    staging: Staging,
    /// Allocation of the list of sessions to flush, between turns.
    dirty: Vec<Arc<Session>>,
    stopping: bool,
}

enum Entry {
    Processor(Processor),
    Peer(Peer),
    Alarm(alarm::Pending),
}

impl Worker {
    fn new(
        center: EventCenter<Cmd>,
        index: usize,
        pool: &Arc<[WorkerHandle]>,
        stack: &Arc<dyn Stack>,
        receive_buffer: usize,
    ) -> Self {
        let state = WorkerState {
            me: pool[index].clone(),
            pool: Arc::clone(pool),
            stack: Arc::clone(stack),
            entries: Slab::default(),
            staging: Staging::new(receive_buffer),
            dirty: Vec::new(),
            stopping: false,
        };
        Self { center, state }
    }

    fn run(mut self, spin: Duration) {
        self.center.set_spin(spin);
        let mut failures = 0;
        while !self.state.stopping {
            let Err(error) = self.turn() else {
                failures = 0;
                continue;
            };
            let driver = self.center.driver_name();
            tracing::error!(%error, driver, failures, "wait failed");
            failures += 1;
            if failures == WAIT_FAILURES_MAX {
                // It would spin for ever, and never hear that it is to stop.
                break;
            }
        }
        for cmd in self.center.close() {
            if let Cmd::Shutdown(shared, latch) = cmd {
                let_go(&shared, &latch);
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        TURN.with_borrow_mut(|(worker, _)| *worker = self.state.me.id);
        let turn = self.center.turn(Some(IDLE_WAIT_MAX), &mut self.state);
        TURN.with_borrow_mut(|(worker, _)| *worker = 0);
        if turn?.is_empty() {
            // The one occasion that comes when every connection waits for a handler.
            self.state.look_after_dispatch(self.center.now());
        }
        Ok(())
    }
}

/// For whoever runs the turns of a pool without threads.
#[cfg(feature = "sim")]
impl Worker {
    /// One turn; its driver must not wait.
    pub(crate) fn step(&mut self) -> io::Result<()> {
        self.turn()
    }

    /// How long a turn would wait if its driver had nothing to report; `None`: without limit.
    pub(crate) fn idle(&mut self) -> Option<Duration> {
        self.center.idle()
    }

    /// Sources, timers, and links or sessions that it has.
    pub(crate) fn holds(&self) -> [usize; 3] {
        let center = &self.center;
        [center.sources(), center.timers(), self.state.entries.len()]
    }
}

impl Handler<Cmd> for WorkerState {
    fn file_event(
        &mut self,
        center: &mut EventCenter<Cmd>,
        token: Token,
        tag: u64,
        ready: Readiness,
    ) {
        let slot = Token::from_u64(tag);
        match self.entries.get(slot) {
            Some(Entry::Processor(_)) => self.accept(center, slot),
            Some(Entry::Peer(peer)) if peer.link.as_ref().is_some_and(|l| l.token == token) => {
                let result = self.peer_event(center, slot, ready);
                self.settle(center, slot, result);
            }
            _ => {}
        }
    }

    fn time_event(&mut self, center: &mut EventCenter<Cmd>, id: TimerId, tag: u64) {
        let slot = Token::from_u64(tag);
        let peer = match self.entries.get_mut(slot) {
            Some(Entry::Processor(processor)) => {
                processor.retry = None;
                return center.again(processor.token, Readiness::READ);
            }
            Some(Entry::Peer(peer)) if peer.timer == Some(id) => peer,
            Some(Entry::Peer(peer)) => {
                let result = peer.release(id);
                return self.settle(center, slot, result);
            }
            Some(Entry::Alarm(_)) => return self.ring(slot),
            None => return,
        };
        peer.timer = None;
        let text = match &peer.link {
            None => return self.connect(center, slot),
            Some(link) if !link.is_open() => "the handshake did not end in time (ready_timeout)",
            Some(link) => match link.overdue(center.now()) {
                Some(text) => text,
                // What it was set for has happened in time.
                None => return peer.watch(center, slot),
            },
        };
        self.fault(center, slot, Error::text(ErrorKind::TimedOut, text));
    }

    fn external_event(&mut self, center: &mut EventCenter<Cmd>, cmd: Cmd) {
        match cmd {
            Cmd::Listen(shared, listener, local) => self.listen(center, shared, listener, local),
            Cmd::Accept(accepted) => self.adopt(center, *accepted),
            Cmd::Connect(session) => self.adopt_session(center, session),
            Cmd::Adopt(nascent) => self.adopt_nascent(center, *nascent),
            Cmd::Flush(session) => self.flush(center, &session),
            Cmd::Deliver(session, permit) => self.deliver_local(session, permit),
            Cmd::MarkDown(session) => {
                if let Some(&slot) = session.slot.get() {
                    self.remove(center, slot);
                }
            }
            Cmd::Granted {
                slot,
                link,
                toll,
                permit,
            } => {
                self.granted(center, slot, (link, toll), permit);
            }
            Cmd::Alarm(at, alarm) => self.set_alarm(center, at, alarm),
            Cmd::StopListening(shared) => self.stop_listening(center, &shared),
            Cmd::MarkAllDown(shared, error) => self.mark_all_down(center, &shared, &error),
            Cmd::Shutdown(shared, latch) => {
                self.shutdown(center, &shared);
                let_go(&shared, &latch);
            }
            Cmd::Stop => self.stopping = true,
        }
    }

    fn turn_end(&mut self, center: &mut EventCenter<Cmd>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        TURN.with_borrow_mut(|(_, list)| std::mem::swap(list, &mut dirty));
        for session in dirty.drain(..) {
            self.flush(center, &session);
        }
        // What is dropped while sending may send in its turn; that waits for the next one.
        TURN.with_borrow_mut(|(_, list)| std::mem::swap(list, &mut dirty));
        for session in dirty.drain(..) {
            self.me.post(Cmd::Flush(session));
        }
        self.dirty = dirty;
    }
}

impl WorkerState {
    fn look_after_dispatch(&self, now: Instant) {
        for (_, entry) in self.entries.iter() {
            match entry {
                Entry::Processor(processor) => processor.shared.look_after_dispatch(now),
                Entry::Peer(peer) => peer.shared.look_after_dispatch(now),
                Entry::Alarm(pending) => pending.alarm.shared.look_after_dispatch(now),
            }
        }
    }

    fn peer(&mut self, slot: Token) -> Option<&mut Peer> {
        match self.entries.get_mut(slot) {
            Some(Entry::Peer(peer)) => Some(peer),
            _ => None,
        }
    }

    fn insert(&mut self, entry: Entry) -> Token {
        self.me.load.fetch_add(1, Ordering::Relaxed);
        self.entries.insert(entry)
    }

    /// Forgets an entry, and closes its socket.
    fn remove(&mut self, center: &mut EventCenter<Cmd>, slot: Token) {
        match self.forget(slot) {
            Some(Entry::Processor(processor)) => deregister(center, processor.token),
            Some(Entry::Peer(mut peer)) => {
                peer.hang_up(center);
                if let Some(connection) = peer.connection {
                    connection.0.place().take();
                }
            }
            Some(Entry::Alarm(_)) | None => {}
        }
    }

    fn forget(&mut self, slot: Token) -> Option<Entry> {
        let entry = self.entries.remove(slot)?;
        self.me.load.fetch_sub(1, Ordering::Relaxed);
        Some(entry)
    }

    /// Delivers messages that the messenger sends to itself. They are bounded in number like those
    /// that were received.
    fn deliver_local(&mut self, session: Arc<Session>, mut permit: Option<Permit>) {
        let connection = Connection(session);
        let shared = &connection.0.shared;
        let mut pass = Pass::new(&connection);
        for _ in 0..LOCAL_BUDGET {
            let permit = match permit.take() {
                Some(permit) => permit,
                None => {
                    let waiting = Arc::clone(&connection.0);
                    let grant = move |permit| {
                        let home = waiting.home.clone();
                        home.post(Cmd::Deliver(waiting, Some(permit)));
                    };
                    match shared.dispatch_messages.take_or_park(1, grant) {
                        Ok(permit) => permit,
                        // Nobody takes this back: what waits is delivered, or dropped when closed.
                        Err(ticket) => return ticket.detach(),
                    }
                }
            };
            let Some(message) = connection.0.pop_local() else {
                return;
            };
            if let Err(error) = pass.deliver(message, &mut [Some(permit), None]) {
                tracing::error!(%error, "on the loop-back connection");
            }
        }
        drop(pass);
        self.me.post(Cmd::Deliver(connection.0, None));
    }

    /// Ends every connection of one messenger, handshakes among them.
    fn mark_all_down(
        &mut self,
        center: &mut EventCenter<Cmd>,
        shared: &Arc<Shared>,
        error: &Error,
    ) {
        let of_it = |(slot, entry): (Token, &Entry)| match entry {
            Entry::Peer(peer) if Arc::ptr_eq(&peer.shared, shared) => Some(slot),
            _ => None,
        };
        let slots: Vec<Token> = self.entries.iter().filter_map(of_it).collect();
        for slot in slots {
            if let Some(peer) = self.peer(slot)
                && let Some(connection) = peer.connection.clone()
            {
                peer.flush_delayed(center);
                peer.report_reset(&connection, error.clone().at(peer.addr, None));
            }
            self.remove(center, slot);
        }
    }

    /// Ends everything of one messenger (session §2).
    fn shutdown(&mut self, center: &mut EventCenter<Cmd>, shared: &Arc<Shared>) {
        self.mark_all_down(center, shared, &shut_down());
        self.stop_listening(center, shared);
        self.drop_alarms(center, shared);
    }
}

fn shut_down() -> Error {
    Error::text(ErrorKind::MarkedDown, "the messenger was shut down")
}

fn deregister(center: &mut EventCenter<Cmd>, token: Token) {
    if let Err(error) = center.deregister(token) {
        tracing::error!(%error, ?token, "a source was not registered");
    }
}
