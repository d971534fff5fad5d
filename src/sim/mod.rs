//! Messengers on a simulated network, stepped in one thread and replayed from a seed.
//!
//! A [`World`] is a transport, an event driver, a clock and a source of randomness below the
//! messenger, which is the one that runs in production: nothing in it knows that it is simulated.
//! One seed is one run: two runs of it do the same in the same order, which
//! [`World::trace_hash`] shows.
//!
//! For tests; behind the feature `sim`.

mod app;
mod chance;
mod driver;
mod ledger;
mod load;
mod net;
pub(crate) mod plant;
mod scene;
mod stack;
mod trace;
mod world;

pub use load::{Outcome, Run};
pub use net::Faults;
pub use plant::Plant;
pub use world::World;
