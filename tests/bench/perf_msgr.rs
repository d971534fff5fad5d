//! Our side of a bench with Ceph's own other side, by `.ci/ceph-perf`, in both directions.

use std::path::Path;
use std::process::Command;

use super::ceph::{Finished, Skip, or_skip, run};
use super::{DEADLINE, V1, V2, bench_client, bench_server, check, server};

const UNAVAILABLE: i32 = 77;

fn perf(args: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/ceph-perf"))
        .args(args);
    command
}

/// Whether Ceph's programs are there. They are not installed for this.
fn is_there() -> Result<(), Skip> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/ceph-perf");
    if !Path::new(root).exists() {
        return Err(Skip(
            "no .ci/ceph-perf: it is not part of the package".into(),
        ));
    }
    let finished = run(perf(&["status"]), DEADLINE);
    if finished.code == Some(UNAVAILABLE) {
        return Err(Skip(finished.stderr.trim_end().to_owned()));
    }
    finished.expect_success();
    Ok(())
}

/// Ops that are measured; each side of `.ci/ceph-perf` does some more first.
const OPS: &str = "4000";

fn perf_client(addr: &str, more: &[&str]) -> Finished {
    let args = ["client", addr, "--ops", OPS, "--json"];
    run(perf(&[&args, more].concat()), DEADLINE)
}

const LOADS: [[&str; 6]; 3] = [
    ["--size", "0", "--depth", "2", "--connections", "1"],
    ["--size", "4096", "--depth", "32", "--connections", "4"],
    ["--size", "1048576", "--depth", "4", "--connections", "1"],
];

#[test]
fn cephs_client_and_our_server() {
    if or_skip(is_there()).is_none() {
        return;
    }
    for (listen, pool) in [(V1, "0"), (V2, "2")] {
        let (_server, addr) = bench_server(listen, &["--pool", pool]);
        for load in LOADS {
            let json = perf_client(&addr, &load).expect_success();
            assert!(json.stdout.contains("\"ops\":4000,"), "{json}");
        }
    }
}

#[test]
fn our_client_and_cephs_server() {
    if or_skip(is_there()).is_none() {
        return;
    }
    for listen in [V1, V2] {
        let (server, addr) = server(perf(&["server", "--listen", listen, "--threads", "2"]));
        let pid = server.pid().to_string();
        for load in LOADS {
            for policy in ["lossless-client", "lossy-client"] {
                let more = [
                    "--ops",
                    OPS,
                    "--policy",
                    policy,
                    "--server-pid",
                    &pid,
                    "--json",
                ];
                let json = check(bench_client(&addr, &[&more[..], &load].concat()));
                assert_eq!(json["ops"].number(), 4000.0);
            }
        }
    }
}
