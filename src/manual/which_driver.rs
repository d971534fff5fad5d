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
//! medians of seven rounds in which all take turns on one processor; behind them the ratio to the
//! raw facility: the median of the rounds' ratios. `--report` writes them with plots;
//! `cargo bench --bench drivers --features bench,io-uring,portable` is the same. Measure on your
//! machine before you believe them. 100,000 sources were not timed here: the limit of descriptors
//! was 20,000 and could not be lifted, and the bench says that it skips them. Their instructions
//! were counted instead; see below.
//!
//! An event, from the wait to the end of the read and the re-arm, by how many sources are active:
//!
//! ```text
//! 10 sources               1 active          10 active         empty wait
//!      raw epoll        633 x1.00          394 x1.00          140 x1.00
//!            mio        629 x0.99          391 x0.99          141 x1.00
//!        polling       1742 x2.74          502 x1.27         1232 x8.73
//!          epoll        634 x1.00          395 x1.00          147 x1.05
//!       io_uring        591 x0.93          336 x0.85          6.2 x0.04
//!       portable       2026 x3.22          768 x1.95         1236 x8.80
//!           poll       1816 x2.87          344 x0.88          821 x5.85
//!
//! 1,000 sources            1 active          32 active        1000 active         empty wait
//!      raw epoll        628 x1.00          376 x1.00          367 x1.00          141 x1.00
//!            mio        633 x1.01          376 x1.00          369 x1.01          141 x1.01
//!        polling       1763 x2.78          414 x1.10          370 x1.01         1235 x8.78
//!          epoll        642 x1.02          380 x1.01          372 x1.02          144 x1.02
//!       io_uring        590 x0.93          326 x0.87          319 x0.87          6.2 x0.04
//!       portable       2071 x3.29          713 x1.90          640 x1.75         1251 x8.88
//!           poll     115921 x186.19       2081 x5.54          294 x0.80        55521 x393.83
//!
//! 10,000 sources           1 active          32 active       10000 active         empty wait
//!      raw epoll        651 x1.00          388 x1.00          498 x1.00          144 x1.00
//!            mio        641 x0.99          387 x1.00          463 x0.94          143 x1.00
//!        polling       1792 x2.77          423 x1.09          435 x0.97         1258 x8.88
//!          epoll        654 x1.01          394 x1.01          445 x0.95          147 x1.02
//!       io_uring        605 x0.93          336 x0.86          422 x0.84          6.3 x0.04
//!       portable       2163 x3.34          812 x2.07          870 x1.74         1279 x8.86
//!           poll    1460514 x2239.05     19681 x50.61         859 x1.78       574470 x3998.34
//! ```
//!
//! The same in instructions, the kernel's included, by a virtual machine that takes a nanosecond
//! for each (Linux 6.12); they do not depend on the machine, and caches do not count:
//!
//! ```text
//! VM_COUNT=1 VM_TIMEOUT=3600 .ci/kernel 6.12 MSGR bench drivers events --rounds 1
//!                              # MSGR: built with RUSTFLAGS=-Ctarget-feature=+crt-static --target …
//!
//! 10,000 sources           1 active          32 active       10000 active         empty wait
//!      raw epoll       2023 x1.00         1247 x1.00         1222 x1.00          537 x1.00
//!            mio       2024 x1.00         1247 x1.00         1222 x1.00          536 x1.00
//!        polling       5493 x2.71         1363 x1.09         1233 x1.01         4265 x7.94
//!          epoll       2101 x1.04         1316 x1.06         1291 x1.06          548 x1.02
//!       io_uring       2226 x1.10         1316 x1.06         2103 x1.72          152 x0.28
//!       portable       6508 x3.22         2294 x1.84         2164 x1.77         4343 x8.09
//!           poll    1650543 x815.75      55772 x44.74        3420 x2.80     1467924 x2733.58
//!
//! 100,000 sources          1 active          32 active      100000 active         empty wait
//!      raw epoll       2029 x1.00         1253 x1.00         1228 x1.00          537 x1.00
//!            mio       2029 x1.00         1252 x1.00         1228 x1.00          536 x1.00
//!        polling       5553 x2.74         1370 x1.09         1239 x1.01         4317 x8.04
//!          epoll       2107 x1.04         1320 x1.05         1297 x1.06          548 x1.02
//!       io_uring       2229 x1.10         1319 x1.05         2653 x2.16          151 x0.28
//!       portable       6568 x3.24         2327 x1.86         2195 x1.79         4395 x8.18
//!           poll   21986993 x10833.75   561525 x448.24      16969 x13.82   15442901 x28754.13
//! ```
//!
//! Nothing grows between the two but poll, and io_uring when more complete at once than its queue
//! takes. Our epoll driver's 70 instructions for an event are its table and the re-arm.
//!
//! What can be seen:
//!
//! - An event costs our epoll driver what it costs raw epoll, at any number of sources, or one or
//!   two hundredths more. mio, which has no re-arm, is cheaper by one or two hundredths.
//! - A wait that finds nothing takes two to five hundredths more. It is the bare system call on
//!   x86-64: the C library's wrapper, which raw epoll and mio have here, lets the thread be
//!   cancelled meanwhile, and costs as much as what is around ours.
//! - `io_uring` takes a seventh less than epoll when many are active, and some seven hundredths less
//!   with one. A wait that finds nothing makes no system call at all.
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
//!      raw epoll       2257 x1.00        22142 x1.00
//!    raw eventfd       1977 x0.87        21017 x0.96
//!            mio       2289 x1.01        21914 x0.97
//!        polling       3743 x1.66        23295 x1.06
//!          epoll       2291 x1.01        21958 x1.00
//!       io_uring       2256 x0.99        19816 x0.93
//!       portable       3761 x1.64        22990 x1.04
//!           poll       2488 x1.09        21999 x0.99
//!   event center       2113 x0.93        22358 x1.01
//! ```
//!
//! Timers, 100,000 of them pending, without order; beside tokio's wheel, which has milliseconds
//! where the event center has nanoseconds:
//!
//! ```text
//!                            insert             cancel    cancel + insert             expire
//!   event center       12.9 x1.00         10.1 x1.00         21.7 x1.00         77.2 x1.00
//!          tokio       54.4 x4.34         42.7 x4.57         27.3 x1.26         45.2 x0.37
//! ```
//!
//! The wheel is quicker where timers expire, twice or thrice so: it takes those of a millisecond at
//! once, and the heap of the event center one after the other, in their order. All else is cheaper
//! in the event center.
//!
//! Posting to a thread that is awake:
//!
//! ```text
//!                              post
//!    raw eventfd        222 x1.00
//!     mpsc + mio        310 x1.40
//!     mpsc alone       13.4 x0.06
//!   event center       16.5 x0.07
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
