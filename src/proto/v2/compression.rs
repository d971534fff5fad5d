//! Compression of frames (msgr2 §8).
//!
//! The negotiation is here and complete. No algorithm is, so the own [`Banner`](super::Banner) does
//! not offer to negotiate, and where a caller's does all the same, nothing is ever agreed on: a
//! compressed frame is an error. An algorithm is a variant of [`Algorithm`], its number in
//! [`ALGORITHMS`], and its two directions in the assembler and the disassembler.

/// What can be agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {}

impl Algorithm {
    fn number(self) -> u32 {
        match self {}
    }
}

/// What is compiled in, best first.
pub(super) const ALGORITHMS: &[Algorithm] = &[];

/// What the connecting side asks for: whether it wants compression, and how.
pub(super) fn request() -> (bool, Vec<u32>) {
    let numbers = ALGORITHMS.iter().map(|algorithm| algorithm.number());
    (!ALGORITHMS.is_empty(), numbers.collect())
}

/// What the accepting side takes of it: the first on the connecting side's list that it has.
pub(super) fn choose(wanted: bool, theirs: &[u32]) -> Option<Algorithm> {
    let known = |number: &u32| {
        let mut ours = ALGORITHMS.iter().copied();
        ours.find(|algorithm| algorithm.number() == *number)
    };
    theirs.iter().find_map(known).filter(|_| wanted)
}

/// The answer on the wire.
pub(super) fn answer(chosen: Option<Algorithm>) -> (bool, u32) {
    (chosen.is_some(), chosen.map_or(0, Algorithm::number))
}
