//! The scanner: a file as tokens, and the paths that it names.

use std::fmt;

/// One file, cut into tokens.
pub(crate) struct Source {
    /// From the root of the repository, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) all: Vec<Token>,
    /// The same without the unit tests.
    code: Vec<Token>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Name,
    /// A string, by its content.
    Text,
    /// `::`, or one character of anything else.
    Mark,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }
}

/// A path such as `std::sync::Arc`, relative ones made absolute.
pub(crate) struct Named {
    pub(crate) line: usize,
    segments: Vec<String>,
}

impl Named {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segments.join("::"))
    }
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
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
    pub(crate) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// All paths that the code names, one name alone being a path too.
    pub(crate) fn paths(&self) -> Vec<Named> {
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
    pub(crate) fn modules(&self) -> Vec<(usize, Vec<String>)> {
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
pub(crate) fn tokens(text: &str) -> Vec<Token> {
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
