//! Vectors of addresses: all places where one process is found (encoding §6.4 to §6.6).

use std::fmt;
use std::str::FromStr;

use bytes::BufMut;

use super::features::{self, MSG_ADDR2};
use super::{AddrType, DecodeError, EntityAddr, ParseError, Put, Reader};

/// All addresses of one process, the preferred first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AddrVec(pub Vec<EntityAddr>);

impl AddrVec {
    /// The first address, or none.
    pub fn front(&self) -> EntityAddr {
        self.0.first().copied().unwrap_or_default()
    }

    /// The first address for v1, or none.
    pub fn legacy_addr(&self) -> EntityAddr {
        self.find(|kind| kind == AddrType::Legacy)
            .unwrap_or_default()
    }

    /// The first address for v1, or else the first.
    pub fn legacy_or_front(&self) -> EntityAddr {
        self.find(|kind| kind == AddrType::Legacy)
            .unwrap_or_else(|| self.front())
    }

    /// The first address for v1 or for either, or else the first, in any case as one for v1.
    pub fn as_legacy_addr(&self) -> EntityAddr {
        self.find(|kind| matches!(kind, AddrType::Legacy | AddrType::Any))
            .unwrap_or_else(|| self.front())
            .with_kind(AddrType::Legacy)
    }

    fn find(&self, is_wanted: impl Fn(AddrType) -> bool) -> Option<EntityAddr> {
        self.0.iter().copied().find(|addr| is_wanted(addr.kind))
    }

    /// Writes the form that peers with these features read (encoding §6.4).
    pub fn encode(&self, features: u64, out: &mut impl BufMut) {
        if !features::has(features, MSG_ADDR2) {
            return self.legacy_addr().encode_legacy(out);
        }
        out.put_u8(2);
        out.put_count(self.0.len());
        for addr in &self.0 {
            addr.encode(features, out);
        }
    }

    /// Reads a vector, or a single address in either form.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.clone().u8()? {
            0 | 1 => Ok(Self(vec![EntityAddr::decode(r)?])),
            2 => {
                r.u8()?;
                let count = r.count(EntityAddr::LEN_MIN)?;
                let addrs: Result<_, _> = (0..count).map(|_| EntityAddr::decode(r)).collect();
                addrs.map(Self)
            }
            marker => Err(r.bad_value(marker)),
        }
    }
}

impl From<EntityAddr> for AddrVec {
    fn from(addr: EntityAddr) -> Self {
        Self(vec![addr])
    }
}

impl fmt::Display for AddrVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, addr) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{addr}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for AddrVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AddrVec {
    type Err = ParseError;

    /// Reads one address, or `[addr,addr]`.
    fn from_str(s: &str) -> Result<Self, ParseError> {
        if let Ok(addr) = s.parse::<EntityAddr>() {
            return Ok(addr.into());
        }
        match s.strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
            Some("") => Ok(Self::default()),
            Some(list) => list
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map(Self),
            None => Err(ParseError::new(
                "an address such as \"v1:127.0.0.1:6789/0\"",
                s,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["[]", "[v2:1.2.3.4:3300/0,v1:1.2.3.4:6789/0]"] {
            assert_eq!(text.parse::<AddrVec>().unwrap().to_string(), text);
        }
        let one: AddrVec = "[::1]:6789".parse().unwrap();
        assert_eq!(one.to_string(), "[v2:[::1]:6789/0]");
        assert!("[v1:1.2.3.4,]".parse::<AddrVec>().is_err());
    }

    #[test]
    fn choices_of_a_vector() {
        let both: AddrVec = "[v2:1.1.1.1:1/7,v1:1.1.1.1:2/7]".parse().unwrap();
        let v2: AddrVec = "v2:1.1.1.1:1/7".parse().unwrap();
        let any: AddrVec = "any:1.1.1.1:0/7".parse().unwrap();
        let none = AddrVec::default();
        let table = [
            (
                &both,
                "v2:1.1.1.1:1/7",
                "v1:1.1.1.1:2/7",
                "v1:1.1.1.1:2/7",
                "v1:1.1.1.1:2/7",
            ),
            (
                &v2,
                "v2:1.1.1.1:1/7",
                "-",
                "v2:1.1.1.1:1/7",
                "v1:1.1.1.1:1/7",
            ),
            (&any, "1.1.1.1:0/7", "-", "1.1.1.1:0/7", "v1:1.1.1.1:0/7"),
            (&none, "-", "-", "-", "v1:-/0"),
        ];
        for (addrs, front, legacy, legacy_or_front, as_legacy) in table {
            assert_eq!(addrs.front().to_string(), front);
            assert_eq!(addrs.legacy_addr().to_string(), legacy);
            assert_eq!(addrs.legacy_or_front().to_string(), legacy_or_front);
            assert_eq!(addrs.as_legacy_addr().to_string(), as_legacy);
        }
    }

    #[test]
    fn vectors_are_bounded() {
        let decode = |b: &[u8]| AddrVec::decode(&mut Reader::new(b, "addresses"));
        assert_eq!(decode(&[2, 0, 0, 0, 0]), Ok(AddrVec::default()));
        assert!(decode(&[2, 255, 255, 255, 255, 1, 1, 1]).is_err());
        assert!(decode(&[3, 0, 0, 0, 0]).is_err() && decode(&[]).is_err());
        assert_eq!(decode(&[0; 136]), Ok(EntityAddr::default().into()));
        let mut out = Vec::new();
        AddrVec::default().encode(0, &mut out);
        assert_eq!(out, [0; 136]);
    }
}
