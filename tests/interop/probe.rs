//! `msgr probe` against real daemons, and against what is none.

use std::process::Command;

use super::ceph::{Cluster, Json, Options, or_skip, run};
use super::{DEADLINE, REFUSED, UNREACHABLE, answers_everybody, assert_says, deaf_address};

#[test]
fn probe_tells_what_a_monitor_and_an_osd_offer() {
    for auth in ["none", "cephx"] {
        let options = Options {
            auth,
            osds: 1,
            msgr: "both",
            mode: "any",
            ..Options::default()
        };
        let Some(cluster) = or_skip(Cluster::start(&options)) else {
            return;
        };
        let osd = cluster.get("OSD_0_ADDRS").trim_matches(['[', ']']);
        let mut targets = vec![("mon", cluster.mon_v1()), ("mon", cluster.mon_v2())];
        targets.extend(osd.split(',').map(|addr| ("osd", addr.to_owned())));
        // The version of an address without one is found out.
        targets.push(("mon", cluster.get("MON_V2").to_owned()));
        targets.push(("mon", cluster.get("MON_V1").to_owned()));
        for (kind, address) in targets {
            let mut command = Command::new(env!("CARGO_BIN_EXE_msgr"));
            command.args(["probe", &address, "--json"]);
            let probed = run(command, DEADLINE).expect_success();
            let probed = Json::parse(&probed.stdout);
            assert_eq!(probed["type"].text(), kind, "{address}: {probed:?}");
            let is_none = auth == "none";
            assert_eq!(probed["let_in"], Json::Bool(is_none), "{address}");
            assert_eq!(probed["refusal"] == Json::Null, is_none, "{probed:?}");
            assert!(probed["round_trip_ms"].number() > 0.0, "{probed:?}");
            let is_v2 = probed["version"].number() > 1.0;
            let text = |list: &Json| list.list().iter().any(|item| item.text() == auth);
            // In v1 an OSD refuses an authorizer without a word on what it takes.
            assert!(
                text(&probed["methods"]) || (kind == "osd" && !is_v2),
                "{address}: {probed:?}"
            );
            if is_v2 && !is_none {
                let modes = probed["modes"].list();
                assert!(modes.contains(&Json::Text("secure".into())), "{probed:?}");
            } else {
                let names = probed["feature_names"].list();
                assert!(
                    names.contains(&Json::Text("MSG_ADDR2".into())),
                    "{probed:?}"
                );
            }
        }
    }
}

#[test]
fn probe_of_a_stranger_says_so() {
    let address = answers_everybody(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_msgr"));
    command.args(["probe", &address]);
    let failed = run(command, DEADLINE).expect_code(REFUSED);
    assert_says(&failed, &[&address, "banner", "HTTP"]);
    let (_held, address) = deaf_address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_msgr"));
    command.args(["probe", &address]);
    let failed = run(command, DEADLINE).expect_code(UNREACHABLE);
    assert_says(&failed, &[&address, "refused"]);
}
