//! Reading and writing objects: what clients ask OSDs, and what they are answered.
//!
//! Only the newest encodings, which all releases since 12 (replies: 13) speak; who serves or asks
//! older ones is told so by the features, see [`MOSDOp::FEATURES`].

mod parts;

use bytes::{BufMut, Bytes};

use crate::message::{Message, Payload, Segment};
use crate::wire::features::{
    NEW_OSDOP_ENCODING, NEW_OSDOPREPLY_ENCODING, OBJECTLOCATOR, PGID64, RESEND_ON_SPLIT,
};
use crate::wire::{DecodeError, Put, Reader, Timespec, msgtype};

use super::{read_front, read_list};
pub use parts::{
    EVersion, ObjectLocator, ObjectStat, OsdOp, OsdOpCode, OsdReqId, PgId, Redirect, ShardPg,
    TraceInfo,
};

/// The snapshot id of an object as it is now.
pub const NOSNAP: u64 = -2_i64 as u64;

/// What a client wants done with one object (encoding §16.17). All of it is done, or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MOSDOp {
    /// The placement group of the object, as the pool is split now.
    pub pg: ShardPg,
    /// The hash of the object's name, of which the placement group is a part.
    pub hash: u32,
    /// The epoch of the OSD map that the client has.
    pub map_epoch: u32,
    /// [`WRITE`](Self::WRITE) and others.
    pub flags: u32,
    /// What tells this request from others, if it is not sender, incarnation and tid.
    pub reqid: OsdReqId,
    /// Which trace this is a part of.
    pub trace: TraceInfo,
    /// The incarnation of the client.
    pub client_inc: u32,
    /// When the object changes, by the clock of the client.
    pub mtime: Timespec,
    /// In which pool and namespace the object is.
    pub locator: ObjectLocator,
    /// The name of the object, which may be any bytes.
    pub object: Bytes,
    /// What to do, in this order. The encoding has room for 65535; with more it panics.
    pub ops: Vec<OsdOp>,
    /// Which snapshot to read; [`NOSNAP`] for none.
    pub snap: u64,
    /// The newest snapshot that the client knows, for writes.
    pub snap_seq: u64,
    /// The snapshots for which a write has to keep what is there, the newest first.
    pub snaps: Vec<u64>,
    /// How often this was sent before.
    pub retry_attempt: i32,
    /// What the client's encoding goes by.
    pub features: u64,
}

/// Flags.
impl MOSDOp {
    /// Answer when it is done.
    pub const ACK: u32 = 0x1;
    /// Answer when it is stored.
    pub const ONDISK: u32 = 0x4;
    /// It was sent before.
    pub const RETRY: u32 = 0x8;
    /// Something is read.
    pub const READ: u32 = 0x10;
    /// Something is written.
    pub const WRITE: u32 = 0x20;
    /// The client understands redirections.
    pub const KNOWN_REDIR: u32 = 0x40_0000;

    /// The kinds of acknowledgements; a reply says which one it is.
    const ACKS: u32 = Self::ACK | 0x2 | Self::ONDISK;
}

impl MOSDOp {
    /// Bytes of the front without names, ops and snapshots.
    const FIXED_LEN: usize = 171;

    fn front_len(&self) -> usize {
        let names = self.locator.key.len() + self.locator.namespace.len() + self.object.len();
        Self::FIXED_LEN + names + self.ops.len() * OsdOp::LEN + self.snaps.len() * 8
    }

    /// What a peer must have, so that both sides speak the encodings of this module. For
    /// [`Policy::features_required`](crate::Policy::features_required).
    pub const FEATURES: u64 =
        OBJECTLOCATOR | PGID64 | NEW_OSDOP_ENCODING | RESEND_ON_SPLIT | NEW_OSDOPREPLY_ENCODING;

    /// For an OSD: does one op after the other, until one fails that must not. Gives the result of
    /// the request, and of each op that was done.
    pub fn run(
        &self,
        mut run_op: impl FnMut(&OsdOp) -> Result<Bytes, i32>,
    ) -> (i32, Vec<OpResult>) {
        let mut done = Vec::with_capacity(self.ops.len());
        for op in &self.ops {
            let (value, output) = match run_op(op) {
                Ok(output) => (0, output),
                Err(errno) => (errno, Bytes::new()),
            };
            done.push(OpResult {
                op: op.clone().with_data(output),
                value,
            });
            if value < 0 && op.flags & OsdOp::FAILOK == 0 {
                return (value, done);
            }
        }
        (0, done)
    }

    /// The answer: what became of it, and of each of its ops. `version` is what a write has made
    /// of the object, or what a read has found.
    #[must_use]
    pub fn reply(&self, result: i32, ops: Vec<OpResult>, version: EVersion) -> MOSDOpReply {
        let ack = if result == 0 { Self::ACK } else { 0 };
        let flags = self.flags & !Self::ACKS | Self::ONDISK | ack;
        // Only a write can be replayed.
        let (found, written) = match self.flags & Self::WRITE {
            0 => (
                EVersion {
                    epoch: 0,
                    ..version
                },
                EVersion::default(),
            ),
            _ => (version, version),
        };
        MOSDOpReply {
            object: self.object.clone(),
            pg: self.pg.pg,
            flags: flags.into(),
            result,
            map_epoch: self.map_epoch,
            ops,
            retry_attempt: self.retry_attempt,
            bad_replay_version: found,
            replay_version: written,
            user_version: version.version,
            ..MOSDOpReply::default()
        }
    }
}

impl Payload for MOSDOp {
    const KIND: u16 = msgtype::OSD_OP;
    const NAME: &'static str = "osd_op";
    const VERSION: u16 = 8;
    const COMPAT: u16 = 3;

    fn encode(&self, _features: u64, out: &mut Message) {
        // Exact, so that the bytes need no second allocation to be shared.
        let front_len = self.front_len();
        let mut front = Vec::with_capacity(front_len);
        self.pg.encode(&mut front);
        front.put_u32_le(self.hash);
        front.put_u32_le(self.map_epoch);
        front.put_u32_le(self.flags);
        self.reqid.encode(&mut front);
        self.trace.encode(&mut front);
        front.put_u32_le(self.client_inc);
        self.mtime.encode(&mut front);
        self.locator.encode(&mut front);
        front.put_blob(&self.object);
        // A client of ours that has more than 65535 ops in one message has gone wrong.
        front.put_u16_le(u16::try_from(self.ops.len()).expect("at most 65535 ops"));
        let mut data = Segment::EMPTY;
        for op in &self.ops {
            op.encode(&mut front, &mut data);
        }
        front.put_u64_le(self.snap);
        front.put_u64_le(self.snap_seq);
        front.put_count(self.snaps.len());
        self.snaps.iter().for_each(|snap| front.put_u64_le(*snap));
        front.put_i32_le(self.retry_attempt);
        front.put_u64_le(self.features);
        debug_assert_eq!(front.len(), front_len);
        out.set_front(front);
        out.set_data(data);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        let mut data = message.data().to_bytes();
        read_front(message, |r| {
            new_enough::<Self>(r, message)?;
            Ok(Self {
                pg: ShardPg::decode(r)?,
                hash: r.u32()?,
                map_epoch: r.u32()?,
                flags: r.u32()?,
                reqid: OsdReqId::decode(r)?,
                trace: TraceInfo::decode(r)?,
                client_inc: r.u32()?,
                mtime: Timespec::decode(r)?,
                locator: ObjectLocator::decode(r)?,
                object: Bytes::copy_from_slice(r.blob()?),
                ops: {
                    let count = r.u16()?;
                    read_ops(r, count.into(), &mut data)?
                },
                snap: r.u64()?,
                snap_seq: r.u64()?,
                snaps: read_list(r, 8, Reader::u64)?,
                retry_attempt: r.i32()?,
                features: r.u64()?,
            })
        })
    }
}

/// What became of a request to an OSD (encoding §16.18). The tid is the request's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MOSDOpReply {
    /// The name of the object.
    pub object: Bytes,
    /// The placement group.
    pub pg: PgId,
    /// The flags of the request, with the kind of acknowledgement that this is.
    pub flags: i64,
    /// 0, or a negative errno of Linux.
    pub result: i32,
    /// What has been written, for clients that replay it.
    pub bad_replay_version: EVersion,
    /// The epoch of the OSD map that the OSD has.
    pub map_epoch: u32,
    /// The ops of the request, with what each came to.
    pub ops: Vec<OpResult>,
    /// The attempt that this answers.
    pub retry_attempt: i32,
    /// The version of a write.
    pub replay_version: EVersion,
    /// The version of the object, for users.
    pub user_version: u64,
    /// Where the object is instead.
    pub redirect: Option<Redirect>,
    /// Which trace this is a part of.
    pub trace: TraceInfo,
}

/// What an op came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpResult {
    /// The op; its data is what it gave.
    pub op: OsdOp,
    /// 0 or more, or a negative errno of Linux.
    pub value: i32,
}

/// A result in a reply: 38 bytes of the op, and the value.
const RESULT_LEN: usize = OsdOp::LEN + 4;

/// Bytes of the front of a reply without name, ops and redirection.
const REPLY_LEN: usize = 102;

impl Payload for MOSDOpReply {
    const KIND: u16 = msgtype::OSD_OPREPLY;
    const NAME: &'static str = "osd_opreply";
    const VERSION: u16 = 8;
    const COMPAT: u16 = 2;

    fn encode(&self, _features: u64, out: &mut Message) {
        let names = self.object.len();
        let mut front = Vec::with_capacity(REPLY_LEN + names + self.ops.len() * RESULT_LEN);
        front.put_blob(&self.object);
        self.pg.encode(&mut front);
        front.put_i64_le(self.flags);
        front.put_i32_le(self.result);
        self.bad_replay_version.encode(&mut front);
        front.put_u32_le(self.map_epoch);
        front.put_count(self.ops.len());
        let mut data = Segment::EMPTY;
        for result in &self.ops {
            result.op.encode(&mut front, &mut data);
        }
        front.put_i32_le(self.retry_attempt);
        let values = self.ops.iter().map(|result| result.value);
        values.for_each(|value| front.put_i32_le(value));
        self.replay_version.encode(&mut front);
        front.put_u64_le(self.user_version);
        front.put_u8(self.redirect.is_some().into());
        if let Some(redirect) = &self.redirect {
            redirect.encode(&mut front);
        }
        self.trace.encode(&mut front);
        debug_assert!(self.redirect.is_some() || front.len() == front.capacity());
        out.set_front(front);
        out.set_data(data);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        let mut data = message.data().to_bytes();
        read_front(message, |r| {
            new_enough::<Self>(r, message)?;
            let mut reply = Self {
                object: Bytes::copy_from_slice(r.blob()?),
                pg: PgId::decode(r)?,
                flags: r.i64()?,
                result: r.i32()?,
                bad_replay_version: EVersion::decode(r)?,
                map_epoch: r.u32()?,
                ..Self::default()
            };
            let count = r.count(RESULT_LEN)?;
            let ops = read_ops(r, count, &mut data)?;
            reply.retry_attempt = r.i32()?;
            let result = |op| {
                Ok(OpResult {
                    op,
                    value: r.i32()?,
                })
            };
            reply.ops = ops.into_iter().map(result).collect::<Result<_, _>>()?;
            reply.replay_version = EVersion::decode(r)?;
            reply.user_version = r.u64()?;
            reply.redirect = r.bool()?.then(|| Redirect::decode(r)).transpose()?;
            reply.trace = TraceInfo::decode(r)?;
            Ok(reply)
        })
    }
}

/// Refuses encodings older than what this module knows.
fn new_enough<P: Payload>(r: &Reader<'_>, message: &Message) -> Result<(), DecodeError> {
    match message.head().version {
        version if version < P::VERSION => Err(r.bad_value(version)),
        _ => Ok(()),
    }
}

/// Reads ops, and gives each its part of the data. That the front has room for all of them is
/// checked before anything is reserved.
fn read_ops(r: &mut Reader<'_>, count: usize, data: &mut Bytes) -> Result<Vec<OsdOp>, DecodeError> {
    let mut ops = Reader::new(r.bytes(count * OsdOp::LEN)?, "osd_op op");
    (0..count).map(|_| OsdOp::decode(&mut ops, data)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::round_trip;
    use super::*;
    use crate::wire::{DecodeErrorKind, EntityName};

    fn request() -> MOSDOp {
        let pg = PgId { pool: 1, seed: 5 };
        MOSDOp {
            pg: ShardPg { pg, shard: 2 },
            hash: 0x1234_5675,
            map_epoch: 10,
            flags: MOSDOp::READ | MOSDOp::WRITE,
            reqid: OsdReqId {
                name: EntityName::client(4107),
                tid: 3,
                inc: -1,
            },
            trace: TraceInfo([1, -2, 3]),
            client_inc: 7,
            mtime: Timespec { secs: 8, nanos: 9 },
            locator: ObjectLocator {
                pool: 1,
                key: "key".into(),
                namespace: "space".into(),
                hash: None,
            },
            object: Bytes::from_static(b"any \xff bytes"),
            ops: vec![
                OsdOp::write(4, "to be written"),
                OsdOp::read(0, 100),
                OsdOp::append("more"),
            ],
            snap: NOSNAP,
            snap_seq: 4,
            snaps: vec![4, 2],
            retry_attempt: 1,
            features: u64::MAX,
        }
    }

    fn reply() -> MOSDOpReply {
        let read = OpResult {
            op: OsdOp::read(0, 100).with_data("what was read"),
            value: -1,
        };
        let version = EVersion {
            version: 3,
            epoch: 4,
        };
        MOSDOpReply {
            redirect: Some(Redirect {
                locator: ObjectLocator {
                    hash: Some(7),
                    ..ObjectLocator::of_pool(2)
                },
                object: "elsewhere".into(),
            }),
            ..request().reply(-2, vec![read, OpResult::default()], version)
        }
    }

    #[test]
    fn requests() {
        let message = round_trip(&request());
        assert_eq!(message.data().to_bytes(), "to be writtenmore");
        assert_eq!(
            (message.head().version, message.head().compat_version),
            (8, 3)
        );
        round_trip(&MOSDOp::default());
    }

    #[test]
    fn replies() {
        let message = round_trip(&reply());
        assert_eq!(message.data().to_bytes(), "what was read");
        assert_eq!(
            (message.head().version, message.head().compat_version),
            (8, 2)
        );
        round_trip(&MOSDOpReply::default());
    }

    #[test]
    fn a_reply_follows_its_request() {
        let mut request = request();
        let version = EVersion {
            version: 3,
            epoch: 4,
        };
        let done = request.reply(0, vec![], version);
        let flags = MOSDOp::READ | MOSDOp::WRITE | MOSDOp::ACK | MOSDOp::ONDISK;
        assert_eq!((done.flags, done.result), (flags.into(), 0));
        assert_eq!((done.replay_version, done.user_version), (version, 3));
        assert_eq!((done.retry_attempt, done.pg), (1, request.pg.pg));
        request.flags = MOSDOp::READ | MOSDOp::ACK;
        let failed = request.reply(-2, vec![], EVersion::default());
        let flags = MOSDOp::READ | MOSDOp::ONDISK;
        assert_eq!((failed.flags, failed.result), (flags.into(), -2));
    }

    #[test]
    fn ops_run_until_one_fails() {
        let mut request = request();
        let outcome = |op: &OsdOp| match op.code {
            OsdOpCode::READ => Err(-2),
            _ => Ok(op.data.slice(..1)),
        };
        let (result, done) = request.run(outcome);
        let values: Vec<_> = done.iter().map(|done| done.value).collect();
        assert_eq!((result, &values[..]), (-2, &[0, -2][..]));
        assert_eq!(done[0].op, OsdOp::write(4, "to be written").with_data("t"));
        request.ops[1].flags = OsdOp::FAILOK;
        let (result, done) = request.run(outcome);
        assert_eq!((result, done.len(), done[1].value), (0, 3, -2));
    }

    #[test]
    fn data_that_is_missing_is_an_error() {
        let message = Message::from_payload(&request(), 0).with_data("to be writtenmor");
        let error = message.decode::<MOSDOp>().unwrap_err();
        assert_eq!(
            error.kind,
            DecodeErrorKind::Truncated { needed: 4, left: 3 }
        );
        // What no op claims is nobody's.
        let message = Message::from_payload(&reply(), 0).with_data("what was read, and more");
        assert_eq!(message.decode::<MOSDOpReply>(), Ok(reply()));
    }

    #[test]
    fn counts_are_bounded_by_what_is_there() {
        let front = Message::from_payload(&reply(), 0).front().to_bytes();
        let mut front = front.to_vec();
        let at = 4 + reply().object.len() + 17 + 8 + 4 + 12 + 4;
        front[at..at + 4].fill(0xff);
        let message = Message::new(MOSDOpReply::KIND).with_version(8, 2);
        let error = message.with_front(front).decode::<MOSDOpReply>();
        let kind = error.unwrap_err().kind;
        assert!(
            matches!(
                kind,
                DecodeErrorKind::Count {
                    count: u32::MAX,
                    ..
                }
            ),
            "{kind:?}"
        );
    }

    #[test]
    fn older_encodings_are_refused() {
        let front = Message::from_payload(&request(), 0).front().to_bytes();
        let message = Message::new(MOSDOp::KIND)
            .with_version(7, 3)
            .with_front(front);
        let error = message.decode::<MOSDOp>().unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::Value(7));
    }
}
