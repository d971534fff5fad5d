//! Every interleaving of two messengers that want one session.
//!
//! From each state every possible step is taken; states that are equal are continued once, and
//! counted as often as they are reached. Each run has to come to an end at which both sides have
//! the same link open, or both rest, with every message delivered once and in order, and no session
//! may be reset: both sides live.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use super::session::{Gate, Session};
use super::wire::{End, Life, LinkId};
use super::world::{Rules, Side, Step, World};

/// More steps than any run takes.
const STEPS_MAX: usize = 120;

const PEER: Rules = Rules {
    server: false,
    standby: true,
    resetcheck: false,
};
const PEER_REUSE: Rules = Rules {
    resetcheck: true,
    ..PEER
};
const SERVER: Rules = Rules {
    server: true,
    ..PEER_REUSE
};
const CLIENT: Rules = Rules {
    standby: false,
    ..PEER_REUSE
};

/// How it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    /// Neither has a session; both connect.
    Fresh,
    /// The first connects, and the second sends to whom has connected.
    OneSided,
    /// The session has rested since its link was lost; both send.
    Resting,
    /// The link was lost with messages that are not acknowledged: the first side's has arrived,
    /// the second's has not. Both know.
    Broken,
    /// The same, and the second side, a moment ago, did not know.
    HalfBroken,
}

/// Messages by their names: of an earlier link, unacknowledged ones, new ones, and a last one.
const FIRST: [u8; 2] = [10, 20];
const EARLIER: [u8; 2] = [11, 21];
const NEW: [u8; 2] = [12, 22];
const LAST: u8 = 13;

fn world(start: Start, rules: [Rules; 2], swapped: bool, (cuts, early): (u8, u8)) -> World {
    let nonces = if swapped { [2, 1] } else { [1, 2] };
    let mut world = World {
        sides: [0, 1].map(|me| Side::new(rules[me], nonces[me])),
        wires: BTreeMap::new(),
        due: Vec::new(),
        cuts: 0,
        early: 0,
    };
    world.sides[1].answers = start == Start::OneSided;
    if start.is_fresh() {
        world.give(NEW);
    } else {
        world.give(FIRST);
        world.run();
        let link = world.sides[0].session().link.expect("it is open");
        if start == Start::Resting {
            world.cut(link);
            world.run();
            world.give(NEW);
        } else {
            world.give(EARLIER);
            world.apply(Step::Send(0));
            world.apply(Step::Deliver(link, 1));
            world.apply(Step::Send(1));
            world.cut(link);
            world.give(NEW);
            world.apply(Step::Send(0));
            world.apply(Step::Send(1));
            world.apply(Step::Deliver(link, 0));
            if start == Start::Broken {
                world.apply(Step::Deliver(link, 1));
            }
        }
    }
    (world.cuts, world.early) = (cuts, early);
    world
}

impl Start {
    fn is_fresh(self) -> bool {
        matches!(self, Self::Fresh | Self::OneSided)
    }

    /// The messages of a side.
    fn messages(self, me: usize) -> Vec<u8> {
        match self {
            Self::Fresh | Self::OneSided => vec![NEW[me]],
            Self::Resting => vec![FIRST[me], NEW[me]],
            Self::Broken | Self::HalfBroken => vec![FIRST[me], EARLIER[me], NEW[me]],
        }
    }
}

impl World {
    fn give(&mut self, names: [u8; 2]) {
        for (side, name) in self.sides.iter_mut().zip(names) {
            side.to_send = Some(name);
        }
    }

    fn cut(&mut self, link: LinkId) {
        self.cuts += 1;
        self.apply(Step::Cut(link));
    }

    /// Takes the first possible step, until there is none.
    fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            match self.steps().first() {
                Some(&step) => self.apply(step),
                None => return,
            }
        }
        panic!("no end: {self:#?}");
    }
}

struct Explorer {
    /// For each state how many runs go on from it.
    seen: HashMap<u64, f64>,
    trace: Vec<Step>,
    longest: usize,
    ends: usize,
    /// Ends by their kinds: open, at rest.
    kinds: [usize; 2],
    told_to_wait: bool,
    expected: [Vec<u8>; 2],
}

fn digest(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

impl Explorer {
    fn visit(&mut self, world: &World) -> f64 {
        let trace = &self.trace;
        assert!(trace.len() < STEPS_MAX, "no end: {trace:?}\n{world:#?}");
        self.longest = self.longest.max(self.trace.len());
        let digest = digest(world);
        if let Some(&runs) = self.seen.get(&digest) {
            return runs;
        }
        let steps = world.steps();
        self.told_to_wait |= world.sides.iter().any(|side| side.waits > 0);
        self.check_deliveries(world, false);
        let quiet = steps.iter().all(|step| matches!(step, Step::Cut(_)));
        if quiet {
            self.check_end(world);
        }
        let mut runs = f64::from(u8::from(quiet));
        for step in steps {
            let mut next = world.clone();
            self.trace.push(step);
            next.apply(step);
            runs += self.visit(&next);
            self.trace.pop();
        }
        self.seen.insert(digest, runs);
        runs
    }

    fn check_deliveries(&self, world: &World, all: bool) {
        for me in 0..2 {
            let (from, to) = (&world.sides[me], &world.sides[1 - me]);
            let mut wanted = self.expected[me]
                .iter()
                .filter(|name| all || to.delivered.contains(name));
            let right = to.delivered.iter().all(|name| wanted.next() == Some(name));
            let complete = wanted.next().is_none();
            let trace = &self.trace;
            assert!(right && complete, "deliveries: {trace:?}\n{world:#?}");
            assert!(from.void.is_empty(), "lost: {trace:?}\n{world:#?}");
        }
    }

    fn check_end(&mut self, world: &World) {
        self.ends += 1;
        self.check_deliveries(world, true);
        if self.is_open(world) {
            self.kinds[0] += 1;
            return;
        }
        let trace = &self.trace;
        for side in &world.sides {
            let session = side.session.as_ref().expect("a session");
            assert!(side.ends.is_empty(), "half open: {trace:?}\n{world:#?}");
            assert_eq!(session.gate, Gate::Standby, "{trace:?}\n{world:#?}");
        }
        self.kinds[1] += 1;
        // Whoever rests is woken by the next message.
        let mut next = world.clone();
        next.cuts = 0;
        next.sides[0].to_send = Some(LAST);
        next.run();
        assert!(self.is_open(&next), "{trace:?}\n{next:#?}");
        assert_eq!(next.sides[1].delivered.last(), Some(&LAST), "{trace:?}");
    }

    /// One link, open on both sides, with nothing left to say.
    fn is_open(&self, world: &World) -> bool {
        let sessions = world.sides.each_ref().map(|side| side.session.as_ref());
        let [Some(a), Some(b)] = sessions else {
            return false;
        };
        let settled = |session: &Session| {
            let done = !session.has_messages() && session.sent.is_empty();
            done && session.gate == Gate::Open && !session.replacing && !session.timer
        };
        let open = |side: &Side| side.ends.values().all(|end: &End| end.open);
        a.link.is_some()
            && a.link == b.link
            && world.wires.len() == 1
            && world
                .wires
                .values()
                .all(|wire| wire.life == [Life::Live; 2])
            && world
                .sides
                .iter()
                .all(|side| side.ends.len() == 1 && open(side))
            && a.connect_seq == b.connect_seq
            && settled(a)
            && settled(b)
    }
}

/// Explores all runs; true if a side was told to wait in one of them.
fn check(start: Start, rules: [Rules; 2], swapped: bool, budget: (u8, u8)) -> bool {
    let world = world(start, rules, swapped, budget);
    let mut explorer = Explorer {
        seen: HashMap::new(),
        trace: Vec::new(),
        longest: 0,
        ends: 0,
        kinds: [0; 2],
        told_to_wait: false,
        expected: [0, 1].map(|me| start.messages(me)),
    };
    let runs = explorer.visit(&world);
    println!(
        "{start:?} swapped {swapped} cuts {} early {}: {runs:.4e} runs, {} states, at most {} \
         steps; ends: {} open, {} at rest",
        budget.0,
        budget.1,
        explorer.seen.len(),
        explorer.longest,
        explorer.kinds[0],
        explorer.kinds[1],
    );
    assert!(explorer.ends > 0, "no run ends");
    explorer.told_to_wait
}

const SYMMETRIC: [Start; 4] = [
    Start::Fresh,
    Start::Resting,
    Start::Broken,
    Start::HalfBroken,
];

/// All starts. The longest explorations, and those that look for resets in vain because both sides
/// have been connected before, are left to `full`.
fn check_peers(rules: Rules, full: bool) {
    for start in SYMMETRIC {
        for swapped in [false, true] {
            let long = start == Start::Resting && swapped;
            let vain = start != Start::Fresh && rules.resetcheck;
            let cuts = u8::from(full || !long && !vain);
            for budget in [(0, 0), (0, 1), (cuts, 0)] {
                let waited = check(start, [rules; 2], swapped, budget);
                assert!(waited, "{start:?}: no race came about");
            }
        }
    }
}

#[test]
fn races_of_lossless_peers_end_well() {
    check_peers(PEER, false);
}

#[test]
fn races_of_lossless_peers_that_look_for_resets_end_well() {
    check_peers(PEER_REUSE, false);
}

#[test]
#[ignore = "half a minute"]
fn races_end_well_in_full() {
    check_peers(PEER, true);
    check_peers(PEER_REUSE, true);
}

#[test]
fn one_sided_attempts_end_well() {
    for rules in [[PEER; 2], [PEER_REUSE; 2], [CLIENT, SERVER]] {
        for budget in [(0, 0), (0, 1), (1, 0)] {
            check(Start::OneSided, rules, false, budget);
        }
    }
}
