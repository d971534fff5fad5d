//! The `msgr` binary and the library against real Ceph daemons and clients, once per driver.
//!
//! Each test has a node of its own (`.ci/ceph`) and says `skipped: …` where Ceph cannot be had,
//! unless `REQUIRE_CEPH=1`. `EVENT_DRIVER=…` narrows the drivers down to one.

// The binary is half of what is tested here, and Ceph's daemons are the other.
#![cfg(all(feature = "cli", unix))]

#[path = "common/ceph.rs"]
mod ceph;
#[path = "interop/modes.rs"]
mod modes;
#[path = "interop/probe.rs"]
mod probe;
#[path = "interop/serve.rs"]
mod serve;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use async_messenger::DriverKind;
use ceph::{Cluster, Finished, Json, Options, Server, ceph_at, ceph_ping, or_skip, run};

/// For what has to be quick: a hundred times what it takes here.
const DEADLINE: Duration = Duration::from_secs(30);

const REFUSED: i32 = 1;
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;
const AUTHENTICATION: i32 = 4;

// --- our client, the real monitor --------------------------------------------------------------

#[test]
fn ping_prints_the_monitors_own_reply() {
    let Some(cluster) = or_skip(Cluster::start(&Options::default())) else {
        return;
    };
    for driver in drivers() {
        let pinged = msgr(&driver, 10, &["ping", &cluster.mon_v1()]).expect_success();
        let reply = Json::parse(&pinged.stdout);
        // Which cluster and which state: no one but the monitor itself knows both.
        assert_eq!(
            reply["mon_status"]["monmap"]["fsid"].text(),
            cluster.fsid(),
            "{driver}"
        );
        assert_eq!(reply["mon_status"]["state"].text(), "leader", "{driver}");
        assert_eq!(reply["health"]["status"].text(), "HEALTH_OK", "{driver}");
    }
}

/// MPing needs no authentication, so a health check needs no key either.
#[test]
fn ping_is_answered_by_a_monitor_that_wants_cephx() {
    let cephx = Options {
        auth: "cephx",
        ..Options::default()
    };
    let Some(cluster) = or_skip(Cluster::start(&cephx)) else {
        return;
    };
    for driver in drivers() {
        let pinged = msgr(&driver, 10, &["ping", &cluster.mon_v1()]).expect_success();
        let reply = Json::parse(&pinged.stdout);
        assert_eq!(
            reply["mon_status"]["monmap"]["fsid"].text(),
            cluster.fsid(),
            "{driver}"
        );
    }
}

#[test]
fn mon_map_equals_what_ceph_mon_dump_says() {
    let Some(cluster) = or_skip(Cluster::start(&Options::default())) else {
        return;
    };
    let dump = cluster.ceph_json(&["mon", "dump"]);
    let theirs = monitors(&dump, |mon| {
        let addrs = mon["public_addrs"]["addrvec"].list().iter();
        let written = addrs.map(|a| {
            format!(
                "{}:{}/{}",
                a["type"].text(),
                a["addr"].text(),
                a["nonce"].number()
            )
        });
        written.collect()
    });
    for driver in drivers() {
        let json = msgr(&driver, 10, &["mon-map", &cluster.mon_v1(), "--json"]).expect_success();
        let json = Json::parse(&json.stdout);
        assert_eq!(json["fsid"], dump["fsid"], "{driver}");
        assert_eq!(json["epoch"], dump["epoch"], "{driver}");
        let ours = monitors(&json, |mon| {
            mon["addrs"]
                .list()
                .iter()
                .map(|addr| addr.text().to_owned())
                .collect()
        });
        assert_eq!(ours, theirs, "{driver}");

        let text = msgr(&driver, 10, &["mon-map", &cluster.mon_v1()])
            .expect_success()
            .stdout;
        for wanted in [
            cluster.fsid().to_owned(),
            format!("epoch {}", dump["epoch"].number()),
            cluster.mon_v1(),
            "mon.a".to_owned(),
        ] {
            assert!(text.contains(&wanted), "{driver}: no {wanted:?} in\n{text}");
        }
    }
}

/// Name, rank and addresses of each monitor in a map, in the order of the ranks.
fn monitors(map: &Json, addrs: impl Fn(&Json) -> Vec<String>) -> Vec<(u64, String, Vec<String>)> {
    let entry = |mon: &Json| {
        (
            mon["rank"].number() as u64,
            mon["name"].text().to_owned(),
            addrs(mon),
        )
    };
    let mut monitors: Vec<_> = map["mons"].list().iter().map(entry).collect();
    monitors.sort();
    monitors
}

#[test]
fn mon_command_prints_the_status_of_the_cluster() {
    let Some(cluster) = or_skip(Cluster::start(&Options::default())) else {
        return;
    };
    let theirs = cluster.ceph_json(&["status"]);
    for driver in drivers() {
        let status = r#"{"prefix":"status","format":"json"}"#;
        let answer = msgr(&driver, 10, &["mon-command", &cluster.mon_v1(), status]);
        let ours = Json::parse(&answer.expect_success().stdout);
        assert_eq!(ours["fsid"].text(), cluster.fsid(), "{driver}");
        for same in ["health", "quorum_names", "monmap", "election_epoch"] {
            assert_eq!(ours[same], theirs[same], "{driver}: {same}");
        }
    }
}

/// 70 KB in one segment: more than one read of the socket can bring.
#[test]
fn mon_command_prints_long_answers_whole() {
    let Some(cluster) = or_skip(Cluster::start(&Options::default())) else {
        return;
    };
    let command = r#"{"prefix":"get_command_descriptions"}"#;
    for driver in drivers() {
        let answer = msgr(&driver, 10, &["mon-command", &cluster.mon_v1(), command]);
        let answer = answer.expect_success().stdout;
        assert!(answer.len() > 50_000, "{driver}: {} bytes", answer.len());
        let Json::Object(commands) = Json::parse(&answer) else {
            panic!("no object")
        };
        let known = |command: &Json| command["sig"].list()[0] == Json::Text("status".to_owned());
        assert!(
            commands.values().any(known),
            "{driver}: `status` is not described"
        );
    }
}

#[test]
fn a_command_the_monitor_does_not_know_is_refused_in_its_words() {
    let Some(cluster) = or_skip(Cluster::start(&Options::default())) else {
        return;
    };
    for driver in drivers() {
        let unknown = r#"{"prefix":"no such command"}"#;
        let answer = msgr(&driver, 10, &["mon-command", &cluster.mon_v1(), unknown]);
        let answer = answer.expect_code(REFUSED);
        assert!(answer.stderr.contains("command not known"), "{answer}");
    }
}

#[test]
fn a_monitor_that_wants_cephx_is_an_authentication_failure() {
    let cephx = Options {
        auth: "cephx",
        ..Options::default()
    };
    let Some(cluster) = or_skip(Cluster::start(&cephx)) else {
        return;
    };
    for driver in drivers() {
        let status = r#"{"prefix":"status"}"#;
        let address = cluster.mon_v1();
        for args in [
            &["mon-map", &address][..],
            &["mon-command", &address, status],
        ] {
            let refused = msgr(&driver, 10, args).expect_code(AUTHENTICATION);
            assert_eq!(refused.stdout, "", "{refused}");
            assert_says(&refused, &[&cluster.mon_v1(), "authenticat", "cephx"]);
            // The monitor refuses at once; waiting for the deadline would be another failure.
            assert!(refused.elapsed < Duration::from_secs(8), "{refused}");
        }
    }
}

// --- the real client, our monitor --------------------------------------------------------------

#[test]
fn ceph_ping_and_ceph_status_are_answered_by_serve() {
    if or_skip(ceph::client()).is_none() {
        return;
    }
    for driver in drivers() {
        let (mut server, address) = serve_mon(&driver);
        // What only this server can say: the id of the cluster it pretends to be.
        let map = msgr(&driver, 10, &["mon-map", &address, "--json"]).expect_success();
        let fsid = Json::parse(&map.stdout)["fsid"].text().to_owned();

        let pinged = ceph_ping(|| ceph_at(&address, &[]), DEADLINE).expect_success();
        let reply = Json::parse(&pinged.stdout);
        assert_eq!(reply["health"]["status"].text(), "HEALTH_OK", "{driver}");
        assert!(
            pinged.stdout.contains(&fsid),
            "{driver}: not our answer: {pinged}"
        );

        let status = run(ceph_at(&address, &["-s"]), DEADLINE).expect_success();
        assert!(
            status.stdout.contains(&fsid),
            "{driver}: not our answer: {status}"
        );
        assert!(server.is_up(), "{driver}: {}", server.end());
    }
}

#[test]
fn serve_answers_our_own_client_too() {
    for driver in drivers() {
        let (_server, address) = serve_mon(&driver);
        let map = msgr(&driver, 10, &["mon-map", &address, "--json"]).expect_success();
        let map = Json::parse(&map.stdout);
        assert_eq!(map["mons"].list().len(), 1, "{driver}");
        assert_eq!(
            map["mons"].list()[0]["addrs"].list()[0].text(),
            address,
            "{driver}"
        );
        let pinged = msgr(&driver, 10, &["ping", &address]).expect_success();
        assert!(
            pinged.stdout.contains(map["fsid"].text()),
            "{driver}: {pinged}"
        );
    }
}

#[test]
fn serve_survives_strangers_and_the_real_client_notices_nothing() {
    if or_skip(ceph::client()).is_none() {
        return;
    }
    for driver in drivers() {
        let (mut server, address) = serve_mon(&driver);
        // One that only knocks, one that never says a word, one that speaks HTTP.
        drop(dial(&address));
        let _silent = dial(&address);
        let mut http = dial(&address);
        http.write_all(b"GET / HTTP/1.1\r\nHost: monitor\r\n\r\n")
            .expect("the server reads");
        http.shutdown(Shutdown::Write).expect("still connected");
        // Our banner, perhaps, and then the end of the stream or a reset, but no waiting for more.
        let mut got = Vec::new();
        let end = http.read_to_end(&mut got).map_err(|e| e.kind());
        assert!(
            matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)),
            "{driver}: {end:?}"
        );
        assert!(
            got.len() < 1024,
            "{driver}: {} bytes for an HTTP client",
            got.len()
        );

        ceph_ping(|| ceph_at(&address, &[]), DEADLINE).expect_success();
        run(ceph_at(&address, &["-s"]), DEADLINE).expect_success();
        assert!(server.is_up(), "{driver}: {}", server.end());
    }
}

/// `msgr serve … --mon` on a port of its choice, and the address it says it listens on.
fn serve_mon(driver: &str) -> (Server, String) {
    let mut serve = msgr_command(driver, 10);
    serve.args(["serve", "v1:127.0.0.1:0", "--mon"]);
    let mut server = Server::spawn(serve);
    let line = server.line(DEADLINE);
    let address = line
        .strip_prefix("listening on ")
        .unwrap_or_else(|| panic!("said {line:?}"));
    let port = address
        .strip_prefix("v1:127.0.0.1:")
        .and_then(|rest| rest.strip_suffix("/0"));
    let port: u16 = port
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("{line:?}"));
    assert_ne!(port, 0, "{line:?}");
    (server, address.to_owned())
}

/// A bare connection to `v1:IP:PORT/NONCE` that gives up reading in time.
fn dial(address: &str) -> TcpStream {
    let socket = address.trim_start_matches("v1:").trim_end_matches("/0");
    let socket: SocketAddr = socket.parse().unwrap_or_else(|e| panic!("{socket}: {e}"));
    let stream = TcpStream::connect_timeout(&socket, DEADLINE).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
    stream
}

// --- a real OSD's heartbeat port ---------------------------------------------------------------

#[test]
fn osd_heartbeats_are_all_answered() {
    let with_osd = Options {
        osds: 1,
        ..Options::default()
    };
    let Some(cluster) = or_skip(Cluster::start(&with_osd)) else {
        return;
    };
    let osd_ping = osd_ping();
    for driver in drivers() {
        for address in ["OSD_0_HB_FRONT_V1", "OSD_0_HB_BACK_V1"] {
            let mut command = Command::new(&osd_ping);
            command
                .arg(cluster.get(address))
                .args(["--fsid", cluster.fsid(), "--osd", "0"]);
            command.args(["--in-flight", "64", "--seconds", "2", "--driver", &driver]);
            let pinged = run(command, DEADLINE).expect_success();
            let figures = Json::parse(&pinged.stdout);
            assert_eq!(figures["sent"], figures["answered"], "{driver}: {pinged}");
            // The OSD alone would do 300,000 a second; this only tells work from timing out.
            assert!(figures["answered"].number() > 1000.0, "{driver}: {pinged}");
            println!("{driver} {address}: {}", pinged.stdout.trim());
        }
    }
}

/// The example, up to date: `cargo test --test interop` does not build examples.
fn osd_ping() -> PathBuf {
    // TARGET/debug/deps/interop-…
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("deps lies in the profile's directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args([
        "build",
        "--quiet",
        "--workspace",
        "--example",
        "osd_ping",
        "--target-dir",
    ]);
    cargo.arg(
        profile
            .parent()
            .expect("the profile's directory lies in the target directory"),
    );
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // The features this test was built with, so that nothing is built but the example.
    let features: Vec<_> = [
        ("cli", cfg!(feature = "cli")),
        ("epoll", cfg!(feature = "epoll")),
        ("kqueue", cfg!(feature = "kqueue")),
        ("poll", cfg!(feature = "poll")),
        ("io-uring", cfg!(feature = "io-uring")),
        ("portable", cfg!(feature = "portable")),
        ("compression", cfg!(feature = "compression")),
        ("kqueue-shim", cfg!(feature = "kqueue-shim")),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect();
    if !cfg!(feature = "default") {
        cargo.arg("--no-default-features");
    }
    cargo.args(["--features", &features.join(",")]);
    run(cargo, Duration::from_secs(600)).expect_success();
    let example = Path::new(profile).join("examples/osd_ping");
    assert!(example.exists(), "built, but not at {}", example.display());
    example
}

// --- what must fail, and how -------------------------------------------------------------------

#[test]
fn nobody_listening_is_unreachable() {
    let (_held, address) = deaf_address();
    for driver in drivers() {
        for args in every_client(&address) {
            let failed = msgr(&driver, 5, &args).expect_code(UNREACHABLE);
            assert_eq!(failed.stdout, "", "{failed}");
            assert_says(&failed, &[&address, "connect", "refused"]);
            assert!(failed.elapsed < Duration::from_secs(7), "{failed}");
        }
    }
}

#[test]
fn a_silent_server_is_unreachable_when_the_time_is_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("v1:{}", listener.local_addr().expect("bound"));
    for driver in drivers() {
        // The kernel accepts; that nobody reads is all the same to the client.
        let failed = msgr(&driver, 1, &["ping", &address]).expect_code(UNREACHABLE);
        assert_eq!(failed.stdout, "", "{failed}");
        assert_says(&failed, &[&address, "banner"]);
        let waited = failed.elapsed;
        assert!(waited >= Duration::from_secs(1), "gave up early: {failed}");
        assert!(waited < Duration::from_secs(4), "gave up late: {failed}");
    }
}

#[test]
fn a_server_of_another_protocol_is_refused() {
    let address = answers_everybody(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    for driver in drivers() {
        let failed = msgr(&driver, 5, &["ping", &address]).expect_code(REFUSED);
        assert_eq!(failed.stdout, "", "{failed}");
        assert_says(&failed, &[&address, "banner"]);
    }
}

/// The mistake that everybody makes once: port 3300 in place of 6789.
#[test]
fn a_monitor_that_speaks_only_msgr_v2_is_refused() {
    let v2 = Options {
        msgr: "v2",
        ..Options::default()
    };
    let Some(cluster) = or_skip(Cluster::start(&v2)) else {
        return;
    };
    let address = format!("v1:{}", cluster.get("MON_V2"));
    for driver in drivers() {
        let failed = msgr(&driver, 5, &["ping", &address]).expect_code(REFUSED);
        assert_says(&failed, &[&address, "banner", "v2"]);
    }
}

#[test]
fn wrong_usage_is_told_apart() {
    for args in [
        &[][..],
        &["no-such-command"],
        &["ping"],
        &["ping", "not an address"],
        &["ping", "v1:127.0.0.1:99999"],
        &["--driver", "no-such-driver", "ping", "v1:127.0.0.1:1"],
        &["--timeout", "soon", "ping", "v1:127.0.0.1:1"],
        &["mon-command", "v1:127.0.0.1:1"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_msgr"));
        command.args(args);
        let failed = run(command, DEADLINE).expect_code(USAGE);
        assert_eq!(failed.stdout, "", "{failed}");
        assert_ne!(failed.stderr, "", "{failed}");
    }
}

/// The three ways to be a client of a monitor.
fn every_client(address: &str) -> [Vec<&str>; 3] {
    [
        vec!["ping", address],
        vec!["mon-map", address],
        vec!["mon-command", address, r#"{"prefix":"status"}"#],
    ]
}

/// An address that refuses connections, and what keeps everybody else from taking its port: the
/// port belongs to the near end of a connection, which does not listen.
fn deaf_address() -> ((TcpListener, TcpStream), String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let far = listener.local_addr().expect("bound");
    let near = TcpStream::connect(far).expect("it listens");
    let address = format!("v1:{}", near.local_addr().expect("connected"));
    ((listener, near), address)
}

/// A server that says the same to everyone and hangs up; it ends with the test's process.
fn answers_everybody(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("v1:{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // A client may be gone already; that is its own affair.
            let _ = stream.write_all(answer);
            let _ = stream.shutdown(Shutdown::Write);
            // Closing with something unread would be a reset, which may overtake the answer.
            let _ = stream.set_read_timeout(Some(DEADLINE));
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    address
}

// --- common -------------------------------------------------------------------------------------

/// `EVENT_DRIVER` if it is set, else every driver that is compiled in.
fn drivers() -> Vec<String> {
    let mut compiled = Vec::new();
    for kind in DriverKind::compiled() {
        compiled.push(kind.to_string());
    }
    assert!(!compiled.is_empty(), "no driver is compiled in");
    match std::env::var("EVENT_DRIVER") {
        Ok(only) => {
            assert!(
                compiled.contains(&only),
                "EVENT_DRIVER={only}, but there is {compiled:?}"
            );
            vec![only]
        }
        Err(_) => compiled,
    }
}

fn msgr_command(driver: &str, timeout: u32) -> Command {
    let mut msgr = Command::new(env!("CARGO_BIN_EXE_msgr"));
    msgr.args(["--driver", driver, "--timeout", &timeout.to_string()]);
    msgr
}

/// Runs `msgr` to its end. `--timeout` has to end it: a kill by us counts as a failure.
fn msgr(driver: &str, timeout: u32, args: &[&str]) -> Finished {
    let mut command = msgr_command(driver, timeout);
    command.args(args);
    run(command, Duration::from_secs(timeout.into()) + DEADLINE)
}

/// An error has to name the peer, what was going on, and what can be done about it.
#[track_caller]
fn assert_says(failed: &Finished, parts: &[&str]) {
    let said = failed.stderr.to_lowercase();
    for part in parts {
        assert!(
            said.contains(&part.to_lowercase()),
            "does not say {part:?}: {failed}"
        );
    }
    assert!(!said.contains("panicked"), "{failed}");
}
