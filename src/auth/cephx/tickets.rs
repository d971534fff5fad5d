//! The tickets that a client holds, and when it has to see to new ones (cephx §8.1).
//!
//! Invariant: a ticket whose time is over is never handed out for an authorizer, but it is kept: as
//! an old ticket it still shows a monitor whose global id is being asked for again.
//! It reads no clock; each question comes with the time.

use std::time::Duration;

use crate::wire::{DecodeError, EntityType, Put, Reader, Timespec};

use super::super::{AuthCx, AuthError, CryptoKey};
use super::wire::{ServiceTicket, TicketBlob};
use super::{service_bit, usage};

/// A ticket for one service, and the key that goes with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// For whom it is.
    pub service: EntityType,
    /// What is shown; its bytes mean nothing to the holder.
    pub blob: TicketBlob,
    /// What proves that it is ours.
    pub session_key: CryptoKey,
    received: Duration,
    validity: Duration,
}

impl Ticket {
    /// A ticket that came at `now` and is good for a while.
    #[must_use]
    pub fn new(
        service: EntityType,
        blob: TicketBlob,
        session_key: CryptoKey,
        now: Timespec,
        validity: Duration,
    ) -> Self {
        Self {
            service,
            blob,
            session_key,
            received: now.into(),
            validity,
        }
    }

    /// Until when it can be used.
    #[must_use]
    pub fn expires(&self) -> Duration {
        self.received.saturating_add(self.validity)
    }

    /// From when on a new one should be got: when a quarter of its time is left.
    #[must_use]
    pub fn renew_after(&self) -> Duration {
        self.expires().saturating_sub(self.validity / 4)
    }

    /// Whether it can be used. A clock that went back does not make it useless: the service
    /// decides in the end.
    #[must_use]
    pub fn is_valid(&self, now: Timespec) -> bool {
        !self.validity.is_zero() && Duration::from(now) < self.expires()
    }

    /// Whether a new one should be got: it is late, or the clock went back to before the ticket
    /// came, so that nobody can say how late it is.
    #[must_use]
    pub fn is_due(&self, now: Timespec) -> bool {
        let now = Duration::from(now);
        now >= self.renew_after() || now < self.received
    }
}

/// The tickets of one client, and its number in the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tickets {
    /// The number that a monitor gave; 0 before.
    pub global_id: u64,
    /// At most one for each service.
    held: Vec<Ticket>,
}

impl Tickets {
    /// None yet, for the instance with this number.
    #[must_use]
    pub fn new(global_id: u64) -> Self {
        Self {
            global_id,
            ..Self::default()
        }
    }

    /// The number to ask a monitor for: the one held if there is an auth ticket that shows that it
    /// is ours, valid or not; without one it would only be refused (cephx §8.2).
    #[must_use]
    pub fn claim(&self) -> u64 {
        self.get(EntityType::AUTH).map_or(0, |_| self.global_id)
    }

    /// The ticket for a service, valid or not.
    #[must_use]
    pub fn get(&self, service: EntityType) -> Option<&Ticket> {
        self.held.iter().find(|ticket| ticket.service == service)
    }

    /// The ticket to show to a service.
    #[must_use]
    pub fn valid(&self, service: EntityType, now: Timespec) -> Option<&Ticket> {
        self.get(service).filter(|ticket| ticket.is_valid(now))
    }

    /// Takes a ticket in; it replaces the one for the same service.
    pub fn insert(&mut self, ticket: Ticket) {
        self.held.retain(|held| held.service != ticket.service);
        self.held.push(ticket);
    }

    /// Which of the services in `mask` need a ticket, or a new one.
    #[must_use]
    pub fn due(&self, mask: u32, now: Timespec) -> u32 {
        let fresh = self.held.iter().filter(|ticket| !ticket.is_due(now));
        fresh.fold(mask, |mask, ticket| mask & !service_bit(ticket.service))
    }

    /// When the first of the tickets held becomes due, since the epoch.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.held.iter().map(Ticket::renew_after).min()
    }

    /// Makes all tickets useless, and keeps them as old ones: for a cluster that has replaced all
    /// its secrets (aes256k §8.3).
    pub fn expire_all(&mut self) {
        for ticket in &mut self.held {
            ticket.validity = Duration::ZERO;
        }
    }
}

/// Reads a ticket reply: the tickets in it, opened with `key`; a blob that is sealed once more is
/// opened with `old`. If `cut` is allowed, the list ends where an entry is cut off: some servers
/// count services that they cannot give tickets for (cephx §8.2).
pub(super) fn decode_reply(
    cx: &AuthCx<'_>,
    r: &mut Reader<'_>,
    key: &CryptoKey,
    old: Option<&CryptoKey>,
    cut_allowed: bool,
) -> Result<Vec<Ticket>, AuthError> {
    let _version = r.u8()?;
    // Service, version, length, sealed, encoding, length.
    let count = r.u32()?;
    let cipher = key.cipher(usage::SERVICE_TICKET)?;
    let mut out: Vec<Ticket> = Vec::new();
    for _ in 0..count {
        let entry = match decode_entry(r, old) {
            Ok(entry) => entry,
            Err(AuthError::Undecodable(_)) if cut_allowed => break,
            Err(e) => return Err(e),
        };
        let opened = cipher.open_raw(entry.half, "session key of a ticket")?;
        let half = ServiceTicket::decode(&mut opened.reader())?;
        if half.session_key.is_empty() {
            return Err(AuthError::Misbehaved("a ticket has an empty session key"));
        }
        // A kind of daemon that there was not yet when this was written.
        let Ok(service) = u8::try_from(entry.service).map(EntityType) else {
            continue;
        };
        let ticket = Ticket::new(service, entry.blob, half.session_key, cx.now, half.validity);
        out.retain(|held| held.service != service);
        out.push(ticket);
    }
    Ok(out)
}

struct Entry<'a> {
    service: u32,
    half: &'a [u8],
    blob: TicketBlob,
}

fn decode_entry<'a>(r: &mut Reader<'a>, old: Option<&CryptoKey>) -> Result<Entry<'a>, AuthError> {
    let service = r.u32()?;
    let _version = r.u8()?;
    let half = r.blob()?;
    let blob = if r.bool()? {
        let old = old.ok_or(AuthError::Misbehaved(
            "a ticket is sealed under the old one's key, and no old one was shown",
        ))?;
        let opened = old.cipher(usage::TICKET_BLOB)?.open(r, "renewed ticket")?;
        decode_blob(&mut opened.reader())?
    } else {
        decode_blob(r)?
    };
    Ok(Entry {
        service,
        half,
        blob,
    })
}

fn decode_blob(r: &mut Reader<'_>) -> Result<TicketBlob, DecodeError> {
    TicketBlob::decode(&mut Reader::new(r.blob()?, "ticket"))
}

/// One ticket to write into a reply.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) service: EntityType,
    pub(super) blob: TicketBlob,
    pub(super) half: ServiceTicket,
}

/// Writes a ticket reply sealed under `key`. With `old`, the blobs are sealed once more under it.
pub(super) fn encode_reply(
    cx: &mut AuthCx<'_>,
    grants: &[Grant],
    key: &CryptoKey,
    old: Option<&CryptoKey>,
) -> Result<Vec<u8>, AuthError> {
    let cipher = key.cipher(usage::SERVICE_TICKET)?;
    let mut out = vec![1];
    out.put_count(grants.len());
    for grant in grants {
        out.extend_from_slice(&service_bit(grant.service).to_le_bytes());
        out.push(1);
        out.extend_from_slice(&cipher.seal(cx.random, |out| grant.half.encode(out)));
        let mut blob = Vec::new();
        grant.blob.encode(&mut blob);
        out.push(old.is_some().into());
        match old {
            Some(old) => {
                let cipher = old.cipher(usage::TICKET_BLOB)?;
                out.extend_from_slice(&cipher.seal(cx.random, |out| out.put_blob(&blob)));
            }
            None => out.put_blob(&blob),
        }
    }
    Ok(out)
}
