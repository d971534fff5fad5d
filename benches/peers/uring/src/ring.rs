//! The ring of one thread.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

use io_uring::{IoUring, cqueue, squeue};

use crate::How;
use crate::buffers::Buffers;

/// Requests between two turns.
const SUBMISSIONS: u32 = 1024;

/// Completions of one turn.
const COMPLETIONS: u32 = 8192;

/// Descriptors that requests name by a number.
const FILES: u32 = 1 << 14;

pub(crate) struct Ring {
    uring: IoUring,
    pub(crate) buffers: Buffers,
    /// Requests whose completions are there when they were submitted.
    prompt: usize,
}

impl Ring {
    pub(crate) fn new(how: How) -> io::Result<Self> {
        let uring = build()?;
        uring.submitter().register_files_sparse(FILES)?;
        // The ring itself, too; that is only cheaper.
        let _ = uring.submitter().register_ring_fd();
        let buffers = Buffers::new(&uring, how.buffers, how.buffer_size)?;
        Ok(Self {
            uring,
            buffers,
            prompt: 0,
        })
    }

    /// Lets requests name a descriptor by this number.
    pub(crate) fn register(&mut self, number: u32, fd: RawFd) -> io::Result<()> {
        let submitter = self.uring.submitter();
        submitter.register_files_update(number, &[fd]).map(drop)
    }

    /// Requests something with the next turn; `prompt` says that it completes at once.
    ///
    /// # Safety
    ///
    /// What it points to has to stay until it is completed.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry, prompt: bool) -> io::Result<()> {
        self.prompt += usize::from(prompt);
        if self.uring.submission().is_full() {
            self.uring.submit()?;
        }
        // SAFETY: the caller says so.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.map_err(|_| ErrorKind::WouldBlock.into())
    }

    /// Submits all requests, and waits for a completion that is none of the prompt ones.
    pub(crate) fn turn(&mut self, completed: &mut Vec<cqueue::Entry>) -> io::Result<()> {
        let prompt = std::mem::take(&mut self.prompt);
        match self.uring.submit_and_wait(1 + prompt) {
            Err(e) if !matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ResourceBusy) => {
                return Err(e);
            }
            _ => {}
        }
        completed.clear();
        completed.extend(self.uring.completion());
        Ok(())
    }
}

/// The cheapest ring that this kernel makes.
fn build() -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(COMPLETIONS).setup_clamp();
    builder.setup_submit_all().setup_coop_taskrun();
    let plain = builder.clone();
    builder.setup_single_issuer().setup_defer_taskrun();
    builder.build(SUBMISSIONS).or_else(|refused| {
        eprintln!("a ring without deferred work: {refused}");
        plain.build(SUBMISSIONS)
    })
}
