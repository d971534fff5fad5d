//! For tests only: `kqueue(2)` and `kevent(2)` on Linux, so that the kqueue driver's own code
//! runs where there is no BSD.
//!
//! It has `EVFILT_READ`, `EVFILT_WRITE` and `EVFILT_USER`, with the manual page's meaning of the
//! flags below. It is no proof of what a BSD does. Where it differs:
//!
//! - beside `EV_EOF` a failed socket's `fflags` is `EIO` and not the error, as Linux cannot
//!   read that without clearing it;
//! - `data` is at least 1 for a direction that is ready, and exact only for bytes to read;
//! - `EV_EOF` of a writer does not tell that its own owner has shut the direction down;
//! - a closed descriptor's events go away only when no duplicate of it is left open;
//! - a closed queue's insides are freed when a later queue gets its number.
//!
//! A queue is an epoll instance of three sources: an epoll of readers, one of writers, so that
//! each filter has an edge and a state of its own, and an eventfd that is readable while a user
//! event is active. Any thread may use it.
#![allow(
    missing_docs,
    non_camel_case_types,
    reason = "names and meanings are the manual page's"
)]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::ptr;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{self, c_int, timespec};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kevent {
    pub ident: usize,
    pub filter: i16,
    pub flags: u16,
    pub fflags: u32,
    pub data: isize,
    pub udata: *mut c_void,
}

pub const EVFILT_READ: i16 = -1;
pub const EVFILT_WRITE: i16 = -2;
pub const EVFILT_USER: i16 = -11;

pub const EV_ADD: u16 = 0x0001;
pub const EV_DELETE: u16 = 0x0002;
pub const EV_ENABLE: u16 = 0x0004;
pub const EV_DISABLE: u16 = 0x0008;
pub const EV_ONESHOT: u16 = 0x0010;
pub const EV_CLEAR: u16 = 0x0020;
pub const EV_RECEIPT: u16 = 0x0040;
pub const EV_DISPATCH: u16 = 0x0080;
pub const EV_ERROR: u16 = 0x4000;
pub const EV_EOF: u16 = 0x8000;

pub const NOTE_TRIGGER: u32 = 0x0100_0000;

/// The flags that a registration keeps.
const STICKY: u16 = EV_ONESHOT | EV_CLEAR | EV_DISPATCH;
const READERS: usize = 0;
const WRITERS: usize = 1;
const USERS: usize = 2;
/// The most events taken from one source at a time.
const BATCH: usize = 1024;

type Key = (i16, usize);

struct Note {
    flags: u16,
    udata: usize,
    enabled: bool,
    /// Whether a user event was triggered.
    active: bool,
}

struct Queue {
    /// The readers and the writers.
    epolls: [Epoll; 2],
    /// Readable while a user event is active.
    users: EventFd,
    notes: BTreeMap<Key, Note>,
    /// Which source is asked first, so that a short event list starves none.
    turn: usize,
}

static QUEUES: Mutex<BTreeMap<c_int, Arc<Mutex<Queue>>>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn c_result(result: nix::Result<c_int>) -> c_int {
    result.unwrap_or_else(|error| {
        error.set();
        -1
    })
}

/// Makes a queue. Its descriptor can be polled and closed like any other.
///
/// # Safety
/// None needed; it has the form of the C library's.
pub unsafe fn kqueue() -> c_int {
    c_result(Queue::open())
}

/// Makes changes, then waits for events.
///
/// # Safety
/// Of the pointers and their counts, as in the manual page.
pub unsafe fn kevent(
    queue: c_int,
    changes: *const kevent,
    changes_len: c_int,
    events: *mut kevent,
    events_len: c_int,
    timeout: *const timespec,
) -> c_int {
    let changes = if changes_len > 0 {
        // SAFETY: the caller's promise.
        unsafe { slice::from_raw_parts(changes, changes_len as usize) }
    } else {
        &[]
    };
    // SAFETY: the caller's promise.
    let timeout = unsafe { timeout.as_ref() };
    let timeout = timeout.map(|t| Duration::new(t.tv_sec as u64, t.tv_nsec as u32));
    let room = usize::try_from(events_len).unwrap_or(0);
    match run(queue, changes, room, timeout) {
        Ok(found) => {
            // SAFETY: not more than the room that the caller promises.
            unsafe { ptr::copy_nonoverlapping(found.as_ptr(), events, found.len()) };
            found.len() as c_int
        }
        Err(error) => c_result(Err(error)),
    }
}

fn run(
    number: c_int,
    changes: &[kevent],
    room: usize,
    timeout: Option<Duration>,
) -> nix::Result<Vec<kevent>> {
    let queue = lock(&QUEUES).get(&number).cloned().ok_or(Errno::EBADF)?;
    let mut found = Vec::new();
    for change in changes {
        let result = lock(&queue).change(change);
        if result.is_ok() && change.flags & EV_RECEIPT == 0 {
            continue;
        }
        if found.len() < room {
            let data = result.err().map_or(0, |error| error as isize);
            found.push(kevent {
                flags: EV_ERROR,
                data,
                ..*change
            });
        } else {
            result?;
        }
    }
    // Beyond the clock's range there is no limit.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    while found.is_empty() && room > 0 {
        let rest = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        if !await_readable(number, rest)? {
            break;
        }
        lock(&queue).collect(room, &mut found);
    }
    Ok(found)
}

fn await_readable(number: c_int, timeout: Option<Duration>) -> nix::Result<bool> {
    let mut entry = libc::pollfd {
        fd: number,
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = timeout.map(crate::time::timespec);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: one entry; the timeout is null or lives through the call; no signal mask.
    let count = unsafe { libc::ppoll(&raw mut entry, 1, timeout, ptr::null()) };
    Errno::result(count).map(|count| count > 0)
}

impl Queue {
    fn open() -> nix::Result<c_int> {
        let epoll = || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
        let main = epoll()?;
        let queue = Self {
            epolls: [epoll()?, epoll()?],
            users: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            notes: BTreeMap::new(),
            turn: 0,
        };
        let readable = || EpollEvent::new(EpollFlags::EPOLLIN, 0);
        main.add(&queue.epolls[READERS].0, readable())?;
        main.add(&queue.epolls[WRITERS].0, readable())?;
        main.add(&queue.users, readable())?;
        let number = main.0.into_raw_fd();
        lock(&QUEUES).insert(number, Arc::new(Mutex::new(queue)));
        Ok(number)
    }

    fn change(&mut self, change: &kevent) -> nix::Result<()> {
        let key = (change.filter, change.ident);
        match change.filter {
            EVFILT_USER => {}
            EVFILT_READ | EVFILT_WRITE => {
                fcntl(borrow(change.ident), FcntlArg::F_GETFD)?;
            }
            _ => return Err(Errno::EINVAL),
        }
        if change.flags & EV_DELETE != 0 {
            return self.remove(key);
        }
        let old = self.notes.get(&key);
        if old.is_none() && change.flags & EV_ADD == 0 {
            return Err(Errno::ENOENT);
        }
        let add = change.flags & EV_ADD != 0;
        let flag = |flag| change.flags & flag != 0;
        let note = Note {
            flags: if add {
                change.flags & STICKY
            } else {
                old.map_or(0, |old| old.flags)
            },
            udata: change.udata as usize,
            enabled: flag(EV_ENABLE) || (!flag(EV_DISABLE) && old.is_none_or(|old| old.enabled)),
            active: change.fflags & NOTE_TRIGGER != 0 || old.is_some_and(|old| old.active),
        };
        if flag(EV_ADD | EV_ENABLE | EV_DISABLE) {
            self.arm(key, &note)?;
        }
        self.notes.insert(key, note);
        self.signal_users();
        Ok(())
    }

    /// Tells the inner epoll of what the note asks for; that looks at the source anew.
    fn arm(&self, (filter, ident): Key, note: &Note) -> nix::Result<()> {
        let Some((epoll, mut flags)) = self.source(filter) else {
            return Ok(());
        };
        let fd = borrow(ident);
        // Absent already, if it was disabled or is new.
        let _ = epoll.delete(fd);
        if !note.enabled {
            return Ok(());
        }
        if note.flags & EV_CLEAR != 0 {
            flags |= EpollFlags::EPOLLET;
        }
        epoll.add(fd, EpollEvent::new(flags, ident as u64))
    }

    /// The epoll of a filter, and what the filter is about.
    fn source(&self, filter: i16) -> Option<(&Epoll, EpollFlags)> {
        match filter {
            EVFILT_READ => {
                let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
                Some((&self.epolls[READERS], flags))
            }
            EVFILT_WRITE => Some((&self.epolls[WRITERS], EpollFlags::EPOLLOUT)),
            _ => None,
        }
    }

    fn remove(&mut self, key: Key) -> nix::Result<()> {
        self.notes.remove(&key).ok_or(Errno::ENOENT)?;
        match self.source(key.0) {
            // Absent already, if it was disabled.
            Some((epoll, _)) => drop(epoll.delete(borrow(key.1))),
            None => self.signal_users(),
        }
        Ok(())
    }

    fn active_users(&self) -> impl Iterator<Item = Key> {
        let users = self
            .notes
            .range((EVFILT_USER, 0)..=(EVFILT_USER, usize::MAX));
        users
            .filter(|(_, note)| note.active && note.enabled)
            .map(|(key, _)| *key)
    }

    fn signal_users(&self) {
        // Neither can fail in a way that matters: it is readable then, or empty.
        if self.active_users().next().is_some() {
            let _ = self.users.write(1);
        } else {
            let _ = self.users.read();
        }
    }

    fn collect(&mut self, room: usize, found: &mut Vec<kevent>) {
        self.turn = (self.turn + 1) % 3;
        for step in 0..3 {
            let left = (room - found.len()).min(BATCH);
            match (self.turn + step) % 3 {
                _ if left == 0 => return,
                USERS => {
                    let keys: Vec<_> = self.active_users().take(left).collect();
                    for key in keys {
                        self.report(key, EpollFlags::empty(), found);
                    }
                    self.signal_users();
                }
                source => {
                    let filter = [EVFILT_READ, EVFILT_WRITE][source];
                    let mut events = [EpollEvent::empty(); BATCH];
                    let ready = self.epolls[source].wait(&mut events[..left], EpollTimeout::ZERO);
                    for event in &events[..ready.unwrap_or(0)] {
                        self.report((filter, event.data() as usize), event.events(), found);
                    }
                }
            }
        }
    }

    /// Reports what is ready by `key`, and does what its registration says to happen then.
    fn report(&mut self, key: Key, told: EpollFlags, found: &mut Vec<kevent>) {
        let Some(note) = self.notes.get_mut(&key).filter(|note| note.enabled) else {
            return;
        };
        let (filter, ident) = key;
        let flags = note.flags;
        let failed = told.contains(EpollFlags::EPOLLERR);
        let reads = filter == EVFILT_READ;
        let ended = failed
            || told.contains(EpollFlags::EPOLLHUP)
            || (reads && told.contains(EpollFlags::EPOLLRDHUP));
        found.push(kevent {
            ident,
            filter,
            flags: flags | if ended { EV_EOF } else { 0 },
            fflags: if failed && is_socket(ident) {
                Errno::EIO as u32
            } else {
                0
            },
            data: if reads {
                bytes_to_read(ident, ended)
            } else {
                1
            },
            udata: ptr::without_provenance_mut(note.udata),
        });
        if flags & (EV_CLEAR | EV_DISPATCH) != 0 {
            note.active = false;
        }
        if flags & EV_ONESHOT != 0 {
            let _ = self.remove(key);
        } else if flags & EV_DISPATCH != 0 {
            note.enabled = false;
            if let Some((epoll, _)) = self.source(filter) {
                let _ = epoll.delete(borrow(ident));
            }
        }
    }
}

fn borrow(ident: usize) -> BorrowedFd<'static> {
    // SAFETY: passed to system calls at once, which refuse a number that is not open.
    unsafe { BorrowedFd::borrow_raw(ident as c_int) }
}

fn is_socket(ident: usize) -> bool {
    nix::sys::socket::getsockopt(&borrow(ident), nix::sys::socket::sockopt::SockType).is_ok()
}

/// At least 1 unless the end is all there is. A listener does not tell how many wait.
fn bytes_to_read(ident: usize, ended: bool) -> isize {
    let mut bytes: c_int = 0;
    // SAFETY: the request writes one integer.
    let result = unsafe { libc::ioctl(ident as c_int, libc::FIONREAD, &raw mut bytes) };
    if result == 0 {
        bytes as isize
    } else {
        isize::from(!ended)
    }
}
