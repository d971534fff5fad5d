//! The frames that are no messages (msgr2 §6), and the head of those that are (msgr2 §11.1).
//!
//! Plain data: what is decoded from what was encoded is the same. Bytes behind the last known field
//! are ignored, missing ones are an error. Who may send what and when is not known here.

use bytes::BufMut;

use super::tag;
use crate::auth::{AuthRefusal, AuthRequest, Method, Mode};
use crate::proto::ProtoError;
use crate::wire::header::{flags, part};
use crate::wire::{
    AddrVec, DecodeError, DecodeErrorKind, EntityAddr, EntityName, EntityType, MsgHead, Put,
    Reader, Timespec, features,
};

/// Addresses in frames have the modern form, whatever was negotiated (msgr2 §6.2).
const MODERN: u64 = features::MSG_ADDR2 | features::SERVER_NAUTILUS;

/// Bytes of a signature (msgr2 §7.3).
pub const SIGNATURE_LEN: usize = 32;

/// Flag of both ident frames: the sender's policy is lossy; the acceptor's counts.
const IDENT_LOSSY: u64 = 1;

/// A connecting side that wants a new session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientIdent {
    /// Where it is found.
    pub addrs: AddrVec,
    /// The address that it means to have connected to.
    pub target: EntityAddr,
    /// The number in its name; -1 if it has not been given one.
    pub gid: i64,
    /// The number of this attempt.
    pub global_seq: u64,
    /// What it offers.
    pub supported: u64,
    /// What it requires.
    pub required: u64,
    /// Whether its policy is lossy.
    pub lossy: bool,
    /// Its half of the session's name; 0 if it is lossy.
    pub cookie: u64,
}

/// The accepting side's consent to a new session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerIdent {
    /// Where it is found.
    pub addrs: AddrVec,
    /// The number in its name.
    pub gid: i64,
    /// The next value of its own counter of attempts.
    pub global_seq: u64,
    /// What it offers.
    pub supported: u64,
    /// What it requires.
    pub required: u64,
    /// Whether the session is lossy.
    pub lossy: bool,
    /// Its half of the session's name; 0 if the session is lossy.
    pub cookie: u64,
}

/// A connecting side that wants to go on with a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reconnect {
    /// Where it is found.
    pub addrs: AddrVec,
    /// The half of the session's name of the side that connected first.
    pub client_cookie: u64,
    /// The other half.
    pub server_cookie: u64,
    /// The number of this attempt.
    pub global_seq: u64,
    /// How often the session has been reconnected.
    pub connect_seq: u64,
    /// The number of the last message that it has received.
    pub msg_seq: u64,
}

/// Any frame but a message.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the frames have the names of msgr2 §6.1, with their fields
pub enum Control {
    Hello {
        entity: EntityType,
        peer_addr: EntityAddr,
    },
    AuthRequest(AuthRequest),
    AuthBadMethod(AuthRefusal),
    AuthReplyMore(Vec<u8>),
    AuthRequestMore(Vec<u8>),
    AuthDone {
        global_id: u64,
        mode: Mode,
        payload: Vec<u8>,
    },
    AuthSignature([u8; SIGNATURE_LEN]),
    ClientIdent(ClientIdent),
    ServerIdent(ServerIdent),
    IdentMissingFeatures(u64),
    SessionReconnect(Reconnect),
    SessionReset {
        full: bool,
    },
    SessionRetry {
        connect_seq: u64,
    },
    SessionRetryGlobal {
        global_seq: u64,
    },
    SessionReconnectOk {
        msg_seq: u64,
    },
    Wait,
    Keepalive2(Timespec),
    Keepalive2Ack(Timespec),
    Ack(u64),
    CompressionRequest {
        wanted: bool,
        algorithms: Vec<u32>,
    },
    CompressionDone {
        on: bool,
        algorithm: u32,
    },
}

impl Control {
    /// The tag of its frame.
    #[must_use]
    pub fn tag(&self) -> u8 {
        match self {
            Self::Hello { .. } => tag::HELLO,
            Self::AuthRequest(_) => tag::AUTH_REQUEST,
            Self::AuthBadMethod(_) => tag::AUTH_BAD_METHOD,
            Self::AuthReplyMore(_) => tag::AUTH_REPLY_MORE,
            Self::AuthRequestMore(_) => tag::AUTH_REQUEST_MORE,
            Self::AuthDone { .. } => tag::AUTH_DONE,
            Self::AuthSignature(_) => tag::AUTH_SIGNATURE,
            Self::ClientIdent(_) => tag::CLIENT_IDENT,
            Self::ServerIdent(_) => tag::SERVER_IDENT,
            Self::IdentMissingFeatures(_) => tag::IDENT_MISSING_FEATURES,
            Self::SessionReconnect(_) => tag::SESSION_RECONNECT,
            Self::SessionReset { .. } => tag::SESSION_RESET,
            Self::SessionRetry { .. } => tag::SESSION_RETRY,
            Self::SessionRetryGlobal { .. } => tag::SESSION_RETRY_GLOBAL,
            Self::SessionReconnectOk { .. } => tag::SESSION_RECONNECT_OK,
            Self::Wait => tag::WAIT,
            Self::Keepalive2(_) => tag::KEEPALIVE2,
            Self::Keepalive2Ack(_) => tag::KEEPALIVE2_ACK,
            Self::Ack(_) => tag::ACK,
            Self::CompressionRequest { .. } => tag::COMPRESSION_REQUEST,
            Self::CompressionDone { .. } => tag::COMPRESSION_DONE,
        }
    }

    /// The content of its frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Hello { entity, peer_addr } => {
                out.put_u8(entity.0);
                peer_addr.encode(MODERN, &mut out);
            }
            Self::AuthRequest(request) => {
                out.put_u32_le(request.method.0);
                put_words(&mut out, request.modes.iter().map(|mode| mode.0));
                out.put_blob(&request.payload);
            }
            Self::AuthBadMethod(refusal) => {
                out.put_u32_le(refusal.method.0);
                out.put_i32_le(refusal.result);
                put_words(&mut out, refusal.methods.iter().map(|method| method.0));
                put_words(&mut out, refusal.modes.iter().map(|mode| mode.0));
            }
            Self::AuthReplyMore(payload) | Self::AuthRequestMore(payload) => out.put_blob(payload),
            Self::AuthDone {
                global_id,
                mode,
                payload,
            } => {
                out.put_u64_le(*global_id);
                out.put_u32_le(mode.0);
                out.put_blob(payload);
            }
            Self::AuthSignature(signature) => out.put_slice(signature),
            Self::ClientIdent(ident) => ident.encode(&mut out),
            Self::ServerIdent(ident) => ident.encode(&mut out),
            Self::SessionReconnect(reconnect) => reconnect.encode(&mut out),
            Self::SessionReset { full } => out.put_u8((*full).into()),
            Self::IdentMissingFeatures(word)
            | Self::SessionRetry { connect_seq: word }
            | Self::SessionRetryGlobal { global_seq: word }
            | Self::SessionReconnectOk { msg_seq: word }
            | Self::Ack(word) => out.put_u64_le(*word),
            Self::Wait => {}
            Self::Keepalive2(stamp) | Self::Keepalive2Ack(stamp) => stamp.encode(&mut out),
            Self::CompressionRequest { wanted, algorithms } => {
                out.put_u8((*wanted).into());
                put_words(&mut out, algorithms.iter().copied());
            }
            Self::CompressionDone { on, algorithm } => {
                out.put_u8((*on).into());
                out.put_u32_le(*algorithm);
            }
        }
        out
    }

    /// Reads the content of a frame.
    ///
    /// # Errors
    /// If there is no such frame, or its content is cut off or makes no sense.
    pub fn decode(tag: u8, content: &[u8]) -> Result<Self, ProtoError> {
        let Some(name) = tag::name(tag) else {
            let text = format!("there is no frame with tag {tag}");
            return Err(ProtoError::misbehaved(text));
        };
        let mut r = Reader::new(content, name);
        Ok(match tag {
            tag::HELLO | tag::COMPRESSION_REQUEST..=tag::COMPRESSION_DONE => hello(tag, &mut r)?,
            tag::AUTH_REQUEST..=tag::AUTH_SIGNATURE => auth(tag, &mut r)?,
            tag::CLIENT_IDENT..=tag::WAIT => session(tag, &mut r)?,
            tag::KEEPALIVE2 => Self::Keepalive2(Timespec::decode(&mut r)?),
            tag::KEEPALIVE2_ACK => Self::Keepalive2Ack(Timespec::decode(&mut r)?),
            tag::ACK => Self::Ack(r.u64()?),
            // A message is taken apart elsewhere.
            _ => return Err(ProtoError::LocalBug("a message among control frames")),
        })
    }
}

fn hello(tag: u8, r: &mut Reader<'_>) -> Result<Control, DecodeError> {
    Ok(match tag {
        tag::HELLO => Control::Hello {
            entity: EntityType(r.u8()?),
            peer_addr: EntityAddr::decode(r)?,
        },
        tag::COMPRESSION_REQUEST => Control::CompressionRequest {
            wanted: r.bool()?,
            algorithms: words(r)?,
        },
        _ => Control::CompressionDone {
            on: r.bool()?,
            algorithm: r.u32()?,
        },
    })
}

fn auth(tag: u8, r: &mut Reader<'_>) -> Result<Control, DecodeError> {
    let methods = |words: Vec<u32>| words.into_iter().map(Method).collect();
    let modes = |words: Vec<u32>| words.into_iter().map(Mode).collect();
    Ok(match tag {
        tag::AUTH_REQUEST => Control::AuthRequest(AuthRequest {
            method: Method(r.u32()?),
            modes: modes(words(r)?),
            payload: r.blob()?.into(),
        }),
        tag::AUTH_BAD_METHOD => Control::AuthBadMethod(AuthRefusal {
            method: Method(r.u32()?),
            result: r.i32()?,
            methods: methods(words(r)?),
            modes: modes(words(r)?),
        }),
        tag::AUTH_REPLY_MORE => Control::AuthReplyMore(r.blob()?.into()),
        tag::AUTH_REQUEST_MORE => Control::AuthRequestMore(r.blob()?.into()),
        tag::AUTH_DONE => Control::AuthDone {
            global_id: r.u64()?,
            mode: Mode(r.u32()?),
            payload: r.blob()?.into(),
        },
        _ => Control::AuthSignature(r.array()?),
    })
}

fn session(tag: u8, r: &mut Reader<'_>) -> Result<Control, DecodeError> {
    Ok(match tag {
        tag::CLIENT_IDENT => Control::ClientIdent(ClientIdent::decode(r)?),
        tag::SERVER_IDENT => Control::ServerIdent(ServerIdent::decode(r)?),
        tag::IDENT_MISSING_FEATURES => Control::IdentMissingFeatures(r.u64()?),
        tag::SESSION_RECONNECT => Control::SessionReconnect(Reconnect::decode(r)?),
        tag::SESSION_RESET => Control::SessionReset { full: r.bool()? },
        tag::SESSION_RETRY => Control::SessionRetry {
            connect_seq: r.u64()?,
        },
        tag::SESSION_RETRY_GLOBAL => Control::SessionRetryGlobal {
            global_seq: r.u64()?,
        },
        tag::SESSION_RECONNECT_OK => Control::SessionReconnectOk { msg_seq: r.u64()? },
        _ => Control::Wait,
    })
}

fn put_words(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = u32>) {
    out.put_count(words.len());
    words.for_each(|word| out.put_u32_le(word));
}

fn words(r: &mut Reader<'_>) -> Result<Vec<u32>, DecodeError> {
    let count = r.count(size_of::<u32>())?;
    (0..count).map(|_| r.u32()).collect()
}

impl ClientIdent {
    fn encode(&self, out: &mut Vec<u8>) {
        self.addrs.encode(MODERN, out);
        self.target.encode(MODERN, out);
        out.put_i64_le(self.gid);
        out.put_u64_le(self.global_seq);
        out.put_u64_le(self.supported);
        out.put_u64_le(self.required);
        out.put_u64_le(u64::from(self.lossy) * IDENT_LOSSY);
        out.put_u64_le(self.cookie);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            addrs: AddrVec::decode(r)?,
            target: EntityAddr::decode(r)?,
            gid: r.i64()?,
            global_seq: r.u64()?,
            supported: r.u64()?,
            required: r.u64()?,
            lossy: r.u64()? & IDENT_LOSSY != 0,
            cookie: r.u64()?,
        })
    }
}

impl ServerIdent {
    fn encode(&self, out: &mut Vec<u8>) {
        self.addrs.encode(MODERN, out);
        out.put_i64_le(self.gid);
        out.put_u64_le(self.global_seq);
        out.put_u64_le(self.supported);
        out.put_u64_le(self.required);
        out.put_u64_le(u64::from(self.lossy) * IDENT_LOSSY);
        out.put_u64_le(self.cookie);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            addrs: AddrVec::decode(r)?,
            gid: r.i64()?,
            global_seq: r.u64()?,
            supported: r.u64()?,
            required: r.u64()?,
            lossy: r.u64()? & IDENT_LOSSY != 0,
            cookie: r.u64()?,
        })
    }
}

impl Reconnect {
    fn encode(&self, out: &mut Vec<u8>) {
        self.addrs.encode(MODERN, out);
        out.put_u64_le(self.client_cookie);
        out.put_u64_le(self.server_cookie);
        out.put_u64_le(self.global_seq);
        out.put_u64_le(self.connect_seq);
        out.put_u64_le(self.msg_seq);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            addrs: AddrVec::decode(r)?,
            client_cookie: r.u64()?,
            server_cookie: r.u64()?,
            global_seq: r.u64()?,
            connect_seq: r.u64()?,
            msg_seq: r.u64()?,
        })
    }
}

/// The first segment of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header2 {
    /// Without the source, which is not sent.
    pub(super) head: MsgHead,
    /// The number of the last message that its sender has received.
    pub(super) ack_seq: u64,
}

impl Header2 {
    pub(super) const LEN: usize = 41;

    pub(super) fn encode(&self) -> [u8; Self::LEN] {
        let (head, mut b) = (&self.head, [0; Self::LEN]);
        b[0..8].copy_from_slice(&head.seq.to_le_bytes());
        b[8..16].copy_from_slice(&head.tid.to_le_bytes());
        b[16..18].copy_from_slice(&head.kind.to_le_bytes());
        b[18..20].copy_from_slice(&head.priority.to_le_bytes());
        b[20..22].copy_from_slice(&head.version.to_le_bytes());
        // Four bytes are the padding before the data, which is never sent.
        b[26..28].copy_from_slice(&head.data_off.to_le_bytes());
        b[28..36].copy_from_slice(&self.ack_seq.to_le_bytes());
        b[36] = flags::COMPLETE | flags::NOCRC;
        b[37..39].copy_from_slice(&head.compat_version.to_le_bytes());
        b
    }

    /// There are only so many bytes of it.
    pub(super) fn truncated(left: usize) -> DecodeError {
        let needed = Self::LEN;
        DecodeError {
            what: "message header",
            kind: DecodeErrorKind::Truncated { needed, left },
        }
    }

    pub(super) fn decode(bytes: &[u8], src: EntityName) -> Result<Self, DecodeError> {
        let Some(b) = bytes.first_chunk::<{ Self::LEN }>() else {
            return Err(Self::truncated(bytes.len()));
        };
        let head = MsgHead {
            seq: u64::from_le_bytes(part(b, 0)),
            tid: u64::from_le_bytes(part(b, 8)),
            kind: u16::from_le_bytes(part(b, 16)),
            priority: u16::from_le_bytes(part(b, 18)),
            version: u16::from_le_bytes(part(b, 20)),
            data_off: u16::from_le_bytes(part(b, 26)),
            compat_version: u16::from_le_bytes(part(b, 37)),
            src,
        };
        let ack_seq = u64::from_le_bytes(part(b, 28));
        Ok(Self { head, ack_seq })
    }
}
