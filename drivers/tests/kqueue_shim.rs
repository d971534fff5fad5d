//! What the kqueue driver relies on, of the Linux stand-in for `kqueue(2)`.
#![cfg(all(feature = "kqueue-shim", target_os = "linux"))]
#![allow(missing_docs)]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use event_driver::kqueue_shim::*;
use event_driver::sock::{self, SocketOptions};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt::Linger};

const SOON: i64 = 10_000;
const MOMENT: i64 = 10;

fn change(fd: impl AsFd, filter: i16, flags: u16, udata: usize) -> kevent {
    let ident = fd.as_fd().as_raw_fd() as usize;
    let udata = ptr::without_provenance_mut(udata);
    kevent {
        ident,
        filter,
        flags,
        fflags: 0,
        data: 0,
        udata,
    }
}

fn user(flags: u16, fflags: u32) -> kevent {
    let udata = ptr::without_provenance_mut(42);
    kevent {
        ident: 1,
        filter: EVFILT_USER,
        flags,
        fflags,
        data: 0,
        udata,
    }
}

fn udata(event: &kevent) -> usize {
    event.udata.addr()
}

struct Queue(OwnedFd);

impl Queue {
    fn new() -> Self {
        // SAFETY: no pointers.
        let fd = unsafe { kqueue() };
        assert!(fd >= 0);
        // SAFETY: the descriptor is new and nobody else's.
        Self(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn call(
        &self,
        changes: &[kevent],
        room: usize,
        timeout: Option<Duration>,
    ) -> nix::Result<Vec<kevent>> {
        let mut events = vec![user(0, 0); room];
        let timeout = timeout.map(|t| libc::timespec {
            tv_sec: t.as_secs() as _,
            tv_nsec: t.subsec_nanos().into(),
        });
        // SAFETY: the pointers and counts are those of slices; the timeout is null or here.
        let count = unsafe {
            kevent(
                self.0.as_raw_fd(),
                changes.as_ptr(),
                changes.len() as i32,
                events.as_mut_ptr(),
                room as i32,
                timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
            )
        };
        events.truncate(Errno::result(count)? as usize);
        Ok(events)
    }

    fn set(&self, change: kevent) -> nix::Result<()> {
        self.call(&[change], 0, None).map(drop)
    }

    fn wait(&self, millis: i64) -> Vec<kevent> {
        self.call(&[], 8, Some(Duration::from_millis(millis as u64)))
            .unwrap()
    }

    fn one(&self) -> kevent {
        let events = self.wait(SOON);
        assert_eq!(events.len(), 1, "{events:?}");
        events[0]
    }

    fn quiet(&self) {
        let events = self.wait(MOMENT);
        assert!(events.is_empty(), "{events:?}");
    }
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

#[test]
fn levels_repeat_until_the_data_is_read() {
    let (q, (mut a, mut b)) = (Queue::new(), pair());
    q.set(change(&b, EVFILT_READ, EV_ADD, 7)).unwrap();
    q.quiet();
    a.write_all(b"hello").unwrap();
    for _ in 0..3 {
        let event = q.one();
        assert_eq!(
            (event.filter, udata(&event), event.data),
            (EVFILT_READ, 7, 5)
        );
        assert_eq!(event.flags & EV_EOF, 0);
    }
    b.read_exact(&mut [0; 5]).unwrap();
    q.quiet();
}

#[test]
fn edges_come_once_and_again_with_new_data() {
    let (q, (mut a, b)) = (Queue::new(), pair());
    q.set(change(&b, EVFILT_READ, EV_ADD | EV_CLEAR, 0))
        .unwrap();
    for total in 1..4 {
        a.write_all(b"x").unwrap();
        assert_eq!(q.one().data, total, "data adds up, read or not");
        q.quiet();
    }
}

#[test]
fn adding_reports_what_is_ready_already() {
    let (q, (mut a, b)) = (Queue::new(), pair());
    a.write_all(b"early").unwrap();
    for _ in 0..2 {
        q.set(change(&b, EVFILT_READ, EV_ADD | EV_CLEAR, 0))
            .unwrap();
        q.one();
        q.quiet();
    }
}

#[test]
fn adding_again_replaces_the_word() {
    let (q, (mut a, b)) = (Queue::new(), pair());
    q.set(change(&b, EVFILT_READ, EV_ADD | EV_CLEAR, 1))
        .unwrap();
    q.set(change(&b, EVFILT_READ, EV_ADD | EV_CLEAR, 2))
        .unwrap();
    a.write_all(b"x").unwrap();
    assert_eq!(udata(&q.one()), 2);
}

#[test]
fn oneshot_removes_and_dispatch_disables() {
    let (q, (mut a, b)) = (Queue::new(), pair());
    a.write_all(b"x").unwrap();
    q.set(change(&b, EVFILT_READ, EV_ADD | EV_ONESHOT, 0))
        .unwrap();
    q.one();
    q.quiet();
    assert_eq!(
        q.set(change(&b, EVFILT_READ, EV_DELETE, 0)),
        Err(Errno::ENOENT)
    );
    q.set(change(&b, EVFILT_READ, EV_ADD | EV_DISPATCH, 0))
        .unwrap();
    q.one();
    q.quiet();
    q.set(change(&b, EVFILT_READ, EV_ENABLE, 0)).unwrap();
    q.one();
    q.set(change(&b, EVFILT_READ, EV_DELETE, 0)).unwrap();
}

#[test]
fn disabled_filters_are_quiet_until_enabled() {
    let (q, (mut a, b)) = (Queue::new(), pair());
    q.set(change(&b, EVFILT_READ, EV_ADD | EV_CLEAR | EV_DISABLE, 0))
        .unwrap();
    a.write_all(b"x").unwrap();
    q.quiet();
    q.set(change(&b, EVFILT_READ, EV_ENABLE, 0)).unwrap();
    q.one();
}

#[test]
fn room_made_by_the_peer_is_an_edge() {
    let (q, (mut a, mut b)) = (Queue::new(), pair());
    q.set(change(&a, EVFILT_WRITE, EV_ADD | EV_CLEAR, 0))
        .unwrap();
    assert!(q.one().data > 0);
    q.quiet();
    while a.write(&[0; 4096]).is_ok() {}
    q.quiet();
    while b.read(&mut [0; 4096]).is_ok() {}
    assert_eq!(q.one().filter, EVFILT_WRITE);
}

#[test]
fn reader_and_writer_of_one_socket_are_apart() {
    let (q, (mut a, b)) = (Queue::new(), pair());
    let both = [
        change(&b, EVFILT_READ, EV_ADD, 1),
        change(&b, EVFILT_WRITE, EV_ADD | EV_CLEAR, 2),
    ];
    q.call(&both, 0, None).unwrap();
    assert_eq!(udata(&q.one()), 2);
    a.write_all(b"x").unwrap();
    for _ in 0..3 {
        let events = q.wait(SOON);
        assert_eq!(events.iter().filter(|e| e.filter == EVFILT_READ).count(), 1);
    }
    q.set(change(&b, EVFILT_READ, EV_DELETE, 0)).unwrap();
    assert!(q.wait(MOMENT).iter().all(|e| e.filter == EVFILT_WRITE));
    q.set(change(&b, EVFILT_WRITE, EV_DELETE, 0)).unwrap();
}

#[test]
fn a_listener_is_readable_while_somebody_waits() {
    let q = Queue::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    q.set(change(&listener, EVFILT_READ, EV_ADD, 0)).unwrap();
    let _clients: Vec<_> = (0..3).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for _ in 0..3 {
        assert!(q.one().data >= 1);
        listener.accept().unwrap();
    }
    q.quiet();
}

#[test]
fn a_peers_shutdown_is_eof_with_the_data_left() {
    for clear in [0, EV_CLEAR] {
        let (q, (mut a, mut b)) = (Queue::new(), pair());
        q.set(change(&b, EVFILT_READ, EV_ADD | clear, 0)).unwrap();
        a.write_all(b"bye").unwrap();
        a.shutdown(Shutdown::Write).unwrap();
        let event = q.one();
        assert_eq!(
            (event.data, event.flags & EV_EOF, event.fflags),
            (3, EV_EOF, 0)
        );
        b.read_exact(&mut [0; 3]).unwrap();
        if clear == 0 {
            let event = q.one();
            assert_eq!((event.data, event.flags & EV_EOF), (0, EV_EOF));
        }
        q.set(change(&b, EVFILT_WRITE, EV_ADD, 0)).unwrap();
        let events = q.wait(SOON);
        let writer = events.iter().find(|e| e.filter == EVFILT_WRITE).unwrap();
        assert_eq!(writer.flags & EV_EOF, 0, "this half is still open");
    }
}

#[test]
fn eof_is_an_edge_of_its_own() {
    let (q, (mut a, b)) = (Queue::new(), pair());
    q.set(change(&b, EVFILT_READ, EV_ADD | EV_CLEAR, 0))
        .unwrap();
    a.write_all(b"x").unwrap();
    assert_eq!(q.one().flags & EV_EOF, 0);
    drop(a);
    assert_eq!(q.one().flags & EV_EOF, EV_EOF);
}

#[test]
fn a_reset_is_eof_for_both_and_its_error_stays_to_be_fetched() {
    let q = Queue::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut b, _) = listener.accept().unwrap();
    for filter in [EVFILT_READ, EVFILT_WRITE] {
        q.set(change(&b, filter, EV_ADD | EV_CLEAR, 0)).unwrap();
    }
    assert_eq!(q.one().filter, EVFILT_WRITE);
    setsockopt(
        &a,
        Linger,
        &libc::linger {
            l_onoff: 1,
            l_linger: 0,
        },
    )
    .unwrap();
    drop(a);
    let mut failed = HashSet::new();
    while failed.len() < 2 {
        let events = q.wait(SOON);
        assert!(!events.is_empty());
        let ended = events
            .iter()
            .filter(|e| e.flags & EV_EOF != 0 && e.fflags != 0);
        failed.extend(ended.map(|e| e.filter));
    }
    let error = b.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
}

#[test]
fn a_refused_connection_is_eof_of_the_writer() {
    let q = Queue::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let socket = sock::connect(addr, None, &SocketOptions::default()).unwrap();
    q.set(change(&socket, EVFILT_WRITE, EV_ADD | EV_CLEAR, 0))
        .unwrap();
    let event = q.one();
    assert_eq!(event.flags & EV_EOF, EV_EOF);
    assert_ne!(event.fflags, 0);
    let error = sock::connect_finished(socket.as_fd()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
}

#[test]
fn pipes() {
    let q = Queue::new();
    let (r, mut w) = std::io::pipe().unwrap();
    q.set(change(&r, EVFILT_READ, EV_ADD | EV_CLEAR, 1))
        .unwrap();
    q.set(change(&w, EVFILT_WRITE, EV_ADD | EV_CLEAR, 2))
        .unwrap();
    assert_eq!(udata(&q.one()), 2);
    w.write_all(b"abc").unwrap();
    let events = q.wait(SOON);
    assert_eq!(events.iter().find(|e| udata(e) == 1).unwrap().data, 3);
    drop(w);
    let event = q.one();
    assert_eq!(
        (udata(&event), event.data, event.flags & EV_EOF),
        (1, 3, EV_EOF)
    );

    let (r, w) = std::io::pipe().unwrap();
    q.set(change(&w, EVFILT_WRITE, EV_ADD | EV_CLEAR, 3))
        .unwrap();
    q.one();
    drop(r);
    let event = q.one();
    assert_eq!(
        (udata(&event), event.flags & EV_EOF, event.fflags),
        (3, EV_EOF, 0)
    );
}

#[test]
fn user_events_wake_a_waiter_and_run_together() {
    let q = Queue::new();
    q.set(user(EV_ADD | EV_CLEAR, 0)).unwrap();
    q.quiet();
    thread::scope(|scope| {
        scope.spawn(|| q.set(user(0, NOTE_TRIGGER)).unwrap());
        let events = q.call(&[], 4, None).unwrap();
        assert_eq!((events.len(), events[0].filter), (1, EVFILT_USER));
        assert_eq!(udata(&events[0]), 42);
    });
    for _ in 0..5 {
        q.set(user(0, NOTE_TRIGGER)).unwrap();
    }
    q.one();
    q.quiet();
    q.set(user(EV_DELETE, 0)).unwrap();
    assert_eq!(q.set(user(0, NOTE_TRIGGER)), Err(Errno::ENOENT));
}

#[test]
fn timeouts_are_not_cut_short() {
    let q = Queue::new();
    for micros in [0, 1, 1_500, 20_000] {
        let (start, timeout) = (Instant::now(), Duration::from_micros(micros));
        assert!(q.call(&[], 8, Some(timeout)).unwrap().is_empty());
        assert!(start.elapsed() >= timeout);
    }
}

#[test]
fn errors_and_receipts() {
    let (q, (_a, b)) = (Queue::new(), pair());
    let bad = kevent {
        ident: 999_999,
        ..change(&b, EVFILT_READ, EV_ADD, 5)
    };
    assert_eq!(q.set(bad), Err(Errno::EBADF));
    let changes = [bad, change(&b, EVFILT_READ, EV_ADD | EV_RECEIPT, 6)];
    let events = q.call(&changes, 4, None).unwrap();
    assert!(events.iter().all(|e| e.flags & EV_ERROR != 0));
    let codes: Vec<_> = events.iter().map(|e| (udata(e), e.data)).collect();
    assert_eq!(codes, [(5, libc::EBADF as isize), (6, 0)]);
    assert_eq!(
        q.set(change(&b, EVFILT_WRITE, EV_DELETE, 0)),
        Err(Errno::ENOENT)
    );
    assert_eq!(
        q.set(change(&b, EVFILT_WRITE, EV_ENABLE, 0)),
        Err(Errno::ENOENT)
    );
    assert_eq!(q.set(change(&b, -5, EV_ADD, 0)), Err(Errno::EINVAL));
}

#[test]
fn a_full_list_starves_no_one() {
    let q = Queue::new();
    let pairs: Vec<_> = (0..10).map(|_| pair()).collect();
    for (a, b) in &pairs {
        (&mut &*a).write_all(b"x").unwrap();
        q.set(change(b, EVFILT_READ, EV_ADD, 0)).unwrap();
    }
    let mut seen = HashSet::new();
    for _ in 0..100 {
        seen.extend(q.call(&[], 1, None).unwrap().iter().map(|e| e.ident));
    }
    assert_eq!(seen.len(), 10);
}

#[test]
fn a_change_made_elsewhere_reaches_a_waiter() {
    let (q, (mut a, b)) = (Queue::new(), pair());
    a.write_all(b"x").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let add = change(&b, EVFILT_READ, EV_ADD | EV_CLEAR, 0);
            q.set(add).unwrap();
        });
        assert_eq!(q.call(&[], 4, None).unwrap().len(), 1);
    });
}

#[test]
fn a_closed_descriptor_is_forgotten() {
    let (q, (mut a, b)) = (Queue::new(), pair());
    q.set(change(&b, EVFILT_READ, EV_ADD, 0)).unwrap();
    a.write_all(b"x").unwrap();
    drop(b);
    q.quiet();
}

#[test]
fn the_queue_itself_can_be_polled() {
    let (q, (mut a, b)) = (Queue::new(), pair());
    q.set(change(&b, EVFILT_READ, EV_ADD, 0)).unwrap();
    let outer = Queue::new();
    outer.set(change(&q.0, EVFILT_READ, EV_ADD, 9)).unwrap();
    outer.quiet();
    a.write_all(b"x").unwrap();
    assert_eq!(udata(&outer.one()), 9);
}
