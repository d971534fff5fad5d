//! The request and its answer, as Ceph's `perf_msgr` makes them: a write at the beginning of one
//! object, and what an OSD would say of it. Each is encoded anew.

use async_messenger::message::Message;
use async_messenger::messages::{
    EVersion, MOSDOp, MOSDOpReply, NOSNAP, ObjectLocator, OpResult, OsdOp, PgId,
};
use async_messenger::wire::{DecodeError, features};
use bytes::Bytes;

const POOL: u64 = 1;
const SEED: u32 = 1;

/// Makes requests.
pub(super) struct Requests(MOSDOp);

impl Requests {
    /// With so many bytes of data each.
    pub(super) fn of_size(size: usize) -> Self {
        let pg = PgId {
            pool: POOL,
            seed: SEED,
        };
        Self(MOSDOp {
            pg: pg.into(),
            hash: SEED,
            flags: MOSDOp::WRITE,
            locator: ObjectLocator::of_pool(POOL as i64),
            object: Bytes::from_static(b"object-name"),
            ops: vec![OsdOp::write(0, vec![0; size])],
            snap: NOSNAP,
            features: features::SUPPORTED,
            ..MOSDOp::default()
        })
    }

    /// The next one, for a peer with these features.
    pub(super) fn make(&self, tid: u64, features: u64) -> Message {
        Message::from_payload(&self.0, features).with_tid(tid)
    }
}

/// What an OSD says that has done it all.
pub(super) fn answer(message: &Message, features: u64) -> Result<Message, DecodeError> {
    let mut request: MOSDOp = message.decode()?;
    let ops = std::mem::take(&mut request.ops).into_iter();
    let done = |op: OsdOp| OpResult {
        op: op.with_data(Bytes::new()),
        value: 0,
    };
    let reply: MOSDOpReply = request.reply(0, ops.map(done).collect(), EVersion::default());
    Ok(Message::from_payload(&reply, features).with_tid(message.tid()))
}
