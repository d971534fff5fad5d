//! What a bench says when something is wrong, and by which exit code.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Instant;

use super::ceph::{Server, run};
use super::{DEADLINE, Keyring, V1, V2, bench_client, bench_server, check, msgr};

const REFUSED: i32 = 1;
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;
const AUTHENTICATION: i32 = 4;

#[track_caller]
fn says(addr: &str, more: &[&str], code: i32, wanted: &str) {
    let finished = bench_client(addr, more).expect_code(code);
    assert!(
        finished.stderr.contains(wanted),
        "no {wanted:?}: {finished}"
    );
    assert_eq!(finished.stdout, "");
}

#[test]
fn lines_that_make_no_sense() {
    let wrong_line = |line: &str, wanted: &str| {
        let mut command = msgr();
        command.arg("bench").args(line.split_whitespace());
        let finished = run(command, DEADLINE).expect_code(USAGE);
        assert!(
            finished.stderr.contains(wanted),
            "no {wanted:?}: {finished}"
        );
    };
    for (line, wanted) in [
        ("", "server"),
        ("clients", "client"),
        ("client", "<ADDR>"),
        ("client 127.0.0.1:6800", "write v1:IP:PORT"),
        (
            "client v1:127.0.0.1:0",
            "the port that the server has printed",
        ),
        ("client v1:localhost:1", "write v1:IP:PORT"),
        ("client v1:127.0.0.1:1 --depth 0", "1..=65536"),
        ("client v1:127.0.0.1:1 --size -1", "-1"),
        ("client v1:127.0.0.1:1 --size 1e3", "1e3"),
        ("client v1:127.0.0.1:1 --connections 0", "1..="),
        ("client v1:127.0.0.1:1 --ops 0", "1.."),
        (
            "client v1:127.0.0.1:1 --ops 1 --seconds 1",
            "cannot be used with",
        ),
        ("client v1:127.0.0.1:1 --seconds 0", "more than 0"),
        ("client v1:127.0.0.1:1 --warm-up=-1", "more than 0"),
        ("client v1:127.0.0.1:1 --policy lossless", "lossless-client"),
        ("client v1:127.0.0.1:1 --mode secure", "--keyring"),
        ("client v1:127.0.0.1:1 --keyring /dev/null/x", "/dev/null/x"),
        (
            "client v1:127.0.0.1:1 --keyring /dev/null",
            "no key of `osd.`",
        ),
        ("client v1:127.0.0.1:1 --server-pid 4294967295", "CPU time"),
        ("server --listen 127.0.0.1:0", "write v1:IP:PORT"),
        ("server --listen v1:0.0.0.0:0", "give an ip of this host"),
        ("server --workers 0", "1..="),
        ("server --pool 100000", "0..=1024"),
        ("server --mode secure", "--keyring"),
        ("server --policy lossy-client", "stateless-server"),
    ] {
        wrong_line(line, wanted);
    }
}

#[test]
fn nobody_is_there() {
    // Bound and never listened to by a messenger: taken, so that nobody else gets it meanwhile.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("an address");
    let quick = ["--timeout", "0.5"];
    for version in ["v1", "v2"] {
        says(
            &format!("{version}:{silent}"),
            &quick,
            UNREACHABLE,
            "CONNECTING",
        );
        let (mut server, addr) = bench_server(&format!("{version}:127.0.0.1:0"), &[]);
        server.end();
        says(&addr, &[], UNREACHABLE, "does `msgr bench server` run");
    }
    let (_server, addr) = bench_server(V1, &[]);
    let mut taken = msgr();
    taken.args(["bench", "server", "--listen", addr.trim_end_matches("/0")]);
    let finished = run(taken, DEADLINE).expect_code(REFUSED);
    assert!(
        finished.stderr.contains("choose another port"),
        "{finished}"
    );
}

#[test]
fn somebody_else_is_there() {
    let (_server, addr) = bench_server(V1, &[]);
    says(
        &addr.replace("v1:", "v2:"),
        &[],
        REFUSED,
        "another protocol",
    );
    let mut monitor = msgr();
    monitor.args(["serve", V1, "--mon"]);
    let mut monitor = Server::spawn(monitor);
    let line = monitor.line(DEADLINE);
    let addr = line.strip_prefix("listening on ").expect("where it is");
    says(
        addr,
        &[],
        REFUSED,
        "check that its entity type is the expected one",
    );
}

#[test]
fn keys_that_do_not_fit() {
    let right = Keyring::shared("right");
    let wrong = "[osd.]\nkey = AQBSBgZmAAAAABAA3X1kTQkzmYkGTGgEjLJ9hA==\n";
    let wrong = Keyring::new("wrong", wrong);
    for listen in [V1, V2] {
        let (_server, addr) = bench_server(listen, &["--keyring", right.path()]);
        let cure = "the keyring that the server has";
        says(&addr, &["--keyring", wrong.path()], AUTHENTICATION, cure);
        says(&addr, &[], AUTHENTICATION, cure);
        let keyring = ["--keyring", right.path(), "--ops", "10", "--json"];
        check(bench_client(&addr, &keyring));
    }
}

/// Waits until a server has been busy with requests for some time.
fn until_busy(server: &Server) {
    let stat = format!("/proc/{}/task", server.pid());
    let cpu = || -> u64 {
        let tasks = fs::read_dir(&stat).expect("it lives");
        let stats = tasks.map(|task| task.expect("a thread").path().join("schedstat"));
        let nanos = |path| {
            fs::read_to_string(path)
                .ok()?
                .split(' ')
                .next()?
                .parse()
                .ok()
        };
        stats.map(|path| nanos(path).unwrap_or(0)).sum()
    };
    let end = Instant::now() + DEADLINE;
    let before = cpu();
    while cpu() < before + 50_000_000 {
        assert!(Instant::now() < end, "it does nothing");
        thread::yield_now();
    }
}

fn signal(server: &Server, name: &str) {
    let kill = format!("kill -{name} {}", server.pid());
    let status = Command::new("sh").args(["-c", &kill]).status();
    assert!(status.expect("a shell").success(), "{kill}");
}

/// What a client says whose server gets a signal in the middle of its work.
#[track_caller]
fn in_the_middle(
    listen: &str,
    serving: &[&str],
    asking: &[&str],
    name: &str,
    says: (i32, &[&str]),
) {
    let (server, addr) = bench_server(listen, serving);
    let asking: Vec<String> = asking.iter().map(|&option| option.to_owned()).collect();
    let client = thread::spawn(move || {
        let options: Vec<&str> = asking.iter().map(String::as_str).collect();
        let time = ["--seconds", "50", "--timeout", "1"];
        bench_client(&addr, &[&time[..], &options].concat())
    });
    until_busy(&server);
    signal(&server, name);
    let finished = client.join().expect("a client").expect_code(says.0);
    let is_said = |text: &&str| finished.stderr.contains(*text);
    assert!(says.1.iter().any(is_said), "{finished}");
    assert_eq!(finished.stdout, "");
    assert!(finished.elapsed < DEADLINE, "{finished}");
}

#[test]
fn the_server_dies() {
    for listen in [V1, V2] {
        // Whether unread requests were lost with it makes the difference.
        let closed: &[&str] = &["the peer closed the connection", "Connection reset by peer"];
        let dead = (REFUSED, closed);
        in_the_middle(listen, &[], &["--connections", "2"], "KILL", dead);
        in_the_middle(listen, &[], &[], "TERM", dead);
        let serving = ["--policy", "stateful-server"];
        let gone: (_, &[&str]) = (UNREACHABLE, &["does `msgr bench server` run"]);
        in_the_middle(listen, &serving, &["--own-messengers"], "KILL", gone);
    }
}

#[test]
fn the_server_stands_still() {
    let silent: (_, &[&str]) = (UNREACHABLE, &["no request is answered any more"]);
    in_the_middle(V2, &[], &[], "STOP", silent);
}

#[test]
fn a_server_outlives_its_clients() {
    let (mut server, addr) = bench_server(V1, &["--pool", "2"]);
    for _ in 0..3 {
        let mut client = msgr();
        client.args(["bench", "client", &addr, "--seconds", "50"]);
        let client = Server::spawn(client);
        until_busy(&server);
        drop(client);
    }
    check(bench_client(&addr, &["--ops", "100", "--json"]));
    assert!(server.is_up());
}
