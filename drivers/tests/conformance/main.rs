//! The contract of `EventDriver`, line by line, for every backend that is compiled in.
//!
//! Each label of the crate page's table is a test in the module of each backend, so that a
//! failure reads `epoll::round_up`. The tests of [`ceph`] are those that Ceph has for its
//! drivers, and those of [`load`] say that the promises hold for many.
#![cfg(any(unix, windows))]
#![allow(missing_docs, unreachable_pub)]

mod ceph;
mod contract;
mod load;
mod support;
#[cfg(unix)]
mod unix;
mod waking;

/// One test for each function and the given backend.
macro_rules! suite {
    ($kind:ident: $($file:ident { $($test:ident),+ $(,)? })+) => {
        $($(
            #[test]
            fn $test() {
                let kind = event_driver::DriverKind::$kind;
                if crate::support::is_there(kind) {
                    crate::$file::$test(kind);
                }
            }
        )+)+
    };
}

/// Those that only Unix has.
#[cfg(unix)]
macro_rules! unix_tests {
    ($kind:ident) => {
        suite! { $kind:
            unix { err_both_of_pipes, files, stale_tokens, eintr, fork }
        }
    };
}

#[cfg(windows)]
macro_rules! unix_tests {
    ($kind:ident) => {};
}

/// All of them for one backend.
macro_rules! all_tests {
    ($kind:ident) => {
        suite! { $kind:
            contract {
                ready_on_add, ready_on_rearm, keeps_armed, interest_only, disarm, spurious, merged,
                hup_reads, err_both, add_twice, unknown, owns_fd, bad_source, bounded,
            }
            waking { round_up, saturate, wake, coalesce, moved }
            ceph { pipe, socket, expansion }
            load {
                all_at_once, ten_thousand_sources, wakes_of_many_threads, ready_amid_a_call,
                a_million_timeouts,
            }
        }
        unix_tests!($kind);
    };
}

#[cfg(all(feature = "epoll", any(target_os = "linux", target_os = "android")))]
mod epoll {
    all_tests!(Epoll);
}

#[cfg(any(
    feature = "kqueue-shim",
    all(
        feature = "kqueue",
        not(any(target_os = "linux", target_os = "android"))
    ),
))]
mod kqueue {
    all_tests!(Kqueue);
}

#[cfg(all(
    feature = "io-uring",
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ),
))]
mod io_uring {
    all_tests!(IoUring);
}

#[cfg(feature = "portable")]
mod portable {
    all_tests!(Portable);
}

#[cfg(feature = "poll")]
mod poll {
    all_tests!(Poll);
}
