//! Links: connecting, reading, writing, and what becomes of them when they break (msgr1 §19).

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use event_driver::{Interest, Readiness, Token};

use super::peer::Peer;
use super::{Cmd, Entry, WorkerState, shut_down};
use crate::connection::{Connection, Cx, Flushed, Link, Outcome, Session};
use crate::error::{Error, ErrorKind};
use crate::event::EventCenter;
use crate::messenger::{ConnectionEvent, Ready};
use crate::proto::v1::State;
use crate::proto::v2::State as State2;
use crate::proto::{Phase, Version};
use crate::throttle::Permit;

/// Readiness of a source whose peer has hung up: to be read to the end.
const HUNG_UP: Readiness = Readiness::READ.with(Readiness::HUP);

impl WorkerState {
    pub(super) fn adopt_session(&mut self, center: &mut EventCenter<Cmd>, session: Arc<Session>) {
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
    pub(super) fn connect(&mut self, center: &mut EventCenter<Cmd>, slot: Token) {
        if let Err(error) = self.try_connect(center, slot) {
            self.connect_failed(center, slot, error);
        }
    }

    pub(super) fn try_connect(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
    ) -> Result<(), Error> {
        let stack = Arc::clone(&self.stack);
        let Some(peer) = self.peer(slot) else {
            return Ok(());
        };
        let unreachable = |e: io::Error| Error::io(ErrorKind::Unreachable, e);
        let target = peer
            .addr
            .sock
            .ok_or_else(|| Error::misuse("the peer's address is blank"))?;
        let from = peer.shared.source_ip(target);
        let stream = stack
            .connect(target, from, &peer.shared.config.socket)
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
    pub(super) fn connect_failed(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        error: Error,
    ) {
        let Some(peer) = self.peer(slot) else { return };
        peer.hang_up(center);
        self.back_off(center, slot, None);
        let Some(peer) = self.peer(slot) else { return };
        let error = error.at(peer.addr, Some(State::StartConnect.into()));
        tracing::debug!(%error, retry_in = ?peer.backoff, "cannot connect");
        if let Some(connection) = &peer.connection {
            peer.shared
                .queue_event(connection, ConnectionEvent::Refused(error));
        }
    }

    pub(super) fn peer_event(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        ready: Readiness,
    ) -> Result<(), Error> {
        if ready.contains(Readiness::WRITE) {
            self.writable(center, slot)?;
        }
        if ready.contains(Readiness::READ) {
            // After either the end may be behind what is there, and nothing tells of it again.
            let last = ready.contains(Readiness::HUP) || ready.contains(Readiness::ERR);
            self.receive(center, slot, last)?;
        }
        Ok(())
    }

    pub(super) fn writable(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
    ) -> Result<(), Error> {
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

    pub(super) fn receive(
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
                Outcome::ResetSession { client_cookie } => {
                    peer.reset_session();
                    peer.numbers_mut().client_cookie = client_cookie;
                }
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

    pub(super) fn flush(&mut self, center: &mut EventCenter<Cmd>, session: &Arc<Session>) {
        if let Some(&slot) = session.slot.get() {
            let result = self.send(center, slot, session);
            self.settle(center, slot, result);
        }
    }

    /// Sends what a session has queued; the gate is in the worker's hand.
    pub(super) fn send(
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

    pub(super) fn granted(
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

    pub(super) fn settle(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        result: Result<(), Error>,
    ) {
        if let Err(error) = result {
            self.fault(center, slot, error);
        }
    }

    /// An error of a link; its policy decides what follows (msgr1 §19, session §9).
    pub(super) fn fault(&mut self, center: &mut EventCenter<Cmd>, slot: Token, error: Error) {
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
        // What does not fit by then will not fit the next time either (msgr2 §4, §6.3).
        let early = [State2::BannerConnecting, State2::HelloConnecting].map(Phase::V2);
        let never_fits =
            error.kind() == ErrorKind::Incompatible && state.is_some_and(|s| early.contains(&s));
        // Version 2 alone lets a lossy session try again until it has been open (msgr2 §13, rule 2).
        let connecting = state.is_some_and(Phase::is_connecting);
        let lost = session.is_lossy() && !(connecting && session.version == Version::V2);
        if lost || peer.is_stillborn(&session) || never_fits {
            return self.end(center, slot, error);
        }
        let error = error.at(peer.addr, state);
        tracing::debug!(%error, "fault");
        if connecting {
            peer.shared.queue_event(
                &Connection(Arc::clone(&session)),
                ConnectionEvent::Refused(error),
            );
        }
        let in_vain = |link: &Link| link.is_open() && !link.was_of_use;
        let in_vain = peer.link.as_ref().is_some_and(in_vain);
        peer.hang_up(center);
        (peer.replacing, peer.peer_reset) = (false, false);
        let told_to_wait = state.is_some_and(Phase::is_waiting);
        if (session.policy.server || session.policy.standby && !told_to_wait) && session.stand_by()
        {
            return;
        }
        if connecting || told_to_wait {
            let max = peer.shared.config.max_backoff;
            self.back_off(center, slot, told_to_wait.then_some(max));
        } else {
            if session.version == Version::V1 {
                let next = (peer.numbers.connect_seq as u32).wrapping_add(1);
                peer.numbers.connect_seq = next.into();
            }
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
    pub(super) fn end(&mut self, center: &mut EventCenter<Cmd>, slot: Token, error: Error) {
        let Some(peer) = self.peer(slot) else { return };
        let error = error.at(peer.addr, peer.link.as_ref().map(Link::state));
        peer.flush_delayed(center);
        peer.report_end(&error);
        self.remove(center, slot);
    }

    /// Connects later: a little later than the last time, or after the time given.
    pub(super) fn back_off(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        after: Option<Duration>,
    ) {
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
}
