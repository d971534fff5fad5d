//! The options: their defaults are Ceph's, each can be set by name, what is wrong is said, and no
//! text makes the reader panic.

use std::time::Duration;

use async_messenger::wire::EntityType;
use async_messenger::{CEPH_CONF_MAX, Config, DriverKind, Inject};

/// Ceph's names and defaults, as its option list has them.
const CEPH: &[(&str, &str)] = &[
    ("ms_crc_header", "true"),
    ("ms_crc_data", "true"),
    ("ms_osd_compress_mode", "none"),
    ("ms_osd_compress_min_size", "1024"),
    ("ms_osd_compression_algorithm", "snappy"),
    ("ms_compress_secure", "false"),
    ("ms_connection_ready_timeout", "10"),
    ("ms_connection_idle_timeout", "900"),
    ("ms_initial_backoff", "0.2"),
    ("ms_max_backoff", "15"),
    ("ms_dispatch_throttle_bytes", "104857600"),
    ("ms_pq_min_cost", "65536"),
    ("ms_pq_max_tokens_per_priority", "16777216"),
    ("ms_tcp_nodelay", "true"),
    ("ms_tcp_rcvbuf", "0"),
    ("ms_tcp_listen_backlog", "512"),
    ("ms_learn_addr_from_peer", "true"),
    ("ms_bind_before_connect", "false"),
    ("ms_bind_port_min", "6800"),
    ("ms_bind_port_max", "7568"),
    ("ms_bind_retry_count", "3"),
    ("ms_bind_retry_delay", "5"),
    ("ms_inject_socket_failures", "0"),
    ("ms_inject_internal_delays", "0"),
    ("ms_inject_delay_type", ""),
    ("ms_inject_delay_probability", "0"),
    ("ms_inject_delay_max", "1"),
    ("ms_inject_network_congestion", "0"),
    ("ms_blackhole_osd", "false"),
    ("ms_blackhole_mon", "false"),
    ("ms_blackhole_mds", "false"),
    ("ms_blackhole_mgr", "false"),
    ("ms_blackhole_client", "false"),
];

/// A value for each option that is not its default, as [`Config::get`] shows it.
const OTHERS: &[(&str, &str)] = &[
    ("ms_async_op_threads", "7"),
    ("ms_crc_header", "false"),
    ("ms_crc_data", "false"),
    ("ms_osd_compress_mode", "force"),
    ("ms_osd_compress_min_size", "0"),
    ("ms_osd_compression_algorithm", "zstd lz4"),
    ("ms_compress_secure", "true"),
    ("ms_connection_ready_timeout", "2.5"),
    ("ms_connection_idle_timeout", "60"),
    ("ms_initial_backoff", "0.000000001"),
    ("ms_max_backoff", "1000000000"),
    ("ms_dispatch_throttle_bytes", "18446744073709551615"),
    ("ms_pq_min_cost", "1"),
    ("ms_pq_max_tokens_per_priority", "1000000"),
    ("ms_tcp_nodelay", "false"),
    ("ms_tcp_rcvbuf", "262144"),
    ("ms_tcp_listen_backlog", "-1"),
    ("ms_learn_addr_from_peer", "false"),
    ("ms_bind_before_connect", "true"),
    ("ms_bind_port_min", "0"),
    ("ms_bind_port_max", "65535"),
    ("ms_bind_retry_count", "1"),
    ("ms_bind_retry_delay", "0"),
    ("ms_inject_socket_failures", "500"),
    ("ms_inject_internal_delays", "0.002"),
    ("ms_inject_delay_type", "osd client"),
    ("ms_inject_delay_probability", "0.25"),
    ("ms_inject_delay_max", "0.1"),
    ("ms_inject_network_congestion", "100"),
    ("ms_blackhole_osd", "true"),
    ("ms_blackhole_mon", "true"),
    ("ms_blackhole_mds", "true"),
    ("ms_blackhole_mgr", "true"),
    ("ms_blackhole_client", "true"),
    ("driver", "kqueue"),
    ("driver_strict", "true"),
    ("receive_buffer", "65536"),
    ("limits.front_max", "1"),
    ("limits.middle_max", "2"),
    ("limits.data_max", "4294967295"),
    ("message_timeout", "5"),
    ("dispatch_throttle_messages", "10"),
    ("dispatch_warn_after", "0.1"),
    ("send_queue_bytes", "4096"),
    ("send_queue_messages", "1"),
    ("connections_max", "0"),
    ("inline_send", "false"),
    ("spin", "0.00005"),
    ("socket.sndbuf", "4096"),
    ("socket.priority", "6"),
    ("inject.seed", "18446744073709551615"),
];

fn without_ceph_name(name: &str) -> bool {
    !name.starts_with("ms_")
}

/// The lines of a table whose columns are parted by bars.
fn rows(table: &str) -> impl Iterator<Item = [&str; 3]> {
    let lines = table.lines().filter(|line| !line.is_empty());
    lines.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells.try_into().expect("three columns")
    })
}

#[test]
fn defaults_are_cephs_and_valid() {
    let config = Config::default();
    assert_eq!(config.validate(), Ok(()));
    for (name, default) in CEPH {
        assert_eq!(config.get(name).as_deref(), Some(*default), "{name}");
    }
    assert!((2..=3).contains(&config.workers));
    let listed = |name: &&str| CEPH.iter().any(|(listed, _)| listed == name);
    let ceph = |name: &&str| !without_ceph_name(name) && *name != "ms_async_op_threads";
    assert!(
        Config::option_names()
            .filter(ceph)
            .all(|name| listed(&name))
    );
    assert_eq!(Config::option_names().filter(ceph).count(), CEPH.len());
    let off = Inject::default();
    assert_eq!(config.inject, off);
    assert_eq!(
        (off.socket_failures, off.network_congestion, off.seed),
        (0, 0, None)
    );
    assert_eq!(config.dispatch_warn_after, Duration::from_secs(1));
}

#[test]
fn each_option_can_be_set_by_its_name_and_sets_nothing_else() {
    let default = Config::default();
    let names: Vec<&str> = Config::option_names().collect();
    let listed: Vec<&str> = OTHERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, listed);
    for (name, value) in OTHERS {
        let mut config = Config::default();
        // Where kqueue alone is compiled in, it is the default, and no other value of this option.
        let only = *name == "driver" && DriverKind::compiled() == [DriverKind::Kqueue];
        assert!(
            only || config.get(name).as_deref() != Some(*value),
            "{name}"
        );
        config.set(name, value).unwrap();
        assert_eq!(config.get(name).as_deref(), Some(*value), "{name}");
        assert_eq!(config.validate(), Ok(()), "{name}");
        for other in names.iter().filter(|other| *other != name) {
            assert_eq!(
                config.get(other),
                default.get(other),
                "{name} changed {other}"
            );
        }
        // And back, by a file this time.
        let before = default.get(name).expect("an option");
        let text = format!("[global]\n{} = {before}\n", name.replace('_', " "));
        assert_eq!(config.apply_ceph_conf(&text), Ok(vec![]), "{name}");
        assert_eq!(format!("{config:?}"), format!("{default:?}"), "{name}");
    }
}

#[test]
fn all_of_them_at_once() {
    let mut config = Config::default();
    let pairs: Vec<String> = OTHERS.iter().map(|(k, v)| format!("{k}={v}")).collect();
    config.apply(&pairs).unwrap();
    assert_eq!(
        config.inject.delay_type,
        [EntityType::OSD, EntityType::CLIENT]
    );
    assert_eq!(config.socket.rcvbuf, Some(262_144));
    assert_eq!(config.socket.priority, Some(6));
    let text: Vec<String> = OTHERS
        .iter()
        .map(|(k, v)| format!("{k} = \"{v}\""))
        .collect();
    let read = Config::from_ceph_conf(&text.join("\n")).unwrap();
    assert_eq!(format!("{read:?}"), format!("{config:?}"));
}

/// Options, values, and how these are shown. Of a size K is 1024, of a number 1000.
const GOOD_VALUES: &str = "
    ms_tcp_nodelay | No | false
    ms_tcp_nodelay |  TRUE  | true
    ms_tcp_nodelay | 0 | false
    ms_tcp_nodelay | yes | true
    ms_dispatch_throttle_bytes | 0 | 0
    ms_dispatch_throttle_bytes | 64K | 65536
    ms_dispatch_throttle_bytes | 64KB | 65536
    ms_dispatch_throttle_bytes | 64Ki | 65536
    ms_dispatch_throttle_bytes | 64 KiB | 65536
    ms_dispatch_throttle_bytes | 1M | 1048576
    ms_dispatch_throttle_bytes | 2G | 2147483648
    ms_dispatch_throttle_bytes | 15E | 17293822569102704640
    ms_dispatch_throttle_bytes | 100B | 100
    ms_pq_max_tokens_per_priority | 16M | 16000000
    ms_initial_backoff | .5 | 0.5
    ms_initial_backoff | 1e-1 | 0.1
    ms_inject_delay_type | osd,mon  osd | osd mon
    ms_osd_compression_algorithm | brotli,zlib  snappy zlib | brotli zlib snappy
    ms_osd_compression_algorithm | none | none
    ms_osd_compression_algorithm |  | none
    ms_osd_compress_min_size | 4K | 4000
    ms_tcp_rcvbuf | 0 | 0
    socket.priority | -1 | -1
    inject.seed | none | none
    ms-tcp listen_backlog | +128 | 128
";

#[test]
fn forms_of_values() {
    let mut config = Config::default();
    for [name, value, shown] in rows(GOOD_VALUES) {
        config.set(name, value).unwrap();
        assert_eq!(config.get(name).as_deref(), Some(shown), "{name} = {value}");
    }
}

/// Options, values, and what is said of these.
const BAD_VALUES: &str = "
    ms_tcp_nodelay | maybe | not true, false
    ms_tcp_nodelay |  | not true, false
    ms_async_op_threads | 0 | not 1 to 24
    ms_async_op_threads | 25 | not 1 to 24
    ms_async_op_threads | three | not a whole number
    ms_async_op_threads | 3KiB | not a whole number
    ms_bind_port_min | 65536 | not 0 to 65535
    ms_bind_port_min | -1 | not 0 to 65535
    ms_bind_retry_count | 0 | not more than 0
    ms_tcp_listen_backlog | 2147483648 | not -2147483648 to 2147483647
    ms_dispatch_throttle_bytes | -1 | not 0 to 18446744073709551615
    ms_dispatch_throttle_bytes | 16E | not 0 to 18446744073709551615
    ms_dispatch_throttle_bytes | 1Bi | not a number of bytes
    ms_dispatch_throttle_bytes | 1i | not a number of bytes
    ms_dispatch_throttle_bytes | K | not a number of bytes
    ms_dispatch_throttle_bytes | 1.5M | not a number of bytes
    ms_dispatch_throttle_bytes | 99999999999999999999999999999999E | not a number
    ms_connection_ready_timeout | 0 | not more than 0
    ms_connection_ready_timeout | -3 | not 0 or more seconds
    ms_connection_ready_timeout | NaN | not 0 or more seconds
    ms_connection_ready_timeout | inf | not at most 1000000000 seconds
    ms_connection_ready_timeout | 10s | not a number of seconds
    ms_inject_delay_probability | 1.1 | not 0 to 1
    ms_inject_delay_probability | NaN | not 0 to 1
    ms_inject_delay_type | osd.1 | not a list of mon, mds, osd, client, mgr
    ms_inject_delay_type | any | not a list of mon, mds, osd, client, mgr
    inject.seed | -1 | not none or a u64
    receive_buffer | 1K | not 65536 to 16777216
    ms_osd_compress_mode | aggressive | not none or force
    ms_osd_compression_algorithm | zstd gzip | not none, or a list of snappy
    ms_osd_compress_min_size | -1 | not 0 to 18446744073709551615
    driver | iocp | iocp
    ms_type | async+rdma | has no effect here: the transport is TCP
    ms_async_rdma_port_num | 1 | has no effect here: the transport is TCP
    ms_typo | 1 | there is no such option
     | 1 | there is no such option
";

#[test]
fn bad_values_are_named_with_their_range() {
    let before = format!("{:?}", Config::default());
    for [name, value, what] in rows(BAD_VALUES) {
        let mut config = Config::default();
        let error = config.set(name, value).expect_err(name);
        let text = error.to_string();
        assert!(text.contains(what) && text.contains(name), "{text}");
        assert_eq!(
            (error.line(), error.option(), error.value()),
            (None, name, value)
        );
        assert_eq!(format!("{config:?}"), before);
    }
}

#[test]
fn options_that_contradict_each_other_are_told() {
    let bad = [
        (
            "ms_initial_backoff=20",
            "initial_backoff 20s is above max_backoff 15s",
        ),
        (
            "ms_bind_port_min=7569",
            "bind_port_min 7569 is above bind_port_max 7568",
        ),
        ("ms_pq_min_cost=17M", "pq_min_cost"),
        ("ms_tcp_nodelay", "not key=value"),
    ];
    for (pair, what) in bad {
        let mut config = Config::default();
        let text = config
            .apply(&["ms_tcp_nodelay=false", pair])
            .unwrap_err()
            .to_string();
        assert!(text.contains(what), "{text}");
        assert!(config.socket.nodelay, "{pair}: half of it was applied");
    }
    let mut config = Config::default();
    let order = ["ms_initial_backoff=20", "ms_max_backoff=30"];
    config.apply(&order).expect("compared at the end only");
}

#[test]
fn fields_are_checked_too() {
    fn bad(what: &str, change: fn(&mut Config)) {
        let mut config = Config::default();
        change(&mut config);
        let error = config.validate().expect_err(what);
        assert!(error.contains(what), "{error}");
    }
    bad("workers is 0: not 1 to 24 (ms_async_op_threads)", |c| {
        c.workers = 0
    });
    bad("receive_buffer is 1", |c| c.receive_buffer = 1);
    bad("bind_retry_count is 0", |c| c.bind_retry_count = 0);
    bad("ready_timeout is 0", |c| c.ready_timeout = Duration::ZERO);
    bad("message_timeout is 0", |c| {
        c.message_timeout = Duration::ZERO
    });
    bad("message_timeout is", |c| c.message_timeout = Duration::MAX);
    bad("initial_backoff is 0", |c| {
        c.initial_backoff = Duration::ZERO
    });
    bad("initial_backoff", |c| {
        c.max_backoff = Duration::from_millis(1)
    });
    bad("connection_idle_timeout", |c| {
        c.connection_idle_timeout = Duration::MAX
    });
    bad("dispatch_warn_after", |c| {
        c.dispatch_warn_after = Duration::ZERO
    });
    bad("send_queue_bytes", |c| c.send_queue_bytes = 0);
    bad("send_queue_messages", |c| c.send_queue_messages = 0);
    bad("bind_port_min", |c| c.bind_port_min = 7569);
    bad("pq_min_cost", |c| c.pq_min_cost = 1 << 30);
    bad("inject.delay_probability", |c| {
        c.inject.delay_probability = f64::NAN
    });
    bad("inject.delay_max", |c| c.inject.delay_max = Duration::MAX);
}

/// What a development cluster of one node has, shortened; and the habits of hands.
const CLUSTER: &str = r#"
; generated by vstart.sh
[client.vstart.sh]
        num mon = 1
        num osd = 3

[global]
        fsid = 0f1d7b9e-6b3e-4d59-9a55-a2c1d2c7b2a1
        osd failsafe full ratio = .99
        mon osd full ratio = .99
        osd pool default size = 1
        mon host = [v2:10.0.0.1:40000,v1:10.0.0.1:40001]
        auth cluster required = none
        auth service required = none
        auth client required = none
        auth allow insecure global id reclaim = false
        run dir = /var/run/ceph
        ms bind msgr2 = true
        ms bind msgr1 = true
        ms_cluster_mode = crc
        ms type = async+posix
        ms-crc-data = "false"             # the disks have their own
        ms connection ready timeout = 30  ; slow machines
        ms dispatch throttle bytes = \
                200M
        ms_inject_delay_type = 'osd mon'
        ms_initial_backoff = 1
        ms initial backoff = .25
        ms_from_the_future = 1

[mon]
        mgr initial modules = dashboard
        ms tcp nodelay = not even a boolean
[ osd ]
        osd_op_queue = wpq
        keyring = /srv/$name/keyring
        ms_crc_header = false
[ global ]
        ms_async_op_threads=2
"#;

#[test]
fn a_cluster_of_one_node() {
    for text in [CLUSTER.to_owned(), CLUSTER.replace('\n', "\r\n")] {
        let mut config = Config::default();
        let told = config.apply_ceph_conf(&text).unwrap();
        assert!(!config.checksums.data && config.checksums.header && config.socket.nodelay);
        assert_eq!(config.ready_timeout, Duration::from_secs(30));
        assert_eq!(config.dispatch_throttle_bytes, 200 << 20);
        assert_eq!(config.inject.delay_type, [EntityType::OSD, EntityType::MON]);
        assert_eq!(config.initial_backoff, Duration::from_millis(250));
        assert_eq!(config.workers, 2);
        let wanted = [
            "line 18: ms_bind_msgr2 = true: the addresses given to bind",
            "line 19: ms_bind_msgr1 = true: the addresses given to bind",
            "line 20: ms_cluster_mode = crc: what is offered to whom",
            "line 21: ms_type = async+posix: the transport is TCP",
            "line 29: ms_from_the_future = 1: there is no such option",
        ];
        assert_eq!(told.len(), wanted.len(), "{told:#?}");
        for (told, wanted) in told.iter().zip(wanted) {
            assert!(told.starts_with(wanted), "{told}");
        }
    }
}

#[test]
fn shapes_of_files() {
    let backlog = |text: &str| Config::from_ceph_conf(text).map(|c| c.socket.backlog);
    let good = [
        ("", 512),
        ("\u{feff}[global]\nms tcp listen backlog=7", 7),
        ("ms_tcp_listen_backlog=7 ; before any section", 7),
        (
            "[global]\nms_tcp_listen_backlog = 1\nms_tcp_listen_backlog = 7",
            7,
        ),
        (
            "[a]\nms_tcp_listen_backlog = 1\n[global] # here\nms_tcp_listen_backlog = 7",
            7,
        ),
        ("[global]\nms_tcp_\\\nlisten_backlog \\\n = \\\n 7", 7),
        ("[global]\nms_tcp_listen_backlog = \"7\" # sure", 7),
        ("[global]\nms_tcp_listen_backlog = \\7", 7),
        (
            "[global]\nkey = \"a # b ; c\"\nother = a\\#b\nms_tcp_listen_backlog = 7",
            7,
        ),
        ("[global]\nempty =\nms_tcp_listen_backlog = 7\\", 7),
        (
            "# a comment does not go on \\\nms_tcp_listen_backlog = 7",
            7,
        ),
        ("[global]\nbob = Bob's disk\nms_tcp_listen_backlog = 7", 7),
        ("[glob]\nms_tcp_listen_backlog = 7", 512),
    ];
    for (text, wanted) in good {
        assert_eq!(backlog(text), Ok(wanted), "{text:?}");
    }
    let bad = [
        (
            "[global\nms_tcp_listen_backlog = 7",
            "line 1: global: a section without ]",
        ),
        ("[global] x = 1", "line 1: global: there is more"),
        (
            "[global]\n\nnonsense",
            "line 3: nonsense: not a section, a comment or key = value",
        ),
        ("[osd]\nnonsense # = 1", "line 2: nonsense: not a section"),
        ("= 1", "line 1: there is no key"),
        (
            "[global]\na = \"b\nc = d",
            "line 2: a = b: the quote \" is not closed",
        ),
        ("[global]\na = 'b' c", "line 2: a: there is more"),
        (
            "[global]\n# \nms_tcp_listen_backlog = 7 8",
            "line 3: ms_tcp_listen_backlog = 7 8: not",
        ),
        (
            "[global]\nms_tcp_listen_backlog = ",
            "line 2: ms_tcp_listen_backlog: not a whole",
        ),
        (
            "ms_max_backoff = 0.1",
            "initial_backoff 200ms is above max_backoff 100ms",
        ),
    ];
    for (text, wanted) in bad {
        let error = backlog(text).expect_err(text).to_string();
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn errors_are_fit_for_a_terminal() {
    let text = format!("ms_tcp_nodelay = \u{1b}[31m{}", "x".repeat(1000));
    let error = Config::from_ceph_conf(&text).unwrap_err();
    assert_eq!(error.value().chars().count(), 81);
    assert!(error.to_string().chars().all(|c| !c.is_control()));
    let long = "#".repeat(CEPH_CONF_MAX + 1);
    let error = Config::from_ceph_conf(&long).unwrap_err().to_string();
    assert_eq!(error, "a text of 1048577 bytes, not 1048576 at most");
    Config::from_ceph_conf(&long[1..]).expect("just fits");
}

#[test]
fn the_docs_name_every_option() {
    let docs = include_str!("../src/config.rs");
    for name in Config::option_names() {
        assert!(
            docs.contains(&format!("`{name}` |")),
            "{name} is not in the table"
        );
    }
    let list = include_str!("../src/config/options.rs");
    let (_, list) = list.split_once("const NOT_APPLICABLE").expect("a list");
    let names = list.split('"').filter(|text| text.starts_with("ms_"));
    for name in names.clone() {
        assert!(
            docs.contains(&format!("`{name}`")),
            "{name} is not in the table"
        );
    }
    assert_eq!(names.count(), 26);
}

/// A step of a generator that is good enough to make up texts.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 33) as usize
}

/// What texts are made up of.
const PIECES: &[&str] = &[
    "[",
    "]",
    "global",
    "[global]\n",
    "=",
    " = ",
    "\n",
    "\r\n",
    "\\",
    "\\\n",
    "\\\r\n",
    "\r",
    "#",
    ";",
    "\"",
    "'",
    " ",
    "\t",
    "ms_",
    "ms ",
    "tcp",
    "-",
    "_",
    "é",
    "\u{feff}",
    "\u{0}",
    "ms_tcp_nodelay",
    "ms_initial_backoff",
    "ms_dispatch_throttle_bytes",
    "true",
    "1e400",
    "-1",
    "99999999999999999999999999999999999999999",
    "K",
    "EiB",
    "i",
    "NaN",
    "0.5",
    "osd",
    "inject.seed",
    "driver",
    "ms_inject_delay_type",
    "ms_type",
    "\u{2028}",
    "🦀",
];

#[test]
fn no_text_makes_it_panic() {
    let mut state = 0x5eed_u64;
    let (mut fine, mut wrong) = (0, 0);
    for _ in 0..20_000 {
        let count = next(&mut state) % 24;
        let pieces = (0..count).map(|_| PIECES[next(&mut state) % PIECES.len()]);
        let text: String = pieces.collect();
        match Config::from_ceph_conf(&text) {
            Ok(config) => {
                assert_eq!(config.validate(), Ok(()), "{text:?}");
                fine += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                wrong += 1;
            }
        }
        let mut config = Config::default();
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        let _ = config.set(name, value);
        let _ = config.set(OTHERS[next(&mut state) % OTHERS.len()].0, value);
        let _ = (config.get(name), config.validate(), config.apply(&[&text]));
    }
    assert!(fine > 500 && wrong > 500, "{fine} and {wrong}: one-sided");
}

#[test]
fn every_cut_of_a_file_is_survived() {
    for (at, _) in CLUSTER.char_indices() {
        let _ = Config::from_ceph_conf(&CLUSTER[..at]);
        let _ = Config::from_ceph_conf(&CLUSTER[at..]);
    }
}

#[test]
fn long_lines_take_no_longer_than_they_are() {
    // Each would take minutes if a line were read again for each of its parts.
    for piece in ["\\\n", "a ", "\"", "=", "[", "\\a", "#\n", "k=v\n"] {
        let text = piece.repeat(CEPH_CONF_MAX / piece.len());
        let _ = Config::from_ceph_conf(&text);
    }
}
