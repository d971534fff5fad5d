//! Ceph's AsyncMessenger in Rust.

#![forbid(unsafe_code)]

mod config;
mod connection;
mod error;
pub mod event;
pub mod message;
pub mod messages;
pub mod messenger;
pub mod net;
mod processor;
pub mod proto;
mod stats;
pub mod throttle;
pub mod wire;
mod worker;

pub use config::{Config, WORKERS_MAX};
pub use connection::Connection;
pub use error::{Error, ErrorKind, SendError};
pub use event_driver::{DriverKind, Event, EventDriver, Interest, Readiness, Source, Token, Waker};
pub use messenger::{Builder, ConnectionEvent, Dispatcher, Handled, Messenger, Policy, Ready};
pub use stats::Stats;
pub use worker::Workers;
