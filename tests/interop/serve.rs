//! The real clients against `msgr serve --mon`, over every version, method and mode.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ceph::{self, Json, Server, ceph_at, or_skip, run, without_ceph_environment};
use super::{AUTHENTICATION, DEADLINE, assert_says, drivers, msgr, msgr_command};

/// A key of the right form, for this test alone.
const KEYRING: &str = "[client.admin]\nkey = AQBSBgZmAAAAABAA3X1kTQkzmYkGTGgEjLJ9hA==\n\
    caps mon = \"allow *\"\ncaps osd = \"allow *\"\ncaps mgr = \"allow *\"\n";

struct Keys(PathBuf);

impl Keys {
    fn write(name: &str) -> Self {
        let file = format!("msgr-{name}-{}.keyring", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, KEYRING).expect("a place for files");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The real `ceph` with a key, in one mode of version 2.
fn ceph_with_key(monitor: &str, keyring: &Path, mode: &str, args: &[&str]) -> Command {
    let mut ceph = Command::new("ceph");
    ceph.args(["-c", "/dev/null", "--auth-client-required=cephx", "-k"])
        .arg(keyring)
        .args([
            format!("--ms-mon-client-mode={mode}"),
            format!("--ms-client-mode={mode}"),
        ])
        .args(["--connect-timeout", "10", "-m", monitor])
        .args(args);
    without_ceph_environment(&mut ceph);
    ceph
}

/// `msgr serve` at an address with port 0, and the one that it says it listens on.
fn serve(driver: &str, addr: &str, more: &[&str]) -> (Server, String) {
    let mut serve = msgr_command(driver, 10);
    serve.args(["serve", addr, "--mon"]).args(more);
    let mut server = Server::spawn(serve);
    let line = server.line(DEADLINE);
    let address = line.strip_prefix("listening on ");
    let address = address.unwrap_or_else(|| panic!("said {line:?}"));
    (server, address.trim_end_matches("/0").to_owned())
}

/// `Rados.connect()` of python3-rados, which gives the cluster's id.
fn rados(monitor: &str, auth: &str, keyring: &str, mode: &str) -> Command {
    // It may return before it has read the monmap, and knows no id then.
    let program = "import rados, sys, time\n\
        m, a, k, mode = sys.argv[1:]\n\
        c = rados.Rados(name='client.admin', conf={'mon_host': m, 'keyring': k,\n\
            'auth_client_required': a, 'ms_mon_client_mode': mode, 'ms_client_mode': mode})\n\
        c.connect(timeout=10)\n\
        end = time.time() + 10\n\
        while c.get_fsid().startswith('00000000-') and time.time() < end: pass\n\
        print(c.get_fsid())\n";
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", program, monitor, auth, keyring, mode]);
    python
}

fn check(driver: &str, addr: &str, key: Option<(&str, &str)>) {
    let (keyring, mode) = key.unwrap_or(("/dev/null", "crc"));
    let more = key.map_or(vec![], |_| vec!["--keyring", keyring, "--mode", mode]);
    let (mut server, address) = serve(driver, addr, &more);
    let what = format!("{driver} {addr} {key:?}");

    let mut ours = vec!["mon-map", &address, "--json"];
    ours.extend(key.map_or(vec![], |_| vec!["--keyring", keyring, "--mode", mode]));
    let map = msgr(driver, 10, &ours).expect_success();
    let fsid = Json::parse(&map.stdout)["fsid"].text().to_owned();

    let real = |args: &[&str]| match key {
        Some(_) => run(
            ceph_with_key(&address, Path::new(keyring), mode, args),
            DEADLINE,
        ),
        None => run(ceph_at(&address, args), DEADLINE),
    };
    let pinged = real(&["ping", "mon.a"]).expect_success();
    assert!(pinged.stdout.contains(&fsid), "{what}: {pinged}");
    let status = real(&["-s"]).expect_success();
    assert!(status.stdout.contains(&fsid), "{what}: {status}");
    let auth = if key.is_some() { "cephx" } else { "none" };
    let connected = run(rados(&address, auth, keyring, mode), DEADLINE).expect_success();
    assert_eq!(connected.stdout.trim(), fsid, "{what}: {connected}");
    assert!(server.is_up(), "{what}: {}", server.end());
}

#[test]
fn real_clients_are_served_with_none_over_v1_and_v2() {
    if or_skip(ceph::client()).is_none() {
        return;
    }
    for driver in drivers() {
        for addr in ["v1:127.0.0.1:0", "v2:127.0.0.1:0"] {
            check(&driver, addr, None);
        }
    }
}

#[test]
fn real_clients_are_served_with_cephx_over_v1_and_v2_in_each_mode() {
    if or_skip(ceph::client()).is_none() {
        return;
    }
    let keys = Keys::write("serve");
    for driver in drivers() {
        for (addr, mode) in [
            ("v1:127.0.0.1:0", "crc"),
            ("v2:127.0.0.1:0", "crc"),
            ("v2:127.0.0.1:0", "secure"),
        ] {
            check(&driver, addr, Some((keys.path(), mode)));
        }
    }
}

/// Both versions at once, and nobody without the right key.
#[test]
fn serve_on_both_versions_lets_in_only_who_has_a_key() {
    let keys = Keys::write("both");
    for driver in drivers() {
        let both = "[v2:127.0.0.1:0,v1:127.0.0.1:0]";
        let (_server, address) = serve(&driver, both, &["--keyring", keys.path()]);
        let each: Vec<&str> = address.trim_matches(['[', ']']).split(',').collect();
        assert_eq!(each.len(), 2, "{address}");
        for one in each {
            let ours = ["mon-map", one, "--keyring", keys.path()];
            msgr(&driver, 10, &ours).expect_success();
            let refused = msgr(&driver, 10, &["mon-map", one]).expect_code(AUTHENTICATION);
            assert_says(&refused, &[one, "authentication", "cephx"]);
        }
    }
}
