//! Pings: each on a connection of its own, since a monitor answers them without a session.
//!
//! As `state.rs`, this runs under the client's lock and never waits. Invariant: the connection of a
//! ping that has ended, in whichever way, is marked down.

use std::time::{Duration, Instant};

use super::pending::Promise;
use super::requests::{due, failed};
use super::state::{Cx, State};
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};
use crate::message::{Message, Payload};
use crate::messages::MPing;
use crate::wire::{AddrVec, EntityType};

/// One that waits for its answer.
pub(super) struct Ping {
    pub(super) connection: Connection,
    pub(super) until: Instant,
    pub(super) promise: Promise<String>,
}

impl State {
    pub(super) fn ping(
        &mut self,
        cx: &mut Cx<'_>,
        to: &AddrVec,
        within: Duration,
        promise: Promise<String>,
    ) {
        let connection = match cx.messenger.connect_anonymous(EntityType::MON, to) {
            Ok(connection) => connection,
            Err(error) => return cx.due.push(failed(promise, error)),
        };
        let question = Message::from_payload(&MPing::default(), 0);
        if let Err(error) = connection.send(question) {
            // It can only have failed already, and the event that says why is on its way.
            tracing::debug!(%error, "a ping was not sent");
        }
        self.pings.push(Ping {
            connection,
            until: cx.now + within,
            promise,
        });
    }

    /// Questions of all kinds that are open.
    pub(super) fn open_questions(&self) -> usize {
        self.requests.len() + self.pings.len()
    }

    pub(super) fn is_pinged(&self, connection: &Connection) -> bool {
        self.pings.iter().any(|ping| ping.connection == *connection)
    }

    fn take_ping(&mut self, connection: &Connection) -> Option<Ping> {
        let mut pings = self.pings.iter();
        let at = pings.position(|ping| ping.connection == *connection)?;
        connection.mark_down();
        Some(self.pings.swap_remove(at))
    }

    pub(super) fn pinged(&mut self, cx: &mut Cx<'_>, connection: &Connection, message: &Message) {
        if message.kind() != MPing::KIND {
            return;
        }
        let Some(ping) = self.take_ping(connection) else {
            return;
        };
        let text = match message.decode::<MPing>() {
            Ok(MPing { text: Some(text) }) => return cx.due.push(due(ping.promise, text)),
            Ok(_) => "answered the ping without a word: that is no monitor".to_owned(),
            Err(error) => format!("its answer to the ping makes no sense: {error}"),
        };
        let error = Error::text(ErrorKind::Protocol, text).at(connection.peer_addr(), None);
        cx.due.push(failed(ping.promise, error));
    }

    /// A ping's connection has failed. False if it is none.
    pub(super) fn ping_failed(
        &mut self,
        cx: &mut Cx<'_>,
        connection: &Connection,
        error: &Error,
    ) -> bool {
        let ping = self.take_ping(connection);
        let was_ping = ping.is_some();
        cx.due
            .extend(ping.map(|ping| failed(ping.promise, error.clone())));
        was_ping
    }

    pub(super) fn expire_pings(&mut self, cx: &mut Cx<'_>) {
        let late = self.pings.iter().filter(|ping| ping.until <= cx.now);
        let late: Vec<Connection> = late.map(|ping| ping.connection.clone()).collect();
        for connection in late {
            let doing = if connection.is_connected() {
                "waiting for the answer to the ping"
            } else {
                "in the handshake"
            };
            let text = format!("{doing}: the time is up; is it a monitor, and is it well?");
            let error = Error::text(ErrorKind::TimedOut, text);
            let error = error.at(connection.peer_addr(), None);
            self.ping_failed(cx, &connection, &error);
        }
    }
}
