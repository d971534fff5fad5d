//! `epoll(7)`, edge-triggered.
//!
//! The kernel's mask of a source is always that of the armed directions. A delivered direction
//! stays armed: the next edge reports it again, so re-arming it costs nothing. A direction that
//! was not armed is added with a modification, upon which the kernel looks at the source anew;
//! that is what reports the past. Removal takes a source off the kernel's ready list, so no
//! event of a deleted token can come. Used by one thread.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::bell::Bell;
use crate::fork::Process;
use crate::table::Table;
use crate::{
    EVENTS_PER_WAIT, Event, EventDriver, Interest, Readiness, SLOTS_MAX, Source, Token, Waker, time,
};

pub(crate) const COMPILED: bool = true;

pub(crate) fn open() -> io::Result<Box<dyn EventDriver>> {
    Ok(Box::new(EpollDriver::new()?))
}

/// The bell's token; no source has it.
const BELL: u64 = SLOTS_MAX as u64;

struct EpollDriver {
    epoll: Epoll,
    bell: Bell,
    /// The state of a source is its armed directions.
    table: Table<Interest>,
    buffer: Box<[EpollEvent; EVENTS_PER_WAIT]>,
    /// Whether the kernel has a wait with nanoseconds (Linux 5.11), as far as is known.
    nanoseconds: bool,
    process: Process,
}

impl EpollDriver {
    fn new() -> io::Result<Self> {
        let process = Process::current()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let bell = Bell::new(process)?;
        epoll.add(
            bell.ear(),
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, BELL),
        )?;
        Ok(Self {
            epoll,
            bell,
            table: Table::new(),
            buffer: Box::new([EpollEvent::empty(); EVENTS_PER_WAIT]),
            nanoseconds: true,
            process,
        })
    }

    fn set_armed(&mut self, token: Token, change: impl Fn(Interest) -> Interest) -> io::Result<()> {
        self.process.check()?;
        let entry = self.table.get_mut(token)?;
        let armed = change(entry.state);
        if armed != entry.state {
            self.epoll
                .modify(entry.fd(), &mut to_kernel(token, armed))?;
            entry.state = armed;
        }
        Ok(())
    }

    /// Fills the buffer with this many events.
    fn fetch(&mut self, timeout: Option<Duration>) -> nix::Result<usize> {
        // The call with milliseconds is the cheaper one, where they lose nothing.
        if self.nanoseconds && timeout.is_some_and(|timeout| !timeout.is_zero()) {
            match self.wait_nanos(timeout) {
                // Unknown to old kernels, and refused by sandboxes that do not know it.
                Err(Errno::ENOSYS | Errno::EPERM) => {
                    tracing::debug!("no epoll_pwait2: timeouts are rounded up to milliseconds");
                    self.nanoseconds = false;
                }
                other => return other,
            }
        }
        let timeout = EpollTimeout::try_from(time::millis(timeout)).map_err(|_| Errno::EINVAL)?;
        self.epoll.wait(&mut self.buffer[..], timeout)
    }

    fn wait_nanos(&mut self, timeout: Option<Duration>) -> nix::Result<usize> {
        let timeout = timeout.map(KernelTimespec::from);
        // The C library's wrapper is too young to link to, so this is the bare call.
        // SAFETY: the buffer has room for EVENTS_PER_WAIT events, of the kernel's layout as
        // EpollEvent is transparent; the timeout is null or lives through the call; the signal
        // mask is null, whatever its size.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.0.as_raw_fd(),
                self.buffer.as_mut_ptr(),
                EVENTS_PER_WAIT,
                timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        Errno::result(count).map(|count| count as usize)
    }
}

impl EventDriver for EpollDriver {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn add(&mut self, source: Source, token: Token, interest: Interest) -> io::Result<()> {
        self.process.check()?;
        let fd = self.table.vacancy(source, token)?;
        self.epoll.add(&fd, to_kernel(token, interest))?;
        self.table.insert(token, fd, interest);
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
        Ok(self.epoll.delete(entry.fd())?)
    }

    fn wait(&mut self, out: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        out.clear();
        self.process.check()?;
        let count = match self.fetch(timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        let events = self.buffer[..count]
            .iter()
            .filter(|event| event.data() != BELL);
        out.extend(events.map(from_kernel));
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.bell.waker()
    }
}

/// What the kernel's call takes, also where the C library's `timespec` is smaller.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

impl From<Duration> for KernelTimespec {
    fn from(timeout: Duration) -> Self {
        let time = time::timespec(timeout);
        Self {
            seconds: time.tv_sec,
            nanoseconds: time.tv_nsec,
        }
    }
}

fn to_kernel(token: Token, armed: Interest) -> EpollEvent {
    let mut flags = EpollFlags::EPOLLET;
    if armed.contains(Interest::READ) {
        flags |= EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
    }
    if armed.contains(Interest::WRITE) {
        flags |= EpollFlags::EPOLLOUT;
    }
    EpollEvent::new(flags, token.to_u64())
}

fn from_kernel(event: &EpollEvent) -> Event {
    let flags = event.events();
    let mut ready = Readiness::NONE;
    if flags.contains(EpollFlags::EPOLLIN) {
        ready |= Readiness::READ;
    }
    if flags.contains(EpollFlags::EPOLLOUT) {
        ready |= Readiness::WRITE;
    }
    if flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP) {
        ready |= Readiness::HUP | Readiness::READ;
    }
    if flags.contains(EpollFlags::EPOLLERR) {
        ready |= Readiness::ERR | Readiness::READ | Readiness::WRITE;
    }
    Event {
        token: Token::from_u64(event.data()),
        ready,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_kernel_without_nanoseconds_rounds_up() {
        let mut driver = EpollDriver::new().unwrap();
        driver.nanoseconds = false;
        let mut out = Vec::new();
        for timeout in [Duration::from_micros(1), Duration::from_micros(1_500)] {
            let start = Instant::now();
            driver.wait(&mut out, Some(timeout)).unwrap();
            assert!(start.elapsed() >= timeout);
        }
        driver.waker().wake();
        driver.wait(&mut out, Some(Duration::MAX)).unwrap();
        assert!(out.is_empty());
    }
}
