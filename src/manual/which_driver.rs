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
//! machine before you believe them. 100,000 sources were not measured here: the limit of
//! descriptors was 20,000 and could not be lifted, and the bench says that it skips them.
//!
//! An event, from the wait to the end of the read and the re-arm, by how many sources are active:
//!
//! ```text
//! 10 sources               1 active          10 active         empty wait
//!      raw epoll        621 x1.00          384 x1.00          139 x1.00
//!            mio        629 x1.01          384 x1.00          150 x1.08
//!        polling       1744 x2.82          493 x1.29         1226 x8.77
//!          epoll        636 x1.03          388 x1.01          150 x1.06
//!       io_uring        598 x0.96          327 x0.85          6.3 x0.05
//!       portable       2012 x3.23          764 x1.99         1235 x8.81
//!           poll       1788 x2.88          334 x0.87          805 x5.78
//!
//! 1,000 sources            1 active          32 active        1000 active         empty wait
//!      raw epoll        621 x1.00          369 x1.00          361 x1.00          139 x1.00
//!            mio        640 x1.03          371 x1.00          358 x1.00          149 x1.06
//!        polling       1744 x2.80          402 x1.09          361 x1.00         1234 x8.89
//!          epoll        642 x1.03          372 x1.01          362 x1.00          151 x1.08
//!       io_uring        590 x0.95          313 x0.84          307 x0.85          6.4 x0.05
//!       portable       2039 x3.28          704 x1.91          640 x1.77         1238 x8.91
//!           poll     100797 x162.93       2087 x5.65          290 x0.80        56039 x403.67
//!
//! 10,000 sources           1 active          32 active       10000 active         empty wait
//!      raw epoll        642 x1.00          377 x1.00          491 x1.00          144 x1.00
//!            mio        649 x1.01          378 x1.00          480 x0.92          153 x1.06
//!        polling       1808 x2.82          415 x1.10          471 x0.96         1274 x8.97
//!          epoll        653 x1.02          386 x1.02          491 x1.00          152 x1.06
//!       io_uring        617 x0.97          330 x0.88          464 x0.92          6.6 x0.05
//!       portable       2129 x3.37          789 x2.11          845 x1.72         1275 x8.96
//!           poll   1003117 x1607.92      18790 x49.86         994 x2.00      576351 x3978.08
//! ```
//!
//! What can be seen:
//!
//! - An event costs our epoll driver what it costs raw epoll, at any number of sources: one or two
//!   hundredths more with many active, two or three with a single one. There mio, which has no
//!   re-arm, is cheaper by up to two hundredths.
//! - A wait that finds nothing takes some ten nanoseconds more, seven hundredths, and with mio it
//!   is the same. Most of that is the call behind a trait: on this machine each function around a
//!   system call adds six nanoseconds, measured by wrapping raw epoll in more of them. The kernel's
//!   mitigation `Safe RET`, which spoils the prediction of returns, is the likely reason.
//! - `io_uring` takes a seventh less than epoll when many are active (a twelfth with all of
//!   10,000), and some four hundredths less with one. A wait that finds nothing makes no system
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
//!      raw epoll       2244 x1.00        19720 x1.00
//!    raw eventfd       1937 x0.87        19594 x1.03
//!            mio       2250 x1.01        19527 x0.99
//!        polling       3671 x1.62        21513 x1.11
//!          epoll       2250 x1.02        20023 x1.04
//!       io_uring       2232 x1.00        19456 x0.98
//!       portable       3668 x1.65        21156 x1.05
//!           poll       2440 x1.09        20168 x1.01
//!   event center       2113 x0.94        20974 x1.07
//! ```
//!
//! Timers, 100,000 of them pending, without order; beside tokio's wheel, which has milliseconds
//! where the event center has nanoseconds:
//!
//! ```text
//!                            insert             cancel    cancel + insert             expire
//!   event center       16.9 x1.00         14.9 x1.00         31.1 x1.00         87.5 x1.00
//!          tokio       55.7 x3.30         40.3 x2.75         27.6 x0.88         28.0 x0.32
//! ```
//!
//! The wheel is quicker where timers expire, thrice so: it takes those of a millisecond at once,
//! and the heap of the event center one after the other, in their order. It is quicker by an eighth
//! where a timer is moved, too; inserting and cancelling are cheaper in the event center.
//!
//! Posting to a thread that is awake:
//!
//! ```text
//!                              post
//!    raw eventfd        216 x1.00
//!     mpsc + mio        307 x1.43
//!     mpsc alone       13.2 x0.06
//!   event center       16.3 x0.08
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
