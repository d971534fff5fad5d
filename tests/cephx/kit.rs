//! What the tests share: scripted randomness, a site, both sides in one call.

use async_messenger::auth::cephx::{Expiring, ServiceSecrets};
use async_messenger::auth::{
    AuthAnswer, AuthClient, AuthCx, AuthError, AuthRefusal, AuthServer, Authenticated, CryptoKey,
    KeyType, Keyring, Secret, Site,
};
use async_messenger::wire::{AuthName, EntityType, Timespec};

use crate::vectors::Rng;
pub(crate) use crate::vectors::unhex;

/// The time of the worked examples.
pub(crate) const NOW: Timespec = Timespec {
    secs: 1_700_000_000,
    nanos: 0,
};
pub(crate) const HOUR: u32 = 3600;

pub(crate) fn later(secs: u32) -> Timespec {
    Timespec {
        secs: NOW.secs + secs,
        nanos: 0,
    }
}

/// Random bytes: as scripted, in order, and then from a seed.
#[derive(Debug)]
pub(crate) struct Dice {
    script: Vec<Vec<u8>>,
    rng: Rng,
    is_strict: bool,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            script: Vec::new(),
            rng: Rng(seed | 1),
            is_strict: false,
        }
    }

    /// Gives these, in this order and these lengths, and nothing else.
    pub(crate) fn scripted(script: Vec<Vec<u8>>) -> Self {
        Self {
            script,
            rng: Rng(1),
            is_strict: true,
        }
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        if self.script.is_empty() {
            assert!(!self.is_strict, "{} random bytes too many", out.len());
            out.iter_mut().for_each(|b| *b = self.rng.below(256) as u8);
        } else {
            out.copy_from_slice(&self.script.remove(0));
        }
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.script.is_empty()
    }
}

/// Calls something with a context.
pub(crate) fn at<R>(dice: &mut Dice, now: Timespec, f: impl FnOnce(&mut AuthCx<'_>) -> R) -> R {
    let mut random = |out: &mut [u8]| dice.fill(out);
    f(&mut AuthCx {
        now,
        random: &mut random,
    })
}

/// `count` bytes from `first` on.
pub(crate) fn range(first: u8, count: usize) -> Vec<u8> {
    (0..count).map(|i| first.wrapping_add(i as u8)).collect()
}

/// A key whose bytes count up.
pub(crate) fn key(kind: KeyType, first: u8, created: u32) -> CryptoKey {
    let secret = Secret::from(range(first, kind.secret_len()));
    let created = Timespec {
        secs: created,
        nanos: 0,
    };
    CryptoKey::new(kind, created, secret).unwrap()
}

pub(crate) fn admin() -> AuthName {
    AuthName::new(EntityType::CLIENT, "admin")
}

pub(crate) const ALLOW: [(EntityType, &str); 4] = [
    (EntityType::MON, "allow *"),
    (EntityType::OSD, "allow *"),
    (EntityType::MDS, "allow *"),
    (EntityType::MGR, "allow *"),
];

/// A monitor that knows client.admin by `principal`, with secrets of type `service`.
pub(crate) fn site(own: EntityType, principal: &CryptoKey, service: KeyType) -> Site {
    let mut keyring = Keyring::new();
    keyring.insert(admin(), principal.clone(), &ALLOW);
    let mut site = Site::new(own, keyring);
    site.secrets = ServiceSecrets::new(
        service,
        async_messenger::auth::AUTH_TTL,
        async_messenger::auth::SERVICE_TTL,
    );
    site
}

pub(crate) fn secret(id: u64, key: CryptoKey) -> Expiring {
    Expiring {
        id,
        key,
        expires: later(HOUR),
    }
}

/// How a handshake ended, and what was said in it.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) client: Authenticated,
    pub(crate) server: Authenticated,
    pub(crate) mode: async_messenger::auth::Mode,
}

/// Why it did not.
#[derive(Debug)]
pub(crate) enum Failed {
    #[allow(dead_code)] // printed if a test fails
    Client(AuthError),
    Server(AuthRefusal, AuthError),
}

/// Plays a handshake to its end; `alter` may change each payload on its way.
pub(crate) fn play_altered(
    client: &mut dyn AuthClient,
    server: &mut dyn AuthServer,
    dice: &mut Dice,
    now: Timespec,
    alter: &mut dyn FnMut(usize, &mut Vec<u8>),
) -> Result<Played, Failed> {
    let mut request = at(dice, now, |cx| client.begin(cx)).map_err(Failed::Client)?;
    let mut step = 0;
    loop {
        alter(step, &mut request.payload);
        let mut answer = at(dice, now, |cx| server.begin(cx, &request));
        loop {
            step += 1;
            match answer {
                AuthAnswer::More(mut payload) => {
                    alter(step, &mut payload);
                    let reply = at(dice, now, |cx| client.more(cx, &payload));
                    let mut reply = reply.map_err(Failed::Client)?;
                    step += 1;
                    alter(step, &mut reply);
                    answer = at(dice, now, |cx| server.more(cx, &reply));
                }
                AuthAnswer::Done {
                    mode,
                    mut payload,
                    who,
                } => {
                    alter(step, &mut payload);
                    let done = at(dice, now, |cx| {
                        client.done(cx, who.global_id, mode, &payload)
                    });
                    return Ok(Played {
                        client: done.map_err(Failed::Client)?,
                        server: who,
                        mode,
                    });
                }
                AuthAnswer::Refused { refusal, why } => {
                    match at(dice, now, |cx| client.refused(cx, &refusal)) {
                        Ok(next) => request = next,
                        Err(_) => return Err(Failed::Server(refusal, why)),
                    }
                    break;
                }
            }
        }
    }
}

pub(crate) fn play(
    client: &mut dyn AuthClient,
    server: &mut dyn AuthServer,
    dice: &mut Dice,
    now: Timespec,
) -> Result<Played, Failed> {
    play_altered(client, server, dice, now, &mut |_, _| {})
}
