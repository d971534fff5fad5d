//! What happens where the kernel or a sandbox refuses io_uring: seccomp filters of one thread each
//! play the kernels and sandboxes.
#![cfg(all(
    feature = "io-uring",
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ),
))]
#![allow(missing_docs)]

use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use event_driver::DriverKind;
use nix::errno::Errno;
use nix::libc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Whatever is logged, as lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn instruction(code: u32, yes: u8, no: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k,
    }
}

/// From now on this thread gets `answer` for the system call.
fn refuse(call: libc::c_long, answer: Errno) {
    let (load, equal) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
    );
    let ret = libc::BPF_RET | libc::BPF_K;
    let mut filter = [
        // The number of the call is the first word of what filters see.
        instruction(load, 0, 0, 0),
        instruction(equal, 0, 1, call as u32),
        instruction(ret, 0, 0, libc::SECCOMP_RET_ERRNO | answer as u32),
        instruction(ret, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: it takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    Errno::result(result).unwrap();
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program points to the filter, and the kernel copies both.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    Errno::result(result).unwrap();
}

/// Runs `test` in a thread for which the call is refused.
fn without<T: Send>(call: libc::c_long, answer: Errno, test: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            refuse(call, answer);
            test()
        });
        thread.join().unwrap()
    })
}

fn refusal() -> io::Error {
    let Err(error) = DriverKind::IoUring.open() else {
        panic!("opened what is refused");
    };
    error
}

#[test]
fn each_refusal_is_explained() {
    let (setup, enter) = (libc::SYS_io_uring_setup, libc::SYS_io_uring_enter);
    let runs_here = DriverKind::IoUring.open();
    if let Err(error) = &runs_here {
        println!("skipped: refusals that are seen by using it only: {error}");
    }
    for (call, answer, why) in [
        (setup, Errno::ENOSYS, "this kernel has no io_uring"),
        (setup, Errno::EPERM, "kernel.io_uring_disabled"),
        (setup, Errno::EACCES, "seccomp"),
        (setup, Errno::EINVAL, "it takes Linux 6.1"),
        // Seen by using it only.
        (enter, Errno::EPERM, "seccomp"),
        (enter, Errno::ENOSYS, "this kernel has no io_uring"),
    ] {
        if call == enter && runs_here.is_err() {
            continue;
        }
        let error = without(call, answer, refusal);
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    // No lack of io_uring: nothing falls back for that.
    let error = without(setup, Errno::EMFILE, refusal);
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    let open = || {
        DriverKind::IoUring
            .open_or_fallback()
            .map(|driver| driver.name())
    };
    let error = without(setup, Errno::EMFILE, open).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
}

#[test]
fn another_driver_runs_and_the_log_says_which_and_why() {
    let others = DriverKind::compiled().iter();
    let Some(best) = others.copied().find(|kind| *kind != DriverKind::IoUring) else {
        println!("skipped: no other driver is compiled in");
        return;
    };
    let log = Log::default();
    let names = without(libc::SYS_io_uring_setup, Errno::EPERM, || {
        let _logging = tracing::subscriber::set_default(log.clone());
        [(); 3].map(|()| {
            let mut driver = DriverKind::IoUring.open_or_fallback().unwrap();
            driver.wait(&mut Vec::new(), Some(Duration::ZERO)).unwrap();
            driver.name()
        })
    });
    assert_eq!(names, [best.name(); 3]);
    let log = log.0.lock().unwrap();
    assert_eq!(log.len(), 1, "once: {log:?}");
    for word in ["WARN", "io_uring", &format!("{best} does"), "seccomp"] {
        assert!(log[0].contains(word), "{word}: {log:?}");
    }
    println!("{}", log[0]);
}
