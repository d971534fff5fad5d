//! The request and its answer, as Ceph's `perf_msgr` makes them: a write at the beginning of one
//! object, and what an OSD would say of it. Each is made and encoded anew.

use async_messenger::message::Message;
use async_messenger::messages::{
    EVersion, MOSDOp, MOSDOpReply, NOSNAP, ObjectLocator, OsdOp, PgId,
};
use async_messenger::wire::DecodeError;
use bytes::Bytes;

const POOL: u64 = 1;
const SEED: u32 = 1;

/// Makes requests.
pub(super) struct Requests {
    data: Bytes,
}

impl Requests {
    /// With so many bytes of data each.
    pub(super) fn of_size(size: usize) -> Self {
        Self {
            data: vec![0; size].into(),
        }
    }

    /// The next one.
    pub(super) fn make(&self, tid: u64, features: u64) -> Message {
        let request = MOSDOp {
            pg: PgId {
                pool: POOL,
                seed: SEED,
            }
            .into(),
            hash: SEED,
            flags: MOSDOp::WRITE,
            locator: ObjectLocator::of_pool(POOL as i64),
            object: Bytes::from_static(b"object-name"),
            ops: vec![OsdOp::write(0, self.data.clone())],
            snap: NOSNAP,
            features,
            ..MOSDOp::default()
        };
        Message::from_payload(&request, features).with_tid(tid)
    }
}

/// What an OSD says that has done it all.
pub(super) fn answer(message: &Message, features: u64) -> Result<Message, DecodeError> {
    let request: MOSDOp = message.decode()?;
    let (result, done) = request.run(|_| Ok(Bytes::new()));
    let reply: MOSDOpReply = request.reply(result, done, EVersion::default());
    Ok(Message::from_payload(&reply, features).with_tid(message.tid()))
}
