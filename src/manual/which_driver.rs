//! Which driver?
//!
//! The default: epoll on Linux, kqueue on macOS and the BSDs. The others are for the cases below.
//!
//! | driver | take it if | not if |
//! |---|---|---|
//! | `epoll` | you run Linux | |
//! | `kqueue` | you run macOS or a BSD | |
//! | `io_uring` | many connections are active at once, on Linux 6.1 or later | a sandbox or the administrator refuses it; epoll runs then, and the log says so |
//! | `portable` | you run Windows or illumos, which have no other | another one is there: each of its events is re-armed by a system call |
//! | `poll` | a sandbox refuses epoll, or there are some dozen sources | there are thousands: what a wait costs grows with their number, ready or not |
//!
//! # Figures
//!
//! By `cargo bench --bench drivers --features io-uring,portable`: two cores of a virtual machine
//! shared with other work, Linux 6.18. Nanoseconds, medians of seven rounds in which all take turns;
//! behind them the ratio to raw epoll, which is the median of the rounds' ratios and steadier than the
//! figures themselves. Measure on your machine before you believe them.
//!
//! An event, from the wait to the end of the read and the re-arm:
//!
//! ```text
//! FIGURES
//! ```
//!
//! What can be seen:
//!
//! - Our epoll driver costs what epoll costs. Its table of sources and the call through a trait object
//!   do not show beside a system call.
//! - `io_uring` needs one call for twenty events where epoll needs none for each, but its events are
//!   cheaper: with 32 active it takes a seventh less. A wait that finds nothing makes no system call
//!   at all. With a single active source there is nothing to gain.
//! - `poll` hands all descriptors to the kernel for each wait: linear, and no more to be said. With
//!   ten sources it is as good as any.
//! - `portable` pays for the one-shot mode, which is the only one that all facilities below it have:
//!   a call for each event, and some for each wait.
//!
//! Waking a thread that waits:
//!
//! ```text
//! WAKES
//! ```
//!
//! Timers, 100,000 of them pending:
//!
//! ```text
//! TIMERS
//! ```
//!
//! # What runs where
//!
//! The contract of drivers has a test per line, run for every driver on Linux (kqueue over a stand-in),
//! for `io_uring` also on Linux 6.1, and for `portable` on Windows under wine. On Linux 5.10 `io_uring`
//! is refused, and epoll rounds its timeouts up to milliseconds. kqueue is compiled for FreeBSD,
//! NetBSD, OpenBSD and macOS, and was not run there.
//!
//! # Which one runs?
//!
//! [`Workers::driver_name`](crate::Workers::driver_name) says it. [`Config::driver`](crate::Config)
//! names the wish; what the system refuses is replaced by the best other driver, with one warning in
//! the log, or is an error if [`Config::driver_strict`](crate::Config) is set. A driver that was not
//! compiled in is always an error. `msgr` and the tests take the name from `EVENT_DRIVER` too.
//!
//! # Completion I/O
//!
//! io_uring is used for readiness only. A transport that leaves reading and writing to the ring
//! (multishot receive with provided buffers, sends in batches) has not been built: measured alone,
//! without a messenger above, it cost as much CPU per message as epoll with reads and writes did.
