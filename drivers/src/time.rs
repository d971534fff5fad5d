//! Timeouts in the system's units: rounded up, and cut to what each system accepts.
#![allow(dead_code, reason = "no backend uses all of it")]

use std::time::Duration;

use nix::libc;

/// About three years, the longest wait that every system accepts (older BSDs refuse more).
const TIMEOUT_MAX: Duration = Duration::from_secs(100_000_000);

/// For calls that take nanoseconds.
pub(crate) fn timespec(timeout: Duration) -> libc::timespec {
    let timeout = timeout.min(TIMEOUT_MAX);
    libc::timespec {
        tv_sec: timeout.as_secs() as _,
        tv_nsec: timeout.subsec_nanos() as _,
    }
}

/// For calls that take milliseconds, -1 being no limit.
pub(crate) fn millis(timeout: Option<Duration>) -> i32 {
    timeout.map_or(-1, |timeout| {
        let millis = u64::from(timeout.subsec_nanos().div_ceil(1_000_000));
        let millis = timeout
            .as_secs()
            .saturating_mul(1000)
            .saturating_add(millis);
        i32::try_from(millis).unwrap_or(i32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millis_round_up_and_saturate() {
        assert_eq!(millis(None), -1);
        assert_eq!(millis(Some(Duration::ZERO)), 0);
        assert_eq!(millis(Some(Duration::from_nanos(1))), 1);
        assert_eq!(millis(Some(Duration::from_millis(7))), 7);
        assert_eq!(millis(Some(Duration::from_nanos(7_000_001))), 8);
        assert_eq!(millis(Some(Duration::MAX)), i32::MAX);
    }

    #[test]
    fn timespec_is_exact_and_saturates() {
        let exact = timespec(Duration::new(3, 4));
        assert_eq!((exact.tv_sec, exact.tv_nsec), (3, 4));
        assert_eq!(timespec(Duration::MAX).tv_sec, 100_000_000);
    }
}
