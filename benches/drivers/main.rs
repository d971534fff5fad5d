//! What event drivers cost, side by side: every driver that is compiled in, raw epoll, and the
//! crates mio and polling; timers beside those of tokio.
//!
//! Each figure is the median of rounds that take turns, so that what else the machine does falls
//! on all alike. Run by
//! `cargo bench --bench drivers --features io-uring,portable [-- events|wakes|timers] [SOURCES..]`.
#![cfg_attr(not(target_os = "linux"), allow(unused))]

#[cfg(target_os = "linux")]
mod events;
#[cfg(target_os = "linux")]
mod pollers;
#[cfg(target_os = "linux")]
mod timers;
#[cfg(target_os = "linux")]
mod wakes;

/// How often everything is measured.
const ROUNDS: usize = 7;

/// The middle one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(target_os = "linux")]
fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let asked = |word: &str| words.iter().any(|w| w == word);
    let all = !["events", "wakes", "timers"].into_iter().any(asked);
    let mut counts: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if counts.is_empty() {
        counts = vec![10, 1_000, 10_000, 100_000];
    }
    if all || asked("events") {
        events::report(&counts);
    }
    if all || asked("wakes") {
        wakes::report();
    }
    if all || asked("timers") {
        timers::report();
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: the rivals are those of Linux");
}
