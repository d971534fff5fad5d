//! Reads the worked examples of v2 in `tests/data` (see the README there).
#![allow(dead_code)] // each test uses its part

use std::fs;
use std::path::Path;

use super::vectors::unhex;

/// The connection secret of all encrypted examples.
pub(crate) fn secret() -> Vec<u8> {
    (0x40..0x80).collect()
}

/// The bytes of one example.
pub(crate) fn worked(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v2-worked.txt");
    let text = fs::read_to_string(path).expect("the examples are there");
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(known, _)| *known == name);
    unhex(found.unwrap_or_else(|| panic!("no example {name}")).1)
}
