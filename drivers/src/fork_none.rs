//! For systems where a process has no copies: whatever there is was made by the calling one.

use std::io;

/// The process that made something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process;

impl Process {
    /// The calling process.
    pub(crate) fn current() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn is_current(self) -> bool {
        true
    }

    /// Refuses nobody.
    pub(crate) fn check(self) -> io::Result<()> {
        Ok(())
    }
}
