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
//! shared with other work, Linux 6.18. Nanoseconds, medians of seven rounds in which all take
//! turns; behind them the ratio to raw epoll (of wakes, to a raw eventfd): the median of the
//! rounds' ratios, steadier than the figures themselves, which other work has doubled here and
//! there. Measure on your machine before you believe them. 100,000 sources were not measured here:
//! the limit of descriptors was 20,000, and the bench says that it skips them.
//!
//! An event, from the wait to the end of the read and the re-arm:
//!
//! ```text
//!      10 sources          1 active         10 active        empty wait
//!       raw epoll       583 x1.00         360 x1.00         112 x1.00
//!             mio       569 x0.98         357 x0.99         119 x1.09
//!         polling      1601 x2.64         454 x1.26        1067 x9.61
//!           epoll       590 x1.01         360 x0.99         121 x1.09
//!        io_uring       617 x1.01         326 x0.85           8 x0.06
//!        portable      1791 x3.05         673 x1.89        1105 x9.65
//!            poll      1491 x2.54         282 x0.79         524 x4.64
//!
//!    1000 sources          1 active         32 active       1000 active        empty wait
//!       raw epoll       596 x1.00         353 x1.00         335 x1.00         115 x1.00
//!             mio       593 x1.03         413 x0.97         384 x1.16         122 x1.06
//!         polling      1554 x2.60         401 x1.11         339 x1.00        1209 x9.75
//!           epoll       601 x1.02         346 x1.01         337 x1.00         253 x1.10
//!        io_uring      1062 x1.14         302 x0.84         557 x0.84           8 x0.06
//!        portable      1843 x3.16         651 x1.85         565 x1.68        1093 x9.53
//!            poll     47186 x81.14       1245 x3.44         235 x0.68       28844 x260.27
//!
//!   10000 sources          1 active         32 active      10000 active        empty wait
//!       raw epoll       918 x1.00         352 x1.00         645 x1.00         149 x1.00
//!             mio      1177 x1.57         354 x0.98         697 x1.07         188 x1.41
//!         polling      1552 x2.45         398 x1.09         364 x0.69        1952 x11.64
//!           epoll       599 x0.97         367 x0.99         818 x0.90         257 x1.51
//!        io_uring      1214 x1.02         293 x0.85         599 x1.10          14 x0.10
//!        portable      1816 x2.00         678 x1.91         830 x1.18        1077 x7.11
//!            poll    319776 x358.70     14999 x31.88       1186 x1.61      551743 x4093.87
//! ```
//!
//! What can be seen:
//!
//! - Our epoll driver costs what epoll costs for each event. An empty wait takes some ten
//!   nanoseconds more, as that of mio does.
//! - `io_uring` takes a seventh less than epoll with 32 active. A wait that finds nothing makes no
//!   system call at all. With a single active source there is nothing to gain, and with all of very
//!   many the advantage is lost in what the memory costs.
//! - `poll` hands all descriptors to the kernel for each wait: linear, and no more to be said. With
//!   ten sources it is as good as any.
//! - `portable` pays for the one-shot mode, which is the only one that all facilities below it
//!   have: a call for each event, and some for each wait.
//!
//! Waking a thread that waits:
//!
//! ```text
//!     raw eventfd      3463 x1.00
//!       raw epoll      3933 x0.97
//!             mio      4108 x1.12
//!         polling      7558 x2.18
//!           epoll      2584 x0.78
//!        io_uring      6203 x1.45
//!        portable      8303 x2.41
//!            poll      6397 x1.99
//! ```
//!
//! Timers, 100,000 of them pending:
//!
//! ```text
//!                    insert   cancel + insert    expire
//!    event center      16.3              43.8      65.1
//!           tokio      40.2              30.8      27.4
//! ```
//!
//! # What runs where
//!
//! The contract of drivers has a test per line, run for every driver on Linux (kqueue over a
//! stand-in), for `epoll`, `io_uring`, `portable` and `poll` also on Linux 5.10 and 6.1, and for
//! `portable` on Windows under wine, where messengers were run, too. On Linux 5.10 `io_uring` is
//! refused, and epoll rounds its timeouts up to milliseconds. kqueue is compiled and linked for
//! FreeBSD, NetBSD, OpenBSD and macOS, and was not run there.
//!
//! # Which one runs?
//!
//! [`Workers::driver_name`](crate::Workers::driver_name) says it. [`Config::driver`](crate::Config)
//! names the wish; what the system refuses is replaced by the best other driver, with one warning
//! in the log, or is an error if [`Config::driver_strict`](crate::Config) is set. A driver that was
//! not compiled in is always an error. `msgr` and the tests take the name from `EVENT_DRIVER` too.
//!
//! # Completion I/O
//!
//! io_uring is used for readiness only. A transport that leaves reading and writing to the ring
//! (multishot receive with provided buffers, sends in batches) has not been built. An early
//! measurement, without a messenger above, found as much CPU per message as with epoll, reads and
//! writes.
