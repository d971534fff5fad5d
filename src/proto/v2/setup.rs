//! What both sides of a v2 handshake share: banners, frames, the transcript and its signatures, and
//! the switch to the mode that was agreed on (msgr2 §3, §4, §7.3).
//!
//! The order of things is in `connector` and `acceptor`. Invariants: exactly the bytes of the
//! handshake are taken from the input; nothing is sent or taken in the plain mode behind the
//! switch; what is kept of a peer that has not shown who it is has a limit.

use bytes::BytesMut;
use subtle::ConstantTimeEq;

use super::assemble::Assembler;
use super::banner::Banner;
use super::compression::{Algorithm, CompressMode, Compression};
use super::control::{Control, SIGNATURE_LEN};
use super::decoder::Decoder;
use super::disassemble::{Body, Bounds, Disassembler};
use super::encoder::Encoder;
use super::frame::Revision;
use super::state::State;
use super::tag;
use crate::auth::{AuthError, Authenticated, CryptoKey, Mode};
use crate::crypto::{self, NonceStep, Role, session_ciphers};
use crate::message::Segment;
use crate::proto::error::ProtoError;
use crate::proto::{Checksums, Limits};
use crate::wire::{AddrVec, EntityName, EntityType, features};

/// The most bytes of one direction that are kept for the signatures.
const TRANSCRIPT_MAX: usize = 1 << 20;
/// The most authentication frames of a peer.
const AUTH_ROUNDS_MAX: u32 = 16;
/// The most times that a peer asks for a session on one socket.
const ATTEMPTS_MAX: u32 = 16;

/// What every peer must offer (msgr2 §2.2).
pub(super) const REQUIRED: u64 = features::MSG_ADDR2;

/// What a session that goes on has agreed on before; it is not negotiated again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Features that both sides offer.
    pub features: u64,
    /// Whether it is lossy.
    pub lossy: bool,
    /// The peer's name.
    pub peer: EntityName,
}

/// What a handshake agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Features that both sides offer.
    pub features: u64,
    /// The peer's counter of connection attempts; `None` if it was not told.
    pub global_seq: Option<u64>,
    /// How often the session has been reconnected.
    pub connect_seq: u64,
    /// Whether the session is lossy; the side that gave SERVER_IDENT decides.
    pub lossy: bool,
    /// The number of the last message that the peer has got from us; `None` if the session begins
    /// anew.
    pub acked: Option<u64>,
    /// The peer's name, the source of all its messages.
    pub peer: EntityName,
    /// Where the peer is found; empty if it was not told again.
    pub peer_addrs: AddrVec,
    /// The half of the session's name of the side that connected first.
    pub client_cookie: u64,
    /// The other half.
    pub server_cookie: u64,
    /// How frames are protected.
    pub mode: Mode,
    /// Who the connecting side is; without the secret, which is in use.
    pub who: Authenticated,
}

/// The part of a handshake that is the same on both sides.
#[derive(Debug)]
pub(super) struct Setup {
    role: Role,
    banner: Banner,
    sums: bool,
    reads: Disassembler,
    writes: Assembler,
    bounds: Bounds,
    /// What was sent, until it is signed.
    sent: Option<Vec<u8>>,
    terms: Compression,
    /// Whether compression is to be negotiated.
    pub(super) compression: bool,
    rounds: u32,
    attempts: u32,
}

/// What is between the end of authentication and its confirmation.
#[derive(Debug)]
pub(super) struct Signatures {
    /// What we send.
    pub(super) ours: [u8; SIGNATURE_LEN],
    /// What has to come.
    theirs: [u8; SIGNATURE_LEN],
}

impl Signatures {
    pub(super) fn check(&self, got: &[u8; SIGNATURE_LEN]) -> Result<(), ProtoError> {
        if bool::from(self.theirs.ct_eq(got)) {
            return Ok(());
        }
        let text = "the peer's signature of the handshake does not fit: somebody changed what was \
                    sent, or the two sides have different keys";
        Err(ProtoError::AuthDenied(text.into()))
    }
}

impl Setup {
    pub(super) fn new(
        role: Role,
        banner: Banner,
        checksums: Checksums,
        terms: Compression,
    ) -> Self {
        let mut reads = Disassembler::new(Revision::V0, None, checksums.data);
        reads.transcript = Some(Vec::new());
        Self {
            role,
            banner,
            sums: checksums.data,
            reads,
            writes: Assembler::new(Revision::V0, None, checksums.data),
            bounds: Bounds::STRANGER,
            sent: Some(Vec::new()),
            terms,
            compression: false,
            rounds: 0,
            attempts: 0,
        }
    }

    pub(super) fn send_banner(&mut self, out: &mut BytesMut) {
        let from = out.len();
        self.banner.encode(out);
        self.note(&out[from..]);
    }

    /// Takes the peer's banner. False: it is not complete.
    pub(super) fn take_banner(&mut self, rx: &mut BytesMut) -> Result<bool, ProtoError> {
        let mut transcript = Vec::new();
        let Some(theirs) = Banner::take(rx, |bytes| transcript.extend_from_slice(bytes))? else {
            return Ok(false);
        };
        self.banner.check(&theirs)?;
        let revision = self.banner.revision(&theirs);
        self.compression = self.banner.compression(&theirs);
        self.reads = Disassembler::new(revision, None, self.sums);
        self.reads.transcript = Some(transcript);
        self.writes = Assembler::new(revision, None, self.sums);
        Ok(true)
    }

    /// Takes the next frame. `None`: it is not complete.
    pub(super) fn next(&mut self, rx: &mut BytesMut) -> Result<Option<Control>, ProtoError> {
        if self.reads.preamble(rx, &self.bounds)?.is_none() {
            return Ok(None);
        }
        let Some(body) = self.reads.body(rx)? else {
            return Ok(None);
        };
        let transcript = self.reads.transcript.as_ref();
        limit(
            "bytes before authentication",
            transcript.map_or(0, Vec::len),
            TRANSCRIPT_MAX,
        )?;
        match body {
            Body::Frame(frame) => Control::decode(frame.tag, frame.last()).map(Some),
            // Outside of an open session nobody has a reason to.
            Body::Aborted => Err(ProtoError::Aborted),
        }
    }

    pub(super) fn send(&mut self, control: &Control, out: &mut BytesMut) -> Result<(), ProtoError> {
        const NONE: [Segment; 3] = [Segment::EMPTY, Segment::EMPTY, Segment::EMPTY];
        let from = out.len();
        self.writes
            .frame(control.tag(), &control.encode(), NONE, out)?;
        self.note(&out[from..]);
        let sent = self.sent.as_ref().map_or(0, Vec::len);
        limit("own bytes before authentication", sent, TRANSCRIPT_MAX)
    }

    fn note(&mut self, bytes: &[u8]) {
        if let Some(sent) = &mut self.sent {
            sent.extend_from_slice(bytes);
        }
    }

    /// Counts one more authentication frame of the peer.
    pub(super) fn count_round(&mut self) -> Result<(), ProtoError> {
        self.rounds += 1;
        let (got, max) = (self.rounds as usize, AUTH_ROUNDS_MAX as usize);
        limit("rounds of authentication", got, max)
    }

    /// Counts one more request for a session.
    pub(super) fn count_attempt(&mut self) -> Result<(), ProtoError> {
        self.attempts += 1;
        let (got, max) = (self.attempts as usize, ATTEMPTS_MAX as usize);
        limit("connect attempts on one socket", got, max)
    }

    /// Authentication is done: everything from here on is in this mode, in both directions. The
    /// secret is taken out of `who`: nobody else needs it.
    pub(super) fn switch(
        &mut self,
        mode: Mode,
        who: &mut Authenticated,
    ) -> Result<Signatures, ProtoError> {
        let secret = std::mem::take(&mut who.connection_secret);
        let received = self.reads.transcript.take().unwrap_or_default();
        let sent = self.sent.take().unwrap_or_default();
        let key = who.session_key.as_ref();
        let signatures = Signatures {
            ours: sign(key, &received),
            theirs: sign(key, &sent),
        };
        match mode {
            Mode::CRC => {}
            Mode::SECURE => self.encrypt(secret.as_bytes())?,
            Mode(other) => {
                let text = format!("there is no connection mode {other}");
                return Err(ProtoError::misbehaved(text));
            }
        }
        Ok(signatures)
    }

    fn encrypt(&mut self, secret: &[u8]) -> Result<(), ProtoError> {
        let step = match self.writes.revision() {
            Revision::V0 => NonceStep::First32,
            Revision::V1 => NonceStep::Last64,
        };
        let ciphers = session_ciphers(crypto::best(), secret, self.role, step);
        let too_short = ProtoError::LocalBug("encryption was agreed on without a secret for it");
        let (sealer, opener) = ciphers.ok_or(too_short)?;
        self.writes.encrypt(sealer);
        self.reads.decrypt(opener);
        Ok(())
    }

    /// The peer's signature was right.
    pub(super) fn trust(&mut self) {
        self.bounds = Bounds::KNOWN;
    }

    fn wants_compression(&self, peer: EntityType, mode: Mode) -> bool {
        self.terms.mode(peer, mode == Mode::SECURE) != CompressMode::None
    }

    /// What the connecting side asks for.
    pub(super) fn compression_request(&self, peer: EntityType, mode: Mode) -> Control {
        let methods = self.terms.methods(peer).into_iter();
        Control::CompressionRequest {
            wanted: self.wants_compression(peer, mode),
            algorithms: methods.map(Algorithm::number).collect(),
        }
    }

    /// The connecting side has been told this.
    pub(super) fn take_compression(
        &mut self,
        peer: EntityType,
        mode: Mode,
        (on, number): (bool, u32),
    ) -> Result<(), ProtoError> {
        if !on {
            return Ok(());
        }
        let text = if self.wants_compression(peer, mode) {
            if let Some(algorithm) = self.terms.pick(peer, &[number]) {
                self.compress(algorithm);
                return Ok(());
            }
            format!("it picked compression {number}, which we did not offer")
        } else {
            format!("it picked compression {number}, we asked for none")
        };
        Err(ProtoError::misbehaved(text))
    }

    /// The accepting side has been asked for this: answers, and then does it.
    pub(super) fn answer_compression(
        &mut self,
        peer: EntityType,
        mode: Mode,
        (wanted, theirs): (bool, &[u32]),
        out: &mut BytesMut,
    ) -> Result<(), ProtoError> {
        let both = wanted && self.wants_compression(peer, mode);
        let chosen = self.terms.pick(peer, theirs).filter(|_| both);
        let done = Control::CompressionDone {
            on: chosen.is_some(),
            algorithm: chosen.map_or(0, Algorithm::number),
        };
        self.send(&done, out)?;
        if let Some(algorithm) = chosen {
            self.compress(algorithm);
        }
        Ok(())
    }

    fn compress(&mut self, algorithm: Algorithm) {
        self.writes.compress(algorithm, self.terms.osd_min_size);
        self.reads.decompress(algorithm);
    }

    /// Both halves of the open phase.
    pub(super) fn split(self, peer: EntityName, limits: Limits) -> (Decoder, Encoder) {
        let decoder = Decoder::new(self.reads, peer, limits);
        (decoder, Encoder::new(self.writes))
    }
}

/// The signature of bytes; without a key nothing is signed (msgr2 §7.3).
fn sign(key: Option<&CryptoKey>, bytes: &[u8]) -> [u8; SIGNATURE_LEN] {
    key.map_or([0; SIGNATURE_LEN], |key| key.hmac_sha256(&[bytes]))
}

fn limit(what: &'static str, got: usize, max: usize) -> Result<(), ProtoError> {
    if got > max {
        let (got, max) = (got as u64, max as u64);
        return Err(ProtoError::Limit { what, got, max });
    }
    Ok(())
}

/// The error for a frame that does not belong where the handshake is.
pub(super) fn unexpected(control: &Control, state: State) -> ProtoError {
    let what = tag::describe(control.tag());
    ProtoError::misbehaved(format!("{what} does not belong into state {state}"))
}

/// The error for an authentication that went wrong.
pub(super) fn denied(error: &AuthError) -> ProtoError {
    ProtoError::AuthDenied(error.to_string().into())
}
