//! The options by name: the one list that joins Ceph's names, fields and ranges, and the one of
//! Ceph's options that have no effect here. The docs of [`Config`] show both.

use super::value::{Range, Slot};
use super::{Config, WORKERS_MAX};

const WORKERS_RANGE: Range = Range::Within(1, WORKERS_MAX as u32);

/// Makes the list of names, and the way from a name to the field and its range.
macro_rules! options {
    ($($name:literal $kind:ident $($field:ident).+ $range:expr;)*) => {
        /// The names of all options.
        pub(super) const NAMES: &[&str] = &[$($name),*];

        /// The name of a field in the source, for those who set it there.
        pub(super) fn field_name(name: &str) -> &'static str {
            match name {
                $($name => stringify!($($field).+),)*
                _ => "",
            }
        }

        pub(super) fn find<'a>(config: &'a mut Config, name: &str) -> Option<(Slot<'a>, Range)> {
            use Range::{Any, Positive, Within};
            Some(match name {
                $($name => (Slot::$kind(&mut config.$($field).+), $range),)*
                _ => return None,
            })
        }
    };
}

// Names with a dot, and those without ms_, are ours: Ceph has no such option.
options! {
    "ms_async_op_threads" Number workers WORKERS_RANGE;
    "ms_crc_header" Flag checksums.header Any;
    "ms_crc_data" Flag checksums.data Any;
    "ms_osd_compress_mode" Word compression.osd_mode Any;
    "ms_osd_compress_min_size" Number compression.osd_min_size Any;
    "ms_osd_compression_algorithm" Word compression.osd_algorithms Any;
    "ms_compress_secure" Flag compression.secure Any;
    "ms_connection_ready_timeout" Seconds ready_timeout Positive;
    "ms_connection_idle_timeout" Seconds connection_idle_timeout Any;
    "ms_initial_backoff" Seconds initial_backoff Positive;
    "ms_max_backoff" Seconds max_backoff Positive;
    "ms_dispatch_throttle_bytes" Size dispatch_throttle_bytes Any;
    "ms_pq_min_cost" Size pq_min_cost Any;
    "ms_pq_max_tokens_per_priority" Number pq_max_tokens_per_priority Positive;
    "ms_tcp_nodelay" Flag socket.nodelay Any;
    "ms_tcp_rcvbuf" Size socket.rcvbuf Any;
    "ms_tcp_listen_backlog" Number socket.backlog Any;
    "ms_learn_addr_from_peer" Flag learn_addr_from_peer Any;
    "ms_bind_before_connect" Flag bind_before_connect Any;
    "ms_bind_port_min" Number bind_port_min Any;
    "ms_bind_port_max" Number bind_port_max Any;
    "ms_bind_retry_count" Number bind_retry_count Positive;
    "ms_bind_retry_delay" Seconds bind_retry_delay Any;
    "ms_inject_socket_failures" Number inject.socket_failures Any;
    "ms_inject_internal_delays" Seconds inject.internal_delays Any;
    "ms_inject_delay_type" Types inject.delay_type Any;
    "ms_inject_delay_probability" Fraction inject.delay_probability Within(0, 1);
    "ms_inject_delay_max" Seconds inject.delay_max Any;
    "ms_inject_network_congestion" Number inject.network_congestion Any;
    "ms_blackhole_osd" Flag inject.blackhole_osd Any;
    "ms_blackhole_mon" Flag inject.blackhole_mon Any;
    "ms_blackhole_mds" Flag inject.blackhole_mds Any;
    "ms_blackhole_mgr" Flag inject.blackhole_mgr Any;
    "ms_blackhole_client" Flag inject.blackhole_client Any;
    "driver" Word driver Any;
    "driver_strict" Flag driver_strict Any;
    "receive_buffer" Size receive_buffer Within(64 << 10, 16 << 20);
    "limits.front_max" Size limits.front_max Any;
    "limits.middle_max" Size limits.middle_max Any;
    "limits.data_max" Size limits.data_max Any;
    "message_timeout" Seconds message_timeout Positive;
    "dispatch_throttle_messages" Number dispatch_throttle_messages Any;
    "dispatch_warn_after" Seconds dispatch_warn_after Positive;
    "send_queue_bytes" Size send_queue_bytes Positive;
    "send_queue_messages" Number send_queue_messages Positive;
    "connections_max" Number connections_max Any;
    "inline_send" Flag inline_send Any;
    "spin" Seconds spin Within(0, 1);
    "socket.sndbuf" Size socket.sndbuf Any;
    "socket.priority" Number socket.priority Any;
    "inject.seed" Seed inject.seed Any;
}

const OFFERS: &str = "what is offered to whom is said by auth::Offers";
const NO_TRANSPORT: &str = "the transport is TCP by the kernel";
const NO_ABORT: &str = "a bad peer ends its connection, never the process";
const NO_BIND: &str = "the addresses given to bind say the family and the protocol";
const NO_DUMP: &str = "contents of messages are not logged";
const PREFETCH: &str = "receive_buffer is what sockets are read into";
const ACCEPT: &str = "accept is tried again later, and never aborts the process";
const REAP: &str = "closed connections are not collected: each is freed with its last user";

/// Options of Ceph that have no effect here, by name or by how their names begin, and why.
pub(super) const NOT_APPLICABLE: &[(&str, &str)] = &[
    ("ms_type", NO_TRANSPORT),
    ("ms_public_type", NO_TRANSPORT),
    ("ms_cluster_type", NO_TRANSPORT),
    ("ms_async_rdma_*", NO_TRANSPORT),
    ("ms_dpdk_*", NO_TRANSPORT),
    ("ms_mon_cluster_mode", OFFERS),
    ("ms_mon_service_mode", OFFERS),
    ("ms_mon_client_mode", OFFERS),
    ("ms_cluster_mode", OFFERS),
    ("ms_service_mode", OFFERS),
    ("ms_client_mode", OFFERS),
    ("ms_tcp_prefetch_max_size", PREFETCH),
    ("ms_die_on_bad_msg", NO_ABORT),
    ("ms_die_on_unhandled_msg", NO_ABORT),
    ("ms_die_on_old_message", NO_ABORT),
    ("ms_die_on_skipped_message", NO_ABORT),
    ("ms_die_on_bug", NO_ABORT),
    ("ms_max_accept_failures", ACCEPT),
    ("ms_bind_ipv4", NO_BIND),
    ("ms_bind_ipv6", NO_BIND),
    ("ms_bind_prefer_ipv4", NO_BIND),
    ("ms_bind_msgr1", NO_BIND),
    ("ms_bind_msgr2", NO_BIND),
    ("ms_async_reap_threshold", REAP),
    ("ms_dump_on_send", NO_DUMP),
    ("ms_dump_corrupt_message_level", NO_DUMP),
];

/// Why an option of Ceph has no effect here, if it is one.
pub(super) fn not_applicable(name: &str) -> Option<&'static str> {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == pattern,
    };
    let found = NOT_APPLICABLE.iter().find(|(pattern, _)| matches(pattern));
    found.map(|(_, reason)| *reason)
}
