//! The order of the dispatch queue (session §6).
//!
//! Plain data: no lock, thread or clock. Items have a priority, a class and a cost. From 64 up
//! priorities are strict: the highest goes first. Below they are weighted: each gets its share of
//! what is taken, in proportion to its number, so that none starves. Within a priority the classes
//! take turns in ascending order, and a class is first in, first out.
//!
//! Invariants: no level and no class is empty; `total` is the sum of the weighted priorities that
//! are present. What is emptied is kept for the next item, so a queue in steady state does not
//! allocate.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// The class of what belongs to no connection; it is never discarded.
pub(super) const COMMON: u64 = 0;
/// The lowest strict priority.
const STRICT_MIN: u16 = 64;
/// Emptied levels that are kept.
const SPARE_LEVELS: usize = 8;
/// Places for items that an empty queue keeps.
const SPARE_PLACES: usize = 1024;
/// No place.
const NIL: usize = usize::MAX;

/// A queue of items by priority, class and cost.
pub(super) struct PrioQueue<T> {
    strict: BTreeMap<u16, Level>,
    weighted: BTreeMap<u16, Level>,
    /// The sum of the priorities in `weighted`.
    total: u64,
    places: Places<T>,
    spare: Vec<Level>,
    min_cost: u64,
    max_tokens: u64,
}

/// The items of one priority.
struct Level {
    classes: BTreeMap<u64, Chain>,
    /// The class whose turn it is.
    turn: u64,
    /// What this priority may spend; only weighted ones have any.
    tokens: u64,
}

/// The items of one class in one priority: a list through the places.
#[derive(Clone, Copy)]
struct Chain {
    first: usize,
    last: usize,
}

impl<T> PrioQueue<T> {
    /// A queue in which an item costs at least `min_cost`, and a priority saves at most
    /// `max_tokens`, which is also the most that an item costs.
    pub(super) fn new(min_cost: u64, max_tokens: u64) -> Self {
        Self {
            strict: BTreeMap::new(),
            weighted: BTreeMap::new(),
            total: 0,
            places: Places::new(),
            spare: Vec::new(),
            min_cost,
            max_tokens,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.used
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, priority: u16, class: u64, cost: u64, item: T) {
        let cost = cost.max(self.min_cost).min(self.max_tokens);
        let place = self.places.put(item, cost);
        let strict = priority >= STRICT_MIN;
        let levels = if strict {
            &mut self.strict
        } else {
            &mut self.weighted
        };
        let total = &mut self.total;
        let spare = &mut self.spare;
        let level = levels.entry(priority).or_insert_with(|| {
            *total += u64::from(if strict { 0 } else { priority });
            spare.pop().unwrap_or_default()
        });
        level.push(class, place, &mut self.places);
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        if let Some((&priority, level)) = self.strict.iter_mut().next_back() {
            let place = level.pop(&self.places)?;
            self.retire(priority);
            return self.places.take(place);
        }
        let (priority, cost, saved) = self.choose()?;
        let level = self.weighted.get_mut(&priority)?;
        if saved {
            level.tokens = level.tokens.saturating_sub(cost);
        }
        let place = level.pop(&self.places)?;
        self.retire(priority);
        self.distribute(cost);
        self.places.take(place)
    }

    /// The weighted priority whose turn it is, what its next item costs, and whether it has saved
    /// that much: the lowest that has, or else the highest.
    fn choose(&self) -> Option<(u16, u64, bool)> {
        let cost = |level: &Level| level.front().map_or(0, |place| self.places.cost(place));
        let mut levels = self.weighted.iter();
        if let Some((&priority, level)) = levels.find(|(_, level)| cost(level) < level.tokens) {
            return Some((priority, cost(level), true));
        }
        let (&priority, level) = self.weighted.last_key_value()?;
        Some((priority, cost(level), false))
    }

    /// Gives each weighted priority its share of a cost.
    fn distribute(&mut self, cost: u64) {
        if self.total == 0 {
            // Nothing is left, or only priority 0, which has nobody to share with.
            return;
        }
        for (&priority, level) in &mut self.weighted {
            let share = u64::from(priority).saturating_mul(cost) / self.total;
            let tokens = level.tokens.saturating_add(share).saturating_add(1);
            level.tokens = tokens.min(self.max_tokens);
        }
    }

    /// Removes all items of a class, in order within each priority.
    pub(super) fn discard(&mut self, class: u64) -> Vec<T> {
        let mut out = Vec::new();
        if class == COMMON || self.is_empty() {
            return out;
        }
        let mut emptied = Vec::new();
        for (&priority, level) in self.strict.iter_mut().chain(&mut self.weighted) {
            let mut next = level.discard(class);
            while next != NIL {
                let place = next;
                next = self.places.next(place);
                out.extend(self.places.take(place));
            }
            if level.classes.is_empty() {
                emptied.push(priority);
            }
        }
        emptied
            .into_iter()
            .for_each(|priority| self.retire(priority));
        out
    }

    /// Takes a level out if it is empty.
    fn retire(&mut self, priority: u16) {
        let levels = if priority >= STRICT_MIN {
            &mut self.strict
        } else {
            &mut self.weighted
        };
        if levels
            .get(&priority)
            .is_none_or(|level| !level.classes.is_empty())
        {
            return;
        }
        let Some(mut level) = levels.remove(&priority) else {
            return;
        };
        if priority < STRICT_MIN {
            self.total -= u64::from(priority);
        }
        if self.spare.len() < SPARE_LEVELS {
            level.tokens = 0;
            self.spare.push(level);
        }
    }
}

impl Default for Level {
    fn default() -> Self {
        Self {
            classes: BTreeMap::new(),
            turn: COMMON,
            tokens: 0,
        }
    }
}

impl Level {
    /// The place of the next item.
    fn front(&self) -> Option<usize> {
        self.classes.get(&self.turn).map(|chain| chain.first)
    }

    fn push<T>(&mut self, class: u64, place: usize, places: &mut Places<T>) {
        if self.classes.is_empty() {
            self.turn = class;
        }
        let fresh = Chain {
            first: place,
            last: NIL,
        };
        let chain = self.classes.entry(class).or_insert(fresh);
        if chain.last != NIL {
            places.link(chain.last, place);
        }
        chain.last = place;
    }

    /// Takes the next item off; its place is the caller's to free.
    fn pop<T>(&mut self, places: &Places<T>) -> Option<usize> {
        let chain = self.classes.get_mut(&self.turn)?;
        let place = chain.first;
        if place == chain.last {
            self.classes.remove(&self.turn);
        } else {
            chain.first = places.next(place);
        }
        self.pass_on();
        Some(place)
    }

    /// Takes a class out, and returns its first place.
    fn discard(&mut self, class: u64) -> usize {
        let Some(chain) = self.classes.remove(&class) else {
            return NIL;
        };
        if self.turn == class {
            self.pass_on();
        }
        chain.first
    }

    /// The turn goes to the next class that is there, and behind the last one to the first.
    fn pass_on(&mut self) {
        let mut above = self.classes.range((Excluded(self.turn), Unbounded));
        let next = above.next().or_else(|| self.classes.first_key_value());
        self.turn = next.map_or(COMMON, |(&class, _)| class);
    }
}

/// Where the items are. Free places form a list, like the items of a class.
struct Places<T> {
    all: Vec<Place<T>>,
    free: usize,
    used: usize,
}

struct Place<T> {
    item: Option<T>,
    cost: u64,
    next: usize,
}

impl<T> Places<T> {
    fn new() -> Self {
        Self {
            all: Vec::new(),
            free: NIL,
            used: 0,
        }
    }

    fn put(&mut self, item: T, cost: u64) -> usize {
        self.used += 1;
        let filled = Place {
            item: Some(item),
            cost,
            next: NIL,
        };
        match self.all.get_mut(self.free) {
            Some(place) => {
                let next = std::mem::replace(place, filled).next;
                std::mem::replace(&mut self.free, next)
            }
            None => {
                self.all.push(filled);
                self.all.len() - 1
            }
        }
    }

    fn take(&mut self, at: usize) -> Option<T> {
        let place = &mut self.all[at];
        let item = place.item.take();
        place.next = self.free;
        self.free = at;
        self.used -= 1;
        if self.used == 0 && self.all.len() > SPARE_PLACES {
            // What a burst has needed is not kept for ever.
            *self = Self::new();
        }
        item
    }

    fn cost(&self, at: usize) -> u64 {
        self.all[at].cost
    }

    fn next(&self, at: usize) -> usize {
        self.all[at].next
    }

    fn link(&mut self, at: usize, next: usize) {
        self.all[at].next = next;
    }
}

#[cfg(test)]
mod tests;
