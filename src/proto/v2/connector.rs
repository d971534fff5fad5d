//! The connecting side of a v2 handshake (msgr2 §4, §6.3, §7, §9 and §10).
//!
//! A pure state machine: bytes received and decisions of the caller go in, bytes to send and
//! events come out. Invariants: it takes from the input exactly the bytes of the handshake, so what
//! is left behind [`Ready`](ConnectorEvent::Ready) belongs to the open phase; after an error every
//! further call gives the same error; it asks for a session only when the peer's signature was
//! right, and takes no mode that was not offered.
//!
//! It does not know the socket, time-outs, back-off, or what else goes on in the session. The
//! counters and cookies it is given are those of the session, which the caller updates from the
//! events.

use bytes::BytesMut;

use super::banner::Banner;
use super::compression::Compression;
use super::control::{ClientIdent, Control, Reconnect, ServerIdent};
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::setup::{Opened, REQUIRED, Setup, Signatures, Standing, denied, unexpected};
use super::state::State;
use crate::auth::{AuthClient, AuthCx, AuthRefusal, AuthRequest, Authenticated, Method, Mode};
use crate::crypto::Role;
use crate::proto::error::{Mismatch, ProtoError};
use crate::proto::{Checksums, Limits};
use crate::wire::{AddrType, AddrVec, EntityAddr, EntityName, EntityType};

/// Who connects to whom, and how.
#[derive(Clone, Debug)]
pub struct ConnectorParams {
    /// What the two sides must be able to do; [`Banner::ours`] for all we can.
    pub banner: Banner,
    /// Our own name. Its number is -1 as long as the monitors have not given one.
    pub name: EntityName,
    /// Our own addresses; the ip of one may be blank if we do not know it.
    pub addrs: AddrVec,
    /// The address that we mean to connect to, with its nonce.
    pub peer_addr: EntityAddr,
    /// What we mean to find there.
    pub peer_type: EntityType,
    /// What we offer.
    pub features: u64,
    /// What we require.
    pub required: u64,
    /// Whether our policy is lossy.
    pub lossy: bool,
    /// The number of this attempt.
    pub global_seq: u64,
    /// Our half of the session's name, random and not 0; 0 if our policy is lossy.
    pub client_cookie: u64,
    /// The session to go on with; `None` for a new one.
    pub resume: Option<Resume>,
    /// Which checksums are made and checked; v2 only knows `data`, for all segments.
    pub checksums: Checksums,
    /// Whether and how to compress.
    pub compression: Compression,
}

/// A session to go on with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resume {
    /// The peer's half of the session's name.
    pub server_cookie: u64,
    /// How often it has been reconnected, this time included.
    pub connect_seq: u64,
    /// The number of the last message that we have got in it.
    pub in_seq: u64,
    /// What was agreed on when it began.
    pub standing: Standing,
}

/// What the caller has to know or to decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConnectorEvent {
    /// An own ip was blank; this is our first address as the acceptor sees us, with our own port
    /// and nonce. It is in use already.
    Learned(EntityAddr),
    /// The acceptor has seen a newer attempt: raise the counter above this one, then
    /// [`handle_retry`](Connector::handle_retry).
    RetryGlobal {
        /// The newest that the acceptor has seen.
        peer_global_seq: u64,
    },
    /// The session has been reconnected more often, which is taken into account already: take it
    /// over, then [`handle_retry`](Connector::handle_retry).
    RetrySession {
        /// The session's number from now on.
        connect_seq: u64,
    },
    /// The acceptor does not know the session: forget the peer's cookie, `connect_seq` and
    /// `in_seq`, then [`handle_retry`](Connector::handle_retry), which asks for a new one.
    ResetSession {
        /// All that is queued is void too, and the owner has to know.
        full: bool,
        /// The cookie from now on; another one if all is void.
        client_cookie: u64,
    },
    /// The connection that the peer opens goes first. Nothing more will come here.
    Wait,
    /// The session is open; [`into_open`](Connector::into_open) gives what reads and writes it.
    Ready(Opened),
}

#[derive(Debug)]
enum Step {
    Start,
    Banner,
    Hello,
    /// Waits for an answer; whether a challenge has been answered.
    Auth {
        answered: bool,
    },
    Sign {
        signatures: Signatures,
        mode: Mode,
        who: Authenticated,
    },
    Compression {
        mode: Mode,
        who: Authenticated,
    },
    Session {
        mode: Mode,
        who: Authenticated,
    },
    Retry {
        mode: Mode,
        who: Authenticated,
    },
    Wait,
    Open,
    /// A frame is being handled, or has led to an error.
    Between,
}

/// The connecting side of one socket.
#[derive(Debug)]
pub struct Connector {
    params: ConnectorParams,
    setup: Setup,
    auth: Box<dyn AuthClient>,
    /// The last request, which the answer is compared with.
    asked: Option<(Method, Vec<Mode>)>,
    step: Step,
    /// Where it was when the last frame came.
    state: State,
    /// The peer's name, once the session is open.
    peer: EntityName,
    failed: Option<ProtoError>,
}

type Event = Result<Option<ConnectorEvent>, ProtoError>;

impl Connector {
    /// A connector that has sent nothing yet.
    #[must_use]
    pub fn new(mut params: ConnectorParams, auth: Box<dyn AuthClient>) -> Self {
        params.peer_addr.kind = AddrType::Msgr2;
        let terms = params.compression.clone();
        let setup = Setup::new(Role::Client, params.banner, params.checksums, terms);
        let peer = EntityName::new(params.peer_type, -1);
        Self {
            params,
            setup,
            auth,
            asked: None,
            step: Step::Start,
            state: State::StartConnect,
            peer,
            failed: None,
        }
    }

    /// Where it stands; after an error, where it failed.
    #[must_use]
    pub fn state(&self) -> State {
        match self.step {
            Step::Start => State::StartConnect,
            Step::Banner => State::BannerConnecting,
            Step::Hello => State::HelloConnecting,
            Step::Auth { .. } => State::AuthConnecting,
            Step::Sign { .. } => State::AuthConnectingSign,
            Step::Compression { .. } => State::CompressionConnecting,
            Step::Session { .. } | Step::Retry { .. } if self.params.resume.is_some() => {
                State::SessionReconnecting
            }
            Step::Session { .. } | Step::Retry { .. } => State::SessionConnecting,
            Step::Wait => State::Wait,
            Step::Open => State::Ready,
            Step::Between => self.state,
        }
    }

    /// The number of the attempt that was sent last; a retry keeps it unless it was too low.
    #[must_use]
    pub fn global_seq(&self) -> u64 {
        self.params.global_seq
    }

    /// The socket is connected: sends the banner.
    pub fn start(&mut self, out: &mut BytesMut) {
        debug_assert!(matches!(self.step, Step::Start));
        self.setup.send_banner(out);
        self.step = Step::Banner;
    }

    /// Takes what is complete out of `rx` and appends what is to be sent to `out`. Call it again
    /// with the same bytes after an event, there may be more.
    ///
    /// # Errors
    /// What is wrong with the peer, or why it does not let us in; the same again on each later call.
    pub fn handle_input(
        &mut self,
        rx: &mut BytesMut,
        cx: &mut AuthCx<'_>,
        out: &mut BytesMut,
    ) -> Event {
        self.guard(|this| this.advance(rx, cx, out))
    }

    /// The caller has dealt with one of the retry events: asks again.
    ///
    /// # Errors
    /// If there was none.
    pub fn handle_retry(&mut self, global_seq: u64, out: &mut BytesMut) -> Result<(), ProtoError> {
        let asked = self.guard(|this| {
            this.state = this.state();
            let step = std::mem::replace(&mut this.step, Step::Between);
            let Step::Retry { mode, who } = step else {
                return Err(ProtoError::LocalBug("a retry that nobody asked for"));
            };
            this.params.global_seq = global_seq;
            this.ask(mode, who, out)?;
            Ok(None)
        });
        asked.map(|_| ())
    }

    /// What reads and writes the open session; `None` if it is not open.
    #[must_use]
    pub fn into_open(self, limits: Limits) -> Option<(Decoder, Encoder)> {
        let open = matches!(self.step, Step::Open) && self.failed.is_none();
        open.then(|| self.setup.split(self.peer, limits))
    }

    fn guard(&mut self, step: impl FnOnce(&mut Self) -> Event) -> Event {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        step(self).inspect_err(|e| self.failed = Some(e.clone()))
    }

    fn advance(&mut self, rx: &mut BytesMut, cx: &mut AuthCx<'_>, out: &mut BytesMut) -> Event {
        loop {
            match self.step {
                Step::Start | Step::Retry { .. } | Step::Wait | Step::Open | Step::Between => {
                    return Ok(None);
                }
                Step::Banner => {
                    if !self.setup.take_banner(rx)? {
                        return Ok(None);
                    }
                    let hello = Control::Hello {
                        entity: self.params.name.kind,
                        peer_addr: self.params.peer_addr,
                    };
                    self.setup.send(&hello, out)?;
                    self.step = Step::Hello;
                }
                _ => {
                    let Some(control) = self.setup.next(rx)? else {
                        return Ok(None);
                    };
                    let event = self.on_frame(control, cx, out)?;
                    if event.is_some() {
                        return Ok(event);
                    }
                }
            }
        }
    }

    fn on_frame(&mut self, control: Control, cx: &mut AuthCx<'_>, out: &mut BytesMut) -> Event {
        self.state = self.state();
        match (std::mem::replace(&mut self.step, Step::Between), control) {
            (Step::Hello, Control::Hello { entity, peer_addr }) => {
                self.on_hello(entity, &peer_addr, cx, out)
            }
            (Step::Auth { answered }, control) => {
                self.setup.count_round()?;
                self.on_auth(answered, control, cx, out)
            }
            (
                Step::Sign {
                    signatures,
                    mode,
                    who,
                },
                Control::AuthSignature(got),
            ) => {
                signatures.check(&got)?;
                self.setup.trust();
                self.on_trusted(mode, who, out)
            }
            (Step::Compression { mode, who }, Control::CompressionDone { on, algorithm }) => {
                let peer = self.params.peer_type;
                self.setup.take_compression(peer, mode, (on, algorithm))?;
                self.ask(mode, who, out)?;
                Ok(None)
            }
            (Step::Session { mode, who }, control) => self.on_session(mode, who, control, cx),
            (_, control) => Err(unexpected(&control, self.state)),
        }
    }

    fn on_hello(
        &mut self,
        entity: EntityType,
        seen: &EntityAddr,
        cx: &mut AuthCx<'_>,
        out: &mut BytesMut,
    ) -> Event {
        let meant = self.params.peer_type;
        if entity != meant {
            return Err(Mismatch::EntityType {
                meant,
                found: entity,
            }
            .into());
        }
        let learned = self.learn(seen);
        let request = self.auth.begin(cx).map_err(|e| denied(&e))?;
        self.request(request, out)?;
        Ok(learned.map(ConnectorEvent::Learned))
    }

    /// Takes over the ip that the acceptor sees, where we have none (msgr2 §6.3).
    fn learn(&mut self, seen: &EntityAddr) -> Option<EntityAddr> {
        let sock = seen.sock.filter(|_| !seen.is_blank_ip())?;
        let addrs = &mut self.params.addrs.0;
        if addrs.is_empty() {
            addrs.push(EntityAddr::default());
        }
        let was_blank = addrs[0].is_blank_ip();
        for addr in addrs.iter_mut().filter(|addr| addr.is_blank_ip()) {
            let mut own = sock;
            own.set_port(addr.port());
            addr.sock = Some(own);
            if addr.kind == AddrType::None {
                addr.kind = AddrType::Any;
            }
        }
        was_blank.then(|| addrs[0])
    }

    fn request(&mut self, request: AuthRequest, out: &mut BytesMut) -> Result<(), ProtoError> {
        if request.method == Method(0) || request.modes.is_empty() {
            let bug = "a request for authentication without a method or a mode";
            return Err(ProtoError::LocalBug(bug));
        }
        self.asked = Some((request.method, request.modes.clone()));
        self.setup.send(&Control::AuthRequest(request), out)?;
        self.step = Step::Auth { answered: false };
        Ok(())
    }

    fn on_auth(
        &mut self,
        answered: bool,
        control: Control,
        cx: &mut AuthCx<'_>,
        out: &mut BytesMut,
    ) -> Event {
        match control {
            Control::AuthBadMethod(refusal) => self.on_refusal(answered, &refusal, cx, out)?,
            Control::AuthReplyMore(payload) => {
                let answer = self.auth.more(cx, &payload).map_err(|e| denied(&e))?;
                self.setup.send(&Control::AuthRequestMore(answer), out)?;
                self.step = Step::Auth { answered: true };
            }
            Control::AuthDone {
                global_id,
                mode,
                payload,
            } => {
                self.check_mode(mode)?;
                let done = self.auth.done(cx, global_id, mode, &payload);
                let mut who = done.map_err(|e| denied(&e))?;
                let signatures = self.setup.switch(mode, &mut who)?;
                let signature = Control::AuthSignature(signatures.ours);
                self.setup.send(&signature, out)?;
                self.step = Step::Sign {
                    signatures,
                    mode,
                    who,
                };
            }
            other => return Err(unexpected(&other, self.state)),
        }
        Ok(None)
    }

    /// Another try, which the peer only takes in place of the first request (msgr2 §7.1).
    fn on_refusal(
        &mut self,
        answered: bool,
        refusal: &AuthRefusal,
        cx: &mut AuthCx<'_>,
        out: &mut BytesMut,
    ) -> Result<(), ProtoError> {
        let next = self.auth.refused(cx, refusal).map_err(|e| denied(&e))?;
        if answered {
            let text = format!(
                "the peer is not convinced by what it was shown by method {} (error {})",
                refusal.method, refusal.result
            );
            return Err(ProtoError::AuthDenied(text.into()));
        }
        self.request(next, out)
    }

    /// Nobody but the peer may have picked the mode, out of those that we would use.
    fn check_mode(&self, mode: Mode) -> Result<(), ProtoError> {
        let asked = self.asked.as_ref();
        if asked.is_some_and(|(_, modes)| modes.contains(&mode)) {
            return Ok(());
        }
        let text = format!(
            "the peer picked connection mode {}, which we did not offer: somebody may have changed \
             it on the way",
            mode.0
        );
        Err(ProtoError::AuthDenied(text.into()))
    }

    fn on_trusted(&mut self, mode: Mode, who: Authenticated, out: &mut BytesMut) -> Event {
        if !self.setup.compression {
            self.ask(mode, who, out)?;
            return Ok(None);
        }
        let peer = self.params.peer_type;
        let request = self.setup.compression_request(peer, mode);
        self.setup.send(&request, out)?;
        self.step = Step::Compression { mode, who };
        Ok(None)
    }

    /// Asks for a session.
    fn ask(
        &mut self,
        mode: Mode,
        who: Authenticated,
        out: &mut BytesMut,
    ) -> Result<(), ProtoError> {
        let p = &self.params;
        let control = match &p.resume {
            Some(resume) => Control::SessionReconnect(Reconnect {
                addrs: p.addrs.clone(),
                client_cookie: p.client_cookie,
                server_cookie: resume.server_cookie,
                global_seq: p.global_seq,
                connect_seq: resume.connect_seq,
                msg_seq: resume.in_seq,
            }),
            None => Control::ClientIdent(ClientIdent {
                addrs: p.addrs.clone(),
                target: p.peer_addr,
                gid: p.name.num,
                global_seq: p.global_seq,
                supported: p.features,
                required: p.required | REQUIRED,
                lossy: p.lossy,
                cookie: p.client_cookie,
            }),
        };
        self.setup.send(&control, out)?;
        self.step = Step::Session { mode, who };
        Ok(())
    }

    fn on_session(
        &mut self,
        mode: Mode,
        who: Authenticated,
        control: Control,
        cx: &mut AuthCx<'_>,
    ) -> Event {
        let event = match (self.params.resume.as_mut(), control) {
            (_, Control::Wait) => {
                self.step = Step::Wait;
                return Ok(Some(ConnectorEvent::Wait));
            }
            (None, Control::ServerIdent(ident)) => return self.on_ident(mode, who, ident),
            (None, Control::IdentMissingFeatures(missing)) => {
                let ours = self.params.features;
                return Err(Mismatch::WeLack { missing, ours }.into());
            }
            (Some(resume), Control::SessionReconnectOk { msg_seq }) => {
                let resume = *resume;
                return Ok(Some(self.resumed(mode, who, &resume, msg_seq)));
            }
            (Some(resume), Control::SessionRetry { connect_seq }) => {
                let ours = resume.connect_seq;
                let Some(next) = connect_seq.checked_add(1).filter(|next| *next > ours) else {
                    let text = format!("it has connect_seq {connect_seq}, no more than our {ours}");
                    return Err(ProtoError::misbehaved(text));
                };
                resume.connect_seq = next;
                ConnectorEvent::RetrySession { connect_seq: next }
            }
            (Some(_), Control::SessionRetryGlobal { global_seq }) => ConnectorEvent::RetryGlobal {
                peer_global_seq: global_seq,
            },
            (Some(_), Control::SessionReset { full }) => {
                self.params.resume = None;
                if full {
                    self.params.client_cookie = cookie(self.params.lossy, cx);
                }
                ConnectorEvent::ResetSession {
                    full,
                    client_cookie: self.params.client_cookie,
                }
            }
            (_, other) => return Err(unexpected(&other, self.state)),
        };
        self.setup.count_attempt()?;
        self.step = Step::Retry { mode, who };
        Ok(Some(event))
    }

    fn on_ident(&mut self, mode: Mode, who: Authenticated, ident: ServerIdent) -> Event {
        let p = &self.params;
        if !ident.addrs.0.contains(&p.peer_addr) {
            let text = format!(
                "it is found at {}, we meant {}: it was restarted, or something that forwards \
                 connections is in between; take the address from a current map",
                ident.addrs, p.peer_addr
            );
            return Err(ProtoError::misbehaved(text));
        }
        let missing = (p.required | REQUIRED) & !ident.supported;
        if missing != 0 {
            let theirs = ident.supported;
            return Err(Mismatch::PeerLacks { missing, theirs }.into());
        }
        self.peer = EntityName::new(p.peer_type, ident.gid);
        self.step = Step::Open;
        Ok(Some(ConnectorEvent::Ready(Opened {
            features: p.features & ident.supported,
            global_seq: Some(ident.global_seq),
            connect_seq: 0,
            lossy: ident.lossy,
            acked: None,
            peer: self.peer,
            peer_addrs: ident.addrs,
            client_cookie: p.client_cookie,
            server_cookie: ident.cookie,
            mode,
            who,
        })))
    }

    fn resumed(
        &mut self,
        mode: Mode,
        who: Authenticated,
        resume: &Resume,
        msg_seq: u64,
    ) -> ConnectorEvent {
        self.peer = resume.standing.peer;
        self.step = Step::Open;
        ConnectorEvent::Ready(Opened {
            features: resume.standing.features,
            global_seq: None,
            connect_seq: resume.connect_seq,
            lossy: resume.standing.lossy,
            acked: Some(msg_seq),
            peer: self.peer,
            peer_addrs: AddrVec::default(),
            client_cookie: self.params.client_cookie,
            server_cookie: resume.server_cookie,
            mode,
            who,
        })
    }
}

/// A new half of a session's name (msgr2 §9.1).
fn cookie(lossy: bool, cx: &mut AuthCx<'_>) -> u64 {
    if lossy {
        return 0;
    }
    let mut bytes = [0; 8];
    (cx.random)(&mut bytes);
    // 0 means that there is none.
    u64::from_le_bytes(bytes).max(1)
}
