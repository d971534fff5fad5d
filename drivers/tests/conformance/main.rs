//! The contract of `EventDriver`, line by line, for every backend that is compiled in.
//!
//! Each label of the crate page's table is a test in the module of each backend, so that a
//! failure reads `epoll::round_up`. The tests of [`ceph`] are those that Ceph has for its
//! drivers, and those of [`load`] say that the promises hold for many.
#![cfg(unix)]
#![allow(missing_docs, unreachable_pub)]

mod ceph;
mod contract;
mod load;
mod support;
mod waking;

/// One test for each function and the given backend.
macro_rules! suite {
    ($kind:ident: $($file:ident { $($test:ident),+ $(,)? })+) => {
        $($(
            #[test]
            fn $test() {
                crate::$file::$test(event_driver::DriverKind::$kind);
            }
        )+)+
    };
}

/// All of them for one backend.
macro_rules! all_tests {
    ($kind:ident) => {
        suite! { $kind:
            contract {
                ready_on_add, ready_on_rearm, interest_only, disarm, spurious, merged, hup_reads,
                err_both, add_twice, unknown, owns_fd, bad_source, bounded, fork,
            }
            waking { round_up, saturate, eintr, wake, coalesce }
            ceph { pipe, socket, expansion }
            load { stale_tokens, ten_thousand_sources, wakes_of_many_threads, a_million_timeouts }
        }
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

#[cfg(feature = "poll")]
mod poll {
    all_tests!(Poll);
}
