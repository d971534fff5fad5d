//! The crate `polling`: event ports, IOCP on Windows, and whatever else it supports.
//!
//! It is used in its one-shot mode, the only one that all its facilities have: an event takes all
//! directions of its source out, and those that it did not tell are put in again. So what is armed
//! here is always what the facility watches. Events are named by slot. The crate hides
//! interruptions by signals: the wait goes on. Used by one thread; the poller is shared with the
//! wakers.

use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use polling::{Events, PollMode, Poller};

use crate::fork::Process;
use crate::table::Table;
use crate::{EVENTS_PER_WAIT, Event, EventDriver, Interest, Readiness, Source, Token, Waker};

pub(crate) const COMPILED: bool = true;

pub(crate) fn open() -> io::Result<Box<dyn EventDriver>> {
    Ok(Box::new(PortableDriver::new()?))
}

/// What an interruption is: the peer's end, and on Windows that of the connection.
const INTERRUPTED: Readiness = if cfg!(windows) {
    Readiness::ERR.with(Readiness::READ).with(Readiness::WRITE)
} else {
    Readiness::HUP.with(Readiness::READ)
};

struct PortableDriver {
    poller: Arc<Shared>,
    waker: Waker,
    /// The state of a source.
    table: Table<Watch>,
    events: Events,
    process: Process,
}

/// The driver's knowledge of a source.
struct Watch {
    armed: Interest,
    /// Where its event is in what the wait returns, if it is there.
    index: usize,
}

/// The poller, which a fork child must leave alone: its end would change the parent's.
struct Shared {
    poller: ManuallyDrop<Poller>,
    process: Process,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.process.is_current() {
            // SAFETY: dropped here only, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.poller) };
        }
    }
}

impl PortableDriver {
    fn new() -> io::Result<Self> {
        let process = Process::current()?;
        let poller = Arc::new(Shared {
            poller: ManuallyDrop::new(Poller::new()?),
            process,
        });
        let bell = Arc::clone(&poller);
        let waker = Waker::new(move || {
            if process.is_current() {
                // It is refused only where a wake is pending already.
                let _ = bell.poller.notify();
            }
        });
        Ok(Self {
            poller,
            waker,
            table: Table::new(),
            events: Events::with_capacity(NonZeroUsize::new(EVENTS_PER_WAIT).expect("not zero")),
            process,
        })
    }

    fn set_armed(&mut self, token: Token, change: impl Fn(Interest) -> Interest) -> io::Result<()> {
        self.process.check()?;
        let entry = self.table.get_mut(token)?;
        let armed = change(entry.state.armed);
        if armed != entry.state.armed {
            let event = to_poller(token.slot, armed);
            self.poller
                .poller
                .modify_with_mode(entry.fd(), event, PollMode::Oneshot)?;
            entry.state.armed = armed;
        }
        Ok(())
    }

    /// Turns what the poller reports into events, and puts the other directions in again.
    fn collect(&mut self, out: &mut Vec<Event>) -> io::Result<()> {
        let mut result = Ok(());
        for told in self.events.iter() {
            let Some((token, entry)) = self.table.tenant(told.key) else {
                continue;
            };
            let ready = from_poller(&told, entry.state.armed);
            if ready.is_empty() {
                continue;
            }
            let rest = entry.state.armed.without(delivered(ready));
            entry.state.armed = rest;
            if !rest.is_empty() {
                let event = to_poller(token.slot, rest);
                let again =
                    self.poller
                        .poller
                        .modify_with_mode(entry.fd(), event, PollMode::Oneshot);
                result = result.and(again);
            }
            match out.get_mut(entry.state.index) {
                Some(event) if event.token == token => event.ready |= ready,
                _ => {
                    entry.state.index = out.len();
                    out.push(Event { token, ready });
                }
            }
        }
        result
    }
}

impl EventDriver for PortableDriver {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn add(&mut self, source: Source, token: Token, interest: Interest) -> io::Result<()> {
        self.process.check()?;
        let handle = self.table.vacancy(source, token)?;
        let event = to_poller(token.slot, interest);
        // SAFETY: the table holds the source open until `delete` or the end of the driver, and both
        // take it out of the poller first.
        unsafe {
            self.poller
                .poller
                .add_with_mode(&*handle, event, PollMode::Oneshot)
        }?;
        self.table.insert(
            token,
            handle,
            Watch {
                armed: interest,
                index: 0,
            },
        );
        Ok(())
    }

    fn rearm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.set_armed(token, |armed| armed | interest)
    }

    fn disarm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.set_armed(token, |armed| armed.without(interest))
    }

    fn delete(&mut self, token: Token) -> io::Result<()> {
        self.process.check()?;
        let entry = self.table.remove(token)?;
        self.poller.poller.delete(entry.fd())
    }

    fn wait(&mut self, out: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        out.clear();
        self.process.check()?;
        self.events.clear();
        self.poller.poller.wait(&mut self.events, timeout)?;
        self.collect(out)
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Drop for PortableDriver {
    fn drop(&mut self) {
        // The poller may outlive the driver, for the wakers.
        if self.process.is_current() {
            for (_, entry) in self.table.tenants() {
                let _ = self.poller.poller.delete(entry.fd());
            }
        }
    }
}

fn to_poller(slot: u32, armed: Interest) -> polling::Event {
    let (read, write) = (
        armed.contains(Interest::READ),
        armed.contains(Interest::WRITE),
    );
    let event = polling::Event::new(slot as usize, read, write);
    if armed.is_empty() {
        event
    } else {
        event.with_interrupt()
    }
}

/// What the poller's event says to an owner who wants to hear of `armed`.
fn from_poller(told: &polling::Event, armed: Interest) -> Readiness {
    let mut ready = Readiness::NONE;
    if armed.is_empty() {
        // Trouble is told in spite of it by some facilities, once.
        return ready;
    }
    if told.readable && armed.contains(Interest::READ) {
        ready |= Readiness::READ;
    }
    if told.writable && armed.contains(Interest::WRITE) {
        ready |= Readiness::WRITE;
    }
    if told.is_interrupt() {
        ready |= INTERRUPTED;
    }
    if told.is_err() == Some(true) {
        ready |= Readiness::ERR | Readiness::READ | Readiness::WRITE;
    }
    ready
}

fn delivered(ready: Readiness) -> Interest {
    let mut directions = Interest::NONE;
    if ready.contains(Readiness::READ) {
        directions |= Interest::READ;
    }
    if ready.contains(Readiness::WRITE) {
        directions |= Interest::WRITE;
    }
    directions
}
