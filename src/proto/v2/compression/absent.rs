//! In the place of an algorithm that is not compiled in. It is never agreed on.

use super::Fault;

pub(super) const COMPILED: bool = false;

pub(super) fn pack(_: &[u8]) -> Option<Vec<u8>> {
    None
}

pub(super) fn unpack(_: &[u8], _: usize) -> Result<Vec<u8>, Fault> {
    Err(Fault::damaged("it is not compiled in"))
}
