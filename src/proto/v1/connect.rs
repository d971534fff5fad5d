//! What both sides of a v1 handshake share: the banner, the connect struct and its reply, the
//! versions of the protocols spoken on top, and the authorizer of the method "none"
//! (msgr1 §2 to §5 and §7).
//!
//! Everything here is plain data; the order of things is in `connector` and `acceptor`.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};

use crate::proto::error::ProtoError;
use crate::wire::{AuthName, DecodeError, EntityAddr, EntityType, Reader};

/// What each side sends first.
pub(super) const BANNER: &[u8; 9] = b"ceph v027";

/// Most bytes of an authorizer, or of its reply, that we take (msgr1 §4).
pub(super) const AUTHORIZER_BYTES_MAX: u32 = 4095;

/// Most connect structs on one socket. A lossless reconnect needs three, and with a challenge
/// four (msgr1 §12).
pub(super) const CONNECT_ATTEMPTS_MAX: u32 = 16;

/// Flag of connect and reply: the sender's policy for the session is lossy.
pub(super) const FLAG_LOSSY: u8 = 1;

/// Authorizer method of who gives none.
pub(super) const AUTH_UNKNOWN: u32 = 0;
/// Authorizer method "none".
pub(super) const AUTH_NONE: u32 = 1;
/// Authorizer method "cephx", which proves something, and asks for proof.
pub(super) const AUTH_CEPHX: u32 = 2;

/// First byte of every authorizer.
const AUTHORIZER_VERSION: u8 = 1;

const OSD_CLIENT_PROTOCOL: u32 = 24;
const MDS_CLIENT_PROTOCOL: u32 = 32;
const MON_CLIENT_PROTOCOL: u32 = 15;

/// The protocol version that connect and reply carry (msgr1 §5). `cluster` is the one that the
/// messenger speaks among its own type: for real daemons 10 (OSD), 13 (monitor), 36 (MDS), else 0.
pub fn protocol_version(connector: EntityType, acceptor: EntityType, cluster: u32) -> u32 {
    match acceptor {
        _ if connector == acceptor => cluster,
        EntityType::OSD => OSD_CLIENT_PROTOCOL,
        EntityType::MDS => MDS_CLIENT_PROTOCOL,
        EntityType::MON => MON_CLIENT_PROTOCOL,
        _ => 0,
    }
}

/// The connector's offer; `authorizer_len` bytes of authorizer follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connect {
    /// Everything the connector supports.
    pub features: u64,
    /// What the connector is.
    pub host_type: EntityType,
    /// Its counter of connection attempts.
    pub global_seq: u32,
    /// Its incarnation of the session.
    pub connect_seq: u32,
    /// See [`protocol_version`].
    pub protocol_version: u32,
    /// Method of the authorizer.
    pub authorizer_protocol: u32,
    /// Bytes of the authorizer.
    pub authorizer_len: u32,
    /// 1: the policy of the sender is lossy.
    pub flags: u8,
}

impl Connect {
    /// Bytes it takes.
    pub const LEN: usize = 33;

    /// Writes the 33 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.features);
        out.put_u32_le(self.host_type.0.into());
        out.put_u32_le(self.global_seq);
        out.put_u32_le(self.connect_seq);
        out.put_u32_le(self.protocol_version);
        out.put_u32_le(self.authorizer_protocol);
        out.put_u32_le(self.authorizer_len);
        out.put_u8(self.flags);
    }

    /// Reads 33 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            features: r.u64()?,
            host_type: EntityType::decode_u32(r)?,
            global_seq: r.u32()?,
            connect_seq: r.u32()?,
            protocol_version: r.u32()?,
            authorizer_protocol: r.u32()?,
            authorizer_len: r.u32()?,
            flags: r.u8()?,
        })
    }
}

/// What a reply says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyTag {
    /// The session is open and begins anew.
    Ready = 1,
    /// The peer knows of no such session.
    ResetSession = 2,
    /// The other connection between the two sides goes first.
    Wait = 3,
    /// The session has a newer incarnation.
    RetrySession = 4,
    /// A newer attempt was seen.
    RetryGlobal = 5,
    /// Wrong protocol version.
    BadProtocolVersion = 10,
    /// The authorizer was refused.
    BadAuthorizer = 11,
    /// Features are missing.
    Features = 12,
    /// The session is open and goes on; sequence numbers follow.
    Seq = 13,
    /// The authorizer has to answer a challenge.
    ChallengeAuthorizer = 16,
}

impl ReplyTag {
    const ALL: [Self; 10] = [
        Self::Ready,
        Self::ResetSession,
        Self::Wait,
        Self::RetrySession,
        Self::RetryGlobal,
        Self::BadProtocolVersion,
        Self::BadAuthorizer,
        Self::Features,
        Self::Seq,
        Self::ChallengeAuthorizer,
    ];
}

/// The acceptor's answer; `authorizer_len` bytes follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectReply {
    /// What it says.
    pub tag: ReplyTag,
    /// With `Ready` and `Seq` all that the acceptor supports, otherwise what it supports of the
    /// offer and what it requires.
    pub features: u64,
    /// Meaning depends on the tag.
    pub global_seq: u32,
    /// Meaning depends on the tag.
    pub connect_seq: u32,
    /// The acceptor's.
    pub protocol_version: u32,
    /// Bytes of the reply to the authorizer.
    pub authorizer_len: u32,
    /// 1: the policy of the sender is lossy.
    pub flags: u8,
}

impl ConnectReply {
    /// Bytes it takes.
    pub const LEN: usize = 26;

    /// Writes the 26 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(self.tag as u8);
        out.put_u64_le(self.features);
        out.put_u32_le(self.global_seq);
        out.put_u32_le(self.connect_seq);
        out.put_u32_le(self.protocol_version);
        out.put_u32_le(self.authorizer_len);
        out.put_u8(self.flags);
    }

    /// Reads 26 bytes; an unknown tag is an error (msgr1 §22).
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = r.u8()?;
        let known = ReplyTag::ALL.into_iter().find(|t| *t as u8 == tag);
        Ok(Self {
            tag: known.ok_or_else(|| r.bad_value(tag))?,
            features: r.u64()?,
            global_seq: r.u32()?,
            connect_seq: r.u32()?,
            protocol_version: r.u32()?,
            authorizer_len: r.u32()?,
            flags: r.u8()?,
        })
    }
}

/// What a handshake agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Features that both sides offer.
    pub features: u64,
    /// The peer's counter of connection attempts.
    pub global_seq: u32,
    /// The incarnation of the session, the same on both sides.
    pub connect_seq: u32,
    /// Whether the session is lossy; the acceptor decides.
    pub lossy: bool,
    /// Sequence number of the last message that the peer has got from us; `None` if the session
    /// begins anew.
    pub acked: Option<u64>,
}

/// Method and blob of the authorizer of a connector that proves nothing: it only says who it is
/// and which number the monitors gave it (msgr1 §7).
pub fn none_authorizer(name: &AuthName, global_id: u64) -> (u32, Bytes) {
    let mut blob = BytesMut::new();
    blob.put_u8(AUTHORIZER_VERSION);
    name.encode(&mut blob);
    blob.put_u64_le(global_id);
    (AUTH_NONE, blob.freeze())
}

/// The first bytes of protocols that are met by mistake, and what to say then.
const STRANGERS: [(&[u8], &str); 10] = [
    (
        b"ceph v2\n",
        "it speaks msgr2 and this is a v1 connection; use the v1 address (port 6789)",
    ),
    (
        b"ceph v",
        "it speaks another version of msgr1, which is not supported",
    ),
    (
        b"\x16\x03",
        "it speaks TLS; take away the TLS proxy or setting",
    ),
    (b"HTTP/", "it is an HTTP server; check the address"),
    (b"GET ", "it is an HTTP client; this is not a web port"),
    (b"POST ", "it is an HTTP client; this is not a web port"),
    (b"PUT ", "it is an HTTP client; this is not a web port"),
    (b"HEAD ", "it is an HTTP client; this is not a web port"),
    (b"OPTIONS ", "it is an HTTP client; this is not a web port"),
    (b"SSH-", "it is an SSH server; check the address"),
];

/// Whether all of the peer's banner is there. An error as soon as what there is differs.
pub(super) fn check_banner(rx: &[u8]) -> Result<bool, ProtoError> {
    let seen = &rx[..rx.len().min(BANNER.len())];
    if BANNER.starts_with(seen) {
        return Ok(seen.len() == BANNER.len());
    }
    let known = STRANGERS.iter().find(|(start, _)| {
        let common = start.len().min(seen.len());
        start[..common] == seen[..common]
    });
    let mut text = format!("its banner begins with \"{}\"", seen.escape_ascii());
    if let Some((_, hint)) = known {
        let _ = write!(text, ": {hint}");
    }
    Err(ProtoError::misbehaved(text))
}

/// Reads one address of the banner phase from a slot of its size.
pub(super) fn read_addr(slot: &[u8], what: &'static str) -> Result<EntityAddr, DecodeError> {
    EntityAddr::decode_legacy(&mut Reader::new(slot, what))
}

/// Checks the length of an authorizer before anything waits for as many bytes.
pub(super) fn check_authorizer_len(len: u32) -> Result<usize, ProtoError> {
    if len > AUTHORIZER_BYTES_MAX {
        let (got, max) = (len.into(), AUTHORIZER_BYTES_MAX.into());
        return Err(ProtoError::Limit {
            what: "authorizer bytes",
            got,
            max,
        });
    }
    Ok(len as usize)
}

/// Counts one more connect struct on this socket.
pub(super) fn count_attempt(attempts: &mut u32) -> Result<(), ProtoError> {
    *attempts += 1;
    if *attempts > CONNECT_ATTEMPTS_MAX {
        let (got, max) = ((*attempts).into(), CONNECT_ATTEMPTS_MAX.into());
        return Err(ProtoError::Limit {
            what: "connect attempts on one socket",
            got,
            max,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banners_are_checked_early() {
        for cut in 0..BANNER.len() {
            assert_eq!(check_banner(&BANNER[..cut]), Ok(false));
        }
        assert_eq!(check_banner(b"ceph v027 and more"), Ok(true));
        let table: [(&[u8], &str); 8] = [
            (
                b"x",
                "peer broke the protocol: its banner begins with \"x\"",
            ),
            (b"ceph v2", "it speaks msgr2"),
            (b"ceph v2\n\x10\0", "it speaks msgr2"),
            (b"ceph v026", "another version of msgr1"),
            (b"\x16", "it speaks TLS"),
            (b"GET / HTTP/1.1\r\n", "it is an HTTP client"),
            (b"HTTP/1.1 400", "it is an HTTP server"),
            (b"SSH-2.0", "it is an SSH server"),
        ];
        for (bytes, hint) in table {
            let text = check_banner(bytes).unwrap_err().to_string();
            assert!(text.contains(hint), "{text}");
        }
    }

    #[test]
    fn protocol_versions() {
        let (mon, osd) = (EntityType::MON, EntityType::OSD);
        let (mds, mgr, client) = (EntityType::MDS, EntityType::MGR, EntityType::CLIENT);
        let table = [
            (client, mon, 0, 15),
            (client, osd, 0, 24),
            (client, mds, 0, 32),
            (client, mgr, 0, 0),
            (client, client, 0, 0),
            (osd, mon, 10, 15),
            (mon, osd, 13, 24),
            (osd, osd, 10, 10),
            (mon, mon, 13, 13),
        ];
        for (connector, acceptor, cluster, want) in table {
            let got = protocol_version(connector, acceptor, cluster);
            assert_eq!(got, want, "{connector} to {acceptor}");
        }
    }

    #[test]
    fn authorizer_of_method_none() {
        let name = AuthName::new(EntityType::OSD, "1");
        let (method, blob) = none_authorizer(&name, 0x100e);
        assert_eq!(method, 1);
        assert_eq!(
            &blob[..],
            b"\x01\x04\0\0\0\x01\0\0\x001\x0e\x10\0\0\0\0\0\0"
        );
    }
}
