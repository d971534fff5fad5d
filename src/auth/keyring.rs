//! Keyring files: who has which key and may do what (cephx §3.3).
//!
//! Invariants: the size of a file and the number of its sections are bounded; no error text repeats
//! a line of the file, only its number, so that no key gets into a log.

use std::error::Error;
use std::fmt;

use zeroize::Zeroize;

use crate::wire::{AuthName, EntityType};

use super::CryptoKey;

/// The largest keyring that is read.
pub const KEYRING_MAX: usize = 4 << 20;
/// The most sections that a keyring may have.
pub const SECTIONS_MAX: usize = 65_536;

/// Keys and capabilities by name.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Keyring {
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    name: AuthName,
    key: Option<CryptoKey>,
    caps: Vec<(EntityType, String)>,
}

/// Why a keyring cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyringError {
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    what: String,
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "keyring: {}", self.what),
            line => write!(f, "keyring, line {line}: {}", self.what),
        }
    }
}

impl Error for KeyringError {}

impl Keyring {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the text of a keyring file.
    ///
    /// # Errors
    /// If a line makes no sense; the number of the line is told.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let error = |line, what: &str| KeyringError {
            line,
            what: what.into(),
        };
        if text.len() > KEYRING_MAX {
            let what = format!("is larger than {KEYRING_MAX} bytes; is it the right file?");
            return Err(error(0, &what));
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut section = Section::None;
        for (i, line) in text.lines().enumerate() {
            let number = i + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                section = header(rest).map_err(|what| error(number, what))?;
                if let Section::Entity(name) = &section {
                    if entries.len() >= SECTIONS_MAX {
                        return Err(error(number, "there are too many sections"));
                    }
                    entries.push(Entry {
                        name: name.clone(),
                        key: None,
                        caps: Vec::new(),
                    });
                }
                continue;
            }
            match &section {
                Section::None => {
                    let what = "stands before the first section; begin with one such as \
                                [client.admin]";
                    return Err(error(number, what));
                }
                Section::Global => {}
                Section::Entity(_) => {
                    if let Some(entry) = entries.last_mut() {
                        property(entry, line).map_err(|what| error(number, &what))?;
                    }
                }
            }
        }
        // The index is by order of names; of two sections with the same name the last one counts.
        entries.reverse();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|later, first| later.name == first.name);
        Ok(Self { entries })
    }

    /// Adds a name, or replaces what was known of it.
    pub fn insert(&mut self, name: AuthName, key: CryptoKey, caps: &[(EntityType, &str)]) {
        let entry = Entry {
            key: Some(key),
            caps: caps
                .iter()
                .map(|(of, text)| (*of, (*text).to_owned()))
                .collect(),
            name,
        };
        match self.entries.binary_search_by(|e| e.name.cmp(&entry.name)) {
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
    }

    /// The key of a name.
    #[must_use]
    pub fn key(&self, name: &AuthName) -> Option<&CryptoKey> {
        self.get(name)?.key.as_ref().filter(|key| !key.is_empty())
    }

    /// What a name may do with a kind of daemon.
    #[must_use]
    pub fn caps(&self, name: &AuthName, service: EntityType) -> Option<&str> {
        let caps = &self.get(name)?.caps;
        let found = caps.iter().find(|(of, _)| *of == service);
        found.map(|(_, text)| &text[..])
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &AuthName> {
        self.entries.iter().map(|entry| &entry.name)
    }

    fn get(&self, name: &AuthName) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|e| e.name.cmp(name)).ok()?;
        Some(&self.entries[at])
    }
}

/// Names only.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names().map(ToString::to_string);
        f.debug_tuple("Keyring")
            .field(&names.collect::<Vec<_>>())
            .finish()
    }
}

enum Section {
    None,
    Global,
    Entity(AuthName),
}

/// Reads what is behind the bracket.
fn header(rest: &str) -> Result<Section, &'static str> {
    let Some((name, behind)) = rest.split_once(']') else {
        return Err("the bracket of a section is not closed");
    };
    if !comment_free(behind).is_empty() {
        return Err("there is something behind the bracket of a section");
    }
    let name = name.trim();
    if name == "global" {
        return Ok(Section::Global);
    }
    match name.parse::<AuthName>() {
        Ok(name) if name.kind != EntityType::ANY => Ok(Section::Entity(name)),
        _ => Err("a section is not named by an entity such as [client.admin]"),
    }
}

fn property(entry: &mut Entry, line: &str) -> Result<(), String> {
    let Some((name, value)) = line.split_once('=') else {
        return Err("is neither a section nor a property `name = value`".into());
    };
    let name = name.trim().replace('_', " ");
    let mut words = name.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("key"), None, _) => {
            let mut text = unquoted(value)?;
            let key = text.parse::<CryptoKey>();
            text.zeroize();
            entry.key = Some(key.map_err(|e| e.to_string())?);
        }
        (Some("caps"), Some(service), None) => {
            let service: EntityType = service
                .parse()
                .map_err(|_| "caps are for a service such as mon, osd, mds or mgr".to_owned())?;
            let text = unquoted(value)?;
            entry.caps.retain(|(of, _)| *of != service);
            entry.caps.push((service, text));
        }
        (Some("auid"), None, _) => {}
        _ => {
            return Err(
                "is not one of the properties `key`, `caps <service>` and `auid`; Ceph prints \
                 `pending key` in a form that cannot be read again, take it out"
                    .into(),
            );
        }
    }
    Ok(())
}

/// A value without its quotes and without a comment behind it.
fn unquoted(value: &str) -> Result<String, String> {
    let value = value.trim();
    let Some(rest) = value.strip_prefix('"') else {
        return Ok(comment_free(value).to_owned());
    };
    let mut out = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next() {
            None => return Err("a quote is not closed".into()),
            Some('"') => break,
            Some('\\') => out.extend(chars.next()),
            Some(c) => out.push(c),
        }
    }
    if !comment_free(chars.as_str()).is_empty() {
        return Err("there is something behind the closing quote".into());
    }
    Ok(out)
}

fn comment_free(text: &str) -> &str {
    text.split(['#', ';']).next().unwrap_or("").trim()
}
