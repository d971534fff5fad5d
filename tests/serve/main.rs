//! `msgr serve --mon` and real clients, by every method, version and mode; who is not let in, and
//! what is said of it (`refused`); peers that break the rules of v2 and of cephx (`rules`,
//! `rules_of_servers`); clocks that jump (`clocks`).
//!
//! What needs Ceph's programs says `skipped: …` where they cannot be had, unless `REQUIRE_CEPH=1`.
//! `EVENT_DRIVER=…` narrows the drivers down to one.

// The binary is half of what is tested here, and Ceph's daemons are the other.
#![cfg(all(feature = "cli", unix))]

#[path = "../common/ceph.rs"]
mod ceph;
mod clocks;
mod log;
#[path = "../common/peers.rs"]
mod peers;
mod refused;
mod rules;
mod rules_of_servers;
mod wire;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_messenger::DriverKind;
use ceph::{Finished, Json, Server, ceph_ping, or_skip, run};

/// For what has to be quick: a hundred times what it takes here.
const DEADLINE: Duration = Duration::from_secs(30);

/// The key that the server knows, and one of the same form that nobody has.
const KEY: &str = "AQAAEF5fAAAAABAAAAECAwQFBgcICQoLDA0ODw==";
const WRONG_KEY: &str = "AQBSBgZmAAAAABAA3X1kTQkzmYkGTGgEjLJ9hA==";

/// A way to reach a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) bind: &'static str,
    pub(crate) auth: &'static str,
    /// What the client wants of v2, and the server takes.
    pub(crate) mode: &'static str,
}

const V1: &str = "v1:127.0.0.1:0";
const V2: &str = "v2:127.0.0.1:0";
const BOTH: &str = "[v2:127.0.0.1:0,v1:127.0.0.1:0]";

/// All that there are: encryption needs keys, and v1 has none.
const WAYS: [Way; 7] = [
    way(V1, "none", "crc"),
    way(V2, "none", "crc"),
    way(V1, "cephx", "crc"),
    way(V2, "cephx", "crc"),
    way(V2, "cephx", "secure"),
    way(BOTH, "none", "crc"),
    way(BOTH, "cephx", "secure"),
];

const fn way(bind: &'static str, auth: &'static str, mode: &'static str) -> Way {
    Way { bind, auth, mode }
}

/// A directory for one test's files.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("msgr-serve-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a place for files");
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a place for files");
        path.display().to_string()
    }

    /// A keyring of this one user.
    pub(crate) fn keyring(&self, user: &str, key: &str) -> String {
        let caps = ["mon", "osd", "mds", "mgr"].map(|of| format!("caps {of} = \"allow *\"\n"));
        let text = format!("[{user}]\nkey = {key}\n{}", caps.concat());
        self.write(&format!("{user}-{}.keyring", &key[4..8]), &text)
    }

    /// A ceph.conf of a client that wants nothing but this.
    pub(crate) fn conf(&self, server: &str, way: Way, keyring: &str) -> String {
        let Way { auth, mode, .. } = way;
        let text = format!(
            "[global]\nmon_host = {server}\nauth_client_required = {auth}\nkeyring = {keyring}\n\
             ms_mon_client_mode = {mode}\nms_client_mode = {mode}\nclient_mount_timeout = 10\n"
        );
        self.write("ceph.conf", &text)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left is in the system's own place for such files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `msgr -v serve ADDR --mon …`, and the addresses it says it listens on.
pub(crate) fn serve(driver: &str, way: Way, keyring: &str) -> (Server, String) {
    listening(Server::spawn(serve_command(driver, way, keyring)))
}

pub(crate) fn serve_command(driver: &str, way: Way, keyring: &str) -> Command {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_msgr"));
    serve.args(["--driver", driver, "-v", "serve", way.bind, "--mon"]);
    serve.args(["--auth", way.auth, "--mode", way.mode]);
    if way.auth == "cephx" {
        serve.args(["--keyring", keyring]);
    }
    serve
}

pub(crate) fn listening(mut server: Server) -> (Server, String) {
    loop {
        let line = server.line(DEADLINE);
        if let Some(address) = line.strip_prefix("listening on ") {
            return (server, address.to_owned());
        }
    }
}

/// The real `ceph`.
pub(crate) fn ceph_command(conf: &str) -> Command {
    let mut ceph = Command::new("ceph");
    ceph.args(["-c", conf, "--connect-timeout", "10"]);
    without_ceph_environment(ceph)
}

/// What it says of the cluster's state.
pub(crate) fn ceph_status(conf: &str) -> Finished {
    let mut status = ceph_command(conf);
    status.arg("-s");
    run(status, DEADLINE)
}

/// Debian's own Python, which python3-rados is built for.
pub(crate) fn python(conf: &str, script: &str) -> Command {
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-u", "-c", script, conf]);
    without_ceph_environment(python)
}

fn without_ceph_environment(mut command: Command) -> Command {
    for variable in ["CEPH_ARGS", "CEPH_CONF", "CEPH_KEYRING"] {
        command.env_remove(variable);
    }
    command
}

/// Connects, waits for the map, asks, and leaves.
const CONNECT: &str = r#"
import rados, sys
cluster = rados.Rados(conffile=sys.argv[1], name="client.admin")
cluster.connect(timeout=10)
code, out, err = cluster.mon_command('{"prefix":"status","format":"json"}', b"")
assert code == 0, err
print(cluster.get_fsid())
cluster.shutdown()
"#;

/// `EVENT_DRIVER` if it is set, else every driver that is compiled in.
pub(crate) fn drivers() -> Vec<String> {
    let compiled: Vec<_> = DriverKind::compiled()
        .iter()
        .map(ToString::to_string)
        .collect();
    match std::env::var("EVENT_DRIVER") {
        Ok(only) => {
            assert!(compiled.contains(&only), "{only}: there is {compiled:?}");
            vec![only]
        }
        Err(_) => compiled,
    }
}

#[test]
fn real_clients_are_served_by_every_method_version_and_mode() {
    if or_skip(ceph::client()).is_none() {
        return;
    }
    let place = Place::new();
    let keyring = place.keyring("client.admin", KEY);
    for driver in drivers() {
        for way in WAYS {
            let (mut server, address) = serve(&driver, way, &keyring);
            let conf = place.conf(&address, way, &keyring);
            let ping = ceph_ping(|| ceph_command(&conf), DEADLINE).expect_success();
            let reply = Json::parse(&ping.stdout);
            let fsid = reply["mon_status"]["monmap"]["fsid"].text();
            assert_eq!(reply["health"]["status"].text(), "HEALTH_OK", "{way:?}");

            let status = ceph_status(&conf).expect_success();
            assert!(status.stdout.contains(fsid), "{way:?}: {status}");
            assert!(status.stdout.contains("HEALTH_OK"), "{way:?}: {status}");

            let connect = run(python(&conf, CONNECT), DEADLINE).expect_success();
            assert_eq!(connect.stdout.trim(), fsid, "{way:?}");
            println!(
                "{driver:>6} {:32} {:5} {:6} ping {:?}, -s {:?}, connect {:?}",
                way.bind, way.auth, way.mode, ping.elapsed, status.elapsed, connect.elapsed
            );
            assert!(server.is_up(), "{driver} {way:?}: {}", server.end());
            let said = server.end();
            assert!(!said.contains("not let in"), "{way:?}: {said}");
            log::assert_no_key(&said, &[KEY]);
        }
    }
}

/// Tickets that live for seconds are renewed on the session, without a new one.
#[test]
fn real_clients_renew_their_tickets() {
    if or_skip(ceph::client()).is_none() {
        return;
    }
    const STAY: &str = r#"
import rados, sys
cluster = rados.Rados(conffile=sys.argv[1], name="client.admin")
cluster.connect(timeout=10)
print("connected")
while True:
    code, out, err = cluster.mon_command('{"prefix":"status","format":"json"}', b"")
    assert code == 0, err
"#;
    let place = Place::new();
    let keyring = place.keyring("client.admin", KEY);
    for driver in drivers() {
        for way in [WAYS[2], WAYS[4]] {
            let mut command = Command::new("sh");
            command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]);
            let serve = serve_command(&driver, way, &keyring);
            command.arg(serve.get_program()).args(serve.get_args());
            command.args(["--ticket-ttl", "4"]);
            let (mut server, address) = listening(Server::spawn(command));
            let conf = place.conf(&address, way, &keyring);
            // How often it looks whether tickets are due.
            let text = fs::read_to_string(&conf).expect("it has been written");
            place.write("ceph.conf", &(text + "mon_client_ping_interval = 1\n"));
            let mut client = Server::spawn(python(&conf, STAY));
            assert_eq!(client.line(DEADLINE), "connected", "{way:?}");
            // The auth ticket first, then with it the others; on v1 these come once at the log-in.
            let (mut said, mut renewed, mut came) = (String::new(), 0, 0);
            while renewed < 4 {
                let line = server.line(DEADLINE);
                renewed += usize::from(line.contains("tickets renewed"));
                if line.contains("ready=Accepted") {
                    // Once to find the monitors, once to stay. A client on a busy machine may come
                    // again: one that gets its answer to a sign of life before it has noted when
                    // it asked takes the monitor for dead (real monitors, too).
                    (came, renewed) = (came + 1, 0);
                }
                said += &format!("{line}\n");
                assert!(
                    came < 8,
                    "{driver} {way:?}: it comes again and again:\n{said}"
                );
            }
            assert!(client.is_up(), "{way:?}: {}", client.end());
            assert!(!said.contains("not let in"), "{way:?}: {said}");
            log::assert_no_key(&said, &[KEY]);
        }
    }
}
