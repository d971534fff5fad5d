//! Authentication: worked examples, recorded exchanges of real Ceph, both sides against each
//! other, damaged payloads, clocks that jump, keyrings. No network, no threads.

#[path = "../common/vectors.rs"]
mod vectors;

mod damage;
mod flows;
mod keyrings;
mod kit;
mod messages;
mod recorded;
mod refusals;
mod stores;
mod worked;
mod worked256k;
