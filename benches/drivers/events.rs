//! The cost of an event with its read, and of a wait without events, by the number of sources.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::pollers::{Entrant, Poller, entrants};
use crate::{ROUNDS, median};

/// How long one figure of one round takes, if three repetitions do not take longer.
const BUDGET: Duration = Duration::from_millis(15);

/// What one entrant did in one round: nanoseconds for an event, by how many were active, and for
/// an empty wait.
struct Figures {
    events: Vec<f64>,
    empty: f64,
}

struct Sources {
    fds: Vec<Arc<OwnedFd>>,
    /// Which are to become active next; stepping spreads them over all.
    next: usize,
}

impl Sources {
    fn new(count: usize, poller: &mut dyn Poller) -> Self {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let fds: Vec<Arc<OwnedFd>> = (0..count)
            .map(|_| Arc::new(EventFd::from_flags(flags).expect("a descriptor").into()))
            .collect();
        for (id, fd) in fds.iter().enumerate() {
            poller.add(id, fd);
        }
        Self { fds, next: 0 }
    }

    /// Makes some sources readable, then times until all of them were reported and read.
    fn round(&mut self, poller: &mut dyn Poller, active: usize) -> Duration {
        let count = self.fds.len();
        let step = if active == count { 1 } else { count / active };
        for i in 0..active {
            let fd = &self.fds[(self.next + i * step) % count];
            nix::unistd::write(fd, &1_u64.to_ne_bytes()).expect("room");
        }
        self.next = (self.next + 1) % count;
        let start = Instant::now();
        let mut seen = 0;
        let mut ready = Vec::with_capacity(1024);
        while seen < active {
            poller.wait(true, &mut |id| ready.push(id));
            for id in ready.drain(..) {
                let mut word = [0; 8];
                // It may be reported for nothing.
                seen += usize::from(nix::unistd::read(&self.fds[id], &mut word).is_ok());
                poller.done(id);
            }
        }
        start.elapsed()
    }
}

fn measure(entrant: &Entrant, count: usize, active: &[usize]) -> Figures {
    let mut poller = (entrant.1)();
    let mut sources = Sources::new(count, &mut *poller);
    // Everything has happened once.
    sources.round(&mut *poller, count);
    sources.round(&mut *poller, 1);
    let events = active.iter().map(|&active| {
        let began = Instant::now();
        let (mut time, mut events, mut rounds) = (Duration::ZERO, 0, 0);
        while rounds < 3 || began.elapsed() < BUDGET {
            time += sources.round(&mut *poller, active);
            events += active;
            rounds += 1;
        }
        time.as_nanos() as f64 / events as f64
    });
    let events = events.collect();
    let began = Instant::now();
    let mut waits = 0;
    while waits < 3 || began.elapsed() < BUDGET {
        let portion = if waits < 3 { 1 } else { 100 };
        for _ in 0..portion {
            poller.wait(false, &mut |_| {});
        }
        waits += portion;
        if began.elapsed() > BUDGET {
            break;
        }
    }
    let empty = began.elapsed().as_nanos() as f64 / f64::from(waits);
    Figures { events, empty }
}

/// Whether so many descriptors may be open, after lifting the limit as far as it goes.
fn room_for(count: usize) -> bool {
    let wanted = count as u64 + 100;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("is told");
    soft >= wanted || setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok()
}

/// Prints the tables.
pub(crate) fn report(counts: &[usize]) {
    println!(
        "\nns per delivered event with its read, and per empty wait; median of {ROUNDS} rounds"
    );
    println!("(x: its ratio to raw epoll, median of the rounds)");
    let entrants = entrants();
    for &count in counts {
        if !room_for(count) {
            println!("skipped: {count} sources: more than the limit of descriptors (ulimit -Hn)");
            continue;
        }
        let mut active = vec![1, 32.min(count), count];
        active.dedup();
        let mut rounds: Vec<Vec<Figures>> = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(
                entrants
                    .iter()
                    .map(|entrant| measure(entrant, count, &active))
                    .collect(),
            );
        }
        table(&entrants, count, &active, &rounds);
    }
}

fn table(entrants: &[Entrant], count: usize, active: &[usize], rounds: &[Vec<Figures>]) {
    print!("\n{count:>7} sources");
    for active in active {
        print!(" {:>17}", format!("{active} active"));
    }
    println!(" {:>17}", "empty wait");
    for (i, (name, _)) in entrants.iter().enumerate() {
        print!("{name:>15}");
        for column in 0..=active.len() {
            let value = |figures: &Figures| match figures.events.get(column) {
                Some(event) => *event,
                None => figures.empty,
            };
            let mut own: Vec<f64> = rounds.iter().map(|round| value(&round[i])).collect();
            let mut ratios: Vec<f64> = rounds
                .iter()
                .map(|round| value(&round[i]) / value(&round[0]))
                .collect();
            print!(" {:>9.0} x{:<6.2}", median(&mut own), median(&mut ratios));
        }
        println!();
    }
}
