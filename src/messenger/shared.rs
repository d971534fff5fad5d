//! What all connections of a messenger share.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use super::Policy;
use super::dispatch::{ConnectionEvent, DispatchQueue, Dispatcher, Handled, Item, Ready, guarded};
use super::watchdog::Watchdog;
use crate::auth::AuthCx;
use crate::config::Config;
use crate::connection::{Connection, Handshake, Numbers, Party, Session};
use crate::credentials::{Authority, Credentials};
use crate::error::{Error, ErrorKind};
use crate::event::Env;
use crate::inject::Injector;
use crate::message::{Message, Registry};
use crate::proto::v1::Terms;
use crate::proto::{Version, v1, v2};
use crate::stats::{Counters, Stats};
use crate::throttle::{Permit, Throttle};
use crate::wire::{AddrType, AddrVec, EntityAddr, EntityName, EntityType, Timespec};
use crate::worker::WorkerHandle;

/// What a messenger was built with; does not change.
pub(crate) struct SharedParts {
    pub(crate) name: EntityName,
    pub(crate) credentials: Credentials,
    pub(crate) authority: Authority,
    /// Changes with each rebind.
    pub(super) nonce: AtomicU32,
    pub(crate) cluster_protocol: u32,
    pub(crate) require_authorizer: bool,
    pub(crate) config: Config,
    pub(crate) default_policy: Policy,
    pub(crate) policies: BTreeMap<EntityType, Policy>,
    pub(crate) registry: Registry,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) injector: Injector,
}

type Sessions = HashMap<AddrVec, Weak<Session>>;

pub(crate) struct Shared {
    parts: SharedParts,
    addrs: RwLock<AddrVec>,
    dispatchers: OnceLock<Vec<Arc<dyn Dispatcher>>>,
    pub(crate) queue: DispatchQueue,
    pub(super) watchdog: Watchdog,
    pub(crate) dispatch_bytes: Arc<Throttle>,
    pub(crate) dispatch_messages: Arc<Throttle>,
    /// Sessions that connect, by the peer's addresses. Who holds one keeps it.
    sessions: Mutex<Sessions>,
    loopback: Mutex<Option<Connection>>,
    session_id: AtomicU64,
    /// Counts attempts to connect, in both directions (msgr1 §8).
    global_seq: AtomicU32,
    made: Instant,
    /// Between shutdown and the next start: what is still on its way to a worker is void.
    stopped: AtomicBool,
    pub(crate) accepted: AtomicUsize,
    pub(crate) stats: Counters,
}

impl Deref for Shared {
    type Target = SharedParts;

    fn deref(&self) -> &SharedParts {
        &self.parts
    }
}

impl Shared {
    pub(crate) fn new(parts: SharedParts) -> Self {
        let made = parts.env.now();
        let config = &parts.config;
        let bytes = Throttle::new("dispatch bytes", config.dispatch_throttle_bytes);
        let messages = Throttle::new("dispatch messages", config.dispatch_throttle_messages);
        let queue = DispatchQueue::new(config);
        let watchdog = Watchdog::new(parts.env.now(), config.dispatch_warn_after);
        Self {
            parts,
            addrs: RwLock::default(),
            dispatchers: OnceLock::new(),
            queue,
            watchdog,
            dispatch_bytes: bytes,
            dispatch_messages: messages,
            sessions: Mutex::default(),
            loopback: Mutex::default(),
            session_id: AtomicU64::new(1),
            global_seq: AtomicU32::new(0),
            made,
            stopped: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            stats: Counters::default(),
        }
    }

    /// Nanoseconds since the messenger was made, for atomics.
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.made).as_nanos() as u64
    }

    /// The calendar time, as it goes over the wire.
    pub(crate) fn stamp(&self) -> Timespec {
        let since = self.env.wall().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().into()
    }

    /// What tells this instance from others at the same address.
    pub(crate) fn nonce(&self) -> u32 {
        self.nonce.load(Ordering::Relaxed)
    }

    pub(super) fn change_nonce(&self, by: u32) {
        self.nonce.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn next_session_id(&self) -> u64 {
        self.session_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A number greater than all before it and than `above` (msgr1 §8).
    pub(crate) fn next_global_seq(&self, above: u32) -> u32 {
        let next = |seq: u32| seq.max(above).wrapping_add(1);
        let before = self
            .global_seq
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seq| Some(next(seq)));
        next(before.unwrap_or_default())
    }

    pub(crate) fn policy(&self, peer_type: EntityType) -> &Policy {
        self.policies
            .get(&peer_type)
            .unwrap_or(&self.default_policy)
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            dispatch_bytes: self.dispatch_bytes.current(),
            dispatch_messages: self.dispatch_messages.current(),
            dispatch_queue: self.queue.len(),
            discarded: self.queue.discarded(),
            connections: self.accepted.load(Ordering::Relaxed),
            ..self.stats.read()
        }
    }

    // Addresses.

    pub(crate) fn addrs(&self) -> AddrVec {
        self.addrs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn announce(&self, own: &AddrVec) {
        *self.addrs.write().unwrap_or_else(PoisonError::into_inner) = own.clone();
    }

    /// A peer has said under which address it sees this side. The first one counts, unless an
    /// address with an ip was bound (session §3).
    pub(crate) fn learn_addr(&self, seen: EntityAddr) {
        self.injector.delay_learning();
        let mut addrs = self.addrs.write().unwrap_or_else(PoisonError::into_inner);
        if addrs.0.is_empty() {
            let learned = EntityAddr {
                kind: AddrType::Any,
                nonce: self.nonce(),
                ..seen
            };
            tracing::debug!(addr = %learned, "learned the own address");
            addrs.0.push(learned);
            return;
        }
        let Some(sock) = seen.sock else { return };
        for addr in &mut addrs.0 {
            if let Some(own) = &mut addr.sock
                && own.ip().is_unspecified()
                && own.is_ipv4() == sock.is_ipv4()
            {
                own.set_ip(sock.ip());
            }
        }
    }

    /// The ip that connections to this address are to come from, if that is not the system's
    /// choice (`ms_bind_before_connect`).
    pub(crate) fn source_ip(&self, target: SocketAddr) -> Option<IpAddr> {
        if !self.config.bind_before_connect {
            return None;
        }
        let own = self.addrs().front().sock?.ip();
        (!own.is_unspecified() && own.is_ipv4() == target.is_ipv4()).then_some(own)
    }

    // Handshakes.

    pub(crate) fn connector_v1(
        &self,
        session: &Session,
        numbers: &Numbers,
        authorizer: Option<(u32, Bytes)>,
    ) -> v1::ConnectorParams {
        let addr = EntityAddr {
            kind: AddrType::Legacy,
            nonce: self.nonce(),
            ..self.addrs().as_legacy_addr()
        };
        v1::ConnectorParams {
            name: self.name,
            addr,
            peer_addr: session.peer_addr,
            features: session.policy.features_supported,
            required: session.policy.features_required,
            protocol_version: self.protocol_version(session.peer_type, session.peer_type),
            authorizer,
            lossy: session.policy.lossy,
            global_seq: self.next_global_seq(0),
            // Wraps, as v1 has it.
            connect_seq: numbers.connect_seq as u32,
            in_seq: numbers.in_seq,
        }
    }

    /// For an attempt to connect by v2: another number for each, and a name for a session that has
    /// none yet (msgr2 §9.1).
    pub(crate) fn connector_v2(
        &self,
        session: &Session,
        numbers: &mut Numbers,
    ) -> v2::ConnectorParams {
        let policy = &session.policy;
        let mut addrs = self.addrs();
        if addrs.0.is_empty() {
            addrs.0.push(EntityAddr {
                kind: AddrType::Any,
                nonce: self.nonce(),
                sock: None,
            });
        }
        if numbers.client_cookie == 0 && !policy.lossy {
            numbers.client_cookie = self.cookie();
        }
        let resume = numbers.standing.filter(|_| numbers.server_cookie != 0);
        let resume = resume.map(|standing| {
            numbers.connect_seq = numbers.connect_seq.saturating_add(1);
            v2::Resume {
                server_cookie: numbers.server_cookie,
                connect_seq: numbers.connect_seq,
                in_seq: numbers.in_seq,
                standing,
            }
        });
        v2::ConnectorParams {
            banner: v2::Banner::ours(),
            name: self.name,
            addrs,
            peer_addr: session.peer_addr,
            peer_type: session.peer_type,
            features: policy.features_supported,
            required: policy.features_required,
            lossy: policy.lossy,
            global_seq: self.next_global_seq(0).into(),
            client_cookie: numbers.client_cookie,
            resume,
            checksums: self.config.checksums,
            compression: self.config.compression.clone(),
        }
    }

    /// For a peer that has connected to `local` and comes from `seen`; `at` is this end's address.
    pub(crate) fn acceptor(
        &self,
        local: EntityAddr,
        seen: SocketAddr,
        at: Option<SocketAddr>,
    ) -> Handshake {
        if local.kind != AddrType::Msgr2 {
            return Handshake::accept_v1(v1::AcceptorParams {
                addr: local,
                peer_seen: seen,
            });
        }
        Handshake::accept_v2(v2::AcceptorParams {
            banner: v2::Banner::ours(),
            entity: self.name.kind,
            addrs: self.addrs_at(at),
            peer_seen: seen,
            checksums: self.config.checksums,
            compression: self.config.compression.clone(),
        })
    }

    /// The own addresses as a peer knows them that is connected to this end: a v2 peer insists on
    /// the very address that it has dialled, which a blank ip is not.
    pub(crate) fn addrs_at(&self, at: Option<SocketAddr>) -> AddrVec {
        let mut own = self.addrs();
        let Some(at) = at else { return own };
        for sock in own.0.iter_mut().filter_map(|addr| addr.sock.as_mut()) {
            if sock.ip().is_unspecified() && sock.is_ipv4() == at.is_ipv4() {
                sock.set_ip(at.ip());
            }
        }
        own
    }

    /// Half of the name of a session, which is never 0.
    pub(crate) fn cookie(&self) -> u64 {
        let mut bytes = [0; 8];
        self.env.fill(&mut bytes);
        u64::from_le_bytes(bytes).max(1)
    }

    /// Has a method take a step, which may look at the calendar and draw random numbers.
    pub(crate) fn with_auth<R>(&self, step: impl FnOnce(&mut AuthCx<'_>) -> R) -> R {
        step(&mut AuthCx {
            now: self.stamp(),
            random: &mut |out| self.env.fill(out),
        })
    }

    pub(crate) fn terms(&self, peer_type: EntityType, policy: &Policy) -> Terms {
        Terms {
            protocol_version: self.protocol_version(peer_type, self.name.kind),
            supported: policy.features_supported,
            required: policy.features_required,
            require_authorizer: self.require_authorizer,
            monitor: self.name.kind == EntityType::MON,
        }
    }

    fn protocol_version(&self, peer: EntityType, acceptor: EntityType) -> u32 {
        if peer == self.name.kind {
            return self.cluster_protocol;
        }
        let connector = if acceptor == peer {
            self.name.kind
        } else {
            peer
        };
        v1::protocol_version(connector, acceptor, self.cluster_protocol)
    }

    // Sessions.

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that is registered under a peer's addresses.
    pub(crate) fn lookup(&self, addrs: &AddrVec) -> Option<Arc<Session>> {
        let known = self.sessions().get(addrs).and_then(Weak::upgrade);
        known.filter(|session| !session.is_closed())
    }

    /// Whether the peer's v1 attempt survives a race of two: its legacy address sorts before the own
    /// one (encoding §6.5, msgr1 §11).
    pub(crate) fn goes_first(&self, peer: &EntityAddr) -> bool {
        let own = self.addrs().as_legacy_addr();
        *peer
            < EntityAddr {
                kind: AddrType::Legacy,
                nonce: self.nonce(),
                ..own
            }
    }

    /// The session with a peer that there is, or a new one.
    pub(crate) fn session(
        &self,
        addrs: &AddrVec,
        make: impl FnOnce() -> Arc<Session>,
    ) -> Arc<Session> {
        let mut sessions = self.sessions();
        let known = sessions.get(addrs).and_then(Weak::upgrade);
        if let Some(session) = known.filter(|session| !session.is_closed()) {
            return session;
        }
        let session = make();
        sessions.insert(addrs.clone(), Arc::downgrade(&session));
        session
    }

    /// Makes a session of a peer that connected known. False if there is another one.
    pub(crate) fn register(&self, session: &Arc<Session>) -> bool {
        let mut sessions = self.sessions();
        let key = &session.peer_addrs;
        let known = sessions.get(key).and_then(Weak::upgrade);
        let free = known.is_none_or(|known| known.is_closed());
        if free {
            sessions.insert(key.clone(), Arc::downgrade(session));
        }
        free
    }

    /// Takes a closed session out of the table.
    pub(crate) fn forget(&self, session: &Arc<Session>) {
        let key = &session.peer_addrs;
        let mut sessions = self.sessions();
        if sessions
            .get(key)
            .is_some_and(|known| known.as_ptr() == Arc::as_ptr(session))
        {
            sessions.remove(key);
        }
    }

    // Life.

    pub(crate) fn has_dispatchers(&self) -> bool {
        self.dispatchers.get().is_some()
    }

    fn dispatchers(&self) -> &[Arc<dyn Dispatcher>] {
        self.dispatchers.get().map_or(&[], Vec::as_slice)
    }

    /// Takes the dispatchers, of the first start only, and opens the loop-back connection.
    pub(crate) fn start(
        self: &Arc<Self>,
        dispatchers: Vec<Arc<dyn Dispatcher>>,
        home: &WorkerHandle,
    ) {
        self.dispatchers.get_or_init(|| dispatchers);
        self.stopped.store(false, Ordering::SeqCst);
        self.queue.restart();
        let own = self.addrs();
        let who = Party {
            kind: self.name.kind,
            addr: own.front(),
            addrs: own,
            version: Version::V1,
        };
        let policy = self.policy(self.name.kind).clone();
        let session = Session::new(self, who, policy, home.clone(), true);
        *self.loopback_slot() = Some(Connection(session));
    }

    /// Closes the loop-back connection; the workers close the others.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(connection) = self.loopback_slot().take() {
            connection.0.close();
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn loopback_slot(&self) -> MutexGuard<'_, Option<Connection>> {
        self.loopback.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn loopback(&self) -> Option<Connection> {
        self.loopback_slot().clone()
    }

    /// The loop-back connection, if these are addresses of this messenger (session §7).
    pub(crate) fn own(&self, addrs: &AddrVec) -> Option<Connection> {
        let own = self.addrs();
        let is_own = !own.0.is_empty()
            && (own == *addrs || (addrs.0.len() == 1 && own.0.contains(&addrs.0[0])));
        is_own.then(|| self.loopback()).flatten()
    }

    // Dispatch.

    /// Shows a received message to all dispatchers, then gives it to a fast one, or with its permits
    /// to the dispatch queue.
    pub(crate) fn deliver(
        &self,
        connection: &Connection,
        message: Message,
        permits: &mut [Option<Permit>; 2],
    ) -> Result<(), Error> {
        self.registry.admit(&message).map_err(Error::undecodable)?;
        // Lent to the guard, as moving it in and out again costs more than the rest.
        let mut waiting = Some(message);
        let delivered = guarded(|| {
            let Some(message) = &waiting else { return };
            for dispatcher in self.dispatchers() {
                dispatcher.fast_preprocess(connection, message);
            }
            let head = message.head();
            let mut dispatchers = self.dispatchers().iter();
            if let Some(dispatcher) = dispatchers.find(|d| d.can_fast_dispatch(head))
                && let Some(message) = waiting.take()
            {
                dispatcher.fast_dispatch(connection, message);
            }
        });
        delivered.map_err(|_| self.panicked())?;
        if let Some(message) = waiting {
            self.queue.push(Item::Message {
                connection: connection.clone(),
                message,
                permits: std::mem::take(permits),
            });
        }
        Ok(())
    }

    /// Normal dispatch: asks each dispatcher until one takes the message.
    pub(super) fn dispatch(&self, connection: &Connection, message: Message) {
        let ask_all = |mut message| {
            for dispatcher in self.dispatchers() {
                match dispatcher.dispatch(connection, message) {
                    Handled::Yes => return None,
                    Handled::No(back) => message = back,
                }
            }
            Some(message)
        };
        let kind = message.kind();
        match self.watched(connection, Some(kind), || guarded(|| ask_all(message))) {
            Ok(None) => {}
            Ok(Some(message)) => {
                self.stats.unhandled.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%message, ?connection, "no dispatcher took a message");
            }
            Err(_) => {
                let error = self.panicked().at(connection.peer_addr(), None);
                tracing::error!(%error, ?connection, "marked down");
                connection.reset(error);
            }
        }
    }

    /// A handshake is done: tells before any message of the connection is dispatched.
    pub(crate) fn ready(&self, connection: &Connection, ready: Ready) -> Result<(), Error> {
        let counter = match ready {
            Ready::Connected => &self.stats.connected,
            Ready::Accepted => &self.stats.accepted,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.queue_event(connection, ConnectionEvent::Ready(ready));
        let told = guarded(|| {
            self.dispatchers()
                .iter()
                .for_each(|d| d.fast_event(connection, ready))
        });
        told.map_err(|_| self.panicked())
    }

    pub(crate) fn queue_event(&self, connection: &Connection, event: ConnectionEvent) {
        self.queue.push(Item::Event {
            _counts: connection.0.place().clone(),
            connection: connection.clone(),
            event,
        });
    }

    pub(super) fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        self.injector.delay_event();
        self.watched(connection, None, || {
            for dispatcher in self.dispatchers() {
                if guarded(|| dispatcher.event(connection, event)).is_err() {
                    let error = self.panicked();
                    tracing::error!(%error, ?connection, ?event, "while an event was handled");
                }
            }
        });
    }

    /// Makes the call of an alarm.
    pub(crate) fn ring(&self, call: impl FnOnce()) {
        if guarded(call).is_err() {
            let error = self.panicked();
            tracing::error!(%error, "in a call that was set for this time");
        }
    }

    pub(crate) fn accept_failed(&self, error: &Error) {
        self.stats.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%error, "a handshake failed");
        for dispatcher in self.dispatchers() {
            if guarded(|| dispatcher.accept_failed(error)).is_err() {
                let error = self.panicked();
                tracing::error!(%error, "while a failed handshake was reported");
            }
        }
    }

    fn panicked(&self) -> Error {
        self.stats.panics.fetch_add(1, Ordering::Relaxed);
        Error::text(ErrorKind::Panicked, "a dispatcher panicked")
    }
}
