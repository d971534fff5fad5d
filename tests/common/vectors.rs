//! Reads the recordings in `tests/data` (see the README there).
#![allow(dead_code)] // each test uses its part

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// All recordings.
pub(crate) const ALL: [&str; 4] = [
    "v1-none-mon",
    "v1-none-ping",
    "v1-none-osd",
    "v1-none-osd-osd-reconnect",
];

/// A direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// Bytes of the side that connected.
    Client,
    /// Bytes of the side that accepted.
    Server,
}

/// What one `read` would have given.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) from: From,
    pub(crate) bytes: Vec<u8>,
}

/// One TCP connection; its segments in the order of their arrival.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) segments: Vec<Segment>,
}

impl Recorded {
    /// All bytes of one direction.
    pub(crate) fn stream(&self, from: From) -> Vec<u8> {
        let own = self.segments.iter().filter(|s| s.from == from);
        own.flat_map(|s| s.bytes.iter().copied()).collect()
    }
}

/// The connections of one recording.
pub(crate) fn load(name: &str) -> Vec<Recorded> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let text = fs::read_to_string(dir.join(format!("{name}.jsonl"))).expect(name);
    let mut out: Vec<Recorded> = Vec::new();
    for line in text.lines() {
        let connection = || field(line, "c").parse::<usize>().unwrap();
        match field(line, "k") {
            "open" => {
                assert_eq!(connection(), out.len());
                out.push(Recorded {
                    name: format!("{name} #{}", out.len()),
                    client: field(line, "client").parse().unwrap(),
                    server: field(line, "server").parse().unwrap(),
                    segments: Vec::new(),
                });
            }
            "data" => {
                let recorded = &mut out[connection()];
                let from = if field(line, "d") == "c" {
                    From::Client
                } else {
                    From::Server
                };
                let offset: usize = field(line, "o").parse().unwrap();
                assert_eq!(
                    offset,
                    recorded.stream(from).len(),
                    "a gap in {}",
                    recorded.name
                );
                recorded.segments.push(Segment {
                    from,
                    bytes: unhex(field(line, "x")),
                });
            }
            "meta" | "end" | "cut" | "stat" => {}
            kind => panic!("{name}: a line of kind {kind:?}"),
        }
    }
    out
}

/// A field of a flat JSON object whose strings hold no quotes.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let key = format!("\"{name}\":");
    let at = line
        .find(&key)
        .unwrap_or_else(|| panic!("no {name} in {line}"));
    let value = &line[at + key.len()..];
    match value.strip_prefix('"') {
        Some(text) => text.split('"').next().unwrap(),
        None => value.split([',', '}']).next().unwrap(),
    }
}

/// Bytes from hex digits; blanks are ignored.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// A small generator of numbers, the same in every run (xorshift64).
#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// Changes, cuts or lengthens `bytes` in a few places.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.below(256) as u8),
                2 => bytes[at..].iter_mut().take(4).for_each(|b| *b = 0xff),
                3 => bytes[at..].iter_mut().take(4).for_each(|b| *b = 0),
                _ => {
                    let value = self.below(256) as u8;
                    bytes[at..].iter_mut().take(1).for_each(|b| *b = value);
                }
            }
        }
    }
}
