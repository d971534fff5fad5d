//! One run: the hosts, what they do, and what has to be right at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::app::{App, Habits, lock};
use super::chance::Chance;
use super::ledger::{DATA_MAX, KINDS, Ledger, Process, node_of};
use super::load::{PAIRS, Pair, Plan, config, faults};
use super::net::{Faults, MS, Nanos};
use super::trace::Happened;
use super::world::World;
use crate::config::Config;
use crate::connection::Connection;
use crate::messenger::Policy;
use crate::proto::Version;
use crate::throttle::Throttle;
use crate::wire::{AddrVec, EntityName, EntityType};

/// The longest time after the last fault in which everything must have arrived.
const HEALING: Nanos = 300_000 * MS;
/// Enough for a message whose sender is gone to be given up (`message_timeout`).
const RESTING: Nanos = 60_000 * MS;
/// A run of more steps does not end by itself.
const STEPS_MAX: u64 = 2_000_000;
const PORT: u16 = 6800;

struct Host {
    config: Config,
    policy: Policy,
    process: Process,
    habits: Habits,
    app: Option<Arc<App>>,
    /// Connections to others, by node.
    to: BTreeMap<usize, Connection>,
    /// Where it believes the others are.
    book: BTreeMap<usize, AddrVec>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Anything,
    Start(usize),
    /// A node learns where another one is now.
    Learn(usize, usize),
}

pub(super) struct Scene {
    pub(super) world: World,
    pair: Pair,
    plan: Plan,
    chance: Chance,
    hosts: Vec<Host>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    throttles: Vec<Arc<Throttle>>,
    acts: BTreeMap<(Nanos, u64), Act>,
    serial: u64,
    pub(super) faults: u64,
}

impl Scene {
    pub(super) fn new(seed: u64, print: bool, v2: bool) -> Self {
        let mut chance = Chance::new(seed, 3);
        let pair = chance.pick(&PAIRS);
        let plan = Plan {
            crashes: chance.pick(&[0, 0, 2, 5]),
            hang_ups: chance.pick(&[0, 0, 3, 10]),
            jumps: chance.pick(&[0, 0, 2]),
            same_nonce: chance.hits(500),
            acts: chance.within(10, 120),
            pause: chance.pick(&[MS, 20 * MS, 200 * MS]),
        };
        let mut world = World::traced(seed, print);
        if v2 {
            world.speak(Version::V2);
        }
        world.set_faults(faults(&mut chance));
        let mut scene = Self {
            world,
            pair,
            plan,
            hosts: Vec::new(),
            ledger: Arc::new(Mutex::new(Ledger::new(pair.is_lossless()))),
            throttles: Vec::new(),
            acts: BTreeMap::new(),
            serial: 0,
            faults: 0,
            chance,
        };
        for at in 0..scene.chance.pick(&[2, 2, 3]) {
            scene.add_host(at);
        }
        scene
    }

    fn add_host(&mut self, at: usize) {
        let chance = &mut self.chance;
        let config = config(chance);
        let mut policy = self.pair.policy(at == 0);
        if chance.hits(300) {
            let bytes = Throttle::new("bytes", chance.pick(&[5_000, 100_000]));
            let messages = Throttle::new("messages", chance.pick(&[1, 3, 20]));
            self.throttles
                .extend([Arc::clone(&bytes), Arc::clone(&messages)]);
            policy = policy.with_throttles(Some(bytes), Some(messages));
        }
        let habits = Habits {
            fast: chance.hits(500),
            answers: chance.pick(&[0, 100, 400]),
            keeps: chance.pick(&[0, 100]),
            hangs_up: if self.plan.hang_ups > 0 { 3 } else { 0 },
        };
        let nonce = if self.plan.same_nonce { 0 } else { 1000 };
        let life = 0;
        self.hosts.push(Host {
            config,
            policy,
            process: Process { life, nonce },
            habits,
            app: None,
            to: BTreeMap::new(),
            book: BTreeMap::new(),
        });
        let config = self.hosts[at].config.clone();
        let node = self.world.node(&config).expect("a valid configuration");
        debug_assert_eq!(node, at);
    }

    fn schedule(&mut self, at: Nanos, act: Act) {
        self.serial += 1;
        self.acts.insert((at, self.serial), act);
    }

    fn now(&self) -> Nanos {
        self.world.now().as_nanos() as Nanos
    }

    /// The two parts of a run.
    pub(super) fn play(&mut self) -> Result<(), String> {
        for at in 0..self.hosts.len() {
            self.start(at);
        }
        for from in 0..self.hosts.len() {
            for to in 0..self.hosts.len() {
                self.learn(from, to);
            }
        }
        let mut at = 0;
        for _ in 0..self.plan.acts {
            at += self.chance.magnitude(self.plan.pause);
            self.schedule(at, Act::Anything);
        }
        while let Some((&(at, _), _)) = self.acts.first_key_value() {
            if at <= self.now() && (self.chance.hits(300) || !self.step(at)?) {
                if let Some((_, act)) = self.acts.pop_first() {
                    self.act(act);
                }
            } else if at > self.now() {
                self.step(at)?;
            }
        }
        self.heal()?;
        self.end()
    }

    /// One step of the world. False if there is none before the limit.
    fn step(&mut self, limit: Nanos) -> Result<bool, String> {
        let stepped = self.world.step_until(limit);
        if let Some(wrong) = lock(&self.ledger).wrong() {
            return Err(wrong.clone());
        }
        if self.world.steps() > STEPS_MAX {
            return Err("it does not come to rest".into());
        }
        if self.world.steps().is_multiple_of(64) {
            self.check_bounds()?;
        }
        Ok(stepped)
    }

    fn check_bounds(&self) -> Result<(), String> {
        for (at, host) in self.hosts.iter().enumerate() {
            let Some(messenger) = self.world.messenger(at) else {
                continue;
            };
            let stats = messenger.stats();
            let messages = host.config.dispatch_throttle_messages;
            let bytes = host.config.dispatch_throttle_bytes;
            let slack = DATA_MAX as u64 + 1024;
            if messages > 0 && stats.dispatch_messages > messages
                || bytes > 0 && stats.dispatch_bytes > bytes + slack
            {
                return Err(format!(
                    "node {at}: beyond the dispatch throttle: {stats:?}"
                ));
            }
            let full = host.config.send_queue_messages;
            if let Some(long) = host.to.values().find(|c| c.queued() > full) {
                return Err(format!("node {at}: {} queued on {long:?}", long.queued()));
            }
        }
        Ok(())
    }

    // Acts.

    fn act(&mut self, act: Act) {
        self.world.note(&Happened::Act(format!("{act:?}")));
        match act {
            Act::Anything => self.anything(),
            Act::Start(at) => self.start(at),
            Act::Learn(from, to) => self.learn(from, to),
        }
    }

    fn anything(&mut self) {
        let at = self.chance.below(self.hosts.len() as u64) as usize;
        let Plan {
            crashes,
            hang_ups,
            jumps,
            ..
        } = self.plan;
        let mut draw = self.chance.below(100);
        let mut falls = |share: u64| {
            let hit = draw < share;
            draw = if hit { u64::MAX } else { draw - share };
            hit
        };
        if falls(crashes) {
            self.crash(at);
        } else if falls(hang_ups) {
            self.hang_up(at);
        } else if falls(jumps) {
            let by = self.chance.magnitude(20_000 * MS);
            self.world.jump(at, Duration::from_nanos(by));
        } else if falls(10) {
            if let Some(app) = &self.hosts[at].app {
                app.release();
            }
        } else if falls(5) {
            let known = self.connections(at);
            if !known.is_empty() {
                let at = self.chance.below(known.len() as u64) as usize;
                known[at].send_keepalive();
            }
        } else {
            self.send_some(at);
        }
    }

    /// The open connections of a node, its own and those of its peers.
    fn connections(&self, at: usize) -> Vec<Connection> {
        let host = &self.hosts[at];
        let accepted = host.app.iter().flat_map(|app| app.accepted());
        let own = host.to.values().cloned();
        own.chain(accepted).filter(|c| !c.is_closed()).collect()
    }

    fn send_some(&mut self, at: usize) {
        if !self.is_server(at) {
            let targets = self.targets(at);
            let target = self.chance.pick(&targets);
            self.connect(at, target);
        }
        let known = self.connections(at);
        let Some(app) = self.hosts[at].app.clone() else {
            return;
        };
        if known.is_empty() {
            return;
        }
        let connection = &known[self.chance.below(known.len() as u64) as usize];
        for _ in 0..=self.chance.magnitude(20) {
            let kind = self.chance.below(KINDS.len() as u64) as usize;
            let size = match self.chance.below(4) {
                0 => 0,
                _ => self.chance.magnitude(DATA_MAX as u64) as usize,
            };
            app.send(connection, kind, size);
        }
    }

    fn is_server(&self, at: usize) -> bool {
        at == 0 && !self.pair.are_peers()
    }

    /// Whom a node connects to.
    fn targets(&self, at: usize) -> Vec<usize> {
        if self.pair.are_peers() {
            (0..self.hosts.len()).filter(|to| *to != at).collect()
        } else {
            vec![0]
        }
    }

    fn connect(&mut self, at: usize, target: usize) {
        let kind = if self.pair.are_peers() || target == 0 {
            EntityType::OSD
        } else {
            EntityType::CLIENT
        };
        let host = &mut self.hosts[at];
        let open = host.to.get(&target).is_some_and(|c| !c.is_closed());
        let (Some(messenger), Some(addrs)) = (self.world.messenger(at), host.book.get(&target))
        else {
            return;
        };
        if !open {
            let made = messenger.connect(kind, addrs).expect("a fine address");
            host.to.insert(target, made);
        }
    }

    fn hang_up(&mut self, at: usize) {
        let known = self.connections(at);
        if let Some(app) = &self.hosts[at].app
            && !known.is_empty()
        {
            let which = self.chance.below(known.len() as u64) as usize;
            app.mark_down(&known[which]);
        }
    }

    fn crash(&mut self, at: usize) {
        let Some(app) = self.hosts[at].app.take() else {
            return;
        };
        self.count_faults(at);
        lock(&self.ledger).crashed(at);
        app.forget();
        self.hosts[at].to.clear();
        let silent = self.chance.hits(300);
        self.world.crash(at, silent);
        let after = self.now() + self.chance.magnitude(3_000 * MS);
        self.schedule(after, Act::Start(at));
    }

    fn count_faults(&mut self, at: usize) {
        if let Some(messenger) = self.world.messenger(at) {
            self.faults += messenger.stats().faults;
        }
    }

    fn start(&mut self, at: usize) {
        if self.world.messenger(at).is_some() {
            return;
        }
        let peers = self.pair.are_peers();
        let host = &mut self.hosts[at];
        if host.process.life > 0 {
            let booted = self.world.boot(at, &host.config);
            booted.expect("a valid configuration");
            host.process.nonce += u32::from(!self.plan.same_nonce);
        }
        host.process.life += 1;
        let Process { life, nonce } = host.process;
        let name = if peers || at == 0 {
            EntityName::osd(at as i64)
        } else {
            EntityName::client(at as i64)
        };
        let builder = self.world.builder(at, name, &host.config);
        let messenger = builder
            .nonce(nonce)
            .cluster_protocol(10)
            .default_policy(host.policy.clone())
            .build()
            .expect("a valid configuration");
        if peers || at == 0 {
            let bound = messenger.bind(&self.world.addr(at, PORT));
            bound.expect("the port is free");
        }
        let chance = Chance::new(self.chance.next(), 4);
        let app = App::new(
            (at, life),
            self.world.wire(),
            &self.ledger,
            chance,
            host.habits,
        );
        let added = messenger.add_dispatcher_tail(Arc::<App>::clone(&app));
        added.expect("not started yet");
        host.app = Some(app);
        lock(&self.ledger).started(at, host.process);
        self.world.start(at, messenger).expect("it starts");
        self.world.note(&Happened::Restart(at, life));
        for other in 0..self.hosts.len() {
            let later = self.now() + self.chance.magnitude(2_000 * MS);
            self.schedule(later, Act::Learn(other, at));
            self.learn(at, other);
        }
    }

    /// A node learns where another is now, and gives up what leads elsewhere.
    fn learn(&mut self, from: usize, to: usize) {
        let nonce = self.hosts[to].process.nonce;
        let mut addrs = self.world.addr(to, PORT);
        addrs.0.iter_mut().for_each(|addr| addr.nonce = nonce);
        self.hosts[from].book.insert(to, addrs);
        let Some(app) = self.hosts[from].app.clone() else {
            return;
        };
        for connection in self.connections(from) {
            if node_of(&connection) == to && connection.peer_addr().nonce != nonce {
                app.mark_down(&connection);
            }
        }
    }

    // The end.

    /// No more faults: everything that was promised has to come true.
    fn heal(&mut self) -> Result<(), String> {
        self.world.note(&Happened::Act("heal".into()));
        self.world.set_faults(Faults::default());
        for at in 0..self.hosts.len() {
            self.start(at);
        }
        self.acts.clear();
        for at in 0..self.hosts.len() {
            (0..self.hosts.len()).for_each(|to| self.learn(at, to));
            if let Some(app) = &self.hosts[at].app {
                app.calm_down();
            }
        }
        for at in 0..self.hosts.len() {
            if !self.is_server(at) {
                let targets = self.targets(at);
                targets.into_iter().for_each(|to| self.connect(at, to));
            }
        }
        for at in 0..self.hosts.len() {
            if let Some(app) = self.hosts[at].app.clone() {
                let known = self.connections(at);
                known
                    .iter()
                    .for_each(|connection| app.send(connection, 0, 100));
            }
        }
        let limit = self.now() + HEALING;
        let mut turn = 0_u32;
        loop {
            let stepped = self.step(limit)?;
            turn += 1;
            if stepped && !turn.is_multiple_of(32) {
                continue;
            }
            match lock(&self.ledger).missing() {
                None => return Ok(()),
                Some(missing) if !stepped => return Err(missing),
                Some(_) => {}
            }
        }
    }

    /// Everything is let go, and nothing must be left.
    fn end(&mut self) -> Result<(), String> {
        let limit = self.now() + RESTING;
        while self.step(limit)? {}
        for at in 0..self.hosts.len() {
            self.count_faults(at);
            let Some(messenger) = self.world.messenger(at) else {
                continue;
            };
            let stats = messenger.stats();
            let left = stats.dispatch_bytes + stats.dispatch_messages;
            if left > 0 || stats.dispatch_queue > 0 {
                return Err(format!("node {at}: something waits in dispatch: {stats:?}"));
            }
            if stats.duplicates + stats.panics + stats.unhandled > 0 {
                return Err(format!("node {at}: duplicates or panics: {stats:?}"));
            }
        }
        lock(&self.ledger).closing = true;
        for host in &mut self.hosts {
            host.to.clear();
            if let Some(app) = host.app.take() {
                app.forget();
            }
        }
        let left = self.world.finish();
        let used = self
            .throttles
            .iter()
            .find(|t| t.current() > 0 || t.waiting() > 0);
        if let Some(used) = used {
            return Err(format!("units are left: {used:?}"));
        }
        if let Some(wrong) = lock(&self.ledger).wrong() {
            return Err(wrong.clone());
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("left over: {left}"))
        }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            crashes,
            hang_ups,
            same_nonce,
            ..
        } = self.plan;
        write!(
            f,
            "{:?}, {} nodes, crashes {crashes}, hang-ups {hang_ups}, same nonce {same_nonce}",
            self.pair,
            self.hosts.len()
        )
    }
}
