//! `kqueue(2)`, edge-triggered (`EV_CLEAR`).
//!
//! A direction is armed when its filter is in the queue. As with all edges a delivered direction
//! stays armed. Disarming deletes the filter and arming adds it, upon which every system looks
//! at the source anew; enabling would not do that everywhere. The two filters' events of a source
//! are merged into one. The kernel keeps the slot and not the token, whose 64 bits have no place
//! in it on small systems. Used by one thread; the queue is shared with the wakers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::fork::Process;
use crate::kqueue_sys as sys;
use crate::table::Table;
use crate::{
    EVENTS_PER_WAIT, Event, EventDriver, Interest, Readiness, SLOTS_MAX, Source, Token, Waker,
};

mod queue;
use queue::Queue;

cfg_if::cfg_if! {
    if #[cfg(any(target_os = "netbsd", target_os = "openbsd"))] {
        mod pipe_bell;
        use pipe_bell::Bell;
    } else {
        mod user_bell;
        use user_bell::Bell;
    }
}

pub(crate) const COMPILED: bool = true;

pub(crate) fn open() -> io::Result<Box<dyn EventDriver>> {
    Ok(Box::new(KqueueDriver::new()?))
}

/// What the kernel keeps for the bell in place of a slot.
const BELL: usize = SLOTS_MAX as usize;

/// The driver's knowledge of a source.
struct Watch {
    armed: Interest,
    /// Where its event is in what the wait returns, if it is there.
    index: usize,
}

struct KqueueDriver {
    queue: Arc<Queue>,
    bell: Bell,
    table: Table<Watch>,
    buffer: Vec<sys::kevent>,
    process: Process,
}

// SAFETY: only the buffer is not `Send` of itself, for the pointers in it. They are slots.
unsafe impl Send for KqueueDriver {}

impl KqueueDriver {
    fn new() -> io::Result<Self> {
        let process = Process::current()?;
        let queue = Arc::new(Queue::new(process)?);
        let bell = Bell::new(&queue, process)?;
        let buffer = vec![queue::no_event(); EVENTS_PER_WAIT];
        Ok(Self {
            queue,
            bell,
            table: Table::new(),
            buffer,
            process,
        })
    }

    fn set_armed(&mut self, token: Token, change: impl Fn(Interest) -> Interest) -> io::Result<()> {
        let entry = self.table.get_mut(token)?;
        let wanted = change(entry.state.armed);
        for direction in [Interest::READ, Interest::WRITE] {
            let (is, shall_be) = (
                entry.state.armed.contains(direction),
                wanted.contains(direction),
            );
            if is == shall_be {
                continue;
            }
            set_filter(&self.queue, entry.fd(), token.slot, direction, shall_be)?;
            let others = entry.state.armed.without(direction);
            entry.state.armed = if shall_be { others | direction } else { others };
        }
        Ok(())
    }
}

impl EventDriver for KqueueDriver {
    fn name(&self) -> &'static str {
        "kqueue"
    }

    fn keeps_armed(&self) -> bool {
        true
    }

    fn add(&mut self, source: Source, token: Token, interest: Interest) -> io::Result<()> {
        self.process.check()?;
        let fd = self.table.vacancy(source, token)?;
        self.table.insert(
            token,
            fd,
            Watch {
                armed: Interest::NONE,
                index: 0,
            },
        );
        let armed = self.set_armed(token, |_| interest);
        if armed.is_err() {
            self.delete(token)?;
        }
        armed
    }

    fn rearm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.process.check()?;
        self.set_armed(token, |armed| armed | interest)
    }

    fn disarm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.process.check()?;
        self.set_armed(token, |armed| armed.without(interest))
    }

    fn delete(&mut self, token: Token) -> io::Result<()> {
        self.process.check()?;
        self.set_armed(token, |_| Interest::NONE)?;
        self.table.remove(token)?;
        Ok(())
    }

    fn wait(&mut self, out: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        out.clear();
        self.process.check()?;
        let count = match self.queue.wait(&mut self.buffer, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        for raw in &self.buffer[..count] {
            let slot = raw.udata as usize;
            if slot == BELL {
                self.bell.silence();
                continue;
            }
            let Some((token, entry)) = self.table.tenant(slot) else {
                continue;
            };
            match out.get_mut(entry.state.index) {
                Some(event) if event.token == token => event.ready |= from_kernel(raw),
                _ => {
                    entry.state.index = out.len();
                    out.push(Event {
                        token,
                        ready: from_kernel(raw),
                    });
                }
            }
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.bell.waker()
    }
}

/// Adds a direction's filter to the queue, or deletes it.
fn set_filter(
    queue: &Queue,
    fd: BorrowedFd<'_>,
    slot: u32,
    direction: Interest,
    on: bool,
) -> nix::Result<()> {
    let mut change = queue::no_event();
    change.ident = fd.as_raw_fd() as _;
    change.filter = if direction == Interest::READ {
        sys::EVFILT_READ
    } else {
        sys::EVFILT_WRITE
    };
    change.flags = if on {
        sys::EV_ADD | sys::EV_CLEAR
    } else {
        sys::EV_DELETE
    };
    change.udata = slot as usize as _;
    match queue.change(&change) {
        // Some systems drop a filter by themselves, after a revocation for example.
        Err(Errno::ENOENT) if !on => Ok(()),
        other => other,
    }
}

/// An error beside the end is the owner's to fetch (`SO_ERROR`): that takes it away.
fn from_kernel(event: &sys::kevent) -> Readiness {
    let ended = event.flags & sys::EV_EOF != 0;
    let mut ready = match event.filter == sys::EVFILT_READ {
        true if ended => Readiness::READ | Readiness::HUP,
        true => Readiness::READ,
        // The end of this direction is its owner's doing, or an error: a write tells.
        false => Readiness::WRITE,
    };
    if event.flags & sys::EV_ERROR != 0 || (ended && event.fflags != 0) {
        ready |= Readiness::ERR | Readiness::READ | Readiness::WRITE;
    }
    ready
}
