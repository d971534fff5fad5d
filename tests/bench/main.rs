//! `msgr bench`: its server and its client with each other, in all the ways there are; what goes
//! wrong, and what is said of it (`trouble`); either of them with Ceph's own `perf_msgr`
//! (`perf_msgr`), which is skipped where that is not installed.
//!
//! Figures are looked at for being there and for fitting together, never for being good.

// The binary is what is tested, and CPU times are Linux's.
#![cfg(all(feature = "cli", target_os = "linux"))]

#[path = "../common/ceph.rs"]
mod ceph;
mod perf_msgr;
mod trouble;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ceph::{Finished, Json, Server, run};

/// For what has to be quick: a hundred times what it takes here.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

const V1: &str = "v1:127.0.0.1:0";
const V2: &str = "v2:127.0.0.1:0";
const BOTH: &str = "[v2:127.0.0.1:0,v1:127.0.0.1:0]";

const KEY: &str = "AQAAEF5fAAAAABAAAAECAwQFBgcICQoLDA0ODw==";

pub(crate) fn msgr() -> Command {
    Command::new(env!("CARGO_BIN_EXE_msgr"))
}

/// A running server, and where it is.
pub(crate) fn server(command: Command) -> (Server, String) {
    let mut server = Server::spawn(command);
    let line = server.line(DEADLINE);
    let addr = line.strip_prefix("listening ").expect("where it is");
    let addr = addr.to_owned();
    (server, addr)
}

/// Ours.
pub(crate) fn bench_server(listen: &str, more: &[&str]) -> (Server, String) {
    let mut command = msgr();
    command
        .args(["bench", "server", "--listen", listen])
        .args(more);
    server(command)
}

/// Runs our client.
pub(crate) fn bench_client(addr: &str, more: &[&str]) -> Finished {
    let mut command = msgr();
    command.args(["bench", "client", addr]).args(more);
    run(command, DEADLINE)
}

/// Figures that every measurement has to have.
#[track_caller]
pub(crate) fn check(finished: Finished) -> Json {
    let json = Json::parse(&finished.expect_success().stdout);
    for figure in ["ops", "seconds", "ops_per_s", "client_cpu_us_per_op"] {
        assert!(json[figure].number() > 0.0, "{figure}: {json:?}");
    }
    json
}

/// A keyring that is removed with the test.
pub(crate) struct Keyring(PathBuf);

impl Keyring {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let name = format!("msgr-bench-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a place for a file");
        Self(path)
    }

    pub(crate) fn shared(name: &str) -> Self {
        Self::new(name, &format!("[osd.]\nkey = {KEY}\n"))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a path of simple characters")
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        // If it is gone already, that is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn so_many_requests_are_answered_and_no_more() {
    for listen in [V1, V2, BOTH] {
        let (server, addr) = bench_server(listen, &[]);
        let pid = server.pid().to_string();
        for (ops, connections, depth, size, warm_up) in [
            ("1", "1", "1", "0", "0"),
            ("1", "5", "8", "64", "0"),
            ("3", "2", "8", "64", "0.05"),
            ("2000", "1", "1", "64", "0"),
            ("5000", "3", "32", "4096", "0.05"),
            ("40", "2", "4", "1048576", "0"),
        ] {
            let json = check(bench_client(
                &addr,
                &[
                    "--ops",
                    ops,
                    "--connections",
                    connections,
                    "--depth",
                    depth,
                    "--size",
                    size,
                    "--warm-up",
                    warm_up,
                    "--server-pid",
                    &pid,
                    "--json",
                ],
            ));
            let number = |name: &str| json[name].number();
            assert_eq!(number("ops").to_string(), ops, "{json:?}");
            assert!(number("p50_us") > 0.0 && number("p50_us") <= number("p99_us"));
            assert!(number("p99_us") <= number("p999_us"));
            assert!(number("server_cpu_us_per_op") >= 0.0);
            let mb = number("ops_per_s") * size.parse::<f64>().expect("a number") / 1e6;
            assert!(
                (number("mb_per_s") - mb).abs() <= 0.001 + mb * 1e-3,
                "{json:?}"
            );
        }
    }
}

/// Each option that changes what goes over the wire, or who sends it.
#[test]
fn every_way_to_measure_works() {
    let keyring = Keyring::shared("ways");
    let keys = ["--keyring", keyring.path()];
    let secure = ["--keyring", keyring.path(), "--mode", "secure"];
    let stateful = ["--policy", "stateful-server"];
    let own: &[&str] = &["--own-messengers", "--connections", "4"];
    let ways: [(&str, &[&str], &[&str]); 11] = [
        (V1, &keys, &keys),
        (V2, &keys, &keys),
        (V2, &keys, &secure),
        (V2, &secure, &secure),
        (V1, &["--pool", "1"], &[]),
        (V2, &["--pool", "3"], &["--connections", "8"]),
        (V2, &["--workers", "1"], &["--threads", "1"]),
        (V1, &[], &["--policy", "lossy-client"]),
        (V1, &[], own),
        (V1, &stateful, own),
        (V2, &stateful, own),
    ];
    for (listen, serving, asking) in ways {
        let (_server, addr) = bench_server(listen, serving);
        let common = ["--ops", "1000", "--warm-up", "0", "--json"];
        let json = check(bench_client(&addr, &[&common, asking].concat()));
        assert_eq!(json["ops"].number(), 1000.0, "{serving:?} {asking:?}");
        assert_eq!(json["server_cpu_us_per_op"], Json::Null);
    }
}

#[test]
fn for_so_long_and_for_people() {
    let (server, addr) = bench_server(V2, &[]);
    let pid = server.pid().to_string();
    let time = ["--seconds", "0.3", "--warm-up", "0.1"];
    let json = check(bench_client(&addr, &[&time[..], &["--json"]].concat()));
    assert!(json["seconds"].number() >= 0.3, "{json:?}");
    let table = bench_client(&addr, &[&time[..], &["--server-pid", &pid]].concat());
    let table = table.expect_success().stdout;
    for wanted in [
        "4096 bytes, depth 32, 1 connections",
        "per second",
        "p99.9",
        "client, ",
    ] {
        assert!(table.contains(wanted), "{table}");
    }
}

#[test]
fn a_server_ends_when_it_is_told() {
    let script = r#"
        coproc S { exec "$0" bench server; }
        pid=$S_PID
        read -r told addr <&"${S[0]}"
        kill -"$1" "$pid"
        wait "$pid"
        echo "$told $?""#;
    for signal in ["TERM", "INT"] {
        let mut bash = Command::new("bash");
        bash.args(["-c", script, env!("CARGO_BIN_EXE_msgr"), signal]);
        let said = run(bash, DEADLINE).expect_success().stdout;
        assert_eq!(said, "listening 0\n", "{signal}");
    }
    // With the other end of a pipe; not because there is nothing to read.
    let mut bash = Command::new("bash");
    bash.args(["-c", r#": | "$0" bench server"#, env!("CARGO_BIN_EXE_msgr")]);
    run(bash, DEADLINE).expect_success();
    let (mut server, addr) = bench_server(V1, &[]);
    check(bench_client(
        &addr,
        &["--ops", "10", "--warm-up", "0", "--json"],
    ));
    assert!(server.is_up());
}
