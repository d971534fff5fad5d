//! msgr v1, the legacy protocol: banner, connect, then tagged messages.
//!
//! One file per step: [`Connector`] and [`Acceptor`] are the two sides of the handshake
//! (msgr1 §9 and §10), [`Decoder`] and [`Encoder`] the open phase (msgr1 §14 to §16).

mod acceptor;
mod connect;
mod connector;
mod decoder;
mod encoder;
mod state;

pub use acceptor::{Acceptor, AcceptorEvent, AcceptorParams, Claim, Refusal, Terms, Verdict, vet};
pub use connect::{Connect, ConnectReply, Opened, ReplyTag, none_authorizer, protocol_version};
pub use connector::{Connector, ConnectorEvent, ConnectorParams};
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use state::State;

/// Tags of the open phase (msgr1 §2).
mod tag {
    pub(super) const CLOSE: u8 = 6;
    pub(super) const MSG: u8 = 7;
    pub(super) const ACK: u8 = 8;
    pub(super) const KEEPALIVE: u8 = 9;
    pub(super) const KEEPALIVE2: u8 = 14;
    pub(super) const KEEPALIVE2_ACK: u8 = 15;
}
