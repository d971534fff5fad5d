//! The synthetic stress family of Ceph's messenger suite (session §16.1, 17a to 17g): many
//! messengers, random work, and faults, on the driver that `EVENT_DRIVER` names.
//!
//! Each behaviour is here twice: with a part of the operations (`Plan::quick`), and, ignored
//! because it takes minutes, in full. A run prints its seed; `MSGR_SEED` gives the same choices
//! again.
//!
//! ```text
//! cargo test --release --test synthetic -- --ignored --test-threads=1 --nocapture
//! ```

#[path = "../common/peers.rs"]
mod peers;

mod ledger;
mod payload;
mod plan;
mod workload;

use workload::run;

#[test]
fn behaviour_17a_stress() {
    run(plan::stress().quick());
}

#[test]
fn behaviour_17b_stress_of_peers() {
    run(plan::stress_1().quick());
}

#[test]
fn behaviour_17c_failures_of_clients_and_servers() {
    run(plan::inject_1().quick());
}

#[test]
fn behaviour_17d_failures_of_peers() {
    run(plan::inject_2().quick());
}

#[test]
fn behaviour_17e_failures_of_lossy_clients() {
    run(plan::inject_3().quick());
}

#[test]
fn behaviour_17f_failures_and_delay_lines_of_peers() {
    run(plan::inject_4().quick());
}

#[test]
fn behaviour_17g_congestion() {
    run(plan::inject_5().quick());
}

#[test]
#[ignore = "in full"]
fn behaviour_17a_stress_in_full() {
    run(plan::stress());
}

#[test]
#[ignore = "in full"]
fn behaviour_17b_stress_of_peers_in_full() {
    run(plan::stress_1());
}

#[test]
#[ignore = "in full"]
fn behaviour_17c_failures_of_clients_and_servers_in_full() {
    run(plan::inject_1());
}

#[test]
#[ignore = "in full"]
fn behaviour_17d_failures_of_peers_in_full() {
    run(plan::inject_2());
}

#[test]
#[ignore = "in full"]
fn behaviour_17e_failures_of_lossy_clients_in_full() {
    run(plan::inject_3());
}

#[test]
#[ignore = "in full"]
fn behaviour_17f_failures_and_delay_lines_of_peers_in_full() {
    run(plan::inject_4());
}

#[test]
#[ignore = "in full"]
fn behaviour_17g_congestion_in_full() {
    run(plan::inject_5());
}
