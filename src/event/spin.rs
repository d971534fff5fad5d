//! Whether to look again and again before waiting.
//!
//! To be woken from a wait takes longer than many peers take to answer: 50 µs on a virtual machine,
//! against the 5 µs of a round trip between two threads that are awake. Looking on costs a core as
//! long as nothing comes, so after looks in vain some waits begin at once, twice as many each
//! time.

use std::time::Duration;

/// After so many spins in vain, one in `2^VAIN_MAX` waits spins.
const VAIN_MAX: u32 = 6;

#[derive(Debug, Default)]
pub(super) struct Spin {
    /// How long to look before a wait; zero: never.
    most: Duration,
    /// Spins in a row that found nothing, up to [`VAIN_MAX`].
    vain: u32,
    /// Waits to come that do not spin.
    pause: u32,
}

impl Spin {
    pub(super) fn new(most: Duration) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    /// For the wait that is about to begin: how long to look first.
    pub(super) fn next(&mut self) -> Option<Duration> {
        if self.most.is_zero() {
            return None;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        Some(self.most)
    }

    /// Whether it has found something.
    pub(super) fn learn(&mut self, found: bool) {
        self.vain = if found {
            0
        } else {
            (self.vain + 1).min(VAIN_MAX)
        };
        self.pause = (1 << self.vain) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many waits begin at once until one spins.
    fn pause(spin: &mut Spin) -> u32 {
        let mut waits = 0;
        while spin.next().is_none() {
            waits += 1;
            assert!(waits < 1000, "it never spins again");
        }
        waits
    }

    #[test]
    fn spins_in_vain_become_rare_and_one_that_pays_brings_them_back() {
        let mut spin = Spin::new(Duration::from_micros(50));
        for expected in [0, 1, 3, 7, 15, 31, 63, 63] {
            assert_eq!(pause(&mut spin), expected);
            spin.learn(false);
        }
        assert_eq!(pause(&mut spin), 63);
        spin.learn(true);
        assert_eq!(spin.next(), Some(spin.most));
    }

    #[test]
    fn it_is_off_unless_asked_for() {
        assert_eq!(Spin::default().next(), None);
    }
}
