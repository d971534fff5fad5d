//! Reading and writing objects: the messages against recordings (`recorded`), the example
//! `object_store` alone (`store`), and both examples with real Ceph (`interop`).
//!
//! What needs real Ceph says `skipped: …` where it cannot be had, unless `REQUIRE_CEPH=1`.

// Ceph's daemons want a Unix.
#![cfg(unix)]

#[path = "../common/ceph.rs"]
mod ceph;
mod interop;
mod recorded;
mod store;
#[path = "../common/vectors.rs"]
mod vectors;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// For what has to be quick: a hundred times what it takes here.
const DEADLINE: Duration = Duration::from_secs(30);
const BUILD_DEADLINE: Duration = Duration::from_secs(600);

const EXAMPLES: [&str; 2] = ["object_store", "object_io"];

/// The features that this test was built with, so that nothing is built but the examples.
const FEATURES: [(&str, bool); 8] = [
    ("cli", cfg!(feature = "cli")),
    ("epoll", cfg!(feature = "epoll")),
    ("kqueue", cfg!(feature = "kqueue")),
    ("poll", cfg!(feature = "poll")),
    ("io-uring", cfg!(feature = "io-uring")),
    ("portable", cfg!(feature = "portable")),
    ("compression", cfg!(feature = "compression")),
    ("kqueue-shim", cfg!(feature = "kqueue-shim")),
];

/// An example, up to date: `cargo test --test objects` does not build examples.
fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let examples = BUILT.get_or_init(|| {
        // TARGET/debug/deps/objects-…
        let test = std::env::current_exe().expect("a test has a path");
        let profile = test.ancestors().nth(2).expect("deps is in the profile's");
        let target = profile.parent().expect("which is in the target directory");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["build", "--quiet", "--workspace", "--target-dir"]);
        cargo.arg(target);
        cargo.args(EXAMPLES.iter().flat_map(|name| ["--example", name]));
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let features = FEATURES.iter().filter(|(_, on)| *on);
        let features: Vec<_> = features.map(|(name, _)| *name).collect();
        if !cfg!(feature = "default") {
            cargo.arg("--no-default-features");
        }
        cargo.args(["--features", &features.join(",")]);
        ceph::run(cargo, BUILD_DEADLINE).expect_success();
        profile.join("examples")
    });
    let example = examples.join(name);
    assert!(example.exists(), "built, but not at {}", example.display());
    example
}
