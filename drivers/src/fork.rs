//! Tells a process from its fork child, at the price of one relaxed load.
//!
//! A handler that the C library runs in the child of each `fork` counts up; whoever remembers
//! another count is a parent's copy. Children of `vfork` and `posix_spawn` run no handlers and
//! none of our code. Used by any thread.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc;

static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The process that made something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    /// The calling process.
    pub(crate) fn current() -> io::Result<Self> {
        static HOOK: OnceLock<i32> = OnceLock::new();
        // SAFETY: the handler only touches an atomic, which is allowed in a child of a process
        // with threads, and it is never unloaded before the process ends.
        let register = || unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
        match *HOOK.get_or_init(register) {
            0 => Ok(Self(FORKS.load(Ordering::Relaxed))),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    pub(crate) fn is_current(self) -> bool {
        FORKS.load(Ordering::Relaxed) == self.0
    }

    /// Refuses a caller that is a fork child of this process.
    pub(crate) fn check(self) -> io::Result<()> {
        if self.is_current() {
            return Ok(());
        }
        let text = "a driver cannot be used in a fork child of the process that opened it";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }
}
