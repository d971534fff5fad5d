//! The accepting side of log-ins and renewals by messages (cephx §8.3, §10.1), for whoever stands
//! in for a monitor.
//!
//! In v1 a client logs in on a connection that let it in unasked; in v2 the handshake has done it,
//! and only renewals come. Any thread may use it. Under its one lock only that of the
//! [`Authority`](crate::Authority) is taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::{AuthError, Authenticated, SessionServer};
use crate::connection::Connection;
use crate::messages::{MAuth, MAuthReply};

/// Who has logged in on which connection; decides by the [`Authority`](crate::Authority) of the
/// messenger that the connection belongs to.
///
/// A dispatcher passes on each MAuth, and says when a connection has ended:
///
/// ```
/// use async_messenger::message::{Message, Payload};
/// use async_messenger::messages::MAuth;
/// use async_messenger::mon::LogIns;
/// use async_messenger::{Connection, ConnectionEvent, Dispatcher, Handled};
///
/// struct Monitor {
///     log_ins: LogIns,
/// }
///
/// impl Dispatcher for Monitor {
///     fn dispatch(&self, from: &Connection, message: Message) -> Handled {
///         if message.kind() != MAuth::KIND && !self.log_ins.is_open(from) {
///             return Handled::Yes; // Not before it has logged in.
///         }
///         match message.decode::<MAuth>() {
///             Ok(auth) => {
///                 let (reply, _who) = self.log_ins.answer(from, &auth);
///                 let _ = from.send(Message::from_payload(&reply, from.features()));
///             }
///             Err(_) => from.mark_down(),
///         }
///         Handled::Yes
///     }
///
///     fn event(&self, of: &Connection, event: &ConnectionEvent) {
///         if let ConnectionEvent::Reset { .. } = event {
///             self.log_ins.forget(of);
///         }
///     }
/// }
/// ```
#[derive(Debug, Default)]
pub struct LogIns {
    /// By the numbers of connections, so at most one for each of them.
    sessions: Mutex<HashMap<u64, SessionServer>>,
}

impl LogIns {
    /// Nobody has logged in yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a step of a log-in, or a renewal. Gives the reply, and who was let in by it: a monitor
    /// then sends its monmap. Refusals are logged, with the reason that the peer is not told.
    pub fn answer(
        &self,
        connection: &Connection,
        auth: &MAuth,
    ) -> (MAuthReply, Option<Authenticated>) {
        let shared = &connection.0.shared;
        let new = || match let_in_by_handshake(connection) {
            Some(who) => shared.authority.session_after(&who),
            None => shared.authority.session(),
        };
        let mut sessions = self.lock();
        let session = sessions.entry(connection.id()).or_insert_with(new);
        let is_renewal = session.is_open();
        let answer = shared.with_auth(|cx| session.handle(cx, auth.protocol, &auth.payload));
        if connection.is_closed() {
            // What tells of its end may have been here already.
            sessions.remove(&connection.id());
        }
        drop(sessions);
        if let Some(why) = &answer.why {
            let phase = if is_renewal { "renewal" } else { "log-in" };
            tracing::info!(peer = %connection.peer_addr(), phase, %why, "not let in");
        } else if is_renewal {
            tracing::debug!(peer = %connection.peer_addr(), "tickets renewed");
        }
        let text = match answer.why {
            // What is taken here is no secret; what was wrong with a proof is one.
            Some(AuthError::Unsupported(what)) => what.into_owned(),
            _ => String::new(),
        };
        let reply = MAuthReply {
            protocol: answer.protocol,
            result: answer.result,
            global_id: answer.global_id,
            payload: answer.payload.into(),
            text,
        };
        (reply, answer.who)
    }

    /// Whether the peer has been let in, by its handshake or by a log-in since. Until then nothing
    /// of it is to be taken but MAuth, and MPing perhaps.
    #[must_use]
    pub fn is_open(&self, connection: &Connection) -> bool {
        match self.lock().get(&connection.id()) {
            Some(session) => session.is_open(),
            None => let_in_by_handshake(connection).is_some(),
        }
    }

    /// The connection has ended, or was marked down.
    pub fn forget(&self, connection: &Connection) {
        self.lock().remove(&connection.id());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, SessionServer>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who showed something in the handshake. To a monitor nobody has to in v1, and then nothing at all
/// is known of who it is; what the peer says of itself is not looked at.
fn let_in_by_handshake(connection: &Connection) -> Option<Arc<Authenticated>> {
    let who = connection.authenticated()?;
    (*who != Authenticated::default()).then_some(who)
}
