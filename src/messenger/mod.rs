//! Messengers: names, addresses, policies, dispatchers, and the life cycle of it all.

mod bind;
mod builder;
mod dispatch;
mod policy;
mod prio;
mod shared;
#[cfg(feature = "sim")]
mod stepped;
mod watchdog;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

pub use builder::Builder;
pub use dispatch::{ConnectionEvent, Dispatcher, Handled, Ready};
pub use policy::Policy;
pub(crate) use shared::Shared;
#[cfg(feature = "sim")]
pub(crate) use stepped::Dispatching;
pub(crate) use watchdog::Pass;

use crate::connection::{Connection, Party, Session};
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind};
use crate::net::Listener;
use crate::proto::Version;
use crate::stats::Stats;
use crate::wire::{AddrType, AddrVec, EntityAddr, EntityName, EntityType};
use crate::worker::{Alarm, Cmd, Workers};
use dispatch::Item;

/// How long the shutdown waits for workers to let go of their connections. Only a handler that
/// does not return can make it that long.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(30);

/// A named endpoint that sends and receives messages.
///
/// Life cycle: build, [`bind`](Self::bind) (servers), add dispatchers, [`start`](Self::start), use,
/// [`shutdown`](Self::shutdown), [`wait`](Self::wait). After that it may be started again.
/// Dropping it shuts it down.
///
/// ```
/// use std::sync::{Arc, mpsc};
/// use async_messenger::message::Message;
/// use async_messenger::wire::{EntityName, EntityType};
/// use async_messenger::{Connection, Dispatcher, Handled, Messenger, Policy};
///
/// struct Echo;
/// impl Dispatcher for Echo {
///     fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
///         let reply = Message::new(message.kind()).with_front(message.front().to_bytes());
///         connection.send(reply).expect("one message fits");
///         Handled::Yes
///     }
/// }
///
/// struct Print(mpsc::Sender<Vec<u8>>);
/// impl Dispatcher for Print {
///     fn dispatch(&self, _: &Connection, message: Message) -> Handled {
///         self.0.send(message.front().to_bytes().to_vec()).unwrap();
///         Handled::Yes
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Messenger::builder(EntityName::osd(0))
///     .default_policy(Policy::stateless_server(0))
///     .build()?;
/// let addrs = server.bind(&"v1:127.0.0.1:0".parse()?)?;
/// server.add_dispatcher_tail(Arc::new(Echo))?;
/// server.start()?;
///
/// let client = Messenger::builder(EntityName::client(-1)).build()?;
/// let (tx, rx) = mpsc::channel();
/// client.add_dispatcher_tail(Arc::new(Print(tx)))?;
/// client.start()?;
///
/// let connection = client.connect(EntityType::OSD, &addrs)?;
/// connection.send(Message::new(42).with_front(&b"hello"[..]))?;
/// assert_eq!(rx.recv_timeout(std::time::Duration::from_secs(10))?, b"hello");
/// # Ok(())
/// # }
/// ```
pub struct Messenger {
    shared: Arc<Shared>,
    workers: Arc<Workers>,
    life: Mutex<Life>,
    changed: Condvar,
}

#[derive(Default)]
struct Life {
    phase: Phase,
    dispatchers: Vec<Arc<dyn Dispatcher>>,
    /// Bound before the start; their peers wait in the backlog.
    listeners: Vec<(Box<dyn Listener>, EntityAddr)>,
    thread: Option<JoinHandle<()>>,
    /// Which one that is or was, also while somebody waits for its end.
    dispatch_thread: Option<ThreadId>,
}

#[derive(Clone, Default)]
enum Phase {
    #[default]
    New,
    Started,
    /// The latch opens when the workers have let go of everything.
    ShuttingDown(Arc<Latch>),
}

impl Messenger {
    /// Begins to build a messenger with this name.
    pub fn builder(name: EntityName) -> Builder {
        Builder::new(name)
    }

    pub(crate) fn new(shared: Arc<Shared>, workers: Arc<Workers>) -> Self {
        Self {
            shared,
            workers,
            life: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The own name.
    #[must_use]
    pub fn name(&self) -> EntityName {
        self.shared.name
    }

    /// The own addresses: those that were bound, or the one that a peer has told.
    #[must_use]
    pub fn addrs(&self) -> AddrVec {
        self.shared.addrs()
    }

    /// Who it is, and the tickets that it holds.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.shared.credentials
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// What the chances of [`Config::inject`](crate::Config) start from; the same seed gives the
    /// same chances again.
    #[must_use]
    pub fn inject_seed(&self) -> u64 {
        self.shared.injector.seed()
    }

    /// Changes [`Inject::network_congestion`](crate::Inject) from now on.
    pub fn set_network_congestion(&self, n: u32) {
        self.shared.injector.set_network_congestion(n);
    }

    /// The workers, for another messenger to share.
    #[must_use]
    pub fn workers(&self) -> &Arc<Workers> {
        &self.workers
    }

    /// Adds a dispatcher before those that are there.
    ///
    /// # Errors
    /// If the messenger has been started: dispatchers are fixed then, so that looking them up
    /// costs nothing.
    pub fn add_dispatcher_head(&self, dispatcher: Arc<dyn Dispatcher>) -> Result<(), Error> {
        self.add_dispatcher(|list| list.insert(0, dispatcher))
    }

    /// Adds a dispatcher behind those that are there.
    ///
    /// # Errors
    /// As [`add_dispatcher_head`](Self::add_dispatcher_head).
    pub fn add_dispatcher_tail(&self, dispatcher: Arc<dyn Dispatcher>) -> Result<(), Error> {
        self.add_dispatcher(|list| list.push(dispatcher))
    }

    fn add_dispatcher(&self, add: impl FnOnce(&mut Vec<Arc<dyn Dispatcher>>)) -> Result<(), Error> {
        if self.shared.has_dispatchers() {
            return Err(Error::misuse(
                "dispatchers are fixed once the messenger was started",
            ));
        }
        add(&mut self.life().dispatchers);
        Ok(())
    }

    /// Begins to accept, connect and dispatch.
    ///
    /// # Errors
    /// If it is started already, or the dispatch thread cannot be started.
    pub fn start(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        self.start_with(|| {
            std::thread::Builder::new()
                .name("ms_dispatch".into())
                .spawn(move || run_dispatch(&shared))
                .map(Some)
        })
    }

    fn start_with(
        &self,
        dispatch: impl FnOnce() -> std::io::Result<Option<JoinHandle<()>>>,
    ) -> Result<(), Error> {
        let mut life = self.life();
        match life.phase {
            Phase::New => {}
            Phase::Started => return Err(Error::misuse("the messenger is started already")),
            Phase::ShuttingDown(_) => {
                return Err(Error::misuse(
                    "the messenger is shutting down; wait() first",
                ));
            }
        }
        let dispatchers = std::mem::take(&mut life.dispatchers);
        self.shared.start(dispatchers, self.workers.least_loaded());
        life.thread = dispatch().map_err(|e| Error::io(ErrorKind::System, e))?;
        life.dispatch_thread = life.thread.as_ref().map(|thread| thread.thread().id());
        life.phase = Phase::Started;
        let listeners = std::mem::take(&mut life.listeners);
        self.serve(listeners);
        Ok(())
    }

    /// The connection to a peer: the one that there is, or a new one, which connects at once and
    /// in the background. Addresses of this messenger itself give the loop-back connection.
    ///
    /// Connecting goes on until it succeeds or the connection is marked down; failed attempts are
    /// reported as [`ConnectionEvent::Refused`].
    ///
    /// # Errors
    /// If the messenger is not started, there is no `v1:` or `v2:` address, or the policy for this type of
    /// peer is that of a server.
    pub fn connect(&self, peer_type: EntityType, addrs: &AddrVec) -> Result<Connection, Error> {
        if let Some(loopback) = self.shared.own(addrs) {
            return Ok(loopback);
        }
        if let Some(session) = self.shared.lookup(&known_by(addrs)) {
            return Ok(Connection(session));
        }
        let target = self.target(peer_type, addrs)?;
        let make = || self.new_session(peer_type, target, addrs);
        Ok(Connection(self.shared.session(&known_by(addrs), make)))
    }

    /// Whom to connect to, if that is possible now.
    fn target(&self, peer_type: EntityType, addrs: &AddrVec) -> Result<EntityAddr, Error> {
        if !matches!(self.life().phase, Phase::Started) {
            return Err(Error::misuse("the messenger is not started"));
        }
        let target = target_of(addrs);
        if target.is_blank_ip() || target.port() == 0 {
            let text =
                format!("cannot connect to {addrs}: there is no v1:IP:PORT or v2:IP:PORT address");
            return Err(Error::misuse(text));
        }
        if self.shared.policy(peer_type).server {
            let text = format!("the policy for {peer_type} is a server's: the peer must connect");
            return Err(Error::misuse(text));
        }
        Ok(target)
    }

    fn new_session(
        &self,
        peer_type: EntityType,
        target: EntityAddr,
        addrs: &AddrVec,
    ) -> Arc<Session> {
        let version = match target.kind {
            AddrType::Msgr2 => Version::V2,
            _ => Version::V1,
        };
        let who = Party {
            kind: peer_type,
            addr: target,
            addrs: known_by(addrs),
            version,
        };
        let home = self.workers.least_loaded().clone();
        let policy = self.shared.policy(peer_type).clone();
        let session = Session::new(&self.shared, who, policy, home, false);
        session.home.post(Cmd::Connect(Arc::clone(&session)));
        session
    }

    /// A new connection to a peer, whether there is one or not, which nobody else gets from
    /// [`connect`](Self::connect). For probes, and for peers that tell connections apart.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_anonymous(
        &self,
        peer_type: EntityType,
        addrs: &AddrVec,
    ) -> Result<Connection, Error> {
        let target = self.target(peer_type, addrs)?;
        Ok(Connection(self.new_session(peer_type, target, addrs)))
    }

    /// Ends the connection to these addresses, if there is one, with a
    /// [`Reset`](ConnectionEvent::Reset) event.
    pub fn mark_down(&self, addrs: &AddrVec) {
        if let Some(session) = self.shared.lookup(&known_by(addrs)) {
            Connection(session).reset(marked_down());
        }
    }

    /// Ends every connection with a [`Reset`](ConnectionEvent::Reset) event. The messenger goes on
    /// listening.
    pub fn mark_down_all(&self) {
        let cmd = || Cmd::MarkAllDown(Arc::clone(&self.shared), marked_down());
        self.workers.post_to_all(cmd);
    }

    /// The connection to this messenger itself: what is sent on it is dispatched here, without
    /// being encoded.
    ///
    /// # Errors
    /// If the messenger is not started.
    pub fn loopback(&self) -> Result<Connection, Error> {
        self.shared
            .loopback()
            .ok_or_else(|| Error::misuse("the messenger is not started"))
    }

    pub(crate) fn is_started(&self) -> bool {
        matches!(self.life().phase, Phase::Started)
    }

    /// Has a worker make a call at a time; dropped instead if the messenger is shut down before.
    pub(crate) fn alarm(&self, at: Instant, call: Box<dyn FnOnce() + Send>) {
        let shared = Arc::clone(&self.shared);
        let alarm = Alarm { shared, call };
        self.workers.least_loaded().post(Cmd::Alarm(at, alarm));
    }

    /// Ends every connection with a [`Reset`](ConnectionEvent::Reset) event and stops listening.
    /// Returns at once; [`wait`](Self::wait) waits for the end of it. May be called by a handler.
    pub fn shutdown(&self) {
        let mut life = self.life();
        if !matches!(life.phase, Phase::Started) {
            return;
        }
        let latch = Arc::new(Latch::new(self.workers.len()));
        life.phase = Phase::ShuttingDown(Arc::clone(&latch));
        life.listeners.clear();
        drop(life);
        self.shared.stop();
        let cmd = || Cmd::Shutdown(Arc::clone(&self.shared), Arc::clone(&latch));
        self.workers.post_to_all(cmd);
        self.changed.notify_all();
    }

    /// Waits for somebody to call [`shutdown`](Self::shutdown), and then for the end of all
    /// connections and of the dispatch thread. Events that are queued are delivered, messages not.
    /// Returns at once if the messenger is not started.
    ///
    /// # Errors
    /// If it is called by a worker or by the dispatch thread, which would wait for itself; or if a
    /// worker does not let go in half a minute, because a handler does not return.
    pub fn wait(&self) -> Result<(), Error> {
        let mut life = self.life();
        let me = std::thread::current().id();
        if life.dispatch_thread == Some(me) || self.workers.is_worker_thread() {
            return Err(Error::misuse(
                "wait() was called by a handler: it would wait for itself",
            ));
        }
        let (latch, thread) = loop {
            let thread = life.thread.take();
            match (&life.phase, thread) {
                (Phase::New, _) => return Ok(()),
                (Phase::ShuttingDown(latch), Some(thread)) => break (Arc::clone(latch), thread),
                // Without limit: this is how a daemon's main thread spends its life; or somebody
                // else waits for the end already, and says when it has come.
                (_, thread) => {
                    life.thread = thread;
                    life = self
                        .changed
                        .wait(life)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        drop(life);
        let in_time = latch.wait(SHUTDOWN_WAIT);
        self.shared.queue.stop();
        if thread.join().is_err() {
            tracing::error!("the dispatch thread panicked");
        }
        self.life().phase = Phase::New;
        self.changed.notify_all();
        if in_time {
            return Ok(());
        }
        Err(Error::text(
            ErrorKind::TimedOut,
            "a worker did not let go of its connections",
        ))
    }
}

impl Drop for Messenger {
    fn drop(&mut self) {
        self.shutdown();
        if let Err(error) = self.wait() {
            // By a handler: the last worker to let go stops the queue.
            tracing::debug!(%error, "while a messenger was dropped");
        }
    }
}

impl fmt::Debug for Messenger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messenger")
            .field("name", &self.shared.name)
            .field("addrs", &self.shared.addrs())
            .finish_non_exhaustive()
    }
}

/// Where to connect to: the first address of a known type, which says which protocol to speak.
fn target_of(addrs: &AddrVec) -> EntityAddr {
    let known = |addr: &&EntityAddr| matches!(addr.kind, AddrType::Legacy | AddrType::Msgr2);
    addrs.0.iter().find(known).copied().unwrap_or_default()
}

/// What the session with a peer is known by: with v1 the address that is connected to, with v2 all
/// that the peer has.
fn known_by(addrs: &AddrVec) -> AddrVec {
    match target_of(addrs) {
        target if target.kind == AddrType::Msgr2 => addrs.clone(),
        target => target.into(),
    }
}

fn marked_down() -> Error {
    Error::text(
        ErrorKind::MarkedDown,
        "the messenger was told to mark it down",
    )
}

/// The dispatch thread: messages and events, one at a time, until the queue is stopped.
fn run_dispatch(shared: &Shared) {
    while let Some(item) = shared.queue.pop() {
        dispatch_item(shared, item);
    }
}

fn dispatch_item(shared: &Shared, item: Item) {
    match item {
        Item::Message {
            connection,
            message,
            permits,
        } => {
            shared.dispatch(&connection, message);
            drop(permits);
        }
        Item::Event {
            connection, event, ..
        } => shared.event(&connection, &event),
    }
}

/// Opens when a number of parties have arrived.
pub(crate) struct Latch {
    missing: Mutex<usize>,
    open: Condvar,
}

impl Latch {
    fn new(parties: usize) -> Self {
        Self {
            missing: Mutex::new(parties),
            open: Condvar::new(),
        }
    }

    /// The last one does something before the latch opens.
    pub(crate) fn arrive(&self, last: impl FnOnce()) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = missing.saturating_sub(1);
        if *missing == 0 {
            last();
            self.open.notify_all();
        }
    }

    /// False if it did not open in time.
    fn wait(&self, limit: Duration) -> bool {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .open
            .wait_timeout_while(missing, limit, |missing| *missing > 0);
        let (missing, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *missing == 0
    }
}
