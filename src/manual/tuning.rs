//! The options of [`Config`](crate::Config), and when to change them.
//!
//! The struct may grow, so it is made from its default:
//!
//! ```
//! use std::time::Duration;
//! use async_messenger::Config;
//!
//! let config = Config {
//!     workers: 1,
//!     ready_timeout: Duration::from_secs(3),
//!     ..Config::default()
//! };
//! assert_eq!(config.validate(), Ok(()));
//! ```
//!
//! # As text
//!
//! Options can be set by Ceph's names, from a `ceph.conf` or one by one. A field that Ceph has no
//! option for has its own name, such as `receive_buffer` or `limits.data_max`. All names, who
//! obeys them, and which of Ceph's options have no effect is listed at [`Config`](crate::Config).
//!
//! ```
//! use async_messenger::Config;
//!
//! let file = "
//!     [global]
//!     ms type = async+posix
//!     ms dispatch throttle bytes = 64M
//! ";
//! let mut config = Config::default();
//! let no_effect = config.apply_ceph_conf(file)?;
//! assert_eq!(no_effect, ["line 3: ms_type = async+posix: the transport is TCP by the kernel"]);
//! config.apply(&["ms_initial_backoff=0.5", "receive_buffer=64KiB"])?;
//! assert_eq!(config.get("ms_initial_backoff").as_deref(), Some("0.5"));
//! # Ok::<(), async_messenger::ConfigError>(())
//! ```
//!
//! The library reads no files and no environment: who has the file passes its text. Of a file only
//! the section `[global]` counts, so what a daemon's own section says is to be
//! [applied](crate::Config::apply) after it. Sizes take binary suffixes (`64K` is 65,536), other
//! numbers decimal ones, as in Ceph; times are seconds, with a point. A wrong value is an error
//! that names its line, and then nothing is changed. The program takes `--conf FILE` and
//! `--set KEY=VALUE`.
//!
//! # Threads and drivers
//!
//! | option | default | change it when |
//! |---|---|---|
//! | `driver` | best that was compiled in | you compare backends, or a sandbox refuses one. What a wait on `poll` costs grows with the number of connections |
//! | `driver_strict` | false | no other backend than `driver` shall run where the system refuses it, io_uring for example: it is an error then, and not a line in the log |
//! | `workers` | cores, at least 2, at most 3 | there are many busy connections and cores to spare. One connection never uses more than one worker. 1 is enough for a client of a few peers |
//! | `inline_send` | on | a socket write must never happen on your own threads; each send to an idle connection then wakes a worker instead |
//! | `spin` | 0, off | there are cores to spare, and latency counts: a worker with nothing to do looks on for so long before it sleeps. 50 µs made a round trip of 62 µs one of 10 µs between two processes on two cores, and 300,000 requests of 4 KiB a second 820,000. Each worker may take a core; where two share one, the one that looks on delays the other |
//!
//! Several messengers in one process do well on one shared pool: see
//! [`Builder::workers`](crate::Builder::workers).
//!
//! # Memory
//!
//! | option | default | bounds |
//! |---|---|---|
//! | `receive_buffer` | 256 KiB | the chunk that sockets are read into. Messages are slices of it, so *one small message that is kept keeps a whole chunk*: call [`Message::compact`](crate::message::Message::compact) on what you keep long, or make the chunk smaller (64 KiB at least) |
//! | `limits` | front 64 MiB, middle 16 MiB, data 256 MiB | what a peer may announce in one message; above it the connection ends before anything is allocated |
//! | `dispatch_throttle_bytes` | 100 MiB | payload that was received and not yet dispatched, over all connections |
//! | `dispatch_throttle_messages` | 65,536 | the same by number |
//! | `send_queue_bytes`, `send_queue_messages` | 256 MiB, 65,536 | what waits to be sent on one connection; above it [`Connection::send`](crate::Connection::send) gives the message back |
//! | `connections_max` | 100,000 | accepted connections; more are closed at once |
//! | none | 256 KiB | what each thread that sends encrypted messages keeps to seal them in |
//!
//! `pq_min_cost` and `pq_max_tokens_per_priority` (64 KiB, 16 Mi) weigh messages below priority 64
//! against each other: the smaller the first, the more small messages pass for a large one.
//!
//! A message holds its share from its header on, so it has to arrive in time:
//! [`Config::message_timeout`](crate::Config), and a second more for each 64 KiB of it. A link that
//! holds more than 4 KiB of an incomplete message may keep one receive buffer, too. Events are
//! bounded by the number of connections: one that an event refers to counts as open.
//!
//! A message that is larger than a whole throttle passes when not more than its limit is taken, or
//! it could never pass. Where a throttle is full, connections stop being read, and TCP tells the
//! senders. [`Stats::throttled`](crate::Stats) counts how often that was.
//!
//! A compressed message passes by its compressed length. What it has beyond that is added when it has
//! been received, and those behind it wait for it.
//!
//! The dispatch throttles end when a dispatcher returns. To bound what the application keeps beyond
//! that, give the policy throttles of its own: their shares belong to the message and come back
//! when it is dropped.
//!
//! ```
//! use async_messenger::Policy;
//! use async_messenger::throttle::Throttle;
//!
//! let bytes = Throttle::new("client bytes", 500 << 20);
//! let messages = Throttle::new("client messages", 256);
//! let policy = Policy::stateless_server(0).with_throttles(Some(bytes), Some(messages));
//! assert!(policy.lossy && policy.server);
//! ```
//!
//! # Time
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `ready_timeout` | 10 s | from the first byte of a connection to the end of its handshake, on both sides |
//! | `connection_idle_timeout` | 900 s | an open connection on which nothing came or went for so long ends as if its link was lost; 0 is never |
//! | `message_timeout` | 30 s | from the header of a message to its end, and a second for each 64 KiB |
//! | `dispatch_warn_after` | 1 s | a dispatcher that takes longer for one call is reported |
//! | `initial_backoff`, `max_backoff` | 0.2 s, 15 s | wait after the first failure to connect; it doubles up to the second figure |
//! | `bind_retry_count`, `bind_retry_delay` | 3, 5 s | attempts to bind. An address that is not this host's costs the delays too: set the count to 1 in tests |
//!
//! To find a dead peer before the idle timeout, send keepalives and look at
//! [`Connection::last_keepalive_ack`](crate::Connection::last_keepalive_ack), as monitor clients
//! do.
//!
//! # Sockets and ports
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `socket.nodelay` | on | small messages leave at once |
//! | `socket.rcvbuf`, `socket.sndbuf` | the system's | fixed buffer sizes switch the system's own tuning off |
//! | `socket.priority` | none | traffic class of network control, and on Linux this queue priority |
//! | `socket.backlog` | 512 | connections that may wait to be accepted |
//! | `bind_port_min`, `bind_port_max` | 6800, 7568 | tried in order for port 0; with 0 and 0 the system chooses |
//!
//! # Checksums
//!
//! `checksums.header` and `checksums.data` are on. Nothing on the wire announces that the first is
//! off, so both ends must agree; the second is announced for each message, and not checking it
//! saves a pass over the data.
//!
//! # Faults on purpose
//!
//! [`inject`](crate::Inject) makes links fail, delays messages and pretends that sockets are full,
//! as Ceph's `ms_inject_*` do. It is for tests, and off. With a `seed` the dice fall the same way
//! in the next run.
//!
//! # Watching it
//!
//! [`Messenger::stats`](crate::Messenger::stats) has counters and levels. The crate logs by
//! `tracing`: `error` for what it cannot recover from, `warn` for what an operator should look at
//! (nobody took a message, accept failed, bind is tried again), `debug` for the life of
//! connections. Messages are not logged one by one.
