//! The accepting side of a v1 handshake (msgr1 §3, §4, §7 and §10).
//!
//! A pure state machine: bytes received and the caller's verdicts go in, bytes to send and events
//! come out. Invariants: it takes from the input exactly the bytes of the handshake, so what is
//! left behind [`Ready`](AcceptorEvent::Ready) belongs to the open phase; after an error every
//! further call gives the same error; between a claim and its verdict it takes nothing.
//!
//! It does not know the socket, time-outs, policies or other sessions: [`vet`] judges a claim as
//! far as the claim alone tells, the rest (msgr1 §11 to §13) is the caller's verdict.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use super::connect::{
    AUTH_UNKNOWN, BANNER, Connect, ConnectReply, FLAG_LOSSY, Opened, ReplyTag,
    check_authorizer_len, check_banner, count_attempt, read_addr,
};
use super::state::State;
use crate::proto::error::ProtoError;
use crate::wire::features::{self, RECONNECT_SEQ};
use crate::wire::{AddrType, EntityAddr, EntityType, Reader};

/// Bytes that the connector sends before its first connect: banner and its address.
const CLIENT_HELLO_LEN: usize = BANNER.len() + EntityAddr::LEGACY_LEN;

/// Who accepts, and from where.
#[derive(Clone, Copy, Debug)]
pub struct AcceptorParams {
    /// Our own address in its legacy form.
    pub addr: EntityAddr,
    /// Where the socket comes from.
    pub peer_seen: SocketAddr,
}

/// What the connector says it is and wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Its address in the legacy form, by which its session is known. A blank ip has been
    /// filled in from the socket.
    pub peer_addr: EntityAddr,
    /// What it is.
    pub peer_type: EntityType,
    /// What it offers.
    pub features: u64,
    /// The number of this attempt.
    pub global_seq: u32,
    /// Its incarnation of the session.
    pub connect_seq: u32,
    /// The protocol version it speaks.
    pub protocol_version: u32,
    /// Method of its authorizer.
    pub auth_method: u32,
    /// Its authorizer.
    pub authorizer: Bytes,
    /// Whether its policy is lossy; ours decides.
    pub lossy: bool,
}

/// On which terms peers of a type are let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The protocol version that we speak with them.
    pub protocol_version: u32,
    /// What we offer.
    pub supported: u64,
    /// What we require.
    pub required: u64,
    /// Whether they need an authorizer.
    pub require_authorizer: bool,
    /// Whether we are a monitor: all but monitors authenticate later there, by messages.
    pub monitor: bool,
}

/// Any answer but "open"; the connector may try again on the same socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What it says.
    pub tag: ReplyTag,
    /// What we offer of what was asked for, and what we require.
    pub features: u64,
    /// The protocol version that we speak.
    pub protocol_version: u32,
    /// With `RetryGlobal`: the newest attempt we have seen, else 0.
    pub global_seq: u32,
    /// With `RetrySession`: the incarnation to go on with, else 0.
    pub connect_seq: u32,
}

impl Refusal {
    /// The answer `tag` to a claim, with both counters 0.
    pub fn new(tag: ReplyTag, claim: &Claim, terms: &Terms) -> Self {
        Self {
            tag,
            features: claim.features & terms.supported | terms.required,
            protocol_version: terms.protocol_version,
            global_seq: 0,
            connect_seq: 0,
        }
    }
}

/// Judges a claim as far as it alone tells: protocol version, then features (msgr1 §7). What the
/// authorizer is worth is for its method to say, and comes next.
pub fn vet(claim: &Claim, terms: &Terms) -> Result<(), Refusal> {
    let refuse = |tag| Err(Refusal::new(tag, claim, terms));
    if claim.protocol_version != terms.protocol_version {
        return refuse(ReplyTag::BadProtocolVersion);
    }
    if !features::has(claim.features, terms.required) {
        return refuse(ReplyTag::Features);
    }
    Ok(())
}

/// Whether the authorizer of a claim has to be looked at: clients of monitors log in later, by
/// messages (msgr1 §7, cephx §10).
pub fn is_to_show(claim: &Claim, terms: &Terms) -> bool {
    let logs_in_later =
        terms.monitor && claim.peer_type != EntityType::MON && claim.auth_method == AUTH_UNKNOWN;
    !claim.authorizer.is_empty() || (terms.require_authorizer && !logs_in_later)
}

/// What the caller decides on a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The session opens.
    Open {
        /// What we offer.
        features: u64,
        /// The protocol version that we speak.
        protocol_version: u32,
        /// The next value of our own counter.
        global_seq: u32,
        /// Whether our policy is lossy.
        lossy: bool,
        /// Sequence number of the last message that we have got in this session.
        in_seq: u64,
        /// Whether the session begins anew on both sides, so that no sequence numbers are
        /// exchanged.
        reset: bool,
    },
    /// It does not, for now.
    Refuse(Refusal),
}

/// What the caller has to know or to decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AcceptorEvent {
    /// Decide on this, then [`handle_verdict`](Acceptor::handle_verdict).
    Claim(Claim),
    /// The session is open.
    Ready(Opened),
}

#[derive(Clone, Debug)]
enum Step {
    Start,
    Hello,
    Connect,
    Authorizer(Connect),
    Verdict(Offer),
    Seq(Opened),
    Open,
}

/// What the reply depends on.
#[derive(Clone, Copy, Debug)]
struct Offer {
    features: u64,
    global_seq: u32,
    connect_seq: u32,
}

/// The accepting side of one socket.
#[derive(Debug)]
pub struct Acceptor {
    params: AcceptorParams,
    peer_addr: EntityAddr,
    step: Step,
    attempts: u32,
    /// Goes with the next reply.
    authorizer_reply: Bytes,
    failed: Option<ProtoError>,
}

impl Acceptor {
    /// An acceptor that has sent nothing yet.
    pub fn new(params: AcceptorParams) -> Self {
        Self {
            params,
            peer_addr: EntityAddr::default(),
            step: Step::Start,
            attempts: 0,
            authorizer_reply: Bytes::new(),
            failed: None,
        }
    }

    /// Where it stands; after an error, where it failed.
    pub fn state(&self) -> State {
        match self.step {
            Step::Start => State::StartAccept,
            Step::Hello => State::Accepting,
            Step::Connect if self.attempts == 0 => State::Accepting,
            Step::Connect | Step::Authorizer(_) | Step::Verdict(_) => {
                State::AcceptingWaitConnectMsgAuth
            }
            Step::Seq(_) => State::AcceptingHandledConnectMsg,
            Step::Open => State::Opened,
        }
    }

    /// The socket is accepted: sends banner, our address, and the address it comes from.
    pub fn start(&mut self, out: &mut BytesMut) {
        debug_assert!(matches!(self.step, Step::Start));
        out.extend_from_slice(BANNER);
        self.params.addr.encode_legacy(out);
        EntityAddr::new(AddrType::Legacy, self.params.peer_seen, 0).encode_legacy(out);
        self.step = Step::Hello;
    }

    /// Takes what is complete out of `rx` and appends what is to be sent to `out`. Call it again
    /// with the same bytes after a verdict, there may be more.
    pub fn handle_input(&mut self, rx: &mut BytesMut) -> Result<Option<AcceptorEvent>, ProtoError> {
        self.guard(|this| this.advance(rx))
    }

    /// Has the next reply carry what the method of the claim's authorizer answers: a challenge, with
    /// [`ReplyTag::ChallengeAuthorizer`], or the proof that we know the key, with all tags but those
    /// of a refusal (msgr1 §7).
    pub fn attach(&mut self, authorizer_reply: Bytes) {
        self.authorizer_reply = authorizer_reply;
    }

    /// The answer to a claim. With an event the session is open already.
    pub fn handle_verdict(
        &mut self,
        verdict: Verdict,
        out: &mut BytesMut,
    ) -> Result<Option<AcceptorEvent>, ProtoError> {
        self.guard(|this| this.answer(verdict, out))
    }

    fn guard(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<Option<AcceptorEvent>, ProtoError>,
    ) -> Result<Option<AcceptorEvent>, ProtoError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        step(self).inspect_err(|e| self.failed = Some(e.clone()))
    }

    fn advance(&mut self, rx: &mut BytesMut) -> Result<Option<AcceptorEvent>, ProtoError> {
        loop {
            match &self.step {
                Step::Hello => {
                    check_banner(rx)?;
                    if rx.len() < CLIENT_HELLO_LEN {
                        return Ok(None);
                    }
                    self.on_hello(&rx.split_to(CLIENT_HELLO_LEN))?;
                }
                Step::Connect => {
                    if rx.len() < Connect::LEN {
                        return Ok(None);
                    }
                    count_attempt(&mut self.attempts)?;
                    let bytes = rx.split_to(Connect::LEN);
                    let connect = Connect::decode(&mut Reader::new(&bytes, "connect"))?;
                    check_authorizer_len(connect.authorizer_len)?;
                    self.step = Step::Authorizer(connect);
                }
                Step::Authorizer(connect) => {
                    let len = connect.authorizer_len as usize;
                    if rx.len() < len {
                        return Ok(None);
                    }
                    let connect = *connect;
                    return Ok(Some(self.on_connect(&connect, rx.split_to(len).freeze())));
                }
                Step::Seq(opened) => {
                    if rx.len() < size_of::<u64>() {
                        return Ok(None);
                    }
                    let acked = Reader::new(&rx.split_to(8), "sequence number").u64()?;
                    let opened = Opened {
                        acked: Some(acked),
                        ..*opened
                    };
                    self.step = Step::Open;
                    return Ok(Some(AcceptorEvent::Ready(opened)));
                }
                Step::Start | Step::Verdict(_) | Step::Open => return Ok(None),
            }
        }
    }

    fn on_hello(&mut self, hello: &[u8]) -> Result<(), ProtoError> {
        let mut addr = read_addr(&hello[BANNER.len()..], "connector's address")?;
        if addr.is_blank_ip() {
            let mut sock = self.params.peer_seen;
            sock.set_port(addr.port());
            addr.sock = Some(sock);
        }
        self.peer_addr = addr.with_kind(AddrType::Legacy);
        self.step = Step::Connect;
        Ok(())
    }

    fn on_connect(&mut self, connect: &Connect, authorizer: Bytes) -> AcceptorEvent {
        self.step = Step::Verdict(Offer {
            features: connect.features,
            global_seq: connect.global_seq,
            connect_seq: connect.connect_seq,
        });
        AcceptorEvent::Claim(Claim {
            peer_addr: self.peer_addr,
            peer_type: connect.host_type,
            features: connect.features,
            global_seq: connect.global_seq,
            connect_seq: connect.connect_seq,
            protocol_version: connect.protocol_version,
            auth_method: connect.authorizer_protocol,
            authorizer,
            lossy: connect.flags & FLAG_LOSSY != 0,
        })
    }

    fn answer(
        &mut self,
        verdict: Verdict,
        out: &mut BytesMut,
    ) -> Result<Option<AcceptorEvent>, ProtoError> {
        let Step::Verdict(offer) = self.step else {
            return Err(ProtoError::LocalBug("a verdict without a claim"));
        };
        match verdict {
            Verdict::Refuse(refusal) => {
                self.refuse(&refusal, out);
                Ok(None)
            }
            Verdict::Open {
                features,
                protocol_version,
                global_seq,
                lossy,
                in_seq,
                reset,
            } => {
                let goes_on = !reset && features::has(offer.features, RECONNECT_SEQ);
                let connect_seq = offer.connect_seq.wrapping_add(1);
                let reply = ConnectReply {
                    tag: if goes_on {
                        ReplyTag::Seq
                    } else {
                        ReplyTag::Ready
                    },
                    features,
                    global_seq,
                    connect_seq,
                    protocol_version,
                    authorizer_len: 0,
                    flags: if lossy { FLAG_LOSSY } else { 0 },
                };
                self.reply(reply, out);
                let features = features & offer.features;
                let global_seq = offer.global_seq;
                let opened = Opened {
                    features,
                    global_seq,
                    connect_seq,
                    lossy,
                    acked: None,
                };
                if goes_on {
                    out.extend_from_slice(&in_seq.to_le_bytes());
                    self.step = Step::Seq(opened);
                    return Ok(None);
                }
                self.step = Step::Open;
                Ok(Some(AcceptorEvent::Ready(opened)))
            }
        }
    }

    fn refuse(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        debug_assert!(!matches!(refusal.tag, ReplyTag::Ready | ReplyTag::Seq));
        let reply = ConnectReply {
            tag: refusal.tag,
            features: refusal.features,
            global_seq: refusal.global_seq,
            connect_seq: refusal.connect_seq,
            protocol_version: refusal.protocol_version,
            authorizer_len: 0,
            flags: 0,
        };
        self.reply(reply, out);
        self.step = Step::Connect;
    }

    fn reply(&mut self, reply: ConnectReply, out: &mut BytesMut) {
        let blob = std::mem::take(&mut self.authorizer_reply);
        let authorizer_len = blob.len() as u32;
        let reply = ConnectReply {
            authorizer_len,
            ..reply
        };
        reply.encode(out);
        out.extend_from_slice(&blob);
    }
}
