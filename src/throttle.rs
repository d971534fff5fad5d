//! Throttles: bounds on what is in flight, which make a connection wait instead of a thread.
//!
//! A throttle counts units (bytes, messages). Who takes some gets a [`Permit`] that gives them back
//! when it is dropped. Who cannot have them now leaves a callback and is granted a permit later, in
//! the order of asking: nobody polls and no thread blocks (session §4).
//!
//! Taking and giving back are single atomic operations; the mutex guards only the waiters.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bound on units in flight, shared by everything that takes from it.
pub struct Throttle {
    name: String,
    max: AtomicU64,
    current: AtomicU64,
    /// Length of `waiters`, raised before the last attempt to take and so seen by every later `put`.
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    queue: VecDeque<Waiter>,
    serial: u64,
}

struct Waiter {
    id: u64,
    units: u64,
    grant: Box<dyn FnOnce(Permit) + Send>,
}

impl Throttle {
    /// A throttle that lets `max` units be in flight; 0 means unlimited.
    ///
    /// One request that is larger than `max` passes while not more than `max` is in flight, or it
    /// could never pass.
    #[must_use]
    pub fn new(name: impl Into<String>, max: u64) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            max: AtomicU64::new(max),
            current: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            waiters: Mutex::default(),
        })
    }

    /// The name, for logs and counters.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Units in flight.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.current.load(SeqCst)
    }

    /// The limit; 0 means unlimited.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max.load(SeqCst)
    }

    /// How many wait for a permit.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Changes the limit. Waiters that fit now are granted at once.
    pub fn set_max(self: &Arc<Self>, max: u64) {
        self.max.store(max, SeqCst);
        self.grant_waiters();
    }

    /// Takes units, unless they do not fit or others wait already.
    #[must_use]
    pub fn try_take(self: &Arc<Self>, units: u64) -> Option<Permit> {
        (self.waiting() == 0 && self.raise(units)).then(|| self.permit(units))
    }

    /// Takes units, or queues `grant` to be called with them as soon as they fit.
    ///
    /// `grant` runs on the thread that gives units back and must not block. Dropping the [`Ticket`]
    /// takes the request back.
    ///
    /// # Errors
    /// The ticket of the waiting request.
    pub fn take_or_park(
        self: &Arc<Self>,
        units: u64,
        grant: impl FnOnce(Permit) + Send + 'static,
    ) -> Result<Permit, Ticket> {
        if let Some(permit) = self.try_take(units) {
            return Ok(permit);
        }
        let mut waiters = self.waiters();
        let first = waiters.queue.is_empty();
        self.waiting.fetch_add(1, SeqCst);
        if first && self.raise(units) {
            self.waiting.fetch_sub(1, SeqCst);
            return Ok(self.permit(units));
        }
        waiters.serial += 1;
        let id = waiters.serial;
        waiters.queue.push_back(Waiter {
            id,
            units,
            grant: Box::new(grant),
        });
        Err(Ticket {
            throttle: Some(Arc::clone(self)),
            id,
        })
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permit(self: &Arc<Self>, units: u64) -> Permit {
        Permit {
            throttle: Arc::clone(self),
            units,
        }
    }

    /// Adds to the count if the rule of session §4 allows it.
    fn raise(&self, units: u64) -> bool {
        let max = self.max();
        let fits = |current: u64| {
            let after = current.checked_add(units)?;
            (max == 0 || after <= max || (units > max && current <= max)).then_some(after)
        };
        self.current.fetch_update(SeqCst, SeqCst, fits).is_ok()
    }

    fn put(self: &Arc<Self>, units: u64) {
        let before = self.current.fetch_sub(units, SeqCst);
        debug_assert!(
            before >= units,
            "throttle {}: more given back than taken",
            self.name
        );
        if self.waiting() > 0 {
            self.grant_waiters();
        }
    }

    fn grant_waiters(self: &Arc<Self>) {
        loop {
            let mut waiters = self.waiters();
            let Some(front) = waiters.queue.front() else {
                return;
            };
            let units = front.units;
            if !self.raise(units) {
                return;
            }
            let Some(waiter) = waiters.queue.pop_front() else {
                return;
            };
            self.waiting.fetch_sub(1, SeqCst);
            drop(waiters);
            // Outside the lock: the receiver may drop the permit at once, which comes back here.
            (waiter.grant)(self.permit(units));
        }
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("name", &self.name)
            .field("current", &self.current())
            .field("max", &self.max())
            .field("waiting", &self.waiting())
            .finish()
    }
}

/// Units taken from a [`Throttle`]; dropping it gives them back.
#[derive(Debug)]
#[must_use = "dropping a permit gives its units back at once"]
pub struct Permit {
    throttle: Arc<Throttle>,
    units: u64,
}

impl Permit {
    /// How many units it stands for.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Makes it one for so many units, for the next of a row: without asking if that is not more than
    /// it has, so the order of asking is kept only if nobody waits. False: it is to be given back,
    /// and the units to be asked for.
    pub(crate) fn reuse(&mut self, units: u64) -> bool {
        if units > self.units || self.throttle.waiting() > 0 {
            return false;
        }
        if units < self.units {
            self.throttle.put(self.units - units);
            self.units = units;
        }
        true
    }

    /// Takes more units, whether they fit or not: for what turned out to be larger than it was
    /// announced, and is there already. Who comes later waits for them to be given back.
    pub fn grow(&mut self, by: u64) {
        self.throttle.current.fetch_add(by, SeqCst);
        self.units += by;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.throttle.put(self.units);
    }
}

/// A request that waits at a [`Throttle`]; dropping it takes the request back.
#[derive(Debug)]
#[must_use = "dropping a ticket takes the request back"]
pub struct Ticket {
    throttle: Option<Arc<Throttle>>,
    id: u64,
}

impl Ticket {
    /// Leaves the request in the queue for good: it will be granted, however long it takes.
    pub fn detach(mut self) {
        self.throttle = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(throttle) = &self.throttle else {
            return;
        };
        let mut waiters = throttle.waiters();
        let Some(at) = waiters.queue.iter().position(|w| w.id == self.id) else {
            return;
        };
        let waiter = waiters.queue.remove(at);
        throttle.waiting.fetch_sub(1, SeqCst);
        drop(waiters);
        drop(waiter);
        // The one behind may fit where this one did not.
        throttle.grant_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn units_come_back_when_the_permit_is_dropped() {
        let throttle = Throttle::new("t", 10);
        let six = throttle.try_take(6).expect("fits");
        assert!(throttle.try_take(5).is_none());
        let four = throttle.try_take(4).expect("fits exactly");
        assert_eq!(throttle.current(), 10);
        drop(six);
        drop(four);
        assert_eq!(throttle.current(), 0);
    }

    #[test]
    fn one_oversized_request_passes_alone() {
        let throttle = Throttle::new("t", 10);
        let big = throttle.try_take(1000).expect("nothing is in flight");
        assert!(throttle.try_take(1).is_none());
        drop(big);
        assert!(throttle.try_take(1).is_some());
    }

    #[test]
    fn zero_means_unlimited() {
        let throttle = Throttle::new("t", 0);
        let _a = throttle.try_take(u64::MAX / 2).expect("unlimited");
        let _b = throttle.try_take(5).expect("unlimited");
    }

    #[test]
    fn a_permit_grows_beyond_the_limit_and_others_wait() {
        let throttle = Throttle::new("t", 10);
        let mut permit = throttle.try_take(6).expect("fits");
        permit.grow(100);
        assert_eq!((permit.units(), throttle.current()), (106, 106));
        assert!(throttle.try_take(1).is_none());
        drop(permit);
        assert_eq!(throttle.current(), 0);
    }

    #[test]
    fn a_permit_serves_the_next_one_unless_somebody_waits() {
        let throttle = Throttle::new("t", 10);
        let mut permit = throttle.try_take(6).expect("fits");
        assert!(permit.reuse(6) && permit.reuse(4));
        assert_eq!((permit.units(), throttle.current()), (4, 4));
        assert!(!permit.reuse(5), "that has to be asked for");
        let (tx, rx) = mpsc::channel();
        let _ticket = throttle
            .take_or_park(8, move |p| tx.send(p).unwrap())
            .expect_err("does not fit");
        assert!(!permit.reuse(4), "somebody waits");
        drop(permit);
        assert_eq!(rx.try_recv().expect("fits now").units(), 8);
    }

    #[test]
    fn waiters_are_served_in_order_and_nobody_overtakes() {
        let throttle = Throttle::new("t", 10);
        let all = throttle.try_take(10).expect("fits");
        let (tx, rx) = mpsc::channel();
        let mut tickets = Vec::new();
        for (name, units) in [("a", 8), ("b", 2), ("c", 3)] {
            let tx = tx.clone();
            let parked = throttle.take_or_park(units, move |p| tx.send((name, p)).unwrap());
            tickets.push(parked.expect_err("full"));
        }
        assert_eq!(throttle.waiting(), 3);
        drop(all);
        let (a, b) = (rx.try_recv().unwrap(), rx.try_recv().unwrap());
        assert_eq!((a.0, b.0), ("a", "b"));
        assert!(rx.try_recv().is_err(), "c does not fit yet");
        assert!(throttle.try_take(0).is_none(), "others wait already");
        drop(b);
        assert!(rx.try_recv().is_err());
        drop(a);
        assert_eq!(rx.try_recv().unwrap().0, "c");
        assert_eq!((throttle.waiting(), throttle.current()), (0, 0));
    }

    #[test]
    fn a_dropped_ticket_lets_the_next_one_in() {
        let throttle = Throttle::new("t", 10);
        let held = throttle.try_take(5).expect("fits");
        let (tx, rx) = mpsc::channel();
        let big = throttle
            .take_or_park(9, |_| panic!("was taken back"))
            .expect_err("full");
        let _small = throttle
            .take_or_park(5, move |p| tx.send(p).unwrap())
            .expect_err("queued");
        drop(big);
        assert_eq!(rx.try_recv().expect("fits now").units(), 5);
        drop(held);
        assert_eq!(throttle.current(), 0);
    }

    #[test]
    fn under_contention_no_waiter_is_forgotten_and_nothing_leaks() {
        let throttle = Throttle::new("t", 3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for i in 0..20_000u64 {
                        let (tx, rx) = mpsc::channel();
                        match throttle.take_or_park(1 + i % 3, move |p| drop(tx.send(p))) {
                            Ok(permit) => drop(permit),
                            Err(ticket) => {
                                drop(rx.recv().expect("granted in the end"));
                                drop(ticket);
                            }
                        }
                    }
                });
            }
        });
        assert_eq!((throttle.current(), throttle.waiting()), (0, 0));
    }
}
