//! The map of the monitors.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BufMut;

use crate::wire::features::{self, SERVER_NAUTILUS};
use crate::wire::{AddrVec, DecodeError, EntityAddr, Put, Reader, Timespec};

use super::mon::put_strings;
use super::{Fsid, read_list};

/// The newest version of the encoding, and the oldest decoder that can read it.
const VERSION: u8 = 9;
const COMPAT: u8 = 6;
/// The same of the form for peers without `SERVER_NAUTILUS`.
const OLD_VERSION: u8 = 5;
const OLD_COMPAT: u8 = 3;

/// Who the monitors are, and where (encoding §16.3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MonMap {
    /// The cluster.
    pub fsid: Fsid,
    /// Counts the changes of the map.
    pub epoch: u32,
    /// When it was changed last.
    pub last_changed: Timespec,
    /// When the cluster was made.
    pub created: Timespec,
    /// Features of monitors that have been switched on for good, as bits.
    pub persistent_features: u64,
    /// Features of monitors that may be switched off again, as bits.
    pub optional_features: u64,
    /// The monitors. The place of each is its rank: the first is `mon.0`.
    pub mons: Vec<MonInfo>,
    /// The number of the oldest release that a monitor may be of; 16 is Pacific.
    pub min_mon_release: u8,
    /// Ranks that monitors had before they were removed.
    pub removed_ranks: BTreeSet<u32>,
    /// How a leader is elected: 1 classic, 2 disallow, 3 connectivity.
    pub strategy: u8,
    /// Names of monitors that may not lead.
    pub disallowed_leaders: BTreeSet<String>,
    /// Whether the cluster is stretched over two sites.
    pub stretch_mode: bool,
    /// The name of the monitor that decides between the two sites.
    pub tiebreaker: String,
    /// Names of monitors that are down because their site is.
    pub stretch_marked_down: BTreeSet<String>,
}

/// One monitor of a [`MonMap`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MonInfo {
    /// Its name, `a` of `mon.a`.
    pub name: String,
    /// Where it is.
    pub addrs: AddrVec,
    /// Its priority for clients, the smallest first.
    pub priority: u16,
    /// Its weight among those of the same priority.
    pub weight: u16,
    /// Where it stands, such as `datacenter` = `here`.
    pub location: BTreeMap<String, String>,
}

impl MonMap {
    /// Writes the map in the form for a peer with these features.
    pub fn encode(&self, features: u64, out: &mut impl BufMut) {
        if !features::has(features, SERVER_NAUTILUS) {
            return self.encode_old(features, out);
        }
        out.put_envelope(VERSION, COMPAT, |out| {
            self.fsid.encode(out);
            out.put_u32_le(self.epoch);
            self.encode_middle(out);
            self.encode_mons(features, out);
            put_strings(self.mons.iter().map(|mon| &mon.name), out);
            out.put_u8(self.min_mon_release);
            out.put_count(self.removed_ranks.len());
            for rank in &self.removed_ranks {
                out.put_u32_le(*rank);
            }
            out.put_u8(self.strategy);
            put_strings(&self.disallowed_leaders, out);
            out.put_u8(self.stretch_mode.into());
            out.put_string(&self.tiebreaker);
            put_strings(&self.stretch_marked_down, out);
        });
    }

    fn encode_old(&self, features: u64, out: &mut impl BufMut) {
        out.put_envelope(OLD_VERSION, OLD_COMPAT, |out| {
            self.fsid.encode(out);
            out.put_u32_le(self.epoch);
            out.put_count(self.mons.len());
            for (name, mon) in self.by_name() {
                out.put_string(name);
                mon.legacy_addr().encode(features, out);
            }
            self.encode_middle(out);
            self.encode_mons(features, out);
        });
    }

    fn encode_middle(&self, out: &mut Vec<u8>) {
        self.last_changed.encode(out);
        self.created.encode(out);
        for bits in [self.persistent_features, self.optional_features] {
            out.put_envelope(1, 1, |out| out.put_u64_le(bits));
        }
    }

    fn encode_mons(&self, features: u64, out: &mut Vec<u8>) {
        out.put_count(self.mons.len());
        for (name, mon) in self.by_name() {
            out.put_string(name);
            mon.encode(features, out);
        }
    }

    fn by_name(&self) -> BTreeMap<&str, &MonInfo> {
        self.mons
            .iter()
            .map(|mon| (mon.name.as_str(), mon))
            .collect()
    }

    /// Reads a map: the form of today, or the one before Nautilus.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (version, mut r) = r.envelope(VERSION, "monmap")?;
        let r = &mut r;
        if version < OLD_VERSION {
            return Err(r.bad_value(version));
        }
        let mut map = Self {
            fsid: Fsid::decode(r)?,
            epoch: r.u32()?,
            ..Self::default()
        };
        if version < COMPAT {
            // Names and addresses; both come again.
            let _: Vec<()> = read_list(r, 4 + 1, |r| {
                r.blob()?;
                EntityAddr::decode(r).map(drop)
            })?;
        }
        map.last_changed = Timespec::decode(r)?;
        map.created = Timespec::decode(r)?;
        map.persistent_features = r.envelope(1, "monmap features")?.1.u64()?;
        map.optional_features = r.envelope(1, "monmap features")?.1.u64()?;
        let mut mons: Vec<MonInfo> = read_list(r, 4 + 6, |r| {
            r.blob()?; // The name, which comes again.
            MonInfo::decode(r)
        })?;
        if version < COMPAT {
            mons.sort_by_key(MonInfo::legacy_addr);
            map.mons = mons;
            return Ok(map);
        }
        let ranks: Vec<String> = read_list(r, 4, Reader::string)?;
        let rank: BTreeMap<&String, usize> = ranks.iter().zip(0..).collect();
        mons.sort_by_key(|mon| rank.get(&mon.name).copied().unwrap_or(usize::MAX));
        map.mons = mons;
        map.decode_rest(version, r)?;
        Ok(map)
    }

    fn decode_rest(&mut self, version: u8, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        if version >= 7 {
            self.min_mon_release = r.u8()?;
        }
        if version >= 8 {
            self.removed_ranks = read_list(r, 4, Reader::u32)?;
        }
        if version >= 9 {
            self.strategy = r.u8()?;
            self.disallowed_leaders = read_list(r, 4, Reader::string)?;
            self.stretch_mode = r.bool()?;
            self.tiebreaker = r.string()?;
            self.stretch_marked_down = read_list(r, 4, Reader::string)?;
        }
        Ok(())
    }
}

impl MonInfo {
    /// The one address that old peers can know.
    fn legacy_addr(&self) -> EntityAddr {
        let v1 = self.addrs.legacy_addr();
        if v1 == EntityAddr::default() {
            self.addrs.as_legacy_addr()
        } else {
            v1
        }
    }

    fn encode(&self, features: u64, out: &mut Vec<u8>) {
        let old = !features::has(features, SERVER_NAUTILUS);
        let (version, compat) = if old { (2, 1) } else { (5, 1) };
        out.put_envelope(version, compat, |out| {
            out.put_string(&self.name);
            if old {
                self.legacy_addr().encode(features, out);
            } else {
                self.addrs.encode(features, out);
            }
            out.put_u16_le(self.priority);
            out.put_u16_le(self.weight);
            out.put_count(self.location.len());
            for (kind, place) in &self.location {
                out.put_string(kind);
                out.put_string(place);
            }
        });
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (version, mut r) = r.envelope(5, "monitor in the monmap")?;
        let r = &mut r;
        let mut mon = Self {
            name: r.string()?,
            addrs: AddrVec::decode(r)?,
            ..Self::default()
        };
        if version >= 2 {
            mon.priority = r.u16()?;
        }
        if version >= 4 {
            mon.weight = r.u16()?;
        }
        if version >= 5 {
            mon.location = read_list(r, 8, |r| Ok((r.string()?, r.string()?)))?;
        }
        Ok(mon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::features::{MSG_ADDR2, SUPPORTED};

    fn mon(name: &str, addrs: &str) -> MonInfo {
        MonInfo {
            name: name.into(),
            addrs: addrs.parse().expect("addresses"),
            ..MonInfo::default()
        }
    }

    fn map() -> MonMap {
        let stamp = Timespec { secs: 3, nanos: 4 };
        MonMap {
            fsid: Fsid([0xa7; 16]),
            epoch: 5,
            last_changed: stamp,
            created: stamp,
            persistent_features: 0xff,
            optional_features: 1,
            mons: vec![
                // By rank, which is neither the order of the names nor that of the addresses.
                mon("b", "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]"),
                MonInfo {
                    priority: 1,
                    weight: 2,
                    location: [("datacenter".into(), "here".into())].into(),
                    ..mon("c", "v1:[::1]:6789/0")
                },
                mon("a", "v1:10.0.0.0:6789/0"),
            ],
            min_mon_release: 16,
            removed_ranks: [3, 4].into(),
            strategy: 3,
            disallowed_leaders: ["b".to_owned()].into(),
            stretch_mode: true,
            tiebreaker: "c".into(),
            stretch_marked_down: ["a".to_owned()].into(),
        }
    }

    fn encoded(map: &MonMap, features: u64) -> Vec<u8> {
        let mut out = Vec::new();
        map.encode(features, &mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Result<MonMap, DecodeError> {
        MonMap::decode(&mut Reader::new(bytes, "monmap"))
    }

    #[test]
    fn round_trip_and_every_truncation() {
        for map in [map(), MonMap::default()] {
            let bytes = encoded(&map, SUPPORTED);
            assert_eq!(bytes[..2], [VERSION, COMPAT]);
            assert_eq!(decode(&bytes), Ok(map));
            for len in 0..bytes.len() {
                assert!(decode(&bytes[..len]).is_err(), "{len}");
                // And with a length that fits, so that the fields themselves end early.
                if let Some(inner) = len.checked_sub(6) {
                    let mut cut = bytes[..len].to_vec();
                    cut[2..6].copy_from_slice(&(inner as u32).to_le_bytes());
                    assert!(decode(&cut).is_err(), "{len}");
                }
            }
        }
    }

    #[test]
    fn the_form_before_nautilus() {
        for features in [0, MSG_ADDR2] {
            let bytes = encoded(&map(), features);
            assert_eq!(bytes[..2], [OLD_VERSION, OLD_COMPAT]);
            let old = decode(&bytes).expect("just encoded");
            assert_eq!((old.fsid, old.epoch), (map().fsid, 5));
            assert_eq!((old.persistent_features, old.optional_features), (0xff, 1));
            let mons: Vec<_> = old
                .mons
                .iter()
                .map(|m| (&*m.name, m.addrs.to_string()))
                .collect();
            let expected = [
                ("a", "[v1:10.0.0.0:6789/0]".to_owned()),
                ("b", "[v1:10.0.0.1:6789/0]".to_owned()),
                ("c", "[v1:[::1]:6789/0]".to_owned()),
            ];
            assert_eq!(mons, expected, "ranked by address");
            for len in 0..bytes.len() {
                assert!(decode(&bytes[..len]).is_err(), "{len}");
            }
        }
    }

    #[test]
    fn versions_between_have_fewer_fields() {
        // Version 6 ends with the ranks: the rest of the bytes is skipped as that of an envelope.
        let mut bytes = encoded(&map(), SUPPORTED);
        bytes[0] = 6;
        let six = decode(&bytes).expect("version 6");
        assert_eq!((six.min_mon_release, six.strategy), (0, 0));
        assert_eq!(six.mons, map().mons);
        bytes[0] = 4;
        assert!(
            decode(&bytes).is_err(),
            "older than any that is spoken here"
        );
        bytes[..2].copy_from_slice(&[10, 10]);
        assert!(decode(&bytes).is_err(), "requires a newer decoder");
    }
}
