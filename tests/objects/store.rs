//! The example `object_store` with a client that says what the real one never would.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use async_messenger::message::Message;
use async_messenger::messages::{
    MOSDOp, MOSDOpReply, NOSNAP, ObjectLocator, ObjectStat, OsdOp, OsdOpCode,
};
use async_messenger::wire::{AddrVec, EntityName, EntityType, Reader, Timespec, features};
use async_messenger::{Connection, ConnectionEvent, Dispatcher, Handled, Messenger};
use bytes::Bytes;

use crate::ceph::Server;
use crate::{DEADLINE, example};

const ENOENT: i32 = -2;
const EINVAL: i32 = -22;
const EFBIG: i32 = -27;
const EOPNOTSUPP: i32 = -95;

/// What the store says; nothing if it hangs up.
struct Ear(Sender<Option<Message>>);

impl Dispatcher for Ear {
    fn dispatch(&self, _: &Connection, message: Message) -> Handled {
        // The test may be over.
        let _ = self.0.send(Some(message));
        Handled::Yes
    }

    fn event(&self, _: &Connection, event: &ConnectionEvent) {
        if let ConnectionEvent::Reset { .. } = event {
            let _ = self.0.send(None);
        }
    }
}

struct Client {
    connection: Connection,
    heard: Receiver<Option<Message>>,
    store: Server,
    _messenger: Messenger,
}

impl Client {
    fn new(bind: &str) -> Self {
        let mut command = Command::new(example("object_store"));
        command.arg(bind);
        let mut store = Server::spawn(command);
        let line = store.line(DEADLINE);
        let addrs = line.strip_prefix("ready ").expect("it is ready");
        let addrs: AddrVec = addrs.parse().expect("it says where");
        let client = EntityName::client(7);
        let messenger = Messenger::builder(client).build().expect("a messenger");
        let (tell, heard) = channel();
        let ear = Arc::new(Ear(tell));
        messenger.add_dispatcher_tail(ear).expect("not started");
        messenger.start().expect("start");
        let connection = messenger.connect(EntityType::OSD, &addrs);
        Self {
            connection: connection.expect("a v1 or v2 address"),
            heard,
            store,
            _messenger: messenger,
        }
    }

    fn send(&self, message: Message) -> Option<Message> {
        self.connection.send(message).expect("room in the queue");
        self.heard.recv_timeout(DEADLINE).expect("an answer")
    }

    fn ask(&self, request: &MOSDOp) -> MOSDOpReply {
        let message = Message::from_payload(request, features::SUPPORTED).with_tid(9);
        let reply = self.send(message).expect("not hung up");
        assert_eq!(reply.tid(), 9);
        reply.decode().expect("a reply")
    }

    fn run(&self, ops: &[OsdOp]) -> MOSDOpReply {
        self.ask(&request(ops))
    }

    #[track_caller]
    fn content(&self, wanted: &'static str) {
        let reply = self.run(&[OsdOp::read(0, 0)]);
        assert_eq!(reply.result, 0);
        assert_eq!(reply.ops[0].op.data, wanted);
    }
}

fn request(ops: &[OsdOp]) -> MOSDOp {
    let is_write = ops.iter().any(|op| op.code.is_write());
    MOSDOp {
        flags: if is_write {
            MOSDOp::WRITE
        } else {
            MOSDOp::READ
        },
        map_epoch: 5,
        mtime: Timespec { secs: 1, nanos: 2 },
        locator: ObjectLocator::of_pool(3),
        object: Bytes::from_static(b"\xff object"),
        ops: ops.to_vec(),
        snap: NOSNAP,
        ..MOSDOp::default()
    }
}

fn writes_and_reads(bind: &str) {
    let client = Client::new(bind);
    assert_eq!(client.run(&[OsdOp::read(0, 9)]).result, ENOENT);
    assert_eq!(client.run(&[OsdOp::stat()]).result, ENOENT);
    assert_eq!(client.run(&[OsdOp::delete()]).result, ENOENT);

    let written = client.run(&[OsdOp::write(3, "def")]);
    assert_eq!((written.result, written.replay_version.epoch), (0, 5));
    client.content("\0\0\0def");
    client.run(&[OsdOp::write(0, "abc"), OsdOp::append("ghi")]);
    client.content("abcdefghi");
    let parts = client.run(&[OsdOp::read(2, 3), OsdOp::read(7, 99), OsdOp::read(50, 1)]);
    let parts: Vec<_> = parts.ops.iter().map(|done| done.op.data.clone()).collect();
    assert_eq!(parts, ["cde", "hi", ""]);
    let stat = client.run(&[OsdOp::stat()]).ops.remove(0).op.data;
    let stat = ObjectStat::decode(&mut Reader::new(&stat, "stat")).expect("16 bytes");
    assert_eq!((stat.size, stat.mtime), (9, Timespec { secs: 1, nanos: 2 }));
    client.run(&[OsdOp::write_full("x")]);
    client.content("x");

    // The same name in another pool is another object.
    let mut elsewhere = request(&[OsdOp::stat()]);
    elsewhere.locator.pool = 4;
    assert_eq!(client.ask(&elsewhere).result, ENOENT);
    assert_eq!(client.run(&[OsdOp::delete()]).result, 0);
    assert_eq!(client.run(&[OsdOp::stat()]).result, ENOENT);
}

#[test]
fn writes_and_reads_over_v1() {
    writes_and_reads("v1:127.0.0.1:0/77");
}

#[test]
fn writes_and_reads_over_v2() {
    writes_and_reads("v2:127.0.0.1:0/77");
}

#[test]
fn a_request_that_fails_changes_nothing() {
    let client = Client::new("v1:127.0.0.1:0");
    client.run(&[OsdOp::write_full("before")]);
    let unknown = OsdOp::new(OsdOpCode(0x2301));
    let failed = client.run(&[OsdOp::write_full("after"), unknown.clone(), OsdOp::delete()]);
    let values: Vec<_> = failed.ops.iter().map(|done| done.value).collect();
    assert_eq!(
        (failed.result, &values[..]),
        (EOPNOTSUPP, &[0, EOPNOTSUPP][..])
    );
    client.content("before");

    // Failing is allowed to this one.
    let tolerated = OsdOp {
        flags: OsdOp::FAILOK,
        ..unknown
    };
    let done = client.run(&[tolerated, OsdOp::append(" and after")]);
    assert_eq!((done.result, done.ops[0].value), (0, EOPNOTSUPP));
    client.content("before and after");
}

#[test]
fn what_is_too_much_or_makes_no_sense_is_refused() {
    let mut client = Client::new("v1:127.0.0.1:0");
    client.run(&[OsdOp::write_full("x")]);
    // An object as large as that would be 16 EiB.
    assert_eq!(client.run(&[OsdOp::write(u64::MAX, "y")]).result, EFBIG);
    assert_eq!(client.run(&[OsdOp::write(128 << 20, "y")]).result, EFBIG);
    let shorter = OsdOp::write(0, "yy").with_extent(0, 1);
    assert_eq!(client.run(&[shorter]).result, EINVAL);
    assert_eq!(client.run(&vec![OsdOp::stat(); 17]).result, EINVAL);
    let reading = client.run(&[OsdOp::read(u64::MAX, u64::MAX)]);
    assert_eq!((reading.result, reading.ops[0].op.data.len()), (0, 0));
    let mut snapshot = request(&[OsdOp::read(0, 0)]);
    snapshot.snap = 1;
    assert_eq!(client.ask(&snapshot).result, EOPNOTSUPP);
    let mut clones = request(&[OsdOp::append("y")]);
    clones.snaps = vec![1];
    assert_eq!(client.ask(&clones).result, EOPNOTSUPP);
    client.content("x");

    let garbage = Message::new(42).with_version(8, 3).with_front("garbage");
    assert!(client.send(garbage).is_none(), "it hangs up");
    assert!(client.store.is_up());
    let said = client.store.end();
    assert!(said.contains("no answer to"), "{said}");
}
