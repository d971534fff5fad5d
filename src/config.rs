//! Options of a messenger: typed fields with Ceph's meaning, default and name where it has one.
//!
//! `options` joins names and fields, `value` reads and bounds what is written, `ceph_conf` takes a
//! file apart. All of it is plain data: no files, no environment, no clock.

mod ceph_conf;
mod error;
mod inject;
mod options;
mod value;

use std::time::Duration;

use event_driver::DriverKind;
use event_driver::sock::SocketOptions;

use crate::proto::v2::Compression;
use crate::proto::{Checksums, Limits};

pub use ceph_conf::{CEPH_CONF_MAX, ceph_conf_values};
pub use error::ConfigError;
pub use inject::Inject;

/// The most threads that one pool of workers may have.
pub const WORKERS_MAX: usize = 24;

/// Options of a [`Messenger`](crate::Messenger) and its workers.
///
/// ```
/// use async_messenger::Config;
///
/// let config = Config { workers: 1, ..Config::default() };
/// assert!(config.validate().is_ok());
/// ```
///
/// [`set`](Self::set), [`apply`](Self::apply) and [`from_ceph_conf`](Self::from_ceph_conf) take
/// them as text. When to change which is said in [`manual::tuning`](crate::manual::tuning).
///
/// # Names
///
/// All are read when the object that obeys them is made.
///
/// | Ceph's name | field | default | obeyed by |
/// |---|---|---|---|
/// | `ms_async_op_threads` | `workers` | cores, 2 to 3 (3) | the pool of workers |
/// | `ms_crc_header` | `checksums.header` | true | links, loop-back |
/// | `ms_crc_data` | `checksums.data` | true | links, loop-back |
/// | `ms_osd_compress_mode` | `compression.osd_mode` | none | handshakes of v2 with OSDs |
/// | `ms_osd_compress_min_size` | `compression.osd_min_size` | 1024 | links of v2 with OSDs |
/// | `ms_osd_compression_algorithm` | `compression.osd_algorithms` | snappy | handshakes of v2 with OSDs |
/// | `ms_compress_secure` | `compression.secure` | false | handshakes of v2 with OSDs |
/// | `ms_connection_ready_timeout` | `ready_timeout` | 10 s | handshakes of both sides |
/// | `ms_connection_idle_timeout` | `connection_idle_timeout` | 900 s | open links |
/// | `ms_initial_backoff` | `initial_backoff` | 0.2 s | connecting |
/// | `ms_max_backoff` | `max_backoff` | 15 s | connecting |
/// | `ms_dispatch_throttle_bytes` | `dispatch_throttle_bytes` | 100 MiB | the messenger's throttle |
/// | `ms_pq_min_cost` | `pq_min_cost` | 64 KiB | the dispatch queue |
/// | `ms_pq_max_tokens_per_priority` | `pq_max_tokens_per_priority` | 16 Mi | the dispatch queue |
/// | `ms_tcp_nodelay` | `socket.nodelay` | true | sockets |
/// | `ms_tcp_rcvbuf` | `socket.rcvbuf` | the system's; 0 | sockets |
/// | `ms_tcp_listen_backlog` | `socket.backlog` | 512 | listening sockets |
/// | `ms_learn_addr_from_peer` | `learn_addr_from_peer` | true | connecting |
/// | `ms_bind_before_connect` | `bind_before_connect` | false | connecting, client_bind |
/// | `ms_bind_port_min` | `bind_port_min` | 6800 | bind |
/// | `ms_bind_port_max` | `bind_port_max` | 7568 | bind |
/// | `ms_bind_retry_count` | `bind_retry_count` | 3 | bind |
/// | `ms_bind_retry_delay` | `bind_retry_delay` | 5 s | bind |
/// | `ms_inject_socket_failures` | `inject.socket_failures` | 0, off | links |
/// | `ms_inject_internal_delays` | `inject.internal_delays` | 0, off | workers |
/// | `ms_inject_delay_type` | `inject.delay_type` | none | the delay line |
/// | `ms_inject_delay_probability` | `inject.delay_probability` | 0, off | the delay line |
/// | `ms_inject_delay_max` | `inject.delay_max` | 1 s | the delay line |
/// | `ms_inject_network_congestion` | `inject.network_congestion` | 0, off | links |
/// | `ms_blackhole_osd` | `inject.blackhole_osd` | false | connections |
/// | `ms_blackhole_mon` | `inject.blackhole_mon` | false | connections |
/// | `ms_blackhole_mds` | `inject.blackhole_mds` | false | connections |
/// | `ms_blackhole_mgr` | `inject.blackhole_mgr` | false | connections |
/// | `ms_blackhole_client` | `inject.blackhole_client` | false | connections |
///
/// What Ceph does not have is named as its field:
///
/// | name | default | obeyed by |
/// |---|---|---|
/// | `driver` | the target's best | the transport |
/// | `driver_strict` | false | the transport |
/// | `receive_buffer` | 256 KiB | workers |
/// | `limits.front_max` | 64 MiB | links, loop-back |
/// | `limits.middle_max` | 16 MiB | links, loop-back |
/// | `limits.data_max` | 256 MiB | links, loop-back |
/// | `message_timeout` | 30 s | links |
/// | `dispatch_throttle_messages` | 65,536 | the messenger's throttle |
/// | `dispatch_warn_after` | 1 s | the watchdog |
/// | `send_queue_bytes` | 256 MiB | connections |
/// | `send_queue_messages` | 65,536 | connections |
/// | `connections_max` | 100,000 | listening sockets |
/// | `inline_send` | true | connections |
/// | `spin` | 0, off | workers |
/// | `socket.sndbuf` | the system's; 0 | sockets |
/// | `socket.priority` | none; -1 | sockets |
/// | `inject.seed` | none | fault injection |
///
/// # Options of Ceph that have no effect
///
/// | Ceph's name | why |
/// |---|---|
/// | `ms_type`, `ms_public_type`, `ms_cluster_type`, `ms_async_rdma_*`, `ms_dpdk_*` | the transport is TCP, or what [`net`](crate::net) is given |
/// | `ms_mon_cluster_mode`, `ms_mon_service_mode`, `ms_mon_client_mode`, `ms_cluster_mode`, `ms_service_mode`, `ms_client_mode` | [`auth::Offers`](crate::auth::Offers) takes them, with `auth_*_required` |
/// | `ms_tcp_prefetch_max_size` | `receive_buffer` takes its place |
/// | `ms_die_on_bad_msg`, `ms_die_on_unhandled_msg`, `ms_die_on_old_message`, `ms_die_on_skipped_message`, `ms_die_on_bug` | as if false: a bad peer ends its connection, never the process |
/// | `ms_max_accept_failures` | accept is tried again later, and never aborts the process |
/// | `ms_bind_ipv4`, `ms_bind_ipv6`, `ms_bind_prefer_ipv4`, `ms_bind_msgr1`, `ms_bind_msgr2` | the addresses given to bind say the family and the protocol |
/// | `ms_async_reap_threshold` | closed connections are not collected: each is freed with its last user |
/// | `ms_dump_on_send`, `ms_dump_corrupt_message_level` | contents of messages are not logged |
///
/// Of other names that concern Ceph's messengers, `mon_use_min_delay_socket` is `socket.priority` 6
/// between monitors, and those of cephx and `auth_*` belong to who authenticates.
#[derive(Clone, Debug)]
pub struct Config {
    /// The event backend. Default: [`DriverKind::default_for_target`].
    pub driver: DriverKind,

    /// What if the system refuses this backend, as old kernels and sandboxes refuse io_uring. False,
    /// the default: another one runs, and the log says which and why. True: it is an error.
    pub driver_strict: bool,

    /// Threads that run connections, 1 to [`WORKERS_MAX`]; Ceph's `ms_async_op_threads`.
    /// Default: the number of cores, at least 2 and at most 3.
    pub workers: usize,

    /// Bytes of the buffer that a worker reads sockets into, 64 KiB to 16 MiB. Messages are slices
    /// of it, so the smallest message that is kept keeps one. Default 256 KiB.
    pub receive_buffer: usize,

    /// Bounds on what a peer may announce.
    pub limits: Limits,

    /// Which checksums are made and checked (`ms_crc_header`, `ms_crc_data`).
    pub checksums: Checksums,

    /// When and how connections of v2 are compressed (`ms_osd_compress_mode` and those that go with
    /// it). Default: never. Each algorithm is a cargo feature.
    pub compression: Compression,

    /// How long a handshake may take, on either side (`ms_connection_ready_timeout`). Default 10 s.
    pub ready_timeout: Duration,

    /// How long a message may take to arrive once its header has, plus one second for each 64 KiB
    /// of it. Until it is complete it holds its share of the throttles, so that a peer which stalls
    /// in the middle would hold others up. Ceph has no such limit. Default 30 s.
    pub message_timeout: Duration,

    /// Wait before the second attempt to connect (`ms_initial_backoff`). Default 0.2 s.
    pub initial_backoff: Duration,

    /// The longest wait between attempts to connect (`ms_max_backoff`). Default 15 s.
    pub max_backoff: Duration,

    /// How long an open connection may be silent before it ends as if its link was lost
    /// (`ms_connection_idle_timeout`). Default 900 s; 0 is never.
    pub connection_idle_timeout: Duration,

    /// What a message below priority 64 costs at least in the dispatch queue, in bytes
    /// (`ms_pq_min_cost`). Default 64 KiB.
    pub pq_min_cost: u64,

    /// What such a message costs at most, and how many tokens a priority saves at most, in bytes
    /// (`ms_pq_max_tokens_per_priority`). Default 16 MiB.
    pub pq_max_tokens_per_priority: u64,

    /// A dispatcher that takes longer than this for one call is reported. Ceph has no such option.
    /// Default 1 s.
    pub dispatch_warn_after: Duration,

    /// Faults made on purpose, for tests. All off by default.
    pub inject: Inject,

    /// Payload bytes on their way to a dispatcher, over all connections of the messenger
    /// (`ms_dispatch_throttle_bytes`). Default 100 MiB; 0 is unlimited.
    pub dispatch_throttle_bytes: u64,

    /// Messages on their way to a dispatcher. Ceph has no such limit, so empty messages are
    /// unlimited there. Default 65,536; 0 is unlimited.
    pub dispatch_throttle_messages: u64,

    /// Payload bytes that may wait to be sent on one connection; a larger message is taken if
    /// nothing else waits. Default 256 MiB.
    pub send_queue_bytes: u64,

    /// Messages that may wait to be sent on one connection. Default 65,536.
    pub send_queue_messages: usize,

    /// Connections that one messenger accepts; more are closed at once. Default 100,000.
    pub connections_max: usize,

    /// Whether a thread that finds a connection idle writes to its socket itself, which saves the
    /// wake-up of a worker. Default true.
    pub inline_send: bool,

    /// How long a worker looks for more to do before it sleeps, up to 1 s
    /// ([`EventCenter::set_spin`](crate::event::EventCenter::set_spin)). Default zero: it sleeps at
    /// once.
    pub spin: Duration,

    /// Options of TCP sockets (`ms_tcp_nodelay`, `ms_tcp_rcvbuf`, `ms_tcp_listen_backlog`).
    pub socket: SocketOptions,

    /// How a messenger that was not bound learns its own ip: from how its first peer sees it, or,
    /// if false, from its own socket (`ms_learn_addr_from_peer`). Default true.
    pub learn_addr_from_peer: bool,

    /// Whether connections come from the ip that the messenger is bound to, or was given by
    /// [`client_bind`](crate::Messenger::client_bind), instead of one that the system chooses
    /// (`ms_bind_before_connect`). Default false.
    pub bind_before_connect: bool,

    /// First port that is tried for port 0 (`ms_bind_port_min`). Default 6800.
    ///
    /// With both bounds 0 the system chooses the port.
    pub bind_port_min: u16,

    /// Last port that is tried for port 0 (`ms_bind_port_max`). Default 7568.
    pub bind_port_max: u16,

    /// How often an address is tried (`ms_bind_retry_count`). Default 3, at least 1.
    pub bind_retry_count: u32,

    /// Pause between these attempts (`ms_bind_retry_delay`). Default 5 s.
    pub bind_retry_delay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            driver: DriverKind::default_for_target(),
            driver_strict: false,
            workers: cores.clamp(2, 3),
            receive_buffer: 256 << 10,
            limits: Limits::default(),
            checksums: Checksums::default(),
            compression: Compression::default(),
            ready_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(15),
            connection_idle_timeout: Duration::from_secs(900),
            pq_min_cost: 64 << 10,
            pq_max_tokens_per_priority: 16 << 20,
            dispatch_warn_after: Duration::from_secs(1),
            inject: Inject::default(),
            dispatch_throttle_bytes: 100 << 20,
            dispatch_throttle_messages: 1 << 16,
            send_queue_bytes: 256 << 20,
            send_queue_messages: 1 << 16,
            connections_max: 100_000,
            inline_send: true,
            spin: Duration::ZERO,
            socket: SocketOptions::default(),
            learn_addr_from_peer: true,
            bind_before_connect: false,
            bind_port_min: 6800,
            bind_port_max: 7568,
            bind_retry_count: 3,
            bind_retry_delay: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Checks the ranges.
    ///
    /// # Errors
    /// A sentence that names the option, its value and its range.
    pub fn validate(&self) -> Result<(), String> {
        let mut copy = self.clone();
        for name in options::NAMES {
            let Some((slot, range)) = options::find(&mut copy, name) else {
                continue;
            };
            slot.check(range).map_err(|problem| {
                let field = options::field_name(name);
                let value = slot.show();
                format!("{field} is {value}: {problem} ({name})")
            })?;
        }
        let check = |fine: bool, what: String| if fine { Ok(()) } else { Err(what) };
        check(
            self.bind_port_min <= self.bind_port_max,
            format!(
                "bind_port_min {} is above bind_port_max {}",
                self.bind_port_min, self.bind_port_max
            ),
        )?;
        check(
            self.initial_backoff <= self.max_backoff,
            format!(
                "initial_backoff {:?} is above max_backoff {:?}",
                self.initial_backoff, self.max_backoff
            ),
        )?;
        check(
            self.pq_min_cost <= self.pq_max_tokens_per_priority,
            format!(
                "pq_min_cost {} is above pq_max_tokens_per_priority {}",
                self.pq_min_cost, self.pq_max_tokens_per_priority
            ),
        )
    }

    /// The names that [`set`](Self::set) and [`get`](Self::get) know: Ceph's, and for options that
    /// Ceph does not have the field's, such as `receive_buffer` and `limits.data_max`.
    pub fn option_names() -> impl Iterator<Item = &'static str> {
        options::NAMES.iter().copied()
    }

    /// The value of an option as text, in bytes and seconds, if there is one of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let mut copy = self.clone();
        let (slot, _) = options::find(&mut copy, &ceph_conf::normalize(name))?;
        Some(slot.show())
    }

    /// Sets one option by its name and the text of its value.
    ///
    /// Options that depend on each other may be set in any order; [`validate`](Self::validate)
    /// compares them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use async_messenger::Config;
    ///
    /// let mut config = Config::default();
    /// config.set("ms_initial_backoff", "0.5")?;
    /// config.set("ms dispatch throttle bytes", "64MiB")?;
    /// assert_eq!(config.initial_backoff, Duration::from_millis(500));
    /// assert_eq!(config.dispatch_throttle_bytes, 64 << 20);
    /// # Ok::<(), async_messenger::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such option, or the value is not one for it. Nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let name = ceph_conf::normalize(name);
        let value = value.trim();
        let error = |problem: &str| Err(ConfigError::about(&name, value, problem));
        if let Some(reason) = options::not_applicable(&name) {
            return error(&format!("has no effect here: {reason}"));
        }
        match options::find(self, &name) {
            Some((slot, range)) => slot.set(value, range).or_else(|problem| error(&problem)),
            None => error("there is no such option"),
        }
    }

    /// Sets options that are written as `key=value`, and checks the result.
    ///
    /// # Errors
    /// As for [`set`](Self::set) and [`validate`](Self::validate). Nothing is changed then.
    pub fn apply<S: AsRef<str>>(&mut self, pairs: &[S]) -> Result<(), ConfigError> {
        let mut next = self.clone();
        for pair in pairs.iter().map(AsRef::as_ref) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(ConfigError::about(pair, "", "not key=value"));
            };
            next.set(key, value)?;
        }
        next.validate().map_err(ConfigError::new)?;
        *self = next;
        Ok(())
    }

    /// The defaults, changed by the section `[global]` of a `ceph.conf`.
    ///
    /// What it names and has no effect is passed over; [`apply_ceph_conf`](Self::apply_ceph_conf)
    /// tells it.
    ///
    /// ```
    /// use async_messenger::Config;
    ///
    /// let config = Config::from_ceph_conf("
    ///     [global]
    ///     mon host = 10.0.0.1            ; not an option of messengers
    ///     ms async op threads = 2
    ///     ms_tcp_rcvbuf = 256K           # 262,144
    ///     [osd]
    ///     ms crc data = false            ; not global
    /// ")?;
    /// assert_eq!(config.workers, 2);
    /// assert_eq!(config.socket.rcvbuf, Some(256 << 10));
    /// assert!(config.checksums.data);
    /// # Ok::<(), async_messenger::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As for [`apply_ceph_conf`](Self::apply_ceph_conf).
    pub fn from_ceph_conf(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.apply_ceph_conf(text)?;
        Ok(config)
    }

    /// Sets what the section `[global]` of a `ceph.conf` says, and checks the result.
    ///
    /// Keys may be written with spaces, dashes or underscores; of several of one name the last
    /// counts. Other sections, and options that do not begin with `ms_` and are not ours, are
    /// passed over: they are of no concern to a messenger. Includes and `$variables` are unknown.
    ///
    /// Returns a sentence for each `ms_*` option that has no effect, in the order of the file.
    ///
    /// # Errors
    /// If the text is longer than [`CEPH_CONF_MAX`], a line makes no sense, or a value is not one
    /// for its option. Nothing is changed then.
    pub fn apply_ceph_conf(&mut self, text: &str) -> Result<Vec<String>, ConfigError> {
        let mut next = self.clone();
        let mut passed_over = Vec::new();
        for (key, (line, value)) in ceph_conf::global(text)? {
            if options::NAMES.contains(&&key[..]) {
                next.set(&key, &value).map_err(|error| error.at(line))?;
            } else if key.starts_with("ms_") {
                let reason = options::not_applicable(&key);
                let reason = reason.unwrap_or("there is no such option");
                let told = ConfigError::about(&key, &value, reason).at(line);
                passed_over.push((line, told.to_string()));
            }
        }
        next.validate().map_err(ConfigError::new)?;
        *self = next;
        passed_over.sort();
        Ok(passed_over.into_iter().map(|(_, told)| told).collect())
    }
}
