//! The priority queue against the rules, word by word, and what the rules are for.

use super::*;
use crate::event::{Env, ManualEnv, SystemEnv};

const MIN_COST: u64 = 10;
const MAX_TOKENS: u64 = 1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Item {
    priority: u16,
    class: u64,
    cost: u64,
    serial: u64,
}

/// The rules, word by word, over a list in the order of arrival.
#[derive(Default)]
struct Model {
    items: Vec<Item>,
    turns: BTreeMap<u16, u64>,
    tokens: BTreeMap<u16, u64>,
}

impl Model {
    fn push(&mut self, item: Item) {
        self.turns.entry(item.priority).or_insert(item.class);
        self.tokens.entry(item.priority).or_insert(0);
        self.items.push(item);
    }

    fn front(&self, priority: u16) -> usize {
        let turn = self.turns[&priority];
        let wanted = |item: &Item| (item.priority, item.class) == (priority, turn);
        self.items.iter().position(wanted).expect("it has its turn")
    }

    /// After items of a priority are gone: whose turn it is, if it was this class's.
    fn tidy(&mut self, priority: u16, gone: u64) {
        let there = self.items.iter().filter(|item| item.priority == priority);
        let classes: Vec<u64> = there.map(|item| item.class).collect();
        let Some(lowest) = classes.iter().min() else {
            self.turns.remove(&priority);
            self.tokens.remove(&priority);
            return;
        };
        if self.turns[&priority] == gone {
            let above = classes.iter().filter(|&&class| class > gone).min();
            self.turns.insert(priority, *above.unwrap_or(lowest));
        }
    }

    fn take(&mut self, at: usize) -> Item {
        let item = self.items.remove(at);
        self.tidy(item.priority, item.class);
        item
    }

    fn pop(&mut self) -> Option<Item> {
        let highest = self.items.iter().map(|item| item.priority).max()?;
        if highest >= STRICT_MIN {
            let at = self.front(highest);
            return Some(self.take(at));
        }
        let clamped = |at: usize| self.items[at].cost.clamp(MIN_COST, MAX_TOKENS);
        let rich = |&(&priority, &tokens): &(&u16, &u64)| clamped(self.front(priority)) < tokens;
        let paid = self.tokens.iter().find(rich).map(|(&priority, _)| priority);
        let at = self.front(paid.unwrap_or(highest));
        let cost = clamped(at);
        if let Some(tokens) = paid.and_then(|priority| self.tokens.get_mut(&priority)) {
            *tokens = tokens.saturating_sub(cost);
        }
        let item = self.take(at);
        let total: u64 = self
            .tokens
            .keys()
            .map(|&priority| u64::from(priority))
            .sum();
        for (&priority, tokens) in &mut self.tokens {
            if let Some(share) = (u64::from(priority) * cost).checked_div(total) {
                *tokens = (*tokens + share + 1).min(MAX_TOKENS);
            }
        }
        Some(item)
    }

    fn discard(&mut self, class: u64) -> Vec<Item> {
        let (mut gone, left) = std::mem::take(&mut self.items)
            .into_iter()
            .partition(|item| item.class == class && class != COMMON);
        self.items = left;
        for item in &gone {
            if self.turns.contains_key(&item.priority) {
                self.tidy(item.priority, class);
            }
        }
        gone.sort_by_key(|item| (item.priority, item.serial));
        gone
    }
}

fn queue() -> PrioQueue<Item> {
    PrioQueue::new(MIN_COST, MAX_TOKENS)
}

fn push(queue: &mut PrioQueue<Item>, item: Item) {
    queue.push(item.priority, item.class, item.cost, item);
}

fn item(priority: u16, class: u64, serial: u64) -> Item {
    Item {
        priority,
        class,
        cost: 0,
        serial,
    }
}

fn drain(queue: &mut PrioQueue<Item>) -> Vec<Item> {
    std::iter::from_fn(|| queue.pop()).collect()
}

/// No level and no class is empty, every place is used or free, and the sum is right.
fn check(queue: &PrioQueue<Item>) {
    let mut items = 0;
    for (priority, level) in queue.strict.iter().chain(&queue.weighted) {
        assert!(level.classes.contains_key(&level.turn), "{priority}");
        assert!(level.tokens <= MAX_TOKENS, "{priority}");
        for (&class, chain) in &level.classes {
            let mut place = chain.first;
            let mut before = None;
            while place != NIL {
                let item = queue.places.all[place].item.expect("it is in a list");
                assert_eq!((item.priority, item.class), (*priority, class));
                assert!(before < Some(item.serial), "out of order");
                before = Some(item.serial);
                items += 1;
                if queue.places.next(place) == NIL {
                    assert_eq!(place, chain.last);
                }
                place = queue.places.next(place);
            }
        }
    }
    let mut free = queue.places.free;
    let mut places = items;
    while free != NIL {
        assert!(queue.places.all[free].item.is_none());
        places += 1;
        free = queue.places.next(free);
    }
    assert_eq!((items, places), (queue.len(), queue.places.all.len()));
    let total: u64 = queue
        .weighted
        .keys()
        .map(|&priority| u64::from(priority))
        .sum();
    assert_eq!(queue.total, total);
}

#[test]
fn random_operations_give_what_the_rules_say() {
    let wanted = std::env::var("PRIO_SEED").ok();
    let seed = wanted.map_or_else(|| SystemEnv.random(), |s| s.parse().expect("a number"));
    println!("PRIO_SEED={seed}");
    let env = ManualEnv::new(seed);
    let below = |n: u64| env.random() % n;
    let priorities = [0, 1, 10, 50, 63, 64, 127, 196, 255, 256, u16::MAX];
    for round in 0..20 {
        let (mut queue, mut model) = (queue(), Model::default());
        // Now one grows, now the other.
        let pushes = 30 + below(50);
        for serial in 0..3000 {
            match below(100) {
                n if n < pushes => {
                    let item = Item {
                        priority: priorities[below(priorities.len() as u64) as usize],
                        class: below(6),
                        cost: below(1500),
                        serial,
                    };
                    push(&mut queue, item);
                    model.push(item);
                }
                99 => {
                    let class = below(6);
                    let mut gone = queue.discard(class);
                    gone.sort_by_key(|item| item.priority);
                    assert_eq!(gone, model.discard(class), "round {round}, {serial}");
                }
                _ => assert_eq!(queue.pop(), model.pop(), "round {round}, {serial}"),
            }
            if serial % 100 == 0 {
                check(&queue);
            }
        }
        let rest: Vec<Item> = std::iter::from_fn(|| model.pop()).collect();
        assert_eq!(drain(&mut queue), rest, "round {round}");
        check(&queue);
    }
}

#[test]
fn the_highest_strict_priority_goes_first_and_all_of_them_before_weighted_ones() {
    let mut queue = queue();
    for (serial, priority) in [63, 64, 255, 127, 0, 300, 64].into_iter().enumerate() {
        push(&mut queue, item(priority, 1, serial as u64));
    }
    let order: Vec<u16> = drain(&mut queue).iter().map(|item| item.priority).collect();
    assert_eq!(order, [300, 255, 127, 64, 64, 63, 0]);
}

#[test]
fn classes_take_turns_in_ascending_order_and_each_is_first_in_first_out() {
    for priority in [10, 127] {
        let mut queue = queue();
        let arrivals = [(5, 1), (5, 2), (5, 3), (2, 4), (9, 5), (9, 6), (2, 7)];
        for (class, serial) in arrivals {
            push(&mut queue, item(priority, class, serial));
        }
        let order: Vec<u64> = drain(&mut queue).iter().map(|item| item.serial).collect();
        // 5 came first, then 9, and round again from 2.
        assert_eq!(order, [1, 5, 4, 2, 6, 7, 3]);
    }
}

#[test]
fn one_class_cannot_hold_up_another() {
    let mut queue = queue();
    for serial in 0..1000 {
        push(&mut queue, item(127, 1, serial));
    }
    push(&mut queue, item(127, 2, 1000));
    queue.pop();
    assert_eq!(queue.pop().map(|item| item.class), Some(2));
}

#[test]
fn weighted_priorities_get_shares_that_follow_their_numbers() {
    let mut queue = queue();
    let mut counts = BTreeMap::from([(10, 0), (20, 0), (30, 0)]);
    for &priority in counts.keys() {
        for class in 1..3 {
            let item = Item {
                cost: 200,
                ..item(priority, class, 0)
            };
            push(&mut queue, item);
        }
    }
    let rounds = 60_000;
    for _ in 0..rounds {
        let taken = queue.pop().expect("there are always six");
        *counts.get_mut(&taken.priority).expect("known") += 1;
        push(&mut queue, taken);
    }
    for (priority, count) in counts {
        // Each also gets one token for every item, which favours the low ones a little.
        let share = f64::from(count) / f64::from(rounds);
        let fair = f64::from(priority) / 60.0;
        println!("priority {priority}: {share:.3} of all, {fair:.3} by its number");
        assert!(
            (share - fair).abs() < 0.1 && share > 0.1,
            "{priority}: {share}"
        );
    }
}

#[test]
fn expensive_items_use_their_share_up_sooner() {
    let mut queue = queue();
    let mut spent = BTreeMap::from([(20, 0), (40, 0)]);
    for (priority, cost) in [(20, 50), (40, 400)] {
        let item = Item {
            cost,
            ..item(priority, 1, 0)
        };
        (0..2).for_each(|_| push(&mut queue, item));
    }
    for _ in 0..60_000 {
        let taken = queue.pop().expect("there are always four");
        *spent.get_mut(&taken.priority).expect("known") += taken.cost;
        push(&mut queue, taken);
    }
    let share = spent[&20] as f64 / (spent[&20] + spent[&40]) as f64;
    println!("priority 20 got {share:.3} of the bytes");
    assert!((0.25..0.42).contains(&share), "{share}");
}

#[test]
fn a_discarded_class_is_gone_and_common_items_stay() {
    let mut queue = queue();
    for (serial, priority) in [10, 64, 127, 255, 10].into_iter().enumerate() {
        for class in [COMMON, 1, 2] {
            push(&mut queue, item(priority, class, serial as u64));
        }
    }
    let gone = queue.discard(1);
    assert_eq!(gone.len(), 5);
    assert!(gone.iter().all(|item| item.class == 1));
    assert!(queue.discard(1).is_empty() && queue.discard(COMMON).is_empty());
    check(&queue);
    assert_eq!(queue.discard(2).len(), 5);
    assert_eq!(drain(&mut queue).len(), 5);
}

#[test]
fn a_queue_gives_the_memory_of_a_burst_back_and_keeps_what_it_always_needs() {
    let mut queue = queue();
    for serial in 0..10 * SPARE_PLACES as u64 {
        push(&mut queue, item(127, serial % 7, serial));
    }
    drain(&mut queue);
    assert_eq!(queue.places.all.capacity(), 0);
    for serial in 0..100 {
        push(&mut queue, item(127, 1, serial));
        push(&mut queue, item(10, 1, serial));
        queue.pop();
        queue.pop();
    }
    assert_eq!((queue.places.all.len(), queue.spare.len()), (2, 2));
}
