//! The requests of one connection that have no reply yet. Replies come in their order.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use crate::meter::Meter;

#[derive(Default)]
pub struct InFlight {
    /// Batches: when they were issued, and how many of them are left.
    batches: VecDeque<(Instant, u64)>,
    oldest: u64,
    next: u64,
}

impl InFlight {
    /// Notes that so many requests are issued now. Returns their numbers.
    pub fn issue(&mut self, now: Instant, count: u64) -> Range<u64> {
        if count > 0 {
            self.batches.push_back((now, count));
        }
        let first = self.next;
        self.next += count;
        first..self.next
    }

    /// The number of the request to which the next reply belongs.
    pub fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Notes that so many replies came, and has them measured.
    ///
    /// # Panics
    ///
    /// If there were not as many requests.
    pub fn replied(&mut self, now: Instant, count: u64, meter: &mut Meter) {
        self.oldest += count;
        let mut rest = count;
        while rest > 0 {
            let (sent, left) = self.batches.front_mut().expect("a request");
            let part = rest.min(*left);
            meter.done(*sent, now, part);
            *left -= part;
            rest -= part;
            if *left == 0 {
                self.batches.pop_front();
            }
        }
    }
}
