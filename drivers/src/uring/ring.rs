//! The ring, of one thread: requests in, completions out.
//!
//! All requests are polls and their removal, which point to no memory, so whatever happens to them
//! is harmless to this process. It knows no source and no interest.

use std::cell::Cell;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use nix::errno::Errno;
use nix::libc;

use crate::fork::Process;
use crate::{SLOTS_MAX, time};

/// How many requests go to the kernel by one call.
const SUBMISSIONS: u32 = 256;

/// How many rounds the end of one batch of requests is given, each for some twenty completions or
/// all: what is still watched may go on to complete meanwhile.
const ROUNDS: u32 = SUBMISSIONS;

/// How many completions wait without extra work for the kernel.
const COMPLETIONS: u32 = 4096;

/// What names the requests whose completion tells nothing.
const NOBODY: u64 = SLOTS_MAX as u64 + 1;

/// The flag of the system call without which deferred work stays where it is.
const GETEVENTS: u32 = 1;

/// What a request of a poll has to say.
pub(super) struct Completion {
    pub(super) slot: u32,
    pub(super) serial: u32,
    /// The ready directions, as bits of `poll(2)`.
    pub(super) result: Result<u32, Errno>,
    /// Whether the request will complete again.
    pub(super) goes_on: bool,
}

pub(super) struct Ring {
    uring: ManuallyDrop<IoUring>,
    /// Whose it is, once it was used.
    thread: Option<u64>,
    process: Process,
}

impl Ring {
    /// A ring for the thread that will [`claim`](Self::claim) it, after another one has shown that
    /// rings work.
    pub(super) fn new(process: Process) -> io::Result<Self> {
        let mut trial = Self::build(2, 4, process)?;
        trial
            .claim()
            .and_then(|()| trial.probe())
            .map_err(explain)?;
        Self::build(SUBMISSIONS, COMPLETIONS, process)
    }

    fn build(submissions: u32, completions: u32, process: Process) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_cqsize(completions)
            .setup_clamp()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_r_disabled()
            .build(submissions)
            .map_err(explain)?;
        let params = uring.params();
        if !(params.is_feature_nodrop()
            && params.is_feature_ext_arg()
            && params.is_feature_skip_cqe_on_success())
        {
            return Err(explain(Errno::EINVAL.into()));
        }
        Ok(Self {
            uring: ManuallyDrop::new(uring),
            thread: None,
            process,
        })
    }

    /// Makes it this thread's, which takes no descriptor.
    pub(super) fn claim(&mut self) -> io::Result<()> {
        self.uring.submitter().register_enable_rings()?;
        self.thread = Some(this_thread());
        Ok(())
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.thread.is_some()
    }

    /// Does nothing, by a request: a sandbox may allow the set-up and not the use.
    fn probe(&mut self) -> io::Result<()> {
        self.push(opcode::Nop::new().build().user_data(NOBODY))?;
        self.uring.submit_and_wait(1)?;
        let result = self.uring.completion().next().map(|done| done.result());
        match result {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(-code)),
            None => Err(io::Error::other("a request did not complete")),
        }
    }

    pub(super) fn is_of_this_thread(&self) -> bool {
        self.thread == Some(this_thread())
    }

    /// Asks for the edges of a descriptor.
    pub(super) fn watch(&mut self, fd: RawFd, slot: u32, serial: u32, mask: u32) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fd(fd), mask).multi(true).build();
        self.push(poll.user_data(name(slot, serial)))
    }

    /// Asks no longer. A removal of the poll would be refused while an edge is being worked out.
    pub(super) fn forget(&mut self, slot: u32, serial: u32) -> io::Result<()> {
        let cancel = opcode::AsyncCancel::new(name(slot, serial)).build();
        self.push(cancel.user_data(NOBODY).flags(squeue::Flags::SKIP_SUCCESS))
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        if self.uring.submission().is_full() {
            self.enter()?;
        }
        // SAFETY: no request points to memory.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        pushed.map_err(|_| Errno::EBUSY.into())
    }

    /// Submits, and works out what has been completed, without waiting.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        let requests = self.uring.submission().len() as u32;
        let submitter = self.uring.submitter();
        // SAFETY: that many requests are in the queue, and there is no argument.
        let entered = unsafe { submitter.enter::<libc::sigset_t>(requests, 0, GETEVENTS, None) };
        tolerate(entered)
    }

    /// Submits, and waits until something completes.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let Some(timeout) = timeout.map(time::timespec) else {
            return tolerate(self.uring.submit_and_wait(1));
        };
        let timeout = Timespec::new()
            .sec(timeout.tv_sec as u64)
            .nsec(timeout.tv_nsec as u32);
        let args = SubmitArgs::new().timespec(&timeout);
        tolerate(self.uring.submitter().submit_with_args(1, &args))
    }

    /// Calls the kernel once more if it has requests to take or completions to give; whether
    /// completions came of it.
    ///
    /// Without the second look this could go on for ever: another processor that completes a
    /// request raises the flag after it has queued the work, and when the work is done in between
    /// the flag stays up with nothing behind it, until there is something anew.
    pub(super) fn gives_more(&mut self) -> io::Result<bool> {
        let submission = self.uring.submission();
        if submission.is_empty() && !submission.taskrun() && !submission.cq_overflow() {
            return Ok(false);
        }
        drop(submission);
        self.enter()?;
        Ok(!self.uring.completion().is_empty())
    }

    /// What has completed and was not taken yet.
    pub(super) fn completions(&mut self) -> impl Iterator<Item = Completion> + '_ {
        let told = self.uring.completion();
        let told = told.filter(|done| done.user_data() != NOBODY);
        told.map(|done| Completion {
            slot: done.user_data() as u32,
            serial: (done.user_data() >> 32) as u32,
            result: u32::try_from(done.result()).map_err(|_| Errno::from_raw(-done.result())),
            goes_on: cqueue::more(done.flags()),
        })
    }

    /// Ends the requests of these names. Each remains on the kernel's lists until its end is worked
    /// out, so there are never many on their way.
    pub(super) fn forget_all(&mut self, names: impl Iterator<Item = (u32, u32)>) -> io::Result<()> {
        for (slot, serial) in names {
            if self.uring.submission().is_full() {
                self.finish(ROUNDS)?;
            }
            self.forget(slot, serial)?;
        }
        self.finish(ROUNDS)
    }

    /// Ends all requests now, as they hold files open: the kernel takes its time with a ring that
    /// is closed.
    fn cancel_all(&mut self) -> io::Result<()> {
        let all = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(all.user_data(NOBODY))?;
        // Nothing is watched any more, so this comes to an end.
        self.finish(u32::MAX)
    }

    /// Submits, and has worked out what comes of it, in so many rounds at most.
    fn finish(&mut self, rounds: u32) -> io::Result<()> {
        self.enter()?;
        self.completions().for_each(drop);
        for _ in 0..rounds {
            if !self.gives_more()? {
                break;
            }
            self.completions().for_each(drop);
        }
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // In a fork child the ring is the parent's.
        if !self.process.is_current() {
            return;
        }
        if self.is_of_this_thread() {
            // If it fails the kernel does it, later.
            let _ = self.cancel_all();
        }
        // SAFETY: dropped here only, and not used after.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
    }
}

fn name(slot: u32, serial: u32) -> u64 {
    u64::from(serial) << 32 | u64::from(slot)
}

/// A number that no other thread has or had.
fn this_thread() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: Cell<u64> = const { Cell::new(0) });
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(COUNT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// A wait may end by its time or by a signal, and a queue that is too full is emptied first.
fn tolerate(result: io::Result<usize>) -> io::Result<()> {
    let Err(error) = result else {
        return Ok(());
    };
    match error.raw_os_error() {
        Some(libc::ETIME | libc::EINTR | libc::EBUSY) => Ok(()),
        _ => Err(error),
    }
}

/// Says why there is no ring.
fn explain(error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has no io_uring",
        Some(libc::EINVAL) => "this kernel's io_uring is too old: it takes Linux 6.1",
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is refused, by the sysctl kernel.io_uring_disabled or by a sandbox \
             (a seccomp filter)"
        }
        Some(libc::ENOMEM) => "io_uring got no memory; see the limit of locked memory (ulimit -l)",
        _ => return error,
    };
    let kind = if error.raw_os_error() == Some(libc::ENOMEM) {
        io::ErrorKind::OutOfMemory
    } else {
        io::ErrorKind::Unsupported
    };
    io::Error::new(kind, format!("{why} ({error})"))
}
