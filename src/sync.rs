//! The locks and atomics of what is checked by loom: the standard library's, or loom's in its
//! models.
//!
//! Only [`connection::outbox`](crate::connection) takes them from here; its models run the code
//! itself, with every order of its steps that loom thinks of. Everything else uses `std`.

#[cfg(all(test, loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic::AtomicBool};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};
