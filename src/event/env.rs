//! The one place that time and randomness come from.
//!
//! Whatever needs the clock or a random number gets an [`Env`]; nothing else in the crate asks the
//! system. A simulation or a test passes its own and can replay a run from a seed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Time and randomness, injected.
pub trait Env: Send + Sync {
    /// The monotonic clock: deadlines, back-off, latencies.
    fn now(&self) -> Instant;

    /// The calendar clock: time stamps that go over the wire.
    fn wall(&self) -> SystemTime;

    /// A random number, unpredictable in production: nonces, jitter.
    fn random(&self) -> u64;

    /// Fills with random bytes that keys and challenges are made of, so that in production nobody
    /// may be able to guess them.
    ///
    /// # Panics
    /// If there is no source of such bytes: whatever came instead would look like a secret.
    fn fill(&self, out: &mut [u8]);
}

/// The operating system's clocks and random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnv;

impl Env for SystemEnv {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn random(&self) -> u64 {
        // The system's generator fails only where there is none, and then a number that differs
        // between processes is the best there is: nothing secret is made of it.
        getrandom::u64().unwrap_or_else(|_| {
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            mix(wall.map_or(0, |d| d.as_nanos() as u64) ^ u64::from(std::process::id()))
        })
    }

    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system has a source of random numbers");
    }
}

/// Time that passes only when told, and randomness from a seed.
#[derive(Debug)]
pub struct ManualEnv {
    start: Instant,
    passed: Mutex<Duration>,
    random: AtomicU64,
}

impl ManualEnv {
    /// A stopped clock, and the sequence of random numbers that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            start: Instant::now(),
            passed: Mutex::new(Duration::ZERO),
            random: AtomicU64::new(seed),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        *self.passed() += by;
    }

    fn passed(&self) -> std::sync::MutexGuard<'_, Duration> {
        self.passed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Env for ManualEnv {
    fn now(&self) -> Instant {
        self.start + *self.passed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + *self.passed()
    }

    fn random(&self) -> u64 {
        mix(self
            .random
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(size_of::<u64>()) {
            chunk.copy_from_slice(&self.random().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The output step of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
