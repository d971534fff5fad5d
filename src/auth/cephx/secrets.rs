//! The secrets that services share with the monitors, and their rotation (cephx §8.3, §9).
//!
//! Three are kept for each service: previous, current, next. New tickets are sealed with the
//! current one. When it expires, next becomes current; what was sealed with it can be opened until
//! it is dropped one lifetime later. That is the only way in which a ticket ends: nobody looks at
//! the times in it. Invariant: never more than [`SECRETS_MAX`] for a service.

use std::time::Duration;

use bytes::BufMut;

use crate::wire::{DecodeError, EntityType, Put, Reader, Timespec};

use super::super::{AUTH_TTL, AuthCx, CryptoKey, KeyType, SERVICE_TTL};
use super::{LONG_TERM, SERVICES};

/// Secrets kept for a service: previous, current and next.
pub const SECRETS_MAX: usize = 3;

/// A secret of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expiring {
    /// What tickets name it by; neither 0 nor all ones.
    pub id: u64,
    /// The secret.
    pub key: CryptoKey,
    /// When the next one takes its place.
    pub expires: Timespec,
}

/// The secrets of all services.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceSecrets {
    kind: KeyType,
    auth_ttl: Duration,
    service_ttl: Duration,
    rotates: bool,
    all: Vec<(EntityType, Vec<Expiring>)>,
}

impl ServiceSecrets {
    /// None yet; [`rotate`](Self::rotate) makes them, of type `kind`. A secret of the
    /// ticket-granting service lives for `auth_ttl`, another one for `service_ttl`.
    #[must_use]
    pub fn new(kind: KeyType, auth_ttl: Duration, service_ttl: Duration) -> Self {
        Self {
            kind,
            auth_ttl,
            service_ttl,
            rotates: true,
            all: Vec::new(),
        }
    }

    /// None, and none will be made here: those of a daemon, which gets them from a monitor, or of
    /// a server that never rotates. They are put in with [`set`](Self::set).
    #[must_use]
    pub fn fixed() -> Self {
        Self {
            rotates: false,
            ..Self::new(KeyType::Aes, AUTH_TTL, SERVICE_TTL)
        }
    }

    /// How long the tickets for a service live: as long as its secrets.
    #[must_use]
    pub fn ttl(&self, service: EntityType) -> Duration {
        if service == EntityType::AUTH {
            self.auth_ttl
        } else {
            self.service_ttl
        }
    }

    /// Sets how long tickets live, for secrets that were [set](Self::set).
    pub fn set_ttl(&mut self, auth_ttl: Duration, service_ttl: Duration) {
        self.auth_ttl = auth_ttl;
        self.service_ttl = service_ttl;
    }

    /// Replaces the secrets of a service, the oldest first; only the last [`SECRETS_MAX`] are
    /// kept.
    pub fn set(&mut self, service: EntityType, mut secrets: Vec<Expiring>) {
        let surplus = secrets.len().saturating_sub(SECRETS_MAX);
        secrets.drain(..surplus);
        self.all.retain(|(held, _)| *held != service);
        self.all.push((service, secrets));
    }

    /// Makes what is missing at this time, and drops what is over. If the clock went far ahead,
    /// the old secrets are gone as if that time had passed; if it went back, the present ones
    /// stay until it has caught up.
    pub fn rotate(&mut self, cx: &mut AuthCx<'_>) {
        if !self.rotates {
            return;
        }
        for service in SERVICES.into_iter().chain([EntityType::AUTH]) {
            let ttl = self.ttl(service);
            let kind = self.kind;
            let at = match self.all.iter().position(|(held, _)| *held == service) {
                Some(at) => at,
                None => {
                    self.all.push((service, Vec::new()));
                    self.all.len() - 1
                }
            };
            rotate(&mut self.all[at].1, kind, ttl, cx);
        }
    }

    /// The secrets of a service, the oldest first.
    #[must_use]
    pub fn of(&self, service: EntityType) -> &[Expiring] {
        let found = self.all.iter().find(|(held, _)| *held == service);
        found.map_or(&[], |(_, secrets)| secrets)
    }

    /// The one that new tickets are sealed with.
    #[must_use]
    pub fn current(&self, service: EntityType) -> Option<&Expiring> {
        let secrets = self.of(service);
        secrets.get(secrets.len().saturating_sub(2))
    }

    /// The one that a ticket names.
    #[must_use]
    pub fn find(&self, service: EntityType, id: u64) -> Option<&Expiring> {
        self.of(service).iter().find(|secret| secret.id == id)
    }

    /// Whether a daemon should fetch those of its service again: the current one is over, or
    /// there is none to come.
    #[must_use]
    pub fn is_due(&self, service: EntityType, now: Timespec) -> bool {
        self.of(service).len() < 2 || self.current(service).is_none_or(|s| s.expires <= now)
    }

    /// Writes the form in which a daemon gets those of its service.
    pub(super) fn encode(&self, service: EntityType, out: &mut Vec<u8>) {
        let secrets = self.of(service);
        out.put_u8(1);
        out.put_count(secrets.len());
        for secret in secrets {
            out.put_u64_le(secret.id);
            out.put_u8(1);
            secret.key.encode(out);
            secret.expires.encode(out);
        }
        out.put_u64_le(secrets.iter().map(|secret| secret.id).max().unwrap_or(0));
    }

    /// Reads that form.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Vec<Expiring>, DecodeError> {
        let _version = r.u8()?;
        // Id, version, an empty key, a time.
        let count = r.count(8 + 1 + 12 + 8)?;
        let mut out = Vec::new();
        for _ in 0..count {
            let id = r.u64()?;
            let _version = r.u8()?;
            let key = CryptoKey::decode(r)?;
            let expires = Timespec::decode(r)?;
            out.push(Expiring { id, key, expires });
        }
        let _highest = r.u64()?;
        // Ceph keeps them sorted by number; whoever does not gets them sorted here.
        out.sort_by_key(|secret| secret.id);
        Ok(out)
    }
}

fn rotate(secrets: &mut Vec<Expiring>, kind: KeyType, ttl: Duration, cx: &mut AuthCx<'_>) {
    let is_over = |secrets: &[Expiring]| secrets[SECRETS_MAX - 2].expires <= cx.now;
    // A secret more makes the next one current, so that this ends after `SECRETS_MAX` rounds; it
    // would not if a lifetime were nothing.
    for _ in 0..2 * SECRETS_MAX {
        if secrets.len() >= SECRETS_MAX && !is_over(secrets) {
            break;
        }
        let last = secrets.last();
        // The very first is previous from its beginning.
        let expires = last.map_or(cx.now, |last| add(last.expires.max(cx.now), ttl));
        let id = last.map_or(1, |last| next_id(last.id));
        let key = CryptoKey::generate(kind, cx.now, cx.random);
        secrets.push(Expiring { id, key, expires });
        let surplus = secrets.len().saturating_sub(SECRETS_MAX);
        secrets.drain(..surplus);
    }
}

/// Neither 0 nor all ones: those mean something else.
fn next_id(id: u64) -> u64 {
    match id.wrapping_add(1) {
        0 | LONG_TERM => 1,
        id => id,
    }
}

/// A time later, at most the end of 32-bit seconds.
pub(super) fn add(time: Timespec, by: Duration) -> Timespec {
    let sum = Duration::from(time).saturating_add(by);
    match u32::try_from(sum.as_secs()) {
        Ok(_) => sum.into(),
        Err(_) => Timespec {
            secs: u32::MAX,
            nanos: 0,
        },
    }
}
