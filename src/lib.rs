//! Ceph's AsyncMessenger in Rust: messengers that exchange messages over msgr, on an event core of
//! their own.
//!
//! A [`Messenger`] is a named endpoint. It connects to others or is connected to, keeps a
//! [`Connection`] for each peer, and hands what arrives to [`Dispatcher`]s. It speaks both versions
//! of the protocol that Ceph's daemons and clients speak among each other, so the other end may be
//! one of them; see [`manual::interop`] for what works with which.
//!
//! ```
//! use std::sync::{Arc, mpsc};
//! use std::time::Duration;
//!
//! use async_messenger::message::{Message, Payload};
//! use async_messenger::messages::MPing;
//! use async_messenger::wire::{EntityName, EntityType, MsgHead};
//! use async_messenger::{Connection, ConnectionEvent, Dispatcher, Messenger, Policy};
//!
//! /// Answers pings on the worker that received them.
//! struct Pong;
//!
//! impl Dispatcher for Pong {
//!     fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
//!         head.kind == MPing::KIND
//!     }
//!     fn fast_dispatch(&self, connection: &Connection, ping: Message) {
//!         let pong = Message::new(MPing::KIND).with_tid(ping.tid());
//!         connection.send(pong).expect("room for a reply");
//!     }
//! }
//!
//! /// Tells the main thread what happens.
//! struct Tell(mpsc::Sender<String>);
//!
//! impl Dispatcher for Tell {
//!     fn dispatch(&self, _: &Connection, message: Message) -> async_messenger::Handled {
//!         self.0.send(format!("{} of {}", message.tid(), message.src())).expect("waits");
//!         async_messenger::Handled::Yes
//!     }
//!     fn event(&self, _: &Connection, event: &ConnectionEvent) {
//!         if let ConnectionEvent::Reset { error, .. } = event {
//!             self.0.send(error.to_string()).expect("waits");
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Messenger::builder(EntityName::mon(0))
//!     .nonce(0)
//!     .default_policy(Policy::stateless_server(0))
//!     .build()?;
//! let addrs = server.bind(&"v1:127.0.0.1:0".parse()?)?;
//! server.add_dispatcher_tail(Arc::new(Pong))?;
//! server.start()?;
//!
//! let client = Messenger::builder(EntityName::client(-1)).build()?;
//! let (tell, told) = mpsc::channel();
//! client.add_dispatcher_tail(Arc::new(Tell(tell)))?;
//! client.start()?;
//!
//! let connection = client.connect(EntityType::MON, &addrs)?;
//! connection.send(Message::new(MPing::KIND).with_tid(7))?;
//! assert_eq!(told.recv_timeout(Duration::from_secs(10))?, "7 of mon.0");
//!
//! // The end of the server is the end of a lossy connection.
//! server.shutdown();
//! server.wait()?;
//! let reset = told.recv_timeout(Duration::from_secs(10))?;
//! assert!(reset.contains("the peer closed the connection"), "{reset}");
//! assert!(connection.is_closed());
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | endpoints, policies, dispatchers | [`messenger`], with [`Config`] and [`Stats`] |
//! | messages and payloads of one's own | [`message`] |
//! | the typed messages of monitors, object requests and heartbeats | [`messages`] |
//! | a client of monitors: log-in, commands, maps | [`mon`] |
//! | bounds on what is in flight | [`throttle`] |
//! | who may connect | [`Credentials`], [`Authority`] and [`auth`] |
//! | names, addresses, encodings | [`wire`] |
//! | the protocol without a socket | [`proto`] |
//! | the event loop alone | [`event`], and [`EventDriver`] for backends |
//! | other transports than TCP | [`net`] |
//! | how it fits together, which thread runs what, tuning, reasons | [`manual`] |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `epoll` | on | the backend of Linux and Android |
//! | `kqueue` | on | the backend of macOS, iOS and the BSDs |
//! | `poll` | on | the backend of every Unix |
//! | `io-uring` | off | the backend `io_uring` of Linux 6.1 and later; it falls back to `epoll` where it is refused |
//! | `portable` | off | the backend of Windows, illumos and others, over the crate `polling` |
//! | `cli` | on | the program `msgr` and what only it depends on; a library user turns it off |
//! | `aws-lc` | off | AES-GCM by AWS-LC, which is faster on long messages; needs a C compiler |
//! | `compression` | off | on-wire compression of v2 between OSDs, by all of the following |
//! | `snappy`, `zlib`, `lz4` | off | one algorithm each, in Rust |
//! | `zstd` | off | another one; needs a C compiler |
//! | `kqueue-shim` | off | for tests: the kqueue backend on Linux |
//! | `sim` | off | for tests: the module `sim`, messengers on a simulated network, replayed from a seed |
//!
//! A backend is compiled where its target has it; at least one must be left. Which of them runs is
//! said by [`Config::driver`](Config), and the best one is the default. To use the library alone:
//! `default-features = false, features = ["epoll", "kqueue", "poll"]`.

#![forbid(unsafe_code)]

pub mod auth;
mod config;
mod connection;
mod credentials;
pub mod crypto;
mod error;
pub mod event;
pub mod inject;
pub mod manual;
pub mod message;
pub mod messages;
pub mod messenger;
pub mod mon;
pub mod net;
mod processor;
pub mod proto;
#[cfg(feature = "sim")]
pub mod sim;
mod stats;
mod sync;
pub mod throttle;
pub mod wire;
mod worker;

pub use config::{CEPH_CONF_MAX, Config, ConfigError, Inject, WORKERS_MAX, ceph_conf_values};
pub use connection::{Connection, SendFuture};
pub use credentials::{Authority, Credentials};
pub use error::{Error, ErrorKind, SendError};
pub use event_driver::{DriverKind, Event, EventDriver, Interest, Readiness, Source, Token, Waker};
pub use messenger::{Builder, ConnectionEvent, Dispatcher, Handled, Messenger, Policy, Ready};
pub use stats::Stats;
pub use worker::Workers;

/// Runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
