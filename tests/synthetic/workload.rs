//! Does what a plan says: messengers, connections among them, pings and commands, and in the end
//! nothing may be left.
//!
//! One thread decides, so that a seed gives the same choices again; what workers make of them
//! depends on their timing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_messenger::event::{Env, ManualEnv, SystemEnv};
use async_messenger::message::{Message, Segment};
use async_messenger::wire::{AddrVec, EntityName};
use async_messenger::{Config, Connection, Inject, Messenger, Policy, SendError, Stats, Workers};

use super::ledger::{Ears, Key, Ledger};
use super::payload::{below, blobs, command, large_data};
use super::peers::{builder, config, eventually, localhost};
use super::plan::{DROP_MIN, Load, OUTSTANDING_MAX, Odds, Plan};

/// Of all messengers together; Ceph's default.
const WORKERS: usize = 3;

struct Node {
    messenger: Messenger,
    addrs: AddrVec,
}

/// A connection that is in use, with the messengers at its ends.
struct Pair {
    key: Key,
    connection: Connection,
    client: usize,
    server: usize,
}

pub(super) struct Workload {
    plan: Plan,
    seed: u64,
    random: ManualEnv,
    ledger: Arc<Ledger>,
    /// Servers first.
    nodes: Vec<Node>,
    pairs: Vec<Pair>,
    large: Segment,
    /// Commands that were sent.
    commands: u64,
    op: usize,
}

/// Runs a workload from the seed of `MSGR_SEED`, or a new one.
pub(super) fn run(plan: Plan) {
    let seed = match std::env::var("MSGR_SEED") {
        Ok(text) => text.parse().expect("MSGR_SEED is a number"),
        Err(_) => SystemEnv.random(),
    };
    let began = Instant::now();
    println!("{}: MSGR_SEED={seed}", plan.name);
    let mut workload = Workload::new(plan, seed);
    for _ in 0..workload.plan.connections {
        workload.generate();
    }
    while workload.op < workload.plan.ops {
        workload.step();
        workload.op += 1;
    }
    let sent = began.elapsed();
    workload.drain();
    let drained = began.elapsed();
    let (name, counts) = (workload.plan.name, workload.ledger.counts());
    let total = workload.end();
    println!("{name}: {counts:?}");
    println!(
        "{name}: {} links broken, {} duplicates; sent after {sent:.1?}, drained after \
         {drained:.1?}, ended after {:.1?}",
        total.faults,
        total.duplicates,
        began.elapsed()
    );
}

impl Workload {
    fn new(plan: Plan, seed: u64) -> Self {
        let random = ManualEnv::new(seed);
        let ledger = Ledger::new(blobs(&random));
        let large = match plan.load {
            Load::Large { .. } => large_data(),
            Load::Mixed(_) => Segment::EMPTY,
        };
        let workers = Workers::start(&node_config(&plan, &plan.inject)).expect("start");
        let node = |at| start(&plan, at, &random, &ledger, &workers);
        Self {
            nodes: (0..plan.servers + plan.clients).map(node).collect(),
            plan,
            seed,
            random,
            ledger,
            pairs: Vec::new(),
            large,
            commands: 0,
            op: 0,
        }
    }

    /// Where it is, and how to get there again.
    fn head(&self) -> String {
        format!(
            "{} with MSGR_SEED={}, operation {} of {}, {} connections",
            self.plan.name,
            self.seed,
            self.op,
            self.plan.ops,
            self.pairs.len()
        )
    }

    fn must<T>(&self, result: Result<T, String>) -> T {
        result.unwrap_or_else(|what| panic!("{}: {what}", self.head()))
    }

    fn below(&self, n: usize) -> usize {
        below(&self.random, n)
    }

    fn step(&mut self) {
        // Lossy ones end by themselves.
        self.pairs.retain(|pair| !pair.connection.is_closed());
        match self.plan.load {
            Load::Mixed(odds) => self.mixed(odds),
            Load::Large {
                congested,
                congestion,
            } => self.send_large(if self.op < congested { congestion } else { 0 }),
        }
    }

    fn mixed(&mut self, odds: Odds) {
        let mut draw = self.below(100);
        let mut falls_to = |share: usize| {
            let hit = draw < share;
            draw = draw.wrapping_sub(share);
            hit
        };
        if falls_to(odds.generate) {
            self.generate();
        } else if falls_to(odds.drop) {
            self.drop_one();
        } else if falls_to(odds.send) {
            self.send();
        } else if falls_to(odds.sleep) {
            let micros = 500 + self.below(1000) as u64;
            self.ledger.pause(Duration::from_micros(micros));
        }
    }

    /// Connects a client to a server, unless they are connected.
    fn generate(&mut self) {
        if self.pairs.len() >= self.plan.connections_max {
            return;
        }
        let server = self.below(self.plan.servers);
        let client = self.plan.servers + self.below(self.plan.clients);
        let connection = self.connect(client, server);
        let key = Key {
            node: client,
            id: connection.id(),
        };
        if self.pairs.iter().all(|pair| pair.key != key) {
            self.pairs.push(Pair {
                key,
                connection,
                client,
                server,
            });
        }
    }

    fn connect(&self, from: usize, to: usize) -> Connection {
        let to = &self.nodes[to];
        let made = self.nodes[from]
            .messenger
            .connect(to.messenger.name().kind, &to.addrs);
        self.must(made.map_err(|e| e.to_string()))
    }

    /// One to send on, when there are few enough outstanding pings; lossy ones are not waited for.
    fn choose(&mut self) -> usize {
        if !self.plan.is_lossy() {
            let waited = self.ledger.wait(OUTSTANDING_MAX, 0, self.plan.drain);
            self.must(waited);
        }
        if self.pairs.is_empty() {
            // All lossy ones have ended.
            self.generate();
        }
        self.below(self.pairs.len())
    }

    fn send(&mut self) {
        let at = self.choose();
        let message = if self.below(100) >= 95 {
            self.commands += 1;
            command(&self.random)
        } else {
            let blob = self.below(self.ledger.blobs());
            self.ledger.ping(self.pairs[at].key, blob)
        };
        self.send_on(at, message);
    }

    /// Few commands are on their way at a time: else all would be sent before the first link
    /// stands, and none would meet the congestion.
    fn send_large(&mut self, congestion: u32) {
        let arrived = self.commands.saturating_sub(OUTSTANDING_MAX as u64);
        self.must(self.ledger.wait(0, arrived, self.plan.drain));
        let at = self.choose();
        let n = if self.pairs[at].connection.is_connected() {
            congestion
        } else {
            0
        };
        for node in &self.nodes {
            node.messenger.set_network_congestion(n);
        }
        self.commands += 1;
        let message = command(&self.random).with_data(self.large.clone());
        self.send_on(at, message);
    }

    fn send_on(&self, at: usize, message: Message) {
        let Pair {
            key, connection, ..
        } = &self.pairs[at];
        let sent = match connection.send(message) {
            Err(SendError::Closed(_)) if self.plan.is_lossy() || self.plan.is_of_peers() => {
                // It has ended just now: it broke, or was the peer's, which gave up. Whatever is
                // told of it may have been told already.
                self.ledger.forget(*key);
                Ok(())
            }
            sent => sent.map_err(|e| format!("{key:?}: not sent: {e:?}")),
        };
        self.must(sent);
    }

    /// Marks one down: of peers at both ends, as the other one would connect again.
    fn drop_one(&mut self) {
        if self.pairs.len() < DROP_MIN {
            return;
        }
        let at = self.choose();
        let pair = self.pairs.swap_remove(at);
        self.ledger.forget(pair.key);
        pair.connection.mark_down();
        if !self.plan.is_of_peers() {
            return;
        }
        let peer = self.connect(pair.server, pair.client);
        let key = Key {
            node: pair.server,
            id: peer.id(),
        };
        peer.mark_down();
        self.ledger.forget(key);
    }

    /// Every answer has to come. So have large commands: nobody drops their connections.
    fn drain(&self) {
        let commands = match self.plan.load {
            Load::Mixed(_) => 0,
            Load::Large { .. } => self.commands,
        };
        let drained = self.ledger.wait(0, commands, self.plan.drain);
        self.must(drained.map_err(|what| {
            let pairs = self.pairs.iter();
            let connections: String = pairs.map(describe).collect();
            format!("{what}\n{connections}")
        }));
    }

    /// Ends the messengers one by one, while the others try to get them back; sums up what they
    /// have counted.
    fn end(mut self) -> Stats {
        self.pairs.clear();
        let mut total = Stats::default();
        for (at, node) in self.nodes.iter().enumerate() {
            node.messenger.shutdown();
            let ended = node.messenger.wait();
            self.must(ended.map_err(|e| format!("messenger {at}: {e}")));
            // Freed with its last user, which may be a command on its way to a worker.
            let what = format!("{}: no connection is left of messenger {at}", self.head());
            eventually(&what, || node.messenger.stats().connections == 0);
            let stats = node.messenger.stats();
            total.faults += stats.faults;
            total.duplicates += stats.duplicates;
            self.must(check_end(&stats).map_err(|e| format!("messenger {at}: {e}: {stats:?}")));
        }
        self.must(self.ledger.check());
        total
    }
}

fn describe(pair: &Pair) -> String {
    let Pair {
        key, connection, ..
    } = pair;
    format!(
        "  {key:?}: {connection:?} connected {} closed {} queued {} unacknowledged {}\n",
        connection.is_connected(),
        connection.is_closed(),
        connection.queued(),
        connection.unacked()
    )
}

/// A messenger that has ended holds nothing, and nothing went wrong in it.
fn check_end(stats: &Stats) -> Result<(), &'static str> {
    let zero = |n: u64, what| if n == 0 { Ok(()) } else { Err(what) };
    zero(
        stats.dispatch_queue as u64,
        "the dispatch queue is not empty",
    )?;
    zero(stats.dispatch_messages, "messages hold the throttle")?;
    zero(stats.dispatch_bytes, "bytes hold the throttle")?;
    zero(stats.panics, "a dispatcher panicked")?;
    zero(stats.unhandled, "a message was not handled")?;
    zero(stats.duplicates, "a message came twice")
}

/// As in Ceph's suite: attempts to connect are at most a second apart, and queues have no limit.
fn node_config(plan: &Plan, inject: &Inject) -> Config {
    let base = config();
    let throttle = match plan.dispatch_throttle_bytes {
        0 => base.dispatch_throttle_bytes,
        bytes => bytes,
    };
    Config {
        workers: WORKERS,
        initial_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(1),
        send_queue_bytes: 1 << 40,
        dispatch_throttle_bytes: throttle,
        inject: inject.clone(),
        ..base
    }
}

fn start(
    plan: &Plan,
    at: usize,
    random: &ManualEnv,
    ledger: &Arc<Ledger>,
    workers: &Arc<Workers>,
) -> Node {
    let is_server = at < plan.servers;
    let (name, policy) = match is_server {
        true => (EntityName::osd(0), plan.server),
        false => (EntityName::client(-1), plan.client),
    };
    let inject = Inject {
        seed: Some(random.random()),
        ..plan.inject.clone()
    };
    let policy: Policy = policy(0);
    let binds = is_server || policy.standby;
    let messenger = builder(name)
        .config(node_config(plan, &inject))
        .workers(workers)
        .require_authorizer(false)
        .nonce(random.random() as u32)
        .default_policy(policy)
        .build()
        .expect("a messenger");
    let addrs = if binds {
        let any = localhost();
        messenger.bind(&any).expect("a free port")
    } else {
        AddrVec::default()
    };
    let ears = Ears {
        node: at,
        ledger: Arc::clone(ledger),
    };
    messenger.add_dispatcher_tail(Arc::new(ears)).expect("new");
    messenger.start().expect("starts");
    Node { messenger, addrs }
}
