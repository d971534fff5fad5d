//! A world: nodes, the network between them, the clock and the dice.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::chance::Chance;
use super::net::{Faults, MS, Nanos, Net, Wire, net};
use super::stack::SimStack;
use super::trace::{Happened, Trace};
use crate::config::Config;
use crate::error::Error;
use crate::event::ManualEnv;
use crate::messenger::{Builder, Dispatching, Messenger, Shared};
use crate::proto::Version;
use crate::wire::{AddrType, AddrVec, EntityAddr, EntityName};
use crate::worker::{Worker, Workers};

/// Several messengers in one thread, on a network and a clock that a seed decides about.
///
/// A node is a host with one process: a clock, a pool of workers, and a messenger. Nothing happens
/// but in [`step`](Self::step) and in calls of the messengers' own methods.
///
/// ```
/// use std::sync::Arc;
/// use async_messenger::message::Message;
/// use async_messenger::wire::{EntityName, EntityType};
/// use async_messenger::{Config, Connection, Dispatcher, Handled, Policy, sim::World};
///
/// struct Take;
/// impl Dispatcher for Take {
///     fn dispatch(&self, _: &Connection, _: Message) -> Handled {
///         Handled::Yes
///     }
/// }
///
/// # fn main() -> Result<(), async_messenger::Error> {
/// let mut world = World::new(7);
/// let config = Config { workers: 1, ..Config::default() };
/// let (a, b) = (world.node(&config)?, world.node(&config)?);
/// let server = world.builder(a, EntityName::osd(0), &config);
/// let server = server.default_policy(Policy::stateless_server(0)).build()?;
/// let addrs = server.bind(&world.addr(a, 6800))?;
/// server.add_dispatcher_tail(Arc::new(Take))?;
/// world.start(a, server)?;
/// let client = world.builder(b, EntityName::client(-1), &config).build()?;
/// world.start(b, client)?;
///
/// let connection = world.messenger(b).expect("runs").connect(EntityType::OSD, &addrs)?;
/// connection.send(Message::new(42)).expect("room");
/// let received = |world: &World| world.messenger(a).expect("runs").stats().received;
/// while received(&world) == 0 {
///     assert!(world.step(), "the message is lost");
/// }
/// # Ok(())
/// # }
/// ```
pub struct World {
    wire: Wire,
    nodes: Vec<Node>,
    chance: Chance,
    seed: u64,
    version: Version,
    now: Nanos,
    steps: u64,
    /// What is left of messengers that are gone.
    graves: Vec<Weak<Shared>>,
}

struct Node {
    env: Arc<ManualEnv>,
    stack: Arc<SimStack>,
    pool: Option<Arc<Workers>>,
    workers: Vec<Thread<Worker>>,
    dispatch: Thread<Dispatching>,
    messenger: Option<Messenger>,
}

/// Something that would be a thread.
#[derive(Default)]
struct Thread<T> {
    work: T,
    /// Which of the network's drivers it is.
    driver: usize,
    /// It gets no processor before.
    until: Nanos,
}

/// What could run next.
#[derive(Clone, Copy)]
enum Task {
    Turn(usize, usize),
    Dispatch(usize),
    Network,
}

impl World {
    /// A world without nodes and without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::traced(seed, false)
    }

    /// As [`new`](Self::new); prints everything that happens if told so.
    #[must_use]
    pub fn traced(seed: u64, print: bool) -> Self {
        Self {
            wire: Arc::new(Mutex::new(Net::new(seed, Trace::new(print)))),
            nodes: Vec::new(),
            chance: Chance::new(seed, 2),
            seed,
            version: Version::V1,
            now: 0,
            steps: 0,
            graves: Vec::new(),
        }
    }

    /// Has the nodes speak a version of the protocol; it is 1 before.
    pub fn speak(&mut self, version: Version) {
        self.version = version;
    }

    /// Adds a node with a pool of workers.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn node(&mut self, config: &Config) -> Result<usize, Error> {
        let at = self.nodes.len();
        let edge = self.chance.hits(500);
        self.nodes.push(Node {
            env: Arc::new(ManualEnv::new(self.seed.rotate_left(at as u32 + 1))),
            stack: Arc::new(SimStack::new(&self.wire, at, ip(at), edge)),
            pool: None,
            workers: Vec::new(),
            dispatch: Thread::default(),
            messenger: None,
        });
        self.boot(at, config)?;
        Ok(at)
    }

    /// Gives a node that has crashed workers again.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn boot(&mut self, at: usize, config: &Config) -> Result<(), Error> {
        let node = &mut self.nodes[at];
        let first = net(&self.wire).watches.len();
        let stack = Arc::<SimStack>::clone(&node.stack);
        let env = Arc::<ManualEnv>::clone(&node.env);
        let (pool, workers) = Workers::stepped(config, stack, env)?;
        node.pool = Some(pool);
        let thread = |(i, work)| Thread {
            work,
            driver: first + i,
            until: 0,
        };
        node.workers = workers.into_iter().enumerate().map(thread).collect();
        Ok(())
    }

    /// A port of a node.
    #[must_use]
    pub fn addr(&self, at: usize, port: u16) -> AddrVec {
        AddrVec(vec![EntityAddr {
            kind: match self.version {
                Version::V1 => AddrType::Legacy,
                Version::V2 => AddrType::Msgr2,
            },
            nonce: 0,
            sock: Some(SocketAddr::new(ip(at), port)),
        }])
    }

    /// Begins to build the messenger of a node.
    ///
    /// # Panics
    /// If the node has crashed and was not booted.
    pub fn builder(&self, at: usize, name: EntityName, config: &Config) -> Builder {
        let pool = self.nodes[at].pool.as_ref().expect("the node runs");
        Messenger::builder(name)
            .config(config.clone())
            .workers(pool)
    }

    /// Starts a messenger and gives it to its node.
    ///
    /// # Errors
    /// Those of [`Messenger::start`].
    pub fn start(&mut self, at: usize, messenger: Messenger) -> Result<(), Error> {
        messenger.start_stepped()?;
        self.graves.push(messenger.traces());
        self.nodes[at].messenger = Some(messenger);
        Ok(())
    }

    /// The messenger of a node, unless it crashed.
    #[must_use]
    pub fn messenger(&self, at: usize) -> Option<&Messenger> {
        self.nodes[at].messenger.as_ref()
    }

    /// Ends the process of a node at once. With `silent` its host is gone too, so that peers only
    /// learn of it when they send something.
    pub fn crash(&mut self, at: usize, silent: bool) {
        net(&self.wire).note(&Happened::Crash(at, silent));
        if silent {
            net(&self.wire).vanish(at);
        }
        let node = &mut self.nodes[at];
        if let Some(messenger) = node.messenger.take() {
            messenger.abandon(&mut node.dispatch.work);
        }
        for worker in std::mem::take(&mut node.workers) {
            // What a process that has ended watched.
            let driver = worker.driver;
            drop(worker);
            net(&self.wire).watches[driver].clear();
        }
        node.pool = None;
    }

    /// Sets how often things go wrong from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        net(&self.wire).faults = faults;
    }

    /// Lets the clock of one node jump forward.
    pub fn jump(&mut self, at: usize, by: Duration) {
        self.note(&Happened::Jump(at, nanos(by)));
        self.nodes[at].env.advance(by);
    }

    /// Time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// Stands for everything that has happened so far: the same in every run of a seed.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        net(&self.wire).trace.hash()
    }

    /// How many steps were taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn note(&self, what: &Happened) {
        net(&self.wire).note(what);
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Lets one thing happen; if nothing is ready, time passes until something is. False: nothing
    /// will ever happen by itself.
    pub fn step(&mut self) -> bool {
        self.step_until(Nanos::MAX)
    }

    /// As [`step`](Self::step), but lets no time pass beyond a limit.
    pub(super) fn step_until(&mut self, limit: Nanos) -> bool {
        loop {
            let (tasks, next) = self.tasks();
            if !tasks.is_empty() {
                let task = self.chance.pick(&tasks);
                self.run(task);
                return true;
            }
            match next {
                Some(next) if next <= limit => self.pass(next),
                _ => {
                    if limit < Nanos::MAX {
                        self.pass(limit);
                    }
                    return false;
                }
            }
        }
    }

    /// What is ready, and when something else will be.
    fn tasks(&mut self) -> (Vec<Task>, Option<Nanos>) {
        let (mut tasks, mut next) = (Vec::new(), None::<Nanos>);
        let now = self.now;
        let mut consider = |at: Option<Nanos>, task: Task| match at {
            Some(at) if at <= now => tasks.push(task),
            Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
            None => {}
        };
        let net = net(&self.wire);
        consider(net.next_at(), Task::Network);
        for (n, node) in self.nodes.iter_mut().enumerate() {
            for (w, worker) in node.workers.iter_mut().enumerate() {
                let at = if net.is_ready(worker.driver) {
                    Some(now)
                } else {
                    worker.work.idle().map(|left| now + nanos(left))
                };
                consider(at.map(|at| at.max(worker.until)), Task::Turn(n, w));
            }
            let dispatch = &node.dispatch;
            let has = |m: &Messenger| m.has_dispatch(&dispatch.work);
            if node.messenger.as_ref().is_some_and(has) {
                consider(Some(now.max(dispatch.until)), Task::Dispatch(n));
            }
        }
        (tasks, next)
    }

    fn run(&mut self, task: Task) {
        self.steps += 1;
        match task {
            Task::Network => net(&self.wire).happen(),
            Task::Turn(n, w) => {
                self.note(&Happened::Turn(n * 100 + w));
                let until = self.preempted();
                let worker = &mut self.nodes[n].workers[w];
                worker.until = until;
                if let Err(error) = worker.work.step() {
                    self.note(&Happened::Told(error.to_string()));
                }
            }
            Task::Dispatch(n) => {
                self.note(&Happened::Dispatch(n));
                let until = self.preempted();
                let node = &mut self.nodes[n];
                node.dispatch.until = until;
                if let Some(messenger) = &node.messenger {
                    messenger.dispatch_one(&mut node.dispatch.work);
                }
            }
        }
        // Work takes time, so that no two runs of a turn are at the same moment.
        let took = 1_000 + self.chance.below(10_000);
        self.pass(self.now + took);
    }

    /// When a thread that has just run gets a processor again.
    fn preempted(&mut self) -> Nanos {
        let preemptions = net(&self.wire).faults.preemptions;
        if self.chance.hits(preemptions) {
            self.now + self.chance.magnitude(50 * MS)
        } else {
            0
        }
    }

    fn pass(&mut self, until: Nanos) {
        let by = until.saturating_sub(self.now);
        self.now = self.now.max(until);
        net(&self.wire).now = self.now;
        for node in &self.nodes {
            node.env.advance(Duration::from_nanos(by));
        }
    }

    /// Ends all messengers, lets them end, and says what they have left behind; empty if nothing.
    pub fn finish(&mut self) -> String {
        for node in &self.nodes {
            if let Some(messenger) = &node.messenger {
                messenger.shutdown();
            }
        }
        let limit = self.now + 120_000 * MS;
        while self.step_until(limit) {}
        let mut left = Vec::new();
        for (n, node) in self.nodes.iter_mut().enumerate() {
            let Some(messenger) = node.messenger.take() else {
                continue;
            };
            if !messenger.finish_stepped() {
                left.push(format!("node {n}: the shutdown has not ended"));
            }
            let stats = messenger.stats();
            let counts = [
                stats.dispatch_bytes,
                stats.dispatch_messages,
                stats.dispatch_queue as u64,
                stats.connections as u64,
            ];
            if counts != [0; 4] {
                left.push(format!("node {n}: {stats:?}"));
            }
            for worker in &node.workers {
                let holds = worker.work.holds();
                if holds != [0; 3] {
                    left.push(format!("node {n}: sources, timers, entries: {holds:?}"));
                }
            }
            node.workers.clear();
            node.pool = None;
        }
        left.extend(self.leftovers());
        left.join("; ")
    }

    fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        let net = net(&self.wire);
        if net.holds() != [0; 2] {
            left.push(format!("streams and listeners: {:?}", net.holds()));
        }
        let watched: usize = net.watches.iter().map(|watches| watches.len()).sum();
        if watched > 0 {
            left.push(format!("{watched} sources in drivers"));
        }
        let alive = self.graves.iter().filter(|grave| grave.strong_count() > 0);
        let alive = alive.count();
        if alive > 0 {
            left.push(format!("{alive} messengers are referred to by something"));
        }
        left
    }
}

impl Drop for World {
    /// A messenger that is dropped waits for its end, and nobody steps it any more.
    fn drop(&mut self) {
        (0..self.nodes.len()).for_each(|at| self.crash(at, false));
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("now", &self.now())
            .field("steps", &self.steps)
            .field("trace", &net(&self.wire).trace)
            .finish_non_exhaustive()
    }
}

fn ip(node: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, node as u8 + 1))
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX / 2)
}
