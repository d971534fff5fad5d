//! `msgr` against real monitors over every version, method and mode, with identities from keyrings
//! and from a `ceph.conf`.

use super::ceph::{Cluster, Json, Options, or_skip};
use super::{AUTHENTICATION, assert_says, deaf_address, drivers, msgr};

/// A node that speaks both versions, in both modes.
fn node(auth: &'static str) -> Option<Cluster> {
    or_skip(Cluster::start(&Options {
        auth,
        msgr: "both",
        mode: "any",
        ..Options::default()
    }))
}

/// One command over each version and mode, on each driver.
fn check_status(auth: &'static str, modes: &[(&str, &str)]) {
    let Some(cluster) = node(auth) else {
        return;
    };
    let status = r#"{"prefix":"status","format":"json"}"#;
    for driver in drivers() {
        for (version, mode) in modes {
            let address = match *version {
                "v1" => cluster.mon_v1(),
                _ => cluster.mon_v2(),
            };
            let mut args = vec!["mon-command", &address, status, "--mode", mode];
            if auth == "cephx" {
                args.extend([
                    "--keyring",
                    cluster.get("KEYRING"),
                    "--name",
                    "client.admin",
                ]);
            }
            let answer = msgr(&driver, 10, &args).expect_success();
            let answer = Json::parse(&answer.stdout);
            assert_eq!(
                answer["fsid"].text(),
                cluster.fsid(),
                "{driver} {version} {mode}"
            );
        }
        // Where and who from the file alone.
        let conf = cluster.get("CEPH_CONF");
        let map = msgr(&driver, 10, &["mon-map", "--json", "--conf", conf]).expect_success();
        assert_eq!(Json::parse(&map.stdout)["fsid"].text(), cluster.fsid());
    }
}

#[test]
fn mon_command_with_none_over_v1_and_v2() {
    check_status("none", &[("v1", "crc"), ("v2", "crc")]);
}

#[test]
fn mon_command_with_cephx_over_v1_and_v2_in_each_mode() {
    check_status("cephx", &[("v1", "crc"), ("v2", "crc"), ("v2", "secure")]);
}

#[test]
fn a_wrong_key_is_an_authentication_failure() {
    let Some(cluster) = node("cephx") else {
        return;
    };
    let keyring = std::env::temp_dir().join(format!("msgr-wrong-{}", std::process::id()));
    // A key of the right form that nobody has.
    let text = "[client.admin]\nkey = AQBSBgZmAAAAABAA3X1kTQkzmYkGTGgEjLJ9hA==\n";
    std::fs::write(&keyring, text).expect("a place for files");
    let path = keyring.display().to_string();
    for driver in drivers() {
        for address in [cluster.mon_v1(), cluster.mon_v2()] {
            let wrong = ["mon-map", &address, "--keyring", &path];
            let refused = msgr(&driver, 10, &wrong).expect_code(AUTHENTICATION);
            assert_says(&refused, &[&address, "authenticat", "--keyring"]);
            assert!(!refused.stderr.contains("3X1kTQkz"), "{refused}");
            let stranger = [
                "mon-map",
                &address,
                "--keyring",
                &path,
                "--name",
                "client.x",
            ];
            let refused = msgr(&driver, 10, &stranger).expect_code(AUTHENTICATION);
            assert_says(&refused, &["client.x", "keyring"]);
        }
    }
    std::fs::remove_file(&keyring).expect("it is there");
}

/// Who asks for secure gets that, or nothing.
#[test]
fn a_mode_that_the_monitor_does_not_take_is_refused() {
    let crc = Options {
        auth: "cephx",
        msgr: "v2",
        ..Options::default()
    };
    let Some(cluster) = or_skip(Cluster::start(&crc)) else {
        return;
    };
    let keyring = cluster.get("KEYRING");
    for driver in drivers() {
        let address = cluster.mon_v2();
        let secure = [
            "mon-map",
            &address,
            "--keyring",
            keyring,
            "--mode",
            "secure",
        ];
        let refused = msgr(&driver, 10, &secure).expect_code(AUTHENTICATION);
        assert_says(&refused, &[&address, "authentication", "mode"]);
    }
}

/// The first of two is dead; the second has the answer.
#[test]
fn mon_command_hunts() {
    let Some(cluster) = node("none") else {
        return;
    };
    let (_held, dead) = deaf_address();
    let both = format!("{dead},{}", cluster.mon_v1());
    for driver in drivers() {
        for _ in 0..4 {
            let map = msgr(&driver, 10, &["mon-map", &both, "--json"]).expect_success();
            assert_eq!(Json::parse(&map.stdout)["fsid"].text(), cluster.fsid());
        }
    }
}
