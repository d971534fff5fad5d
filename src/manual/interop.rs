//! Talking to real Ceph.
//!
//! # What can be done today
//!
//! | you are | the peer is | how |
//! |---|---|---|
//! | a client | a monitor | [`Policy::lossy_client`](crate::Policy::lossy_client), which is the default; a `v1:` or `v2:` address, nonce 0; [`mon::Client`](crate::mon::Client) does the rest |
//! | a client | an OSD | the same policy, and the [`Credentials`](crate::Credentials) that a monitor has given tickets to; the address *and nonce* from the map; see `examples/object_io` |
//! | an OSD | an OSD's heartbeat port | the name of an OSD that is in the map, `cluster_protocol(10)`, the address and nonce from the map; see `examples/osd_ping.rs` |
//! | an OSD | an OSD's cluster port | [`Policy::lossless_peer`](crate::Policy::lossless_peer), bound, `cluster_protocol(10)`; a session that survives its links |
//! | a server of clients | `ceph`, librados and programs built on it | [`Policy::stateless_server`](crate::Policy::stateless_server); for a monitor nonce 0 and `require_authorizer(false)`; an [`Authority`](crate::Authority) if it asks for keys; see `msgr serve` and `examples/object_store` |
//!
//! The address says which version of the protocol is spoken. Keys, methods and modes are in
//! [`auth`](super::auth). A monitor answers a ping over v1 without any authentication.
//!
//! Not there: Kerberos, and the maps but for the monmap. A peer that insists on something that is
//! not there gives an error that says so: an
//! [`Incompatible`](crate::ErrorKind::Incompatible) or [`Denied`](crate::ErrorKind::Denied) one.
//!
//! # Three things that everybody meets
//!
//! * **The wrong port.** Monitors listen for v2 on 3300 and for v1 on 6789. A v1 client on a v2
//!   port gets an error that names the cure; so does one that reaches TLS, HTTP or SSH.
//! * **The nonce.** A v1 connector has to know the acceptor's nonce: the number behind the slash of
//!   `v1:10.0.0.1:6801/1234`. It is 0 for monitors and in the map for all others; after a restart
//!   it is another one.
//! * **The entity type.** It decides the protocol version (msgr1 §5 of [`wire`](super::wire)), the
//!   policy and the authorizer. A server that takes a name of another type than clients expect is
//!   refused in the handshake.
//!
//! # From the command line
//!
//! ```text
//! msgr ping v1:10.0.0.1:6789                                  its health, without authentication
//! msgr mon-map v1:10.0.0.1:6789                               who the monitors are
//! msgr mon-command v1:10.0.0.1:6789 '{"prefix":"status"}'     what `ceph -s` asks
//! msgr serve v1:127.0.0.1:6789 --mon                          a stand-in for a monitor
//! msgr -v serve [v2:127.0.0.1:3300,v1:127.0.0.1:6789] --mon --keyring users.keyring
//!                                        the same with keys; -v says who was not let in, and why
//! ceph -c /dev/null -k /dev/null --auth-client-required=none -m v1:127.0.0.1:6789 ping mon.a
//! ```
//!
//! # How it is checked
//!
//! `tests/interop.rs` starts real daemons of release 16.2.15 (Debian 12) by `.ci/ceph`, and does
//! the following on each compiled driver. Where these packages cannot be had it says that it skips.
//!
//! | our side | the real side | checked |
//! |---|---|---|
//! | `msgr ping` | `ceph-mon` | its own fsid, state and health come back, also if it demands cephx for everything else |
//! | `msgr mon-map` | `ceph-mon` | fsid, epoch, names, ranks and addresses equal `ceph mon dump` |
//! | `msgr mon-command` | `ceph-mon` | the status JSON; an answer of 70 KB whole; an unknown command refused in the monitor's words |
//! | `msgr mon-map`, `mon-command` | a `ceph-mon` with cephx | exit code 4 |
//! | `msgr serve --mon` | `ceph ping`, `ceph -s` | both succeed and print our answers, also while strangers send garbage |
//! | `msgr serve --mon` | `ceph`, python3-rados | v1 and v2 with none, v1, v2 crc and v2 secure with cephx, both addresses at once; tickets renewed; wrong keys, names, methods and modes refused (`tests/serve`) |
//! | a heartbeat client | `ceph-osd`, heartbeat port | every ping is answered |
//! | `msgr bench server` | `ceph_perf_msgr_client` 18.2.7 | a million requests of 4 KiB, v1 and v2 (`tests/bench`: thousands) |
//! | `msgr bench client` | `ceph_perf_msgr_server` 18.2.7 | the same; lossless and lossy |
//! | `msgr` | a v2-only monitor, silent, deaf and foreign servers | the exit code and the text |
//!
//! Besides, `tests/data` holds exchanges that were recorded between real programs. Both sides of
//! the handshake and the open phase are run against them, cut at every byte, without a network.
