//! The life of a monitor client: hunting, a session, and what goes over it.
//!
//! Runs under the client's lock, on whichever thread has news: the dispatch thread, a worker (the
//! alarm), or a user's. It never waits; time comes with each call. What wakes others is put off to
//! [`Cx::due`], until no lock is held. How one logs in is in `login.rs`.
//!
//! Invariants: there is one session or one attempt at a time; what other connections say does not
//! count; in every state but `Idle` there is a time at which something happens by itself.

use std::time::{Instant, SystemTime};

use super::Settings;
use super::hunt::{Hunt, Next};
use super::login::LogIn;
use super::pings::Ping;
use super::requests::{Due, Requests, failed};
use super::subscriptions::{Subscriptions, osdmap_epoch};
use crate::auth;
use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind, SendError};
use crate::event::Env;
use crate::message::{Message, Payload};
use crate::messages::{
    MAuthReply, MMonCommandAck, MMonGetVersionReply, MMonMap, MMonSubscribeAck, MonMap,
};
use crate::messenger::{Handled, Messenger};
use crate::wire::{AddrType, AddrVec, EntityAddr, EntityType, msgtype};

use super::settings::MONITORS_MAX;

/// What a step may use, and what it leaves to be done after it.
pub(super) struct Cx<'a> {
    pub(super) now: Instant,
    pub(super) env: &'a dyn Env,
    pub(super) messenger: &'a Messenger,
    /// To be run, in order, when no lock is held any more.
    pub(super) due: Vec<Due>,
}

/// All that a client knows.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) credentials: Credentials,
    pub(super) subscriptions: Subscriptions,
    pub(super) requests: Requests,
    pub(super) phase: Phase,
    pub(super) hunt: Hunt,
    pub(super) map: Option<MonMap>,
    monitors: Vec<AddrVec>,
    pub(super) pings: Vec<Ping>,
    /// When the alarm that has been set goes off.
    armed: Option<Instant>,
    /// How many sessions there have been.
    pub(super) sessions: u64,
}

pub(super) enum Phase {
    /// Nobody has asked for anything yet, or the messenger does not run.
    Idle,
    Attempt(Attempt),
    /// All monitors have failed.
    Pause(Instant),
    Open(Open),
}

/// One monitor is asked to let us in.
pub(super) struct Attempt {
    pub(super) connection: Connection,
    pub(super) monitor: AddrVec,
    pub(super) until: Instant,
    pub(super) login: LogIn,
}

/// A session.
pub(super) struct Open {
    pub(super) connection: Connection,
    /// What renews tickets; none with method none.
    pub(super) auth: Option<auth::Session>,
    /// Since when a renewal is under way.
    pub(super) renewing: Option<Instant>,
    /// Whether a renewal has led to another one since the last tick.
    pub(super) has_followed: bool,
    /// When the last keepalive was sent.
    asked: Instant,
    /// The peer was alive at this time, at least.
    alive: Instant,
    /// The stamp by which we know.
    ack: Option<SystemTime>,
}

impl State {
    pub(super) fn new(settings: Settings, credentials: Credentials) -> Self {
        Self {
            monitors: settings.monitors.clone(),
            settings,
            credentials,
            subscriptions: Subscriptions::default(),
            requests: Requests::default(),
            phase: Phase::Idle,
            hunt: Hunt::default(),
            map: None,
            pings: Vec::new(),
            armed: None,
            sessions: 0,
        }
    }

    // Hunting.

    /// Begins to look for a monitor, if nobody has yet.
    pub(super) fn wake(&mut self, cx: &mut Cx<'_>) {
        match self.phase {
            Phase::Idle => self.next_attempt(cx),
            Phase::Open(_) => self.flush(cx),
            _ => {}
        }
    }

    pub(super) fn next_attempt(&mut self, cx: &mut Cx<'_>) {
        if !cx.messenger.is_started() {
            let text = "the messenger of the monitor client is not started, or was shut down";
            let dues = self.stopped(&Error::text(ErrorKind::MarkedDown, text));
            return cx.due.extend(dues);
        }
        loop {
            let random = || cx.env.random();
            match self.hunt.next(&self.monitors, &self.settings, random) {
                Next::Try(monitor, timeout) => {
                    match cx.messenger.connect_anonymous(EntityType::MON, &monitor) {
                        Ok(connection) => {
                            self.phase = Phase::Attempt(Attempt {
                                connection,
                                monitor,
                                until: cx.now + timeout,
                                login: LogIn::Connecting,
                            });
                            return;
                        }
                        Err(error) => self.hunt.failed(error),
                    }
                }
                Next::Pause(pause) => {
                    self.phase = Phase::Pause(cx.now + pause);
                    let rounds = self.settings.rounds;
                    let is_enough = rounds.is_some_and(|rounds| self.hunt.rounds() >= rounds);
                    if let Some(verdict) = self.hunt.verdict() {
                        tracing::warn!(error = %verdict, ?pause, "no session with a monitor");
                        if is_enough || self.hunt.is_denied() {
                            cx.due.extend(self.requests.fail_all(&verdict));
                        }
                    }
                    return;
                }
            }
        }
    }

    /// The attempt, or the session, has come to nothing.
    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>, error: Error) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Attempt(attempt) => attempt.connection.mark_down(),
            Phase::Open(open) => {
                tracing::info!(%error, "the session with the monitor is lost");
                open.connection.mark_down();
                self.requests.unsend();
            }
            before => {
                self.phase = before;
                return;
            }
        }
        self.hunt.failed(error);
        self.next_attempt(cx);
    }

    /// The connection of the attempt or session.
    pub(super) fn connection(&self) -> Option<&Connection> {
        match &self.phase {
            Phase::Attempt(attempt) => Some(&attempt.connection),
            Phase::Open(open) => Some(&open.connection),
            _ => None,
        }
    }

    pub(super) fn is_current(&self, connection: &Connection) -> bool {
        self.connection() == Some(connection)
    }

    // Sessions.

    pub(super) fn opened(&mut self, cx: &mut Cx<'_>, auth: Option<auth::Session>) {
        let Phase::Attempt(attempt) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        let connection = attempt.connection;
        tracing::debug!(monitor = %connection.peer_addr(), "a session with a monitor");
        self.sessions += 1;
        self.hunt.opened();
        connection.send_keepalive();
        self.phase = Phase::Open(Open {
            connection,
            auth,
            renewing: None,
            has_followed: false,
            asked: cx.now,
            alive: cx.now,
            ack: None,
        });
        self.subscribe();
        self.flush(cx);
    }

    /// Tells the monitor all that is subscribed to, which replaces what it knew.
    pub(super) fn subscribe(&mut self) {
        let Phase::Open(open) = &self.phase else {
            return;
        };
        let epoch = self.map.as_ref().map_or(0, |map| map.epoch);
        let question = self.subscriptions.question(epoch, &self.settings.hostname);
        let message = Message::from_payload(&question, open.connection.features());
        if let Err(error) = open.connection.send(message) {
            // A closed one is told by its event. It cannot be full: this is the first message, or
            // the user's own change, which the next tick repeats.
            tracing::debug!(%error, "a subscription was not sent");
        }
    }

    /// Sends what waits for a session, as soon as the cluster is known: monitors refuse commands
    /// that do not name it.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_>) {
        let (Phase::Open(open), Some(map)) = (&self.phase, &self.map) else {
            return;
        };
        let connection = &open.connection;
        cx.due.extend(self.requests.session(connection.peer_addr()));
        for message in self.requests.unsent(connection.features(), map.fsid) {
            let tid = message.tid();
            match connection.send(message) {
                Ok(()) => self.requests.sent(tid),
                Err(SendError::TooLarge(_)) => {
                    let text = "the question is longer than a message may be; ask for less";
                    let error = Error::misuse(text).at(connection.peer_addr(), None);
                    cx.due.extend(self.requests.refuse(tid, error));
                }
                // The next tick, or the next session, tries again.
                Err(_) => return,
            }
        }
    }

    /// Something that happens now and then while there is a session.
    fn tick(&mut self, cx: &mut Cx<'_>) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        let ack = open.connection.last_keepalive_ack();
        if ack != open.ack {
            open.ack = ack;
            // It answers the keepalive before this, or an older one.
            open.alive = open.asked;
            self.hunt.succeeded();
        }
        let silent = cx.now.saturating_duration_since(open.alive);
        let timeout = self.settings.keepalive_timeout;
        let is_stuck = |since: Instant| cx.now.saturating_duration_since(since) >= timeout;
        if silent >= timeout || open.renewing.is_some_and(is_stuck) {
            let text = format!(
                "in a session: the monitor has not answered for {timeout:?} (keepalive_timeout); \
                 another one is tried"
            );
            let error = Error::text(ErrorKind::TimedOut, text);
            let error = error.at(open.connection.peer_addr(), None);
            return self.give_up(cx, error);
        }
        open.asked = cx.now;
        open.has_followed = false;
        open.connection.send_keepalive();
        self.renew(cx);
        self.flush(cx);
    }

    // Time.

    /// Does what has come due.
    pub(super) fn on_alarm(&mut self, cx: &mut Cx<'_>) {
        if self.armed.is_some_and(|at| at <= cx.now) {
            self.armed = None;
        }
        let why = self.why_late();
        cx.due.extend(self.requests.expire(cx.now, why));
        self.expire_pings(cx);
        match &self.phase {
            Phase::Attempt(attempt) if attempt.until <= cx.now => {
                let text = format!(
                    "{}: the monitor did not let us in in time (attempt_timeout)",
                    attempt.login.doing()
                );
                let error = Error::text(ErrorKind::TimedOut, text);
                let error = error.at(attempt.connection.peer_addr(), None);
                self.give_up(cx, error);
            }
            Phase::Pause(until) if *until <= cx.now => self.next_attempt(cx),
            Phase::Open(open) if open.next_tick(&self.settings) <= cx.now => self.tick(cx),
            _ => {}
        }
    }

    /// When to be woken, if no alarm is set for that time or before. The caller sets one.
    pub(super) fn arm(&mut self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Idle => None,
            Phase::Attempt(attempt) => Some(attempt.until),
            Phase::Pause(until) => Some(*until),
            Phase::Open(open) => Some(open.next_tick(&self.settings)),
        };
        let pings = self.pings.iter().map(|ping| ping.until).min();
        let times = [phase, pings, self.requests.first_deadline()];
        let first = times.into_iter().flatten().min()?;
        if self.armed.is_some_and(|at| at <= first) {
            return None;
        }
        self.armed = Some(first);
        Some(first)
    }

    /// The error of a question whose time is up: what was waited for, where it stands, and why.
    fn why_late(&self) -> impl Fn(&str, bool) -> Error + use<> {
        let peer = match &self.phase {
            Phase::Open(open) => Some(open.connection.peer_addr()),
            _ => None,
        };
        let verdict = self.hunt.verdict();
        let doing = match &self.phase {
            Phase::Attempt(attempt) => {
                format!(
                    "{}: {}",
                    attempt.connection.peer_addr(),
                    attempt.login.doing()
                )
            }
            _ => "no monitor lets us in".into(),
        };
        move |what, is_sent| {
            let kind = ErrorKind::TimedOut;
            match (peer, is_sent) {
                (Some(peer), true) => {
                    let text = format!(
                        "waiting for {what}: the time is up; a monitor without quorum does not \
                         answer: see its log, or wait longer"
                    );
                    Error::text(kind, text).at(peer, None)
                }
                (Some(peer), false) => {
                    let text = format!(
                        "waiting for {what}: the time is up; the monitor has not sent its monmap, \
                         or reads nothing"
                    );
                    Error::text(kind, text).at(peer, None)
                }
                (None, _) => {
                    let text = match &verdict {
                        Some(error) => format!("waiting for {what}: the time is up; {error}"),
                        None => format!("waiting for {what}: the time is up; {doing}"),
                    };
                    Error::text(kind, text)
                }
            }
        }
    }

    /// The messenger does not run any more: all that waits learns it.
    pub(super) fn stopped(&mut self, error: &Error) -> Vec<Due> {
        if let Some(connection) = self.connection() {
            connection.mark_down();
        }
        self.phase = Phase::Idle;
        self.armed = None;
        self.hunt = Hunt::default();
        let mut dues = self.requests.fail_all(error);
        for ping in self.pings.drain(..) {
            ping.connection.mark_down();
            dues.push(failed(ping.promise, error.clone()));
        }
        dues
    }

    // Messages.

    /// Takes a message of the session.
    pub(super) fn handle_message(
        &mut self,
        cx: &mut Cx<'_>,
        connection: &Connection,
        message: Message,
    ) -> Handled {
        if self.is_pinged(connection) {
            self.pinged(cx, connection, &message);
            return Handled::Yes;
        }
        if !self.is_current(connection) {
            return Handled::No(message);
        }
        let peer = connection.peer_addr();
        let read = match message.kind() {
            MAuthReply::KIND => message.decode().map(|reply| self.handle_auth(cx, &reply)),
            MMonMap::KIND => {
                let map = message
                    .decode::<MMonMap>()
                    .and_then(|payload| payload.map());
                map.map(|map| {
                    let epoch = u64::from(map.epoch);
                    self.handle_map(cx, peer, map);
                    self.deliver(cx, message, Some(epoch));
                })
            }
            MMonCommandAck::KIND => message.decode().map(|ack| {
                let answered = self.requests.command(message.tid(), ack);
                note_late(&message, answered.is_none());
                cx.due.extend(answered);
            }),
            MMonGetVersionReply::KIND => message.decode().map(|reply| {
                let answered = self.requests.versions(&reply);
                note_late(&message, answered.is_none());
                cx.due.extend(answered);
            }),
            MMonSubscribeAck::KIND => Ok(()),
            kind => {
                let version = if kind == msgtype::OSD_MAP {
                    osdmap_epoch(&message).ok().flatten()
                } else {
                    None
                };
                return self
                    .deliver(cx, message, version)
                    .map_or(Handled::Yes, Handled::No);
            }
        };
        if let Err(error) = read {
            let text = format!("the monitor's answer makes no sense: {error}; check its release");
            self.give_up(cx, Error::text(ErrorKind::Protocol, text).at(peer, None));
        }
        Handled::Yes
    }

    /// Hands news to whoever has subscribed; gives the message back if nobody has.
    fn deliver(
        &mut self,
        cx: &mut Cx<'_>,
        message: Message,
        version: Option<u64>,
    ) -> Option<Message> {
        match self.subscriptions.take(&message, version) {
            Some(deliver) => {
                cx.due.push(Box::new(move || deliver(message)));
                None
            }
            None => Some(message),
        }
    }

    fn handle_map(&mut self, cx: &mut Cx<'_>, peer: EntityAddr, map: MonMap) {
        let known = self.map.as_ref().map(|map| map.fsid);
        if let Some(meant) = self.settings.fsid.or(known)
            && meant != map.fsid
        {
            let text = format!(
                "the monitor is of the cluster {}, not of {meant}; check its address",
                map.fsid
            );
            let error = Error::text(ErrorKind::Incompatible, text).at(peer, None);
            return self.give_up(cx, error);
        }
        cx.due.extend(self.requests.map(&map));
        if self.map.as_ref().is_none_or(|old| old.epoch <= map.epoch) {
            self.monitors = merged(&self.settings.monitors, &map);
            self.map = Some(map);
        }
        self.flush(cx);
    }
}

impl Open {
    fn next_tick(&self, settings: &Settings) -> Instant {
        self.asked + settings.keepalive_interval
    }
}

fn note_late(message: &Message, is_late: bool) {
    if is_late {
        tracing::debug!(%message, "an answer that nobody waits for");
    }
}

/// The monitors that were given, and those of the map that can be spoken to in the same way.
fn merged(given: &[AddrVec], map: &MonMap) -> Vec<AddrVec> {
    let kinds: Vec<AddrType> = given.iter().flat_map(|m| &m.0).map(|a| a.kind).collect();
    let mut all = given.to_vec();
    for mon in &map.mons {
        let usable = mon.addrs.0.iter().filter(|addr| kinds.contains(&addr.kind));
        let usable: Vec<EntityAddr> = usable.copied().collect();
        let is_known = |addr: &EntityAddr| all.iter().any(|known| known.0.contains(addr));
        if !usable.is_empty() && !usable.iter().any(is_known) && all.len() < MONITORS_MAX {
            all.push(AddrVec(usable));
        }
    }
    all
}
