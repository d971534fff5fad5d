//! What processes use of the machine. Only Linux tells without calls that need `unsafe` or a
//! further dependency; elsewhere the figures are left out.

use std::fs;
use std::time::Duration;

/// Whether `/proc` is the system's own. Others may have one that is not: Windows programs under
/// wine see that of the machine.
const TELLS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The CPU time of all threads of this process that live.
pub(crate) fn cpu_time() -> Option<Duration> {
    sum_of_threads("/proc/self/task")
}

/// The same of another process; `None` if there is no such process.
pub(crate) fn cpu_time_of(pid: u32) -> Option<Duration> {
    sum_of_threads(&format!("/proc/{pid}/task"))
}

fn sum_of_threads(tasks: &str) -> Option<Duration> {
    if !TELLS {
        return None;
    }
    let mut nanos: u64 = 0;
    for task in fs::read_dir(tasks).ok()? {
        // A thread that has just ended has no file any more.
        let Ok(stat) = fs::read_to_string(task.ok()?.path().join("schedstat")) else {
            continue;
        };
        nanos += stat.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}

/// The memory of this process that is in RAM, in bytes.
pub(crate) fn resident() -> Option<u64> {
    if !TELLS {
        return None;
    }
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_and_nobody_else() {
        assert_eq!(resident().is_some_and(|bytes| bytes > 100 << 10), TELLS);
        assert_eq!(cpu_time().is_some(), TELLS);
        assert_eq!(cpu_time_of(std::process::id()).is_some(), TELLS);
        assert_eq!(cpu_time_of(u32::MAX), None);
    }
}
