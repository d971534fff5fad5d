//! Typed payloads of the messages that monitors, OSDs, their clients and heartbeats exchange.
//!
//! Each type here implements [`Payload`]: it is written by [`Message::from_payload`] and read by
//! [`Message::decode`]. Decoding never panics, and never allocates more than a small multiple of
//! what the message holds.
//!
//! Nothing here knows of connections, or of what is asked and answered when.
//!
//! ```
//! use async_messenger::message::Message;
//! use async_messenger::messages::MMonGetVersion;
//! use async_messenger::wire::features;
//!
//! let question = MMonGetVersion { handle: 7, what: "osdmap".into() };
//! let message = Message::from_payload(&question, features::SUPPORTED);
//! assert_eq!(message.decode::<MMonGetVersion>(), Ok(question));
//! ```

mod auth;
mod fsid;
mod mon;
mod monmap;
mod osd;
mod osdop;
mod ping;

pub use auth::{AUTH_CEPHX, AUTH_NONE, AuthOffer, MAuth, MAuthReply};
pub use fsid::Fsid;
pub use mon::{
    MConfig, MMonCommand, MMonCommandAck, MMonGetMap, MMonGetVersion, MMonGetVersionReply, MMonMap,
    MMonSubscribe, MMonSubscribeAck, PaxosHead, Subscription,
};
pub use monmap::{MonInfo, MonMap};
pub use osd::{MOSDPing, OsdPingOp, SignedSpan};
pub use osdop::{
    EVersion, MOSDOp, MOSDOpReply, NOSNAP, ObjectLocator, ObjectStat, OpResult, OsdOp, OsdOpCode,
    OsdReqId, PgId, Redirect, ShardPg, TraceInfo,
};
pub use ping::MPing;

use crate::message::{Message, Payload, Registry};
use crate::wire::{DecodeError, Reader};

/// Registers every type of this module.
pub fn register_all(registry: &mut Registry) {
    registry
        .register::<MPing>()
        .register::<MMonMap>()
        .register::<MMonGetMap>()
        .register::<MMonSubscribe>()
        .register::<MMonSubscribeAck>()
        .register::<MAuth>()
        .register::<MAuthReply>()
        .register::<MMonGetVersion>()
        .register::<MMonGetVersionReply>()
        .register::<MMonCommand>()
        .register::<MMonCommandAck>()
        .register::<MConfig>()
        .register::<MOSDPing>()
        .register::<MOSDOp>()
        .register::<MOSDOpReply>();
}

/// Reads the front of a message. Bytes that `read` leaves over belong to fields of newer versions
/// (encoding §13).
fn read_front<P: Payload>(
    message: &Message,
    read: impl FnOnce(&mut Reader<'_>) -> Result<P, DecodeError>,
) -> Result<P, DecodeError> {
    let front = message.front().to_bytes();
    read(&mut Reader::new(&front, P::NAME))
}

/// Reads a count, and as many elements of at least `len_min` bytes.
fn read_list<'a, T, C: FromIterator<T>>(
    r: &mut Reader<'a>,
    len_min: usize,
    mut element: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<C, DecodeError> {
    let count = r.count(len_min)?;
    (0..count).map(|_| element(r)).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::wire::features;

    /// Encodes and decodes a payload, and every beginning of it, which must be refused.
    pub(super) fn round_trip<P: Payload + PartialEq + Debug>(payload: &P) -> Message {
        round_trip_but_for(payload, &[])
    }

    /// The same, but for lengths at which the front is whole too.
    pub(super) fn round_trip_but_for<P: Payload + PartialEq + Debug>(
        payload: &P,
        whole: &[usize],
    ) -> Message {
        let message = Message::from_payload(payload, features::SUPPORTED);
        assert_eq!(message.kind(), P::KIND);
        assert_eq!(message.decode::<P>().as_ref(), Ok(payload));
        let front = message.front().to_bytes();
        for len in 0..front.len() {
            let head = message.head();
            let cut = Message::new(P::KIND)
                .with_version(head.version, head.compat_version)
                .with_front(front.slice(..len));
            let decoded = cut.decode::<P>();
            assert_eq!(decoded.is_ok(), whole.contains(&len), "{len}: {decoded:?}");
        }
        let mut longer = front.to_vec();
        longer.extend([0xee; 3]);
        let head = message.head();
        let longer = Message::new(P::KIND)
            .with_version(head.version + 1, head.compat_version)
            .with_front(longer)
            .with_data(message.data().to_bytes());
        assert_eq!(longer.decode::<P>().as_ref(), Ok(payload), "newer fields");
        message
    }

    /// Bytes from hexadecimal digits; blanks are for the eye.
    pub(super) fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        let byte = |pair: &[char]| {
            let digit = |c: char| c.to_digit(16).expect("a hexadecimal digit") as u8;
            digit(pair[0]) << 4 | digit(pair[1])
        };
        digits.chunks(2).map(byte).collect()
    }

    /// Whatever the bytes, decoding ends with a value or an error.
    #[test]
    fn random_fronts_do_no_harm() {
        let mut registry = Registry::default();
        register_all(&mut registry);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for kind in 0..80 {
            for _ in 0..200 {
                // Mostly small numbers, so that counts and lengths often fit.
                let len = random() % 120;
                let front: Vec<u8> = (0..len)
                    .map(|_| (random() % 300).saturating_sub(44).min(255) as u8)
                    .map(|byte| if byte < 200 { byte % 4 } else { byte })
                    .collect();
                let message = Message::new(kind)
                    .with_version((random() % 10) as u16, 0)
                    .with_front(front);
                let _ = registry.decode(&message);
            }
        }
    }
}
