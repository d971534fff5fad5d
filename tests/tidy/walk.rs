//! Goes through the files, and reports what a rule has found in them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::scan::Source;

/// What a rule finds in one file.
pub(crate) struct Found {
    path: String,
    lines: Vec<String>,
}

impl Found {
    pub(crate) fn add(&mut self, line: usize, what: String) {
        self.lines.push(format!("{}:{line}: {what}", self.path));
    }
}

pub(crate) type Rule = fn(&Source, &mut Found);

pub(crate) fn check(places: &[&str], rule: Rule, why: &str) {
    let files = sources(places);
    assert!(!files.is_empty(), "nothing was looked at in {places:?}");
    let found: Vec<String> = files.iter().flat_map(|file| apply(file, rule)).collect();
    report(&found, why);
}

pub(crate) fn apply(file: &Source, rule: Rule) -> Vec<String> {
    let mut found = Found {
        path: file.path.clone(),
        lines: Vec::new(),
    };
    rule(file, &mut found);
    found.lines
}

pub(crate) fn report(found: &[String], why: &str) {
    let mut text = String::new();
    for line in found {
        let _ = writeln!(text, "  {line}");
    }
    assert!(found.is_empty(), "\n{text}why this is not wanted: {why}.\n");
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The roots of the binaries, if there are any.
pub(crate) fn binaries() -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join("src/bin")) else {
        return Vec::new();
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let paths = entries
        .flatten()
        .map(name)
        .map(|name| match name.ends_with(".rs") {
            true => format!("src/bin/{name}"),
            false => format!("src/bin/{name}/main.rs"),
        });
    paths.collect()
}

/// All Rust files below these directories; one that does not exist has none.
pub(crate) fn sources(places: &[&str]) -> Vec<Source> {
    let mut todo: Vec<PathBuf> = places.iter().map(|place| root().join(place)).collect();
    let mut files = Vec::new();
    while let Some(path) = todo.pop() {
        // What other workspaces below have built is not ours.
        if path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("readable");
            todo.extend(entries.map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("readable");
            let path = path.strip_prefix(root()).expect("below the root");
            files.push(Source::new(&path.to_string_lossy(), text));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}
