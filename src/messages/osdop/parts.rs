//! What requests to OSDs and their answers are made of: placement, versions, single ops.

use std::fmt;

use bytes::{BufMut, Bytes};

use crate::message::Segment;
use crate::wire::{DecodeError, DecodeErrorKind, EntityName, EntityType, Put, Reader, Timespec};

/// A placement group: a part of a pool (encoding §16.15).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PgId {
    /// The pool.
    pub pool: u64,
    /// Which part.
    pub seed: u32,
}

/// No OSD is preferred; the field is not used any more.
const NO_PREFERENCE: i32 = -1;

impl PgId {
    /// Writes the 17 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(1);
        out.put_u64_le(self.pool);
        out.put_u32_le(self.seed);
        out.put_i32_le(NO_PREFERENCE);
    }

    /// Reads 17 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.u8()?;
        if version != 1 {
            return Err(r.bad_value(version));
        }
        let pg = Self {
            pool: r.u64()?,
            seed: r.u32()?,
        };
        r.i32()?;
        Ok(pg)
    }
}

/// As Ceph writes it: the pool, and the rest in hexadecimal.
impl fmt::Display for PgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.pool, self.seed)
    }
}

impl fmt::Debug for PgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A placement group, and which shard of it (encoding §16.15).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardPg {
    /// The placement group.
    pub pg: PgId,
    /// The shard of an erasure-coded pool; -1 in others.
    pub shard: i8,
}

impl From<PgId> for ShardPg {
    fn from(pg: PgId) -> Self {
        Self { pg, shard: -1 }
    }
}

impl Default for ShardPg {
    fn default() -> Self {
        PgId::default().into()
    }
}

impl ShardPg {
    /// Writes the 24 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_envelope_of(1, 1, 18, |out| {
            self.pg.encode(out);
            out.put_i8(self.shard);
        });
    }

    /// Reads the envelope.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (_, mut body) = r.envelope(1, "placement group")?;
        Ok(Self {
            pg: PgId::decode(&mut body)?,
            shard: body.i8()?,
        })
    }
}

/// A point in the history of a placement group (encoding §16.15).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct EVersion {
    /// How many changes there were.
    pub version: u64,
    /// The epoch of the map by which the last one was made.
    pub epoch: u32,
}

impl EVersion {
    /// Writes the 12 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.version);
        out.put_u32_le(self.epoch);
    }

    /// Reads 12 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: r.u64()?,
            epoch: r.u32()?,
        })
    }
}

/// What tells a request from others, over reconnects (encoding §16.15). The default says nothing:
/// then it is the sender, the incarnation of the client and the tid.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OsdReqId {
    /// Who asks.
    pub name: EntityName,
    /// Its number of the request.
    pub tid: u64,
    /// Its incarnation.
    pub inc: i32,
}

impl Default for OsdReqId {
    fn default() -> Self {
        Self {
            name: EntityName::new(EntityType(0), 0),
            tid: 0,
            inc: 0,
        }
    }
}

impl OsdReqId {
    /// Writes the 27 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_envelope_of(2, 2, 21, |out| {
            self.name.encode(out);
            out.put_u64_le(self.tid);
            out.put_i32_le(self.inc);
        });
    }

    /// Reads the envelope.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (_, mut body) = r.envelope(2, "request id")?;
        Ok(Self {
            name: EntityName::decode(&mut body)?,
            tid: body.u64()?,
            inc: body.i32()?,
        })
    }
}

/// Which trace something is a part of: trace, span, parent. Zeros if none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TraceInfo(pub [i64; 3]);

impl TraceInfo {
    /// Writes the 24 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        self.0.iter().for_each(|id| out.put_i64_le(*id));
    }

    /// Reads 24 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self([r.i64()?, r.i64()?, r.i64()?]))
    }
}

/// In which pool and namespace an object is (encoding §16.15).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ObjectLocator {
    /// The pool.
    pub pool: i64,
    /// What is hashed instead of the name, if not empty.
    pub key: Bytes,
    /// The namespace; the usual one is empty.
    pub namespace: Bytes,
    /// The place instead of a name.
    pub hash: Option<i64>,
}

/// There is no hash.
const NO_HASH: i64 = -1;
/// Version of the locator's encoding, and the oldest that can read one without a hash.
const LOCATOR: (u8, u8) = (6, 3);

impl ObjectLocator {
    /// For objects in the usual namespace of a pool.
    #[must_use]
    pub fn of_pool(pool: i64) -> Self {
        Self {
            pool,
            ..Self::default()
        }
    }

    /// Writes the envelope.
    pub fn encode(&self, out: &mut impl BufMut) {
        let (version, without_hash) = LOCATOR;
        let compat = self.hash.map_or(without_hash, |_| version);
        let len = 28 + self.key.len() + self.namespace.len();
        out.put_envelope_of(version, compat, len, |out| {
            out.put_i64_le(self.pool);
            out.put_i32_le(NO_PREFERENCE);
            out.put_blob(&self.key);
            out.put_blob(&self.namespace);
            out.put_i64_le(self.hash.unwrap_or(NO_HASH));
        });
    }

    /// Reads the envelope.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (version, mut body) = r.envelope(LOCATOR.0, "object locator")?;
        if version < LOCATOR.0 {
            return Err(body.bad_value(version));
        }
        let pool = body.i64()?;
        body.i32()?;
        Ok(Self {
            pool,
            key: Bytes::copy_from_slice(body.blob()?),
            namespace: Bytes::copy_from_slice(body.blob()?),
            hash: Some(body.i64()?).filter(|hash| *hash != NO_HASH),
        })
    }
}

/// Where an object is instead (encoding §16.15).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Redirect {
    /// In which pool and namespace.
    pub locator: ObjectLocator,
    /// By which name.
    pub object: Bytes,
}

impl Redirect {
    /// Writes the envelope.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_envelope(1, 1, |out| {
            self.locator.encode(out);
            out.put_blob(&self.object);
            out.put_u32_le(0); // The length of what is not used any more.
        });
    }

    /// Reads the envelope.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (_, mut body) = r.envelope(1, "redirection")?;
        let redirect = Self {
            locator: ObjectLocator::decode(&mut body)?,
            object: Bytes::copy_from_slice(body.blob()?),
        };
        body.blob()?;
        Ok(redirect)
    }
}

/// What an op does (encoding §16.16).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OsdOpCode(pub u16);

impl OsdOpCode {
    /// Reads an extent; a length of 0 means to the end.
    pub const READ: Self = Self(0x1201);
    /// Gives an [`ObjectStat`].
    pub const STAT: Self = Self(0x1202);
    /// Writes an extent.
    pub const WRITE: Self = Self(0x2201);
    /// Replaces the whole object.
    pub const WRITE_FULL: Self = Self(0x2202);
    /// Removes the object.
    pub const DELETE: Self = Self(0x2205);
    /// Writes at the end.
    pub const APPEND: Self = Self(0x2206);
    /// Tells how large the object is going to be.
    pub const SET_ALLOC_HINT: Self = Self(0x2223);

    /// Whether it changes the object.
    #[must_use]
    pub const fn is_write(self) -> bool {
        self.0 & 0x2000 != 0
    }
}

impl fmt::Debug for OsdOpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// One op on an object: 38 bytes of the front, and a part of the data (encoding §16.16).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OsdOp {
    /// What it does.
    pub code: OsdOpCode,
    /// [`FAILOK`](Self::FAILOK) and others.
    pub flags: u32,
    /// Offset and length, or whatever else goes with the code.
    pub args: [u8; Self::ARGS_LEN],
    /// What goes in; in a reply what came out. Of a received message it is a slice.
    pub data: Bytes,
}

impl OsdOp {
    /// Bytes it takes in the front.
    pub const LEN: usize = 38;
    /// Bytes of [`args`](Self::args).
    pub const ARGS_LEN: usize = 28;
    /// The request goes on if this one fails.
    pub const FAILOK: u32 = 0x2;

    /// An op without data.
    #[must_use]
    pub fn new(code: OsdOpCode) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }

    /// Reads from `offset` on, `length` bytes at most, or to the end if that is 0.
    #[must_use]
    pub fn read(offset: u64, length: u64) -> Self {
        Self::new(OsdOpCode::READ).with_extent(offset, length)
    }

    /// Asks for an [`ObjectStat`].
    #[must_use]
    pub fn stat() -> Self {
        Self::new(OsdOpCode::STAT)
    }

    /// Writes at `offset`.
    #[must_use]
    pub fn write(offset: u64, data: impl Into<Bytes>) -> Self {
        Self::writing(OsdOpCode::WRITE, offset, data.into())
    }

    /// Replaces the whole object.
    #[must_use]
    pub fn write_full(data: impl Into<Bytes>) -> Self {
        Self::writing(OsdOpCode::WRITE_FULL, 0, data.into())
    }

    /// Writes at the end.
    #[must_use]
    pub fn append(data: impl Into<Bytes>) -> Self {
        Self::writing(OsdOpCode::APPEND, 0, data.into())
    }

    /// Removes the object.
    #[must_use]
    pub fn delete() -> Self {
        Self::new(OsdOpCode::DELETE)
    }

    fn writing(code: OsdOpCode, offset: u64, data: Bytes) -> Self {
        let length = data.len() as u64;
        Self::new(code).with_extent(offset, length).with_data(data)
    }

    /// With other data, for example what it gave.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// With offset and length.
    #[must_use]
    pub fn with_extent(mut self, offset: u64, length: u64) -> Self {
        self.args[..8].copy_from_slice(&offset.to_le_bytes());
        self.args[8..16].copy_from_slice(&length.to_le_bytes());
        self
    }

    /// Offset and length, of ops that have them.
    #[must_use]
    pub fn extent(&self) -> (u64, u64) {
        let number = |at: usize| {
            let bytes = self.args[at..].first_chunk();
            u64::from_le_bytes(bytes.copied().unwrap_or_default())
        };
        (number(0), number(8))
    }

    /// Writes the op behind others, and its data behind theirs.
    pub(super) fn encode(&self, front: &mut Vec<u8>, data: &mut Segment) {
        front.put_u16_le(self.code.0);
        front.put_u32_le(self.flags);
        front.put_slice(&self.args);
        front.put_count(self.data.len());
        data.push(self.data.clone());
    }

    /// Reads the next op, and takes its data off the front of what is left of it.
    pub(super) fn decode(r: &mut Reader<'_>, data: &mut Bytes) -> Result<Self, DecodeError> {
        let mut op = Self {
            code: OsdOpCode(r.u16()?),
            flags: r.u32()?,
            args: r.array()?,
            data: Bytes::new(),
        };
        let needed = r.u32()? as usize;
        if needed > data.len() {
            let left = data.len();
            return Err(DecodeError {
                what: "data of an osd_op op",
                kind: DecodeErrorKind::Truncated { needed, left },
            });
        }
        op.data = data.split_to(needed);
        Ok(op)
    }
}

/// Without the data, which may be long.
impl fmt::Debug for OsdOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (offset, length) = self.extent();
        write!(
            f,
            "{:?} {offset}~{length}, {} bytes",
            self.code,
            self.data.len()
        )
    }
}

/// What [`OsdOpCode::STAT`] gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ObjectStat {
    /// Bytes of the object.
    pub size: u64,
    /// When it was changed, by the clock of the client that did.
    pub mtime: Timespec,
}

impl ObjectStat {
    /// The 16 bytes, for the output of an op.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(16);
        self.encode(&mut out);
        out.into()
    }

    /// Writes the 16 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.size);
        self.mtime.encode(out);
    }

    /// Reads 16 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            size: r.u64()?,
            mtime: Timespec::decode(r)?,
        })
    }
}
