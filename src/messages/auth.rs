//! Authentication to a monitor, which v1 does by messages.

use bytes::{BufMut, Bytes};

use crate::message::{Message, Payload};
use crate::wire::{AuthName, DecodeError, Put, Reader, msgtype};

use super::mon::PaxosHead;
use super::{read_front, read_list};

/// The number of the method that believes everybody.
pub const AUTH_NONE: u32 = 1;
/// The number of the method with keys and tickets.
pub const AUTH_CEPHX: u32 = 2;

/// A step of authentication, from the client (encoding §16.6).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MAuth {
    /// What is common to messages to monitors.
    pub paxos: PaxosHead,
    /// The method, or 0 in the first message, which offers methods.
    pub protocol: u32,
    /// The first message's [`AuthOffer`], or what the method has to say.
    pub payload: Bytes,
    /// The epoch of the monmap that the client has, or 0.
    pub monmap_epoch: u32,
}

impl MAuth {
    /// The first message of a client: who it is, and by which methods it can show that.
    #[must_use]
    pub fn offering(offer: &AuthOffer) -> Self {
        let mut payload = Vec::new();
        offer.encode(&mut payload);
        Self {
            payload: payload.into(),
            ..Self::default()
        }
    }

    /// What the client offers, if this is its first message.
    ///
    /// # Errors
    /// If the offer makes no sense.
    pub fn offer(&self) -> Result<Option<AuthOffer>, DecodeError> {
        if self.protocol != 0 {
            return Ok(None);
        }
        AuthOffer::decode(&mut Reader::new(&self.payload, "auth offer")).map(Some)
    }
}

impl Payload for MAuth {
    const KIND: u16 = msgtype::AUTH;
    const NAME: &'static str = "auth";
    const VERSION: u16 = 1;
    const COMPAT: u16 = 1;

    fn encode(&self, _features: u64, out: &mut Message) {
        let mut front = Vec::new();
        self.paxos.encode(&mut front);
        front.put_u32_le(self.protocol);
        front.put_blob(&self.payload);
        front.put_u32_le(self.monmap_epoch);
        out.set_front(front);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        read_front(message, |r| {
            Ok(Self {
                paxos: PaxosHead::decode(r)?,
                protocol: r.u32()?,
                payload: Bytes::copy_from_slice(r.blob()?),
                monmap_epoch: if r.is_empty() { 0 } else { r.u32()? },
            })
        })
    }
}

/// Who a client is, and which methods it can prove that by (encoding §16.6).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthOffer {
    /// Numbers of methods, such as [`AUTH_NONE`], the preferred first.
    pub methods: Vec<u32>,
    /// The name to authenticate as.
    pub name: AuthName,
    /// The number that a monitor has given this client before, or 0.
    pub global_id: u64,
}

impl AuthOffer {
    /// Writes the form that [`MAuth`] carries.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(1);
        out.put_count(self.methods.len());
        for method in &self.methods {
            out.put_u32_le(*method);
        }
        self.name.encode(out);
        out.put_u64_le(self.global_id);
    }

    /// Reads the form that [`MAuth`] carries.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.u8()?;
        if version != 1 {
            return Err(r.bad_value(version));
        }
        Ok(Self {
            methods: read_list(r, 4, Reader::u32)?,
            name: AuthName::decode(r)?,
            global_id: r.u64()?,
        })
    }
}

/// A step of authentication, from the monitor (encoding §16.7).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MAuthReply {
    /// The method that the monitor has chosen, 0 if none.
    pub protocol: u32,
    /// 0, or a negative errno of Linux.
    pub result: i32,
    /// The number that the client has from now on, or 0.
    pub global_id: u64,
    /// What the method has to say.
    pub payload: Bytes,
    /// What was wrong, perhaps.
    pub text: String,
}

impl Payload for MAuthReply {
    const KIND: u16 = msgtype::AUTH_REPLY;
    const NAME: &'static str = "auth_reply";
    const VERSION: u16 = 1;
    const COMPAT: u16 = 1;

    fn encode(&self, _features: u64, out: &mut Message) {
        let mut front = Vec::new();
        front.put_u32_le(self.protocol);
        front.put_i32_le(self.result);
        front.put_u64_le(self.global_id);
        front.put_blob(&self.payload);
        front.put_string(&self.text);
        out.set_front(front);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        read_front(message, |r| {
            Ok(Self {
                protocol: r.u32()?,
                result: r.i32()?,
                global_id: r.u64()?,
                payload: Bytes::copy_from_slice(r.blob()?),
                text: r.string()?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hex, round_trip, round_trip_but_for};
    use super::*;
    use crate::wire::EntityType;

    fn admin() -> AuthOffer {
        AuthOffer {
            methods: vec![AUTH_NONE],
            name: AuthName::new(EntityType::CLIENT, "admin"),
            global_id: 0,
        }
    }

    #[test]
    fn the_first_message_byte_by_byte() {
        let first = MAuth::offering(&admin());
        assert_eq!(first.offer(), Ok(Some(admin())));
        // The epoch at the end may be missing.
        let message = round_trip_but_for(&first, &[56]);
        let golden = hex("0000000000000000 ffff 0000000000000000 00000000 1e000000
             01 01000000 01000000 08000000 05000000 61646d696e 0000000000000000 00000000");
        assert_eq!(golden.len(), 60);
        assert_eq!(message.front().to_bytes(), golden);
    }

    #[test]
    fn offers_that_make_no_sense() {
        let mut good = Vec::new();
        admin().encode(&mut good);
        for len in 0..good.len() {
            let payload = Bytes::copy_from_slice(&good[..len]);
            let auth = MAuth {
                payload,
                ..MAuth::default()
            };
            assert!(auth.offer().is_err(), "{len}");
        }
        let later = MAuth {
            protocol: AUTH_CEPHX,
            ..MAuth::default()
        };
        assert_eq!(later.offer(), Ok(None));
        good[0] = 2;
        assert!(AuthOffer::decode(&mut Reader::new(&good, "offer")).is_err());
    }

    #[test]
    fn replies() {
        let accepted = MAuthReply {
            protocol: AUTH_NONE,
            global_id: 4107,
            ..MAuthReply::default()
        };
        assert_eq!(round_trip(&accepted).front().len(), 24);
        round_trip(&MAuthReply {
            protocol: AUTH_CEPHX,
            result: -13,
            global_id: u64::MAX,
            payload: Bytes::from_static(b"ticket"),
            text: "no".into(),
        });
    }
}
