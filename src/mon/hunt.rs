//! Which monitor to try next, and when: plain data, with the random numbers passed in.
//!
//! Rounds go through all monitors in a random order, each monitor once. Invariant: between two
//! rounds there is a pause, which grows up to its limit, as does the time that an attempt may take.

use std::time::Duration;

use super::Settings;
use crate::error::{Error, ErrorKind};
use crate::wire::AddrVec;

/// What is next.
#[derive(Debug)]
pub(super) enum Next {
    /// To try this monitor for so long.
    Try(AddrVec, Duration),
    /// All have failed, for the reasons that `Hunt::verdict` sums up; a round begins after this.
    Pause(Duration),
}

/// The search for a monitor that lets us in.
#[derive(Debug, Default)]
pub(super) struct Hunt {
    /// Those of this round that are left.
    left: Vec<AddrVec>,
    /// Why the others failed; no more than there are monitors.
    failures: Vec<Error>,
    /// The verdict on the round before.
    before: Option<Error>,
    /// Rounds that have failed since the last success.
    rounds: u32,
    is_started: bool,
}

impl Hunt {
    /// What to do now.
    pub(super) fn next(
        &mut self,
        monitors: &[AddrVec],
        settings: &Settings,
        random: impl FnMut() -> u64,
    ) -> Next {
        if !self.is_started {
            self.is_started = true;
            self.before = self.verdict();
            self.failures.clear();
            self.left = shuffled(monitors, random);
        }
        match self.left.pop() {
            Some(monitor) => {
                let most = settings.attempt_timeout_max.max(settings.attempt_timeout);
                let timeout = grown(settings.attempt_timeout, self.rounds).min(most);
                Next::Try(monitor, timeout)
            }
            None => {
                let most = settings.backoff_max.max(settings.backoff);
                let pause = grown(settings.backoff, self.rounds).min(most);
                self.rounds = self.rounds.saturating_add(1);
                self.is_started = false;
                Next::Pause(pause)
            }
        }
    }

    /// The monitor that was tried does not let us in.
    pub(super) fn failed(&mut self, error: Error) {
        self.failures.push(error);
    }

    /// The same monitor once more: what it did not like has been changed.
    pub(super) fn once_more(&mut self, monitor: AddrVec) {
        self.left.push(monitor);
    }

    /// There is a session; what failed before does not matter any more. The back-off stays as it
    /// is until the session has shown that it lasts.
    pub(super) fn opened(&mut self) {
        self.failures.clear();
        self.before = None;
    }

    /// The session lasts; the next search begins from the start.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(super) fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Whether a monitor has refused us for what we are, so that trying again is in vain until
    /// somebody changes something.
    pub(super) fn is_denied(&self) -> bool {
        self.failures.iter().any(|error| {
            matches!(
                error.kind(),
                ErrorKind::Denied | ErrorKind::Incompatible | ErrorKind::Misuse
            )
        })
    }

    /// Why there is no session; `None` if nothing has failed yet.
    pub(super) fn verdict(&self) -> Option<Error> {
        if let [only] = &self.failures[..] {
            return Some(only.clone());
        }
        let Some(worst) = self.failures.iter().min_by_key(|error| weight(error)) else {
            return self.before.clone();
        };
        let each: Vec<String> = self.failures.iter().map(ToString::to_string).collect();
        let text = format!(
            "none of {} monitors lets us in: {}",
            each.len(),
            each.join("; ")
        );
        Some(Error::text(worst.kind(), text))
    }
}

/// What tells more comes first: a refusal is news of the cluster, silence is not.
fn weight(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Denied => 0,
        ErrorKind::Incompatible => 1,
        ErrorKind::Protocol => 2,
        ErrorKind::TimedOut => 3,
        ErrorKind::Unreachable => 5,
        _ => 4,
    }
}

/// Doubled so many times.
fn grown(time: Duration, times: u32) -> Duration {
    time.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
}

fn shuffled(monitors: &[AddrVec], mut random: impl FnMut() -> u64) -> Vec<AddrVec> {
    let mut order = monitors.to_vec();
    for i in (1..order.len()).rev() {
        order.swap(i, (random() % (i as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mon::parse_hosts;

    fn settings(n: u32) -> Settings {
        let monitors = (1..=n).map(|i| format!("v1:10.0.0.{i}:6789"));
        let monitors = monitors.collect::<Vec<_>>().join(",");
        Settings {
            attempt_timeout: Duration::from_secs(3),
            attempt_timeout_max: Duration::from_secs(7),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(3),
            ..Settings::new(parse_hosts(&monitors).expect("addresses"))
        }
    }

    fn round(hunt: &mut Hunt, settings: &Settings, seed: u64) -> (Vec<String>, u64, u64) {
        let (mut order, mut timeout, mut state) = (Vec::new(), 0, seed);
        loop {
            let next = hunt.next(&settings.monitors, settings, || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state >> 33
            });
            match next {
                Next::Try(monitor, time) => {
                    timeout = time.as_secs();
                    order.push(monitor.to_string());
                    hunt.failed(Error::text(ErrorKind::Unreachable, "nobody is there"));
                }
                Next::Pause(pause) => return (order, timeout, pause.as_secs()),
            }
        }
    }

    #[test]
    fn each_round_tries_each_once_and_takes_longer_up_to_a_limit() {
        let settings = settings(4);
        let mut hunt = Hunt::default();
        let mut first = BTreeSet::new();
        for (i, (timeout, pause)) in [(3, 1), (6, 2), (7, 3), (7, 3)].into_iter().enumerate() {
            let (order, took, paused) = round(&mut hunt, &settings, i as u64);
            assert_eq!((took, paused), (timeout, pause), "round {i}");
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 4);
            assert_eq!(hunt.rounds() as usize, i + 1);
        }
        for seed in 0..50 {
            hunt.succeeded();
            first.insert(round(&mut hunt, &settings, seed).0.swap_remove(0));
        }
        assert_eq!(first.len(), 4, "each of them is the first one now and then");
        assert_eq!(hunt.rounds(), 1);
        let far = grown(Duration::from_secs(1), 40);
        assert!(far >= Duration::from_secs(u32::MAX.into()), "no overflow");
    }

    #[test]
    fn the_verdict_is_the_worst_that_was_said() {
        let mut hunt = Hunt::default();
        assert!(hunt.verdict().is_none());
        hunt.failed(Error::text(ErrorKind::Unreachable, "gone"));
        assert_eq!(hunt.verdict().expect("one").to_string(), "gone");
        assert!(!hunt.is_denied());
        hunt.failed(Error::text(ErrorKind::Denied, "go away"));
        assert!(hunt.is_denied());
        let verdict = hunt.verdict().expect("two");
        assert_eq!(verdict.kind(), ErrorKind::Denied);
        let text = verdict.to_string();
        assert!(text.contains("gone") && text.contains("go away"), "{text}");
    }
}
