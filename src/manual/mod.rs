//! The manual: how the crate is built, how to run it, and why it is the way it is.
//!
//! These modules hold text only. The API itself is documented at its items; what spans several of
//! them is here.
//!
//! | chapter | for whom |
//! |---|---|
//! | [`architecture`] | who wants to see how the pieces fit, from the driver to the dispatcher |
//! | [`threads`] | who writes a dispatcher, or wonders what may block what |
//! | [`wire`] | who reads the protocol code: the rules of msgr v1 that are implemented, by number |
//! | [`wire2`] | the same for msgr v2 |
//! | [`auth`] | who needs keys: tickets, keyrings, what goes wrong, and the rules of cephx by number |
//! | [`tuning`] | who runs it: what each option of [`Config`](crate::Config) is good for |
//! | [`which_driver`] | who wonders which event driver to take: figures beside mio, polling and raw epoll |
//! | [`interop`] | who talks to real Ceph: what works, and how it is checked |
//! | [`why`] | who would have done it another way |
//!
//! Citations such as "msgr1 §7", "encoding §11" and "session §9", all over the source, mean the
//! numbered sections of the chapter [`wire`], "msgr2 §5" those of [`wire2`]; "cephx §8" and
//! "aes256k §3" those of [`auth`].

pub mod architecture;
pub mod auth;
pub mod interop;
pub mod threads;
pub mod tuning;
pub mod which_driver;
pub mod why;
pub mod wire;
pub mod wire2;
