//! What is to be done: how large, how many, on how many cores.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Shape {
    /// How many cores both processes share: 1 or 2.
    pub(crate) cores: u8,
    /// Bytes of data in a request.
    pub(crate) size: u32,
    /// Requests in flight on each connection.
    pub(crate) depth: u32,
    pub(crate) connections: u32,
}

const TABLE: [&str; 9] = [
    "64x128@2", "64x128", "4kx1", "4kx32", "64kx32", "1mx32", "4mx32", "4kx32x64", "4kx32@2",
];

/// Those of the table in the documents.
pub(crate) fn of_the_table() -> Vec<Shape> {
    let shapes = TABLE.iter().map(|text| text.parse().expect("a shape"));
    shapes.collect()
}

impl Shape {
    /// The CPUs, as taskset takes them.
    pub(crate) fn cpus(self) -> &'static str {
        if self.cores == 1 { "1" } else { "0,1" }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, unit) = match self.size {
            size if size >= 1 << 20 && size % (1 << 20) == 0 => (size >> 20, "m"),
            size if size >= 1 << 10 && size % (1 << 10) == 0 => (size >> 10, "k"),
            size => (size, ""),
        };
        write!(f, "{size}{unit}x{}", self.depth)?;
        if self.connections != 1 {
            write!(f, "x{}", self.connections)?;
        }
        write!(f, "@{}", self.cores)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: not a shape as 4kx32, 64x128@2 or 4kx32x64@1");
        let number = |text: &str| text.parse().map_err(|_| wrong());
        let (work, cores) = text.split_once('@').unwrap_or((text, "1"));
        let parts: Vec<&str> = work.split('x').collect();
        let (size, depth, connections) = match parts[..] {
            [size, depth] => (size, depth, "1"),
            [size, depth, connections] => (size, depth, connections),
            _ => return Err(wrong()),
        };
        let (digits, shift) = match size.strip_suffix('m') {
            Some(digits) => (digits, 20),
            None => size.strip_suffix('k').map_or((size, 0), |d| (d, 10)),
        };
        let size: u32 = number(digits)?;
        Ok(Self {
            cores: match cores {
                "1" => 1,
                "2" => 2,
                _ => return Err(wrong()),
            },
            size: size.checked_mul(1 << shift).ok_or_else(wrong)?,
            depth: number(depth)?,
            connections: number(connections)?,
        })
    }
}

impl From<Shape> for String {
    fn from(shape: Shape) -> Self {
        shape.to_string()
    }
}

impl TryFrom<String> for Shape {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_as_they_are_written() {
        for text in [
            "64x128@2",
            "4kx1@1",
            "1mx32@1",
            "4kx32x64@1",
            "1500x1x10000@2",
        ] {
            let shape: Shape = text.parse().expect("a shape");
            assert_eq!(shape.to_string(), text);
        }
        for text in ["", "4k", "4kx", "4kx1x1x1", "4kx1@3", "5000mx1"] {
            assert!(text.parse::<Shape>().is_err(), "{text}");
        }
    }
}
