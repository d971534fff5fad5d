//! Rules of the source tree that the compiler does not check: layers, clocks, `unsafe`, files.
//!
//! Each rule says why it is there in the text of its failure. The scanner is a plain one: it
//! knows comments, strings, `use` trees and relative paths, and nothing of macros or types. What a
//! rule is not meant for, such as the unit tests at the end of a file, is cut off before it looks.
//! The unit tests below show that each rule can fail.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

// The rules.

/// Which modules of the crate the code of a module may name. What is not listed may name any.
const LAYERS: &[(&str, &[&str])] = &[
    ("src/event/", &["event"]),
    ("src/net/", &["net", "event", "wire"]),
    ("src/wire/", &["wire"]),
    ("src/throttle.rs", &["throttle"]),
    ("src/message/", &["message", "throttle", "wire"]),
    ("src/messages/", &["messages", "message", "wire"]),
    (
        "src/proto/",
        &["proto", "auth", "crypto", "message", "wire"],
    ),
    ("src/crypto/", &["crypto"]),
    (
        "src/mon/",
        &[
            "mon",
            "auth",
            "connection",
            "credentials",
            "error",
            "event",
            "message",
            "messages",
            "messenger",
            "wire",
        ],
    ),
    ("src/auth/", &["auth", "wire"]),
    ("src/credentials.rs", &["auth", "wire"]),
    (
        "src/connection/outbox",
        &[
            "connection",
            "error",
            "message",
            "net",
            "proto",
            "sync",
            "wire",
        ],
    ),
    (
        "src/connection/queue.rs",
        &["connection", "error", "message", "wire"],
    ),
    ("src/config.rs", &["config", "proto"]),
    ("src/error.rs", &["error", "message", "proto", "wire"]),
    ("src/stats.rs", &["stats"]),
];

const LAYERS_WHY: &str = "layers build on those below and know nothing above or beside them: \
    drivers <- event <- net <- worker, processor, connection, messenger; \
    wire <- message <- proto. A lower one that names a higher one cannot be tested, \
    understood or replaced without it. Move the code up, or pass in what it needs";

/// These are given bytes and decisions, and return bytes and events.
const PURE: &[&str] = &["src/proto/", "src/wire/", "src/auth/", "src/crypto/"];

const PURE_WHY: &str = "protocol code is plain data: without threads, locks, sockets and clocks it \
    can be cut at every byte in a test and replayed from a seed. Let the caller do it, \
    or take an `Env`";

/// What protocol code may use of `std::net`: addresses, which are plain data.
const PLAIN_NET: &[&str] = &[
    "AddrParseError",
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
];

/// Where the choice of a driver is passed on by its name.
const DRIVER_KIND: &[&str] = &["src/lib.rs", "src/config.rs", "src/net/", "src/bin/"];

const DRIVER_WHY: &str = "nothing in the library knows which drivers there are: it gets a `dyn \
    EventDriver` from its transport. Otherwise a new driver would need changes here, and a \
    user's own could not be plugged in. Only Config, the transport and the binary pass a \
    `DriverKind` on, and none of them says which";

/// The one source of time in the library.
const CLOCKS: &[&str] = &["src/event/env.rs", "src/bin/", "drivers/src/kqueue_shim.rs"];

const CLOCKS_WHY: &str = "\
    time comes from `Env`, so that tests and simulations can step it. Use the \
    event center's `now()`, or the `Env` at hand";

/// Where a thread may sleep.
const SLEEPERS: &[&str] = &["src/messenger/bind.rs", "src/inject.rs"];

const SLEEP_WHY: &str = "a thread that sleeps holds up everything it runs; set a timer. The \
    exceptions are the pause between attempts to bind, which runs on the caller's thread, and the \
    delays that are injected to provoke races";

const UNSAFE_WHY: &str = "\
    all `unsafe` lives in drivers/, behind safe calls, so that this is the only \
    crate that has to be read for it";

const SAFETY_WHY: &str = "\
    each `unsafe` has a comment `// SAFETY: ...` right above it that says why \
    the callee's conditions hold";

const UNFINISHED_WHY: &str = "what is not finished does not go in";

const MODULE_WHY: &str =
    "a file that no `mod` names is not compiled, and so neither tested nor checked";

const HEAD_WHY: &str = "\
    each source file begins with `//!`: what it is, its invariants, what it does \
    not know, which thread runs it";

/// What has to be there besides code.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "drivers/README.md",
    "src/manual/mod.rs",
    "src/manual/architecture.rs",
    "src/manual/auth.rs",
    "src/manual/threads.rs",
    "src/manual/wire.rs",
    "src/manual/wire2.rs",
    "src/manual/tuning.rs",
    "src/manual/which_driver.rs",
    "src/manual/interop.rs",
    "src/manual/why.rs",
];

const DOCUMENTS_WHY: &str = "readers and other documents count on it";

#[test]
fn layers_are_kept() {
    check(&["src"], layers, LAYERS_WHY);
}

#[test]
fn protocol_code_is_plain_data() {
    check(&["src"], pure, PURE_WHY);
}

#[test]
fn no_driver_is_named() {
    check(&["src"], drivers, DRIVER_WHY);
}

#[test]
fn time_has_one_source() {
    check(&["src", "drivers/src"], clocks, CLOCKS_WHY);
}

#[test]
fn nobody_sleeps() {
    check(&["src", "drivers/src"], sleeps, SLEEP_WHY);
}

#[test]
fn unsafe_code_is_in_the_drivers() {
    check(&["src", "examples"], no_unsafe, UNSAFE_WHY);
}

#[test]
fn unsafe_code_says_why() {
    check(EVERYWHERE, safety, SAFETY_WHY);
}

#[test]
fn nothing_is_unfinished() {
    check(EVERYWHERE, unfinished, UNFINISHED_WHY);
}

#[test]
fn files_begin_with_what_they_are() {
    check(EVERYWHERE, head, HEAD_WHY);
}

#[test]
fn modules_and_files_are_the_same() {
    let files = sources(&["src", "drivers/src"]);
    let read = |path: &str| files.iter().find(|file| file.path == path);
    let mut roots = vec!["src/lib.rs".to_owned(), "drivers/src/lib.rs".to_owned()];
    roots.extend(binaries());
    let mut reached = Vec::new();
    let mut found = Vec::new();
    while let Some(path) = roots.pop() {
        if reached.contains(&path) {
            continue;
        }
        let Some(file) = read(&path) else {
            found.push(format!("{path}: there is no such file"));
            continue;
        };
        for (line, candidates) in file.modules() {
            match candidates.iter().find(|path| read(path).is_some()) {
                Some(path) => roots.push(path.clone()),
                None => found.push(format!(
                    "{path}:{line}: no file {}",
                    candidates.join(" or ")
                )),
            }
        }
        reached.push(path);
    }
    let orphans = files.iter().filter(|file| !reached.contains(&file.path));
    found.extend(orphans.map(|file| format!("{}: no `mod` names it", file.path)));
    report(&found, MODULE_WHY);
}

#[test]
fn documents_are_there() {
    let missing = DOCUMENTS.iter().filter(|path| !root().join(path).is_file());
    let found: Vec<String> = missing.map(|path| format!("{path}: missing")).collect();
    report(&found, DOCUMENTS_WHY);
}

fn layers(file: &Source, out: &mut Found) {
    let Some((_, allowed)) = LAYERS
        .iter()
        .find(|(place, _)| file.path.starts_with(place))
    else {
        return;
    };
    for path in file.paths() {
        if let ["crate", module, ..] = path.names()[..]
            && !allowed.contains(&module)
        {
            out.add(path.line, format!("names crate::{module}"));
        }
    }
}

fn pure(file: &Source, out: &mut Found) {
    if !file.is_in(PURE) {
        return;
    }
    for path in file.paths() {
        let stray = match path.names()[..] {
            [
                "std",
                "thread" | "sync" | "process" | "fs" | "env" | "os",
                ..,
            ] => true,
            ["std", "net", name, ..] => !PLAIN_NET.contains(&name),
            ["std", "net"] => true,
            ["event_driver" | "getrandom" | "nix", ..] => true,
            ref names => names.contains(&"Instant") || names.contains(&"SystemTime"),
        };
        if stray {
            out.add(path.line, format!("names {path}"));
        }
    }
}

fn drivers(file: &Source, out: &mut Found) {
    for path in file.paths() {
        let names = path.names();
        let concrete = [
            "EpollDriver",
            "KqueueDriver",
            "PollDriver",
            "PortableDriver",
            "UringDriver",
        ];
        let modules = [
            "epoll",
            "kqueue",
            "kqueue_shim",
            "poll",
            "portable",
            "uring",
        ];
        let stray = names.iter().any(|name| concrete.contains(name))
            || matches!(names[..], ["event_driver", module, ..] if modules.contains(&module))
            || names.windows(2).any(|pair| {
                pair[0] == "DriverKind" && pair[1].starts_with(|c: char| c.is_ascii_uppercase())
            })
            || (names.contains(&"DriverKind") && !file.is_in(DRIVER_KIND));
        if stray {
            out.add(path.line, format!("names {path}"));
        }
    }
}

fn clocks(file: &Source, out: &mut Found) {
    if file.is_in(CLOCKS) {
        return;
    }
    for path in file.paths() {
        if matches!(path.names()[..], [.., "Instant" | "SystemTime", "now"]) {
            out.add(path.line, format!("calls {path}"));
        }
    }
}

fn sleeps(file: &Source, out: &mut Found) {
    if file.is_in(SLEEPERS) {
        return;
    }
    for path in file.paths() {
        let names = path.names();
        if names.ends_with(&["thread", "sleep"]) || names.ends_with(&["sleep_ms"]) {
            out.add(path.line, format!("calls {path}"));
        }
    }
}

fn no_unsafe(file: &Source, out: &mut Found) {
    for token in file.all.iter().filter(|token| token.is("unsafe")) {
        out.add(token.line, "unsafe".to_owned());
    }
}

fn safety(file: &Source, out: &mut Found) {
    let lines: Vec<&str> = file.text.lines().collect();
    for (i, token) in file.all.iter().enumerate() {
        let next = file.all.get(i + 1);
        // A block or an `unsafe impl`; the function of an `unsafe fn` has its doc comment, and a
        // pointer type `unsafe extern "C" fn` has nothing to explain.
        let explains = next.is_some_and(|next| next.is("{") || next.is("impl"));
        if token.is("unsafe") && explains && !has_safety_comment(&lines, token.line) {
            out.add(token.line, "unsafe without a SAFETY comment".to_owned());
        }
    }
}

/// Whether a comment above a line, or above the statement that the line belongs to, begins so.
fn has_safety_comment(lines: &[&str], line: usize) -> bool {
    let above = lines[..line - 1].iter().rev().map(|line| line.trim_start());
    for text in above {
        if text.starts_with("// SAFETY: ") {
            return true;
        }
        let ended = text.is_empty() || text.ends_with([';', '}']) && !text.starts_with("//");
        if ended {
            return false;
        }
    }
    false
}

fn unfinished(file: &Source, out: &mut Found) {
    for pair in file.all.windows(2) {
        let name = &pair[0];
        if ["todo", "unimplemented", "dbg"].iter().any(|n| name.is(n)) && pair[1].is("!") {
            out.add(name.line, format!("{}!", name.text));
        }
    }
}

fn head(file: &Source, out: &mut Found) {
    let begins = ["//! ", "#![doc = include_str!("];
    if !begins.iter().any(|begin| file.text.starts_with(begin)) {
        out.add(1, "does not begin with `//!`".to_owned());
    }
}

// Going through the files.

const EVERYWHERE: &[&str] = &[
    "src",
    "tests",
    "examples",
    "benches",
    "drivers/src",
    "drivers/tests",
];

/// What a rule finds in one file.
struct Found {
    path: String,
    lines: Vec<String>,
}

impl Found {
    fn add(&mut self, line: usize, what: String) {
        self.lines.push(format!("{}:{line}: {what}", self.path));
    }
}

type Rule = fn(&Source, &mut Found);

fn check(places: &[&str], rule: Rule, why: &str) {
    let files = sources(places);
    assert!(!files.is_empty(), "nothing was looked at in {places:?}");
    let found: Vec<String> = files.iter().flat_map(|file| apply(file, rule)).collect();
    report(&found, why);
}

fn apply(file: &Source, rule: Rule) -> Vec<String> {
    let mut found = Found {
        path: file.path.clone(),
        lines: Vec::new(),
    };
    rule(file, &mut found);
    found.lines
}

fn report(found: &[String], why: &str) {
    let mut text = String::new();
    for line in found {
        let _ = writeln!(text, "  {line}");
    }
    assert!(found.is_empty(), "\n{text}why this is not wanted: {why}.\n");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The roots of the binaries, if there are any.
fn binaries() -> Vec<String> {
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
fn sources(places: &[&str]) -> Vec<Source> {
    let mut todo: Vec<PathBuf> = places.iter().map(|place| root().join(place)).collect();
    let mut files = Vec::new();
    while let Some(path) = todo.pop() {
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

// The scanner.

/// One file, cut into tokens.
struct Source {
    /// From the root of the repository, with slashes.
    path: String,
    text: String,
    all: Vec<Token>,
    /// The same without the unit tests.
    code: Vec<Token>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Token {
    line: usize,
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Name,
    /// A string, by its content.
    Text,
    /// `::`, or one character of anything else.
    Mark,
}

impl Token {
    fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }
}

/// A path such as `std::sync::Arc`, relative ones made absolute.
struct Named {
    line: usize,
    segments: Vec<String>,
}

impl Named {
    fn names(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segments.join("::"))
    }
}

impl Source {
    fn new(path: &str, text: String) -> Self {
        let all = tokens(&text);
        let code = without_tests(&all);
        Self {
            path: path.to_owned(),
            text,
            all,
            code,
        }
    }

    /// Whether it is one of these files, or below one of these directories.
    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// All paths that the code names, one name alone being a path too.
    fn paths(&self) -> Vec<Named> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < self.code.len() {
            let is_field = at > 0 && self.code[at - 1].is(".");
            at = match self.code[at].kind {
                Kind::Name if !is_field => self.path_from(at, &[], &mut out),
                _ => at + 1,
            };
        }
        out
    }

    /// Reads the path that begins at a token, behind a prefix. Returns where it ends.
    fn path_from(&self, mut at: usize, prefix: &[String], out: &mut Vec<Named>) -> usize {
        let line = self.code[at].line;
        let mut segments = prefix.to_vec();
        segments.push(self.code[at].text.clone());
        at += 1;
        while self.is(at, "::") {
            match self.code.get(at + 1) {
                Some(next) if next.kind == Kind::Name || next.is("*") => {
                    segments.push(next.text.clone());
                    at += 2;
                }
                Some(next) if next.is("{") => return self.tree_from(at + 2, &segments, out),
                _ => break,
            }
        }
        if self.is(at, "as") {
            at += 2;
        }
        let segments = self.absolute(segments);
        out.push(Named { line, segments });
        at
    }

    /// Reads the inside of the braces of a `use`. Returns where it ends.
    fn tree_from(&self, mut at: usize, prefix: &[String], out: &mut Vec<Named>) -> usize {
        while let Some(token) = self.code.get(at) {
            at = match token.kind {
                Kind::Mark if token.is("}") => return at + 1,
                Kind::Name => self.path_from(at, prefix, out),
                _ => at + 1,
            };
        }
        at
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.code.get(at).is_some_and(|token| token.is(text))
    }

    /// A path from the root of the crate, if it was a relative one.
    fn absolute(&self, mut path: Vec<String>) -> Vec<String> {
        // `use a::{self}` names `a`.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let ups = path.iter().take_while(|name| *name == "super").count();
        let selfs = usize::from(path.len() > 1 && path[0] == "self");
        if ups + selfs == 0 {
            return path;
        }
        let mut full = self.module();
        full.truncate(full.len().saturating_sub(ups).max(1));
        full.extend(path.drain(ups + selfs..));
        full
    }

    /// The module that this file is, as a path from the crate.
    fn module(&self) -> Vec<String> {
        let inside = self
            .path
            .split_once("src/")
            .map_or(&self.path[..], |(_, rest)| rest);
        let names = inside.trim_end_matches(".rs").split('/');
        let names = names.filter(|name| !["lib", "main", "mod"].contains(name));
        std::iter::once("crate")
            .chain(names)
            .map(str::to_owned)
            .collect()
    }

    /// The modules that have files of their own: by which line, and where they may be.
    fn modules(&self) -> Vec<(usize, Vec<String>)> {
        let (dir, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let below = match name {
            "lib.rs" | "main.rs" | "mod.rs" => dir.to_owned(),
            _ => self.path.trim_end_matches(".rs").to_owned(),
        };
        let triples = self.all.windows(3).enumerate();
        let declared = triples.filter(|(_, t)| t[0].is("mod") && t[2].is(";"));
        let places = declared.map(|(at, triple)| {
            let module = &triple[1].text;
            let files = match self.path_attribute(at) {
                Some(path) => vec![format!("{dir}/{path}")],
                None => vec![
                    format!("{below}/{module}.rs"),
                    format!("{below}/{module}/mod.rs"),
                ],
            };
            (triple[1].line, files)
        });
        places.collect()
    }

    /// What `#[path = "…"]` says right before a token.
    fn path_attribute(&self, at: usize) -> Option<&str> {
        let before = self.all[..at].iter().rev();
        let item = before.take_while(|token| ![";", "{", "}"].iter().any(|end| token.is(end)));
        let item: Vec<&Token> = item.collect();
        let found = item
            .windows(3)
            .find(|t| t[0].kind == Kind::Text && t[1].is("=") && t[2].is("path"));
        found.map(|t| &t[0].text[..])
    }
}

/// The tokens outside of `#[cfg(test)] mod … { … }`.
fn without_tests(all: &[Token]) -> Vec<Token> {
    const MARK: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let mut code = Vec::new();
    let mut rest = all;
    while let Some(first) = rest.first() {
        let is_tests = rest.len() > MARK.len() && MARK.iter().zip(rest).all(|(m, t)| t.is(m));
        if !is_tests {
            code.push(first.clone());
            rest = &rest[1..];
            continue;
        }
        let mut depth = 0_usize;
        let end = rest.iter().position(|token| {
            depth += usize::from(token.is("{"));
            let closes = token.is("}");
            depth -= usize::from(closes);
            depth == 0 && (closes || token.is(";"))
        });
        rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
    }
    code
}

/// Cuts a file into tokens; comments, numbers, characters and lifetimes are left out.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let (end, token) = token(&chars, at);
        if let Some((kind, text)) = token {
            out.push(Token { line, text, kind });
        }
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    out
}

/// What begins at a place: where it ends, and the token if it is one.
fn token(chars: &[char], at: usize) -> (usize, Option<(Kind, String)>) {
    let is = |i: usize, c: char| chars.get(i) == Some(&c);
    let is_word = |i: usize| {
        chars
            .get(i)
            .is_some_and(|c| c.is_alphanumeric() || *c == '_')
    };
    let word_end = |from: usize| (from..).find(|&i| !is_word(i)).unwrap_or(from);
    let text = |from: usize, to: usize| chars[from..to].iter().collect::<String>();
    match chars[at] {
        '/' if is(at + 1, '/') => {
            let end = chars[at..].iter().position(|c| *c == '\n');
            (end.map_or(chars.len(), |n| at + n), None)
        }
        '/' if is(at + 1, '*') => (comment_end(chars, at), None),
        '"' => {
            let end = string_end(chars, at + 1);
            (end, Some((Kind::Text, text(at + 1, end.max(at + 2) - 1))))
        }
        '\'' if is(at + 1, '\\') => {
            let quote = (at + 3..chars.len()).find(|&i| is(i, '\''));
            (quote.map_or(chars.len(), |i| i + 1), None)
        }
        '\'' if is(at + 2, '\'') => (at + 3, None),
        '\'' => (word_end(at + 1), None),
        ':' if is(at + 1, ':') => (at + 2, Some((Kind::Mark, "::".to_owned()))),
        c if c.is_ascii_digit() => (word_end(at), None),
        c if c.is_alphabetic() || c == '_' => {
            let end = word_end(at);
            let word = text(at, end);
            let hashes = (end..).take_while(|&i| is(i, '#')).count();
            if ["r", "br", "cr"].contains(&&word[..]) && is(end + hashes, '"') {
                let (close, inside) = raw_end(chars, end + hashes + 1, hashes);
                return (close, Some((Kind::Text, inside)));
            }
            if word == "r" && hashes == 1 {
                let end = word_end(end + 1);
                return (end, Some((Kind::Name, text(at + 2, end))));
            }
            // The prefix of `b"…"` and the like.
            let is_prefix = ["b", "c"].contains(&&word[..]) && (is(end, '"') || is(end, '\''));
            (end, (!is_prefix).then_some((Kind::Name, word)))
        }
        c if c.is_whitespace() => (at + 1, None),
        c => (at + 1, Some((Kind::Mark, c.to_string()))),
    }
}

/// Behind the closing quote of a string whose content begins at `at`.
fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Behind a raw string whose content begins at `at`, and the content.
fn raw_end(chars: &[char], at: usize, hashes: usize) -> (usize, String) {
    let closes = |i: &usize| {
        chars[*i] == '"'
            && chars[i + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    };
    let quote = (at..chars.len()).find(closes).unwrap_or(chars.len());
    (
        (quote + 1 + hashes).min(chars.len()),
        chars[at..quote].iter().collect(),
    )
}

/// Behind a comment, which may contain others.
fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at + 1 < chars.len() {
        let pair = (chars[at], chars[at + 1]);
        depth = match pair {
            ('/', '*') => depth + 1,
            ('*', '/') => depth - 1,
            _ => depth,
        };
        at += if pair == ('/', '*') || pair == ('*', '/') {
            2
        } else {
            1
        };
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

// Each rule can fail.

/// How many lines of a file with this text a rule does not like.
fn found(path: &str, text: &str, rule: Rule) -> usize {
    apply(&Source::new(path, text.to_owned()), rule).len()
}

#[test]
fn layers_can_fail() {
    let bad = [
        ("src/event/center.rs", "use crate::net::Stack;"),
        ("src/event/mod.rs", "use super::worker;"),
        ("src/net/tcp.rs", "fn f() { crate::messenger::x() }"),
        (
            "src/wire/addr.rs",
            "use crate::{wire::Reader, message::Message};",
        ),
        ("src/wire/addr.rs", "use super::super::connection;"),
        ("src/proto/v1/decoder.rs", "use crate::event::Env;"),
        (
            "src/proto/v1/decoder.rs",
            "use super::super::super::throttle::Throttle;",
        ),
        ("src/message/body.rs", "use crate::Connection;"),
    ];
    for (path, text) in bad {
        assert_eq!(found(path, text, layers), 1, "{path}: {text}");
    }
    let good = [
        ("src/worker.rs", "use crate::{event, net, proto, wire};"),
        (
            "src/proto/v1/decoder.rs",
            "use super::super::error; use crate::message::Message;",
        ),
        (
            "src/event/center.rs",
            "// crate::net\n/* /* */ crate::net */ /// crate::net",
        ),
        (
            "src/event/center.rs",
            "const A: &str = \"crate::net\"; const B: &str = r#\"crate::net\"#;",
        ),
        (
            "src/message/mod.rs",
            "#[cfg(test)] mod tests { use crate::messages::A; } fn f() {}",
        ),
    ];
    for (path, text) in good {
        assert_eq!(found(path, text, layers), 0, "{path}: {text}");
    }
    let behind = "#[cfg(test)] mod tests { fn f() { {} } } use crate::messages::A;";
    assert_eq!(found("src/message/mod.rs", behind, layers), 1);
}

#[test]
fn purity_can_fail() {
    let bad = [
        "use std::sync::Mutex;",
        "use std::{fmt, thread};",
        "use std::net::{SocketAddr, TcpStream};",
        "use std::net;",
        "use std::net::*;",
        "use std::time::{Duration, Instant};",
        "fn f() { let _ = std::time::SystemTime::UNIX_EPOCH; }",
        "use event_driver::Token;",
    ];
    for text in bad {
        assert_eq!(found("src/proto/v1/mod.rs", text, pure), 1, "{text}");
        assert_eq!(found("src/worker.rs", text, pure), 0, "{text}");
    }
    let good = "use std::net::{IpAddr, SocketAddr}; use std::time::Duration; use std::io;";
    assert_eq!(found("src/wire/addr.rs", good, pure), 0);
}

#[test]
fn naming_a_driver_can_fail() {
    let bad = [
        ("src/worker.rs", "use event_driver::{Token, DriverKind};"),
        (
            "src/config.rs",
            "fn f() -> DriverKind { DriverKind::Epoll }",
        ),
        (
            "src/bin/msgr/main.rs",
            "let x = async_messenger::DriverKind::Poll;",
        ),
        ("src/net/tcp.rs", "use event_driver::poll::PollDriver;"),
        ("src/event/center.rs", "struct A(EpollDriver);"),
    ];
    for (path, text) in bad {
        assert_eq!(found(path, text, drivers), 1, "{path}: {text}");
    }
    let good = "fn f() -> DriverKind { DriverKind::default_for_target() } fn poll() {}";
    assert_eq!(found("src/net/tcp.rs", good, drivers), 0);
}

#[test]
fn clocks_and_sleeps_can_fail() {
    let now = "fn f() { let _ = (Instant::now(), std::time::SystemTime::now()); }";
    assert_eq!(found("src/worker.rs", now, clocks), 2);
    assert_eq!(found("src/event/env.rs", now, clocks), 0);
    assert_eq!(
        found(
            "src/worker.rs",
            "fn f(env: &dyn Env) { env.now(); }",
            clocks
        ),
        0
    );
    let sleep = "fn f() { std::thread::sleep(A); thread::sleep(B) }";
    assert_eq!(found("src/worker.rs", sleep, sleeps), 2);
    assert_eq!(found("src/messenger/bind.rs", sleep, sleeps), 0);
}

#[test]
fn unsafe_rules_can_fail() {
    assert_eq!(
        found("src/worker.rs", "fn f() { unsafe { g() } }", no_unsafe),
        1
    );
    assert_eq!(
        found("src/lib.rs", "#![forbid(unsafe_code)] // unsafe", no_unsafe),
        0
    );
    let bad = [
        "fn f() {\n    unsafe { g() }\n}",
        "// SAFETY: of the other one.\nlet a = 1;\nlet b = unsafe { g() };",
        "/// No reason.\nunsafe impl Send for A {}",
    ];
    for text in bad {
        assert_eq!(found("drivers/src/a.rs", text, safety), 1, "{text}");
    }
    let good = [
        "// SAFETY: fine.\nunsafe impl Send for A {}",
        "// SAFETY: fine,\n// and long.\nlet a =\n    Errno::result(unsafe { g() });",
        "/// Safe if called with care.\nunsafe fn f() {}",
        "const TEXT: &str = \"unsafe { g() }\";",
    ];
    for text in good {
        assert_eq!(found("drivers/src/a.rs", text, safety), 0, "{text}");
    }
}

#[test]
fn the_other_rules_can_fail() {
    assert_eq!(
        found(
            "src/a.rs",
            "fn f() { todo!() } fn g() { dbg!(1); }",
            unfinished
        ),
        2
    );
    assert_eq!(found("src/a.rs", "fn todo() {} // todo!()", unfinished), 0);
    assert_eq!(found("src/a.rs", "use std::io;", head), 1);
    assert_eq!(found("src/a.rs", "//! What it is.", head), 0);
}

#[test]
fn modules_are_found_where_they_are_declared() {
    let text = "pub mod a; #[path = \"else/where.rs\"] pub(crate) mod b; mod c { } mod d;";
    let files = |path: &str| -> Vec<Vec<String>> {
        let file = Source::new(path, text.to_owned());
        file.modules().into_iter().map(|(_, files)| files).collect()
    };
    let at_root = [
        vec!["src/a.rs", "src/a/mod.rs"],
        vec!["src/else/where.rs"],
        vec!["src/d.rs", "src/d/mod.rs"],
    ];
    assert_eq!(files("src/lib.rs"), at_root);
    assert_eq!(files("src/x.rs")[0], ["src/x/a.rs", "src/x/a/mod.rs"]);
    assert_eq!(files("src/x.rs")[1], ["src/else/where.rs"]);
}

#[test]
fn tokens_are_what_they_look_like() {
    let text =
        "fn f<'a>(x: &'a u8) -> char { b'\\''; '\"'; \"a\\\"b\"; r#\"c\"d\"#; x::y /* z */ }";
    let seen: Vec<String> = tokens(text).into_iter().map(|token| token.text).collect();
    let wanted = [
        "fn", "f", "<", ">", "(", "x", ":", "&", "u8", ")", "-", ">", "char", "{", ";", ";",
        "a\\\"b", ";", "c\"d", ";", "x", "::", "y", "}",
    ];
    assert_eq!(seen, wanted);
    let lines: Vec<usize> = tokens("a\n\"b\nc\" d\n// e\nf")
        .iter()
        .map(|t| t.line)
        .collect();
    assert_eq!(lines, [1, 2, 3, 5]);
}
