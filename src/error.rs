//! What can go wrong, and where.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::message::{Message, Undecodable};
use crate::proto::{Phase, ProtoError};
use crate::wire::EntityAddr;

/// An error of a messenger or a connection: which peer, in which phase, and what.
///
/// One pointer wide, cheap to clone.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    peer: Option<EntityAddr>,
    phase: Option<Phase>,
    cause: Cause,
}

#[derive(Clone, Debug)]
enum Cause {
    Protocol(ProtoError),
    Undecodable(Undecodable),
    Io(Arc<io::Error>),
    Text(String),
}

/// The sort of an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller used the library in a way that cannot work.
    Misuse,
    /// An address could not be bound.
    Bind,
    /// The transport could not connect.
    Unreachable,
    /// A handshake did not end in time.
    TimedOut,
    /// The peer closed the connection, or the transport failed.
    Disconnected,
    /// The peer broke the protocol, damaged data or exceeded a limit.
    Protocol,
    /// The two sides have no common ground: version, features.
    Incompatible,
    /// Authentication failed.
    Denied,
    /// The local side closed the connection.
    MarkedDown,
    /// A dispatcher panicked while it handled a message of the connection.
    Panicked,
    /// The operating system refused something: a thread, a descriptor.
    System,
}

impl Error {
    pub(crate) fn misuse(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Misuse, Cause::Text(text.into()))
    }

    pub(crate) fn text(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self::new(kind, Cause::Text(text.into()))
    }

    pub(crate) fn io(kind: ErrorKind, error: io::Error) -> Self {
        Self::new(kind, Cause::Io(Arc::new(error)))
    }

    pub(crate) fn undecodable(error: Undecodable) -> Self {
        Self::new(ErrorKind::Protocol, Cause::Undecodable(error))
    }

    pub(crate) fn proto(error: ProtoError) -> Self {
        let kind = match error {
            ProtoError::PeerIncompatible(_) => ErrorKind::Incompatible,
            ProtoError::AuthDenied(_) => ErrorKind::Denied,
            _ => ErrorKind::Protocol,
        };
        Self::new(kind, Cause::Protocol(error))
    }

    fn new(kind: ErrorKind, cause: Cause) -> Self {
        Self(Arc::new(Inner {
            kind,
            peer: None,
            phase: None,
            cause,
        }))
    }

    /// Says whom it concerns, and when it happened.
    pub(crate) fn at(self, peer: EntityAddr, phase: Option<Phase>) -> Self {
        let inner = Arc::unwrap_or_clone(self.0);
        Self(Arc::new(Inner {
            peer: Some(peer),
            phase,
            ..inner
        }))
    }

    /// The sort of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The peer's address, if it concerns one.
    #[must_use]
    pub fn peer(&self) -> Option<EntityAddr> {
        self.0.peer
    }

    /// The state of the protocol in which it happened.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// The protocol violation, if it was one.
    #[must_use]
    pub fn protocol(&self) -> Option<&ProtoError> {
        match &self.0.cause {
            Cause::Protocol(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the same attempt may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        use ErrorKind::{Disconnected, TimedOut, Unreachable};
        matches!(self.kind(), Unreachable | TimedOut | Disconnected)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.kind == ErrorKind::Bind {
            f.write_str("cannot bind ")?;
        }
        if let Some(peer) = &self.0.peer {
            write!(f, "{peer}: ")?;
        }
        if let Some(phase) = self.0.phase {
            write!(f, "in {phase}: ")?;
        }
        match &self.0.cause {
            Cause::Protocol(error) => error.fmt(f),
            Cause::Undecodable(error) => error.fmt(f),
            Cause::Io(error) => error.fmt(f),
            Cause::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            Cause::Protocol(error) => Some(error),
            Cause::Undecodable(error) => Some(error),
            Cause::Io(error) => Some(&**error),
            Cause::Text(_) => None,
        }
    }
}

/// A message that was not taken for sending, and why.
pub enum SendError {
    /// The connection's send queue is full ([`Config::send_queue_bytes`](crate::Config),
    /// `send_queue_messages`).
    Full(Message),
    /// The connection is closed.
    Closed(Message),
    /// A segment is longer than the [limits](crate::proto::Limits) allow.
    TooLarge(Message),
}

impl SendError {
    /// The message, to be sent elsewhere or later.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::Full(message) | Self::Closed(message) | Self::TooLarge(message) => message,
        }
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Closed(_) => "Closed",
            Self::TooLarge(_) => "TooLarge",
        })
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the connection's send queue is full",
            Self::Closed(_) => "the connection is closed",
            Self::TooLarge(_) => "a segment of the message exceeds the limits",
        })
    }
}

impl std::error::Error for SendError {}
