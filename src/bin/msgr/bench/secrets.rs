//! How the two sides show each other who they are: not at all, or by a key that both have, from
//! which the client makes its ticket itself. There is no monitor.

use async_messenger::auth::{Keyring, Method, Mode, Offers, Site};
use async_messenger::wire::{AuthName, EntityType};
use async_messenger::{Authority, Credentials};

use super::args::SideArgs;
use crate::failure::{Exit, Failure};
use crate::who;

/// What both sides have.
pub(super) struct Secrets {
    keyring: Keyring,
    offers: Offers,
}

impl Secrets {
    /// `None` without a keyring.
    pub(super) fn read(side: &SideArgs) -> Result<Option<Self>, Failure> {
        let usage = |what: String, cure: &str| Err(Failure::new(Exit::Usage, what, cure));
        let Some(path) = &side.keyring else {
            return match side.mode {
                Some(Mode::SECURE) => usage(
                    "--mode secure: there are no keys to encrypt with".into(),
                    "give --keyring FILE, too",
                ),
                _ => Ok(None),
            };
        };
        let keyring = who::read_keyring(path)?;
        if keyring.key(&AuthName::new(EntityType::OSD, "")).is_none() {
            return usage(
                format!("keyring {}: there is no key of `osd.`", path.display()),
                "make one by `ceph-authtool --create-keyring FILE --gen-key -n osd.`",
            );
        }
        let both = [Mode::CRC, Mode::SECURE];
        let modes = side.mode.as_ref().map_or(&both[..], std::slice::from_ref);
        Ok(Some(Self {
            keyring,
            offers: Offers::uniform(&[Method::CEPHX], modes),
        }))
    }

    /// Whom a server without keys lets in: Ceph's `perf_msgr` says nothing of itself.
    pub(super) fn everybody() -> Authority {
        let everybody = Authority::none(EntityType::OSD);
        everybody.edit(|site| site.allow_nameless = true);
        everybody
    }

    pub(super) fn authority(self) -> Authority {
        let mut site = Site::new(EntityType::OSD, self.keyring);
        site.offers = self.offers;
        Authority::new(site)
    }

    pub(super) fn credentials(self) -> Credentials {
        let name = AuthName::new(EntityType::CLIENT, "bench");
        Credentials::none(name)
            .offers(self.offers)
            .service_keys(self.keyring)
    }
}
