//! Workers: the threads that run connections.
//!
//! A [`Worker`] owns one event center, the processors and links that were given to it, and the
//! receiving half of the sessions at home there. Other threads reach it only by posting a [`Cmd`];
//! there are at most a few of these per connection at a time, because each kind is posted on a
//! change of state. [`Workers`] is a pool that several messengers can share.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use event_driver::{Interest, Readiness, Token};

use crate::config::Config;
use crate::connection::{Connection, Cx, Flushed, Link, Numbers, Outcome, Session, Staging};
use crate::error::{Error, ErrorKind};
use crate::event::{Env, EventCenter, Handle, Handler, Slab, SubmitError, SystemEnv, TimerId};
use crate::inject::{Step, Who};
use crate::messenger::{ConnectionEvent, Latch, Pass, Ready, Shared};
use crate::net::{Listener, Stack, TcpStack};
use crate::processor::{ACCEPT_RETRY, AcceptEnd, Accepted, Processor};
use crate::proto::v1::{AcceptorParams, Claim, Opened, Refusal, ReplyTag, State, Verdict, vet};
use crate::proto::{Attempt, Decision, Existing, Stage, arbitrate};
use crate::throttle::Permit;
use crate::wire::{AddrType, EntityAddr, features};

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

/// How other threads know a worker.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    /// Unique in the process.
    id: u64,
    /// Links and sessions that it has.
    load: Arc<AtomicUsize>,
    /// Counts the choices that were made in its pool, if it is the first one there.
    choices: Arc<AtomicUsize>,
    inbox: Handle<Cmd>,
}

impl WorkerHandle {
    pub(crate) fn post(&self, cmd: Cmd) {
        match self.inbox.submit(cmd) {
            Ok(()) => {}
            // The pool has ended, and with it whatever the command was about.
            Err(SubmitError::Closed(Cmd::Shutdown(shared, latch))) => let_go(&shared, &latch),
            Err(SubmitError::Closed(cmd)) => drop(cmd),
            Err(SubmitError::Full(cmd)) => {
                tracing::error!("a command is lost: the worker's inbox is full");
                if let Cmd::Shutdown(shared, latch) = cmd {
                    let_go(&shared, &latch);
                }
            }
        }
    }
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worker {} with load {}",
            self.id,
            self.load.load(Ordering::Relaxed)
        )
    }
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

/// Threads that run the connections of one or more messengers.
///
/// A messenger makes its own unless it is given one by
/// [`Builder::workers`](crate::messenger::Builder::workers). Dropping the last reference ends the
/// threads.
pub struct Workers {
    handles: Arc<[WorkerHandle]>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stack: Arc<dyn Stack>,
    env: Arc<dyn Env>,
    driver: &'static str,
}

impl Workers {
    /// Starts [`Config::workers`](Config) threads for TCP connections on
    /// [`Config::driver`](Config).
    ///
    /// # Errors
    /// If the configuration is invalid, the driver was not compiled in or cannot be opened, or a
    /// thread cannot be started.
    pub fn start(config: &Config) -> Result<Arc<Self>, Error> {
        let stack = Arc::new(TcpStack::new(config.driver));
        Self::start_on(config, stack, Arc::new(SystemEnv))
    }

    /// Starts threads on a transport, a clock and randomness of your own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on(
        config: &Config,
        stack: Arc<dyn Stack>,
        env: Arc<dyn Env>,
    ) -> Result<Arc<Self>, Error> {
        let system = |e: io::Error| Error::io(ErrorKind::System, e);
        let (workers, states) = Self::assemble(config, stack, env)?;
        for (i, worker) in states.into_iter().enumerate() {
            let thread = std::thread::Builder::new()
                .name(format!("msgr-worker-{i}"))
                .spawn(move || worker.run())
                .map_err(system)?;
            workers.threads().push(thread);
        }
        Ok(Arc::new(workers))
    }

    /// A pool without threads: the caller runs the turns.
    #[cfg(feature = "sim")]
    pub(crate) fn stepped(
        config: &Config,
        stack: Arc<dyn Stack>,
        env: Arc<dyn Env>,
    ) -> Result<(Arc<Self>, Vec<Worker>), Error> {
        let (workers, states) = Self::assemble(config, stack, env)?;
        Ok((Arc::new(workers), states))
    }

    fn assemble(
        config: &Config,
        stack: Arc<dyn Stack>,
        env: Arc<dyn Env>,
    ) -> Result<(Self, Vec<Worker>), Error> {
        config.validate().map_err(Error::misuse)?;
        let mut centers = Vec::new();
        for _ in 0..config.workers {
            let driver = stack.driver();
            let driver = driver.map_err(|e| Error::io(ErrorKind::System, e))?;
            centers.push(EventCenter::new(driver, Arc::clone(&env)));
        }
        let driver = centers[0].driver_name();
        let handles: Arc<[WorkerHandle]> = centers.iter().map(WorkerHandle::new).collect();
        let states = centers
            .into_iter()
            .enumerate()
            .map(|(i, center)| Worker::new(center, i, &handles, &stack, config.receive_buffer))
            .collect();
        let workers = Self {
            handles,
            threads: Mutex::default(),
            stack,
            env,
            driver,
        };
        Ok((workers, states))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Never: there is at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// The name of the driver they run on.
    #[must_use]
    pub fn driver_name(&self) -> &'static str {
        self.driver
    }

    pub(crate) fn stack(&self) -> &Arc<dyn Stack> {
        &self.stack
    }

    pub(crate) fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    pub(crate) fn least_loaded(&self) -> &WorkerHandle {
        least_loaded(&self.handles)
    }

    pub(crate) fn post_to_all(&self, cmd: impl Fn() -> Cmd) {
        self.handles.iter().for_each(|worker| worker.post(cmd()));
    }

    /// Whether the calling thread is one of them.
    pub(crate) fn is_worker_thread(&self) -> bool {
        let me = std::thread::current().id();
        self.threads()
            .iter()
            .any(|thread| thread.thread().id() == me)
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.post_to_all(|| Cmd::Stop);
        let me = std::thread::current().id();
        for thread in std::mem::take(&mut *self.threads()) {
            // A worker that drops the last reference itself ends when it gets to its `Stop`.
            if thread.thread().id() != me && thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("driver", &self.driver)
            .field("handles", &self.handles)
            .finish_non_exhaustive()
    }
}

impl WorkerHandle {
    fn new(center: &EventCenter<Cmd>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            load: Arc::default(),
            choices: Arc::default(),
            inbox: center.handle(),
        }
    }
}

/// This worker has nothing of a messenger any more. The last one stops the dispatch queue: all
/// events are in it now.
fn let_go(shared: &Shared, latch: &Latch) {
    latch.arrive(|| shared.queue.stop());
}

fn least_loaded(handles: &[WorkerHandle]) -> &WorkerHandle {
    let load = |worker: &&WorkerHandle| worker.load.load(Ordering::Relaxed);
    // Equals take turns: what was given to one a moment ago counts only when it has got to it, and
    // otherwise all of a burst would go to the first.
    let turn = handles[0].choices.fetch_add(1, Ordering::Relaxed);
    let (before, after) = handles.split_at(turn % handles.len());
    let in_turn = after.iter().chain(before);
    in_turn.min_by_key(load).unwrap_or(&handles[0])
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
}

/// A session at home here, or a link that has not got one yet.
struct Peer {
    shared: Arc<Shared>,
    addr: EntityAddr,
    connection: Option<Connection>,
    link: Option<Link>,
    /// While there is no link; else the link has them.
    numbers: Numbers,
    /// The session has been open.
    was_ready: bool,
    /// An attempt of the peer is taking the session over.
    replacing: bool,
    /// The peer has lost its session: the next handshake starts the numbers over.
    peer_reset: bool,
    /// Of the handshake while there is a link, of the next attempt while there is none.
    timer: Option<TimerId>,
    /// When the timer of an open link fires.
    wakes_at: Instant,
    backoff: Duration,
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

    fn run(mut self) {
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
            _ => return,
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
        let Some(entry) = self.entries.remove(slot) else {
            return;
        };
        self.me.load.fetch_sub(1, Ordering::Relaxed);
        match entry {
            Entry::Processor(processor) => deregister(center, processor.token),
            Entry::Peer(mut peer) => {
                peer.hang_up(center);
                if let Some(connection) = peer.connection {
                    connection.0.place().take();
                }
            }
        }
    }

    // Listening.

    fn listen(
        &mut self,
        center: &mut EventCenter<Cmd>,
        shared: Arc<Shared>,
        listener: Box<dyn Listener>,
        local: EntityAddr,
    ) {
        if shared.is_stopped() {
            return;
        }
        let source = listener.source();
        let token = Token {
            slot: u32::MAX,
            generation: u32::MAX,
        };
        let processor = Processor {
            shared,
            listener,
            local,
            token,
            retry: None,
        };
        let slot = self.insert(Entry::Processor(processor));
        match center.register(source, Interest::READ, slot.to_u64()) {
            Ok(token) => {
                if let Some(Entry::Processor(processor)) = self.entries.get_mut(slot) {
                    processor.token = token;
                }
            }
            Err(error) => {
                tracing::error!(%local, %error, "cannot watch a listening socket");
                self.me.load.fetch_sub(1, Ordering::Relaxed);
                self.entries.remove(slot);
            }
        }
    }

    fn accept(&mut self, center: &mut EventCenter<Cmd>, slot: Token) {
        let Some(Entry::Processor(processor)) = self.entries.get_mut(slot) else {
            return;
        };
        let (pool, me) = (&self.pool, &self.me);
        let mut mine = Vec::new();
        let end = processor.accept(|accepted| {
            let worker = least_loaded(pool);
            if worker.id == me.id {
                mine.push(accepted);
            } else {
                worker.post(Cmd::Accept(Box::new(accepted)));
            }
        });
        let token = processor.token;
        match end {
            AcceptEnd::Drained => {
                if let Err(error) = center.rearm(token, Interest::READ) {
                    tracing::error!(%error, "cannot watch a listening socket");
                }
            }
            AcceptEnd::Budget => center.again(token, Readiness::READ),
            AcceptEnd::Failing => {
                let retry = || center.set_timer(center.now() + ACCEPT_RETRY, slot.to_u64());
                processor.retry.get_or_insert_with(retry);
            }
        }
        for accepted in mine {
            self.adopt(center, accepted);
        }
    }

    /// Takes an accepted connection in and begins its handshake.
    fn adopt(&mut self, center: &mut EventCenter<Cmd>, accepted: Accepted) {
        let Accepted {
            shared,
            stream,
            peer: seen,
            local,
            slot: place,
        } = accepted;
        if shared.is_stopped() {
            return;
        }
        let addr = EntityAddr {
            kind: AddrType::Legacy,
            nonce: 0,
            sock: Some(seen),
        };
        let peer = Peer::new(&shared, addr, None);
        let slot = self.insert(Entry::Peer(peer));
        let token = match center.register(stream.source.clone(), Interest::BOTH, slot.to_u64()) {
            Ok(token) => token,
            Err(error) => return self.fault(center, slot, Error::io(ErrorKind::System, error)),
        };
        let params = AcceptorParams {
            addr: local,
            peer_seen: seen,
        };
        let mut link = Link::accepted(&shared, stream, token, params, place);
        let who = Who::Accepting(None, addr, None);
        let injector = &shared.injector;
        let greeted = injector
            .step(Step::StartAccepting, who)
            .and_then(|()| injector.step(Step::SendBannerAccepting, who))
            .and_then(|()| link.greet());
        let timer = center.set_timer(center.now() + shared.config.ready_timeout, slot.to_u64());
        if let Some(peer) = self.peer(slot) {
            peer.link = Some(link);
            peer.timer = Some(timer);
        }
        self.settle(center, slot, greeted);
    }

    // Connecting.

    fn adopt_session(&mut self, center: &mut EventCenter<Cmd>, session: Arc<Session>) {
        if session.is_closed() {
            return;
        }
        if session.shared.is_stopped() {
            return Connection(session).reset(shut_down());
        }
        if let Some(&slot) = session.slot.get() {
            let idle = |peer: &mut Peer| peer.link.is_none() && peer.timer.is_none();
            if self.peer(slot).is_some_and(idle) {
                self.connect(center, slot);
            }
            return;
        }
        let (shared, addr) = (Arc::clone(&session.shared), session.peer_addr);
        let peer = Peer::new(&shared, addr, Some(Connection(Arc::clone(&session))));
        let slot = self.insert(Entry::Peer(peer));
        let fresh = session.slot.set(slot).is_ok();
        debug_assert!(fresh, "a session has one home");
        self.connect(center, slot);
    }

    /// One attempt to connect.
    fn connect(&mut self, center: &mut EventCenter<Cmd>, slot: Token) {
        if let Err(error) = self.try_connect(center, slot) {
            self.connect_failed(center, slot, error);
        }
    }

    fn try_connect(&mut self, center: &mut EventCenter<Cmd>, slot: Token) -> Result<(), Error> {
        let stack = Arc::clone(&self.stack);
        let Some(peer) = self.peer(slot) else {
            return Ok(());
        };
        let unreachable = |e: io::Error| Error::io(ErrorKind::Unreachable, e);
        let target = peer
            .addr
            .sock
            .ok_or_else(|| Error::misuse("the peer's address is blank"))?;
        let stream = stack
            .connect(target, &peer.shared.config.socket)
            .map_err(unreachable)?;
        let token = center
            .register(stream.source.clone(), Interest::BOTH, slot.to_u64())
            .map_err(unreachable)?;
        peer.link = Some(Link::connecting(&peer.shared, stream, token, peer.numbers));
        let deadline = center.now() + peer.shared.config.ready_timeout;
        peer.timer = Some(center.set_timer(deadline, slot.to_u64()));
        Ok(())
    }

    /// The transport did not connect: tells, and tries again later (session §9).
    fn connect_failed(&mut self, center: &mut EventCenter<Cmd>, slot: Token, error: Error) {
        let Some(peer) = self.peer(slot) else { return };
        peer.hang_up(center);
        self.back_off(center, slot, None);
        let Some(peer) = self.peer(slot) else { return };
        let error = error.at(peer.addr, Some(State::StartConnect));
        tracing::debug!(%error, retry_in = ?peer.backoff, "cannot connect");
        if let Some(connection) = &peer.connection {
            peer.shared
                .queue_event(connection, ConnectionEvent::Refused(error));
        }
    }

    // An established link, or one on its way.

    fn peer_event(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        ready: Readiness,
    ) -> Result<(), Error> {
        if ready.contains(Readiness::WRITE) {
            self.writable(center, slot)?;
        }
        if ready.contains(Readiness::READ) {
            self.receive(center, slot, ready.contains(Readiness::HUP))?;
        }
        Ok(())
    }

    fn writable(&mut self, center: &mut EventCenter<Cmd>, slot: Token) -> Result<(), Error> {
        let Self {
            entries,
            staging,
            me,
            ..
        } = self;
        let Some(Entry::Peer(peer)) = entries.get_mut(slot) else {
            return Ok(());
        };
        let Some(link) = &mut peer.link else {
            return Ok(());
        };
        if !link.is_open() {
            let mut cx = Cx {
                center,
                staging,
                slot,
                post: &me.inbox,
            };
            let was_connecting = link.is_connecting();
            link.on_writable(&mut cx, peer.connection.as_ref())?;
            // What arrived together with the end of the connect may have been told already.
            if was_connecting && !link.is_connecting() {
                return self.receive(center, slot, false);
            }
            return Ok(());
        }
        link.touch(center.now());
        match peer.connection.clone() {
            Some(connection) if connection.0.unblock() => self.send(center, slot, &connection.0),
            _ => Ok(()),
        }
    }

    fn receive(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        hup: bool,
    ) -> Result<(), Error> {
        loop {
            let Self {
                entries,
                staging,
                me,
                ..
            } = &mut *self;
            let Some(Entry::Peer(peer)) = entries.get_mut(slot) else {
                return Ok(());
            };
            let Some(link) = &mut peer.link else {
                return Ok(());
            };
            if link.is_connecting() || link.is_parked() {
                return Ok(());
            }
            let mut cx = Cx {
                center,
                staging,
                slot,
                post: &me.inbox,
            };
            let outcome = link.receive(&mut cx, peer.connection.as_ref(), hup)?;
            if link.is_open() {
                peer.watch(center, slot);
            }
            match outcome {
                Outcome::Connected(opened) => {
                    self.opened(center, slot, &opened, Ready::Connected)?
                }
                Outcome::Claim(claim) => {
                    let Some(opened) = self.claimed(center, slot, claim)? else {
                        continue;
                    };
                    self.opened(center, slot, &opened, Ready::Accepted)?;
                }
                Outcome::Accepted(opened) => {
                    self.opened(center, slot, &opened, Ready::Accepted)?;
                }
                Outcome::ResetSession => peer.reset_session(),
                Outcome::Again => {
                    let ready = if hup { HUNG_UP } else { Readiness::READ };
                    if let Some(link) = &peer.link {
                        center.again(link.token, ready);
                    }
                    return Ok(());
                }
                Outcome::Drained | Outcome::Parked => return Ok(()),
                Outcome::Closed => {
                    self.remove(center, slot);
                    return Ok(());
                }
            }
        }
    }

    /// A peer wants in. `Some`: it is in (msgr1 §7, §11, §12).
    fn claimed(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        claim: Claim,
    ) -> Result<Option<Opened>, Error> {
        let Some(peer) = self.peer(slot) else {
            return Ok(None);
        };
        let shared = Arc::clone(&peer.shared);
        if peer.link.as_mut().is_some_and(Link::is_first_claim) {
            let who = Who::of_claim(peer.connection.as_ref(), &claim);
            shared.injector.step(Step::BannerReadAccepting, who)?;
        }
        let policy = shared.policy(claim.peer_type);
        let terms = shared.terms(claim.peer_type, policy);
        if let Err(refusal) = vet(&claim, &terms) {
            tracing::debug!(peer = %claim.peer_addr, ?refusal, "refused");
            return self.answer(slot, Verdict::Refuse(refusal));
        }
        if peer.connection.is_some() || policy.is_anonymous() {
            return self.let_in(slot, &claim);
        }
        let Some(session) = shared.lookup(&claim.peer_addr) else {
            return self.arbitrated(center, slot, &claim, None);
        };
        shared.injector.delay();
        if session.home.id == self.me.id {
            return self.arbitrated(center, slot, &claim, Some(&session));
        }
        if let Some(link) = self.take_link(center, slot) {
            let nascent = Nascent {
                link,
                shared,
                claim,
            };
            session.home.post(Cmd::Adopt(Box::new(nascent)));
        }
        Ok(None)
    }

    /// Takes in a link whose peer has a session here, and goes on with its handshake.
    fn adopt_nascent(&mut self, center: &mut EventCenter<Cmd>, nascent: Nascent) {
        let Nascent {
            link,
            shared,
            claim,
        } = nascent;
        let slot = self.insert(Entry::Peer(Peer::new(&shared, claim.peer_addr, None)));
        let result = self.give_link(center, slot, link).and_then(|()| {
            match self.claimed(center, slot, claim)? {
                Some(opened) => self.opened(center, slot, &opened, Ready::Accepted),
                None => Ok(()),
            }
        });
        self.settle(center, slot, result);
    }

    /// Applies the rules for a peer that may have a session at home here.
    fn arbitrated(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        claim: &Claim,
        session: Option<&Arc<Session>>,
    ) -> Result<Option<Opened>, Error> {
        let Some(peer) = self.peer(slot) else {
            return Ok(None);
        };
        let shared = Arc::clone(&peer.shared);
        let policy = shared.policy(claim.peer_type);
        let attempt = Attempt {
            global_seq: claim.global_seq,
            connect_seq: claim.connect_seq,
            resetcheck: policy.resetcheck,
            peer_first: shared.goes_first(&claim.peer_addr),
        };
        let home = session.and_then(|session| session.slot.get().copied());
        let existing = home.and_then(|home| match self.entries.get(home) {
            Some(Entry::Peer(old)) => Some(old.existing(old.connection.as_ref()?)),
            _ => None,
        });
        let decision = arbitrate(existing.as_ref(), &attempt);
        tracing::debug!(peer = %claim.peer_addr, ?existing, ?attempt, ?decision, "arbitrated");
        let mut refusal = Refusal::new(
            ReplyTag::ResetSession,
            claim,
            &shared.terms(claim.peer_type, policy),
        );
        let old = session.map(|session| Connection(Arc::clone(session)));
        let step = |step| {
            let who = Who::of_claim(old.as_ref(), claim);
            shared.injector.step(step, who)
        };
        match (decision, home) {
            (Decision::Open, _) => return self.let_in(slot, claim),
            (Decision::Supersede, Some(home)) => {
                let text = "the peer has opened a new connection";
                let error = Error::text(ErrorKind::Disconnected, text);
                self.end(center, home, error);
                return self.let_in(slot, claim);
            }
            (
                Decision::Replace {
                    global_seq,
                    peer_reset,
                    reset,
                },
                Some(home),
            ) => {
                refusal.tag = ReplyTag::RetryGlobal;
                refusal.global_seq = global_seq;
                step(Step::SendRetryGlobal)?;
                self.replace(center, slot, home, (peer_reset, reset))?;
                return self.answer(home, Verdict::Refuse(refusal));
            }
            (Decision::RetryGlobal(global_seq), _) => {
                step(Step::SendRetryGlobal)?;
                refusal.tag = ReplyTag::RetryGlobal;
                refusal.global_seq = global_seq;
            }
            (Decision::RetrySession(connect_seq), _) => {
                refusal.tag = ReplyTag::RetrySession;
                refusal.connect_seq = connect_seq;
            }
            (Decision::Wait, _) => {
                refusal.tag = ReplyTag::Wait;
                // So that the own attempt goes on, whatever becomes of this one.
                if let Some(session) = session {
                    Connection(Arc::clone(session)).send_keepalive();
                }
            }
            _ => refusal.tag = ReplyTag::ResetSession,
        }
        self.answer(slot, Verdict::Refuse(refusal))
    }

    /// The session at `home` takes over the link at `slot` (msgr1 §12).
    fn replace(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        home: Token,
        (peer_reset, reset): (bool, bool),
    ) -> Result<(), Error> {
        let Some(link) = self.take_link(center, slot) else {
            return Ok(());
        };
        let Some(old) = self.peer(home) else {
            link.close();
            return Ok(());
        };
        old.shared.injector.delay();
        if reset {
            old.discard_delayed(center);
        }
        old.hang_up(center);
        if let Some(connection) = &old.connection {
            connection.0.wake();
        }
        old.peer_reset |= peer_reset;
        if reset {
            old.reset_session();
        }
        old.replacing = true;
        let numbers = old.numbers;
        self.give_link(center, home, link)?;
        *self
            .peer(home)
            .map(Peer::numbers_mut)
            .unwrap_or(&mut Numbers::default()) = numbers;
        Ok(())
    }

    /// Takes a link out of its entry, which is forgotten.
    fn take_link(&mut self, center: &mut EventCenter<Cmd>, slot: Token) -> Option<Link> {
        let link = self.peer(slot)?.link.take()?;
        deregister(center, link.token);
        self.remove(center, slot);
        Some(link)
    }

    /// Puts a link into an entry, with a new deadline for its handshake.
    fn give_link(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        mut link: Link,
    ) -> Result<(), Error> {
        let system = |e: io::Error| Error::io(ErrorKind::System, e);
        let source = link.source.clone();
        link.token = center
            .register(source, Interest::BOTH, slot.to_u64())
            .map_err(system)?;
        let Some(peer) = self.peer(slot) else {
            return Ok(());
        };
        peer.link = Some(link);
        let deadline = center.now() + peer.shared.config.ready_timeout;
        peer.timer = Some(center.set_timer(deadline, slot.to_u64()));
        Ok(())
    }

    /// Opens the session of a peer: the one that its link belongs to, or a new one.
    fn let_in(&mut self, slot: Token, claim: &Claim) -> Result<Option<Opened>, Error> {
        let me = self.me.clone();
        let Some(peer) = self.peer(slot) else {
            return Ok(None);
        };
        let shared = Arc::clone(&peer.shared);
        let policy = shared.policy(claim.peer_type);
        if peer.connection.is_none() {
            let who = (claim.peer_type, claim.peer_addr);
            let session = Session::new(&shared, who, policy.clone(), me, false);
            let fresh = session.slot.set(slot).is_ok();
            debug_assert!(fresh, "the session is new");
            let registered = policy.is_anonymous() || shared.register(&session);
            shared.injector.delay();
            if !registered {
                let text = "another connection of the same peer was quicker";
                return Err(Error::text(ErrorKind::Disconnected, text));
            }
            if let Some(place) = peer.link.as_mut().and_then(|link| link.place.take()) {
                *session.place() = Some(Arc::new(place));
            }
            peer.addr = claim.peer_addr;
            peer.connection = Some(Connection(session));
        }
        let step = match claim.connect_seq {
            0 => Step::SendAccept,
            _ => Step::SendReconnectOk,
        };
        let reset = peer.peer_reset;
        let numbers = peer.numbers_mut();
        if reset {
            numbers.in_seq = 0;
        }
        numbers.connect_seq = claim.connect_seq.wrapping_add(1);
        numbers.peer_global_seq = claim.global_seq;
        let in_seq = numbers.in_seq;
        let who = Who::of_claim(peer.connection.as_ref(), claim);
        shared.injector.step(step, who)?;
        let verdict = Verdict::Open {
            features: policy.features_supported,
            global_seq: shared.next_global_seq(0),
            lossy: policy.lossy,
            in_seq,
            reset,
            protocol_version: claim.protocol_version,
        };
        self.answer(slot, verdict)
    }

    fn answer(&mut self, slot: Token, verdict: Verdict) -> Result<Option<Opened>, Error> {
        let Some(peer) = self.peer(slot) else {
            return Ok(None);
        };
        match &mut peer.link {
            Some(link) => link
                .answer(verdict)
                .inspect_err(|_| peer.shared.injector.delay()),
            None => Ok(None),
        }
    }

    /// The handshake is done.
    fn opened(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        opened: &Opened,
        ready: Ready,
    ) -> Result<(), Error> {
        let Some(peer) = self.peer(slot) else {
            return Ok(());
        };
        let (Some(link), Some(connection)) = (&mut peer.link, peer.connection.clone()) else {
            return Ok(());
        };
        #[cfg(feature = "sim")]
        let opened = &crate::sim::plant::opened(opened, peer.replacing);
        if !link.open(&connection, opened) {
            self.remove(center, slot);
            return Ok(());
        }
        if let Some(timer) = peer.timer.take() {
            center.cancel_timer(timer);
        }
        peer.watch(center, slot);
        peer.backoff = Duration::ZERO;
        (peer.was_ready, peer.replacing, peer.peer_reset) = (true, false, false);
        let shared = Arc::clone(&peer.shared);
        tracing::debug!(peer = ?connection, ?ready, "ready");
        shared.ready(&connection, ready)?;
        let who = Who::Open(&connection, ready == Ready::Accepted);
        shared.injector.step(Step::Ready, who)?;
        self.send(center, slot, &connection.0)
    }

    fn flush(&mut self, center: &mut EventCenter<Cmd>, session: &Arc<Session>) {
        if let Some(&slot) = session.slot.get() {
            let result = self.send(center, slot, session);
            self.settle(center, slot, result);
        }
    }

    /// Sends what a session has queued; the gate is in the worker's hand.
    fn send(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        session: &Arc<Session>,
    ) -> Result<(), Error> {
        let flushed = session.flush_by_worker();
        match flushed.map_err(|e| Error::io(ErrorKind::Disconnected, e))? {
            Flushed::Done => {}
            Flushed::More => self.me.post(Cmd::Flush(Arc::clone(session))),
            Flushed::Full => {
                session.block();
                if let Some(link) = self.peer(slot).and_then(|peer| peer.link.as_ref()) {
                    let rearmed = center.rearm(link.token, Interest::WRITE);
                    rearmed.map_err(|e| Error::io(ErrorKind::System, e))?;
                }
            }
        }
        Ok(())
    }

    fn granted(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        (link_token, toll): (Token, usize),
        permit: Permit,
    ) {
        let Some(link) = self.peer(slot).and_then(|peer| peer.link.as_mut()) else {
            return;
        };
        if link.granted(link_token, toll, permit) {
            if let Some(connection) = self.peer(slot).and_then(|peer| peer.connection.as_ref()) {
                connection.0.set_throttled(None);
            }
            let result = self.receive(center, slot, false);
            self.settle(center, slot, result);
        }
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
            if let Err(error) = pass.deliver(message, [Some(permit), None]) {
                tracing::error!(%error, "on the loop-back connection");
            }
        }
        drop(pass);
        self.me.post(Cmd::Deliver(connection.0, None));
    }

    // Ends.

    fn settle(&mut self, center: &mut EventCenter<Cmd>, slot: Token, result: Result<(), Error>) {
        if let Err(error) = result {
            self.fault(center, slot, error);
        }
    }

    /// An error of a link; its policy decides what follows (msgr1 §19, session §9).
    fn fault(&mut self, center: &mut EventCenter<Cmd>, slot: Token, error: Error) {
        let Some(peer) = self.peer(slot) else { return };
        peer.shared.stats.faults.fetch_add(1, Ordering::Relaxed);
        let state = peer.link.as_ref().map(Link::state);
        let session = match &peer.connection {
            Some(connection) if !connection.is_closed() => Arc::clone(&connection.0),
            _ => return self.end(center, slot, error),
        };
        if peer.link.as_ref().is_some_and(Link::is_connecting) {
            return self.connect_failed(center, slot, error);
        }
        if session.is_lossy() || peer.is_stillborn(&session) {
            return self.end(center, slot, error);
        }
        let error = error.at(peer.addr, state);
        tracing::debug!(%error, "fault");
        if state.is_some_and(|state| state < State::StartAccept) {
            peer.shared.queue_event(
                &Connection(Arc::clone(&session)),
                ConnectionEvent::Refused(error),
            );
        }
        let in_vain = |link: &Link| link.is_open() && !link.was_of_use;
        let in_vain = peer.link.as_ref().is_some_and(in_vain);
        peer.hang_up(center);
        (peer.replacing, peer.peer_reset) = (false, false);
        let told_to_wait = state == Some(State::Wait);
        if (session.policy.server || session.policy.standby && !told_to_wait) && session.stand_by()
        {
            return;
        }
        if state.is_some_and(|state| state < State::StartAccept) || told_to_wait {
            let max = peer.shared.config.max_backoff;
            self.back_off(center, slot, told_to_wait.then_some(max));
        } else {
            peer.numbers.connect_seq = peer.numbers.connect_seq.wrapping_add(1);
            peer.backoff = Duration::ZERO;
            if in_vain {
                // A peer that faults upon what is replayed would be hammered without end.
                self.back_off(center, slot, None);
            } else {
                self.connect(center, slot);
            }
        }
    }

    /// Ends what is at a slot, and tells whom it concerns.
    fn end(&mut self, center: &mut EventCenter<Cmd>, slot: Token, error: Error) {
        let Some(peer) = self.peer(slot) else { return };
        let error = error.at(peer.addr, peer.link.as_ref().map(Link::state));
        peer.flush_delayed(center);
        peer.report_end(&error);
        self.remove(center, slot);
    }

    /// Connects later: a little later than the last time, or after the time given.
    fn back_off(&mut self, center: &mut EventCenter<Cmd>, slot: Token, after: Option<Duration>) {
        let Some(peer) = self.peer(slot) else { return };
        let config = &peer.shared.config;
        peer.backoff = match after {
            Some(after) => after,
            None if peer.backoff.is_zero() => config.initial_backoff,
            None => (peer.backoff * 2).min(config.max_backoff),
        };
        // Up to a quarter less, so that those who lost the same peer do not all come back at once.
        let jitter = (peer.shared.env.random() >> 33) as u32 % 256;
        let wait = peer.backoff - peer.backoff * jitter / 1024;
        peer.timer = Some(center.set_timer(center.now() + wait, slot.to_u64()));
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
    }

    fn stop_listening(&mut self, center: &mut EventCenter<Cmd>, shared: &Arc<Shared>) {
        let of_it = |(slot, entry): (Token, &Entry)| match entry {
            Entry::Processor(processor) if Arc::ptr_eq(&processor.shared, shared) => Some(slot),
            _ => None,
        };
        let slots: Vec<Token> = self.entries.iter().filter_map(of_it).collect();
        for slot in slots {
            self.remove(center, slot);
        }
    }
}

/// Readiness of a source whose peer has hung up: to be read to the end.
const HUNG_UP: Readiness = Readiness::READ.with(Readiness::HUP);

impl Peer {
    fn new(shared: &Arc<Shared>, addr: EntityAddr, connection: Option<Connection>) -> Self {
        let shared = Arc::clone(shared);
        Self {
            wakes_at: shared.env.now(),
            numbers: Numbers::default(),
            was_ready: false,
            replacing: false,
            peer_reset: false,
            shared,
            addr,
            connection,
            link: None,
            timer: None,
            backoff: Duration::ZERO,
        }
    }

    /// Has the deadlines of an open link kept. A timer that is set for an earlier one is let run,
    /// so that a busy link does not set one for each message.
    fn watch(&mut self, center: &mut EventCenter<Cmd>, slot: Token) {
        let Some(deadline) = self.link.as_ref().and_then(Link::deadline) else {
            return;
        };
        if self.timer.is_some_and(|_| self.wakes_at <= deadline) {
            return;
        }
        if let Some(timer) = self.timer.take() {
            center.cancel_timer(timer);
        }
        self.wakes_at = deadline;
        self.timer = Some(center.set_timer(deadline, slot.to_u64()));
    }

    /// Lets go of the link and the timer.
    fn hang_up(&mut self, center: &mut EventCenter<Cmd>) {
        if let Some(timer) = self.timer.take() {
            center.cancel_timer(timer);
        }
        if let Some(connection) = &self.connection {
            connection.0.drop_link();
            connection.0.set_throttled(None);
        }
        self.flush_delayed(center);
        if let Some(link) = self.link.take() {
            self.numbers = link.numbers;
            deregister(center, link.token);
            link.close();
        }
    }

    /// The peer's first attempt broke before it was let in, and nothing waits to be sent
    /// (msgr1 §19, rule 4).
    fn is_stillborn(&self, session: &Session) -> bool {
        let state = self.link.as_ref().map(Link::state);
        let accepting = state.is_some_and(|state| {
            (State::StartAccept..=State::AcceptingWaitConnectMsgAuth).contains(&state)
        });
        accepting && !self.was_ready && !self.replacing && session.queued() == 0
    }

    /// Delivers the message that a timer of the delay line lets go.
    fn release(&mut self, timer: TimerId) -> Result<(), Error> {
        let line = self.link.as_mut().and_then(|link| link.delayed.as_mut());
        let held = line.and_then(|line| line.release(timer));
        match (held, &self.connection) {
            (Some((message, permits)), Some(connection)) => {
                self.shared.deliver(connection, message, permits)
            }
            _ => Ok(()),
        }
    }

    /// Delivers all messages of the delay line, unless the connection was closed on this side.
    fn flush_delayed(&mut self, center: &mut EventCenter<Cmd>) {
        let line = self.link.as_mut().and_then(|link| link.delayed.as_mut());
        let held = line.map(|line| line.flush(center)).unwrap_or_default();
        let Some(connection) = &self.connection else {
            return;
        };
        for (message, permits) in held {
            if connection.is_closed() {
                return;
            }
            if let Err(error) = self.shared.deliver(connection, message, permits) {
                tracing::debug!(%error, "a late message of a link that is gone");
            }
        }
    }

    fn discard_delayed(&mut self, center: &mut EventCenter<Cmd>) {
        if let Some(line) = self.link.as_mut().and_then(|link| link.delayed.as_mut()) {
            drop(line.flush(center));
        }
    }

    /// The numbers, wherever they are.
    fn numbers_mut(&mut self) -> &mut Numbers {
        match &mut self.link {
            Some(link) => &mut link.numbers,
            None => &mut self.numbers,
        }
    }

    /// The session starts over (msgr1 §17): what was on its way is void, and the owner is told.
    fn reset_session(&mut self) {
        let Some(connection) = self.connection.clone() else {
            return;
        };
        *self.numbers_mut() = Numbers::default();
        if !std::mem::take(&mut self.was_ready) {
            // A handshake of two attempts that met may break when one side counts it already. Then
            // there is a difference, but nothing was sent, and nothing is lost.
            return;
        }
        // A random start, as signed sessions have it, so that old messages do not fit anywhere.
        let signed = features::has(connection.0.features(), features::MSG_AUTH);
        let random = self.shared.env.random() & 0x7fff_ffff;
        let unsent = connection.0.reset(if signed { random } else { 0 });
        self.shared.queue.discard(&connection);
        self.shared
            .queue_event(&connection, ConnectionEvent::RemoteReset { unsent });
    }

    /// The session as the rules see it, for an attempt of the peer.
    fn existing(&self, connection: &Connection) -> Existing {
        let numbers = self.link.as_ref().map_or(self.numbers, |link| link.numbers);
        let stage = match &self.link {
            _ if self.replacing => Stage::Replacing,
            Some(link) if link.is_open() => Stage::Open,
            None if self.timer.is_none() => Stage::Standby,
            _ => Stage::Attempting,
        };
        Existing {
            stage,
            lossy: connection.0.is_lossy(),
            server: connection.0.policy.server,
            connect_seq: numbers.connect_seq,
            peer_global_seq: numbers.peer_global_seq,
        }
    }

    fn report_end(&self, error: &Error) {
        let accepting = self.link.as_ref().is_some_and(Link::is_accepting);
        match &self.connection {
            Some(connection) if accepting && !self.was_ready => {
                connection.0.close();
                self.shared.forget(&connection.0);
                self.shared.accept_failed(error);
            }
            Some(connection) => self.report_reset(connection, error.clone()),
            None => self.shared.accept_failed(error),
        }
    }

    /// Tells the dispatchers that a connection is dead, unless it was closed from this side.
    fn report_reset(&self, connection: &Connection, error: Error) {
        tracing::debug!(%error, "reset");
        connection.reset(error);
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
