//! The accepting side: takes or refuses a method, and what is shown by it (msgr2 §7, cephx §8.2,
//! §9, §11).
//!
//! Invariants: what is told of a proof that does not hold is -13 and no more; a challenge is given
//! once on a connection.

use crate::wire::{AuthName, EntityType, Reader};

use super::cephx::{CONNECTION_SECRET, LONG_TERM, LogInServer, Presented, Verifier};
use super::site::{Site, SiteRef, ask};
use super::{
    AuthAnswer, AuthCx, AuthError, AuthRefusal, AuthRequest, AuthServer, Authenticated, Caps,
    EOPNOTSUPP, Method, Mode, Offer,
};

/// The accepting side of one authentication.
#[derive(Debug)]
pub struct Server {
    site: Box<dyn SiteRef>,
    peer: EntityType,
    offer: Offer,
    mode: Mode,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Start,
    LogIn(LogInServer),
    Authorizer(Verifier),
    Over,
}

impl Server {
    /// Asks a peer of this kind for the methods and modes of `offer`.
    #[must_use]
    pub fn new(site: Box<dyn SiteRef>, peer: EntityType, offer: Offer) -> Self {
        Self {
            site,
            peer,
            offer,
            mode: Mode::CRC,
            step: Step::Start,
        }
    }

    fn refuse(&self, method: Method, why: AuthError) -> AuthAnswer {
        let by_none = self.offer.methods == [Method::NONE];
        let modes = self
            .offer
            .modes_for(if by_none { Method::NONE } else { Method::CEPHX });
        AuthAnswer::Refused {
            refusal: AuthRefusal {
                method,
                result: why.errno(),
                methods: self.offer.methods.clone(),
                modes,
            },
            why,
        }
    }

    fn secret_len(&self) -> usize {
        if self.mode == Mode::SECURE {
            CONNECTION_SECRET
        } else {
            0
        }
    }

    fn done(&mut self, payload: Vec<u8>, who: Authenticated) -> AuthAnswer {
        AuthAnswer::Done {
            mode: self.mode,
            payload,
            who,
        }
    }

    fn try_begin(
        &mut self,
        cx: &mut AuthCx<'_>,
        request: &AuthRequest,
    ) -> Result<AuthAnswer, AuthError> {
        if !matches!(self.step, Step::Start) {
            return Err(AuthError::Misbehaved("it begins a second time"));
        }
        let method = request.method;
        if !self.offer.methods.contains(&method) || !known(method) {
            return Err(AuthError::Unsupported(
                format!("method {method} is not taken from {}", self.peer).into(),
            ));
        }
        self.mode = self.offer.pick(method, &request.modes).ok_or_else(|| {
            let wanted: Vec<String> = request.modes.iter().map(Mode::to_string).collect();
            AuthError::Unsupported(
                format!("none of the modes is taken that the peer wants: {wanted:?}").into(),
            )
        })?;
        if method == Method::NONE {
            return self.none(&request.payload);
        }
        match request.payload.first() {
            Some(1..=9) => {
                self.step = Step::Authorizer(Verifier::default());
                self.authorizer(cx, &request.payload)
            }
            _ => self.log_in(cx, &request.payload),
        }
    }

    fn none(&mut self, payload: &[u8]) -> Result<AuthAnswer, AuthError> {
        if payload.is_empty() && ask(&*self.site, |site| site.allow_nameless)? {
            return Ok(self.trust(AuthName::new(self.peer, ""), 0));
        }
        let mut r = Reader::new(payload, "who the peer is");
        let first = r.u8()?;
        if first == 0 || first >= 20 {
            return Err(r.bad_value(first).into());
        }
        let name = AuthName::decode(&mut r)?;
        let mut global_id = r.u64()?;
        let kind = name.kind;
        let is_assigned = global_id == 0 && first >= 10;
        let (is_taken, assigned) = ask(&*self.site, |site| {
            let is_taken = site.offer(kind).methods.contains(&Method::NONE);
            let assigns = is_taken && is_assigned;
            (is_taken, if assigns { site.assign_global_id() } else { 0 })
        })?;
        if !is_taken {
            return Err(not_taken(Method::NONE, &name));
        }
        if is_assigned {
            global_id = assigned;
        }
        Ok(self.trust(name, global_id))
    }

    /// Lets a peer in that has proved nothing.
    fn trust(&mut self, name: AuthName, global_id: u64) -> AuthAnswer {
        self.step = Step::Over;
        let who = Authenticated {
            name,
            global_id,
            caps: Caps::all(),
            ..Authenticated::default()
        };
        self.done(Vec::new(), who)
    }

    fn log_in(&mut self, cx: &mut AuthCx<'_>, payload: &[u8]) -> Result<AuthAnswer, AuthError> {
        let (name, global_id) = LogInServer::read_hello(payload)?;
        let (login, challenge) = ask(&*self.site, |site| {
            if !site.is_monitor() {
                return Err(AuthError::denied(
                    "a peer wants to log in here, and this is no monitor",
                ));
            }
            if !site.offer(name.kind).methods.contains(&Method::CEPHX) {
                return Err(not_taken(Method::CEPHX, &name));
            }
            LogInServer::begin(site, cx, name, global_id)
        })??;
        self.step = Step::LogIn(login);
        Ok(AuthAnswer::More(challenge))
    }

    fn authorizer(&mut self, cx: &mut AuthCx<'_>, payload: &[u8]) -> Result<AuthAnswer, AuthError> {
        let secret_len = self.secret_len();
        let Step::Authorizer(verifier) = &mut self.step else {
            return Err(AuthError::Misbehaved("an authorizer comes in between"));
        };
        let (own, presented) = ask(&*self.site, |site| {
            let secret = |id| secret_of_peer(site, id);
            let presented = verifier.verify(cx, site.own, &secret, payload, secret_len);
            (site.own, presented)
        })?;
        match presented? {
            Presented::Challenge(challenge) => Ok(AuthAnswer::More(challenge)),
            Presented::Accepted {
                reply,
                name,
                global_id,
                caps,
                session_key,
                connection_secret,
            } => {
                let takes_empty = own == EntityType::MON || own == EntityType::MGR;
                if caps.is_empty() && !takes_empty {
                    return Err(AuthError::denied(format!(
                        "{name} has no caps for {own}; add them to its section in the keyring"
                    )));
                }
                let who = Authenticated {
                    name,
                    global_id,
                    session_key: Some(session_key),
                    connection_secret,
                    caps,
                    login: None,
                };
                Ok(self.done(reply, who))
            }
        }
    }

    fn try_more(&mut self, cx: &mut AuthCx<'_>, payload: &[u8]) -> Result<AuthAnswer, AuthError> {
        let secret_len = self.secret_len();
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::LogIn(mut login) => {
                let (payload, who) = ask(&*self.site, |site| {
                    login.prove(site, cx, payload, Some(secret_len))
                })??;
                Ok(self.done(payload, who))
            }
            // Kept: v1 shows the same once more if it has to repeat its connect message.
            Step::Authorizer(verifier) => {
                self.step = Step::Authorizer(verifier);
                let answer = self.authorizer(cx, payload);
                if answer.is_err() {
                    self.step = Step::Over;
                }
                answer
            }
            Step::Start | Step::Over => Err(AuthError::Misbehaved("it answers no challenge")),
        }
    }
}

impl AuthServer for Server {
    fn begin(&mut self, cx: &mut AuthCx<'_>, request: &AuthRequest) -> AuthAnswer {
        match self.try_begin(cx, request) {
            Ok(answer) => answer,
            Err(why) => {
                let answer = self.refuse(request.method, why);
                // Whoever asked for the wrong method may ask for another one; a proof is shown
                // once.
                if let AuthAnswer::Refused { refusal, .. } = &answer
                    && refusal.result == EOPNOTSUPP
                {
                    self.step = Step::Start;
                } else {
                    self.step = Step::Over;
                }
                answer
            }
        }
    }

    fn more(&mut self, cx: &mut AuthCx<'_>, payload: &[u8]) -> AuthAnswer {
        let answer = self.try_more(cx, payload);
        answer.unwrap_or_else(|why| self.refuse(Method::CEPHX, why))
    }
}

fn known(method: Method) -> bool {
    method == Method::NONE || method == Method::CEPHX
}

fn not_taken(method: Method, name: &AuthName) -> AuthError {
    AuthError::Unsupported(format!("method {method} is not taken from {name}").into())
}

/// Monitors take from each other only tickets made with the key that they share.
fn secret_of_peer(site: &Site, id: u64) -> Option<super::CryptoKey> {
    let is_taken = !site.is_monitor() || id == LONG_TERM;
    is_taken.then(|| site.secret(site.own, id)).flatten()
}
