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
//! ```text
//! cargo run --release --features bench,io-uring,portable -- bench drivers --report DIR
//! ```
//!
//! Two cores of a virtual machine (AMD EPYC, Linux 6.18) with nothing else to do. Nanoseconds,
//! medians of 21 rounds (`--rounds 21`) in which all take turns on one processor; behind them the
//! ratio to the raw facility: the median of the rounds' ratios. `--report` writes them with plots;
//! `cargo bench --bench drivers --features bench,io-uring,portable` is the same. Measure on your
//! machine before you believe them.
//!
//! An event, from the wait to the end of the read and the re-arm, where there is one, by how many
//! sources are active; a wait that finds nothing; and the end of the driver, for each source. Of
//! the 100,000 sources, 9,900 could be active: there may be 20,000 descriptors here. The others are
//! known to epoll, which tells sources apart by number and file, by numbers with ten files each.
//!
//! ```text
//! 10 sources             1 active       10 active      empty wait           close
//!     raw epoll         665 x1.00       414 x1.00       149 x1.00       896 x1.00
//!           mio         670 x1.01       413 x1.00       150 x1.01       653 x0.81
//!       polling        1830 x2.74       527 x1.28      1290 x8.62      1397 x1.63
//!         epoll         653 x0.99       410 x0.99       142 x0.95       869 x1.03
//!      io_uring         617 x0.92       348 x0.85       6.4 x0.04      4702 x5.14
//!      portable        2145 x3.21       802 x1.94      1312 x8.79      1656 x1.96
//!          poll        1913 x2.87       361 x0.87       862 x5.79       328 x0.44
//!
//! 1,000 sources          1 active       32 active     1000 active      empty wait           close
//!     raw epoll         666 x1.00       395 x1.00       385 x1.00       151 x1.00       560 x1.00
//!           mio         671 x1.01       396 x1.00       384 x1.00       149 x1.00       543 x0.99
//!       polling        1843 x2.77       434 x1.10       388 x1.01      1317 x8.76       752 x1.32
//!         epoll         662 x0.99       395 x1.01       385 x1.00       149 x0.99       590 x1.07
//!      io_uring         624 x0.94       340 x0.86       332 x0.87       6.5 x0.04       632 x1.14
//!      portable        2190 x3.31       747 x1.89       682 x1.76      1339 x8.90       750 x1.36
//!          poll       100281 x150      2199 x5.59       308 x0.80      58905 x391      20.0 x0.03
//!
//! 10,000 sources         1 active       32 active    10000 active      empty wait           close
//!     raw epoll         678 x1.00       409 x1.00       597 x1.00       152 x1.00       906 x1.00
//!           mio         680 x1.01       406 x1.00       594 x1.01       153 x1.00       918 x1.00
//!       polling        1877 x2.77       445 x1.09       598 x1.01      1340 x8.77      1030 x1.14
//!         epoll         674 x0.99       409 x1.00       600 x1.01       147 x0.97       936 x1.02
//!      io_uring         636 x0.94       357 x0.88       682 x1.15       7.0 x0.05       579 x0.64
//!      portable        2267 x3.33       843 x2.06       980 x1.66      1342 x8.79      1020 x1.13
//!          poll     1391103 x2022    21244 x51.69      1073 x1.78    620574 x4078      17.9 x0.02
//!
//! 100,000 sources        1 active       32 active     9900 active      empty wait           close
//!     raw epoll         681 x1.00       409 x1.00       617 x1.00       153 x1.00       647 x1.00
//!           mio         682 x1.00       409 x1.00       618 x0.99       154 x1.00       650 x1.01
//!         epoll         668 x0.98       405 x0.99       622 x1.01       145 x0.94       648 x1.00
//! ```
//!
//! The same in instructions, the kernel's included, by a virtual machine that takes a nanosecond
//! for each (Linux 6.12), and has no limit of descriptors; caches do not count:
//!
//! ```text
//! VM_COUNT=1 VM_TIMEOUT=3600 .ci/kernel 6.12 MSGR bench drivers events --rounds 1
//!                              # MSGR: built with RUSTFLAGS=-Ctarget-feature=+crt-static --target …
//! ```
//!
//! ```text
//! 10,000 sources         1 active       32 active    10000 active      empty wait           close
//!     raw epoll        2030 x1.00      1252 x1.00      1228 x1.00       537 x1.00       957 x1.00
//!           mio        2028 x1.00      1251 x1.00      1228 x1.00       536 x1.00       957 x1.00
//!       polling        5548 x2.73      1370 x1.09      1239 x1.01      4314 x8.03      1516 x1.58
//!         epoll        2064 x1.02      1272 x1.02      1248 x1.02       518 x0.96       972 x1.02
//!      io_uring        2232 x1.10      1322 x1.06      2112 x1.72       152 x0.28      1648 x1.72
//!      portable        6564 x3.23      2306 x1.84      2174 x1.77      4392 x8.18      1529 x1.60
//!          poll      1640968 x808    55452 x44.29      3430 x2.79   1487937 x2771      29.4 x0.03
//!
//! 100,000 sources        1 active       32 active   100000 active      empty wait           close
//!     raw epoll        2030 x1.00      1252 x1.00      1228 x1.00       537 x1.00      1056 x1.00
//!           mio        2028 x1.00      1251 x1.00      1228 x1.00       536 x1.00      1060 x1.00
//!       polling        5409 x2.66      1365 x1.09      1239 x1.01      4173 x7.77      1616 x1.53
//!         epoll        2064 x1.02      1272 x1.02      1248 x1.02       518 x0.96      1075 x1.02
//!      io_uring        2231 x1.10      1320 x1.05      2655 x2.16       151 x0.28      3802 x3.60
//!      portable        6453 x3.18      2325 x1.86      2198 x1.79      4251 x7.92      1622 x1.54
//!          poll   22038574 x10856     563201 x450    16939 x13.80 15445950 x28765      10.5 x0.01
//! ```
//!
//! Nothing grows between the two but poll, and io_uring when more complete at once than its queue
//! takes, or when so many requests end. Our epoll driver takes 20 to 36 instructions more for an
//! event than raw epoll and mio, which give the kernel's own record, and 19 less for an empty wait.
//!
//! What can be seen:
//!
//! - An event costs our epoll driver what it costs raw epoll and mio, at any number of sources: in
//!   four runs like this one, ours took 0.98 to 1.01 of mio's time for an event, and 0.96 to 0.98
//!   for a wait that finds nothing.
//! - That wait is the bare system call on x86-64: the C library's wrapper, which raw epoll and mio
//!   have here, lets the thread be cancelled meanwhile.
//! - `io_uring` takes a seventh less than epoll when 32 to 1,000 are active, and some six
//!   hundredths less with one. With all of 10,000 it depends on what else is in the caches, as its
//!   requests are larger: 0.84 to 1.16 from hour to hour. A wait that finds nothing makes no system
//!   call at all.
//! - `poll` hands all descriptors to the kernel for each wait: its cost is linear in their number,
//!   some 55 ns for each, ready or not. It wins where all of up to a thousand are active.
//! - `portable` pays for the one-shot mode, which is the only one that all facilities below it
//!   have: a call for each event, and some for each wait.
//!
//! Waking a thread that waits, with both threads on one processor and on two. `raw eventfd` is a
//! thread that can wait for nothing else; `event center` posts an event and delivers it. Between
//! two processors it is the virtual machine that is measured.
//!
//! ```text
//!                     one processor     two processors
//!      raw epoll       2378 x1.00        23957 x1.00
//!    raw eventfd       2073 x0.87        22586 x0.94
//!            mio       2392 x1.01        23131 x0.98
//!        polling       3879 x1.63        24442 x1.04
//!          epoll       2389 x1.00        23527 x0.93
//!       io_uring       2349 x0.99        22415 x0.94
//!       portable       3916 x1.64        24712 x1.04
//!           poll       2615 x1.10        25267 x1.01
//!   event center       2243 x0.96        24790 x1.00
//! ```
//!
//! Timers, 100,000 of them pending, without order; beside tokio's wheel, which has milliseconds
//! where the event center has nanoseconds:
//!
//! ```text
//!                            insert             cancel    cancel + insert             expire
//!   event center       13.0 x1.00         10.2 x1.00         22.9 x1.00          157 x1.00
//!          tokio       54.8 x4.19         43.5 x4.17         27.9 x1.25         33.7 x0.22
//! ```
//!
//! The wheel is quicker where timers expire, thrice or more: it takes those of a millisecond at
//! once, and the heap of the event center one after the other, in their order, from all over its
//! memory: 76 to 157 ns from hour to hour. All else is cheaper in the event center.
//!
//! Posting to a thread that is awake:
//!
//! ```text
//!                              post
//!    raw eventfd        234 x1.00
//!     mpsc + mio        325 x1.39
//!     mpsc alone       13.8 x0.06
//!   event center       17.0 x0.07
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
//! (multishot receive with provided buffers, sends in batches, without copies for large data) was
//! tried without a messenger above, beside the same loop over epoll: as much CPU time per message
//! within 4 % for few connections up to 64 KiB, 12 % more at 1 MiB, 5 to 9 % less in some cases
//! with many connections. That is no reason to have it; the table, the commands and what would
//! change the decision are in `benches/README.md`.
