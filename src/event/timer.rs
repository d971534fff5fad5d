//! Time events: a heap of deadlines over a slab, with lazy removal. Four entries below each make it
//! half as high as two would.
//!
//! Cancelling empties the timer's slot and leaves its heap entry to be skipped later; when more
//! than half of the heap is such leftovers it is swept, so memory follows the number of live
//! timers. Equal deadlines fire in the order of creation, which the heap key contains.

use std::cmp::{Ordering, Reverse};
use std::mem;

use dary_heap::QuaternaryHeap;

/// Sweeping a heap smaller than this would cost more than it frees.
const SWEEP_MIN: usize = 64;

/// Names a pending timer. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerId {
    slot: u32,
    serial: u64,
}

/// Deadlines are nanoseconds of the center's own time scale.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: QuaternaryHeap<Reverse<Entry>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    serial: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: u64,
    serial: u64,
    slot: u32,
}

impl Entry {
    /// Both numbers as one, for one comparison without branches.
    fn key(&self) -> u128 {
        u128::from(self.deadline) << 64 | u128::from(self.serial)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Serial number of the tenant; 0 while free.
    serial: u64,
    tag: u64,
}

impl Timers {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, deadline: u64, tag: u64) -> TimerId {
        self.serial += 1;
        let serial = self.serial;
        let tenant = Slot { serial, tag };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = tenant;
            slot
        } else {
            self.slots.push(tenant);
            self.slots.len() as u32 - 1
        };
        self.heap.push(Reverse(Entry {
            deadline,
            serial,
            slot,
        }));
        TimerId { slot, serial }
    }

    pub(super) fn cancel(&mut self, id: TimerId) -> bool {
        let live = self
            .slots
            .get(id.slot as usize)
            .is_some_and(|s| s.serial == id.serial);
        if live {
            self.vacate(id.slot);
            if self.heap.len() > SWEEP_MIN && self.heap.len() > 2 * self.len() {
                self.sweep();
            }
        }
        live
    }

    /// Takes the leftovers out of the heap.
    fn sweep(&mut self) {
        let (slots, live) = (&self.slots, self.len());
        let mut entries = mem::take(&mut self.heap).into_vec();
        entries.retain(|Reverse(e)| slots[e.slot as usize].serial == e.serial);
        // Not for every wave that comes and goes: memory that is given back is fetched again.
        if entries.capacity() > 8 * live {
            entries.shrink_to(2 * live);
        }
        self.heap = entries.into();
    }

    /// The earliest deadline.
    pub(super) fn next(&mut self) -> Option<u64> {
        while let Some(Reverse(entry)) = self.heap.peek() {
            if self.slots[entry.slot as usize].serial == entry.serial {
                return Some(entry.deadline);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes the earliest timer with a deadline up to `now` that was created up to `serial`.
    pub(super) fn pop_due(&mut self, now: u64, serial: u64) -> Option<(TimerId, u64)> {
        let deadline = self.next()?;
        let Reverse(entry) = *self.heap.peek()?;
        if deadline > now || entry.serial > serial {
            return None;
        }
        self.heap.pop();
        let tag = self.slots[entry.slot as usize].tag;
        self.vacate(entry.slot);
        Some((
            TimerId {
                slot: entry.slot,
                serial: entry.serial,
            },
            tag,
        ))
    }

    /// Serial number of the newest timer, to tell those that handlers create from older ones.
    pub(super) fn newest(&self) -> u64 {
        self.serial
    }

    fn vacate(&mut self, slot: u32) {
        self.slots[slot as usize].serial = 0;
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(timers: &mut Timers, now: u64) -> Vec<u64> {
        let newest = timers.newest();
        std::iter::from_fn(|| timers.pop_due(now, newest))
            .map(|(_, tag)| tag)
            .collect()
    }

    #[test]
    fn deadlines_in_order_and_ties_by_creation() {
        let mut timers = Timers::default();
        for (tag, deadline) in [(0, 30), (1, 10), (2, 20), (3, 10), (4, 10)] {
            timers.insert(deadline, tag);
        }
        assert_eq!(timers.next(), Some(10));
        assert_eq!(drain(&mut timers, 9), []);
        assert_eq!(drain(&mut timers, 20), [1, 3, 4, 2]);
        assert_eq!(drain(&mut timers, 30), [0]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_cancelled_timer_is_neither_fired_nor_waited_for() {
        let mut timers = Timers::default();
        let first = timers.insert(10, 1);
        timers.insert(20, 2);
        assert!(timers.cancel(first));
        assert!(!timers.cancel(first), "once only");
        assert_eq!(timers.next(), Some(20));
        assert_eq!(drain(&mut timers, 100), [2]);
    }

    #[test]
    fn an_old_id_does_not_cancel_the_next_tenant() {
        let mut timers = Timers::default();
        let old = timers.insert(10, 1);
        assert_eq!(drain(&mut timers, 10), [1]);
        timers.insert(20, 2);
        assert!(!timers.cancel(old));
        assert_eq!(timers.len(), 1);
    }

    #[test]
    fn a_million_cancelled_timers_leave_no_memory() {
        let mut timers = Timers::default();
        timers.insert(u64::MAX, 0);
        for i in 0..1_000_000 {
            let id = timers.insert(1_000_000 + i, i);
            assert!(timers.cancel(id));
        }
        assert_eq!(timers.len(), 1);
        assert!(
            timers.heap.capacity() <= 4 * SWEEP_MIN,
            "{}",
            timers.heap.capacity()
        );
        assert!(timers.slots.capacity() <= 8, "{}", timers.slots.capacity());
    }

    #[test]
    fn memory_is_flat_while_a_hundred_thousand_timers_change() {
        const LIVE: usize = 100_000;
        let mut timers = Timers::default();
        let mut ids: Vec<TimerId> = (0..LIVE as u64).map(|i| timers.insert(i, i)).collect();
        let mut change = |timers: &mut Timers| {
            for (i, id) in ids.iter_mut().enumerate() {
                assert!(timers.cancel(*id));
                // In no order: multiples of a prime.
                *id = timers.insert((i * 48_271 % LIVE) as u64, i as u64);
            }
        };
        let memory = |timers: &Timers| {
            let (heap, slots) = (timers.heap.capacity(), timers.slots.capacity());
            (heap, slots, timers.free.capacity())
        };
        change(&mut timers);
        change(&mut timers);
        let before = memory(&timers);
        assert!(before.0 <= 4 * LIVE, "{before:?}");
        for _ in 0..5 {
            change(&mut timers);
            assert_eq!(memory(&timers), before);
        }
        assert_eq!(timers.len(), LIVE);
    }

    #[test]
    fn timers_made_by_a_handler_wait_for_the_next_pass() {
        let mut timers = Timers::default();
        timers.insert(1, 1);
        let newest = timers.newest();
        assert!(timers.pop_due(5, newest).is_some());
        timers.insert(1, 2);
        assert_eq!(timers.pop_due(5, newest), None);
        assert_eq!(drain(&mut timers, 5), [2]);
    }
}
