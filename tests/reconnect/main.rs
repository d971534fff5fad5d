//! Sessions that outlive their links, byte by byte: a messenger of ours against a script that plays
//! its peer, as the accepting side (`acceptor`) and as the connecting side (`connector`). All on
//! the driver that `EVENT_DRIVER` names.

use std::net::{SocketAddrV4, TcpListener};

use async_messenger::message::Message;
use async_messenger::wire::{AddrVec, EntityName};
use async_messenger::{Config, Connection, ConnectionEvent, Messenger, Policy};

use peers::{Inbox, Recorder, Seen, config, localhost};
use scripted::*;

mod acceptor;
mod connector;
#[path = "../common/peers.rs"]
mod peers;
#[path = "../common/scripted.rs"]
mod scripted;

/// The type and the protocol of OSDs among themselves.
const OSD: u32 = 4;
const CLUSTER: u32 = 10;

/// osd.0, which neither echoes nor answers by itself.
struct Subject {
    messenger: Messenger,
    inbox: Inbox,
    addrs: AddrVec,
}

impl Subject {
    fn new(policy: Policy) -> Self {
        Self::with(policy, 1, config())
    }

    fn with(policy: Policy, nonce: u32, config: Config) -> Self {
        let messenger = Messenger::builder(EntityName::osd(0))
            .config(config)
            .default_policy(policy)
            .cluster_protocol(CLUSTER)
            .nonce(nonce)
            .build()
            .expect("a messenger");
        let addrs = messenger.bind(&localhost()).expect("a free port");
        let (recorder, inbox) = Recorder::new(false, true);
        messenger
            .add_dispatcher_tail(recorder)
            .expect("not started");
        messenger.start().expect("starts");
        Self {
            messenger,
            inbox,
            addrs,
        }
    }

    /// How many messages its owner was told to be lost.
    fn remote_reset(&self) -> usize {
        self.inbox.find("remote reset", |seen| match seen {
            Seen::Event(_, ConnectionEvent::RemoteReset { unsent }) => Some(unsent),
            _ => None,
        })
    }

    /// Ends it; nobody was told of a reset since the last look.
    fn end(self) {
        let is_reset = |seen: &Seen| {
            matches!(
                seen,
                Seen::Event(
                    _,
                    ConnectionEvent::RemoteReset { .. } | ConnectionEvent::Reset { .. }
                )
            )
        };
        // The dispatch thread is behind the last message, which may be behind a reset.
        let seen: Vec<Seen> = self.inbox.0.try_iter().filter(is_reset).collect();
        assert!(seen.is_empty(), "{seen:?}");
        assert_eq!(self.messenger.stats().panics, 0);
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
    }
}

/// A message with this number as its transaction and its front.
fn numbered(tid: u64) -> Message {
    Message::new(42)
        .with_tid(tid)
        .with_front(tid.to_le_bytes().to_vec())
}

fn send(connection: &Connection, tid: u64) {
    connection.send(numbered(tid)).expect("room");
}

/// The next message that the subject sends: its number, and that of [`numbered`].
fn take_numbered(wire: &mut Wire) -> (u64, u64) {
    let (seq, [front, ..]) = wire.take_message();
    let front = front.try_into().expect("8 bytes");
    (seq, u64::from_le_bytes(front))
}

/// Tag ACK with a number.
fn ack(seq: u64) -> Vec<u8> {
    [&[tag::ACK][..], &seq.to_le_bytes()].concat()
}

/// A keepalive, and what answers it. Nothing else may come before the answer.
fn check_nothing_pending(wire: &mut Wire) {
    let stamp = [1, 2, 3, 4, 5, 6, 7, 0];
    wire.send(&[&[tag::KEEPALIVE2][..], &stamp].concat());
    let answer = [&[tag::KEEPALIVE2_ACK][..], &stamp].concat();
    assert_eq!(wire.take(answer.len()), answer);
}

/// A connect of osd.1.
fn offer(global_seq: u32, connect_seq: u32) -> Connect {
    Connect {
        host_type: OSD,
        protocol: CLUSTER,
        global_seq,
        connect_seq,
        ..Connect::default()
    }
}

/// An answer of osd.1, which is not lossy.
fn answer(tag: u8, global_seq: u32, connect_seq: u32) -> Reply {
    Reply {
        tag,
        global_seq,
        connect_seq,
        protocol: CLUSTER,
        flags: 0,
        ..Reply::default()
    }
}

/// Where osd.1 lives: it listens, and accepts nobody.
struct Home {
    socket: TcpListener,
    nonce: u32,
}

impl Home {
    fn new(nonce: u32) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("an option");
        Self { socket, nonce }
    }

    fn at(&self) -> SocketAddrV4 {
        v4(self.socket.local_addr().expect("it is bound"))
    }

    /// Connects to the subject, as far as the first connect.
    fn knock(&self, subject: &Subject) -> Wire {
        let mut wire = Wire::connect(&subject.addrs);
        wire.take(SERVER_HELLO_LEN);
        wire.send(&[BANNER, &addr(self.at(), self.nonce)].concat());
        wire
    }

    /// Whether the subject has connected.
    fn is_visited(&self) -> bool {
        self.socket.accept().is_ok()
    }

    /// Opens a new session, as attempt 10.
    fn open(&self, subject: &Subject) -> Wire {
        let mut wire = self.knock(subject);
        check_open(&mut wire, (10, 0), (0, 0));
        wire
    }
}

/// Tag, number of the attempt, incarnation.
type Answer = (u8, u32, u32);

/// Sends a connect, and returns what answers it.
fn ask(wire: &mut Wire, (global_seq, connect_seq): (u32, u32)) -> Answer {
    wire.send(&offer(global_seq, connect_seq).bytes());
    let reply = wire.take(REPLY_LEN);
    assert_eq!(word(&reply, 17), CLUSTER);
    assert_eq!(word(&reply, 21), 0, "no authorizer comes back");
    assert_eq!(reply[25], 0, "the session is not lossy");
    (reply[0], word(&reply, 9), word(&reply, 13))
}

/// A connect that is let in, with the numbers that the subject and the script have received.
fn check_open(wire: &mut Wire, offered: (u32, u32), (theirs, ours): (u64, u64)) {
    let (tag, _, connect_seq) = ask(wire, offered);
    assert_eq!((tag, connect_seq), (reply::SEQ, offered.1 + 1));
    assert_eq!(wire.take(SEQ_LEN), theirs.to_le_bytes(), "what it received");
    wire.send(&ours.to_le_bytes());
}
