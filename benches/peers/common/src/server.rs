//! How a server begins and ends.

use std::fmt::Display;
use std::io::{self, Read as _, Write as _};
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};

/// Has the process end without error when it is told to. To be called before there are threads.
pub fn end_when_told() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    thread::spawn(move || {
        let _ = signals.wait();
        std::process::exit(0)
    });
    thread::spawn(|| {
        let mut rest = [0; 64];
        while io::stdin().read(&mut rest).is_ok_and(|n| n > 0) {}
        std::process::exit(0)
    });
    Ok(())
}

/// Tells where the server listens.
pub fn announce(addr: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening {addr}")?;
    out.flush()
}

/// Lifts the limit of descriptors as far as it goes.
pub fn lift_descriptor_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
