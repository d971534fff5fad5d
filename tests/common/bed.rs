//! What a scripted test happens in: a subject, a bystander, and an eye on what the process uses.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::fmt::Write as _;
use std::fs::DirEntry;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_messenger::message::Message;
use async_messenger::proto::v1::State;
use async_messenger::wire::{AddrVec, EntityAddr, EntityType};
use async_messenger::{Builder, Connection, ConnectionEvent, DriverKind, Error, ErrorKind, Stats};

use super::peers::{DEADLINE, Inbox, Peer, Seen, client, driver, eventually, server};
use super::scripted::{Listener, Wire, announced, open_client};

/// Which side the subject is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Acceptor,
    Connector,
}

pub const ROLES: [Role; 2] = [Role::Acceptor, Role::Connector];

/// A subject with a bystander: a connection that has nothing to do with what happens to others.
pub struct Bed {
    pub role: Role,
    pub subject: Peer,
    other: Peer,
    bystander: Connection,
    listener: Listener,
    nonce: u32,
    descriptors: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Bed {
    /// A messenger that dispatches fast, echoes if it is the acceptor, and is set up as told.
    pub fn new(role: Role, change: impl FnOnce(Builder) -> Builder) -> Self {
        let alone = alone();
        let descriptors = descriptors();
        let (subject, other) = match role {
            Role::Acceptor => (server(true, change), client(true, |b| b)),
            Role::Connector => (client(true, change), server(true, |b| b)),
        };
        let bystander = match role {
            Role::Acceptor => other.connect(&subject),
            Role::Connector => subject.connect(&other),
        };
        let listener = Listener::new();
        let bed = Self {
            role,
            subject,
            other,
            bystander,
            listener,
            nonce: 0,
            descriptors,
            _alone: alone,
        };
        bed.bystander_echoes();
        bed
    }

    /// The other connection works as if nothing had happened.
    pub fn bystander_echoes(&self) {
        let message = Message::new(2).with_tid(77).with_front(&b"ok?"[..]);
        self.bystander.send(message).expect("room");
        let inbox = match self.role {
            Role::Acceptor => &self.other.inbox,
            Role::Connector => &self.subject.inbox,
        };
        let reply = inbox.find("echo", |seen| match seen {
            Seen::Message(from, message) if from == self.bystander => Some(message),
            _ => None,
        });
        assert_eq!(reply.tid(), 77);
        assert_eq!(reply.front().to_bytes(), &b"ok?"[..]);
    }

    /// The bystander has so many bytes echoed, in messages of 16 KiB.
    pub fn bystander_sends(&self, bytes: usize) {
        for _ in 0..bytes >> 14 {
            let message = Message::new(2).with_front(vec![5; 16 << 10]);
            self.bystander.send(message).expect("room");
            self.other.inbox.message();
        }
        // What the subject's dispatcher has kept.
        self.subject.inbox.0.try_iter().for_each(drop);
    }

    /// An open connection of the subject with a script, and the address that names the script.
    pub fn open(&mut self) -> (Wire, EntityAddr) {
        match self.role {
            Role::Acceptor => {
                self.nonce += 1;
                let wire = open_client(&self.subject.addrs, self.nonce);
                (wire, announced(self.nonce))
            }
            Role::Connector => {
                self.connect();
                (self.listener.open(), self.listener.addr())
            }
        }
    }

    /// The subject connects to the script.
    pub fn connect(&self) -> Connection {
        let target = AddrVec(vec![self.listener.addr()]);
        self.subject
            .messenger
            .connect(EntityType::OSD, &target)
            .expect("started")
    }

    /// Lets the subject connect to a place that it has not been to.
    pub fn move_listener(&mut self) {
        self.listener = Listener::new();
    }

    /// Where the subject connects to.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    pub fn stats(&self) -> Stats {
        self.subject.messenger.stats()
    }

    /// Accepted connections that exist. What the subject's dispatcher has kept does not count.
    pub fn connections(&self) -> usize {
        self.subject.inbox.0.try_iter().for_each(drop);
        self.stats().connections
    }

    /// Nobody panicked, nothing is left of what the scripts did, and everything is given back.
    pub fn finish(self) {
        self.bystander_echoes();
        let left = usize::from(self.role == Role::Acceptor);
        eventually("all connections but the bystander end", || {
            self.connections() == left
        });
        self.bystander.mark_down();
        eventually("the bystander ends", || self.connections() == 0);
        eventually("what is dispatched is given back", || {
            let stats = self.stats();
            (
                stats.dispatch_bytes,
                stats.dispatch_messages,
                stats.dispatch_queue,
            ) == (0, 0, 0)
        });
        let stats = self.stats();
        assert_eq!(stats.panics, 0);
        assert_eq!(
            (stats.dispatch_bytes, stats.dispatch_messages),
            (0, 0),
            "{stats:?}"
        );
        let Self {
            subject,
            other,
            bystander,
            listener,
            descriptors: before,
            _alone,
            ..
        } = self;
        other.end();
        subject.end();
        drop((bystander, listener));
        eventually("descriptors are given back", || descriptors() <= before);
    }
}

/// What an error must say.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: ErrorKind,
    pub phase: State,
    /// In its text.
    pub words: &'static [&'static str],
}

/// An error says who, where and what, as a value and as text.
pub fn check_fault(name: &str, error: &Error, peer: EntityAddr, want: &Fault) {
    assert_eq!(error.kind(), want.kind, "{name}: {error}");
    assert_eq!(error.phase(), Some(want.phase.into()), "{name}: {error}");
    assert_eq!(error.peer(), Some(peer), "{name}: {error}");
    let text = error.to_string();
    let mut start = String::new();
    write!(start, "{peer}: in {}: ", want.phase).expect("a string");
    assert!(
        text.starts_with(&start),
        "{name}: {text:?} does not start with {start:?}"
    );
    for word in want.words {
        assert!(
            text.contains(word),
            "{name}: {text:?} does not say {word:?}"
        );
    }
}

/// Tests that count what the whole process has run one after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Open descriptors of this process; 0 where they cannot be counted. The stand-in for kqueue keeps
/// some of its own for the next queue, so only sockets count there.
pub fn descriptors() -> usize {
    let sockets_only = driver() == DriverKind::Kqueue;
    let counts = |entry: std::io::Result<DirEntry>| {
        let target = entry.and_then(|entry| std::fs::read_link(entry.path()));
        target.is_ok_and(|path| !sockets_only || path.to_string_lossy().starts_with("socket:"))
    };
    std::fs::read_dir("/proc/self/fd")
        .map_or(0, |dir| dir.map(counts).filter(|counted| *counted).count())
}

/// Resident bytes of this process; 0 where they are not told.
pub fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

/// Processor time that this process has used, to the tick of 10 ms; 0 where it is not told.
pub fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in parentheses, which may contain anything.
    let fields = text
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_ascii_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|word| word.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Lets time pass while a process ought to be idle, and says how much of it it used.
pub fn cpu_time_over(span: Duration) -> Duration {
    let (before, began) = (cpu_time(), Instant::now());
    // Not to wait for anything: this is the time over which is measured.
    std::thread::sleep(span);
    assert!(began.elapsed() >= span);
    cpu_time() - before
}

/// Runs a test of this binary in a process of its own, with so many descriptors. True in that
/// process: the caller goes on with the test itself.
pub fn in_child(test: &str, descriptors: u32) -> bool {
    const MARK: &str = "MSGR_TEST_CHILD";
    if std::env::var(MARK).is_ok_and(|name| name == test) {
        // Whoever waits for this process waits without limit.
        std::thread::spawn(|| {
            std::thread::sleep(4 * DEADLINE);
            eprintln!("not done within {:?}", 4 * DEADLINE);
            std::process::exit(1);
        });
        return true;
    }
    let exe = std::env::current_exe().expect("a path");
    let shell = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &shell])
        .arg(exe)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .output()
        .expect("there is a shell");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{test} in its own process:\n{out}\n{err}"
    );
    assert!(
        out.contains("1 passed"),
        "{test} did not run:\n{out}\n{err}"
    );
    false
}

impl Inbox {
    /// The next attempt to connect that failed.
    pub fn refusal(&self) -> Error {
        self.find("refusal", |seen| match seen {
            Seen::Event(_, ConnectionEvent::Refused(error)) => Some(error),
            _ => None,
        })
    }
}
