#![doc = include_str!("../README.md")]
//!
//! # The contract
//!
//! Each line is checked for every compiled backend by `tests/conformance`; the test is named
//! after the label. An *armed* direction is one that was asked for by
//! [`add`](EventDriver::add) or [`rearm`](EventDriver::rearm), and not disarmed since.
//!
//! | label | the driver's promise |
//! |---|---|
//! | `ready_on_add` | A source that is ready when it is added gives an event for each ready direction of its interest. |
//! | `ready_on_rearm` | After [`rearm`](EventDriver::rearm), activity in a re-armed direction gives an event, also if it happened before the call. |
//! | `interest_only` | Only armed directions are reported, except that trouble sets what the lines `hup_reads` and `err_both` say. |
//! | `keeps_armed` | Where [`keeps_armed`](EventDriver::keeps_armed) says so, an armed direction gives an event for each new activity, re-armed or not. |
//! | `disarm` | A disarmed direction gives no event until it is re-armed; what happened meanwhile is reported then. |
//! | `spurious` | A direction may be reported again without a `rearm`; handlers tolerate it by trying and getting `WouldBlock`. Without new activity the repetition ends, also that of trouble: nobody spins. |
//! | `merged` | A token appears at most once in what one `wait` returns. |
//! | `hup_reads` | `HUP` comes with `READ` and means: read to the end of file, whatever the length of a transfer says. The peer's end is reported while `READ` is armed: as `HUP`, or as mere `READ` where the facility does not tell it from data. |
//! | `err_both` | `ERR` sets both directions, so whoever waits learns of the failure by its next transfer; it is reported while any direction is armed. The error itself (`SO_ERROR`) is left to the owner. |
//! | `round_up` | A timeout is rounded up, never down: `wait` without events does not return before it has passed. |
//! | `saturate` | A timeout too long for the system, [`Duration::MAX`] too, waits as long as the system can; the caller sees an early, empty return. |
//! | `eintr` | A wait that a signal interrupts returns no events and no error, or goes on (`portable`, which is not told). |
//! | `add_twice` | Adding a token whose slot is in use is `AlreadyExists`, also if its generation is another one; so is adding a descriptor that is registered already. |
//! | `unknown` | `rearm`, `disarm` and `delete` of a token that is not registered, or of an older generation, are `NotFound`. |
//! | `owns_fd` | The driver holds the descriptor until `delete`, so its number cannot be reused under it; events of a deleted token are never returned, even if they were pending. |
//! | `bad_source` | [`Source::Virtual`] on a kernel driver is `Unsupported`; a slot beyond [`SLOTS_MAX`] is `InvalidInput`; a descriptor that the facility refuses (a regular file on epoll) is that facility's error, and nothing stays registered. |
//! | `moved` | A driver may go from one thread to another between its calls; nothing armed is lost. |
//! | `wake` | A wake from any thread ends the current `wait`, or the next one if none is running; it is never lost, and it is never an event. |
//! | `coalesce` | Any number of wakes before a `wait` ends one `wait`. |
//! | `bounded` | One `wait` returns at most [`EVENTS_PER_WAIT`] events; the others come in later ones, and no ready source is passed over for ever. |
//! | `fork` | After `fork` the child's calls are refused as `Unsupported`, and its wakes do nothing: a queue that is shared with the parent would steal the parent's events. |
//!
//! The owner's side of the contract: a direction is re-armed after a transfer in it returned
//! `WouldBlock` or fewer bytes than asked for, and not before; until then it counts as still ready.
//! This "delivered, then re-armed" rule is what edge-triggered, one-shot and completion-based
//! facilities have in common, so each backend can use its cheapest form. An owner that remembers
//! what it has armed may leave the call out where the driver `keeps_armed`.

#![deny(unsafe_op_in_unsafe_fn)]

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(windows)]
use std::os::windows::io::OwnedSocket;

mod absent;
mod kind;
mod waker;

pub use kind::{DriverKind, UnknownDriver};
pub use waker::Waker;

cfg_if::cfg_if! {
    if #[cfg(unix)] {
        pub mod sock;

        mod bell;
        mod fork;
        #[path = "handle/fd.rs"]
        mod handle;
        mod table;
        mod time;
    } else if #[cfg(windows)] {
        pub mod sock;

        mod fork_none;
        use fork_none as fork;
        #[path = "handle/socket.rs"]
        mod handle;
        mod table;
    }
}

// Each backend is its module, or `absent` in its place: no other code knows of targets.
cfg_if::cfg_if! {
    if #[cfg(all(feature = "epoll", any(target_os = "linux", target_os = "android")))] {
        mod epoll;
    } else {
        use absent as epoll;
    }
}
cfg_if::cfg_if! {
    if #[cfg(all(feature = "kqueue", any(
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
    )))] {
        use nix::libc as kqueue_sys;
        mod kqueue;
    } else if #[cfg(all(feature = "kqueue-shim", target_os = "linux"))] {
        #[doc(hidden)]
        pub mod kqueue_shim;
        use kqueue_shim as kqueue_sys;
        mod kqueue;
    } else {
        use absent as kqueue;
    }
}
cfg_if::cfg_if! {
    if #[cfg(all(feature = "io-uring", target_os = "linux", any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
    )))] {
        mod uring;
    } else {
        use absent as uring;
    }
}
cfg_if::cfg_if! {
    if #[cfg(all(feature = "poll", unix))] {
        mod poll;
    } else {
        use absent as poll;
    }
}
cfg_if::cfg_if! {
    if #[cfg(all(feature = "portable", any(unix, windows)))] {
        mod portable;
    } else {
        use absent as portable;
    }
}

#[cfg(all(feature = "bench", unix))]
#[doc(hidden)]
pub mod rival;

const _: () = assert!(
    !DriverKind::compiled().is_empty(),
    "event-driver has no backend for this target: turn on the feature `epoll` (Linux, Android), \
     `kqueue` (macOS, iOS, the BSDs), `poll` (every Unix) or `portable` (Windows too)",
);

/// The most events that one [`EventDriver::wait`] returns.
pub const EVENTS_PER_WAIT: usize = 1024;

/// The bound of [`Token::slot`]: slots are below it.
pub const SLOTS_MAX: u32 = 1 << 24;

/// Names a registered source: a slot of the owner's table and the generation of its content.
///
/// A driver returns tokens as they were given to [`EventDriver::add`]. The generation lets the
/// owner recognise an event of a source that has left the slot meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Token {
    /// Index in the owner's table, below [`SLOTS_MAX`]. Drivers keep an array by slot, so slots
    /// should be small numbers.
    pub slot: u32,
    /// Which of the slot's successive tenants is meant.
    pub generation: u32,
}

impl Token {
    /// The token as one word, for the kernel to keep.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The inverse of [`to_u64`](Self::to_u64).
    #[must_use]
    pub const fn from_u64(word: u64) -> Self {
        Self {
            slot: word as u32,
            generation: (word >> 32) as u32,
        }
    }
}

macro_rules! flag_set {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $flag:ident = $bit:expr),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(u8);

        impl $name {
            /// No flag.
            pub const NONE: Self = Self(0);
            $($(#[$fmeta])* pub const $flag: Self = Self($bit);)+

            /// Whether all flags of `other` are set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether no flag is set.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// These flags without those of `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The flags of both.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl std::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                self.with(other)
            }
        }

        impl std::ops::BitOrAssign for $name {
            fn bitor_assign(&mut self, other: Self) {
                *self = self.with(other);
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut names = Vec::new();
                $(if Self::$flag.0.is_power_of_two() && self.contains(Self::$flag) {
                    names.push(stringify!($flag));
                })+
                write!(f, "{}({})", stringify!($name), names.join("|"))
            }
        }
    };
}

flag_set! {
    /// The directions an owner wants to hear of.
    Interest {
        /// Data, a connection to accept, or the end of the stream.
        READ = 1,
        /// Room to send, or a finished connect.
        WRITE = 2,
        /// Both directions.
        BOTH = 3,
    }
}

flag_set! {
    /// What a source is ready for.
    Readiness {
        /// A read would not block: data, a connection, end of file, or an error to fetch.
        READ = 1,
        /// A write would not block, or a connect has finished.
        WRITE = 2,
        /// The peer has closed at least its sending half. Comes with `READ`.
        HUP = 4,
        /// The source has failed. Comes with `READ` and `WRITE`.
        ERR = 8,
    }
}

/// One source that became ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The token under which the source was added.
    pub token: Token,
    /// What it is ready for.
    pub ready: Readiness,
}

/// What a driver can watch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// A file descriptor. The driver shares its ownership, so that the number stays taken until
    /// the source is deleted.
    #[cfg(unix)]
    Fd(Arc<OwnedFd>),
    /// A socket, shared in the same way.
    #[cfg(windows)]
    Socket(Arc<OwnedSocket>),
    /// A source that only the transport which made it, and the driver that belongs to this
    /// transport, understand: a simulated socket, for example. Kernel drivers refuse it.
    Virtual(u64),
}

/// A readiness backend, used by one thread at a time.
///
/// The [crate page](crate) states the contract line by line.
pub trait EventDriver: Send {
    /// The name for logs and tables, such as `epoll`.
    fn name(&self) -> &'static str;

    /// Starts watching `source` for `interest` and reports it as `token`.
    ///
    /// # Errors
    /// `AlreadyExists` if the slot or the descriptor is registered; `Unsupported` for a kind of
    /// source the driver does not know; otherwise what the system says (`EMFILE`, `ENOMEM`,
    /// `EPERM` for a file that cannot be watched). After an error nothing is registered.
    fn add(&mut self, source: Source, token: Token, interest: Interest) -> io::Result<()>;

    /// Asks for the next event of each direction in `interest`, in addition to those that are
    /// armed already. Directions that the source was not added for join its interest.
    ///
    /// # Errors
    /// `NotFound` if the token is not registered; otherwise what the system says.
    fn rearm(&mut self, token: Token, interest: Interest) -> io::Result<()>;

    /// Whether directions stay armed when they are delivered, until they are disarmed: then
    /// [`rearm`](Self::rearm) does nothing for those that are armed, and need not be called.
    fn keeps_armed(&self) -> bool {
        false
    }

    /// Stops events of each direction in `interest` until it is re-armed.
    ///
    /// # Errors
    /// `NotFound` if the token is not registered; otherwise what the system says.
    fn disarm(&mut self, token: Token, interest: Interest) -> io::Result<()>;

    /// Stops watching. Pending events of the token are dropped.
    ///
    /// # Errors
    /// `NotFound` if the token is not registered.
    fn delete(&mut self, token: Token) -> io::Result<()>;

    /// Clears `out`, then waits until a source is ready, a [`Waker`] is used or `timeout` has
    /// passed (`None`: without limit), and fills `out`.
    ///
    /// # Errors
    /// What the system says; an interruption by a signal is not an error.
    fn wait(&mut self, out: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()>;

    /// A handle that ends a `wait` from any thread. All handles of one driver are equal.
    fn waker(&self) -> Waker;
}
