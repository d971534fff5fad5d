//! What is around an outbox, for its models: senders, a home worker, and a peer that counts what
//! comes out of the links.
//!
//! It does what `Session` and `WorkerState` do with an outbox, in the same order, and nothing else.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use loom::sync::Mutex;
use loom::thread;

use super::planted::Plant;
use crate::connection::codec::Writing;
use crate::connection::outbox::{Flushed, Next, Outbox};
use crate::connection::queue::Gate;
use crate::error::SendError;
use crate::message::Message;
use crate::net::WriteHalf;
use crate::proto::Checksums;
use crate::proto::v1::Encoder;
use crate::wire::{MsgFooter, MsgHeader, Timespec};

/// The first byte of a message (msgr1 §2); whatever else is sent here is a byte long.
const TAG_MSG: u8 = 7;
/// An empty message on a link without features.
pub(super) const FRAME: usize = 1 + MsgHeader::LEN + MsgFooter::LEN_OLD;
/// So much that neither the socket nor the budget is ever full.
pub(super) const PLENTY: usize = usize::MAX;

/// What a home worker is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cmd {
    /// By the flusher of this number.
    Flush(usize),
    Connect,
    MarkDown,
}

/// The link's other end.
#[derive(Default)]
pub(super) struct Peer {
    /// Number and transaction of each message that has arrived, on all links.
    pub(super) got: Vec<(u64, u64)>,
    /// The flusher of each write.
    flushers: Vec<usize>,
    /// The beginning of the next message.
    rest: Vec<u8>,
    /// How much the socket takes until it is full.
    pub(super) room: usize,
    /// How much it takes at once.
    pub(super) at_once: usize,
    /// Writes that found it full.
    pub(super) refused: usize,
    gone: bool,
}

impl Peer {
    pub(super) fn in_seq(&self) -> u64 {
        self.got.last().map_or(0, |&(seq, _)| seq)
    }

    fn read(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(&tag) = self.rest.first() {
            if tag != TAG_MSG {
                self.rest.remove(0);
            } else if self.rest.len() >= FRAME {
                let word = |at: usize| {
                    let bytes = self.rest[1 + at..][..8].try_into().expect("eight of them");
                    u64::from_le_bytes(bytes)
                };
                self.got.push((word(0), word(8)));
                self.rest.drain(..FRAME);
            } else {
                return;
            }
        }
    }
}

struct Socket(Arc<Mutex<Peer>>);

impl WriteHalf for Socket {
    fn finish_connect(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut peer = self.0.lock().expect("no panic yet");
        if peer.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut bytes: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
        bytes.truncate(peer.room.min(peer.at_once));
        if bytes.is_empty() {
            peer.refused += 1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        peer.room -= bytes.len();
        peer.flushers.push(FLUSHER.with(Cell::get));
        peer.read(&bytes);
        Ok(bytes.len())
    }

    fn shutdown(&mut self) {
        self.0.lock().expect("no panic yet").gone = true;
    }
}

loom::thread_local! {
    /// Which flusher, counted from 1 over all elections, this thread is.
    static FLUSHER: Cell<usize> = Cell::new(0);
}

/// A session, as far as its outbox is concerned, with its home worker's inbox.
pub(super) struct World {
    pub(super) outbox: Outbox,
    cmds: Mutex<Vec<Cmd>>,
    pub(super) peer: Arc<Mutex<Peer>>,
    /// Of one flush.
    budget: usize,
    plant: Option<Plant>,
    /// What was counted: flushers, times the home worker was told to connect, and did it. Loom does
    /// not see these, and makes no orders for them.
    elections: AtomicUsize,
    pub(super) asked: AtomicUsize,
    pub(super) connects: AtomicUsize,
}

/// What only the home worker has.
#[derive(Default)]
pub(super) struct Home {
    pub(super) linked: bool,
    /// It is told when the socket has room.
    armed: bool,
}

impl World {
    /// Without a link.
    pub(super) fn new(budget: usize, plant: Option<Plant>) -> Arc<Self> {
        Self::limited(100, budget, plant)
    }

    /// Whose queue takes so many messages.
    pub(super) fn limited(messages: usize, budget: usize, plant: Option<Plant>) -> Arc<Self> {
        let peer = Peer {
            room: PLENTY,
            at_once: PLENTY,
            ..Peer::default()
        };
        Arc::new(Self {
            outbox: Outbox::new((1 << 20, messages), true, false),
            cmds: Mutex::default(),
            peer: Arc::new(Mutex::new(peer)),
            budget,
            plant,
            elections: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            connects: AtomicUsize::new(0),
        })
    }

    fn post(&self, cmd: Cmd) {
        self.cmds.lock().expect("no panic yet").push(cmd);
    }

    fn elected(&self) -> usize {
        1 + self.elections.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn send(&self, tid: u64) -> Result<(), SendError> {
        self.send_or_wait(tid, None)
    }

    /// As `Session` does it on a thread that is not the home worker's.
    pub(super) fn send_or_wait(&self, tid: u64, waker: Option<&Waker>) -> Result<(), SendError> {
        match self.outbox.push(message(tid), None, waker)? {
            Next::Nothing => {}
            Next::Connect => {
                self.asked.fetch_add(1, Ordering::Relaxed);
                self.post(Cmd::Connect);
            }
            Next::Flush => {
                let flusher = self.elected();
                if self.flush(flusher).ok() != Some(Flushed::Done) {
                    self.post(Cmd::Flush(flusher));
                }
            }
        }
        Ok(())
    }

    fn flush(&self, flusher: usize) -> io::Result<Flushed> {
        FLUSHER.with(|cell| cell.set(flusher));
        let stamp = Timespec::default;
        match self.plant {
            Some(Plant::IdleTooLate) => self.outbox.flush_idle_too_late(self.budget),
            _ => self.outbox.flush(self.budget, stamp),
        }
    }

    /// As `WorkerState::send`.
    fn flush_at_home(&self, home: &mut Home, flusher: usize) {
        match self.flush(flusher) {
            Ok(Flushed::Done) => {}
            Ok(Flushed::More) => self.post(Cmd::Flush(flusher)),
            Ok(Flushed::Full) => {
                match self.plant {
                    Some(Plant::BlockedBlindly) => self.outbox.block_blindly(),
                    _ => self.outbox.block(),
                }
                home.armed = true;
            }
            Err(_) => {
                self.drop_link(home);
                self.open(home);
            }
        }
    }

    /// The handshake: the peer says how far it has come.
    pub(super) fn open(&self, home: &mut Home) {
        let acked = {
            let mut peer = self.peer.lock().expect("no panic yet");
            (peer.gone, peer.rest) = (false, Vec::new());
            peer.in_seq()
        };
        let encoder = Writing::V1(Encoder::new(0, Checksums::default()));
        let socket = Box::new(Socket(Arc::clone(&self.peer)));
        home.linked = true;
        self.connects.fetch_add(1, Ordering::Relaxed);
        if self.outbox.open((false, Some(acked)), encoder, socket, &[]) {
            self.flush_at_home(home, self.elected());
        } else {
            self.drop_link(home);
        }
    }

    pub(super) fn drop_link(&self, home: &mut Home) {
        *home = Home::default();
        match self.plant {
            Some(Plant::DroppedInTwoSteps) => self.outbox.drop_link_in_two_steps(),
            _ => self.outbox.drop_link(std::convert::identity),
        }
    }

    pub(super) fn close(&self) -> Option<usize> {
        let unsent = self.outbox.close();
        if unsent.is_some() {
            self.post(Cmd::MarkDown);
        }
        unsent
    }

    pub(super) fn stand_by(&self) -> bool {
        match self.plant {
            Some(Plant::StoodByInTwoSteps) => self.outbox.stand_by_in_two_steps(),
            _ => self.outbox.stand_by(),
        }
    }

    /// Whoever reads the link is at its end.
    pub(super) fn is_gone(&self) -> bool {
        self.peer.lock().expect("no panic yet").gone
    }

    /// One turn of the home worker. False if there was nothing to do.
    pub(super) fn turn(&self, home: &mut Home) -> bool {
        let cmds = std::mem::take(&mut *self.cmds.lock().expect("no panic yet"));
        let mut busy = !cmds.is_empty();
        for cmd in cmds {
            match cmd {
                Cmd::Flush(flusher) => self.flush_at_home(home, flusher),
                Cmd::Connect if home.linked => {}
                Cmd::Connect => self.open(home),
                Cmd::MarkDown => self.drop_link(home),
            }
        }
        if home.armed && self.peer.lock().expect("no panic yet").room > 0 {
            busy = true;
            home.armed = false;
            self.writable(home);
        }
        busy
    }

    /// The driver says that the socket has room.
    pub(super) fn writable(&self, home: &mut Home) {
        if self.outbox.unblock() {
            self.flush_at_home(home, self.elected());
        }
    }

    /// Lets the home worker do all that somebody told it to do, and then looks whether everything
    /// was: each of `senders` has sent so many messages, and each has arrived, once and in order.
    pub(super) fn settle(&self, home: &mut Home, senders: &[u64]) {
        while self.turn(home) {}
        let peer = self.peer.lock().expect("no panic yet");
        for (sender, &count) in (0..).zip(senders) {
            let tids = peer.got.iter().map(|&(_, tid)| tid);
            let of_it: Vec<u64> = tids.filter(|tid| tid / 10 == sender).collect();
            let sent: Vec<u64> = (sender * 10..sender * 10 + count).collect();
            assert_eq!(of_it, sent, "of sender {sender}");
        }
        let seqs: Vec<u64> = peer.got.iter().map(|&(seq, _)| seq).collect();
        let all: Vec<u64> = (1..=senders.iter().sum()).collect();
        assert_eq!(seqs, all, "numbers");
        let (tx, queue) = (self.outbox.tx(), self.outbox.queue());
        assert_eq!(queue.gate, Gate::Idle, "nobody sends");
        assert!(queue.is_empty() && tx.batch.is_empty() && tx.link.is_some());
        assert_eq!(tx.out_seq, peer.in_seq());
    }

    /// Nobody has written between two writes of another flusher.
    pub(super) fn assert_one_flusher_at_a_time(&self) {
        let mut flushers = self.peer.lock().expect("no panic yet").flushers.clone();
        flushers.dedup();
        let writes = flushers.clone();
        flushers.sort_unstable();
        flushers.dedup();
        assert_eq!(flushers.len(), writes.len(), "two flushers: {writes:?}");
    }

    /// A thread that sends so many messages.
    pub(super) fn sender(self: &Arc<Self>, sender: u64, count: u64) -> thread::JoinHandle<()> {
        let world = Arc::clone(self);
        thread::spawn(move || {
            for tid in sender * 10..sender * 10 + count {
                world.send(tid).expect("open, and room enough");
            }
        })
    }
}

pub(super) fn message(tid: u64) -> Message {
    Message::new(1).with_tid(tid).with_priority(127)
}
