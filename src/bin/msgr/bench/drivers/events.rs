//! The cost of an event with its read, of a wait without events, and of the end, by the number of
//! sources.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_driver::rival::replace;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Plan;
use super::pin::pinned;
use super::pollers::{Entrant, Poller, entrants};
use super::table::Table;

/// The most files behind the numbers of bystanders.
const FILES: usize = 100;

/// The same descriptors for all who are measured: where they are in memory counts.
struct Sources {
    fds: Vec<Arc<OwnedFd>>,
    /// How many more are registered, at which nothing happens. They have a few files and as many
    /// numbers as the others: epoll tells sources apart by both.
    bystanders: usize,
    /// Which are to become active next; stepping spreads them over all.
    next: usize,
}

impl Sources {
    fn new(count: usize, bystanders: usize) -> Self {
        Self {
            fds: (0..count).map(|_| Arc::new(source())).collect(),
            bystanders,
            next: 0,
        }
    }

    /// Registers all of them. What it returns has to live as long as the bystanders are to stay.
    fn register(&self, poller: &mut dyn Poller) -> (Vec<OwnedFd>, Vec<Arc<OwnedFd>>) {
        for (id, fd) in self.fds.iter().enumerate() {
            poller.add(id, fd);
        }
        let (mut files, mut numbers) = (Vec::new(), Vec::new());
        for bystander in 0..self.bystanders {
            let (file, place) = (bystander / self.fds.len(), bystander % self.fds.len());
            if place == 0 {
                files.push(source());
            }
            let id = self.fds.len() + bystander;
            if file == 0 {
                let number = files[file].try_clone().expect("a descriptor");
                numbers.push(Arc::new(number));
            } else {
                replace(&numbers[place], &files[file]).expect("both are open");
                poller.forget(id - numbers.len());
            }
            poller.add(id, &numbers[place]);
        }
        (files, numbers)
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
        let mut seen = 0;
        let mut ready = Vec::with_capacity(1024);
        let start = Instant::now();
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

fn source() -> OwnedFd {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    EventFd::from_flags(flags).expect("a descriptor").into()
}

/// Nanoseconds of one entrant in one round: for an event, by how many are active; for an empty
/// wait; and for each source when all is closed.
fn measure(
    plan: &Plan,
    entrant: &Entrant,
    sources: &mut Sources,
    active: &[usize],
) -> Vec<Option<f64>> {
    let mut poller = (entrant.make)();
    let _kept = sources.register(&mut *poller);
    // Everything has happened once.
    sources.round(&mut *poller, sources.fds.len());
    sources.round(&mut *poller, 1);
    let mut figures = Vec::new();
    for &active in active {
        let began = Instant::now();
        let (mut time, mut events, mut rounds) = (Duration::ZERO, 0, 0);
        while rounds < 3 || began.elapsed() < plan.budget {
            time += sources.round(&mut *poller, active);
            events += active;
            rounds += 1;
        }
        figures.push(Some(time.as_nanos() as f64 / events as f64));
    }
    figures.push(Some(empty_waits(plan, &mut *poller)));
    let began = Instant::now();
    drop(poller);
    let count = sources.fds.len() + sources.bystanders;
    figures.push(Some(began.elapsed().as_nanos() as f64 / count as f64));
    figures
}

fn empty_waits(plan: &Plan, poller: &mut dyn Poller) -> f64 {
    let began = Instant::now();
    let mut waits = 0;
    // In portions, so that the clock does not count; but one of them may take long by itself.
    while waits < 3 || began.elapsed() < plan.budget {
        for _ in 0..if waits < 3 { 1 } else { 100 } {
            poller.wait(false, &mut |_| {});
            waits += 1;
        }
    }
    began.elapsed().as_nanos() as f64 / f64::from(waits)
}

/// The most sources that there can be, after lifting the limit of descriptors for as many as are
/// wanted, or as far as it goes.
fn room_for(wanted: usize) -> usize {
    const OTHERS: u64 = 100 + FILES as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("is told");
    let needed = wanted as u64 + OTHERS;
    // Root may lift the hard limit too.
    let lifted =
        soft >= needed || setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).is_ok();
    if lifted {
        return wanted;
    }
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    hard.saturating_sub(OTHERS) as usize
}

/// One for each number of sources.
pub(super) fn tables(plan: &Plan) -> Vec<Table> {
    plan.sources
        .iter()
        .map(|&count| table(plan, count))
        .collect()
}

fn table(plan: &Plan, count: usize) -> Table {
    let title = format!(
        "{count} sources: ns per delivered event with its read, and re-arm if the driver wants one, \
         by how many are active; per empty wait; and per source at the end (x: ratio to raw epoll)"
    );
    let (mut entrants, mut missing) = entrants();
    let room = room_for(count);
    // Half of the numbers for those that can be active, and half for the others in turns.
    let own = if room < count { room / 2 } else { count };
    if own * (FILES + 1) < count {
        let why = format!("the limit of descriptors of this process (ulimit -Hn) leaves {room}");
        return Table::skipped(title, why);
    }
    if own < count {
        missing.push(format!(
            "all that know a source by its descriptor alone: not more than {room} fit below the \
             limit of this process (ulimit -Hn), and it cannot be lifted; epoll knows number and \
             file, so {} sources share numbers and have nothing happen to them",
            count - own
        ));
        entrants.retain(Entrant::knows_files);
    }
    let mut active = vec![1, 32.min(own), own];
    active.dedup();
    let rounds = pinned(|| {
        let mut sources = Sources::new(own, count - own);
        let mut round = || {
            entrants
                .iter()
                .map(|entrant| measure(plan, entrant, &mut sources, &active))
                .collect()
        };
        (0..plan.rounds).map(|_| round()).collect::<Vec<_>>()
    });
    let mut columns: Vec<String> = active.iter().map(|n| format!("{n} active")).collect();
    columns.extend(["empty wait", "close"].map(str::to_owned));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let names: Vec<&str> = entrants.iter().map(|entrant| entrant.name).collect();
    Table {
        skipped: missing,
        sources: Some(count),
        ..Table::new(title, &columns, &names, &rounds)
    }
}
