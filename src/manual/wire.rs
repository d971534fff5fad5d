//! The rules of msgr v1 that are implemented, under the numbers by which the source cites them.
//!
//! The numbers are those of three sets of notes, on encodings, on msgr v1 and on sessions, so there
//! are gaps where nothing is implemented yet. All integers are little-endian unless BE is said;
//! there is no padding anywhere. *Connector* is who connected the socket, *acceptor* who accepted
//! it. **Fault** means: the link ends with an error, and the policy decides what follows (session
//! §9).
//!
//! - Encoding: [§1](#encoding-1-scalars) scalars, [§2](#encoding-2-containers) containers,
//!   [§3](#encoding-3-times) times, [§4](#encoding-4-envelopes) envelopes,
//!   [§5](#encoding-5-names) names, [§6](#encoding-6-addresses) addresses,
//!   [§7](#encoding-7-crc-32c) CRC-32C, [§8](#encoding-8-message-header) header,
//!   [§11](#encoding-11-footers) footers, [§12](#encoding-12-priorities) priorities,
//!   [§13](#encoding-13-versions) versions, [§14](#encoding-14-features) features,
//!   [§15](#encoding-15-types) types, [§16](#encoding-16-payloads) payloads
//! - msgr1: [§1](#msgr1-1-phases) phases, [§2](#msgr1-2-tags) tags,
//!   [§3](#msgr1-3-banner-and-addresses) banner, [§4](#msgr1-4-connect-and-reply) connect,
//!   [§5](#msgr1-5-protocol-version) protocol version, [§6](#msgr1-6-negotiation) negotiation,
//!   [§7](#msgr1-7-authorizer) authorizer, [§8](#msgr1-8-counters) counters,
//!   [§9](#msgr1-9-connector) connector, [§10](#msgr1-10-acceptor) acceptor,
//!   [§11 to §13](#msgr1-11-to-13-which-session) which session,
//!   [§14](#msgr1-14-reading) reading, [§15](#msgr1-15-a-message) a message,
//!   [§16](#msgr1-16-writing) writing, [§19](#msgr1-19-fault) fault,
//!   [§20](#msgr1-20-bad-input) bad input, [§21](#msgr1-21-states) states,
//!   [§22](#msgr1-22-where-we-differ) differences, [§23](#msgr1-23-an-exchange) an exchange
//! - Session: [§2](#session-2-life) life, [§3](#session-3-addresses) addresses,
//!   [§4](#session-4-policy-and-throttles) policy, [§6](#session-6-dispatch) dispatch,
//!   [§7](#session-7-connections) connections, [§9](#session-9-faults-and-back-off) faults
//!
//! # Encoding §1: scalars
//!
//! `u8` to `u64` and `i8` to `i64` take their bytes. A bool is one byte, and any but 0 is true. An
//! error code is an `i32`, a negative errno of Linux. A uuid (fsid) is 16 bytes in the order in
//! which it is written as text.
//!
//! # Encoding §2: containers
//!
//! A string or blob is a `u32` length and its bytes; a list, set or map a `u32` count and its
//! elements or pairs. A count is refused if its elements could not fit into the bytes that are
//! left.
//!
//! # Encoding §3: times
//!
//! `u32` seconds and `u32` nanoseconds since 1970. Seconds are cut to 32 bits.
//!
//! # Encoding §4: envelopes
//!
//! A versioned struct is `u8` version, `u8` compat, `u32` length, body. A decoder refuses it if
//! compat is above what it knows, or the length above what is left; it skips what it does not know
//! at the end of the body.
//!
//! # Encoding §5: names
//!
//! An entity name is `u8` type and `i64` number (-1: not known yet), 9 bytes; as text `osd.3`,
//! `client.?`. An authentication name is `u32` type and a string: `client.admin`.
//!
//! | type | mon | mds | osd | client | mgr | auth | any |
//! |---|---|---|---|---|---|---|---|
//! | value | 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x20 | 0xff |
//!
//! # Encoding §6: addresses
//!
//! **§6.1** An address has a type, a nonce that tells instances of a process apart, and an IPv4 or
//! IPv6 socket address, or none. Types and their texts: 0 none `-`, 1 legacy (msgr v1) `v1:`, 2
//! msgr v2 `v2:`, 3 any `any:` or without a prefix, 4 cidr. A text without a prefix is a v2
//! address.
//!
//! **§6.2** The legacy form has 136 bytes, and is the only one before a v1 connection is open:
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 4 | 0; the type is lost, so it reads back as legacy |
//! | 4 | 4 | nonce |
//! | 8 | 2 | BE family: 2 IPv4, 10 IPv6, 0 none, whatever the host calls them |
//! | 10 | 2 | BE port |
//! | 12 | 4 or 4+16+4 | IPv4 address; or flow info, IPv6 address, scope id |
//! | | to 136 | zeros, ignored when read |
//!
//! **§6.3** The newer form, for peers with the feature `MSG_ADDR2`: `u8` 1, an envelope (1, 1) of
//! `u32` type, `u32` nonce, `u32` length, and that many bytes of socket address, its family in
//! little-endian here. Type any is written as legacy for peers without `SERVER_NAUTILUS`.
//!
//! **§6.4** A vector of addresses: `u8` 2, `u32` count, elements of §6.3. Peers without `MSG_ADDR2`
//! get the first legacy address, or zeros, as in §6.2. A reader takes a single address of either
//! form too.
//!
//! **§6.5** Addresses compare by 36 bytes: type, nonce and family in little-endian, then the 26
//! bytes behind the family. Equality includes type and nonce.
//!
//! **§6.6** Text: `v1:1.2.3.4:6789/0`, `v1:[fe80::1]:6789/7`, vectors `[v2:…,v1:…]`.
//!
//! # Encoding §7: CRC-32C
//!
//! The Castagnoli polynomial, reflected, begun with the caller's seed and inverted at neither end.
//! So sums compose: that of `a` is the seed for `b`. v1 uses the seed 0 throughout.
//!
//! # Encoding §8: message header
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | `u64` | seq: number in the session, from 1 |
//! | 8 | `u64` | tid: the application's; replies echo it |
//! | 16 | `u16` | type |
//! | 18 | `u16` | priority |
//! | 20 | `u16` | version of the payload |
//! | 22 | 3 × `u32` | lengths of front, middle, data |
//! | 34 | `u16` | low bits of the data's offset, a hint |
//! | 36 | 9 | the sender's name |
//! | 45 | `u16` | compat version of the payload; 0: not known |
//! | 47 | `u16` | 0 |
//! | 49 | `u32` | CRC of the 49 bytes before it |
//!
//! # Encoding §11: footers
//!
//! `u32` CRC of front, of middle, of data; `u64` signature, only if the feature `MSG_AUTH` was
//! agreed on; `u8` flags: 1 complete, 2 the data's CRC does not count, 4 signed. 21 bytes, or 13
//! without the signature. We sign nothing and check no signature.
//!
//! With [`Checksums::data`](crate::proto::Checksums) off the flag 2 is set. With `header` off the
//! CRCs of header, front and middle are 0 and nobody is told, so both ends must agree.
//!
//! # Encoding §12: priorities
//!
//! 64 low, 127 default, 196 high, 255 highest; any other value is legal. 0 is replaced by the
//! default when a message is sent.
//!
//! # Encoding §13: versions
//!
//! A sender writes the newest version it knows and the oldest decoder that can read it (compat). A
//! receiver refuses a registered type if compat is above the version it knows, and otherwise
//! ignores what is left over. A compat of 0 is accepted. A type that is not registered is delivered
//! as it is, unless [`UnknownTypes::Fault`](crate::message::UnknownTypes) asks for Ceph's way.
//!
//! # Encoding §14: features
//!
//! 64 bits, some of which have had several lives: a feature of the second life counts only with bit
//! 57, one of the third with bits 57 and 28. [`wire::features`](crate::wire::features) has the
//! masks; we offer the word of release 18.2.7.
//!
//! # Encoding §15: types
//!
//! [`wire::msgtype`](crate::wire::msgtype) lists the numbers, names and versions.
//!
//! # Encoding §16: payloads
//!
//! Front segments, unless another one is named. Messages to and from monitors begin with a *paxos
//! head*: `u64` version of the map that the sender has, `i16` -1, `u64` 0. Of types with fields
//! that came later, the version of the header tells what is there.
//!
//! | § | message | fields |
//! |---|---|---|
//! | 16.1 | [`MPing`](crate::messages::MPing) | nothing; a monitor's answer: a string of JSON |
//! | 16.2 | [`MMonGetMap`](crate::messages::MMonGetMap) | nothing |
//! | 16.3 | [`MMonMap`](crate::messages::MMonMap) | a blob with the map, see below |
//! | 16.4 | [`MMonSubscribe`](crate::messages::MMonSubscribe) | map: string what, `u64` start, `u8` flags (1 once); string host name. Without `SUBSCRIBE2`, as version 0: `u64` 0, `u64` version it has, bool once; no host name |
//! | 16.5 | [`MMonSubscribeAck`](crate::messages::MMonSubscribeAck) | `u32` interval in seconds, fsid |
//! | 16.6 | [`MAuth`](crate::messages::MAuth) | paxos head, `u32` method, blob, `u32` epoch of the monmap. In the first message the method is 0 and the blob an offer: `u8` 1, list of `u32` methods, authentication name, `u64` global id |
//! | 16.7 | [`MAuthReply`](crate::messages::MAuthReply) | `u32` method, `i32` result, `u64` global id, blob, string |
//! | 16.8 | [`MMonGetVersion`](crate::messages::MMonGetVersion) | `u64` handle, string what |
//! | | [`MMonGetVersionReply`](crate::messages::MMonGetVersionReply) | `u64` handle, `u64` version, `u64` oldest |
//! | 16.9 | [`MMonCommand`](crate::messages::MMonCommand) | paxos head, fsid, list of strings; data: the input |
//! | 16.10 | [`MMonCommandAck`](crate::messages::MMonCommandAck) | paxos head, `i32` result, string, list of strings; data: the output |
//! | 16.13 | [`MOSDPing`](crate::messages::MOSDPing) | fsid, `u32` epoch, `u8` op (4 ping, 5 reply), time, `u32` length of the padding, `u32` up from, two signed spans, bool and signed span; zeros |
//! | 16.17 | [`MOSDOp`](crate::messages::MOSDOp) | placement group with shard, `u32` hash, `u32` epoch, `u32` flags, request id, trace, `u32` incarnation, time, locator, blob name, `u16` number of ops, the ops; `u64` snapshot to read, `u64` newest snapshot, list of `u64` snapshots, `i32` attempt, `u64` features; data: that of each op |
//! | 16.18 | [`MOSDOpReply`](crate::messages::MOSDOpReply) | blob name, placement group, `i64` flags, `i32` result, version, `u32` epoch, `u32` number of ops, the ops, `i32` attempt, an `i32` for each op, version, `u64` version for users, bool and redirection, trace; data: what each op gave |
//! | 16.22 | [`MConfig`](crate::messages::MConfig) | map: string name, string value |
//!
//! A signed span is `i32` seconds and `i32` nanoseconds.
//!
//! The map of §16.3 is an envelope (9, 6): fsid, `u32` epoch, time changed, time created,
//! persistent and optional features (envelopes (1, 1) of `u64`), map of names to monitors, list of
//! names by rank; from version 7 `u8` oldest release; from 8 list of `u32` removed ranks; from 9
//! `u8` election strategy, list of names that may not lead, bool stretched, string tiebreaker,
//! list of names marked down. A monitor is an envelope (5, 1): string name, vector of addresses,
//! `u16` priority, `u16` weight, map of strings. Peers without `SERVER_NAUTILUS` get version 5,
//! with one legacy address per monitor, sorted by which the ranks are found.
//!
//! What §16.17 and §16.18 are made of (§16.15): a placement group is `u8` 1, `u64` pool, `u32` seed,
//! `i32` -1; with a shard it is in an envelope (1, 1), an `i8` behind it, -1 for none. A version is
//! `u64` and `u32` epoch; a request id an envelope (2, 2) of entity name, `u64` tid, `i32`
//! incarnation; a trace three `i64`. A locator is an envelope (6, 3), or (6, 6) if it has a hash:
//! `i64` pool, `i32` -1, blob key, blob namespace, `i64` hash or -1. A redirection is an envelope
//! (1, 1): locator, blob name, blob of nothing.
//!
//! An op (§16.16) takes 38 bytes: `u16` code, `u32` flags, 28 bytes of arguments, `u32` bytes of the
//! data segment that are its own. The arguments begin with `u64` offset and `u64` length if it is
//! about an extent. A code has 0x1000 set if the op reads and 0x2000 if it writes. What a stat
//! gives is `u64` size and time.
//!
//! # msgr1 §1: phases
//!
//! | phase | connector sends | acceptor sends |
//! |---|---|---|
//! | banner | 9 bytes, at once | 9 + 136 + 136 bytes, at once |
//! | identify | 136 bytes, when it has checked those | |
//! | negotiate | connect and authorizer | reply; again, until the session opens |
//! | after SEQ only | `u64` seq | `u64` seq, right behind the reply |
//! | open | tags | tags |
//!
//! # msgr1 §2: tags
//!
//! | in a reply | | in the open phase | bytes that follow |
//! |---|---|---|---|
//! | 1 | READY | 6 CLOSE | 0 |
//! | 2 | RESETSESSION | 7 MSG | header, segments, footer |
//! | 3 | WAIT | 8 ACK | `u64` seq |
//! | 4 | RETRY_SESSION | 9 KEEPALIVE | 0 |
//! | 5 | RETRY_GLOBAL | 14 KEEPALIVE2 | time, 8 bytes |
//! | 10 | BADPROTOVER | 15 KEEPALIVE2_ACK | the same time |
//! | 11 | BADAUTHORIZER | | |
//! | 12 | FEATURES | | |
//! | 13 | SEQ | | |
//! | 16 | CHALLENGE_AUTHORIZER | | |
//!
//! Any other value in its place is a fault.
//!
//! # msgr1 §3: banner and addresses
//!
//! The banner is `ceph v027`. Behind it the acceptor sends its own address and the connector's as
//! it sees it. The connector checks, and faults if it does not hold:
//!
//! - the banner, as soon as one byte differs;
//! - that the acceptor says it is who was meant, type, ip, port and *nonce*; a blank ip with the
//!   right port and nonce will do.
//!
//! A connector whose own ip is blank takes the one that the acceptor sees, with its own port and
//! nonce, and then sends its address. The acceptor fills a blank ip in from the socket; port and
//! nonce are kept.
//!
//! # msgr1 §4: connect and reply
//!
//! | connect | | reply | |
//! |---|---|---|---|
//! | `u64` | features offered | `u8` | tag |
//! | `u32` | what the connector is | `u64` | features |
//! | `u32` | global_seq | `u32` | global_seq |
//! | `u32` | connect_seq | `u32` | connect_seq |
//! | `u32` | protocol version | `u32` | protocol version |
//! | `u32` | authorizer: 0 none given, 1 "none", 2 cephx | `u32` | length of what follows |
//! | `u32` | its length | `u8` | flags: 1 lossy |
//! | `u8` | flags: 1 lossy | | |
//! | 33 bytes | the authorizer follows | 26 bytes | a reply to it follows |
//!
//! Features in READY and SEQ are all that the acceptor supports; in other replies, those of the
//! offer that it supports and those it requires. After any reply but READY and SEQ the acceptor
//! waits for another connect on the same socket. We take at most 16 of them, and authorizers of at
//! most 4095 bytes.
//!
//! # msgr1 §5: protocol version
//!
//! Both must say the same number: between peers of one type what
//! [`Builder::cluster_protocol`](crate::Builder::cluster_protocol) says (10 for OSDs, 13 for
//! monitors, 36 for MDSs, else 0); otherwise that of the acceptor's type: 24 for an OSD, 32 for an
//! MDS, 15 for a monitor, 0 for all others.
//!
//! # msgr1 §6: negotiation
//!
//! Each side faults, or refuses by FEATURES, if the other lacks a required feature. What both offer
//! is agreed on. Of these features v1 itself uses:
//!
//! | feature | effect |
//! |---|---|
//! | `RECONNECT_SEQ`, in the offer | SEQ in place of READY |
//! | `MSG_AUTH` | footers of 21 bytes |
//! | `MSGR_KEEPALIVE2` | our keepalives carry a time; both kinds are accepted anyway |
//! | `MSG_ADDR2` | addresses inside payloads |
//!
//! # msgr1 §7: authorizer
//!
//! Everybody shows one but a non-monitor to a monitor, which logs in later, by messages. That of
//! the method "none" is `u8` 1, an authentication name, `u64` global id. The acceptor judges in
//! this order: protocol version (BADPROTOVER), features (FEATURES), authorizer (BADAUTHORIZER). An
//! empty one passes at a monitor, unless a monitor shows it, and where
//! [`require_authorizer`](crate::Builder::require_authorizer) is off. A connector that is asked for
//! cephx, by BADAUTHORIZER or a challenge, fails with an error that says so.
//!
//! # msgr1 §8: counters
//!
//! | counter | of | rule |
//! |---|---|---|
//! | global_seq | messenger | one more for each attempt to connect and each READY or SEQ that is sent; raised above what RETRY_GLOBAL says |
//! | connect_seq | session | 0 at first, one more on both sides with each success |
//! | out_seq, in_seq | session | number of the last message written, and received |
//!
//! # msgr1 §9: connector
//!
//! | reply | what the connector does |
//! |---|---|
//! | READY | the session is open, from its beginning |
//! | SEQ | reads the `u64` behind it, sends its own in_seq; the session is open |
//! | RETRY_GLOBAL | raises global_seq above the reply's, sends connect again |
//! | RETRY_SESSION | takes connect_seq over, which must be above its own, sends connect again |
//! | RESETSESSION | resets the session (§17), starts at connect_seq 0 |
//! | WAIT | ends the link; a lossless session tries again after `max_backoff`, and expects the peer's own connection |
//! | FEATURES, BADPROTOVER, BADAUTHORIZER, CHALLENGE_AUTHORIZER | fault, with the reason and the cure |
//!
//! On READY and SEQ connect_seq must be one above its own. Whether the session is lossy is the
//! acceptor's word.
//!
//! # msgr1 §10: acceptor
//!
//! It sends its banner at once, waits for 145 bytes, then for a connect (33 bytes and its
//! authorizer), judges it (§7), and answers. With SEQ it waits for the connector's `u64` before the
//! session is open. A half-made handshake ends after `ready_timeout`.
//!
//! # msgr1 §11: which session
//!
//! With a policy that is lossy, a server's and does not register, every peer that passes §7 gets a
//! new session, whatever its connect_seq. Else the session under the peer's legacy address counts,
//! and [`arbitrate`](crate::proto::arbitrate) decides; the first row that fits:
//!
//! | old session | offer | answer |
//! |---|---|---|
//! | none | connect_seq above 0 | RESETSESSION |
//! | none | connect_seq 0 | a new session |
//! | is being taken over | any | RETRY_GLOBAL with the peer's last global_seq |
//! | any | global_seq below the peer's last one | the same |
//! | lossy | any | the old one ends, a new session |
//! | connect_seq above 0 | connect_seq 0 | the peer lost its session: replace; reset if `resetcheck` |
//! | any | connect_seq below ours | RETRY_SESSION with ours plus one |
//! | open or standing by | connect_seq equal | RETRY_SESSION; replace if both are 0 and `resetcheck` |
//! | connecting itself | connect_seq equal | a race: replace if the peer's address sorts first or ours is a server's policy, else WAIT |
//! | connect_seq 0 | connect_seq above | RESETSESSION if `resetcheck`, else replace |
//! | any | connect_seq above ours | replace: the normal reconnect |
//!
//! # msgr1 §12: replacing
//!
//! The old session lives on and takes the link: what was not acknowledged is queued again, its own
//! link is dropped, and the peer is told to try once more (RETRY_GLOBAL). That next offer finds the
//! session itself, and opens it.
//!
//! # msgr1 §13: opening
//!
//! connect_seq becomes the offer's plus one. The answer is SEQ with our in_seq; or READY, and both
//! sides count from the beginning, if the peer has lost its session.
//!
//! # msgr1 §14: reading
//!
//! One tag, and what §2 says follows. KEEPALIVE2 is answered by its own time; an answer to ours is
//! remembered ([`Connection::last_keepalive_ack`](crate::Connection::last_keepalive_ack)). If a
//! peer asks faster than it reads the answers, only the newest eight are kept. ACK frees what was
//! kept for sending again; it means nothing to a lossy session. CLOSE ends the connection as an error does, with the event
//! `Reset`.
//!
//! # msgr1 §15: a message
//!
//! Tag 7, header, front, middle, data, footer. In this order:
//!
//! | step | state | fault if |
//! |---|---|---|
//! | header | OPENED | its CRC is wrong, or a length is above [`Limits`](crate::proto::Limits) |
//! | one unit of the policy's message throttle | THROTTLE_MESSAGE | |
//! | its size of the policy's byte throttle | THROTTLE_BYTES | |
//! | one unit and its size of the dispatch throttles | THROTTLE_DISPATCH_QUEUE | |
//! | front, middle, data | READ_MESSAGE_FRONT | |
//! | footer | READ_FOOTER_AND_DISPATCH | it is not complete; a CRC of front, middle or data is wrong, as far as they are checked |
//! | sequence number | | |
//! | version (encoding §13) | | the type is refused |
//!
//! A number that is not above the last one is a duplicate: it is dropped and its shares go back.
//! Gaps are legal. While a throttle is full, nothing more is read from the connection.
//!
//! # msgr1 §16: writing
//!
//! Answers to keepalives and keepalives first; then messages, highest priority first and in order
//! of sending within one. The number of a message is given when it is encoded.
//!
//! A lossless session keeps a message until it is acknowledged. When its link breaks, these go
//! before all others, with the numbers they had. The next handshake says up to which number the
//! peer has them: these are forgotten, and the others are sent. For what it has received it sends
//! one ACK, with what is sent at the end of the turn.
//!
//! # msgr1 §17: session reset
//!
//! What is queued or kept is dropped, all counters start at 0 (the own messages at a random number
//! if messages are signed), and the dispatchers get `RemoteReset`, with the number of messages that
//! are lost.
//!
//! # msgr1 §19: fault
//!
//! Any failed transfer, end of stream, timeout or broken rule. While the transport is connecting
//! (START_CONNECT) it counts as a failed attempt, and another follows (session §9). After that a
//! lossy connection ends, with the event `Reset`; a link that never became a session ends with
//! [`accept_failed`](crate::Dispatcher::accept_failed).
//!
//! # msgr1 §20: bad input
//!
//! | input | reaction |
//! |---|---|
//! | wrong banner, another acceptor than was meant | fault |
//! | wrong protocol version, missing feature, bad authorizer | a reply that says so; the connector may try again |
//! | unknown tag, unknown reply tag | fault |
//! | a length above its limit | fault, before anything is allocated |
//! | a wrong CRC, an incomplete footer | fault |
//! | a duplicate | dropped |
//! | a gap in the numbers | accepted |
//! | RETRY_SESSION that is not above ours, an unexpected connect_seq | fault |
//!
//! # msgr1 §21: states
//!
//! [`State`](crate::proto::v1::State) has the names that Ceph's logs use, in the same numeric
//! order. STANDBY is a session without a link that nobody is connecting.
//!
//! # msgr1 §22: where we differ
//!
//! These are deviations from what release 18.2.7 does, on purpose:
//!
//! - a duplicate message gives its shares back at once, and reading goes on;
//! - after a bare KEEPALIVE reading goes on with what is there;
//! - an unknown reply tag is a fault, and not taken for READY;
//! - a lossless session whose link broke before a message or an acknowledgement came over it waits
//!   for `initial_backoff` before it connects again;
//! - a handshake that is not finished times out on the accepting side too;
//! - authorizer and segments have a limit, and sizes are added up in 64 bits;
//! - a full throttle wakes the connection when there is room, and is not asked again each
//!   millisecond;
//! - the dispatch throttle counts messages too, so that empty ones are bounded;
//! - CLOSE is told to the dispatchers.
//!
//! # msgr1 §23: an exchange
//!
//! A client, nonce 0x11223344, pings a monitor on port 6789 of 127.0.0.1:
//!
//! ```text
//! C  "ceph v027"
//! M  "ceph v027", its own address (nonce 0, port 6789), the client's as the socket shows it
//! C  its own address (port 0, nonce 0x11223344)
//! C  connect: features, 8 (client), global_seq 1, connect_seq 0, version 15, 0, 0, lossy
//! M  0d (SEQ), features, global_seq, connect_seq 1, version 15, 0, lossy; then u64 0
//! C  u64 0
//! C  07, header of type 2 with seq 1, no segments, footer
//! M  07, header of type 2 with compat 0, front: a string of JSON, footer
//! ```
//!
//! # Session §2: life
//!
//! Build, bind, add dispatchers, start, use, shut down, wait; then it may start again. `shutdown`
//! stops listening and ends every connection with `Reset`; `wait` returns when the workers have let
//! go and the dispatch thread has ended. Events that are queued by then are delivered, messages are
//! not.
//!
//! # Session §3: addresses
//!
//! Each address gets a listening socket; if one fails, none is kept. Port 0 takes the first free
//! port of the configured range. An attempt that fails is repeated after a pause. Announced is what
//! was bound, with the messenger's nonce. A messenger that was not bound learns its address from
//! the first peer; one bound to a blank ip learns the ip.
//!
//! # Session §4: policy and throttles
//!
//! | preset | lossy | server | use |
//! |---|---|---|---|
//! | [`lossy_client`](crate::Policy::lossy_client) | yes | no | clients of monitors and OSDs, heartbeats |
//! | [`lossless_client`](crate::Policy::lossless_client) | no | no | file-system clients of metadata servers |
//! | [`lossless_peer`](crate::Policy::lossless_peer) | no | no | OSDs, and metadata servers, among themselves; stands by when idle |
//! | [`lossless_peer_reuse`](crate::Policy::lossless_peer_reuse) | no | no | monitors among themselves; as above, and checks for resets |
//! | [`stateful_server`](crate::Policy::stateful_server) | no | yes | metadata servers towards clients |
//! | [`stateless_server`](crate::Policy::stateless_server) | yes | yes | whoever clients connect to |
//! | [`stateless_registered_server`](crate::Policy::stateless_registered_server) | yes | yes | OSDs towards clients; one connection of each address |
//!
//! Policies belong to types of peers, with a default for the others.
//!
//! A throttle of maximum *m* (0: none) admits a request of *n* units beside *c* that are taken if
//! *c* + *n* ≤ *m*, or if *n* ≥ *m* and *c* ≤ *m*, so that an oversized one can pass; and only if
//! nobody waits already. Who waits is served in the order of asking.
//!
//! # Session §6: dispatch
//!
//! One queue and one thread for each messenger. An item has a priority, a class, which is the
//! number of its connection, and a cost.
//!
//! | item | priority | class | cost |
//! |---|---|---|---|
//! | message | its own | connection, from 1 | bytes of data, at least `pq_min_cost`, at most `pq_max_tokens_per_priority` |
//! | message of the loop-back connection | its own | 0 | the same |
//! | event | 255 | 0 | none |
//!
//! * Priorities from 64 up are strict: the highest goes first, and before all others.
//! * Lower ones are weighted. Each has tokens, from 0 when its first item comes. The lowest whose
//!   next item costs less than it has goes first, and pays; if none can, the highest goes for
//!   nothing. Each such item then gives every priority *p* that is left ⌊*p* × cost ÷ sum of these
//!   priorities⌋ + 1 tokens, up to `pq_max_tokens_per_priority`.
//! * Within a priority classes take turns in ascending order, and a class is first in, first out.
//!   So order is kept for each connection and priority, and an event goes before messages below
//!   255 that wait.
//! * When a connection ends or its session starts over, its messages are discarded. Events and
//!   class 0 are not.
//!
//! The dispatch throttles are given back when the dispatcher returns or the message is discarded,
//! the policy's when the message is dropped. On the loop-back connection messages are not encoded,
//! and throttled by number only.
//!
//! # Session §7: connections
//!
//! [`connect`](crate::Messenger::connect) gives the loop-back connection for addresses of the
//! messenger itself; the connection to that address if there is one; else a new one to the first
//! v1 address.
//!
//! # Session §9: faults and back-off
//!
//! | situation | then |
//! |---|---|
//! | the transport does not connect | event `Refused`; next attempt after `initial_backoff`, which doubles up to `max_backoff` |
//! | a handshake succeeded | the back-off is forgotten |
//! | the handshake is not done in `ready_timeout` | while connecting as above, else the connection ends |
//! | an open lossy connection fails | it ends, with `Reset` |
//! | an open lossless one fails, with nothing to send and `standby`; or the policy is a server's | it stands by, until somebody sends (not a server) or the peer connects |
//! | an open lossless one fails otherwise | connect_seq plus one, and it connects at once |
//! | the handshake of a lossless one fails, or in v2 of any | event `Refused`, and as for the transport |
//! | in v1, the handshake of a lossy one fails | it ends, with `Reset` |
