//! What went wrong, what can be done about it, and the exit code that says so to scripts.

use std::fmt;
use std::process::ExitCode;

use async_messenger::proto::Phase;
use async_messenger::{Error, ErrorKind};

/// The exit codes of failures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// The peer, or the system, said no.
    Refused = 1,
    /// The command line makes no sense; clap uses the same code.
    Usage = 2,
    /// Nobody answered.
    Unreachable = 3,
    /// The peer does not believe us, or would not without a key.
    Authentication = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error to end the program with: one line that names the peer, the phase and what was wrong,
/// and one with the cure.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    what: String,
    cure: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            cure: cure.into(),
        }
    }

    /// With another cure.
    pub(crate) fn with_cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = cure.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "msgr: {}\n      {}", self.what, self.cure)
    }
}

/// The library's errors name the peer and the phase themselves.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (exit, cure) = classify(&error);
        Self::new(exit, error.to_string(), cure)
    }
}

/// A server that has not said anything sensible yet may be anything.
fn is_stranger(error: &Error) -> bool {
    error.phase().is_some_and(Phase::is_before_hello)
}

fn classify(error: &Error) -> (Exit, &'static str) {
    match error.kind() {
        ErrorKind::Misuse => (Exit::Usage, "see msgr --help"),
        ErrorKind::Bind => (
            Exit::Refused,
            "choose another port, or 0 for any free one, and an ip of this host",
        ),
        ErrorKind::Unreachable => (
            Exit::Unreachable,
            "is the monitor running, and is this its address? `ceph mon dump` lists them; \
             msgr v1 has port 6789, v2 has 3300",
        ),
        ErrorKind::TimedOut => (
            Exit::Unreachable,
            "check that a server of this version of msgr listens there (v1 has port 6789, v2 has \
             3300), or wait longer by --timeout",
        ),
        ErrorKind::Disconnected if is_stranger(error) => (
            Exit::Unreachable,
            "check that a server of this version of msgr listens there (v1 has port 6789, v2 has \
             3300)",
        ),
        ErrorKind::Protocol if is_stranger(error) => (
            Exit::Refused,
            "another protocol is spoken there: msgr v1 has port 6789, v2 has 3300; say which by \
             v1: or v2: before the address",
        ),
        ErrorKind::Denied => (
            Exit::Authentication,
            "say who you are by --name, and show it by --keyring or the keyring of --conf",
        ),
        _ => (Exit::Refused, "its log may say more; so does -v here"),
    }
}
