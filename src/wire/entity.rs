//! Who speaks: entity types, entity names (`osd.3`) and authentication names
//! (`client.admin`); encoding §5.

use std::fmt;
use std::str::FromStr;

use bytes::BufMut;

use super::{DecodeError, ParseError, Put, Reader};

/// The kind of a program in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntityType(pub u8);

impl EntityType {
    /// A monitor.
    pub const MON: Self = Self(0x01);
    /// A metadata server.
    pub const MDS: Self = Self(0x02);
    /// A storage daemon.
    pub const OSD: Self = Self(0x04);
    /// A client.
    pub const CLIENT: Self = Self(0x08);
    /// A manager.
    pub const MGR: Self = Self(0x10);
    /// The authentication service: a service in tickets, never a peer.
    pub const AUTH: Self = Self(0x20);
    /// Any type.
    pub const ANY: Self = Self(0xff);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::MON, "mon"),
        (Self::MDS, "mds"),
        (Self::OSD, "osd"),
        (Self::CLIENT, "client"),
        (Self::MGR, "mgr"),
        (Self::AUTH, "auth"),
        (Self::ANY, "any"),
    ];

    /// Reads the 32-bit form, which the connect struct and authentication names use.
    pub fn decode_u32(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let value = r.u32()?;
        u8::try_from(value)
            .map(Self)
            .map_err(|_| r.bad_value(value))
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(kind, _)| kind == self) {
            Some((_, name)) => f.pad(name),
            None => write!(f, "type({:#04x})", self.0),
        }
    }
}

impl fmt::Debug for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EntityType {
    type Err = ParseError;

    fn from_str(s: &str) -> Result<Self, ParseError> {
        match Self::NAMES.iter().find(|(_, name)| *name == s) {
            Some((kind, _)) => Ok(*kind),
            None => Err(ParseError::new("an entity type such as \"osd\"", s)),
        }
    }
}

/// The name of one program: its type and number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityName {
    /// What it is.
    pub kind: EntityType,
    /// Which one; negative if not yet known.
    pub num: i64,
}

impl EntityName {
    /// Bytes it takes.
    pub const LEN: usize = 9;

    /// The name `kind.num`.
    pub const fn new(kind: EntityType, num: i64) -> Self {
        Self { kind, num }
    }

    /// `mon.num`
    pub const fn mon(num: i64) -> Self {
        Self::new(EntityType::MON, num)
    }

    /// `mds.num`
    pub const fn mds(num: i64) -> Self {
        Self::new(EntityType::MDS, num)
    }

    /// `osd.num`
    pub const fn osd(num: i64) -> Self {
        Self::new(EntityType::OSD, num)
    }

    /// `client.num`; -1 for a client that has no number yet.
    pub const fn client(num: i64) -> Self {
        Self::new(EntityType::CLIENT, num)
    }

    /// `mgr.num`
    pub const fn mgr(num: i64) -> Self {
        Self::new(EntityType::MGR, num)
    }

    /// Writes the 9 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(self.kind.0);
        out.put_i64_le(self.num);
    }

    /// Reads 9 bytes; any type and number will do.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: EntityType(r.u8()?),
            num: r.i64()?,
        })
    }
}

/// A client without a number.
impl Default for EntityName {
    fn default() -> Self {
        Self::client(-1)
    }
}

impl fmt::Display for EntityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.num < 0 {
            write!(f, "{}.?", self.kind)
        } else {
            write!(f, "{}.{}", self.kind, self.num)
        }
    }
}

impl fmt::Debug for EntityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EntityName {
    type Err = ParseError;

    fn from_str(s: &str) -> Result<Self, ParseError> {
        let parse = || {
            let (kind, num) = s.split_once('.')?;
            let kind: EntityType = kind.parse().ok()?;
            let digits = num.bytes().all(|b| b.is_ascii_digit());
            let is_peer = !matches!(kind, EntityType::AUTH | EntityType::ANY);
            Some(Self::new(
                kind,
                num.parse().ok().filter(|_| digits && is_peer)?,
            ))
        };
        parse().ok_or_else(|| ParseError::new("an entity name such as \"osd.0\"", s))
    }
}

/// The name somebody authenticates as, such as `client.admin`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct AuthName {
    /// What it is.
    pub kind: EntityType,
    /// Which one, without the type.
    pub id: String,
}

impl AuthName {
    /// The name `kind.id`.
    pub fn new(kind: EntityType, id: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
        }
    }

    /// Writes the type as 32 bits and the id.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.kind.0.into());
        out.put_string(&self.id);
    }

    /// Reads a type and an id.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: EntityType::decode_u32(r)?,
            id: r.string()?,
        })
    }
}

impl fmt::Display for AuthName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.id)
    }
}

impl FromStr for AuthName {
    type Err = ParseError;

    fn from_str(s: &str) -> Result<Self, ParseError> {
        let parse = || {
            let (kind, id) = s.split_once('.')?;
            Some(Self::new(kind.parse().ok()?, id))
        };
        parse().ok_or_else(|| ParseError::new("a name such as \"client.admin\"", s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_text() {
        for text in ["mon.0", "osd.12", "mds.3", "client.4106", "mgr.9"] {
            assert_eq!(text.parse::<EntityName>().unwrap().to_string(), text);
        }
        let bad = [
            "", "osd", "osd.", "osd.-1", "osd.+1", "osd.1x", " osd.1", "auth.1", "any.1", "rgw.1",
        ];
        for text in bad {
            assert!(text.parse::<EntityName>().is_err(), "{text:?}");
        }
        assert_eq!(EntityName::default().to_string(), "client.?");
        assert_eq!(
            EntityName::new(EntityType(0x40), 1).to_string(),
            "type(0x40).1"
        );
        let name: AuthName = "client.rgw.a".parse().unwrap();
        assert_eq!((name.kind, name.id.as_str()), (EntityType::CLIENT, "rgw.a"));
        assert_eq!(name.to_string(), "client.rgw.a");
        let e = "nobody".parse::<AuthName>().unwrap_err();
        assert_eq!(
            e.to_string(),
            "\"nobody\" is not a name such as \"client.admin\""
        );
    }

    #[test]
    fn names_as_bytes() {
        let mut out = Vec::new();
        EntityName::client(-1).encode(&mut out);
        assert_eq!(out, [8, 255, 255, 255, 255, 255, 255, 255, 255]);
        let name = EntityName::decode(&mut Reader::new(&out, "name")).unwrap();
        assert_eq!(name, EntityName::client(-1));

        out.clear();
        AuthName::new(EntityType::CLIENT, "admin").encode(&mut out);
        assert_eq!(out, b"\x08\0\0\0\x05\0\0\0admin");
        let name = AuthName::decode(&mut Reader::new(&out, "name")).unwrap();
        assert_eq!(name.to_string(), "client.admin");
        out[1] = 1;
        assert!(AuthName::decode(&mut Reader::new(&out, "name")).is_err());
    }
}
