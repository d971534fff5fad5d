//! The CPU time of processes, by the scheduler's own nanoseconds.

use std::fs;
use std::time::Duration;

/// What all threads of a process have used so far; `None` if there is no such process.
pub fn of_process(pid: u32) -> Option<Duration> {
    let mut sum = 0_u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may have ended since.
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else {
            continue;
        };
        sum += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(sum))
}
