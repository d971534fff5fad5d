//! Connection races: all interleavings of two handshakes, and the decisions of real OSDs.

mod explore;
mod recorded;
mod session;
#[path = "../common/vectors.rs"]
mod vectors;
mod wire;
mod world;
