//! `io_uring(7)` as a readiness facility: one multishot `POLL_ADD` per source, without a kernel
//! thread.
//!
//! A request tells each edge of its directions, so a delivered direction stays armed, as with
//! epoll. Changes are collected, and go to the kernel by the call that waits: a request whose
//! directions change is removed, and a new one looks at the source anew; that is what reports the
//! past. A request that ended (the completion queue was full, or the file is of a kind that is
//! always ready) has delivered its directions; what else is armed gets a new one.
//!
//! Requests are named by slot and serial number, so completions of removed ones are recognised.
//! A ring belongs to the thread that uses it, which makes it fast: nobody else submits, and
//! completions are worked out by that thread's own calls. A driver that moves to another thread
//! after its first wait takes a new ring and asks for everything again; its first wait there may
//! end for nothing.
//! Used by one thread at a time.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc;

use crate::bell::Bell;
use crate::fork::Process;
use crate::table::{Entry, Table};
use crate::{
    EVENTS_PER_WAIT, Event, EventDriver, Interest, Readiness, SLOTS_MAX, Source, Token, Waker,
};

mod ring;
use ring::{Completion, Ring};

pub(crate) const COMPILED: bool = true;

pub(crate) fn open() -> io::Result<Box<dyn EventDriver>> {
    Ok(Box::new(UringDriver::new()?))
}

/// The bell's place among the slots.
const BELL: u32 = SLOTS_MAX;

const READ: u32 = (libc::POLLIN | libc::POLLRDHUP) as u32;
const WRITE: u32 = libc::POLLOUT as u32;

/// The driver's knowledge of a source.
struct Watch {
    /// What the owner shall hear of.
    armed: Interest,
    /// The directions of its request in the ring; none if there is no request.
    watched: Interest,
    /// The request's serial number.
    serial: u32,
    /// Whether the request must be made anew, though its directions are right.
    renew: bool,
    /// Whether it is in the list of changes.
    changed: bool,
    /// Where its event is in what the wait returns, if it is there; below `EVENTS_PER_WAIT`.
    index: u16,
}

struct UringDriver {
    ring: Ring,
    bell: Bell,
    /// The serial number of the bell's request; 0 if there is none.
    bell_serial: u32,
    /// Whether the bell has rung since the last wait returned.
    rung: bool,
    table: Table<Watch>,
    /// The slots whose request is not what it should be. Sources may have left since.
    changes: Vec<u32>,
    serial: u32,
    process: Process,
}

impl UringDriver {
    fn new() -> io::Result<Self> {
        let process = Process::current()?;
        Ok(Self {
            ring: Ring::new(process)?,
            bell: Bell::new(process)?,
            bell_serial: 0,
            rung: false,
            table: Table::new(),
            changes: Vec::new(),
            serial: 0,
            process,
        })
    }

    fn set_armed(&mut self, token: Token, change: impl Fn(Interest) -> Interest) -> io::Result<()> {
        self.process.check()?;
        let watch = &mut self.table.get_mut(token)?.state;
        let armed = change(watch.armed);
        if armed != watch.armed {
            // Taken away and given back before a wait, it is to be told anew.
            watch.renew |= !armed.contains(watch.armed);
            watch.armed = armed;
            note(&mut self.changes, token, watch);
        }
        Ok(())
    }

    /// Takes the ring, or a new one if it is another thread's.
    fn settle(&mut self) -> io::Result<()> {
        if self.ring.is_of_this_thread() {
            return Ok(());
        }
        if !self.ring.is_claimed() {
            return self.ring.claim();
        }
        self.ring = Ring::new(self.process)?;
        self.ring.claim()?;
        self.bell_serial = 0;
        self.changes.clear();
        for (token, entry) in self.table.tenants() {
            entry.state.watched = Interest::NONE;
            entry.state.changed = false;
            note(&mut self.changes, token, &mut entry.state);
        }
        Ok(())
    }

    /// Brings the requests in line with what is armed; whether some were removed.
    fn request(&mut self) -> io::Result<bool> {
        if self.bell_serial == 0 {
            let serial = next(&mut self.serial);
            self.ring.watch(
                self.bell.ear().as_raw_fd(),
                BELL,
                serial,
                libc::POLLIN as u32,
            )?;
            self.bell_serial = serial;
        }
        let mut removed = false;
        while let Some(&slot) = self.changes.last() {
            if let Some((token, entry)) = self.table.tenant(slot as usize) {
                removed |= renew(&mut self.ring, &mut self.serial, token, entry)?;
                entry.state.changed = false;
            }
            self.changes.pop();
        }
        Ok(removed)
    }

    /// Turns what has completed into events.
    fn collect(&mut self, out: &mut Vec<Event>) {
        let mut completions = self.ring.completions();
        while out.len() < EVENTS_PER_WAIT {
            let Some(completion) = completions.next() else {
                break;
            };
            if completion.slot == BELL && completion.serial == self.bell_serial {
                self.rung = true;
                if !completion.goes_on {
                    self.bell_serial = 0;
                }
                continue;
            }
            let Some((token, entry)) = self.table.tenant(completion.slot as usize) else {
                continue;
            };
            let watch = &mut entry.state;
            if watch.watched.is_empty() || watch.serial != completion.serial {
                continue;
            }
            let ready = readiness(&completion, watch.armed);
            if !completion.goes_on {
                watch.watched = Interest::NONE;
                watch.armed = watch.armed.without(delivered(ready));
                if !watch.armed.is_empty() {
                    note(&mut self.changes, token, watch);
                }
            }
            if ready.is_empty() {
                continue;
            }
            match out.get_mut(usize::from(watch.index)) {
                Some(event) if event.token == token => event.ready |= ready,
                _ => {
                    watch.index = out.len() as u16;
                    out.push(Event { token, ready });
                }
            }
        }
    }

    fn fetch(&mut self, out: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        self.settle()?;
        let removed = self.request()?;
        if removed {
            // What was removed completes too, which would end the wait for nothing.
            self.ring.enter()?;
        }
        self.collect(out);
        if out.is_empty() && !self.rung && timeout != Some(Duration::ZERO) {
            self.ring.wait(timeout)?;
            self.collect(out);
        }
        // The kernel completes a few at a time.
        while out.len() < EVENTS_PER_WAIT && self.ring.gives_more()? {
            self.collect(out);
        }
        Ok(())
    }
}

impl EventDriver for UringDriver {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn add(&mut self, source: Source, token: Token, interest: Interest) -> io::Result<()> {
        self.process.check()?;
        let fd = self.table.vacancy(source, token)?;
        let mut watch = Watch {
            armed: interest,
            watched: Interest::NONE,
            serial: 0,
            renew: false,
            changed: false,
            index: 0,
        };
        note(&mut self.changes, token, &mut watch);
        self.table.insert(token, fd, watch);
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
        // A ring of another thread is on its way out.
        if !entry.state.watched.is_empty() && self.ring.is_of_this_thread() {
            self.ring.forget(token.slot, entry.state.serial)?;
            // At once, as the request holds the file open. If it cannot be, it is done by the next
            // call that can.
            if let Err(error) = self.ring.enter() {
                tracing::debug!("io_uring puts off the end of a request: {error}");
            }
        }
        Ok(())
    }

    fn wait(&mut self, out: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        out.clear();
        self.process.check()?;
        let result = self.fetch(out, timeout);
        self.rung = false;
        // What was collected is delivered; the failure comes again.
        if out.is_empty() { result } else { Ok(()) }
    }

    fn waker(&self) -> Waker {
        self.bell.waker()
    }
}

impl Drop for UringDriver {
    /// The ring would end all by one request, and the kernel looks for each through those that it
    /// has ended already: three seconds for 19,000 sources, more than a minute for 100,000.
    fn drop(&mut self) {
        if self.process.is_current() && self.ring.is_of_this_thread() {
            let tenants = self.table.tenants();
            let asked = tenants.filter(|(_, entry)| !entry.state.watched.is_empty());
            let names = asked.map(|(token, entry)| (token.slot, entry.state.serial));
            // If it fails the ring tries by itself.
            let _ = self.ring.forget_all(names);
        }
    }
}

fn next(serial: &mut u32) -> u32 {
    *serial = serial.wrapping_add(1).max(1);
    *serial
}

/// Puts a source into the list of changes.
fn note(changes: &mut Vec<u32>, token: Token, watch: &mut Watch) {
    if !std::mem::replace(&mut watch.changed, true) {
        changes.push(token.slot);
    }
}

/// Replaces the request of a source by the one it should have; whether there was one.
fn renew(
    ring: &mut Ring,
    serial: &mut u32,
    token: Token,
    entry: &mut Entry<Watch>,
) -> io::Result<bool> {
    let fd = entry.fd().as_raw_fd();
    let watch = &mut entry.state;
    if watch.armed == watch.watched && !watch.renew {
        return Ok(false);
    }
    let removes = !watch.watched.is_empty();
    if removes {
        ring.forget(token.slot, watch.serial)?;
        watch.watched = Interest::NONE;
    }
    if !watch.armed.is_empty() {
        let serial = next(serial);
        ring.watch(fd, token.slot, serial, mask(watch.armed))?;
        watch.serial = serial;
        watch.watched = watch.armed;
    }
    watch.renew = false;
    Ok(removes)
}

fn mask(interest: Interest) -> u32 {
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

/// What a completion says to an owner who wants to hear of `armed`.
fn readiness(completion: &Completion, armed: Interest) -> Readiness {
    const FAILED: Readiness = Readiness::ERR.with(Readiness::READ).with(Readiness::WRITE);
    let mut ready = Readiness::NONE;
    if armed.is_empty() {
        return ready;
    }
    let Ok(told) = completion.result else {
        // It cannot be watched: the owner's next transfer, or its next wait, will tell.
        return FAILED;
    };
    let told = told as i32;
    let has = |bits: libc::c_short| told & i32::from(bits) != 0;
    if has(libc::POLLIN) && armed.contains(Interest::READ) {
        ready |= Readiness::READ;
    }
    if has(libc::POLLOUT) && armed.contains(Interest::WRITE) {
        ready |= Readiness::WRITE;
    }
    if has(libc::POLLHUP) || has(libc::POLLRDHUP) && armed.contains(Interest::READ) {
        ready |= Readiness::HUP | Readiness::READ;
    }
    if has(libc::POLLERR | libc::POLLNVAL) {
        ready |= FAILED;
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
