//! Options of a messenger: typed fields with Ceph's meaning, default and name where it has one.

use std::time::Duration;

use event_driver::DriverKind;
use event_driver::sock::SocketOptions;

use crate::proto::{Checksums, Limits};
use crate::wire::EntityType;

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
#[derive(Clone, Debug)]
pub struct Config {
    /// The event backend. Default: [`DriverKind::default_for_target`].
    pub driver: DriverKind,

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
    /// (`ms_connection_idle_timeout`). Default 900 s.
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

    /// Whether a messenger without an ip learns it from what the first peer sees
    /// (`ms_learn_addr_from_peer`). If not, from its own socket. Default true.
    pub learn_addr_from_peer: bool,

    /// Whether connections go out from the address given to `client_bind`
    /// (`ms_bind_before_connect`). Default false.
    pub bind_before_connect: bool,

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

    /// Options of TCP sockets (`ms_tcp_nodelay`, `ms_tcp_rcvbuf`, `ms_tcp_listen_backlog`).
    pub socket: SocketOptions,

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

/// Faults made on purpose (`ms_inject_*`), for tests of what is above the messenger.
#[derive(Clone, PartialEq, Debug)]
pub struct Inject {
    /// One of so many socket operations ends its link; 0 is off (`ms_inject_socket_failures`).
    pub socket_failures: u32,

    /// How long to wait where a race is likely; 0 is off (`ms_inject_internal_delays`).
    pub internal_delays: Duration,

    /// Types of peers whose messages go through a delay line (`ms_inject_delay_type`).
    pub delay_type: Vec<EntityType>,

    /// The probability that a message waits on that line, 0 to 1 (`ms_inject_delay_probability`).
    pub delay_probability: f64,

    /// The longest wait on that line (`ms_inject_delay_max`). Default 1 s.
    pub delay_max: Duration,

    /// A turn of writing is skipped with probability (N − 1)/N; 0 and 1 are off
    /// (`ms_inject_network_congestion`).
    pub network_congestion: u32,

    /// What the dice start from. Without one it is drawn, and logged if anything is on.
    pub seed: Option<u64>,
}

impl Default for Inject {
    fn default() -> Self {
        Self {
            socket_failures: 0,
            internal_delays: Duration::ZERO,
            delay_type: Vec::new(),
            delay_probability: 0.0,
            delay_max: Duration::from_secs(1),
            network_congestion: 0,
            seed: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            driver: DriverKind::default_for_target(),
            workers: cores.clamp(2, 3),
            receive_buffer: 256 << 10,
            limits: Limits::default(),
            checksums: Checksums::default(),
            ready_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(15),
            connection_idle_timeout: Duration::from_secs(900),
            pq_min_cost: 64 << 10,
            pq_max_tokens_per_priority: 16 << 20,
            dispatch_warn_after: Duration::from_secs(1),
            learn_addr_from_peer: true,
            bind_before_connect: false,
            inject: Inject::default(),
            dispatch_throttle_bytes: 100 << 20,
            dispatch_throttle_messages: 1 << 16,
            send_queue_bytes: 256 << 20,
            send_queue_messages: 1 << 16,
            connections_max: 100_000,
            inline_send: true,
            socket: SocketOptions::default(),
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
        let check = |fine: bool, what: String| if fine { Ok(()) } else { Err(what) };
        check(
            (1..=WORKERS_MAX).contains(&self.workers),
            format!("workers is {}, not 1 to {WORKERS_MAX}", self.workers),
        )?;
        check(
            (64 << 10..=16 << 20).contains(&self.receive_buffer),
            format!(
                "receive_buffer is {}, not 64 KiB to 16 MiB",
                self.receive_buffer
            ),
        )?;
        check(
            self.bind_port_min <= self.bind_port_max,
            format!(
                "bind_port_min {} is above bind_port_max {}",
                self.bind_port_min, self.bind_port_max
            ),
        )?;
        check(self.bind_retry_count >= 1, "bind_retry_count is 0".into())?;
        check(
            !self.ready_timeout.is_zero(),
            "ready_timeout is 0: no handshake could end".into(),
        )?;
        check(
            !self.message_timeout.is_zero(),
            "message_timeout is 0: no message could arrive".into(),
        )?;
        check(
            !self.initial_backoff.is_zero() && self.initial_backoff <= self.max_backoff,
            format!(
                "initial_backoff {:?} is not between 0 and max_backoff {:?}",
                self.initial_backoff, self.max_backoff
            ),
        )?;
        check(
            self.send_queue_bytes > 0 && self.send_queue_messages > 0,
            "a send queue limit is 0: nothing could be sent".into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_bad_values_are_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let bad = |config: Config, name: &str| {
            let error = config.validate().expect_err(name);
            assert!(error.contains(name), "{error:?} does not name {name}");
        };
        let good = Config::default;
        bad(
            Config {
                workers: 0,
                ..good()
            },
            "workers",
        );
        bad(
            Config {
                workers: 25,
                ..good()
            },
            "workers",
        );
        bad(
            Config {
                receive_buffer: 1,
                ..good()
            },
            "receive_buffer",
        );
        bad(
            Config {
                bind_port_min: 7569,
                ..good()
            },
            "bind_port_min",
        );
        bad(
            Config {
                bind_retry_count: 0,
                ..good()
            },
            "bind_retry_count",
        );
        bad(
            Config {
                ready_timeout: Duration::ZERO,
                ..good()
            },
            "ready_timeout",
        );
        bad(
            Config {
                initial_backoff: Duration::from_secs(20),
                ..good()
            },
            "initial_backoff",
        );
        bad(
            Config {
                send_queue_messages: 0,
                ..good()
            },
            "send queue",
        );
    }
}
