//! The structures in cephx payloads (cephx §5), as plain data.
//!
//! Invariant: what is decoded is bounded by the bytes given. Version bytes are read where the
//! layout depends on them; a later version is taken for the newest known, as Ceph does.

use std::time::Duration;

use bytes::BufMut;

use crate::wire::{AuthName, DecodeError, EntityType, Put, Reader, Timespec};

use super::super::{Caps, CryptoKey};

/// A ticket as its holder sees it: opaque bytes, and the id of the secret that opens them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TicketBlob {
    /// Which secret of the service opens it.
    pub secret_id: u64,
    /// The sealed contents; empty for "no ticket".
    pub sealed: Vec<u8>,
}

impl TicketBlob {
    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(1);
        out.put_u64_le(self.secret_id);
        out.put_blob(&self.sealed);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let _version = r.u8()?;
        Ok(Self {
            secret_id: r.u64()?,
            sealed: r.blob()?.to_vec(),
        })
    }
}

/// What a service finds in a ticket.
#[derive(Clone, Debug)]
pub(super) struct TicketInfo {
    pub(super) name: AuthName,
    pub(super) global_id: u64,
    pub(super) created: Timespec,
    pub(super) expires: Timespec,
    pub(super) caps: Caps,
    pub(super) session_key: CryptoKey,
}

impl TicketInfo {
    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(1);
        out.put_u8(2);
        self.name.encode(out);
        out.put_u64_le(self.global_id);
        // A field that nobody uses any more.
        out.put_u64_le(u64::MAX);
        self.created.encode(out);
        self.expires.encode(out);
        encode_caps(&self.caps, out);
        out.put_u32_le(0);
        self.session_key.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let _version = r.u8()?;
        let ticket_version = r.u8()?;
        let name = AuthName::decode(r)?;
        let global_id = r.u64()?;
        if ticket_version >= 2 {
            r.u64()?;
        }
        let created = Timespec::decode(r)?;
        let expires = Timespec::decode(r)?;
        let caps = decode_caps(r)?;
        let _flags = r.u32()?;
        Ok(Self {
            name,
            global_id,
            created,
            expires,
            caps,
            session_key: CryptoKey::decode(r)?,
        })
    }
}

fn encode_caps(caps: &Caps, out: &mut impl BufMut) {
    out.put_u8(1);
    out.put_u8(caps.allow_all.into());
    if caps.text.is_empty() {
        out.put_blob(&[]);
    } else {
        let mut inner = Vec::new();
        inner.put_string(&caps.text);
        out.put_blob(&inner);
    }
}

fn decode_caps(r: &mut Reader<'_>) -> Result<Caps, DecodeError> {
    let _version = r.u8()?;
    let allow_all = r.bool()?;
    let blob = r.blob()?;
    let text = if blob.is_empty() {
        String::new()
    } else {
        Reader::new(blob, "caps in a ticket").string()?
    };
    Ok(Caps { allow_all, text })
}

/// What the principal gets beside a ticket.
#[derive(Clone, Debug)]
pub(super) struct ServiceTicket {
    pub(super) session_key: CryptoKey,
    pub(super) validity: Duration,
}

impl ServiceTicket {
    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(1);
        self.session_key.encode(out);
        Timespec::from(self.validity).encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let _version = r.u8()?;
        Ok(Self {
            session_key: CryptoKey::decode(r)?,
            validity: Timespec::decode(r)?.into(),
        })
    }
}

/// The client's half of a log-in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Authenticate {
    pub(super) version: u8,
    pub(super) client_challenge: u64,
    pub(super) proof: u64,
    pub(super) old_ticket: TicketBlob,
    pub(super) other_keys: u32,
}

impl Authenticate {
    /// Promises that the old ticket is there whenever a global id is reclaimed.
    pub(super) const VERSION: u8 = 3;

    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(self.version);
        out.put_u64_le(self.client_challenge);
        out.put_u64_le(self.proof);
        self.old_ticket.encode(out);
        if self.version >= 2 {
            out.put_u32_le(self.other_keys);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.u8()?;
        if version == 0 {
            return Err(r.bad_value(version));
        }
        Ok(Self {
            version,
            client_challenge: r.u64()?,
            proof: r.u64()?,
            old_ticket: TicketBlob::decode(r)?,
            other_keys: if version >= 2 { r.u32()? } else { 0 },
        })
    }
}

/// The sealed half of an authorizer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Authorize {
    pub(super) nonce: u64,
    /// The server's challenge plus 1.
    pub(super) answer: Option<u64>,
}

impl Authorize {
    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(2);
        out.put_u64_le(self.nonce);
        out.put_u8(self.answer.is_some().into());
        out.put_u64_le(self.answer.unwrap_or(0));
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.u8()?;
        let nonce = r.u64()?;
        if version < 2 {
            return Ok(Self {
                nonce,
                answer: None,
            });
        }
        let has_answer = r.bool()?;
        let answer = r.u64()?;
        Ok(Self {
            nonce,
            answer: has_answer.then_some(answer),
        })
    }
}

/// The clear-text beginning of an authorizer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AuthorizerHead {
    pub(super) global_id: u64,
    pub(super) service: EntityType,
    pub(super) ticket: TicketBlob,
}

impl AuthorizerHead {
    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(1);
        out.put_u64_le(self.global_id);
        out.put_u32_le(self.service.0.into());
        self.ticket.encode(out);
    }

    /// The first byte tells an authorizer, 1 to 9, from a log-in, 10 to 19.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let first = r.u8()?;
        if !is_authorizer(first) {
            return Err(r.bad_value(first));
        }
        Ok(Self {
            global_id: r.u64()?,
            service: EntityType::decode_u32(r)?,
            ticket: TicketBlob::decode(r)?,
        })
    }
}

/// What the first byte of a payload says.
pub(super) fn is_authorizer(first: u8) -> bool {
    (1..10).contains(&first)
}

/// Reads `u8 version; u64 challenge`, the form of both kinds of challenges.
pub(super) fn decode_challenge(r: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let _version = r.u8()?;
    r.u64()
}

pub(super) fn encode_challenge(challenge: u64, out: &mut impl BufMut) {
    out.put_u8(1);
    out.put_u64_le(challenge);
}
