//! Each rule can fail.

use super::scan::{Source, tokens};
use super::walk::{Rule, apply};
use super::{clocks, drivers, head, layers, no_unsafe, pure, safety, sleeps, unfinished};

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
