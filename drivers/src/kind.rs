//! Which backends there are, which of them were compiled in, and how to open one by name.
//!
//! It knows the backends' modules by two items each, `COMPILED` and `open`, and nothing of
//! targets. Used by any thread.

use std::error::Error;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Once;

use crate::{EventDriver, epoll, kqueue, poll, portable, uring};

/// A backend of this crate. All exist as names on every target; [`compiled`](Self::compiled)
/// lists those that can be opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DriverKind {
    /// `epoll(7)`, edge-triggered: Linux and Android.
    Epoll,
    /// `kqueue(2)`, edge-triggered: macOS, iOS and the BSDs.
    Kqueue,
    /// `io_uring(7)`, readiness by multishot polls: Linux 6.1 and later, where it is allowed.
    IoUring,
    /// What the crate `polling` has for the target: event ports on illumos, IOCP on Windows.
    Portable,
    /// `poll(2)`: every Unix. Its cost grows with the number of sources.
    Poll,
}

impl DriverKind {
    /// All names, best first. A kqueue that only tests use comes last.
    const ALL: [Self; 5] = {
        use DriverKind::{Epoll, IoUring, Kqueue, Poll, Portable};
        if cfg!(feature = "kqueue-shim") {
            [Epoll, IoUring, Portable, Poll, Kqueue]
        } else {
            [Epoll, Kqueue, IoUring, Portable, Poll]
        }
    };

    /// Those of [`ALL`](Self::ALL) that are compiled in, and how many they are.
    const COMPILED: ([Self; 5], usize) = {
        let mut list = Self::ALL;
        let mut count = 0;
        let mut i = 0;
        while i < list.len() {
            if Self::ALL[i].is_compiled() {
                list[count] = Self::ALL[i];
                count += 1;
            }
            i += 1;
        }
        (list, count)
    };

    /// The backends that were compiled in, best first; never empty.
    #[must_use]
    pub const fn compiled() -> &'static [Self] {
        const { Self::COMPILED.0.split_at(Self::COMPILED.1).0 }
    }

    /// The best backend that was compiled in.
    #[must_use]
    pub const fn default_for_target() -> Self {
        Self::compiled()[0]
    }

    /// The name. That of the cargo feature is the same, but for `io-uring`, which is taken as well.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Kqueue => "kqueue",
            Self::IoUring => "io_uring",
            Self::Portable => "portable",
            Self::Poll => "poll",
        }
    }

    const fn feature(self) -> &'static str {
        match self {
            Self::IoUring => "io-uring",
            other => other.name(),
        }
    }

    const fn is_compiled(self) -> bool {
        match self {
            Self::Epoll => epoll::COMPILED,
            Self::Kqueue => kqueue::COMPILED,
            Self::IoUring => uring::COMPILED,
            Self::Portable => portable::COMPILED,
            Self::Poll => poll::COMPILED,
        }
    }

    /// Makes a driver of this kind, and of no other.
    ///
    /// # Errors
    /// `Unsupported` if the backend was not compiled in, or the system does not have or allow it;
    /// otherwise what the system says.
    pub fn open(self) -> io::Result<Box<dyn EventDriver>> {
        if !self.is_compiled() {
            let text = format!(
                "the {self} driver is not compiled in: it needs the cargo feature `{}` and a \
                 target that has it; compiled: {}",
                self.feature(),
                names(Self::compiled())
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        match self {
            Self::Epoll => epoll::open(),
            Self::Kqueue => kqueue::open(),
            Self::IoUring => uring::open(),
            Self::Portable => portable::open(),
            Self::Poll => poll::open(),
        }
    }

    /// Makes a driver of this kind or, if this system has not got it or does not allow it, of the
    /// best other one that was compiled in. The first time, one line of the log says which driver
    /// runs and why. What a driver is says its [`name`](EventDriver::name).
    ///
    /// # Errors
    /// That of [`open`](Self::open) if the kind was not compiled in, if the failure is another one
    /// (no descriptor is left, for example), or if no other driver can be opened either.
    pub fn open_or_fallback(self) -> io::Result<Box<dyn EventDriver>> {
        let refusal = match self.open() {
            Err(e) if e.kind() == io::ErrorKind::Unsupported && self.is_compiled() => e,
            other => return other,
        };
        let others = Self::compiled().iter().filter(|kind| **kind != self);
        let Some(driver) = others.map(|kind| kind.open()).find_map(Result::ok) else {
            return Err(refusal);
        };
        let runs = driver.name();
        static SAID: Once = Once::new();
        SAID.call_once(|| tracing::warn!("the {self} driver cannot run, {runs} does: {refusal}"));
        Ok(driver)
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DriverKind {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Self, UnknownDriver> {
        let known = Self::ALL
            .into_iter()
            .find(|kind| [kind.name(), kind.feature()].contains(&name));
        known.ok_or_else(|| UnknownDriver(name.to_owned()))
    }
}

/// A text that names no [`DriverKind`]. Its message lists the names there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownDriver(String);

impl fmt::Display for UnknownDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name) = self;
        let all = names(&DriverKind::ALL);
        let compiled = names(DriverKind::compiled());
        write!(
            f,
            "no event driver is named `{name}`; there are {all}; compiled in: {compiled}"
        )
    }
}

impl Error for UnknownDriver {}

fn names(kinds: &[DriverKind]) -> String {
    kinds
        .iter()
        .map(|kind| kind.name())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for kind in DriverKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(kind.feature().parse(), Ok(kind));
            assert_eq!(kind.to_string(), kind.name());
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let text = "select".parse::<DriverKind>().unwrap_err().to_string();
        for kind in DriverKind::ALL {
            assert!(text.contains(kind.name()), "{text}");
        }
    }

    #[test]
    fn what_is_compiled_opens_and_the_rest_names_its_feature() {
        for kind in DriverKind::ALL {
            match kind.open() {
                Ok(driver) => {
                    assert!(DriverKind::compiled().contains(&kind));
                    assert_eq!(driver.name(), kind.name());
                }
                Err(e) if DriverKind::compiled().contains(&kind) => {
                    // Not every kernel has it, and not every sandbox allows it.
                    assert_eq!(
                        (kind, e.kind()),
                        (DriverKind::IoUring, io::ErrorKind::Unsupported)
                    );
                    println!("skipped: {kind}: {e}");
                }
                Err(e) => {
                    assert_eq!(e.kind(), io::ErrorKind::Unsupported);
                    let feature = format!("feature `{}`", kind.feature());
                    assert!(e.to_string().contains(&feature), "{e}");
                }
            }
        }
        assert_eq!(DriverKind::default_for_target(), DriverKind::compiled()[0]);
    }
}
