//! Stands in for a backend that was not compiled in.

use std::io;

use crate::EventDriver;

pub(crate) const COMPILED: bool = false;

pub(crate) fn open() -> io::Result<Box<dyn EventDriver>> {
    Err(io::ErrorKind::Unsupported.into())
}
