//! What the accepting side of authentication knows: whom it lets in, by which methods, with which
//! keys. Plain data; who shares it between connections puts a lock around it and hands out a
//! [`SiteRef`].

use std::fmt;
use std::time::Duration;

use crate::wire::{AuthName, EntityType};

use super::cephx::{LONG_TERM, ServiceSecrets};
use super::{AuthCx, AuthError, CryptoKey, KeyType, Keyring, Offer, Offers};

/// The lifetime of an auth ticket, unless said otherwise.
pub const AUTH_TTL: Duration = Duration::from_secs(72 * 3600);
/// The lifetime of a ticket for a service, unless said otherwise.
pub const SERVICE_TTL: Duration = Duration::from_secs(3600);

/// What the accepting side knows.
#[derive(Clone, Debug)]
pub struct Site {
    /// What we are.
    pub own: EntityType,
    /// Which methods and modes are taken from whom.
    pub offers: Offers,
    /// Whose keys we know, and what they may do.
    pub keyring: Keyring,
    /// The secrets of services.
    pub secrets: ServiceSecrets,
    /// Types of keys that may log in (aes256k §8).
    pub key_types: Vec<KeyType>,
    /// Whether a client of an old version may ask for a number again without showing that it had
    /// it (cephx §8.2). Ceph's default is yes.
    pub allow_insecure_reclaim: bool,
    /// Whether a peer may use method none and not even say who it is. Ceph's daemons do not take
    /// that; its `ceph_perf_msgr_client` does it. The default is no.
    pub allow_nameless: bool,
    /// The number that the next new client gets.
    pub next_global_id: u64,
}

impl Site {
    /// One that lets in who is in the keyring, by Ceph's default lists of methods and modes.
    #[must_use]
    pub fn new(own: EntityType, keyring: Keyring) -> Self {
        Self {
            own,
            offers: Offers::default(),
            keyring,
            secrets: ServiceSecrets::new(KeyType::Aes, AUTH_TTL, SERVICE_TTL),
            key_types: vec![KeyType::Aes, KeyType::Aes256k],
            allow_insecure_reclaim: true,
            allow_nameless: false,
            next_global_id: 4100,
        }
    }

    /// The methods and modes that are taken from a kind of peer.
    #[must_use]
    pub fn offer(&self, peer: EntityType) -> Offer {
        self.offers.of(self.own, peer)
    }

    /// Whether this side gives out tickets, as a monitor does.
    #[must_use]
    pub fn is_monitor(&self) -> bool {
        self.own == EntityType::MON
    }

    /// Draws the number of a new client.
    pub fn assign_global_id(&mut self) -> u64 {
        let id = self.next_global_id.max(1);
        self.next_global_id = id.checked_add(1).unwrap_or(1);
        id
    }

    /// The secret of a service that a ticket names.
    #[must_use]
    pub fn secret(&self, service: EntityType, id: u64) -> Option<CryptoKey> {
        if id == LONG_TERM {
            let owner = AuthName::new(service, "");
            return self.keyring.key(&owner).cloned();
        }
        self.secrets
            .find(service, id)
            .map(|secret| secret.key.clone())
    }

    /// The key of a name, if it may log in with it.
    pub(super) fn principal(&self, name: &AuthName) -> Result<&CryptoKey, AuthError> {
        let key = self.keyring.key(name);
        let key = key.ok_or_else(|| AuthError::NoKey(name.clone()))?;
        if !self.key_types.contains(&key.kind()) {
            return Err(AuthError::denied(format!(
                "the key of {name} is of type {}, which is not allowed to log in",
                key.kind()
            )));
        }
        Ok(key)
    }

    pub(super) fn rotate(&mut self, cx: &mut AuthCx<'_>) {
        self.secrets.rotate(cx);
    }
}

/// A way to a [`Site`], for as long as a step takes.
pub trait SiteRef: Send + fmt::Debug {
    /// Calls `f` once, with the site.
    fn with(&self, f: &mut dyn FnMut(&mut Site));
}

/// Asks the site something.
pub(super) fn ask<R>(site: &dyn SiteRef, f: impl FnOnce(&mut Site) -> R) -> Result<R, AuthError> {
    let mut f = Some(f);
    let mut out = None;
    site.with(&mut |site| {
        if let Some(f) = f.take() {
            out = Some(f(site));
        }
    });
    out.ok_or(AuthError::Misbehaved("the keys cannot be looked at"))
}
