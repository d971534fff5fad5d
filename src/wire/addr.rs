//! Socket addresses as entities know them: a type, a nonce, and an IPv4 or IPv6 address
//! (encoding §6).
//!
//! Invariants: two addresses are equal exactly if their 36-byte comparison keys are, and their
//! order is the order of the keys, because the order decides connection races (encoding §6.5).
//! The eight bytes behind an IPv4 address carry garbage in practice; they are ignored on input
//! and written as zeros.
//!
//! `std::net` is used for plain data only; nothing here resolves or connects.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use bytes::BufMut;

use super::features::{self, MSG_ADDR2, SERVER_NAUTILUS};
use super::{DecodeError, ParseError, Put, Reader};

/// What is spoken at an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum AddrType {
    /// No address.
    #[default]
    None = 0,
    /// msgr v1.
    Legacy = 1,
    /// msgr v2.
    Msgr2 = 2,
    /// Either; of a client that listens nowhere.
    Any = 3,
    /// A range; the nonce is the length of the prefix.
    Cidr = 4,
}

impl AddrType {
    const ALL: [Self; 5] = [Self::None, Self::Legacy, Self::Msgr2, Self::Any, Self::Cidr];

    fn prefix(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Legacy => "v1:",
            Self::Msgr2 => "v2:",
            Self::Any => "any:",
            Self::Cidr => "cidr:",
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let value = r.u32()?;
        let known = Self::ALL.get(value as usize).copied();
        known.ok_or_else(|| r.bad_value(value))
    }
}

const FAMILY_V4: u16 = 2;
const FAMILY_V6: u16 = 10;

/// The address of one process.
#[derive(Clone, Copy, Default)]
pub struct EntityAddr {
    /// What is spoken there.
    pub kind: AddrType,
    /// Tells processes apart that have the same ip and port one after the other.
    pub nonce: u32,
    /// Where it is; `None` is "unspecified".
    pub sock: Option<SocketAddr>,
}

impl EntityAddr {
    /// Bytes of the legacy encoding.
    pub const LEGACY_LEN: usize = 136;
    /// Bytes of the shortest encoding.
    pub(crate) const LEN_MIN: usize = 19;

    /// The address of `kind` at `sock`.
    pub const fn new(kind: AddrType, sock: SocketAddr, nonce: u32) -> Self {
        Self {
            kind,
            nonce,
            sock: Some(sock),
        }
    }

    /// The same address with another type.
    pub const fn with_kind(self, kind: AddrType) -> Self {
        Self { kind, ..self }
    }

    /// Its ip.
    pub fn ip(&self) -> Option<IpAddr> {
        self.sock.map(|s| s.ip())
    }

    /// Its port; 0 if it has none.
    pub fn port(&self) -> u16 {
        self.sock.map_or(0, |s| s.port())
    }

    /// Whether it names no host: no ip, `0.0.0.0` or `::`.
    pub fn is_blank_ip(&self) -> bool {
        self.ip().is_none_or(|ip| ip.is_unspecified())
    }

    /// Whether both are on the same ip.
    pub fn same_host(&self, other: &Self) -> bool {
        self.ip().is_some() && self.ip() == other.ip()
    }

    /// Whether both may be the same process, one of them perhaps not knowing its ip.
    pub fn probably_equals(&self, other: &Self) -> bool {
        let same_sock = || self.cmp_key()[8..] == other.cmp_key()[8..];
        self.port() == other.port()
            && self.nonce == other.nonce
            && (self.is_blank_ip() || other.is_blank_ip() || same_sock())
    }

    /// The bytes by which addresses compare, as unsigned bytes from the first on.
    pub fn cmp_key(&self) -> [u8; 36] {
        let mut key = [0; 36];
        key[..4].copy_from_slice(&(self.kind as u32).to_le_bytes());
        key[4..8].copy_from_slice(&self.nonce.to_le_bytes());
        key[8..10].copy_from_slice(&self.family().to_le_bytes());
        key[10..].copy_from_slice(&self.sock_bytes());
        key
    }

    /// Writes the form that peers with these features read.
    pub fn encode(&self, features: u64, out: &mut impl BufMut) {
        if !features::has(features, MSG_ADDR2) {
            return self.encode_legacy(out);
        }
        let kind = match self.kind {
            AddrType::Any if !features::has(features, SERVER_NAUTILUS) => AddrType::Legacy,
            kind => kind,
        };
        let sock_len = if self.family() == FAMILY_V4 { 16 } else { 28 };
        out.put_u8(1);
        out.put_envelope_of(1, 1, 12 + sock_len, |body| {
            body.put_u32_le(kind as u32);
            body.put_u32_le(self.nonce);
            body.put_count(sock_len);
            body.put_u16_le(self.family());
            body.put_slice(&self.sock_bytes()[..sock_len - 2]);
        });
    }

    /// Writes the 136 bytes of the legacy form, which drops the type (encoding §6.2).
    pub fn encode_legacy(&self, out: &mut impl BufMut) {
        out.put_u32_le(0);
        out.put_u32_le(self.nonce);
        out.put_u16(self.family());
        out.put_slice(&self.sock_bytes());
        out.put_bytes(0, Self::LEGACY_LEN - 8 - 2 - 26);
    }

    /// Reads either form.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8()? {
            0 => Self::decode_legacy_body(r),
            1 => Self::decode_body(r),
            marker => Err(r.bad_value(marker)),
        }
    }

    /// Reads the 136 bytes of the legacy form, as the banner phase of v1 demands.
    pub fn decode_legacy(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8()? {
            0 => Self::decode_legacy_body(r),
            marker => Err(r.bad_value(marker)),
        }
    }

    /// What follows the marker 0.
    fn decode_legacy_body(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.bytes(3)?;
        let nonce = r.u32()?;
        let family = u16::from_be_bytes(r.array()?);
        let bytes = r.array()?;
        let sock = decode_sock(r, family, &bytes)?;
        r.bytes(Self::LEGACY_LEN - 8 - 2 - 26)?;
        let kind = if sock.is_some() {
            AddrType::Legacy
        } else {
            AddrType::None
        };
        Ok(Self { kind, nonce, sock })
    }

    /// What follows the marker 1 (encoding §6.3).
    fn decode_body(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (_, mut r) = r.envelope(1, "address")?;
        let kind = AddrType::decode(&mut r)?;
        let nonce = r.u32()?;
        let len = r.u32()?;
        if len == 0 {
            return Ok(Self {
                kind,
                nonce,
                sock: None,
            });
        }
        let family = r.u16()?;
        let max = if family == FAMILY_V4 { 16 } else { 28 };
        if !(2..=max).contains(&len) {
            return Err(r.bad_value(len));
        }
        let mut bytes = [0; 26];
        bytes[..len as usize - 2].copy_from_slice(r.bytes(len as usize - 2)?);
        Ok(Self {
            kind,
            nonce,
            sock: decode_sock(&r, family, &bytes)?,
        })
    }

    fn family(&self) -> u16 {
        match self.sock {
            None => 0,
            Some(SocketAddr::V4(_)) => FAMILY_V4,
            Some(SocketAddr::V6(_)) => FAMILY_V6,
        }
    }

    /// What follows the family in a sockaddr, filled up with zeros.
    fn sock_bytes(&self) -> [u8; 26] {
        let mut b = [0; 26];
        b[..2].copy_from_slice(&self.port().to_be_bytes());
        match self.sock {
            None => {}
            Some(SocketAddr::V4(v4)) => b[2..6].copy_from_slice(&v4.ip().octets()),
            Some(SocketAddr::V6(v6)) => {
                // Kept as the raw bytes of the kernel's field, as `std` does.
                b[2..6].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                b[6..22].copy_from_slice(&v6.ip().octets());
                b[22..].copy_from_slice(&v6.scope_id().to_le_bytes());
            }
        }
        b
    }
}

fn decode_sock(
    r: &Reader<'_>,
    family: u16,
    bytes: &[u8; 26],
) -> Result<Option<SocketAddr>, DecodeError> {
    let mut b = Reader::new(bytes, "socket address");
    let port = u16::from_be_bytes(b.array()?);
    match family {
        0 => Ok(None),
        FAMILY_V4 => Ok(Some((Ipv4Addr::from(b.array::<4>()?), port).into())),
        FAMILY_V6 => {
            let flowinfo = u32::from_ne_bytes(b.array()?);
            let ip = Ipv6Addr::from(b.array::<16>()?);
            Ok(Some(SocketAddrV6::new(ip, port, flowinfo, b.u32()?).into()))
        }
        _ => Err(r.bad_value(family)),
    }
}

impl PartialEq for EntityAddr {
    fn eq(&self, other: &Self) -> bool {
        self.cmp_key() == other.cmp_key()
    }
}

impl Eq for EntityAddr {}

impl PartialOrd for EntityAddr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EntityAddr {
    fn cmp(&self, other: &Self) -> Ordering {
        self.cmp_key().cmp(&other.cmp_key())
    }
}

impl Hash for EntityAddr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cmp_key().hash(state);
    }
}

/// The text form, such as `v1:127.0.0.1:6789/0`; an address of type
/// [`Any`](AddrType::Any) has no prefix, and so reads back as [`Msgr2`](AddrType::Msgr2).
impl fmt::Display for EntityAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            AddrType::None => return f.write_str("-"),
            AddrType::Any => {}
            kind => f.write_str(kind.prefix())?,
        }
        match self.sock {
            Some(sock) => write!(f, "{sock}/{}", self.nonce),
            None => write!(f, "-/{}", self.nonce),
        }
    }
}

impl fmt::Debug for EntityAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EntityAddr {
    type Err = ParseError;

    /// Reads `[prefix]host[:port][/nonce]`; without prefix the type is
    /// [`Msgr2`](AddrType::Msgr2), `-` is no address (encoding §6.6).
    fn from_str(s: &str) -> Result<Self, ParseError> {
        if s == "-" {
            return Ok(Self::default());
        }
        let prefixed = AddrType::ALL[1..]
            .iter()
            .find_map(|k| Some((*k, s.strip_prefix(k.prefix())?)));
        let (kind, rest) = prefixed.unwrap_or((AddrType::Msgr2, s));
        let (host, nonce) = rest.split_once('/').unwrap_or((rest, "0"));
        let nonce = nonce
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| nonce.parse().ok());
        match (nonce.flatten(), parse_sock(host)) {
            (Some(nonce), Some(sock)) => Ok(Self { kind, nonce, sock }),
            _ => Err(ParseError::new(
                "an address such as \"v1:127.0.0.1:6789/0\"",
                s,
            )),
        }
    }
}

/// Reads `host[:port]`; `-` is unspecified.
fn parse_sock(s: &str) -> Option<Option<SocketAddr>> {
    if s == "-" {
        return Some(None);
    }
    let bare = || s.parse::<Ipv6Addr>().ok().map(|ip| (ip, 0).into());
    let sock = s
        .parse()
        .ok()
        .or_else(|| format!("{s}:0").parse().ok())
        .or_else(bare);
    sock.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> EntityAddr {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_back() {
        let same = [
            "-",
            "v1:127.0.0.1:6789/0",
            "v2:1.2.3.4:3300/0",
            "v1:[fe80::1]:6789/7",
            "v1:[fe80::1%3]:6789/7",
            "cidr:10.0.0.0:0/8",
            "v1:-/5",
        ];
        for text in same {
            assert_eq!(addr(text).to_string(), text);
        }
        let table = [
            ("127.0.0.1", "v2:127.0.0.1:0/0"),
            ("1.2.3.4:5", "v2:1.2.3.4:5/0"),
            ("1.2.3.4/9", "v2:1.2.3.4:0/9"),
            ("[::1]:6789", "v2:[::1]:6789/0"),
            ("v1:[::1]", "v1:[::1]:0/0"),
            ("v1:::1", "v1:[::1]:0/0"),
            ("any:1.2.3.4:5/6", "1.2.3.4:5/6"),
        ];
        for (text, want) in table {
            assert_eq!(addr(text).to_string(), want);
        }
        let bad = [
            "",
            "v1:",
            "x",
            "1.2.3.4:65536",
            "1.2.3.4/",
            "1.2.3.4/+1",
            "1.2.3.4/4294967296",
            "[::1",
            "v3:1.2.3.4",
            "1.2.3.4:5/6/7",
            "host:1",
        ];
        for text in bad {
            assert!(text.parse::<EntityAddr>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn order_is_that_of_the_bytes() {
        let sorted = [
            "-",
            "v1:-/0",
            "v1:9.9.9.9:9/0",
            "v1:1.2.3.4:1/256",
            "v1:1.2.3.4:1/255",
            "v1:1.2.3.4:2/255",
            "v1:1.2.3.5:2/255",
            "v1:[::1]:1/255",
            "v2:1.2.3.4:1/0",
        ];
        let addrs: Vec<_> = sorted.into_iter().map(addr).collect();
        assert!(addrs.is_sorted_by(|a, b| a < b));
        assert_ne!(addr("v1:1.2.3.4:1/1"), addr("v2:1.2.3.4:1/1"));
    }

    #[test]
    fn comparisons() {
        let a = addr("v1:1.2.3.4:6789/7");
        assert!(a.same_host(&addr("v2:1.2.3.4:1/2")) && !a.same_host(&addr("v1:1.2.3.5:6789/7")));
        assert!(!EntityAddr::default().same_host(&EntityAddr::default()));
        for other in ["v2:1.2.3.4:6789/7", "v1:0.0.0.0:6789/7", "v1:[::]:6789/7"] {
            assert!(a.probably_equals(&addr(other)), "{other}");
        }
        for other in [
            "v1:1.2.3.4:6789/8",
            "v1:1.2.3.5:6789/7",
            "v1:0.0.0.0:6788/7",
            "v1:-/7",
        ] {
            assert!(!a.probably_equals(&addr(other)), "{other}");
        }
        assert!(addr("v1:-/1").is_blank_ip() && addr("v1:[::]:5/1").is_blank_ip());
    }

    fn decode(bytes: &[u8]) -> Result<EntityAddr, DecodeError> {
        EntityAddr::decode(&mut Reader::new(bytes, "address"))
    }

    #[test]
    fn forms_that_are_not_ours() {
        let mut out = Vec::new();
        addr("v1:1.2.3.4:5/6").encode(MSG_ADDR2, &mut out);
        for garbage in out.len() - 8..out.len() {
            out[garbage] = 0xee; // behind an IPv4 address, see above
        }
        assert_eq!(decode(&out), Ok(addr("v1:1.2.3.4:5/6")));

        let form = |kind: u32, len: u32, rest: &[u8]| {
            let mut out = vec![1];
            out.put_envelope(1, 1, |b| {
                b.put_u32_le(kind);
                b.put_u32_le(6);
                b.put_u32_le(len);
                b.put_slice(rest);
            });
            decode(&out)
        };
        assert_eq!(form(2, 0, &[]), Ok(addr("v2:-/6")));
        assert_eq!(form(2, 6, &[2, 0, 0, 5, 1, 2]), Ok(addr("v2:1.2.0.0:5/6")));
        assert_eq!(form(2, 2, &[10, 0]), Ok(addr("v2:[::]:0/6")));
        assert!(form(5, 0, &[]).is_err());
        assert!(form(2, 1, &[2, 0]).is_err());
        assert!(form(2, 17, &[&[2, 0][..], &[0; 15]].concat()).is_err());
        assert!(form(2, 28, &[3; 28]).is_err());
        assert!(form(2, 29, &[&[10, 0][..], &[0; 27]].concat()).is_err());
        assert!(form(2, 16, &[2, 0, 0, 5]).is_err());

        let mut legacy = Vec::new();
        addr("v1:1.2.3.4:5/6").encode_legacy(&mut legacy);
        legacy[9] = 3;
        assert!(decode(&legacy).is_err());
        assert!(decode(&[2; 136]).is_err() && decode(&[]).is_err());
        assert_eq!(decode(&[0; 136]), Ok(EntityAddr::default()));
    }

    #[test]
    fn features_pick_the_form() {
        let any = addr("any:1.2.3.4:5/6");
        let form = |features| {
            let mut out = Vec::new();
            any.encode(features, &mut out);
            (out.len(), decode(&out).unwrap())
        };
        assert_eq!(form(features::SUPPORTED), (35, any));
        assert_eq!(form(MSG_ADDR2), (35, any.with_kind(AddrType::Legacy)));
        assert_eq!(form(0), (136, any.with_kind(AddrType::Legacy)));
    }
}
