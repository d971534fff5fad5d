//! Which backends there are, which of them were compiled in, and how to open one by name.
//!
//! It knows the backends' modules by two items each, `COMPILED` and `open`, and nothing of
//! targets. Used by any thread.

use std::error::Error;
use std::fmt;
use std::io;
use std::str::FromStr;

use crate::{EventDriver, epoll, kqueue, poll};

/// A backend of this crate. All exist as names on every target; [`compiled`](Self::compiled)
/// lists those that can be opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DriverKind {
    /// `epoll(7)`, edge-triggered: Linux and Android.
    Epoll,
    /// `kqueue(2)`, edge-triggered: macOS, iOS and the BSDs.
    Kqueue,
    /// `poll(2)`: every Unix. Its cost grows with the number of sources.
    Poll,
}

impl DriverKind {
    /// All names, best first. A kqueue that only tests use comes last.
    const ALL: [Self; 3] = if cfg!(feature = "kqueue-shim") {
        [Self::Epoll, Self::Poll, Self::Kqueue]
    } else {
        [Self::Epoll, Self::Kqueue, Self::Poll]
    };

    /// Those of [`ALL`](Self::ALL) that are compiled in, and how many they are.
    const COMPILED: ([Self; 3], usize) = {
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

    /// The name, which is also that of the cargo feature.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Kqueue => "kqueue",
            Self::Poll => "poll",
        }
    }

    const fn is_compiled(self) -> bool {
        match self {
            Self::Epoll => epoll::COMPILED,
            Self::Kqueue => kqueue::COMPILED,
            Self::Poll => poll::COMPILED,
        }
    }

    /// Makes a driver of this kind.
    ///
    /// # Errors
    /// `Unsupported` if the backend was not compiled in; otherwise what the system says.
    pub fn open(self) -> io::Result<Box<dyn EventDriver>> {
        if !self.is_compiled() {
            let text = format!(
                "the {self} driver is not compiled in: it needs the cargo feature `{self}` and a \
                 target that has it; compiled: {}",
                names(Self::compiled())
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        match self {
            Self::Epoll => epoll::open(),
            Self::Kqueue => kqueue::open(),
            Self::Poll => poll::open(),
        }
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
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
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
                Err(e) => {
                    assert!(!DriverKind::compiled().contains(&kind));
                    assert_eq!(e.kind(), io::ErrorKind::Unsupported);
                    assert!(e.to_string().contains(&format!("feature `{kind}`")), "{e}");
                }
            }
        }
        assert_eq!(DriverKind::default_for_target(), DriverKind::compiled()[0]);
    }
}
