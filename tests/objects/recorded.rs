//! Requests and replies as real programs have written them: read and written again, byte for byte.

use async_messenger::message::{Message, Payload};
use async_messenger::messages::{
    EVersion, MOSDOp, MOSDOpReply, ObjectLocator, ObjectStat, OsdOpCode, PgId,
};
use async_messenger::wire::{Reader, Timespec, features};

use crate::vectors::{From, Recorded, Rng, load};

/// Recordings, and where in the connection to the OSD the messages of client and OSD begin.
const RECORDINGS: [(&str, usize, usize); 2] =
    [("v1-none-osd", 208, 315), ("v1-cephx-osd", 567, 409)];
/// The connection to the OSD.
const OSD: usize = 2;

const TAG_MSG: u8 = 7;
const TAG_ACK: u8 = 8;
const TAG_KEEPALIVES: [u8; 2] = [14, 15];
const HEADER_LEN: usize = 53;
const FOOTER_LEN: usize = 21;

/// The messages of one direction. What surrounds them is tested elsewhere.
fn messages(recorded: &Recorded, from: From, mut at: usize) -> Vec<Message> {
    let stream = recorded.stream(from);
    let mut out = Vec::new();
    while at < stream.len() {
        let tag = stream[at];
        if tag == TAG_ACK || TAG_KEEPALIVES.contains(&tag) {
            at += 9;
            continue;
        }
        assert_eq!(tag, TAG_MSG, "{} at {at}", recorded.name);
        let header = &stream[at + 1..][..HEADER_LEN];
        let mut r = Reader::new(header, "header");
        let (_seq, tid, kind) = (r.u64().unwrap(), r.u64().unwrap(), r.u16().unwrap());
        let (_priority, version) = (r.u16().unwrap(), r.u16().unwrap());
        let lens = [0; 3].map(|_: u8| r.u32().unwrap() as usize);
        let _data_off = r.u16().unwrap();
        let (_src, compat) = (r.bytes(9).unwrap(), r.u16().unwrap());
        at += 1 + HEADER_LEN;
        let mut segment = |len| {
            at += len;
            stream[at - len..at].to_vec()
        };
        let message = Message::new(kind)
            .with_tid(tid)
            .with_version(version, compat);
        let (front, _, data) = (segment(lens[0]), segment(lens[1]), segment(lens[2]));
        out.push(message.with_front(front).with_data(data));
        at += FOOTER_LEN;
    }
    out
}

/// All requests and their replies.
fn exchanges() -> Vec<(Message, Message)> {
    let mut out = Vec::new();
    for (name, client, server) in RECORDINGS {
        let connection = &load(name)[OSD];
        let requests = messages(connection, From::Client, client);
        let replies = messages(connection, From::Server, server);
        assert_eq!((requests.len(), replies.len()), (8, 8), "{name}");
        out.extend(requests.into_iter().zip(replies));
    }
    out
}

#[track_caller]
fn same<P: Payload>(payload: &P, recorded: &Message) {
    let written = Message::from_payload(payload, features::SUPPORTED);
    assert_eq!(written.front(), recorded.front(), "{payload:?}");
    assert_eq!(written.data(), recorded.data(), "{payload:?}");
    let versions = |m: &Message| (m.head().version, m.head().compat_version);
    assert_eq!(versions(&written), versions(recorded));
}

#[test]
fn read_and_written_again() {
    for (request, reply) in exchanges() {
        assert_eq!(request.tid(), reply.tid());
        same(&request.decode::<MOSDOp>().unwrap(), &request);
        same(&reply.decode::<MOSDOpReply>().unwrap(), &reply);
    }
}

/// Given what became of each op, the rest of a reply follows from the request.
#[test]
fn replies_are_what_an_osd_would_say() {
    for (request, reply) in exchanges() {
        let request: MOSDOp = request.decode().unwrap();
        let theirs: MOSDOpReply = reply.decode().unwrap();
        let version = EVersion {
            version: theirs.user_version,
            epoch: theirs.map_epoch,
        };
        let ours = request.reply(theirs.result, theirs.ops, version);
        same(&ours, &reply);
    }
}

#[test]
fn a_request_field_by_field() {
    let (request, reply) = exchanges().swap_remove(0);
    let request: MOSDOp = request.decode().unwrap();
    assert_eq!(request.pg.pg, PgId { pool: 1, seed: 5 });
    assert_eq!((request.pg.shard, request.hash), (-1, 0xe59e_945d));
    assert_eq!((request.map_epoch, request.flags), (7, 0x40_0024));
    assert_eq!(request.locator, ObjectLocator::of_pool(1));
    assert_eq!(request.object, "greeting");
    assert_eq!(request.ops.len(), 1);
    assert_eq!(request.ops[0].code, OsdOpCode::WRITE_FULL);
    assert_eq!(request.ops[0].extent(), (0, 20));
    assert_eq!(request.ops[0].data, "hello, object store\n");
    assert_eq!(
        (request.retry_attempt, request.features),
        (0, 0x3f01_cfbd_fffd_ffff)
    );
    let reply: MOSDOpReply = reply.decode().unwrap();
    assert_eq!((reply.result, reply.flags), (0, 0x40_0025));
    assert_eq!(
        reply.replay_version,
        EVersion {
            version: 1,
            epoch: 7
        }
    );
}

#[test]
fn a_stat_and_a_miss() {
    let exchanges = exchanges();
    let stat: MOSDOpReply = exchanges[4].1.decode().unwrap();
    let stat = ObjectStat::decode(&mut Reader::new(&stat.ops[0].op.data, "stat")).unwrap();
    let written: MOSDOp = exchanges[1].0.decode().unwrap();
    assert_eq!((stat.size, stat.mtime), (5000, written.mtime));
    assert_ne!(stat.mtime, Timespec::default());
    let miss: MOSDOpReply = exchanges[7].1.decode().unwrap();
    assert_eq!((miss.result, miss.user_version), (-2, 0));
}

/// Whatever the bytes, decoding ends with a value or an error; a part of one is an error.
#[test]
fn damage_does_no_harm() {
    let mut rng = Rng(0x0b1e_c700);
    for message in exchanges().into_iter().flat_map(|(a, b)| [a, b]) {
        let (front, data) = (message.front().to_bytes(), message.data().to_bytes());
        let damaged = |front: Vec<u8>| {
            let head = message.head();
            let damaged = Message::new(head.kind).with_version(8, head.compat_version);
            let damaged = damaged.with_front(front).with_data(data.clone());
            match head.kind {
                MOSDOp::KIND => damaged.decode::<MOSDOp>().is_ok(),
                _ => damaged.decode::<MOSDOpReply>().is_ok(),
            }
        };
        for len in 0..front.len() {
            assert!(!damaged(front[..len].to_vec()), "{message} cut at {len}");
        }
        for _ in 0..500 {
            let mut front = front.to_vec();
            rng.mutate(&mut front);
            damaged(front);
        }
    }
}
