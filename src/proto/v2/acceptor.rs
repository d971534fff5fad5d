//! The accepting side of a v2 handshake (msgr2 §4, §6.3, §7, §9 and §11).
//!
//! A pure state machine: bytes received and the caller's verdicts go in, bytes to send and events
//! come out. Invariants: it takes from the input exactly the bytes of the handshake, so what is
//! left behind [`Ready`](AcceptorEvent::Ready) belongs to the open phase; after an error every
//! further call gives the same error; between an event that wants an answer and the answer it takes
//! nothing; nobody makes a claim without having been authenticated and having signed.
//!
//! It does not know the socket, time-outs, policies or other sessions: what becomes of a claim is
//! the caller's verdict.

use std::net::SocketAddr;

use bytes::BytesMut;

use super::banner::Banner;
use super::claim::{Claim, Verdict, Wants};
use super::compression::Compression;
use super::control::{ClientIdent, Control, Reconnect, ServerIdent};
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::setup::{Opened, REQUIRED, Setup, Signatures, Standing, unexpected};
use super::state::State;
use crate::auth::{
    AuthAnswer, AuthCx, AuthError, AuthRequest, AuthServer, Authenticated, Method, Mode,
};
use crate::crypto::Role;
use crate::proto::error::ProtoError;
use crate::proto::{Checksums, Limits};
use crate::wire::{AddrType, AddrVec, EntityAddr, EntityName, EntityType};

/// Who accepts, and from where.
#[derive(Clone, Debug)]
pub struct AcceptorParams {
    /// What the two sides must be able to do; [`Banner::ours`] for all we can.
    pub banner: Banner,
    /// What we are.
    pub entity: EntityType,
    /// Our own addresses. Who means another one is refused.
    pub addrs: AddrVec,
    /// Where the socket comes from.
    pub peer_seen: SocketAddr,
    /// Which checksums are made and checked; v2 only knows `data`, for all segments.
    pub checksums: Checksums,
    /// Whether and how to compress.
    pub compression: Compression,
}

/// What the caller has to know or to decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AcceptorEvent {
    /// What the peer is: choose how it has to show who it is, then
    /// [`handle_auth`](Acceptor::handle_auth).
    Hello(EntityType),
    /// The peer was not let in and knows it; this is why, for the log. It may try again.
    Denied(AuthError),
    /// Decide on this, then [`handle_verdict`](Acceptor::handle_verdict).
    Claim(Claim),
    /// The session is open; [`into_open`](Acceptor::into_open) gives what reads and writes it.
    Ready(Opened),
}

#[derive(Debug)]
enum Step {
    Start,
    Banner,
    Hello,
    /// Waits for the caller to say how the peer has to show who it is.
    Method,
    Request,
    More {
        method: Method,
        modes: Vec<Mode>,
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
    Verdict {
        mode: Mode,
        claim: Claim,
    },
    Open,
    /// A frame is being handled, or has led to an error.
    Between,
}

/// The accepting side of one socket.
#[derive(Debug)]
pub struct Acceptor {
    params: AcceptorParams,
    setup: Setup,
    auth: Option<Box<dyn AuthServer>>,
    peer_type: EntityType,
    step: Step,
    /// Where it was when the last frame came.
    state: State,
    /// The peer's name, once the session is open.
    peer: EntityName,
    failed: Option<ProtoError>,
}

type Event = Result<Option<AcceptorEvent>, ProtoError>;

impl Acceptor {
    /// An acceptor that has sent nothing yet.
    #[must_use]
    pub fn new(params: AcceptorParams) -> Self {
        let terms = params.compression.clone();
        let setup = Setup::new(Role::Server, params.banner, params.checksums, terms);
        Self {
            params,
            setup,
            auth: None,
            peer_type: EntityType::default(),
            step: Step::Start,
            state: State::StartAccept,
            peer: EntityName::default(),
            failed: None,
        }
    }

    /// Where it stands; after an error, where it failed.
    #[must_use]
    pub fn state(&self) -> State {
        match self.step {
            Step::Start => State::StartAccept,
            Step::Banner => State::BannerAccepting,
            Step::Hello | Step::Method => State::HelloAccepting,
            Step::Request => State::AuthAccepting,
            Step::More { .. } => State::AuthAcceptingMore,
            Step::Sign { .. } => State::AuthAcceptingSign,
            Step::Compression { .. } => State::CompressionAccepting,
            Step::Session { .. } | Step::Verdict { .. } => State::SessionAccepting,
            Step::Open => State::Ready,
            Step::Between => self.state,
        }
    }

    /// The socket is accepted: sends the banner.
    pub fn start(&mut self, out: &mut BytesMut) {
        debug_assert!(matches!(self.step, Step::Start));
        self.setup.send_banner(out);
        self.step = Step::Banner;
    }

    /// Takes what is complete out of `rx` and appends what is to be sent to `out`. Call it again
    /// with the same bytes after an event, there may be more.
    ///
    /// # Errors
    /// What is wrong with the peer; the same again on every later call.
    pub fn handle_input(
        &mut self,
        rx: &mut BytesMut,
        cx: &mut AuthCx<'_>,
        out: &mut BytesMut,
    ) -> Event {
        self.guard(|this| this.advance(rx, cx, out))
    }

    /// The answer to [`Hello`](AcceptorEvent::Hello): how the peer has to show who it is.
    ///
    /// # Errors
    /// If nobody asked.
    pub fn handle_auth(&mut self, auth: Box<dyn AuthServer>) -> Result<(), ProtoError> {
        let set = self.guard(|this| {
            if !matches!(this.step, Step::Method) {
                return Err(ProtoError::LocalBug("a method that nobody asked for"));
            }
            this.auth = Some(auth);
            this.step = Step::Request;
            Ok(None)
        });
        set.map(|_| ())
    }

    /// The answer to a claim. With an event the session is open.
    ///
    /// # Errors
    /// If there was no claim, or another one.
    pub fn handle_verdict(&mut self, verdict: Verdict, out: &mut BytesMut) -> Event {
        self.guard(|this| this.answer(verdict, out))
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
                Step::Start | Step::Method | Step::Verdict { .. } => return Ok(None),
                Step::Open | Step::Between => return Ok(None),
                Step::Banner => {
                    if !self.setup.take_banner(rx)? {
                        return Ok(None);
                    }
                    let seen = self.params.peer_seen;
                    let hello = Control::Hello {
                        entity: self.params.entity,
                        peer_addr: EntityAddr::new(AddrType::Msgr2, seen, 0),
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
            (Step::Hello, Control::Hello { entity, .. }) => {
                self.peer_type = entity;
                self.step = Step::Method;
                Ok(Some(AcceptorEvent::Hello(entity)))
            }
            (Step::Request, Control::AuthRequest(request)) => {
                self.setup.count_round()?;
                self.on_request(request, cx, out)
            }
            (Step::More { method, modes }, Control::AuthRequestMore(payload)) => {
                self.setup.count_round()?;
                let auth = self.auth.as_mut().ok_or(NO_METHOD)?;
                let answer = auth.more(cx, &payload);
                self.on_answer(answer, method, modes, true, out)
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
                self.step = if self.setup.compression {
                    Step::Compression { mode, who }
                } else {
                    Step::Session { mode, who }
                };
                Ok(None)
            }
            (
                Step::Compression { mode, who },
                Control::CompressionRequest { wanted, algorithms },
            ) => {
                let asked = (wanted, &algorithms[..]);
                let peer = self.peer_type;
                self.setup.answer_compression(peer, mode, asked, out)?;
                self.step = Step::Session { mode, who };
                Ok(None)
            }
            (Step::Session { mode, who }, Control::ClientIdent(ident)) => {
                self.on_ident(mode, who, ident)
            }
            (Step::Session { mode, who }, Control::SessionReconnect(reconnect)) => {
                self.on_reconnect(mode, who, reconnect)
            }
            (_, control) => Err(unexpected(&control, self.state)),
        }
    }

    fn on_request(
        &mut self,
        request: AuthRequest,
        cx: &mut AuthCx<'_>,
        out: &mut BytesMut,
    ) -> Event {
        let auth = self.auth.as_mut().ok_or(NO_METHOD)?;
        let answer = auth.begin(cx, &request);
        self.on_answer(answer, request.method, request.modes, false, out)
    }

    fn on_answer(
        &mut self,
        answer: AuthAnswer,
        method: Method,
        modes: Vec<Mode>,
        challenged: bool,
        out: &mut BytesMut,
    ) -> Event {
        if method == Method(0) && !matches!(answer, AuthAnswer::Refused { .. }) {
            return Err(ProtoError::LocalBug("no method is not a method"));
        }
        match answer {
            AuthAnswer::More(payload) => {
                self.setup.send(&Control::AuthReplyMore(payload), out)?;
                self.step = Step::More { method, modes };
                Ok(None)
            }
            AuthAnswer::Done {
                mode,
                payload,
                mut who,
            } => {
                if !modes.contains(&mode) {
                    let bug = "a connection mode that the peer did not offer";
                    return Err(ProtoError::LocalBug(bug));
                }
                let global_id = who.global_id;
                let done = Control::AuthDone {
                    global_id,
                    mode,
                    payload,
                };
                self.setup.send(&done, out)?;
                let signatures = self.setup.switch(mode, &mut who)?;
                let signature = Control::AuthSignature(signatures.ours);
                self.setup.send(&signature, out)?;
                self.auth = None;
                self.step = Step::Sign {
                    signatures,
                    mode,
                    who,
                };
                Ok(None)
            }
            AuthAnswer::Refused { refusal, why } => {
                self.setup.send(&Control::AuthBadMethod(refusal), out)?;
                // After a challenge only its answer is taken, not another beginning (msgr2 §7.1).
                self.step = if challenged {
                    Step::More { method, modes }
                } else {
                    Step::Request
                };
                Ok(Some(AcceptorEvent::Denied(why)))
            }
        }
    }

    fn on_ident(&mut self, mode: Mode, who: Authenticated, ident: ClientIdent) -> Event {
        if !self.params.addrs.0.contains(&ident.target) {
            let text = format!(
                "it means to reach {}, this is {}: its map is old, or something that forwards \
                 connections is in between",
                ident.target, self.params.addrs
            );
            return Err(ProtoError::misbehaved(text));
        }
        let wants = Wants::New {
            gid: ident.gid,
            features: ident.supported,
            required: ident.required,
            lossy: ident.lossy,
        };
        let (addrs, cookie) = (ident.addrs, ident.cookie);
        self.claim(mode, who, addrs, (ident.global_seq, cookie), wants)
    }

    fn on_reconnect(&mut self, mode: Mode, who: Authenticated, reconnect: Reconnect) -> Event {
        let wants = Wants::Resume {
            server_cookie: reconnect.server_cookie,
            connect_seq: reconnect.connect_seq,
            msg_seq: reconnect.msg_seq,
        };
        let (addrs, cookie) = (reconnect.addrs, reconnect.client_cookie);
        self.claim(mode, who, addrs, (reconnect.global_seq, cookie), wants)
    }

    fn claim(
        &mut self,
        mode: Mode,
        who: Authenticated,
        peer_addrs: AddrVec,
        (global_seq, client_cookie): (u64, u64),
        wants: Wants,
    ) -> Event {
        self.setup.count_attempt()?;
        if peer_addrs.front() == EntityAddr::default() {
            let text = "it has no address by which it could be known";
            return Err(ProtoError::misbehaved(text));
        }
        let claim = Claim {
            peer_addrs,
            peer_type: self.peer_type,
            who,
            global_seq,
            client_cookie,
            wants,
        };
        let event = AcceptorEvent::Claim(claim.clone());
        self.step = Step::Verdict { mode, claim };
        Ok(Some(event))
    }

    fn answer(&mut self, verdict: Verdict, out: &mut BytesMut) -> Event {
        self.state = self.state();
        let Step::Verdict { mode, claim } = std::mem::replace(&mut self.step, Step::Between) else {
            return Err(ProtoError::LocalBug("a verdict without a claim"));
        };
        let control = match verdict {
            Verdict::Open { .. } | Verdict::Resume { .. } => {
                return self.open(mode, claim, verdict, out);
            }
            Verdict::MissingFeatures(missing) => Control::IdentMissingFeatures(missing),
            Verdict::Reset { full } => Control::SessionReset { full },
            Verdict::Retry(connect_seq) => Control::SessionRetry { connect_seq },
            Verdict::RetryGlobal(global_seq) => Control::SessionRetryGlobal { global_seq },
            Verdict::Wait => Control::Wait,
        };
        self.setup.send(&control, out)?;
        let who = claim.who;
        self.step = Step::Session { mode, who };
        Ok(None)
    }

    fn open(&mut self, mode: Mode, claim: Claim, verdict: Verdict, out: &mut BytesMut) -> Event {
        let (control, opened) = match (verdict, claim.wants) {
            (
                Verdict::Open {
                    addrs,
                    gid: own_gid,
                    features: ours,
                    required,
                    global_seq,
                    lossy,
                    server_cookie,
                },
                Wants::New { gid, features, .. },
            ) => {
                let ident = ServerIdent {
                    addrs,
                    gid: own_gid,
                    global_seq,
                    supported: ours,
                    required: required | REQUIRED,
                    lossy,
                    cookie: server_cookie,
                };
                let standing = Standing {
                    features: ours & features,
                    lossy,
                    peer: EntityName::new(claim.peer_type, gid),
                };
                let opened = opened(mode, claim, &standing, server_cookie, (0, None));
                (Control::ServerIdent(ident), opened)
            }
            (
                Verdict::Resume {
                    in_seq,
                    server_cookie,
                    standing,
                },
                Wants::Resume {
                    connect_seq,
                    msg_seq,
                    ..
                },
            ) => {
                let numbers = (connect_seq, Some(msg_seq));
                let opened = opened(mode, claim, &standing, server_cookie, numbers);
                (Control::SessionReconnectOk { msg_seq: in_seq }, opened)
            }
            _ => {
                let bug = "a verdict on a new session for one that goes on, or the reverse";
                return Err(ProtoError::LocalBug(bug));
            }
        };
        self.setup.send(&control, out)?;
        self.peer = opened.peer;
        self.step = Step::Open;
        Ok(Some(AcceptorEvent::Ready(opened)))
    }
}

const NO_METHOD: ProtoError = ProtoError::LocalBug("authentication without a method");

fn opened(
    mode: Mode,
    claim: Claim,
    standing: &Standing,
    server_cookie: u64,
    (connect_seq, acked): (u64, Option<u64>),
) -> Opened {
    Opened {
        features: standing.features,
        global_seq: Some(claim.global_seq),
        connect_seq,
        lossy: standing.lossy,
        acked,
        peer: standing.peer,
        peer_addrs: claim.peer_addrs,
        client_cookie: claim.client_cookie,
        server_cookie,
        mode,
        who: claim.who,
    }
}
