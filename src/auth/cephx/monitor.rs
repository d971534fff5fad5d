//! The accepting side of a log-in: what a monitor does, or who stands in for one (cephx §8.2,
//! §8.3, §12).
//!
//! Invariants: nothing is given out before the proof was compared, in constant time; each failure
//! that has to do with a proof is told by the same number. It does not know how payloads travel.

use subtle::ConstantTimeEq;

use crate::wire::{AuthName, EntityType, Put, Reader, Timespec};

use super::super::site::Site;
use super::super::{AuthCx, AuthError, Authenticated, Caps, CryptoKey, Secret};
use super::authorizer::{open, open_ticket};
use super::login::{LOG_IN, LogIn, put_extra, response_head};
use super::tickets::{Grant, encode_reply};
use super::wire::{Authenticate, ServiceTicket, TicketBlob, TicketInfo, encode_challenge};
use super::{Request, SERVICES, proof, random_u64, secrets, service_bit, usage};

/// The longest name that is taken for one.
const NAME_MAX: usize = 4096;

/// One client's log-in, and its session afterwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogInServer {
    name: AuthName,
    global_id: u64,
    /// Whether the client said that it had the number before.
    is_reclaim: bool,
    challenge: u64,
}

/// The answer to a request on an established session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// 0, or a negative error number.
    pub result: i32,
    /// What the method has to say.
    pub payload: Vec<u8>,
    /// Why it was refused; for the own log.
    pub why: Option<AuthError>,
}

impl LogInServer {
    /// Reads the first payload of v2: the byte 10 and who it is.
    ///
    /// # Errors
    /// If it does not decode.
    pub fn read_hello(payload: &[u8]) -> Result<(AuthName, u64), AuthError> {
        let mut r = Reader::new(payload, "log-in");
        let first = r.u8()?;
        if !(LOG_IN..LOG_IN + 10).contains(&first) {
            return Err(r.bad_value(first).into());
        }
        let who = AuthName::decode(&mut r)?;
        Ok((who, r.u64()?))
    }

    /// Begins: `name` wants to log in and says that its number is `global_id`, or 0. Returns the
    /// challenge to send, too. Whether there is such a name is not looked at yet.
    ///
    /// # Errors
    /// If the name is absurd.
    pub fn begin(
        site: &mut Site,
        cx: &mut AuthCx<'_>,
        name: AuthName,
        global_id: u64,
    ) -> Result<(Self, Vec<u8>), AuthError> {
        if name.id.len() > NAME_MAX {
            return Err(AuthError::Invalid("the name is too long"));
        }
        let is_reclaim = global_id != 0;
        let global_id = if is_reclaim {
            global_id
        } else {
            site.assign_global_id()
        };
        let challenge = random_u64(cx);
        let mut out = Vec::new();
        encode_challenge(challenge, &mut out);
        let begun = Self {
            name,
            global_id,
            is_reclaim,
            challenge,
        };
        Ok((begun, out))
    }

    /// The session of somebody who has logged in before, in v2.
    #[must_use]
    pub fn resumed(who: &Authenticated) -> Option<Self> {
        let login = who.login.as_ref()?;
        Some(Self {
            name: who.name.clone(),
            global_id: who.global_id,
            is_reclaim: true,
            challenge: login.server_challenge,
        })
    }

    /// Its number.
    #[must_use]
    pub fn global_id(&self) -> u64 {
        self.global_id
    }

    /// Looks at the proof. `secret_len` is the length of the connection secret that goes with the
    /// answer, sealed; `None` for v1, where there is no such thing.
    ///
    /// # Errors
    /// If the proof does not hold, or nothing is allowed to this name.
    pub fn prove(
        &mut self,
        site: &mut Site,
        cx: &mut AuthCx<'_>,
        payload: &[u8],
        secret_len: Option<usize>,
    ) -> Result<(Vec<u8>, Authenticated), AuthError> {
        let mut r = Reader::new(payload, "proof of a log-in");
        if r.u16()? != Request::SESSION_KEY.0 {
            return Err(AuthError::Invalid("a log-in goes on with another request"));
        }
        self.session_key(site, cx, &mut r, secret_len)
    }

    /// Answers a request of a client that has logged in.
    pub fn answer(&mut self, site: &mut Site, cx: &mut AuthCx<'_>, payload: &[u8]) -> Reply {
        site.rotate(cx);
        let mut r = Reader::new(payload, "request to the monitor");
        let request = match r.u16() {
            Ok(number) => Request(number),
            Err(e) => return Reply::refused(e.into()),
        };
        let payload = match request {
            Request::SESSION_KEY => {
                let answer = self.session_key(site, cx, &mut r, None);
                answer.map(|(payload, _)| payload)
            }
            Request::SERVICE_TICKETS => self.service_tickets(site, cx, &mut r),
            Request::ROTATING => self.rotating(site, cx),
            _ => Err(AuthError::Invalid("there is no such request")),
        };
        match payload {
            Ok(payload) => Reply {
                result: 0,
                payload,
                why: None,
            },
            Err(why) if request == Request::SERVICE_TICKETS => Reply {
                payload: response_head(request, why.errno()),
                ..Reply::refused(why)
            },
            Err(why) => Reply::refused(why),
        }
    }

    fn session_key(
        &mut self,
        site: &mut Site,
        cx: &mut AuthCx<'_>,
        r: &mut Reader<'_>,
        secret_len: Option<usize>,
    ) -> Result<(Vec<u8>, Authenticated), AuthError> {
        site.rotate(cx);
        let asked = Authenticate::decode(r)?;
        let key = site.principal(&self.name)?.clone();
        let wanted = proof(&key, self.challenge, asked.client_challenge)?;
        let holds: bool = wanted
            .to_le_bytes()
            .ct_eq(&asked.proof.to_le_bytes())
            .into();
        if !holds {
            return Err(AuthError::denied(format!(
                "{} showed a proof that was not made with its key; its keyring and ours differ",
                self.name
            )));
        }
        let old = self.old_key(site, &asked)?;
        let mon_caps = site.keyring.caps(&self.name, EntityType::MON);
        let Some(mon_caps) = mon_caps.filter(|caps| !caps.is_empty()).map(Caps::new) else {
            return Err(AuthError::denied(format!(
                "{} has no caps for mon; add `caps mon = \"allow r\"` to its section",
                self.name
            )));
        };

        let session_key = CryptoKey::generate(key.kind(), cx.now, cx.random);
        let grant = self.grant(site, cx, EntityType::AUTH, session_key.clone())?;
        let grant = grant.ok_or(AuthError::denied("there is no secret to make tickets with"))?;
        let mut out = response_head(Request::SESSION_KEY, 0);
        out.extend_from_slice(&encode_reply(cx, &[grant], &key, old.as_ref())?);

        let secret = self.put_others(site, cx, (&asked, secret_len), &session_key, &mut out)?;
        // What comes later on this session is a renewal, and shows the ticket.
        self.is_reclaim = true;
        let who = Authenticated {
            name: self.name.clone(),
            global_id: self.global_id,
            session_key: Some(session_key),
            connection_secret: secret,
            caps: mon_caps,
            login: Some(LogIn {
                server_challenge: self.challenge,
                tickets: Vec::new(),
            }),
        };
        Ok((out, who))
    }

    /// Writes what comes behind the auth ticket if other keys are asked for: the connection secret,
    /// which is returned, and tickets.
    fn put_others(
        &self,
        site: &Site,
        cx: &mut AuthCx<'_>,
        (asked, secret_len): (&Authenticate, Option<usize>),
        session_key: &CryptoKey,
        out: &mut Vec<u8>,
    ) -> Result<Secret, AuthError> {
        if asked.other_keys == 0 {
            return if secret_len.is_some_and(|len| len > 0) {
                // There is no place in the answer for the secret that the mode needs.
                Err(AuthError::Invalid(
                    "secure mode needs the mask of other keys",
                ))
            } else {
                Ok(Secret::default())
            };
        }
        let mut secret = Secret::default();
        let mut sealed = Vec::new();
        if let Some(len) = secret_len {
            secret = Secret::random(len, cx.random);
            let cipher = session_key.cipher(usage::CONNECTION_SECRET)?;
            sealed = cipher.seal(cx.random, |out| out.put_blob(secret.as_bytes()));
        }
        let grants = self.grants(site, cx, asked.other_keys, session_key)?;
        let tickets = if grants.is_empty() {
            Vec::new()
        } else {
            encode_reply(cx, &grants, session_key, None)?
        };
        put_extra(out, &sealed, &tickets);
        Ok(secret)
    }

    /// Applies the rules for numbers that are asked for again (cephx §8.2). Returns the key of the
    /// old ticket, if one was shown and holds.
    fn old_key(&self, site: &Site, asked: &Authenticate) -> Result<Option<CryptoKey>, AuthError> {
        let is_shown = !asked.old_ticket.sealed.is_empty();
        if !self.is_reclaim {
            return if is_shown {
                Err(AuthError::Invalid("a new client shows an old ticket"))
            } else {
                Ok(None)
            };
        }
        if is_shown {
            let secret = |id| site.secret(EntityType::AUTH, id);
            let opened = open_ticket(&asked.old_ticket, EntityType::AUTH, &secret);
            if let Ok(info) = opened
                && info.global_id == self.global_id
            {
                return Ok(Some(info.session_key));
            }
        }
        if asked.version < Authenticate::VERSION && site.allow_insecure_reclaim {
            return Ok(None);
        }
        Err(AuthError::denied(format!(
            "{} asks for the number {} and shows no ticket that it was its own; it has to begin \
             anew",
            self.name, self.global_id
        )))
    }

    fn service_tickets(
        &self,
        site: &Site,
        cx: &mut AuthCx<'_>,
        r: &mut Reader<'_>,
    ) -> Result<Vec<u8>, AuthError> {
        let secret = |id| site.secret(EntityType::AUTH, id);
        let (info, _) = open(r, EntityType::AUTH, &secret)?;
        if info.name != self.name || info.global_id != self.global_id {
            return Err(AuthError::denied("the auth ticket is somebody else's"));
        }
        let _version = r.u8()?;
        let mask = r.u32()?;
        let grants = self.grants(site, cx, mask, &info.session_key)?;
        if grants.is_empty() {
            return Err(AuthError::denied(
                "none of the services that tickets were asked for has a secret",
            ));
        }
        let mut out = response_head(Request::SERVICE_TICKETS, 0);
        out.extend_from_slice(&encode_reply(cx, &grants, &info.session_key, None)?);
        Ok(out)
    }

    fn rotating(&self, site: &Site, cx: &mut AuthCx<'_>) -> Result<Vec<u8>, AuthError> {
        let service = self.name.kind;
        if !SERVICES.contains(&service) || site.secrets.of(service).is_empty() {
            return Err(AuthError::denied(format!(
                "{} asks for the secrets of its service, and {service} has none",
                self.name
            )));
        }
        let cipher = site.principal(&self.name)?.cipher(usage::ROTATING)?;
        let mut out = response_head(Request::ROTATING, 0);
        let sealed = cipher.seal(cx.random, |out| site.secrets.encode(service, out));
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Tickets for all services in a mask that have a secret, in the order of their bits. Each
    /// has a session key of the older of two types: the client's and the secret's (aes256k §7).
    fn grants(
        &self,
        site: &Site,
        cx: &mut AuthCx<'_>,
        mask: u32,
        client_key: &CryptoKey,
    ) -> Result<Vec<Grant>, AuthError> {
        let mut out = Vec::new();
        for service in SERVICES {
            let Some(secret) = site.secrets.current(service) else {
                continue;
            };
            if mask & service_bit(service) != 0 {
                let kind = client_key.kind().min(secret.key.kind());
                let session_key = CryptoKey::generate(kind, cx.now, cx.random);
                out.extend(self.grant(site, cx, service, session_key)?);
            }
        }
        Ok(out)
    }

    fn grant(
        &self,
        site: &Site,
        cx: &mut AuthCx<'_>,
        service: EntityType,
        session_key: CryptoKey,
    ) -> Result<Option<Grant>, AuthError> {
        let Some(secret) = site.secrets.current(service) else {
            return Ok(None);
        };
        let ttl = site.secrets.ttl(service);
        // Monitors look the caps of their clients up themselves, in the ticket they stay empty.
        let caps = match service {
            EntityType::AUTH | EntityType::MON => Caps::default(),
            _ => Caps::new(site.keyring.caps(&self.name, service).unwrap_or_default()),
        };
        let info = TicketInfo {
            name: self.name.clone(),
            global_id: self.global_id,
            created: cx.now,
            expires: secrets::add(cx.now, ttl),
            caps,
            session_key: session_key.clone(),
        };
        let cipher = secret.key.cipher(usage::TICKET_INFO)?;
        let blob = TicketBlob {
            secret_id: secret.id,
            sealed: cipher.seal_raw(cx.random, |out| info.encode(out)),
        };
        let half = ServiceTicket {
            session_key,
            validity: Timespec::from(ttl).into(),
        };
        Ok(Some(Grant {
            service,
            blob,
            half,
        }))
    }
}

impl Reply {
    fn refused(why: AuthError) -> Self {
        Self {
            result: why.errno(),
            payload: Vec::new(),
            why: Some(why),
        }
    }
}
