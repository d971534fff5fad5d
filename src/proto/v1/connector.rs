//! The connecting side of a v1 handshake (msgr1 §3, §4 and §9).
//!
//! A pure state machine: bytes received and decisions of the caller go in, bytes to send and
//! events come out. Invariants: it takes from the input exactly the bytes of the handshake, so
//! what is left behind [`Ready`](ConnectorEvent::Ready) belongs to the open phase; after an
//! error every further call gives the same error; it sends nothing that it was not asked for.
//!
//! It does not know the socket, time-outs, back-off, or what else goes on in the session. The
//! counters it is given are those of the session, which the caller updates from the events.

use bytes::{Bytes, BytesMut};

use super::connect::{
    AUTH_CEPHX, AUTH_UNKNOWN, BANNER, Connect, ConnectReply, FLAG_LOSSY, Opened, ReplyTag,
    check_authorizer_len, check_banner, count_attempt, read_addr,
};
use super::state::State;
use crate::proto::error::{Mismatch, ProtoError};
use crate::wire::{AddrType, EntityAddr, EntityName, Reader};

/// Bytes that the acceptor sends first: banner, its address, our address.
const SERVER_HELLO_LEN: usize = BANNER.len() + 2 * EntityAddr::LEGACY_LEN;

/// Who connects to whom, and how.
#[derive(Clone, Debug)]
pub struct ConnectorParams {
    /// Our own name.
    pub name: EntityName,
    /// Our own address in its legacy form; the ip is blank if we do not know it.
    pub addr: EntityAddr,
    /// The address that we mean to connect to, with its nonce.
    pub peer_addr: EntityAddr,
    /// What we offer.
    pub features: u64,
    /// What we require.
    pub required: u64,
    /// See [`protocol_version`](super::protocol_version).
    pub protocol_version: u32,
    /// Method and authorizer; none from a non-monitor to a monitor.
    pub authorizer: Option<(u32, Bytes)>,
    /// Whether our policy is lossy.
    pub lossy: bool,
    /// The number of this attempt.
    pub global_seq: u32,
    /// The incarnation of the session.
    pub connect_seq: u32,
    /// Sequence number of the last message that we have got in this session.
    pub in_seq: u64,
}

/// What the caller has to know or to decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConnectorEvent {
    /// Our own ip was blank; this is our address as the acceptor sees us, with our own port and
    /// nonce. It is in use already.
    Learned(EntityAddr),
    /// The acceptor has seen a newer attempt: raise the counter above this one, then
    /// [`handle_retry`](Connector::handle_retry).
    RetryGlobal {
        /// The newest that the acceptor has seen.
        peer_global_seq: u32,
    },
    /// The session has a newer incarnation, which is in use already: take it over, then
    /// [`handle_retry`](Connector::handle_retry).
    RetrySession {
        /// The session's incarnation from now on.
        connect_seq: u32,
    },
    /// The acceptor has lost the session: reset it, then
    /// [`handle_retry`](Connector::handle_retry). Here `connect_seq` and `in_seq` are 0 already.
    ResetSession,
    /// The acceptor wants the authorizer to answer this challenge:
    /// [`handle_challenge`](Connector::handle_challenge). At most once.
    Challenge(Bytes),
    /// What shows that the acceptor knows the key of our authorizer. Verify it before any further
    /// call; an acceptor that shows nothing has been refused already.
    Proof(Bytes),
    /// The connection that the peer opens goes first. Nothing more will come here.
    Wait,
    /// The session is open.
    Ready(Opened),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Start,
    Hello,
    Reply,
    Authorizer(ConnectReply),
    Challenged,
    Verified(ConnectReply),
    Seq(ConnectReply),
    Retry,
    Wait,
    Open,
}

/// The connecting side of one socket.
#[derive(Debug)]
pub struct Connector {
    params: ConnectorParams,
    step: Step,
    /// Connects on this socket, the next one included.
    attempts: u32,
    was_challenged: bool,
    failed: Option<ProtoError>,
}

impl Connector {
    /// A connector that has sent nothing yet.
    pub fn new(mut params: ConnectorParams) -> Self {
        params.peer_addr.kind = AddrType::Legacy;
        Self {
            params,
            step: Step::Start,
            attempts: 1,
            was_challenged: false,
            failed: None,
        }
    }

    /// Where it stands; after an error, where it failed.
    pub fn state(&self) -> State {
        match self.step {
            Step::Start => State::Connecting,
            Step::Hello => State::ConnectingWaitBannerAndIdentify,
            Step::Wait => State::Wait,
            Step::Open => State::Opened,
            _ => State::ConnectingSendConnectMsg,
        }
    }

    /// The number of the attempt that was sent last; a retry keeps it unless it was too low.
    pub fn global_seq(&self) -> u32 {
        self.params.global_seq
    }

    /// The socket is connected: sends the banner.
    pub fn start(&mut self, out: &mut BytesMut) {
        debug_assert_eq!(self.step, Step::Start);
        out.extend_from_slice(BANNER);
        self.step = Step::Hello;
    }

    /// Takes what is complete out of `rx` and appends what is to be sent to `out`. Call it again
    /// with the same bytes after an event, there may be more.
    pub fn handle_input(
        &mut self,
        rx: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<ConnectorEvent>, ProtoError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        let result = self.advance(rx, out);
        self.failed = result.as_ref().err().cloned();
        result
    }

    /// The caller has dealt with one of the retry events: sends connect again.
    pub fn handle_retry(&mut self, global_seq: u32, out: &mut BytesMut) {
        debug_assert_eq!(self.step, Step::Retry);
        self.params.global_seq = global_seq;
        self.send_connect(out);
    }

    /// The authorizer that answers a [`Challenge`](ConnectorEvent::Challenge): sends connect again,
    /// from now on with this one (msgr1 §9).
    pub fn handle_challenge(&mut self, authorizer: Bytes, out: &mut BytesMut) {
        debug_assert_eq!(self.step, Step::Challenged);
        if let Some((_, blob)) = &mut self.params.authorizer {
            *blob = authorizer;
        }
        self.send_connect(out);
    }

    fn advance(
        &mut self,
        rx: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<ConnectorEvent>, ProtoError> {
        loop {
            match self.step {
                Step::Hello => {
                    check_banner(rx)?;
                    if rx.len() < SERVER_HELLO_LEN {
                        return Ok(None);
                    }
                    let event = self.on_hello(&rx.split_to(SERVER_HELLO_LEN), out)?;
                    if event.is_some() {
                        return Ok(event);
                    }
                }
                Step::Reply => {
                    if rx.len() < ConnectReply::LEN {
                        return Ok(None);
                    }
                    let bytes = rx.split_to(ConnectReply::LEN);
                    let mut r = Reader::new(&bytes, "connect reply");
                    self.step = Step::Authorizer(ConnectReply::decode(&mut r)?);
                }
                Step::Authorizer(reply) => {
                    let len = check_authorizer_len(reply.authorizer_len)?;
                    if rx.len() < len {
                        return Ok(None);
                    }
                    let blob = rx.split_to(len).freeze();
                    if reply.tag == ReplyTag::ChallengeAuthorizer {
                        return self.on_challenge(blob).map(Some);
                    }
                    self.step = Step::Verified(reply);
                    if let Some(proof) = self.proof(&reply, blob)? {
                        return Ok(Some(proof));
                    }
                }
                Step::Verified(reply) => {
                    let event = self.on_reply(&reply)?;
                    if event.is_some() {
                        return Ok(event);
                    }
                }
                Step::Seq(reply) => {
                    if rx.len() < size_of::<u64>() {
                        return Ok(None);
                    }
                    let acked = Reader::new(&rx.split_to(8), "sequence number").u64()?;
                    out.extend_from_slice(&self.params.in_seq.to_le_bytes());
                    return Ok(Some(self.open(&reply, Some(acked))));
                }
                Step::Start | Step::Challenged | Step::Retry | Step::Wait | Step::Open => {
                    return Ok(None);
                }
            }
        }
    }

    /// Checks who is there, says who we are, and sends the first connect.
    fn on_hello(
        &mut self,
        hello: &[u8],
        out: &mut BytesMut,
    ) -> Result<Option<ConnectorEvent>, ProtoError> {
        let (theirs, ours) = hello[BANNER.len()..].split_at(EntityAddr::LEGACY_LEN);
        let theirs = read_addr(theirs, "acceptor's address")?;
        let ours = read_addr(ours, "our address as the acceptor sees it")?;
        self.check_peer(&theirs)?;
        let learned = self.learn(&ours);
        self.params.addr.encode_legacy(out);
        self.send_connect(out);
        Ok(learned)
    }

    fn check_peer(&self, seen: &EntityAddr) -> Result<(), ProtoError> {
        let meant = &self.params.peer_addr;
        if seen == meant || (seen.is_blank_ip() && seen.probably_equals(meant)) {
            return Ok(());
        }
        let cure = if (EntityAddr {
            nonce: meant.nonce,
            ..*seen
        }) == *meant
        {
            "it was restarted, or the nonce was guessed; take the address from a current map"
        } else {
            "check the address, and whether one that forwards connections is in between"
        };
        let text = format!("it says it is {seen}, we meant {meant}: {cure}");
        Err(ProtoError::misbehaved(text))
    }

    /// Takes over the ip that the acceptor sees, if we have none.
    fn learn(&mut self, seen: &EntityAddr) -> Option<ConnectorEvent> {
        let addr = &mut self.params.addr;
        if !addr.is_blank_ip() || seen.is_blank_ip() {
            return None;
        }
        let port = addr.port();
        addr.sock = seen.sock;
        if let Some(sock) = &mut addr.sock {
            sock.set_port(port);
        }
        Some(ConnectorEvent::Learned(*addr))
    }

    fn send_connect(&mut self, out: &mut BytesMut) {
        let p = &self.params;
        let (method, blob) = match &p.authorizer {
            Some((method, blob)) => (*method, &blob[..]),
            None => (AUTH_UNKNOWN, &[][..]),
        };
        let connect = Connect {
            features: p.features,
            host_type: p.name.kind,
            global_seq: p.global_seq,
            connect_seq: p.connect_seq,
            protocol_version: p.protocol_version,
            authorizer_protocol: method,
            authorizer_len: blob.len() as u32,
            flags: if p.lossy { FLAG_LOSSY } else { 0 },
        };
        connect.encode(out);
        out.extend_from_slice(blob);
        self.step = Step::Reply;
    }

    fn method(&self) -> u32 {
        let given = self.params.authorizer.as_ref();
        given.map_or(AUTH_UNKNOWN, |(method, _)| *method)
    }

    fn on_challenge(&mut self, challenge: Bytes) -> Result<ConnectorEvent, ProtoError> {
        if self.method() != AUTH_CEPHX {
            let text = "peer wants cephx, and we have no key to show: give one, or allow the method \
                        \"none\" on the peer (auth_cluster_required, auth_service_required)";
            return Err(ProtoError::AuthDenied(text.into()));
        }
        if std::mem::replace(&mut self.was_challenged, true) {
            return Err(ProtoError::misbehaved("it challenges our authorizer twice"));
        }
        count_attempt(&mut self.attempts)?;
        self.step = Step::Challenged;
        Ok(ConnectorEvent::Challenge(challenge))
    }

    /// What has to be verified of a reply. The method "none" shows nothing, and a monitor's blob to
    /// one that gave no authorizer is ignored.
    fn proof(
        &self,
        reply: &ConnectReply,
        blob: Bytes,
    ) -> Result<Option<ConnectorEvent>, ProtoError> {
        let is_refusal = matches!(
            reply.tag,
            ReplyTag::Features | ReplyTag::BadProtocolVersion | ReplyTag::BadAuthorizer
        );
        if self.method() != AUTH_CEPHX || is_refusal {
            return Ok(None);
        }
        if blob.is_empty() {
            let text = "peer does not show that it knows the key of our ticket: it is not who we \
                        meant, or does not use cephx";
            return Err(ProtoError::AuthDenied(text.into()));
        }
        Ok(Some(ConnectorEvent::Proof(blob)))
    }

    fn on_reply(&mut self, reply: &ConnectReply) -> Result<Option<ConnectorEvent>, ProtoError> {
        match reply.tag {
            ReplyTag::Features
            | ReplyTag::BadProtocolVersion
            | ReplyTag::BadAuthorizer
            | ReplyTag::ChallengeAuthorizer => Err(self.refused(reply)),
            ReplyTag::RetryGlobal => {
                let peer_global_seq = reply.global_seq;
                self.retry(ConnectorEvent::RetryGlobal { peer_global_seq })
            }
            ReplyTag::RetrySession => {
                let (theirs, ours) = (reply.connect_seq, self.params.connect_seq);
                if theirs <= ours {
                    let text = format!("it wants connect_seq {theirs}, no more than our {ours}");
                    return Err(ProtoError::misbehaved(text));
                }
                self.params.connect_seq = theirs;
                self.retry(ConnectorEvent::RetrySession {
                    connect_seq: theirs,
                })
            }
            ReplyTag::ResetSession => {
                self.params.connect_seq = 0;
                self.params.in_seq = 0;
                self.retry(ConnectorEvent::ResetSession)
            }
            ReplyTag::Wait => {
                self.step = Step::Wait;
                Ok(Some(ConnectorEvent::Wait))
            }
            ReplyTag::Seq => {
                self.check_open(reply)?;
                self.step = Step::Seq(*reply);
                Ok(None)
            }
            ReplyTag::Ready => {
                self.check_open(reply)?;
                Ok(Some(self.open(reply, None)))
            }
        }
    }

    fn retry(&mut self, event: ConnectorEvent) -> Result<Option<ConnectorEvent>, ProtoError> {
        count_attempt(&mut self.attempts)?;
        self.step = Step::Retry;
        Ok(Some(event))
    }

    /// The error for a reply that no other connect on this socket would change.
    fn refused(&self, reply: &ConnectReply) -> ProtoError {
        let p = &self.params;
        match reply.tag {
            ReplyTag::Features => {
                let missing = reply.features & !p.features;
                if missing == 0 {
                    let text = "it refuses our features and requires none that we lack";
                    return ProtoError::misbehaved(text);
                }
                Mismatch::WeLack {
                    missing,
                    ours: p.features,
                }
                .into()
            }
            ReplyTag::BadProtocolVersion => {
                let (ours, theirs) = (p.protocol_version, reply.protocol_version);
                Mismatch::Protocol { ours, theirs }.into()
            }
            ReplyTag::BadAuthorizer if p.authorizer.is_none() => ProtoError::AuthDenied(
                "peer wants an authorizer and we gave none; set an authentication method".into(),
            ),
            _ if self.method() == AUTH_CEPHX => ProtoError::AuthDenied(
                "peer refused our cephx ticket: it may have expired, or be for another service or \
                 another cluster; or the peer does not allow cephx"
                    .into(),
            ),
            _ => ProtoError::AuthDenied(
                "peer refused our authorizer of method \"none\"; allow that method on the peer \
                 (auth_cluster_required and auth_service_required = none), or give a key"
                    .into(),
            ),
        }
    }

    fn check_open(&self, reply: &ConnectReply) -> Result<(), ProtoError> {
        let missing = self.params.required & !reply.features;
        if missing != 0 {
            return Err(Mismatch::PeerLacks {
                missing,
                theirs: reply.features,
            }
            .into());
        }
        let next = self.params.connect_seq.wrapping_add(1);
        if reply.connect_seq != next {
            let text = format!("it opens connect_seq {}, ours is {next}", reply.connect_seq);
            return Err(ProtoError::misbehaved(text));
        }
        Ok(())
    }

    fn open(&mut self, reply: &ConnectReply, acked: Option<u64>) -> ConnectorEvent {
        self.step = Step::Open;
        ConnectorEvent::Ready(Opened {
            features: self.params.features & reply.features,
            global_seq: reply.global_seq,
            connect_seq: reply.connect_seq,
            lossy: reply.flags & FLAG_LOSSY != 0,
            acked,
        })
    }
}
