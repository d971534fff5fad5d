//! Who sent what to whom, and whether it arrived as it should.
//!
//! Each message says which connection of which process sent it and which number it has there, so
//! that the ledger, which sees both sides, can tell at once when one comes twice, too early, to the
//! wrong place or changed; and at the end, when one never came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::chance::Chance;
use crate::connection::Connection;
use crate::message::{Message, priority};
use crate::messenger::ConnectionEvent;

/// Types of messages: each has its own order. The first and the last may be dispatched fast; the
/// last goes before the others.
pub(super) const KINDS: [u16; 3] = [42, 43, 44];
/// The longest payload.
pub(super) const DATA_MAX: usize = 64 << 10;

/// A connection of a process. A node's processes follow each other; each is a life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Who {
    pub(super) node: usize,
    pub(super) life: u32,
    pub(super) connection: u64,
}

/// What a connection has sent.
#[derive(Debug)]
struct Sent {
    peer: usize,
    /// Of the peer's address: if the peer has another one now, nothing gets there any more.
    nonce: u32,
    count: [u64; KINDS.len()],
    /// Numbers up to these may be lost: something has happened that says so.
    void: [u64; KINDS.len()],
    /// Nothing more is expected of it.
    over: bool,
}

/// A process that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Process {
    pub(super) life: u32,
    pub(super) nonce: u32,
}

#[derive(Debug)]
pub(super) struct Ledger {
    lossless: bool,
    sent: BTreeMap<Who, Sent>,
    /// The last number that a connection got from another.
    last: BTreeMap<(Who, Who, usize), u64>,
    /// Which connection got a message.
    got: BTreeMap<(Who, usize, u64), Who>,
    /// Connections that have ended.
    ended: BTreeSet<Who>,
    /// Pairs of nodes between which a session may have been lost for a reason.
    disturbed: BTreeSet<(usize, usize)>,
    running: BTreeMap<usize, Process>,
    /// The end of the run: sessions are closed.
    pub(super) closing: bool,
    pub(super) messages: u64,
    wrong: Option<String>,
}

impl Ledger {
    pub(super) fn new(lossless: bool) -> Self {
        Self {
            lossless,
            sent: BTreeMap::new(),
            last: BTreeMap::new(),
            got: BTreeMap::new(),
            ended: BTreeSet::new(),
            disturbed: BTreeSet::new(),
            running: BTreeMap::new(),
            closing: false,
            messages: 0,
            wrong: None,
        }
    }

    /// The first thing that was wrong.
    pub(super) fn wrong(&self) -> Option<&String> {
        self.wrong.as_ref()
    }

    pub(super) fn complain(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    // Processes.

    pub(super) fn started(&mut self, node: usize, process: Process) {
        self.running.insert(node, process);
    }

    pub(super) fn crashed(&mut self, node: usize) {
        self.running.remove(&node);
        for (who, sent) in &mut self.sent {
            sent.over |= who.node == node;
            if sent.peer == node {
                // It had acknowledged messages that it did not get round to.
                sent.void = sent.count;
                self.disturbed.insert(pair(who.node, node));
            }
        }
        // Also those that have not heard of it yet.
        let others: Vec<usize> = self.running.keys().copied().collect();
        self.disturbed
            .extend(others.iter().map(|other| pair(*other, node)));
    }

    // Sending.

    /// The next message of a connection.
    pub(super) fn compose(
        &mut self,
        who: Who,
        connection: &Connection,
        kind: usize,
        size: usize,
    ) -> Message {
        let sent = self.sent.entry(who).or_insert_with(|| Sent {
            peer: node_of(connection),
            nonce: connection.peer_addr().nonce,
            count: Default::default(),
            void: Default::default(),
            over: false,
        });
        let number = sent.count[kind] + 1;
        let mut front = BytesMut::new();
        front.put_u32_le(who.node as u32);
        front.put_u32_le(who.life);
        front.put_u64_le(who.connection);
        front.put_u32_le(kind as u32);
        front.put_u32_le(size as u32);
        let message = Message::new(KINDS[kind])
            .with_tid(number)
            .with_front(front.freeze())
            .with_data(payload(number, size));
        if kind == KINDS.len() - 1 {
            message.with_priority(priority::HIGH)
        } else {
            message
        }
    }

    /// The message that was composed last has been taken.
    pub(super) fn sent(&mut self, who: Who, kind: usize) {
        if let Some(sent) = self.sent.get_mut(&who) {
            sent.count[kind] += 1;
        }
    }

    // Receiving.

    pub(super) fn received(&mut self, me: Who, message: &Message) {
        self.messages += 1;
        if let Err(what) = self.check(me, message) {
            self.complain(format!("{me:?} got {message}: {what}"));
        }
    }

    fn check(&mut self, me: Who, message: &Message) -> Result<(), String> {
        let number = message.tid();
        let mut front = message.front().to_bytes();
        if front.len() != 24 {
            return Err("a front of another length".into());
        }
        let from = Who {
            node: front.get_u32_le() as usize,
            life: front.get_u32_le(),
            connection: front.get_u64_le(),
        };
        let kind = front.get_u32_le() as usize;
        let size = front.get_u32_le() as usize;
        if KINDS.get(kind) != Some(&message.kind())
            || message.data().to_bytes() != payload(number, size)
        {
            return Err("another content".into());
        }
        let sent = self.sent.get(&from).ok_or("nobody sent it")?;
        if sent.peer != me.node || number > sent.count[kind] {
            return Err(format!("sent by {from:?} to {}", sent.peer));
        }
        if self.ended.contains(&me) {
            return Err(format!("by {from:?}, after the end of the connection"));
        }
        let last = self.last.insert((me, from, kind), number).unwrap_or(0);
        if number <= last {
            return Err(format!("by {from:?}, after number {last}"));
        }
        if !self.lossless && number != last + 1 {
            return Err(format!(
                "by {from:?}, after number {last} on a lossy connection"
            ));
        }
        let before = self.got.insert((from, kind, number), me);
        match before {
            Some(before) if before.life == me.life && !self.ended.contains(&before) => {
                Err(format!("by {from:?}, and {before:?} got it before"))
            }
            _ => Ok(()),
        }
    }

    // What happens to connections.

    /// A connection's owner has closed it.
    pub(super) fn marked_down(&mut self, me: Who, peer: usize) {
        self.ended.insert(me);
        self.disturbed.insert(pair(me.node, peer));
        if let Some(sent) = self.sent.get_mut(&me) {
            sent.over = true;
        }
        self.void(peer, me.node);
    }

    /// What one node has sent to another so far may be lost.
    fn void(&mut self, from: usize, to: usize) {
        for (who, sent) in &mut self.sent {
            if who.node == from && sent.peer == to {
                sent.void = sent.count;
            }
        }
    }

    pub(super) fn event(&mut self, me: Who, peer: usize, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::Reset { error, .. } => {
                self.ended.insert(me);
                if let Some(sent) = self.sent.get_mut(&me) {
                    sent.over = true;
                }
                if self.lossless && !self.closing {
                    self.complain(format!("{me:?}: a lossless session ended: {error}"));
                }
            }
            ConnectionEvent::RemoteReset { unsent } => {
                if !self.lossless || !self.disturbed.contains(&pair(me.node, peer)) {
                    self.complain(format!(
                        "{me:?}: the session was reset without a reason, {unsent} unsent"
                    ));
                }
                self.void(me.node, peer);
                self.void(peer, me.node);
            }
            _ => {}
        }
    }

    /// What has not arrived and must, unless something else happens.
    pub(super) fn missing(&self) -> Option<String> {
        for (who, sent) in &self.sent {
            let peer = self.running.get(&sent.peer);
            if sent.over || peer.is_none_or(|peer| peer.nonce != sent.nonce) {
                continue;
            }
            for (at, kind) in KINDS.iter().enumerate() {
                let mut wanted = sent.void[at] + 1..=sent.count[at];
                let gone = wanted.find(|number| !self.got.contains_key(&(*who, at, *number)));
                if let Some(number) = gone {
                    return Some(format!(
                        "number {number} of type {kind} of {who:?} has not arrived; {sent:?}"
                    ));
                }
            }
        }
        None
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// The node that a connection leads to, by its address.
pub(super) fn node_of(connection: &Connection) -> usize {
    match connection.peer_addr().ip() {
        Some(std::net::IpAddr::V4(ip)) => usize::from(ip.octets()[3]).wrapping_sub(1),
        _ => usize::MAX,
    }
}

/// Bytes that belong to a number: a slice of a fixed text, so that it costs no copy.
fn payload(number: u64, size: usize) -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
        let mut chance = Chance::new(0, 0);
        let words = (0..2 * DATA_MAX / 8).map(|_| chance.next().to_le_bytes());
        words.flatten().collect::<Vec<u8>>().into()
    });
    let start = (number * 4099 % DATA_MAX as u64) as usize;
    TEXT.slice(start..start + size)
}
