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

pub use acceptor::{
    Acceptor, AcceptorEvent, AcceptorParams, Claim, Refusal, Terms, Verdict, is_to_show, vet,
};
pub use connect::{Connect, ConnectReply, Opened, ReplyTag, none_authorizer, protocol_version};
pub use connector::{Connector, ConnectorEvent, ConnectorParams};
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use state::State;

use crate::auth::SignedParts;
use crate::wire::{MsgFooter, MsgHeader};

/// What the signature of a message covers: the values that go over the wire.
fn signed_parts(
    header: &MsgHeader,
    header_bytes: &[u8; MsgHeader::LEN],
    footer: &MsgFooter,
) -> SignedParts {
    let crc_at = MsgHeader::LEN - size_of::<u32>();
    let mut header_crc = [0; 4];
    header_crc.copy_from_slice(&header_bytes[crc_at..]);
    SignedParts {
        header_crc: u32::from_le_bytes(header_crc),
        front_crc: footer.front_crc,
        front_len: header.front_len,
        middle_crc: footer.middle_crc,
        middle_len: header.middle_len,
        data_crc: footer.data_crc,
        data_len: header.data_len,
        seq: header.head.seq,
    }
}

/// Tags of the open phase (msgr1 §2).
mod tag {
    pub(super) const CLOSE: u8 = 6;
    pub(super) const MSG: u8 = 7;
    pub(super) const ACK: u8 = 8;
    pub(super) const KEEPALIVE: u8 = 9;
    pub(super) const KEEPALIVE2: u8 = 14;
    pub(super) const KEEPALIVE2_ACK: u8 = 15;
}
