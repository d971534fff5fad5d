//! The connecting side: picks a method, and shows by it who it is (msgr2 §7, cephx §8, §9,
//! §11).
//!
//! Invariant: a mode is accepted only if it was asked for, and secure mode only with a secret. It
//! does not know what carries its payloads.

use crate::wire::{AuthName, EntityType};

use super::cephx::{Authorizer, LONG_TERM, LogInClient, Tickets, service_bit};
use super::{
    AuthClient, AuthCx, AuthError, AuthRefusal, AuthRequest, Authenticated, Caps, CryptoKey,
    Method, Mode, Offer, Secret,
};

/// The byte that a payload of method none begins with towards a monitor, and elsewhere.
const LOG_IN: u8 = 10;
const AUTHORIZER: u8 = 1;
/// The least that secure mode needs for its keys.
pub(super) const SECRET_MIN: usize = 40;

/// What a client has to show.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Who it is.
    pub name: AuthName,
    /// Its long-term key, to log in with.
    pub key: Option<CryptoKey>,
    /// What it got by logging in.
    pub tickets: Tickets,
    /// The method by which it has logged in, if it has: daemons are shown the same.
    pub method: Option<Method>,
    /// The services that it wants tickets for, as a mask.
    pub wanted: u32,
    /// The long-term key of the kind of daemon that is connected to, if that is known: then a
    /// ticket can be made without a monitor (cephx §9).
    pub shared: Option<CryptoKey>,
}

/// The connecting side of one authentication.
#[derive(Debug)]
pub struct Client {
    who: Identity,
    peer: EntityType,
    offer: Offer,
    asked: Option<(Method, Vec<Mode>)>,
    is_challenged: bool,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Idle,
    None,
    LogIn(LogInClient),
    Authorizer(Authorizer),
}

impl Client {
    /// Will show `who` to a peer of this kind, by the methods and in the modes of `offer`.
    #[must_use]
    pub fn new(who: Identity, peer: EntityType, offer: Offer) -> Self {
        Self {
            who,
            peer,
            offer,
            asked: None,
            is_challenged: false,
            step: Step::Idle,
        }
    }

    /// Whether there is anything to show by a method.
    fn can(&self, method: Method) -> bool {
        match method {
            Method::NONE => true,
            Method::CEPHX => self.who.key.is_some() || self.who.shared.is_some(),
            _ => false,
        }
    }

    /// The methods to try, in order.
    fn methods(&self) -> Vec<Method> {
        let is_mon = self.peer == EntityType::MON;
        let fits = |method: &Method| {
            let is_logged_in_by = self.who.method.is_none_or(|by| by == *method);
            self.can(*method) && (is_mon || self.who.shared.is_some() || is_logged_in_by)
        };
        self.offer.methods.iter().copied().filter(fits).collect()
    }

    fn ask(&mut self, cx: &mut AuthCx<'_>, method: Method) -> Result<AuthRequest, AuthError> {
        let modes = self.offer.modes_for(method);
        if modes.is_empty() {
            return Err(AuthError::Unsupported(
                format!(
                    "none of the configured modes goes with method {method}; add crc to the modes"
                )
                .into(),
            ));
        }
        let payload = match method {
            Method::NONE => {
                self.step = Step::None;
                self.none_payload()
            }
            _ => self.cephx_payload(cx)?,
        };
        self.asked = Some((method, modes.clone()));
        Ok(AuthRequest {
            method,
            modes,
            payload,
        })
    }

    fn none_payload(&self) -> Vec<u8> {
        let first = if self.peer == EntityType::MON {
            LOG_IN
        } else {
            AUTHORIZER
        };
        let mut out = vec![first];
        self.who.name.encode(&mut out);
        out.extend_from_slice(&self.who.tickets.global_id.to_le_bytes());
        out
    }

    fn cephx_payload(&mut self, cx: &mut AuthCx<'_>) -> Result<Vec<u8>, AuthError> {
        if let Some(key) = &self.who.shared {
            let (name, caps) = match self.peer {
                // Monitors know each other by one name, and write down no caps.
                EntityType::MON => (AuthName::new(EntityType::MON, ""), Caps::default()),
                _ => (self.who.name.clone(), Caps::new("allow *")),
            };
            let global_id = self.who.tickets.global_id;
            let made =
                Authorizer::self_made(cx, self.peer, (LONG_TERM, key), name, global_id, caps)?;
            let payload = made.first(cx)?;
            self.step = Step::Authorizer(made);
            return Ok(payload);
        }
        let Some(key) = &self.who.key else {
            return Err(AuthError::NoKey(self.who.name.clone()));
        };
        if self.peer == EntityType::MON {
            let wanted = self.who.wanted | service_bit(EntityType::AUTH);
            let (name, key) = (self.who.name.clone(), key.clone());
            let login = LogInClient::new(name, key, &self.who.tickets, wanted);
            let payload = login.hello();
            self.step = Step::LogIn(login);
            return Ok(payload);
        }
        let ticket = self.who.tickets.valid(self.peer, cx.now);
        let ticket = ticket.ok_or(AuthError::NoTicket(self.peer))?;
        let authorizer = Authorizer::new(cx, self.who.tickets.global_id, ticket);
        let payload = authorizer.first(cx)?;
        self.step = Step::Authorizer(authorizer);
        Ok(payload)
    }

    /// Tries methods in order until one has something to show.
    fn ask_any(
        &mut self,
        cx: &mut AuthCx<'_>,
        methods: &[Method],
    ) -> Result<Option<AuthRequest>, AuthError> {
        let mut first_error = None;
        for method in methods {
            match self.ask(cx, *method) {
                Ok(request) => return Ok(Some(request)),
                Err(e) => first_error = first_error.or(Some(e)),
            }
            if self.peer != EntityType::MON {
                // What was agreed on with the monitor holds for the daemons.
                break;
            }
        }
        first_error.map_or(Ok(None), Err)
    }
}

impl AuthClient for Client {
    fn begin(&mut self, cx: &mut AuthCx<'_>) -> Result<AuthRequest, AuthError> {
        let methods = self.methods();
        let asked = self.ask_any(cx, &methods)?;
        asked.ok_or_else(|| {
            if self.offer.methods.contains(&Method::CEPHX) && self.who.key.is_none() {
                AuthError::NoKey(self.who.name.clone())
            } else {
                AuthError::Unsupported(
                    "none of the configured methods can be used; this side knows cephx and none"
                        .into(),
                )
            }
        })
    }

    fn refused(
        &mut self,
        cx: &mut AuthCx<'_>,
        refusal: &AuthRefusal,
    ) -> Result<AuthRequest, AuthError> {
        let refused = AuthError::Refused {
            method: refusal.method,
            result: refusal.result,
            methods: refusal.methods.clone(),
        };
        let Some((asked, _)) = self.asked.take() else {
            return Err(AuthError::Misbehaved("it refuses what was not asked"));
        };
        // Daemons are not asked twice, and nobody is who had challenged us already.
        if self.peer != EntityType::MON || self.is_challenged {
            return Err(refused);
        }
        let own = self.methods();
        let tried = own.iter().position(|method| *method == asked);
        let rest = own.get(tried.map_or(own.len(), |at| at + 1)..);
        let taken = |method: &Method| refusal.methods.contains(method);
        let rest: Vec<Method> = rest.unwrap_or(&[]).iter().copied().filter(taken).collect();
        self.ask_any(cx, &rest)?.ok_or(refused)
    }

    fn more(&mut self, cx: &mut AuthCx<'_>, payload: &[u8]) -> Result<Vec<u8>, AuthError> {
        let again = AuthError::Misbehaved("it challenges a second time");
        if self.asked.is_none() || std::mem::replace(&mut self.is_challenged, true) {
            return Err(again);
        }
        match &mut self.step {
            Step::LogIn(login) => login.prove(cx, payload),
            Step::Authorizer(authorizer) => authorizer.answer(cx, payload),
            Step::Idle | Step::None => Err(AuthError::Misbehaved(
                "it challenges a peer that has nothing to prove",
            )),
        }
    }

    fn done(
        &mut self,
        cx: &mut AuthCx<'_>,
        global_id: u64,
        mode: Mode,
        payload: &[u8],
    ) -> Result<Authenticated, AuthError> {
        let asked = self.asked.as_ref();
        if !asked.is_some_and(|(_, modes)| modes.contains(&mode)) {
            return Err(AuthError::Misbehaved(
                "it picked a mode that was not asked for",
            ));
        }
        let mut who = match &mut self.step {
            Step::LogIn(login) => login.finish(cx, global_id, payload)?,
            Step::Authorizer(authorizer) => Authenticated {
                name: self.who.name.clone(),
                global_id,
                connection_secret: authorizer.verify(payload)?,
                session_key: Some(authorizer.session_key().clone()),
                ..Authenticated::default()
            },
            Step::None => Authenticated {
                name: self.who.name.clone(),
                global_id,
                ..Authenticated::default()
            },
            Step::Idle => return Err(AuthError::Misbehaved("it accepts what was not asked")),
        };
        if mode != Mode::SECURE {
            who.connection_secret = Secret::default();
        } else if who.connection_secret.len() < SECRET_MIN {
            return Err(AuthError::Misbehaved("secure mode without a secret"));
        }
        Ok(who)
    }
}
