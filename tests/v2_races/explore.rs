//! Every interleaving of two messengers that want one session.
//!
//! From each state every possible step is taken, and states that are equal are continued once. Each
//! run has to come to an end at which both sides have the same link open, or both rest, with every
//! message delivered once and in order, and nothing given up: both sides live.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::world::{Gate, Side, Step, World};

/// More steps than any run takes.
const STEPS_MAX: usize = 200;

/// How it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    /// Neither has a session; both connect.
    Fresh,
    /// The session was open, its link was lost, and both have more to send.
    Resting,
    /// The link was lost with a message of each side on it, and only one side knows so far.
    Broken,
}

fn world(start: Start, resetcheck: bool, (cuts, early): (u8, u8)) -> World {
    let messages = |first: u8| match start {
        Start::Fresh => vec![first],
        _ => vec![first, first + 1],
    };
    let mut world = World {
        sides: [10, 20].map(|first| Side::new(messages(first), resetcheck)),
        links: Default::default(),
        cuts: 0,
        early: 0,
    };
    if start != Start::Fresh {
        world.apply(Step::Send(0));
        run(&mut world, |step| !matches!(step, Step::Send(_)));
        world.apply(Step::Send(1));
        run(&mut world, |step| !matches!(step, Step::Send(_)));
        let link = *world.links.keys().next().expect("it is open");
        if start == Start::Broken {
            world.apply(Step::Send(0));
            world.apply(Step::Send(1));
            // That of side 0 arrives, and its acknowledgement does not.
            world.apply(Step::Deliver(link, 1));
        }
        world.cuts = 1;
        world.apply(Step::Cut(link));
        if start == Start::Resting {
            run(&mut world, |step| !matches!(step, Step::Send(_)));
        } else {
            world.apply(Step::Deliver(link, 0));
        }
    }
    (world.cuts, world.early) = (cuts, early);
    world
}

/// Takes the first possible step that is wanted, until there is none.
fn run(world: &mut World, wanted: impl Fn(&Step) -> bool) {
    for _ in 0..STEPS_MAX {
        match world.steps().into_iter().find(|step| wanted(step)) {
            Some(step) => world.apply(step),
            None => return,
        }
    }
    panic!("no end: {world:#?}");
}

#[derive(Default)]
struct Explorer {
    seen: HashSet<u64>,
    trace: Vec<Step>,
    /// Ends by their kinds: open, at rest.
    ends: [usize; 2],
    told_to_wait: bool,
}

impl Explorer {
    fn visit(&mut self, world: &World, expected: &[Vec<u8>; 2]) {
        assert!(
            self.trace.len() < STEPS_MAX,
            "no end: {:?}\n{world:#?}",
            self.trace
        );
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        for (to, wanted) in world.sides.iter().rev().zip(expected) {
            let in_order = wanted.starts_with(&to.delivered);
            assert!(in_order, "deliveries: {:?}\n{world:#?}", self.trace);
            assert!(to.void.is_empty(), "lost: {:?}\n{world:#?}", self.trace);
        }
        self.told_to_wait |= world.sides.iter().any(|side| side.waits > 0);
        let steps = world.steps();
        if steps.iter().all(|step| matches!(step, Step::Cut(_))) {
            self.check_end(world, expected);
        }
        for step in steps {
            let mut next = world.clone();
            self.trace.push(step);
            next.apply(step);
            self.visit(&next, expected);
            self.trace.pop();
        }
    }

    fn check_end(&mut self, world: &World, expected: &[Vec<u8>; 2]) {
        let trace = &self.trace;
        let [a, b] = world.sides.each_ref().map(|side| side.session.as_ref());
        let (Some(a), Some(b)) = (a, b) else {
            panic!("no session: {trace:?}\n{world:#?}")
        };
        for (to, wanted) in world.sides.iter().rev().zip(expected) {
            assert_eq!(to.delivered, *wanted, "{trace:?}\n{world:#?}");
        }
        for session in [a, b] {
            let done = session.queue.is_empty() && session.sent.is_empty();
            assert!(done, "left over: {trace:?}\n{world:#?}");
        }
        let rest = [a, b]
            .iter()
            .all(|s| s.gate == Gate::Standby && s.link.is_none());
        let open = a.gate == Gate::Open && b.gate == Gate::Open && a.link == b.link;
        let open = open && a.connect_seq == b.connect_seq && world.links.len() == 1;
        assert!(
            open || rest && world.links.is_empty(),
            "{trace:?}\n{world:#?}"
        );
        self.ends[usize::from(rest)] += 1;
    }
}

/// Explores all runs; true if a side was told to wait in one of them.
fn check(start: Start, resetcheck: bool, budget: (u8, u8)) -> bool {
    let world = world(start, resetcheck, budget);
    let expected = match start {
        Start::Fresh => [vec![10], vec![20]],
        _ => [vec![10, 11], vec![20, 21]],
    };
    let mut explorer = Explorer::default();
    explorer.visit(&world, &expected);
    println!(
        "{start:?} resetcheck {resetcheck} cuts {} early {}: {} states; ends: {} open, {} at rest",
        budget.0,
        budget.1,
        explorer.seen.len(),
        explorer.ends[0],
        explorer.ends[1],
    );
    assert!(explorer.ends[0] > 0, "no run ends open");
    explorer.told_to_wait
}

#[test]
fn races_end_well() {
    for start in [Start::Fresh, Start::Resting, Start::Broken] {
        for resetcheck in [false, true] {
            for budget in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let waited = check(start, resetcheck, budget);
                assert!(waited, "{start:?}: no race came about");
            }
        }
    }
}
