//! Connections: what users hold of a session with a peer.

mod codec;
mod handshake;
mod link;
mod outbox;
mod queue;
mod session;
mod staging;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use crate::auth::Authenticated;
use crate::error::{Error, SendError};
use crate::message::Message;
use crate::messenger::ConnectionEvent;
use crate::wire::{AddrVec, EntityAddr, EntityType};
use crate::worker::Cmd;

pub(crate) use handshake::{Claim, Handshake, Numbers, Opened, Verdict};
pub(crate) use link::{Cx, Link, Outcome};
pub(crate) use outbox::Flushed;
use queue::Control;
pub(crate) use session::{Party, Session};
pub(crate) use staging::Staging;

/// A session with a peer. Cheap to clone; all clones are the same connection.
///
/// Dropping the last clone does not end the session: [`mark_down`](Self::mark_down) does, or the
/// messenger's shutdown.
#[derive(Clone)]
pub struct Connection(pub(crate) Arc<Session>);

impl Connection {
    /// Queues a message for the peer, in the order of sending within its priority. Never blocks.
    ///
    /// What is sent before the handshake is done waits for it. If the connection is idle, this
    /// thread encodes and writes the message itself (see [`Config::inline_send`]); on the
    /// connection's own worker, in a fast dispatcher for example, writing is put off to the end of
    /// the turn, so that replies share one system call.
    ///
    /// [`Config::inline_send`]: crate::Config
    ///
    /// # Errors
    /// The message comes back if the send queue is full, the connection is closed, or the message
    /// exceeds the limits.
    pub fn send(&self, message: Message) -> Result<(), SendError> {
        self.0.send(message)
    }

    /// Sends a sign of life, which the peer answers ([`last_keepalive_ack`]).
    ///
    /// [`last_keepalive_ack`]: Self::last_keepalive_ack
    pub fn send_keepalive(&self) {
        self.0.send_control(Control::Keepalive);
    }

    pub(crate) fn answer_keepalive(&self, stamp: crate::wire::Timespec) {
        self.0.send_control(Control::KeepaliveAck(stamp));
    }

    /// When the newest keepalive that the peer has answered was sent.
    #[must_use]
    pub fn last_keepalive_ack(&self) -> Option<SystemTime> {
        self.0.last_keepalive_ack()
    }

    /// Queues a message as soon as the send queue has room for it.
    ///
    /// The future runs on any executor; dropping it gives the message up. Futures that wait at the
    /// same time are not served in a fixed order.
    pub fn send_wait(&self, message: Message) -> SendFuture {
        SendFuture {
            connection: self.clone(),
            message: Some(message),
        }
    }

    /// When the last keepalive of the peer was sent, by the peer's clock; `None` before the first.
    #[must_use]
    pub fn last_keepalive(&self) -> Option<SystemTime> {
        self.0.last_keepalive()
    }

    /// How long a full throttle has kept this connection from being read, if one does now.
    #[must_use]
    pub fn throttled_for(&self) -> Option<Duration> {
        self.0.throttled_for()
    }

    /// Lets the connection end with its next error, whatever its policy says.
    pub fn mark_disposable(&self) {
        self.0.mark_disposable();
    }

    /// Ends the connection at once. What was not sent is dropped, as is what waits for the dispatch
    /// thread, and no event follows; the peer sees the end of the stream.
    pub fn mark_down(&self) {
        if self.0.close().is_some() {
            self.0.shared.queue.discard(self);
            self.0.shared.forget(&self.0);
            self.0.home.post(Cmd::MarkDown(Arc::clone(&self.0)));
        }
    }

    /// Ends the connection for a reason that the dispatchers learn.
    pub(crate) fn reset(&self, error: Error) {
        if let Some(unsent) = self.0.close() {
            self.0.shared.queue.discard(self);
            self.0.shared.forget(&self.0);
            self.0
                .shared
                .queue_event(self, ConnectionEvent::Reset { error, unsent });
            self.0.home.post(Cmd::MarkDown(Arc::clone(&self.0)));
        }
    }

    /// Whether the handshake is done and the link stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    /// Whether the connection has ended for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Whether it leads to the messenger itself.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.0.loopback
    }

    /// The number of messages that wait to be sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.0.queued()
    }

    /// The number of messages that were written and that the peer has not acknowledged; those that
    /// wait to be written again are among them. Always 0 if the connection is lossy.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.0.unacked()
    }

    /// What the peer is.
    #[must_use]
    pub fn peer_type(&self) -> EntityType {
        self.0.peer_type
    }

    /// Where the peer is, as it announces itself.
    #[must_use]
    pub fn peer_addr(&self) -> EntityAddr {
        self.0.peer_addr
    }

    /// All addresses of the peer, as far as they are known: with v1 it is one.
    #[must_use]
    pub fn peer_addrs(&self) -> AddrVec {
        self.0.peer_addrs.clone()
    }

    /// Who has connected, and what it may do: on the accepting side the peer, on the connecting one
    /// this side. `None` before the first handshake is done. What it says of a peer is worth as
    /// much as the method by which the peer was let in ([`Authority`](crate::Authority)).
    #[must_use]
    pub fn authenticated(&self) -> Option<Arc<Authenticated>> {
        self.0.authenticated()
    }

    /// The features that both sides have; 0 before the handshake is done, so that a typed payload
    /// which is encoded for them before that is encoded in its oldest form.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.0.features()
    }

    /// A number that tells the connections of one messenger apart, from 1.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }
}

/// A message on its way into a send queue; see [`Connection::send_wait`].
#[must_use = "a future does nothing until it is polled"]
#[derive(Debug)]
pub struct SendFuture {
    connection: Connection,
    /// Until it is queued.
    message: Option<Message>,
}

impl Future for SendFuture {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(message) = self.message.take() else {
            return Poll::Ready(Ok(()));
        };
        match self.connection.0.send_or_wait(message, cx.waker()) {
            Err(SendError::Full(message)) => {
                self.message = Some(message);
                Poll::Pending
            }
            done => Poll::Ready(done),
        }
    }
}

/// Connections are equal if they are the same session.
impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Connection {}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Connection({} {} {})",
            self.0.id, self.0.peer_type, self.0.peer_addr
        )
    }
}
