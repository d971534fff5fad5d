//! The states of a v2 connection, by the names that Ceph's logs use (msgr2 §10 and §11).

use std::fmt;

/// Where a v2 connection stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(u8)]
pub enum State {
    /// Not begun.
    #[default]
    None,
    /// About to open a socket.
    StartConnect,
    /// Waits for the acceptor's banner.
    BannerConnecting,
    /// Waits for the acceptor's HELLO.
    HelloConnecting,
    /// Authenticates.
    AuthConnecting,
    /// Waits for the acceptor's signature.
    AuthConnectingSign,
    /// Waits for COMPRESSION_DONE.
    CompressionConnecting,
    /// Has asked for a new session.
    SessionConnecting,
    /// Has asked to go on with a session.
    SessionReconnecting,
    /// About to send a banner.
    StartAccept,
    /// Waits for the connector's banner.
    BannerAccepting,
    /// Waits for the connector's HELLO, or for the caller to name a method.
    HelloAccepting,
    /// Waits for AUTH_REQUEST.
    AuthAccepting,
    /// Waits for AUTH_REQUEST_MORE.
    AuthAcceptingMore,
    /// Waits for the connector's signature.
    AuthAcceptingSign,
    /// Waits for COMPRESSION_REQUEST.
    CompressionAccepting,
    /// Waits for the connector to ask for a session, or decides.
    SessionAccepting,
    /// Open, between frames.
    Ready,
    /// Held back by the limit on messages.
    ThrottleMessage,
    /// Held back by the limit on bytes.
    ThrottleBytes,
    /// Held back by the limit of the dispatch queue.
    ThrottleDispatchQueue,
    /// Reads the body of a frame.
    ReadFrame,
    /// At an end.
    Closed,
    /// Leaves it to the connection that the peer opens.
    Wait,
    /// Without a socket until there is something to send.
    Standby,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "NONE",
            Self::StartConnect => "START_CONNECT",
            Self::BannerConnecting => "BANNER_CONNECTING",
            Self::HelloConnecting => "HELLO_CONNECTING",
            Self::AuthConnecting => "AUTH_CONNECTING",
            Self::AuthConnectingSign => "AUTH_CONNECTING_SIGN",
            Self::CompressionConnecting => "COMPRESSION_CONNECTING",
            Self::SessionConnecting => "SESSION_CONNECTING",
            Self::SessionReconnecting => "SESSION_RECONNECTING",
            Self::StartAccept => "START_ACCEPT",
            Self::BannerAccepting => "BANNER_ACCEPTING",
            Self::HelloAccepting => "HELLO_ACCEPTING",
            Self::AuthAccepting => "AUTH_ACCEPTING",
            Self::AuthAcceptingMore => "AUTH_ACCEPTING_MORE",
            Self::AuthAcceptingSign => "AUTH_ACCEPTING_SIGN",
            Self::CompressionAccepting => "COMPRESSION_ACCEPTING",
            Self::SessionAccepting => "SESSION_ACCEPTING",
            Self::Ready => "READY",
            Self::ThrottleMessage => "THROTTLE_MESSAGE",
            Self::ThrottleBytes => "THROTTLE_BYTES",
            Self::ThrottleDispatchQueue => "THROTTLE_DISPATCH_QUEUE",
            Self::ReadFrame => "READ_FRAME",
            Self::Closed => "CLOSED",
            Self::Wait => "WAIT",
            Self::Standby => "STANDBY",
        })
    }
}
