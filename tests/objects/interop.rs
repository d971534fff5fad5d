//! The real `rados` and our OSD; our client and a real OSD. Each test has a node of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_messenger::DriverKind;

use crate::ceph::{Cluster, Finished, Options, Server, or_skip, run};
use crate::{DEADLINE, example};

/// A file of this process that is removed again.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("msgr-objects-{}-{name}", id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("made of a name")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.0);
    }
}

/// Held by who starts OSDs, as they look for free ports, and from the death of one until another
/// has its addresses, which would look free.
static OSD_PORTS: Mutex<()> = Mutex::new(());

fn osd_ports() -> MutexGuard<'static, ()> {
    OSD_PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(options: &Options) -> Option<Cluster> {
    let _ports = osd_ports();
    or_skip(Cluster::start(options))
}

/// The real `rados` on the node's pool.
fn rados(cluster: &Cluster, args: &[&str]) -> Finished {
    let mut rados = Command::new("rados");
    rados.args(["-c", cluster.get("CEPH_CONF"), "-p", cluster.get("POOL")]);
    for variable in ["CEPH_ARGS", "CEPH_CONF", "CEPH_KEYRING"] {
        rados.env_remove(variable);
    }
    rados.args(args);
    run(rados, DEADLINE)
}

/// The number behind a title in what `rados bench` prints.
#[track_caller]
fn figure(bench: &Finished, title: &str) -> f64 {
    let line = bench.stdout.lines().find(|line| line.starts_with(title));
    let value = line.and_then(|line| line.split_whitespace().last());
    let value = value.and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no {title:?} in {bench}"))
}

fn stands_in(msgr: &'static str) {
    let options = Options {
        osds: 1,
        msgr,
        ..Options::default()
    };
    let Some(cluster) = start(&options) else {
        return;
    };
    let mut command = Command::new(example("object_store"));
    let ports = osd_ports();
    let addrs = cluster.kill_osd(0);
    command.arg(&addrs);
    let mut osd = Server::spawn(command);
    assert!(osd.line(DEADLINE).starts_with("ready ["), "at {addrs}");
    drop(ports);
    one_object(&cluster, msgr);
    bench(&cluster, msgr);
    assert!(osd.is_up());
    assert_eq!(osd.end(), "", "{msgr}: object_store complains");
}

fn one_object(cluster: &Cluster, msgr: &str) {
    let sent = Scratch::new(&format!("{msgr}-in"));
    let got = Scratch::new(&format!("{msgr}-out"));
    // More than one request of the client, which cuts at 4 MiB.
    let bytes = |i: u32| (i.wrapping_mul(7) >> 3) as u8;
    let bytes: Vec<u8> = (0..10_000_000).map(bytes).collect();
    fs::write(&sent.0, &bytes).expect("room for a file");
    rados(cluster, &["put", "large", sent.path()]).expect_success();
    rados(cluster, &["get", "large", got.path()]).expect_success();
    let got = fs::read(&got.0).expect("rados wrote it");
    assert!(got == bytes, "{msgr}: other bytes");
    let stat = rados(cluster, &["stat", "large"]).expect_success();
    assert!(stat.stdout.contains("size 10000000"), "{stat}");
    rados(cluster, &["append", "large", sent.path()]).expect_success();
    let stat = rados(cluster, &["stat", "large"]).expect_success();
    assert!(stat.stdout.contains("size 20000000"), "{stat}");
    rados(cluster, &["rm", "large"]).expect_success();
    let gone = rados(cluster, &["stat", "large"]).expect_code(1);
    assert!(gone.stderr.contains("No such file"), "{gone}");
    let unknown = rados(cluster, &["setxattr", "large", "name", "value"]).expect_code(1);
    assert!(unknown.stderr.contains("(95)"), "{unknown}");
}

fn bench(cluster: &Cluster, msgr: &str) {
    let small = ["-b", "4096", "-t", "16"];
    let write = [&["bench", "2", "write", "--no-cleanup"], &small[..]].concat();
    let write = rados(cluster, &write).expect_success();
    let rand = rados(cluster, &["bench", "2", "rand", "-t", "16"]).expect_success();
    let (writes, reads) = (
        figure(&write, "Average IOPS"),
        figure(&rand, "Average IOPS"),
    );
    // This only tells work from timing out.
    assert!(writes > 100.0, "{msgr}: {write}");
    assert!(reads > 100.0, "{msgr}: {rand}");
    println!("{msgr}: {writes} writes, {reads} reads of 4 KiB a second");
    // With its own removing.
    let write = [&["bench", "1", "write"], &small[..]].concat();
    rados(cluster, &write).expect_success();
}

#[test]
fn rados_uses_the_store_over_v1() {
    stands_in("v1");
}

#[test]
fn rados_uses_the_store_over_v2() {
    stands_in("v2");
}

/// Clients take v2 then; the other address is served, and announced, beside it.
#[test]
fn rados_uses_the_store_at_two_addresses() {
    stands_in("both");
}

/// 4 MiB through our client, on each driver.
fn reads_and_writes(msgr: &'static str, auth: &'static str, mode: &'static str) {
    let options = Options {
        auth,
        osds: 1,
        msgr,
        mode,
        ..Options::default()
    };
    let Some(cluster) = start(&options) else {
        return;
    };
    let object_io = example("object_io");
    for driver in drivers() {
        let mut command = client(&object_io, &cluster);
        command.args(["--driver", &driver, "--size", "4MiB", "--keep"]);
        if auth == "cephx" {
            command.args([
                "--keyring",
                cluster.get("KEYRING"),
                "--name",
                "client.admin",
            ]);
            command.args(["--mode", mode]);
        }
        let done = run(command, DEADLINE).expect_success();
        assert!(done.stdout.contains("same bytes"), "{driver}: {done}");
        print!("{msgr} {auth} {mode}, {driver}: {}", done.stdout);
        let stat = rados(&cluster, &["stat", "object_io"]).expect_success();
        assert!(stat.stdout.contains("size 4194304"), "{driver}: {stat}");
        rados(&cluster, &["rm", "object_io"]).expect_success();
    }
}

fn client(object_io: &Path, cluster: &Cluster) -> Command {
    let mut command = Command::new(object_io);
    command.args([
        "--mon",
        cluster.get("MON_HOST"),
        "--pool",
        cluster.get("POOL"),
    ]);
    command
}

#[test]
fn object_io_v1() {
    reads_and_writes("v1", "none", "crc");
}

#[test]
fn object_io_v1_cephx() {
    reads_and_writes("v1", "cephx", "crc");
}

#[test]
fn object_io_v2_crc() {
    reads_and_writes("v2", "none", "crc");
}

#[test]
fn object_io_v2_crc_cephx() {
    reads_and_writes("v2", "cephx", "crc");
}

#[test]
fn object_io_v2_secure_cephx() {
    reads_and_writes("v2", "cephx", "secure");
}

/// The version of the protocol that the monitor was asked in.
#[test]
fn object_io_by_either_version() {
    let options = Options {
        osds: 1,
        msgr: "both",
        ..Options::default()
    };
    let Some(cluster) = start(&options) else {
        return;
    };
    let object_io = example("object_io");
    for (version, key) in [("v1", "MON_V1"), ("v2", "MON_V2")] {
        let mut command = Command::new(&object_io);
        let monitor = format!("{version}:{}", cluster.get(key));
        command.args(["--mon", &monitor, "--pool", cluster.get("POOL")]);
        let done = run(command, DEADLINE).expect_success();
        assert!(done.stdout.contains(&format!(" at [{version}:")), "{done}");
        let gone = rados(&cluster, &["stat", "object_io"]).expect_code(1);
        assert!(gone.stderr.contains("No such file"), "{gone}");
    }
}

#[test]
fn object_io_says_what_is_wrong() {
    let options = Options {
        osds: 1,
        ..Options::default()
    };
    let Some(cluster) = start(&options) else {
        return;
    };
    let object_io = example("object_io");
    let mut command = Command::new(&object_io);
    command.args(["--mon", cluster.get("MON_HOST"), "--pool", "no-such-pool"]);
    let failed = run(command, DEADLINE).expect_code(1);
    assert!(failed.stderr.contains("no-such-pool"), "{failed}");
    let mut command = client(&object_io, &cluster);
    command.args(["--size", "1GiB"]);
    let failed = run(command, DEADLINE).expect_code(2);
    assert!(failed.stderr.contains("128MiB"), "{failed}");
}

/// `EVENT_DRIVER` if it is set, else every driver that is compiled in.
fn drivers() -> Vec<String> {
    match std::env::var("EVENT_DRIVER") {
        Ok(only) => vec![only],
        Err(_) => DriverKind::compiled()
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}
