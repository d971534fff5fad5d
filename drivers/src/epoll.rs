//! `epoll(7)`, edge-triggered.
//!
//! The kernel's mask of a source is always that of the armed directions. A delivered direction
//! stays armed: the next edge reports it again, so re-arming it costs nothing. A direction that
//! was not armed is added with a modification, upon which the kernel looks at the source anew;
//! that is what reports the past. Removal takes a source off the kernel's ready list, so no
//! event of a deleted token can come. A timeout that is far off is kept by a timer that is left
//! running from wait to wait ([`Alarm`]). Used by one thread.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
#[cfg(not(target_arch = "x86_64"))]
use nix::sys::epoll::EpollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

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

/// The bell's token: the bit that no slot of a source has.
const BELL: u64 = SLOTS_MAX as u64;
/// That of the alarm; it has the bit too.
const ALARM: u64 = BELL + 1;
const _: () = assert!(SLOTS_MAX.is_power_of_two());
/// Milliseconds of a wait without limit.
const FOR_EVER: i32 = -1;
/// Timeouts from here on are kept by the alarm.
const FAR: Duration = Duration::from_secs(1);

struct EpollDriver {
    epoll: Epoll,
    bell: Bell,
    /// The state of a source is its armed directions.
    table: Table<Interest>,
    buffer: Box<[EpollEvent; EVENTS_PER_WAIT]>,
    /// Whether the kernel has a wait with nanoseconds (Linux 5.11), as far as is known.
    nanoseconds: bool,
    /// Once there was a timeout that is far off.
    alarm: Option<Alarm>,
    process: Process,
}

/// A timer for timeouts that are hardly ever reached: the kernel's own of each wait is set up and
/// taken down with it, which costs more than all else that the call does. This one is armed for the
/// first of a row of timeouts, and when it fires, for what is left of the last one.
struct Alarm {
    timer: TimerFd,
    fires_at: Option<Instant>,
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
            alarm: None,
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
        match timeout {
            None => self.wait_millis(FOR_EVER),
            Some(Duration::ZERO) => self.wait_millis(0),
            Some(timeout) => self.fetch_within(timeout),
        }
    }

    fn fetch_within(&mut self, timeout: Duration) -> nix::Result<usize> {
        if timeout >= FAR && self.has_alarm() {
            let now = Instant::now();
            if let Some(until) = now.checked_add(timeout) {
                return self.fetch_until(now, until);
            }
        }
        if self.nanoseconds {
            match self.wait_nanos(timeout) {
                // Unknown to old kernels, and refused by sandboxes that do not know it.
                Err(Errno::ENOSYS | Errno::EPERM) => {
                    tracing::debug!("no epoll_pwait2: timeouts are rounded up to milliseconds");
                    self.nanoseconds = false;
                }
                other => return other,
            }
        }
        self.wait_millis(time::millis(Some(timeout)))
    }

    /// Makes the alarm, if there is none. False: the system gives none.
    fn has_alarm(&mut self) -> bool {
        if self.alarm.is_none() {
            let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
            let heard = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, ALARM);
            self.alarm = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)
                .and_then(|timer| self.epoll.add(&timer, heard).map(|()| timer))
                .map(|timer| Alarm {
                    timer,
                    fires_at: None,
                })
                .ok();
        }
        self.alarm.is_some()
    }

    fn fetch_until(&mut self, mut now: Instant, until: Instant) -> nix::Result<usize> {
        while now < until {
            if let Some(alarm) = &mut self.alarm {
                alarm.arm(now, until)?;
            }
            let count = self.wait_millis(FOR_EVER)?;
            let is_alarm = |event: &EpollEvent| event.data() == ALARM;
            if count != 1 || !is_alarm(&self.buffer[0]) {
                return Ok(count);
            }
            now = Instant::now();
        }
        Ok(0)
    }

    #[cfg(target_arch = "x86_64")]
    fn wait_millis(&mut self, timeout: i32) -> nix::Result<usize> {
        // The C library's wrapper lets a thread be cancelled meanwhile. Nobody does that to threads
        // of Rust, and it costs a tenth of an empty wait; its function for any call, which needs no
        // assembler, still costs a thirtieth. Newer architectures lack this call, and the one that
        // they have costs more.
        let count: isize;
        // SAFETY: the call and its clobbers are those of Linux on x86-64, and it leaves the stack
        // alone. The buffer has room for EVENTS_PER_WAIT events, of the kernel's layout as
        // EpollEvent is transparent.
        unsafe {
            core::arch::asm!(
                "syscall",
                inlateout("rax") libc::SYS_epoll_wait as isize => count,
                in("rdi") self.epoll.0.as_raw_fd() as isize,
                in("rsi") self.buffer.as_mut_ptr(),
                in("rdx") EVENTS_PER_WAIT,
                in("r10") timeout as isize,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack, preserves_flags),
            );
        }
        if count < 0 {
            return Err(Errno::from_raw(-count as i32));
        }
        Ok(count as usize)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn wait_millis(&mut self, timeout: i32) -> nix::Result<usize> {
        let timeout = EpollTimeout::try_from(timeout).map_err(|_| Errno::EINVAL)?;
        self.epoll.wait(&mut self.buffer[..], timeout)
    }

    fn wait_nanos(&mut self, timeout: Duration) -> nix::Result<usize> {
        let timeout = KernelTimespec::from(timeout);
        // The C library's wrapper is too young to link to, so this is the bare call.
        // SAFETY: the buffer has room for EVENTS_PER_WAIT events, of the kernel's layout as
        // EpollEvent is transparent; the timeout lives through the call; the signal mask is null,
        // whatever its size.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.0.as_raw_fd(),
                self.buffer.as_mut_ptr(),
                EVENTS_PER_WAIT,
                ptr::from_ref(&timeout),
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        Errno::result(count).map(|count| count as usize)
    }

    /// Hands over what is in the buffer. Apart, so that a wait without events saves no registers.
    #[inline(never)]
    fn report(&self, count: usize, out: &mut Vec<Event>) {
        // No source's token has this bit, and an iterator of known length costs less than a filter.
        let mut bits = 0;
        out.extend(self.buffer[..count].iter().map(|event| {
            bits |= event.data();
            from_kernel(event)
        }));
        if bits & BELL != 0 {
            out.retain(|event| event.token.slot < SLOTS_MAX);
        }
    }
}

impl EventDriver for EpollDriver {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn keeps_armed(&self) -> bool {
        true
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
        if count != 0 {
            self.report(count, out);
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.bell.waker()
    }
}

impl Alarm {
    /// Sees to it that it fires by `until`, and not before `now`.
    fn arm(&mut self, now: Instant, until: Instant) -> nix::Result<()> {
        if self.fires_at.is_some_and(|at| at > now && at <= until) {
            return Ok(());
        }
        // Cut as other timeouts are: a wait goes on when it fires too early.
        let after = TimeSpec::from_timespec(time::timespec(until - now));
        let flags = TimerSetTimeFlags::empty();
        self.timer.set(Expiration::OneShot(after), flags)?;
        self.fires_at = Some(until);
        Ok(())
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
    let flags = event.events().bits();
    Event {
        token: Token::from_u64(event.data()),
        ready: READINESS[usize::from((flags | flags >> 8) as u8)],
    }
}

/// What the kernel's flags mean, by their two bytes in one: a look costs less than asking for one
/// flag after the other.
const READINESS: [Readiness; 256] = {
    let mut table = [Readiness::NONE; 256];
    let mut index = 0;
    while index < table.len() {
        table[index] = readiness(index as i32);
        index += 1;
    }
    table
};

/// `EPOLLRDHUP` where it is in one byte. Of what is asked for, and what comes unasked, it alone is
/// in the second byte.
const RDHUP: i32 = libc::EPOLLRDHUP >> 8;
const _: () = {
    let others = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLERR | libc::EPOLLHUP;
    assert!(others < 256 && others & RDHUP == 0);
};

const fn readiness(flags: i32) -> Readiness {
    let mut ready = Readiness::NONE;
    if flags & libc::EPOLLIN != 0 {
        ready = ready.with(Readiness::READ);
    }
    if flags & libc::EPOLLOUT != 0 {
        ready = ready.with(Readiness::WRITE);
    }
    if flags & (libc::EPOLLHUP | RDHUP) != 0 {
        ready = ready.with(Readiness::HUP).with(Readiness::READ);
    }
    if flags & libc::EPOLLERR != 0 {
        let both = Readiness::READ.with(Readiness::WRITE);
        ready = ready.with(Readiness::ERR).with(both);
    }
    ready
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_timeout_that_is_far_off_is_kept_whatever_the_alarm_was_set_for() {
        let mut driver = EpollDriver::new().unwrap();
        let mut out = Vec::new();
        let waits = |driver: &mut EpollDriver, timeout| {
            let start = Instant::now();
            driver.wait(&mut Vec::new(), Some(timeout)).unwrap();
            start.elapsed()
        };
        driver.waker().wake();
        driver.wait(&mut out, Some(1000 * FAR)).unwrap();
        assert!(driver.alarm.is_some() && out.is_empty());
        assert!(waits(&mut driver, FAR) >= FAR, "and not in 1000 seconds");
        driver.waker().wake();
        driver.wait(&mut out, Some(FAR)).unwrap();
        let longer = FAR + FAR / 2;
        assert!(waits(&mut driver, longer) >= longer, "later");
        assert!(out.is_empty());
    }

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
