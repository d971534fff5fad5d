//! What the compared programs share: arguments, the end of a server, figures, and a framing.
//!
//! The interface is that of `msgr bench`: `PROG server` prints where it listens and runs until it
//! is told to stop, `PROG client` keeps a number of requests in flight and prints one line of
//! figures. Nothing in here is called once per message, so that it weighs alike on all.

pub mod args;
pub mod cpu;
pub mod frame;
mod in_flight;
pub mod meter;
pub mod server;

pub use args::{ClientArgs, Command, ServerArgs};
pub use in_flight::InFlight;
pub use meter::{Figures, Meter};
