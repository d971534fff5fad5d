//! Stands in for each backend that was not compiled in. It cannot be opened.
#![allow(dead_code, reason = "there may be none")]

use std::io;

use crate::EventDriver;

pub(crate) const COMPILED: bool = false;

pub(crate) fn open() -> io::Result<Box<dyn EventDriver>> {
    Err(io::ErrorKind::Unsupported.into())
}
