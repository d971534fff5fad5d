//! Rules of the source tree that the compiler does not check: layers, clocks, `unsafe`, files.
//!
//! Each rule says why it is there in the text of its failure. The scanner (`scan`) is a plain one: it
//! knows comments, strings, `use` trees and relative paths, and nothing of macros or types. What a
//! rule is not meant for, such as the unit tests at the end of a file, is cut off before it looks.
//! The tests in `can_fail` show that each rule can fail.

mod can_fail;
mod scan;
mod walk;

use scan::Source;
use walk::{Found, binaries, check, report, root, sources};

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
const CLOCKS: &[&str] = &[
    "src/event/env.rs",
    "src/bin/",
    // Of the kernel's own time: what is left of a timeout.
    "drivers/src/epoll.rs",
    "drivers/src/kqueue_shim.rs",
];

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

const EVERYWHERE: &[&str] = &[
    "src",
    "tests",
    "examples",
    "benches",
    "drivers/src",
    "drivers/tests",
];

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
