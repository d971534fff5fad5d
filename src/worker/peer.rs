//! What a worker knows of one peer: its session, its link, and the numbers in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_driver::Token;

use super::{Cmd, deregister};
use crate::connection::{Connection, Link, Numbers, Session};
use crate::error::Error;
use crate::event::{EventCenter, TimerId};
use crate::messenger::{ConnectionEvent, Shared};
use crate::proto::{Existing, Phase, Stage, Version, v2};
use crate::wire::{EntityAddr, features};

/// A session at home here, or a link that has not got one yet.
pub(super) struct Peer {
    pub(super) shared: Arc<Shared>,
    pub(super) addr: EntityAddr,
    pub(super) connection: Option<Connection>,
    pub(super) link: Option<Link>,
    /// While there is no link; else the link has them.
    pub(super) numbers: Numbers,
    /// The session has been open.
    pub(super) was_ready: bool,
    /// An attempt of the peer is taking the session over.
    pub(super) replacing: bool,
    /// The peer has lost its session: the next handshake starts the numbers over.
    pub(super) peer_reset: bool,
    /// Of the handshake while there is a link, of the next attempt while there is none.
    pub(super) timer: Option<TimerId>,
    /// When the timer of an open link fires.
    pub(super) wakes_at: Instant,
    pub(super) backoff: Duration,
}

impl Peer {
    pub(super) fn new(
        shared: &Arc<Shared>,
        addr: EntityAddr,
        connection: Option<Connection>,
    ) -> Self {
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
    pub(super) fn watch(&mut self, center: &mut EventCenter<Cmd>, slot: Token) {
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
    pub(super) fn hang_up(&mut self, center: &mut EventCenter<Cmd>) {
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
    pub(super) fn is_stillborn(&self, session: &Session) -> bool {
        let state = self.link.as_ref().map(Link::state);
        let accepting = state.is_some_and(Phase::is_undecided);
        accepting && !self.was_ready && !self.replacing && session.queued() == 0
    }

    /// Delivers the message that a timer of the delay line lets go.
    pub(super) fn release(&mut self, timer: TimerId) -> Result<(), Error> {
        let line = self.link.as_mut().and_then(|link| link.delayed.as_mut());
        let held = line.and_then(|line| line.release(timer));
        match (held, &self.connection) {
            // Whoever has marked it down hears no more of it.
            (Some((message, mut permits)), Some(connection)) if !connection.is_closed() => {
                self.shared.deliver(connection, message, &mut permits)
            }
            _ => Ok(()),
        }
    }

    /// Delivers all messages of the delay line, unless the connection was closed on this side.
    pub(super) fn flush_delayed(&mut self, center: &mut EventCenter<Cmd>) {
        let line = self.link.as_mut().and_then(|link| link.delayed.as_mut());
        let held = line.map(|line| line.flush(center)).unwrap_or_default();
        let Some(connection) = &self.connection else {
            return;
        };
        for (message, mut permits) in held {
            if connection.is_closed() {
                return;
            }
            if let Err(error) = self.shared.deliver(connection, message, &mut permits) {
                tracing::debug!(%error, "a late message of a link that is gone");
            }
        }
    }

    pub(super) fn discard_delayed(&mut self, center: &mut EventCenter<Cmd>) {
        if let Some(line) = self.link.as_mut().and_then(|link| link.delayed.as_mut()) {
            drop(line.flush(center));
        }
    }

    /// The numbers, wherever they are.
    pub(super) fn numbers_mut(&mut self) -> &mut Numbers {
        match &mut self.link {
            Some(link) => &mut link.numbers,
            None => &mut self.numbers,
        }
    }

    /// The session starts over (msgr1 §17): what was on its way is void, and the owner is told.
    pub(super) fn reset_session(&mut self) {
        let Some(connection) = self.connection.clone() else {
            return;
        };
        let is_v1 = connection.0.version == Version::V1;
        let numbers = self.numbers_mut();
        // With v2 the peer may have begun to count anew (msgr2 §9.4).
        let peer_global_seq = if is_v1 { numbers.peer_global_seq } else { 0 };
        *numbers = Numbers {
            peer_global_seq,
            ..Numbers::default()
        };
        if !std::mem::take(&mut self.was_ready) {
            // A handshake of two attempts that met may break when one side counts it already. Then
            // there is a difference, but nothing was sent, and nothing is lost.
            return;
        }
        // A random start, as signed sessions have it, so that old messages do not fit anywhere.
        let signed = is_v1 && features::has(connection.0.features(), features::MSG_AUTH);
        let random = self.shared.env.random() & 0x7fff_ffff;
        let unsent = connection.0.reset(if signed { random } else { 0 });
        self.shared.queue.discard(&connection);
        self.shared
            .queue_event(&connection, ConnectionEvent::RemoteReset { unsent });
    }

    /// The session as the rules of v1 see it, for an attempt of the peer.
    pub(super) fn existing_v1(&self) -> Option<Existing> {
        let connection = self.connection.as_ref()?;
        let numbers = self.numbers();
        Some(Existing {
            stage: self.stage(),
            lossy: connection.0.is_lossy(),
            server: connection.0.policy.server,
            connect_seq: numbers.connect_seq as u32,
            peer_global_seq: numbers.peer_global_seq as u32,
        })
    }

    /// The same for those of v2.
    pub(super) fn existing_v2(&self) -> Option<v2::Existing> {
        let connection = self.connection.as_ref()?;
        let numbers = self.numbers();
        let stage = match self.stage() {
            Stage::Open => v2::Stage::Open,
            Stage::Standby => v2::Stage::Standby,
            Stage::Attempting => v2::Stage::Attempting,
            Stage::Replacing => v2::Stage::Replacing,
        };
        Some(v2::Existing {
            stage,
            lossy: connection.0.is_lossy(),
            server: connection.0.policy.server,
            client_cookie: numbers.client_cookie,
            server_cookie: numbers.server_cookie,
            connect_seq: numbers.connect_seq,
            peer_global_seq: numbers.peer_global_seq,
        })
    }

    fn stage(&self) -> Stage {
        match &self.link {
            _ if self.replacing => Stage::Replacing,
            Some(link) if link.is_open() => Stage::Open,
            None if self.timer.is_none() => Stage::Standby,
            _ => Stage::Attempting,
        }
    }

    /// The numbers, wherever they are.
    pub(super) fn numbers(&self) -> Numbers {
        self.link.as_ref().map_or(self.numbers, |link| link.numbers)
    }

    pub(super) fn report_end(&self, error: &Error) {
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
    pub(super) fn report_reset(&self, connection: &Connection, error: Error) {
        tracing::debug!(%error, "reset");
        connection.reset(error);
    }
}
