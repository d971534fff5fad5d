//! Our own clients against `msgr serve --mon` with keys; Ceph's are in the test `serve`.

use std::path::PathBuf;

use super::ceph::Server;
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
