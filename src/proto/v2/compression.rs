//! Compression of frames (msgr2 §8): who is compressed towards and how, and its negotiation.
//!
//! Plain data. An algorithm is a file of two functions beside this one, or `absent` in its place;
//! which are compiled in is not asked anywhere else. What is done to the segments of a frame is in
//! `segments`. Invariant: nothing is agreed on that is not compiled in.

#[cfg(not(all(
    feature = "snappy",
    feature = "zlib",
    feature = "zstd",
    feature = "lz4"
)))]
mod absent;
#[cfg(feature = "lz4")]
mod lz4;
mod segments;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zlib")]
mod zlib;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;
use std::str::FromStr;

#[cfg(not(feature = "lz4"))]
use absent as lz4;
#[cfg(not(feature = "snappy"))]
use absent as snappy;
#[cfg(not(feature = "zlib"))]
use absent as zlib;
#[cfg(not(feature = "zstd"))]
use absent as zstd;
pub(super) use segments::{Packer, packed_max, unpack};

use crate::wire::EntityType;

/// A way to compress. All that Ceph knows have a name, so that its configuration can be read;
/// [`is_compiled`](Self::is_compiled) says which can be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// Feature `snappy`.
    Snappy,
    /// Feature `zlib`.
    Zlib,
    /// Feature `zstd`.
    Zstd,
    /// Feature `lz4`.
    Lz4,
    /// Not implemented; Ceph's own builds leave it out, too.
    Brotli,
}

/// Why bytes do not decompress.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fault {
    /// They come to so many bytes, or to more.
    #[allow(dead_code, reason = "there is no algorithm in some builds")]
    TooLong(u64),
    /// They are not what the algorithm makes.
    Damaged(String),
}

impl Fault {
    fn damaged(why: impl fmt::Display) -> Self {
        Self::Damaged(why.to_string())
    }
}

impl Algorithm {
    /// All of them, by their numbers on the wire, from 1.
    pub const ALL: [Self; 5] = [
        Self::Snappy,
        Self::Zlib,
        Self::Zstd,
        Self::Lz4,
        Self::Brotli,
    ];

    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32 + 1
    }

    /// The algorithm with a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.number() == number)
    }

    /// Its name in Ceph's options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Brotli => "brotli",
        }
    }

    /// Whether it can be used.
    #[must_use]
    pub const fn is_compiled(self) -> bool {
        match self {
            Self::Snappy => snappy::COMPILED,
            Self::Zlib => zlib::COMPILED,
            Self::Zstd => zstd::COMPILED,
            Self::Lz4 => lz4::COMPILED,
            Self::Brotli => false,
        }
    }

    /// The compressed form of a segment; `None` if there is none.
    fn pack(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Snappy => snappy::pack(text),
            Self::Zlib => zlib::pack(text),
            Self::Zstd => zstd::pack(text),
            Self::Lz4 => lz4::pack(text),
            Self::Brotli => None,
        }
    }

    /// What a compressed segment holds, if it is not more than `max` bytes. Nothing longer is
    /// allocated.
    fn unpack(self, packed: &[u8], max: usize) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Snappy => snappy::unpack(packed, max),
            Self::Zlib => zlib::unpack(packed, max),
            Self::Zstd => zstd::unpack(packed, max),
            Self::Lz4 => lz4::unpack(packed, max),
            Self::Brotli => Err(Fault::damaged("it is not compiled in")),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether there is any algorithm, and so a reason to negotiate.
pub(super) fn any_compiled() -> bool {
    Algorithm::ALL.into_iter().any(Algorithm::is_compiled)
}

/// A list of algorithms, the preferred first. As text the names are parted by spaces or commas, and
/// `none` is an empty one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Algorithms(pub Vec<Algorithm>);

/// Ceph's default: snappy alone.
impl Default for Algorithms {
    fn default() -> Self {
        Self(vec![Algorithm::Snappy])
    }
}

impl FromStr for Algorithms {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut algorithms = Vec::new();
        let words = text.split(|c: char| c.is_whitespace() || c == ',');
        for word in words.filter(|word| !matches!(*word, "" | "none")) {
            let known = Algorithm::ALL.into_iter().find(|a| a.name() == word);
            let known = known.ok_or("not none, or a list of snappy, zlib, zstd, lz4, brotli")?;
            if !algorithms.contains(&known) {
                algorithms.push(known);
            }
        }
        Ok(Self(algorithms))
    }
}

impl fmt::Display for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|algorithm| algorithm.name()).collect();
        f.pad(&if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(" ")
        })
    }
}

/// Whether to compress.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum CompressMode {
    /// Never.
    #[default]
    None,
    /// Whatever is long enough.
    Force,
}

impl FromStr for CompressMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "force" => Ok(Self::Force),
            _ => Err("not none or force"),
        }
    }
}

impl fmt::Display for CompressMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Force => "force",
        })
    }
}

/// When and how connections of v2 are compressed (msgr2 §8.1). Both sides apply it to what the
/// other one is, so that only OSDs compress, among each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compression {
    /// Whether connections with OSDs are compressed (`ms_osd_compress_mode`). Default: they are
    /// not.
    pub osd_mode: CompressMode,
    /// Frames with fewer bytes than this are sent as they are (`ms_osd_compress_min_size`). Default
    /// 1024.
    pub osd_min_size: u64,
    /// How, the preferred first (`ms_osd_compression_algorithm`); what is not compiled in is passed
    /// over. Default snappy.
    pub osd_algorithms: Algorithms,
    /// Whether encrypted connections are compressed, too (`ms_compress_secure`). The lengths of
    /// compressed texts tell something about them. Default false.
    pub secure: bool,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            osd_mode: CompressMode::None,
            osd_min_size: 1024,
            osd_algorithms: Algorithms::default(),
            secure: false,
        }
    }
}

impl Compression {
    /// Whether a connection with such a peer is compressed, if it is encrypted or not.
    #[must_use]
    pub fn mode(&self, peer: EntityType, is_secure: bool) -> CompressMode {
        if peer == EntityType::OSD && (self.secure || !is_secure) {
            self.osd_mode
        } else {
            CompressMode::None
        }
    }

    /// The algorithms that are offered to such a peer, and taken from it.
    #[must_use]
    pub fn methods(&self, peer: EntityType) -> Vec<Algorithm> {
        let listed = self.osd_algorithms.0.iter().copied();
        let usable = listed.filter(|algorithm| algorithm.is_compiled());
        usable.filter(|_| peer == EntityType::OSD).collect()
    }

    /// The first that such a peer prefers and we have, by their numbers on the wire.
    #[must_use]
    pub fn pick(&self, peer: EntityType, preferred: &[u32]) -> Option<Algorithm> {
        let ours = self.methods(peer);
        let known = preferred.iter().filter_map(|n| Algorithm::from_number(*n));
        known.into_iter().find(|algorithm| ours.contains(algorithm))
    }
}
