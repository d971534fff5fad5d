//! How a monitor is shown who we are, and how tickets are renewed (cephx §8.3, §10.1).
//!
//! In v1 by messages on the open connection; in v2 the handshake has done it, and only renewals
//! are left. What is in the messages is the business of [`auth`](crate::auth).

use std::time::SystemTime;

use super::state::{Cx, Phase, State};
use crate::auth::{
    AuthCx, AuthError, AuthMessage, EACCES, EOPNOTSUPP, Method, Session, SessionEvent,
};
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::messages::{MAuth, MAuthReply};
use crate::wire::{AddrType, EntityType, Timespec};

/// How far an attempt has come.
pub(super) enum LogIn {
    Connecting,
    /// It was told by which methods we can show who we are, or got a proof.
    Proving(Box<Session>),
    /// It is convinced; tickets are on the way.
    Tickets(Box<Session>),
}

impl LogIn {
    /// For texts.
    pub(super) fn doing(&self) -> &'static str {
        match self {
            Self::Connecting => "in the handshake",
            Self::Proving(_) => "in the authentication",
            Self::Tickets(_) => "waiting for tickets",
        }
    }
}

/// Calls with the calendar and random numbers.
fn with_auth<R>(cx: &Cx<'_>, f: impl FnOnce(&mut AuthCx<'_>) -> R) -> R {
    f(&mut AuthCx {
        now: wall(cx),
        random: &mut |out| cx.env.fill(out),
    })
}

fn wall(cx: &Cx<'_>) -> Timespec {
    let since = cx.env.wall().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().into()
}

impl State {
    /// The handshake of the attempt is done.
    pub(super) fn handshake_done(&mut self, cx: &mut Cx<'_>) {
        let Phase::Attempt(attempt) = &mut self.phase else {
            return;
        };
        if !matches!(attempt.login, LogIn::Connecting) {
            return;
        }
        let connection = attempt.connection.clone();
        if connection.peer_addr().kind == AddrType::Msgr2 {
            let auth = self.session_of_handshake(&connection);
            return self.opened(cx, auth);
        }
        let mut session = self.credentials.session();
        match session.begin() {
            Ok(message) => {
                attempt.login = LogIn::Proving(Box::new(session));
                self.send_auth(&connection, message);
            }
            Err(error) => self.log_in_failed(cx, &connection, &error, ""),
        }
    }

    /// Keeps the tickets that the handshake of v2 brought; gives what renews them.
    fn session_of_handshake(&self, connection: &Connection) -> Option<Session> {
        let who = connection.authenticated()?;
        self.credentials.logged_in(&who);
        self.credentials.session_after(&who)
    }

    /// An attempt to connect has failed, perhaps because the handshake of v2 did not convince.
    pub(super) fn refused(&mut self, cx: &mut Cx<'_>, error: Error) {
        if error.kind() == ErrorKind::Denied {
            self.start_over();
        }
        self.give_up(cx, error);
    }

    /// It may be our number that a monitor does not believe: once more, as somebody new.
    fn start_over(&mut self) {
        if self.credentials.tickets().global_id == 0 {
            return;
        }
        self.credentials.forget();
        if let Phase::Attempt(attempt) = &self.phase {
            let monitor = attempt.monitor.clone();
            self.hunt.once_more(monitor);
        }
    }

    fn send_auth(&self, connection: &Connection, message: AuthMessage) {
        let payload = MAuth {
            protocol: message.protocol,
            payload: message.payload.into(),
            monmap_epoch: self.map.as_ref().map_or(0, |map| map.epoch),
            ..MAuth::default()
        };
        let message = Message::from_payload(&payload, connection.features());
        if let Err(error) = connection.send(message) {
            // It has ended, and the event that says why is on its way; or it does not read, and
            // the deadline of the attempt or of the renewal ends it.
            tracing::debug!(%error, "a step of the authentication was not sent");
        }
    }

    /// Takes a reply: a step of a log-in, or of a renewal.
    pub(super) fn handle_auth(&mut self, cx: &mut Cx<'_>, reply: &MAuthReply) {
        let result = (reply.protocol, reply.result);
        let (global_id, payload) = (reply.global_id, &reply.payload[..]);
        let (session, connection) = match &mut self.phase {
            Phase::Attempt(attempt) => match &mut attempt.login {
                LogIn::Proving(session) | LogIn::Tickets(session) => {
                    (&mut **session, attempt.connection.clone())
                }
                LogIn::Connecting => return,
            },
            Phase::Open(open) => match &mut open.auth {
                Some(session) => {
                    open.renewing = None;
                    (session, open.connection.clone())
                }
                // With method none there is nothing to say.
                None => return,
            },
            _ => return,
        };
        let came = with_auth(cx, |auth| {
            session.handle_reply(auth, result, global_id, payload)
        });
        match came {
            Ok(SessionEvent::Send(message)) => self.send_auth(&connection, message),
            Ok(SessionEvent::LoggedIn(who)) => {
                self.credentials.logged_in(&who);
                self.logged_in(cx, &connection);
            }
            Ok(SessionEvent::Tickets(tickets)) => {
                self.credentials.renewed(&tickets);
                let is_auth = tickets.iter().any(|t| t.service == EntityType::AUTH);
                self.renewed(cx, is_auth);
            }
            // Only daemons ask for those, and this client does not.
            Ok(SessionEvent::Secrets(_)) => {}
            Err(error) => self.auth_failed(cx, &connection, &error, &reply.text),
        }
    }

    /// The monitor is convinced. What it did not give tickets for is asked for, once.
    fn logged_in(&mut self, cx: &mut Cx<'_>, connection: &Connection) {
        let Phase::Attempt(attempt) = &mut self.phase else {
            return;
        };
        let login = std::mem::replace(&mut attempt.login, LogIn::Connecting);
        let LogIn::Proving(mut session) = login else {
            return self.opened(cx, None);
        };
        match with_auth(cx, |auth| session.renew(auth)) {
            Ok(Some(message)) => {
                attempt.login = LogIn::Tickets(session);
                self.send_auth(connection, message);
            }
            Ok(None) => self.opened(cx, Some(*session)),
            Err(error) => self.log_in_failed(cx, connection, &error, ""),
        }
    }

    /// Tickets have come.
    fn renewed(&mut self, cx: &mut Cx<'_>, is_auth: bool) {
        match &mut self.phase {
            Phase::Attempt(attempt) => {
                let login = std::mem::replace(&mut attempt.login, LogIn::Connecting);
                if let LogIn::Tickets(session) = login {
                    self.opened(cx, Some(*session));
                }
            }
            // With a new auth ticket, the others can be renewed.
            Phase::Open(open) if is_auth && !open.has_followed => {
                open.has_followed = true;
                self.renew(cx);
            }
            _ => {}
        }
    }

    /// Asks for what is due. One that is missing for good, because the cluster has no such
    /// service, is asked for with every tick.
    pub(super) fn renew(&mut self, cx: &mut Cx<'_>) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        let Some(session) = &mut open.auth else {
            return;
        };
        match with_auth(cx, |auth| session.renew(auth)) {
            Ok(Some(message)) => {
                open.renewing = Some(cx.now);
                let connection = open.connection.clone();
                self.send_auth(&connection, message);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "tickets cannot be renewed"),
        }
    }

    fn auth_failed(
        &mut self,
        cx: &mut Cx<'_>,
        connection: &Connection,
        error: &AuthError,
        text: &str,
    ) {
        let is_refusal = matches!(error, AuthError::Refused { .. });
        match &mut self.phase {
            Phase::Attempt(attempt) if is_refusal => {
                match std::mem::replace(&mut attempt.login, LogIn::Connecting) {
                    // It gives none for what is left. That is enough for a session.
                    LogIn::Tickets(session) => {
                        tracing::warn!(%error, "no tickets for some services");
                        return self.opened(cx, Some(*session));
                    }
                    login => attempt.login = login,
                }
            }
            Phase::Open(_) if is_refusal => {
                tracing::warn!(%error, "the monitor does not renew tickets");
                let tickets = self.credentials.tickets();
                if tickets.valid(EntityType::AUTH, wall(cx)).is_some() {
                    return;
                }
            }
            _ => {}
        }
        self.log_in_failed(cx, connection, error, text);
    }

    /// This monitor does not let us in.
    fn log_in_failed(
        &mut self,
        cx: &mut Cx<'_>,
        connection: &Connection,
        error: &AuthError,
        text: &str,
    ) {
        if matches!(error, AuthError::Refused { result: EACCES, .. }) {
            self.start_over();
        }
        let error = self.explain(connection, error, text);
        self.give_up(cx, error);
    }

    fn explain(&self, connection: &Connection, error: &AuthError, text: &str) -> Error {
        let kind = match error {
            AuthError::Undecodable(_) | AuthError::Misbehaved(_) => ErrorKind::Protocol,
            _ => ErrorKind::Denied,
        };
        let name = self.credentials.name();
        let said = if text.is_empty() {
            String::new()
        } else {
            format!(" ({text:?})")
        };
        let what = match error {
            AuthError::Refused {
                method,
                result: EOPNOTSUPP,
                ..
            } => {
                let offered = self.credentials.offer(EntityType::MON).methods;
                let shown = offered.iter().map(Method::to_string).collect::<Vec<_>>();
                let wants = match *method {
                    Method::CEPHX => "it wants cephx",
                    _ => "it probably wants cephx",
                };
                format!(
                    "the monitor does not take {}{said}, {wants}: give a keyring with a key for \
                     {name}, or let the cluster take that (auth_client_required, \
                     auth_service_required)",
                    shown.join(" or ")
                )
            }
            other => format!("{other}{said}"),
        };
        let text = format!("in the authentication as {name}: {what}");
        Error::text(kind, text).at(connection.peer_addr(), None)
    }
}
