//! The handshake of a link, of either protocol and on either side: drives the sans-I/O cores with
//! what the messenger knows, and says what the worker has to decide.
//!
//! Runs on the link's worker. It knows no socket and no timer; what it has to send is appended to a
//! buffer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Connection;
use super::codec::{Reading, Writing};
use crate::auth::{
    AuthAnswer, AuthClient, AuthCx, AuthError, AuthRequest, AuthServer, Authenticated, Method,
    Mode, Signer,
};
use crate::error::{Error, ErrorKind};
use crate::inject::{Step, Who};
use crate::messenger::Shared;
use crate::proto::v1::{self, ReplyTag};
use crate::proto::{Phase, ProtoError, Version, v2};
use crate::wire::{AddrType, AddrVec, EntityAddr, EntityType, features};

/// What a session remembers of its links (msgr1 §8, msgr2 §9.1). While there is a link it has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Numbers {
    /// The incarnation of the session; with v1 32 bits of it.
    pub(crate) connect_seq: u64,
    /// The number of the peer's last attempt that was let in.
    pub(crate) peer_global_seq: u64,
    /// The number of the last message that was received.
    pub(crate) in_seq: u64,
    /// The half of the session's name of the side that connected first, with v2; 0 if there is none.
    pub(crate) client_cookie: u64,
    /// The other half; 0 until it has been open.
    pub(crate) server_cookie: u64,
    /// What was agreed on when it began, with v2.
    pub(crate) standing: Option<v2::Standing>,
}

/// What a handshake agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) features: u64,
    pub(crate) lossy: bool,
    /// The number of the last message that the peer has; `None` if the session begins anew.
    pub(crate) acked: Option<u64>,
    /// Who was let in by whom.
    pub(crate) who: Arc<Authenticated>,
    connect_seq: u64,
    peer_global_seq: Option<u64>,
    /// What only v2 has: the two halves of the session's name, and what was agreed on.
    names: Option<([u64; 2], v2::Standing)>,
}

impl Opened {
    /// Notes what the session has to remember.
    pub(super) fn note(&self, numbers: &mut Numbers) {
        numbers.connect_seq = self.connect_seq;
        if let Some(seq) = self.peer_global_seq {
            numbers.peer_global_seq = seq;
        }
        if let Some(([client, server], standing)) = self.names {
            (numbers.client_cookie, numbers.server_cookie) = (client, server);
            numbers.standing = Some(standing);
            if self.acked.is_none() {
                numbers.in_seq = 0;
            }
        }
    }

    fn v1(opened: v1::Opened, who: Authenticated) -> Self {
        Self {
            features: opened.features,
            lossy: opened.lossy,
            acked: opened.acked,
            who: Arc::new(who),
            connect_seq: opened.connect_seq.into(),
            peer_global_seq: Some(opened.global_seq.into()),
            names: None,
        }
    }

    fn v2(opened: v2::Opened) -> Self {
        let standing = v2::Standing {
            features: opened.features,
            lossy: opened.lossy,
            peer: opened.peer,
        };
        Self {
            features: opened.features,
            lossy: opened.lossy,
            acked: opened.acked,
            who: Arc::new(opened.who),
            connect_seq: opened.connect_seq,
            peer_global_seq: opened.global_seq,
            names: Some(([opened.client_cookie, opened.server_cookie], standing)),
        }
    }
}

/// What a peer that has connected says it is and wants.
#[derive(Clone, Debug)]
pub(crate) enum Claim {
    V1(v1::Claim),
    V2(v2::Claim),
}

impl Claim {
    pub(crate) fn peer_type(&self) -> EntityType {
        match self {
            Self::V1(claim) => claim.peer_type,
            Self::V2(claim) => claim.peer_type,
        }
    }

    /// By which its session is known.
    pub(crate) fn peer_addrs(&self) -> AddrVec {
        match self {
            Self::V1(claim) => claim.peer_addr.into(),
            Self::V2(claim) => claim.peer_addrs.clone(),
        }
    }

    /// Where it may be connected to.
    pub(crate) fn peer_addr(&self) -> EntityAddr {
        match self {
            Self::V1(claim) => claim.peer_addr,
            Self::V2(claim) => {
                let addrs = &claim.peer_addrs;
                let v2 = addrs.0.iter().find(|addr| addr.kind == AddrType::Msgr2);
                v2.copied().unwrap_or_else(|| addrs.front())
            }
        }
    }

    pub(crate) fn version(&self) -> Version {
        match self {
            Self::V1(_) => Version::V1,
            Self::V2(_) => Version::V2,
        }
    }
}

/// The answer to a [`Claim`].
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    V1(v1::Verdict),
    V2(v2::Verdict),
}

/// What the worker has to see to.
pub(super) enum Outcome {
    /// The connecting side is done.
    Connected(Opened),
    /// A peer wants in.
    Claim(Claim),
    /// The accepting side is done.
    Accepted(Opened),
    /// The peer lost its session: what is queued for it is void. With v2 the session has another
    /// name from now on.
    ResetSession { client_cookie: u64 },
}

/// What a handshake needs of its surroundings.
pub(super) struct Cx<'a> {
    pub(super) shared: &'a Shared,
    pub(super) numbers: &'a mut Numbers,
    pub(super) connection: Option<&'a Connection>,
    /// Where the socket of a peer that has connected is.
    pub(super) seen: EntityAddr,
    pub(super) out: &'a mut BytesMut,
}

impl Cx<'_> {
    fn step(&self, step: Step) -> Result<(), Error> {
        let who = Who::Connecting(self.connection);
        self.shared.injector.step(step, who)
    }
}

/// One side of the handshake of one link.
pub(crate) enum Handshake {
    ConnectV1(Box<ConnectV1>),
    AcceptV1(Box<AcceptV1>),
    ConnectV2(Box<v2::Connector>),
    AcceptV2(Box<v2::Acceptor>),
}

/// Connecting by v1, where the authorizer goes beside the protocol.
pub(crate) struct ConnectV1 {
    core: v1::Connector,
    auth: Option<Box<dyn AuthClient>>,
    who: Authenticated,
}

/// Accepting by v1.
pub(crate) struct AcceptV1 {
    core: v1::Acceptor,
    /// Has given a challenge, and waits for the answer.
    auth: Option<Box<dyn AuthServer>>,
    who: Authenticated,
}

impl Handshake {
    /// The connecting side, which speaks first.
    pub(super) fn connect(connection: &Connection, cx: &mut Cx<'_>) -> Result<Self, Error> {
        let session = &connection.0;
        match session.version {
            Version::V1 => {
                let mut auth = cx.shared.credentials.client_v1(session.peer_type);
                let request = auth
                    .as_mut()
                    .map(|auth| cx.shared.with_auth(|a| auth.begin(a)));
                let request = request.transpose().map_err(denied)?;
                let authorizer = request.map(|asked| (asked.method.0, asked.payload.into()));
                let params = cx.shared.connector_v1(session, cx.numbers, authorizer);
                let mut core = v1::Connector::new(params);
                core.start(cx.out);
                let who = Authenticated::default();
                Ok(Self::ConnectV1(Box::new(ConnectV1 { core, auth, who })))
            }
            Version::V2 => {
                let params = cx.shared.connector_v2(session, cx.numbers);
                let auth = cx.shared.credentials.client(session.peer_type);
                let mut core = v2::Connector::new(params, auth);
                core.start(cx.out);
                Ok(Self::ConnectV2(Box::new(core)))
            }
        }
    }

    pub(crate) fn accept_v1(params: v1::AcceptorParams) -> Self {
        Self::AcceptV1(Box::new(AcceptV1 {
            core: v1::Acceptor::new(params),
            auth: None,
            who: Authenticated::default(),
        }))
    }

    pub(crate) fn accept_v2(params: v2::AcceptorParams) -> Self {
        Self::AcceptV2(Box::new(v2::Acceptor::new(params)))
    }

    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::ConnectV1(side) => side.core.state().into(),
            Self::AcceptV1(side) => side.core.state().into(),
            Self::ConnectV2(core) => core.state().into(),
            Self::AcceptV2(core) => core.state().into(),
        }
    }

    pub(super) fn is_accepting(&self) -> bool {
        matches!(self, Self::AcceptV1(_) | Self::AcceptV2(_))
    }

    /// The accepting side speaks without being spoken to.
    pub(super) fn greet(&mut self, out: &mut BytesMut) {
        match self {
            Self::AcceptV1(side) => side.core.start(out),
            Self::AcceptV2(core) => core.start(out),
            Self::ConnectV1(_) | Self::ConnectV2(_) => {}
        }
    }

    /// Takes what is complete out of `rx`. `None`: it needs more.
    pub(super) fn advance(
        &mut self,
        rx: &mut BytesMut,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Outcome>, Error> {
        match self {
            Self::ConnectV1(side) => side.advance(rx, cx),
            Self::ConnectV2(core) => connecting(core, rx, cx),
            Self::AcceptV1(side) => {
                let event = side.core.handle_input(rx).map_err(Error::proto)?;
                Ok(event.map(|event| match event {
                    v1::AcceptorEvent::Claim(claim) => Outcome::Claim(Claim::V1(claim)),
                    v1::AcceptorEvent::Ready(opened) => Outcome::Accepted(side.opened(opened)),
                }))
            }
            Self::AcceptV2(core) => accepting(core, rx, cx),
        }
    }

    /// Looks at what a peer shows beside its claim, in v1. `Err`: what it is told.
    pub(super) fn authorize(
        &mut self,
        shared: &Shared,
        claim: &v1::Claim,
        terms: &v1::Terms,
    ) -> Result<(), v1::Refusal> {
        match self {
            Self::AcceptV1(side) => side.authorize(shared, claim, terms),
            _ => Ok(()),
        }
    }

    /// Answers a claim. With `Some` the session is open already.
    pub(super) fn answer(
        &mut self,
        verdict: Verdict,
        out: &mut BytesMut,
    ) -> Result<Option<Opened>, Error> {
        match (self, verdict) {
            (Self::AcceptV1(side), Verdict::V1(verdict)) => {
                let event = side.core.handle_verdict(verdict, out);
                Ok(match event.map_err(Error::proto)? {
                    Some(v1::AcceptorEvent::Ready(opened)) => Some(side.opened(opened)),
                    _ => None,
                })
            }
            (Self::AcceptV2(core), Verdict::V2(verdict)) => {
                let event = core.handle_verdict(verdict, out);
                Ok(match event.map_err(Error::proto)? {
                    Some(v2::AcceptorEvent::Ready(opened)) => Some(Opened::v2(opened)),
                    _ => None,
                })
            }
            _ => Ok(None),
        }
    }

    /// What reads and writes the open link.
    pub(super) fn into_open(
        self,
        shared: &Shared,
        opened: &Opened,
    ) -> Result<(Reading, Writing), Error> {
        let config = &shared.config;
        let halves = match self {
            Self::ConnectV1(_) | Self::AcceptV1(_) => {
                let signer = signer(opened)?;
                let decoder = v1::Decoder::new(opened.features, config.checksums, config.limits);
                let encoder = v1::Encoder::new(opened.features, config.checksums);
                return Ok((
                    Reading::V1(Box::new(decoder.with_signer(signer.clone()))),
                    Writing::V1(encoder.with_signer(signer)),
                ));
            }
            Self::ConnectV2(core) => core.into_open(config.limits),
            Self::AcceptV2(core) => core.into_open(config.limits),
        };
        let early = ProtoError::LocalBug("opened before the handshake was done");
        let (decoder, encoder) = halves.ok_or_else(|| Error::proto(early))?;
        let reading = Reading::V2(Box::new(decoder));
        Ok((reading, Writing::V2(Box::new(encoder))))
    }
}

/// What signs the messages of a v1 session, if anything does (cephx §10.3).
fn signer(opened: &Opened) -> Result<Option<Signer>, Error> {
    let cephx_v2 = features::has(opened.features, features::CEPHX_V2);
    let key = opened.who.session_key.as_ref();
    let signer = key.map(|key| Signer::new(key, cephx_v2)).transpose();
    signer.map_err(denied)
}

impl ConnectV1 {
    fn advance(&mut self, rx: &mut BytesMut, cx: &mut Cx<'_>) -> Result<Option<Outcome>, Error> {
        use v1::ConnectorEvent as Event;
        let before_connect = |cx: &Cx<'_>, connect_seq: u64| match connect_seq {
            0 => cx.step(Step::SendConnect),
            _ => cx.step(Step::SendReconnect),
        };
        let waited = self.core.state() == v1::State::ConnectingWaitBannerAndIdentify;
        while let Some(event) = self.core.handle_input(rx, cx.out).map_err(Error::proto)? {
            match event {
                Event::Learned(addr) => learn(cx, addr),
                Event::RetryGlobal { peer_global_seq } => {
                    let global_seq = cx.shared.next_global_seq(peer_global_seq);
                    self.core.handle_retry(global_seq, cx.out);
                    before_connect(cx, cx.numbers.connect_seq)?;
                }
                Event::RetrySession { connect_seq } => {
                    cx.numbers.connect_seq = connect_seq.into();
                    self.core.handle_retry(self.core.global_seq(), cx.out);
                    before_connect(cx, connect_seq.into())?;
                }
                Event::ResetSession => {
                    self.core.handle_retry(self.core.global_seq(), cx.out);
                    before_connect(cx, 0)?;
                    return Ok(Some(Outcome::ResetSession { client_cookie: 0 }));
                }
                Event::Challenge(challenge) => {
                    let answer = self.auth(cx, |auth, a| auth.more(a, &challenge))?;
                    self.core.handle_challenge(answer.into(), cx.out);
                }
                Event::Proof(proof) => {
                    self.who = self.auth(cx, |auth, a| auth.done(a, 0, Mode::CRC, &proof))?;
                }
                Event::Wait => return Err(told_to_wait()),
                Event::Ready(opened) => {
                    let who = std::mem::take(&mut self.who);
                    return Ok(Some(Outcome::Connected(Opened::v1(opened, who))));
                }
            }
        }
        if waited && self.core.state() == v1::State::ConnectingSendConnectMsg {
            // The connect struct is made, and goes out when this returns.
            cx.step(Step::BannerReadConnecting)?;
            before_connect(cx, cx.numbers.connect_seq)?;
        }
        Ok(None)
    }

    fn auth<R>(
        &mut self,
        cx: &Cx<'_>,
        step: impl FnOnce(&mut dyn AuthClient, &mut AuthCx<'_>) -> Result<R, AuthError>,
    ) -> Result<R, Error> {
        let Some(auth) = &mut self.auth else {
            let bug = ProtoError::LocalBug("an authorizer without a method");
            return Err(Error::proto(bug));
        };
        let done = cx.shared.with_auth(|a| step(&mut **auth, a));
        done.map_err(denied)
    }
}

impl AcceptV1 {
    fn opened(&mut self, opened: v1::Opened) -> Opened {
        Opened::v1(opened, std::mem::take(&mut self.who))
    }

    /// Only after its version and features were found good.
    fn authorize(
        &mut self,
        shared: &Shared,
        claim: &v1::Claim,
        terms: &v1::Terms,
    ) -> Result<(), v1::Refusal> {
        let refuse = |tag| Err(v1::Refusal::new(tag, claim, terms));
        if !v1::is_to_show(claim, terms) {
            return Ok(());
        }
        let method = Method(claim.auth_method);
        if method == Method::CEPHX && !features::has(claim.features, features::CEPHX_V2) {
            let mut refusal = v1::Refusal::new(ReplyTag::Features, claim, terms);
            refusal.features |= features::CEPHX_V2;
            return Err(refusal);
        }
        let answer = match &mut self.auth {
            Some(auth) => shared.with_auth(|a| auth.more(a, &claim.authorizer)),
            None => {
                let request = AuthRequest {
                    method,
                    modes: vec![Mode::CRC],
                    payload: claim.authorizer.to_vec(),
                };
                let mut auth = shared.authority.server_v1(claim.peer_type);
                let answer = shared.with_auth(|a| auth.begin(a, &request));
                if matches!(answer, AuthAnswer::More(_)) {
                    self.auth = Some(auth);
                }
                answer
            }
        };
        match answer {
            AuthAnswer::Done { payload, who, .. } => {
                self.core.attach(payload.into());
                self.who = who;
                Ok(())
            }
            AuthAnswer::More(challenge) => {
                self.core.attach(challenge.into());
                refuse(ReplyTag::ChallengeAuthorizer)
            }
            AuthAnswer::Refused { why, .. } => {
                tracing::info!(peer = %claim.peer_addr, %why, "not let in");
                self.core.attach(Bytes::new());
                refuse(ReplyTag::BadAuthorizer)
            }
        }
    }
}

/// The connecting side of v2.
fn connecting(
    core: &mut v2::Connector,
    rx: &mut BytesMut,
    cx: &mut Cx<'_>,
) -> Result<Option<Outcome>, Error> {
    use v2::ConnectorEvent as Event;
    let before = core.state();
    loop {
        let handled = cx
            .shared
            .with_auth(|auth| core.handle_input(rx, auth, cx.out));
        let Some(event) = handled.map_err(Error::proto)? else {
            break;
        };
        let global_seq = match event {
            Event::Learned(addr) => {
                learn(cx, addr);
                continue;
            }
            Event::RetryGlobal { peer_global_seq } => {
                let above = u32::try_from(peer_global_seq).unwrap_or(u32::MAX - 1);
                cx.shared.next_global_seq(above).into()
            }
            Event::RetrySession { connect_seq } => {
                cx.numbers.connect_seq = connect_seq;
                core.global_seq()
            }
            Event::ResetSession {
                full,
                client_cookie,
            } => {
                let global_seq = core.global_seq();
                let asked = core.handle_retry(global_seq, cx.out);
                asked.map_err(Error::proto)?;
                cx.step(Step::SendConnect)?;
                if full {
                    return Ok(Some(Outcome::ResetSession { client_cookie }));
                }
                *cx.numbers = Numbers {
                    client_cookie,
                    peer_global_seq: cx.numbers.peer_global_seq,
                    ..Numbers::default()
                };
                continue;
            }
            Event::Wait => return Err(told_to_wait()),
            Event::Ready(opened) => return Ok(Some(Outcome::Connected(Opened::v2(opened)))),
        };
        core.handle_retry(global_seq, cx.out)
            .map_err(Error::proto)?;
        cx.step(Step::SendReconnect)?;
    }
    tell_steps(before, core.state(), cx)?;
    Ok(None)
}

/// Asks about what has been made ready to be sent, and goes out when this returns.
fn tell_steps(before: v2::State, now: v2::State, cx: &Cx<'_>) -> Result<(), Error> {
    use v2::State;
    let steps = [
        (State::HelloConnecting, Step::BannerReadConnecting),
        (State::AuthConnecting, Step::SendAuthRequest),
        (State::SessionConnecting, Step::SendConnect),
        (State::SessionReconnecting, Step::SendReconnect),
    ];
    for (state, step) in steps {
        // Of the last two there is one on each way.
        let last = state >= State::SessionConnecting;
        let passed = before < state && (now == state || !last && now > state);
        if passed && now < State::StartAccept {
            cx.step(step)?;
        }
    }
    Ok(())
}

/// The accepting side of v2.
fn accepting(
    core: &mut v2::Acceptor,
    rx: &mut BytesMut,
    cx: &mut Cx<'_>,
) -> Result<Option<Outcome>, Error> {
    use v2::{AcceptorEvent as Event, State};
    let who = Who::Accepting(None, cx.seen, None);
    loop {
        let before = core.state();
        let handled = cx
            .shared
            .with_auth(|auth| core.handle_input(rx, auth, cx.out));
        let event = handled.map_err(Error::proto)?;
        let passed = |state| before < state && core.state() >= state;
        for (state, step) in [
            (State::HelloAccepting, Step::BannerReadAccepting),
            (State::AuthAcceptingSign, Step::SendAuthDone),
        ] {
            if passed(state) {
                cx.shared.injector.step(step, who)?;
            }
        }
        let Some(event) = event else {
            return Ok(None);
        };
        match event {
            Event::Hello(peer_type) => {
                let server = cx.shared.authority.server(peer_type);
                core.handle_auth(server).map_err(Error::proto)?;
            }
            Event::Denied(why) => {
                let phase = Phase::from(core.state());
                tracing::info!(peer = %cx.seen, %phase, %why, "not let in");
            }
            Event::Claim(claim) => return Ok(Some(Outcome::Claim(Claim::V2(claim)))),
            Event::Ready(opened) => return Ok(Some(Outcome::Accepted(Opened::v2(opened)))),
        }
    }
}

/// The peer has said where it sees this side.
fn learn(cx: &Cx<'_>, addr: EntityAddr) {
    if cx.shared.config.learn_addr_from_peer {
        cx.shared.learn_addr(addr);
    }
}

fn denied(error: AuthError) -> Error {
    Error::proto(ProtoError::AuthDenied(error.to_string().into()))
}

fn told_to_wait() -> Error {
    let text = "the peer told this side to wait for the peer's own connection";
    Error::text(ErrorKind::Disconnected, text)
}
