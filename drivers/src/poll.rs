//! `poll(2)`, with a mask that gives it the contract's "delivered, then re-armed".
//!
//! The facility is level-triggered: it would report a direction as long as it is ready. So a
//! delivered direction is taken out of the mask until it is re-armed, and an entry whose mask is
//! empty has its descriptor inverted, which makes the kernel skip it, trouble included. Entry 0 is
//! the bell's. Used by one thread.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, c_short, pollfd};

use crate::bell::Bell;
use crate::fork::Process;
use crate::table::Table;
use crate::{EVENTS_PER_WAIT, Event, EventDriver, Interest, Readiness, Source, Token, Waker};

pub(crate) const COMPILED: bool = true;

pub(crate) fn open() -> io::Result<Box<dyn EventDriver>> {
    Ok(Box::new(PollDriver::new()?))
}

cfg_if::cfg_if! {
    if #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "openbsd",
    ))] {
        mod nanos;
        use nanos::poll;
    } else {
        mod millis;
        use millis::poll;
    }
}

cfg_if::cfg_if! {
    if #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))] {
        use nix::libc::POLLRDHUP;
    } else {
        /// Not told here: the end of the stream is readable, and no more is known.
        const POLLRDHUP: c_short = 0;
    }
}

const READ: c_short = libc::POLLIN | POLLRDHUP;
const WRITE: c_short = libc::POLLOUT;

struct PollDriver {
    bell: Bell,
    /// The bell's entry, then one for each source, in no order.
    entries: Vec<pollfd>,
    /// The tokens of the entries after the first.
    tokens: Vec<Token>,
    /// The state of a source is its index in `tokens`.
    table: Table<usize>,
    /// Where in `tokens` the next search for ready entries starts, so that all get their turn.
    start: usize,
    process: Process,
}

impl PollDriver {
    fn new() -> io::Result<Self> {
        let process = Process::current()?;
        let bell = Bell::new(process)?;
        let entries = vec![pollfd {
            fd: bell.ear().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        let table = Table::new();
        Ok(Self {
            bell,
            entries,
            tokens: Vec::new(),
            table,
            start: 0,
            process,
        })
    }

    fn set_armed(&mut self, token: Token, change: impl Fn(c_short) -> c_short) -> io::Result<()> {
        self.process.check()?;
        let index = self.table.get_mut(token)?.state;
        let entry = &mut self.entries[index + 1];
        set_mask(entry, change(entry.events));
        Ok(())
    }

    /// Turns the kernel's answer of `count` ready entries into events, and masks what they tell.
    fn collect(&mut self, mut count: usize, out: &mut Vec<Event>) {
        if self.entries[0].revents != 0 {
            self.bell.silence();
            count -= 1;
        }
        let limit = count.min(EVENTS_PER_WAIT);
        let total = self.tokens.len();
        let start = self.start.min(total);
        for index in (start..total).chain(0..start) {
            if out.len() == limit {
                self.start = index;
                break;
            }
            let entry = &mut self.entries[index + 1];
            if entry.revents != 0 {
                let token = self.tokens[index];
                let ready = take_ready(entry);
                out.push(Event { token, ready });
            }
        }
    }
}

impl EventDriver for PollDriver {
    fn name(&self) -> &'static str {
        "poll"
    }

    fn add(&mut self, source: Source, token: Token, interest: Interest) -> io::Result<()> {
        self.process.check()?;
        let fd = self.table.vacancy(source, token)?;
        let mut entry = pollfd {
            fd: fd.as_raw_fd(),
            events: 0,
            revents: 0,
        };
        set_mask(&mut entry, mask(interest));
        self.table.insert(token, fd, self.tokens.len());
        self.tokens.push(token);
        self.entries.push(entry);
        Ok(())
    }

    fn rearm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.set_armed(token, |events| events | mask(interest))
    }

    fn disarm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.set_armed(token, |events| events & !mask(interest))
    }

    fn delete(&mut self, token: Token) -> io::Result<()> {
        self.process.check()?;
        let index = self.table.remove(token)?.state;
        self.tokens.swap_remove(index);
        self.entries.swap_remove(index + 1);
        if let Some(moved) = self.tokens.get(index) {
            self.table.get_mut(*moved)?.state = index;
        }
        Ok(())
    }

    fn wait(&mut self, out: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        out.clear();
        self.process.check()?;
        match poll(&mut self.entries, timeout) {
            Ok(count) => self.collect(count, out),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.bell.waker()
    }
}

fn mask(interest: Interest) -> c_short {
    let read = if interest.contains(Interest::READ) {
        READ
    } else {
        0
    };
    let write = if interest.contains(Interest::WRITE) {
        WRITE
    } else {
        0
    };
    read | write
}

/// Sets the mask and, with it, whether the kernel looks at the entry at all.
fn set_mask(entry: &mut pollfd, events: c_short) {
    entry.events = events;
    if (events == 0) != (entry.fd < 0) {
        entry.fd = !entry.fd;
    }
}

/// What the entry is ready for; this is out of the mask from now on.
fn take_ready(entry: &mut pollfd) -> Readiness {
    let told = entry.revents;
    let mut ready = Readiness::NONE;
    let mut delivered = 0;
    if told & (READ | libc::POLLHUP) != 0 {
        ready |= Readiness::READ;
        delivered |= READ;
    }
    if told & WRITE != 0 {
        ready |= Readiness::WRITE;
        delivered |= WRITE;
    }
    if told & (POLLRDHUP | libc::POLLHUP) != 0 {
        ready |= Readiness::HUP;
    }
    if told & libc::POLLHUP != 0 && entry.events & WRITE != 0 {
        // A hang-up is never writable to some systems, though a write would fail at once.
        ready |= Readiness::WRITE;
        delivered |= WRITE;
    }
    if told & (libc::POLLERR | libc::POLLNVAL) != 0 {
        ready |= Readiness::ERR | Readiness::READ | Readiness::WRITE;
        delivered |= READ | WRITE;
    }
    entry.revents = 0;
    set_mask(entry, entry.events & !delivered);
    ready
}
