//! Threads that stay where they are put: the way of a wake from one processor to another is many
//! times that within one, and the scheduler would choose anew in each round.

use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// The processors that the calling thread may use.
pub(super) fn processors() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(SELF) else {
        return vec![0];
    };
    let all = 0..CpuSet::count();
    all.filter(|&cpu| allowed.is_set(cpu) == Ok(true)).collect()
}

/// Keeps the calling thread, and those that it starts, on one processor.
pub(super) fn to(cpu: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(SELF, &set));
    if let Err(error) = pinned {
        // The figures will be less steady.
        eprintln!("cannot stay on processor {cpu}: {error}");
    }
}

/// Runs `work` on a thread that stays on the last of the processors: the first has most of what the
/// system does for devices.
pub(super) fn pinned<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Some(&cpu) = processors().last() {
                to(cpu);
            }
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
