//! What the workload sends: pings and pongs that carry a numbered blob, and commands that nobody
//! answers. The blobs are shared: encoding and decoding copy none of them.

use async_messenger::event::{Env, ManualEnv};
use async_messenger::message::{Message, Payload, Segment};
use async_messenger::messages::MPing;
use async_messenger::wire::{DecodeError, Put, Reader, msgtype};
use bytes::{BufMut, Bytes};

/// Blobs of a workload.
const BLOBS: usize = 100;
const BLOB_MIN: usize = 32;
const BLOB_MAX: usize = 4 << 20;

/// The data of a large command: so many times the alphabet, 6.8 MB.
const ALPHABETS: usize = 1024 * 256;

/// Commands overtake pings.
const COMMAND_PRIORITY: u16 = 200;

/// Which way a blob goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Ping = 0,
    Pong = 1,
}

/// The content of a ping or a pong.
pub(super) struct Numbered {
    pub(super) who: Who,
    /// Counts the pings of a workload.
    pub(super) index: u64,
    pub(super) blob: Bytes,
}

impl Numbered {
    pub(super) fn to_message(&self) -> Message {
        // The envelope around it all, its length, then who, the index, and the blob's length.
        let mut head = vec![1, 1];
        head.put_count(1 + 8 + 4 + self.blob.len());
        head.put_u8(self.who as u8);
        head.put_u64_le(self.index);
        head.put_count(self.blob.len());
        let mut data = Segment::from(head);
        data.push(self.blob.clone());
        Message::new(MPing::KIND).with_data(data)
    }

    pub(super) fn decode(message: &Message) -> Result<Self, DecodeError> {
        let data = message.data().to_bytes();
        let (_, mut body) = Reader::new(&data, "numbered").envelope(1, "numbered")?;
        let who = match body.u8()? {
            0 => Who::Ping,
            1 => Who::Pong,
            other => return Err(body.bad_value(other)),
        };
        Ok(Self {
            who,
            index: body.u64()?,
            blob: data.slice_ref(body.blob()?),
        })
    }
}

/// The blobs that a workload chooses from: pieces of one random block, so that they cost no memory
/// each and yet differ.
pub(super) fn blobs(random: &ManualEnv) -> Vec<Bytes> {
    let words = 2 * BLOB_MAX / 8;
    let block: Bytes = (0..words)
        .flat_map(|_| random.random().to_le_bytes())
        .collect();
    let piece = |_| {
        let len = BLOB_MIN + below(random, BLOB_MAX - BLOB_MIN + 1);
        let from = below(random, block.len() - len);
        block.slice(from..from + len)
    };
    (0..BLOBS).map(piece).collect()
}

/// MCommand: an id, and one string.
pub(super) fn command(random: &ManualEnv) -> Message {
    let mut front = Vec::new();
    front.put_u64_le(random.random());
    front.put_u64_le(random.random());
    front.put_count(1);
    front.put_string("command");
    Message::new(msgtype::COMMAND)
        .with_priority(COMMAND_PRIORITY)
        .with_front(front)
}

pub(super) fn large_data() -> Segment {
    let mut data = Segment::from(b"abcdefghijklmnopqrstuvwxyz".repeat(ALPHABETS));
    // All commands carry the same bytes, which need not be summed up for each of them.
    data.crc();
    data
}

/// A random number below `n`.
pub(super) fn below(random: &ManualEnv, n: usize) -> usize {
    (random.random() % n as u64) as usize
}
