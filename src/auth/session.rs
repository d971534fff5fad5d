//! Authentication by messages: the log-in to a monitor in v1 (cephx §10.1), and renewals on an
//! established session in both versions (cephx §8.3).
//!
//! What is here goes into the fields of the messages MAuth and MAuthReply; the messages themselves
//! and the session are the caller's. Invariant: one request is under way at a time.

use crate::wire::{AuthName, EntityType, Put, Reader};

use super::cephx::{Expiring, LogIn, LogInClient, LogInServer, Ticket, Tickets};
use super::site::{SiteRef, ask};
use super::{AuthCx, AuthError, Authenticated, Caps, EOPNOTSUPP, Identity, Method};

/// The most methods that an offer may have.
const METHODS_MAX: usize = 64;

/// What goes into an MAuth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthMessage {
    /// The number of the method; 0 in the first one.
    pub protocol: u32,
    /// What it has to say.
    pub payload: Vec<u8>,
}

/// What comes of a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionEvent {
    /// This is to be sent.
    Send(AuthMessage),
    /// The monitor is convinced.
    LoggedIn(Authenticated),
    /// New tickets.
    Tickets(Vec<Ticket>),
    /// The secrets of the own service.
    Secrets(Vec<Expiring>),
}

/// The client's side.
#[derive(Debug)]
pub struct Session {
    who: Identity,
    methods: Vec<Method>,
    login: Option<LogInClient>,
    /// Services that the monitor gave no ticket for when it was asked: not to be asked for again
    /// before the next renewal of the auth ticket, or there would be no end to it.
    absent: u32,
    pending: Pending,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pending {
    Nothing,
    Offer,
    Proof,
    Renewal,
    /// For these services.
    Tickets(u32),
    Secrets,
}

impl Session {
    /// Will log in by one of these methods.
    #[must_use]
    pub fn new(who: Identity, methods: &[Method]) -> Self {
        let has_key = who.key.is_some();
        let can = |method: &Method| match *method {
            Method::CEPHX => has_key,
            other => other == Method::NONE,
        };
        let methods = methods.iter().copied().filter(can).collect();
        Self {
            who,
            methods,
            login: None,
            absent: 0,
            pending: Pending::Nothing,
        }
    }

    /// Goes on after a log-in in v2: only renewals are left to do.
    #[must_use]
    pub fn after(mut who: Identity, global_id: u64, login: &LogIn) -> Self {
        who.tickets.global_id = global_id;
        for ticket in &login.tickets {
            who.tickets.insert(ticket.clone());
        }
        let mut session = Self::new(who, &[Method::CEPHX]);
        session.resume(login.server_challenge);
        session
    }

    fn resume(&mut self, server_challenge: u64) {
        self.login = self.who.key.clone().map(|key| {
            let (name, wanted) = (self.who.name.clone(), self.who.wanted);
            LogInClient::resumed(name, key, &self.who.tickets, wanted, server_challenge)
        });
    }

    /// The tickets held.
    #[must_use]
    pub fn tickets(&self) -> &Tickets {
        &self.who.tickets
    }

    /// Makes all tickets useless (see [`Tickets::expire_all`]); [`renew`](Self::renew) then asks
    /// for new ones.
    pub fn expire_all(&mut self) {
        self.who.tickets.expire_all();
    }

    /// The first message: by which methods this side can show who it is.
    ///
    /// # Errors
    /// If there is no usable method.
    pub fn begin(&mut self) -> Result<AuthMessage, AuthError> {
        if self.methods.is_empty() {
            return Err(AuthError::NoKey(self.who.name.clone()));
        }
        let mut payload = vec![1];
        payload.put_count(self.methods.len());
        for method in &self.methods {
            payload.extend_from_slice(&method.0.to_le_bytes());
        }
        self.who.name.encode(&mut payload);
        let global_id = if self.methods == [Method::NONE] {
            self.who.tickets.global_id
        } else {
            self.who.tickets.claim()
        };
        payload.extend_from_slice(&global_id.to_le_bytes());
        self.pending = Pending::Offer;
        Ok(AuthMessage {
            protocol: 0,
            payload,
        })
    }

    /// What is to be sent if something is due now: the auth ticket goes first, since the others
    /// are got with it. Nothing while a request is under way.
    ///
    /// # Errors
    /// If there was no log-in by cephx.
    pub fn renew(&mut self, cx: &mut AuthCx<'_>) -> Result<Option<AuthMessage>, AuthError> {
        let Some(login) = &self.login else {
            return Ok(None);
        };
        if self.pending != Pending::Nothing {
            return Ok(None);
        }
        let auth = u32::from(EntityType::AUTH.0);
        let wanted = self.who.wanted & !self.absent | auth;
        let due = self.who.tickets.due(wanted, cx.now);
        let payload = if due & auth != 0 {
            self.pending = Pending::Renewal;
            login.request(cx)?
        } else if due != 0 {
            self.pending = Pending::Tickets(due);
            login.request_tickets(cx, due)?
        } else {
            return Ok(None);
        };
        Ok(Some(by_cephx(payload)))
    }

    /// The request of a daemon for the secrets of its service; `None` while another one is under
    /// way, or without a log-in by cephx.
    pub fn fetch_secrets(&mut self) -> Option<AuthMessage> {
        let login = self.login.as_ref()?;
        if self.pending != Pending::Nothing {
            return None;
        }
        self.pending = Pending::Secrets;
        Some(by_cephx(login.request_secrets()))
    }

    /// Takes a reply: the fields of an MAuthReply.
    ///
    /// # Errors
    /// If it is a refusal, not for us, or was changed.
    pub fn handle_reply(
        &mut self,
        cx: &mut AuthCx<'_>,
        (protocol, result): (u32, i32),
        global_id: u64,
        payload: &[u8],
    ) -> Result<SessionEvent, AuthError> {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        if pending == Pending::Nothing {
            return Err(AuthError::Misbehaved(
                "the monitor answers what was not asked",
            ));
        }
        if let Pending::Tickets(asked) = pending {
            self.absent |= asked;
        }
        if result < 0 {
            return Err(AuthError::Refused {
                method: Method(protocol),
                result,
                methods: Vec::new(),
            });
        }
        if pending == Pending::Offer {
            return self.chosen(cx, Method(protocol), global_id, payload);
        }
        let login = self.login.as_mut();
        let login = login.ok_or(AuthError::Misbehaved("a reply without a log-in"))?;
        match pending {
            Pending::Proof | Pending::Renewal => {
                let who = login.finish(cx, global_id, payload)?;
                let tickets = who.login.as_ref().map_or(&[][..], |login| &login.tickets);
                self.who.tickets.global_id = global_id;
                for ticket in tickets {
                    self.who.tickets.insert(ticket.clone());
                }
                self.absent = 0;
                if pending == Pending::Proof {
                    return Ok(SessionEvent::LoggedIn(who));
                }
                let tickets = who.login.map_or_else(Vec::new, |login| login.tickets);
                Ok(SessionEvent::Tickets(tickets))
            }
            Pending::Tickets(_) => {
                let tickets = login.finish_tickets(cx, payload)?;
                for ticket in &tickets {
                    self.absent &= !u32::from(ticket.service.0);
                    self.who.tickets.insert(ticket.clone());
                }
                Ok(SessionEvent::Tickets(tickets))
            }
            _ => Ok(SessionEvent::Secrets(login.finish_secrets(payload)?)),
        }
    }

    fn chosen(
        &mut self,
        cx: &mut AuthCx<'_>,
        method: Method,
        global_id: u64,
        payload: &[u8],
    ) -> Result<SessionEvent, AuthError> {
        if !self.methods.contains(&method) {
            return Err(AuthError::Misbehaved(
                "the monitor chose a method that was not offered",
            ));
        }
        if global_id != 0 {
            self.who.tickets.global_id = global_id;
        }
        self.who.method = Some(method);
        if method == Method::NONE {
            return Ok(SessionEvent::LoggedIn(Authenticated {
                name: self.who.name.clone(),
                global_id,
                ..Authenticated::default()
            }));
        }
        let Some(key) = self.who.key.clone() else {
            return Err(AuthError::NoKey(self.who.name.clone()));
        };
        let name = self.who.name.clone();
        let mut login = LogInClient::new(name, key, &self.who.tickets, self.who.wanted);
        let payload = login.prove(cx, payload)?;
        self.login = Some(login);
        self.pending = Pending::Proof;
        Ok(SessionEvent::Send(by_cephx(payload)))
    }
}

fn by_cephx(payload: Vec<u8>) -> AuthMessage {
    AuthMessage {
        protocol: Method::CEPHX.0,
        payload,
    }
}

/// The monitor's side, for one session.
#[derive(Debug)]
pub struct SessionServer {
    site: Box<dyn SiteRef>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Start,
    Challenged(LogInServer),
    Open(LogInServer),
    /// Let in by method none: there is nothing to renew.
    Believed,
}

/// What goes into an MAuthReply, and what it means.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionReply {
    /// The number of the method.
    pub protocol: u32,
    /// 0, or a negative error number.
    pub result: i32,
    /// The number of the client.
    pub global_id: u64,
    /// What the method has to say.
    pub payload: Vec<u8>,
    /// Who was let in by this.
    pub who: Option<Authenticated>,
    /// Why it was refused; for the own log.
    pub why: Option<AuthError>,
}

impl SessionServer {
    /// A session on which nobody has logged in yet: v1.
    #[must_use]
    pub fn new(site: Box<dyn SiteRef>) -> Self {
        Self {
            site,
            step: Step::Start,
        }
    }

    /// A session whose handshake let `who` in: v2.
    #[must_use]
    pub fn after(site: Box<dyn SiteRef>, who: &Authenticated) -> Self {
        let step = LogInServer::resumed(who).map_or(Step::Believed, Step::Open);
        Self { site, step }
    }

    /// Whether somebody has logged in. Until then nothing but MAuth is to be taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.step, Step::Open(_) | Step::Believed)
    }

    /// Answers an MAuth.
    pub fn handle(&mut self, cx: &mut AuthCx<'_>, protocol: u32, payload: &[u8]) -> SessionReply {
        let answer = match std::mem::replace(&mut self.step, Step::Start) {
            Step::Start if protocol != 0 => Err(AuthError::Invalid(
                "a method goes on that was not agreed upon",
            )),
            Step::Start => self.offered(cx, payload),
            Step::Challenged(login) => self.proved(cx, login, payload),
            Step::Open(login) => self.request(cx, login, payload),
            Step::Believed => {
                self.step = Step::Believed;
                Err(AuthError::Invalid(
                    "there is nothing to renew with method none",
                ))
            }
        };
        answer.unwrap_or_else(|why| SessionReply {
            result: why.errno(),
            why: Some(why),
            ..SessionReply::default()
        })
    }

    fn offered(&mut self, cx: &mut AuthCx<'_>, payload: &[u8]) -> Result<SessionReply, AuthError> {
        let (methods, name, global_id) = read_offer(payload)?;
        let taken = ask(&*self.site, |site| site.offer(name.kind).methods)?;
        let both = taken.into_iter().filter(|method| methods.contains(method));
        let known = both.filter(|method| matches!(*method, Method::NONE | Method::CEPHX));
        let Some(method) = known.max_by_key(|method| method.0) else {
            return Ok(SessionReply {
                result: EOPNOTSUPP,
                why: Some(AuthError::Unsupported(
                    format!("none of the methods is taken that {name} offers").into(),
                )),
                ..SessionReply::default()
            });
        };
        if method == Method::NONE {
            let assigned = ask(&*self.site, |site| match global_id {
                0 => site.assign_global_id(),
                held => held,
            })?;
            self.step = Step::Believed;
            return Ok(SessionReply {
                protocol: method.0,
                global_id: assigned,
                who: Some(Authenticated {
                    name,
                    global_id: assigned,
                    caps: Caps::all(),
                    ..Authenticated::default()
                }),
                ..SessionReply::default()
            });
        }
        let (login, payload) = ask(&*self.site, |site| {
            LogInServer::begin(site, cx, name, global_id)
        })??;
        let global_id = login.global_id();
        self.step = Step::Challenged(login);
        Ok(SessionReply {
            protocol: method.0,
            global_id,
            payload,
            ..SessionReply::default()
        })
    }

    fn proved(
        &mut self,
        cx: &mut AuthCx<'_>,
        mut login: LogInServer,
        payload: &[u8],
    ) -> Result<SessionReply, AuthError> {
        let proved = ask(&*self.site, |site| login.prove(site, cx, payload, None))?;
        let mut reply = SessionReply {
            protocol: Method::CEPHX.0,
            global_id: login.global_id(),
            ..SessionReply::default()
        };
        match proved {
            Ok((payload, who)) => {
                reply.payload = payload;
                reply.who = Some(who);
                self.step = Step::Open(login);
            }
            Err(why) => {
                reply.result = why.errno();
                reply.why = Some(why);
            }
        }
        Ok(reply)
    }

    fn request(
        &mut self,
        cx: &mut AuthCx<'_>,
        mut login: LogInServer,
        payload: &[u8],
    ) -> Result<SessionReply, AuthError> {
        let reply = ask(&*self.site, |site| login.answer(site, cx, payload));
        let global_id = login.global_id();
        self.step = Step::Open(login);
        let reply = reply?;
        Ok(SessionReply {
            protocol: Method::CEPHX.0,
            result: reply.result,
            global_id,
            payload: reply.payload,
            who: None,
            why: reply.why,
        })
    }
}

/// Reads the first payload of a client in v1.
fn read_offer(payload: &[u8]) -> Result<(Vec<Method>, AuthName, u64), AuthError> {
    let mut r = Reader::new(payload, "offer of methods");
    let version = r.u8()?;
    if version != 1 {
        return Err(r.bad_value(version).into());
    }
    let count = r.count(4)?;
    if count > METHODS_MAX {
        return Err(AuthError::Invalid("it offers too many methods"));
    }
    let methods = (0..count).map(|_| r.u32().map(Method));
    let methods = methods.collect::<Result<Vec<_>, _>>()?;
    let name = AuthName::decode(&mut r)?;
    Ok((methods, name, r.u64()?))
}
