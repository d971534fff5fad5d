//! The event core: one [`EventCenter`] per thread runs file events, time events and external
//! events on an [`EventDriver`](event_driver::EventDriver).
//!
//! Usable alone: nothing here knows of messages, sessions or a protocol. Only this module and
//! [`net`](crate::net) name a driver, and only by its trait.
//!
//! | part | what it is |
//! |---|---|
//! | [`EventCenter`] | the loop of one owner thread; [`turn`](EventCenter::turn) is one round of it |
//! | [`Handler`] | what the owner does with events |
//! | [`Handle`] | posts external events from any thread |
//! | [`Env`] | where time and randomness come from |
//! | [`Slab`] | a table whose keys are [`Token`](event_driver::Token)s |

mod center;
mod env;
mod inbox;
mod slab;
mod spin;
mod timer;

pub use center::{EventCenter, Handler, Turn};
pub use env::{Env, ManualEnv, SystemEnv};
pub use inbox::{EXTERNAL_EVENTS_MAX, Handle, SubmitError};
pub use slab::Slab;
pub use timer::TimerId;
