//! The rules of msgr v2 that are implemented, under the numbers by which the source cites them.
//!
//! Revisions 2.0 and 2.1, plain and encrypted. Encodings of numbers, addresses and names are those of
//! [`wire`](super::wire); the modes on offer and the methods are in [`auth`](super::auth).
//! *Connector* is who connected the socket, *acceptor* who accepted it; **fault** means that the link
//! ends with an error. `crc(seed, bytes)` is CRC-32C that begins with `seed` and inverts nothing.
//!
//! [§1](#msgr2-1-checksums) checksums, [§2](#msgr2-2-numbers) numbers,
//! [§3](#msgr2-3-phases) phases, [§4](#msgr2-4-banner) banner, [§5](#msgr2-5-frames) frames,
//! [§6](#msgr2-6-contents) contents, [§7](#msgr2-7-authentication) authentication,
//! [§8](#msgr2-8-compression) compression, [§9](#msgr2-9-sessions) sessions,
//! [§10](#msgr2-10-connector) connector, [§11](#msgr2-11-acceptor-and-open-phase) acceptor and open
//! phase, [§12](#msgr2-12-an-older-session) an older session, [§13](#msgr2-13-faults) faults,
//! [§15](#msgr2-15-throttles) throttles, [§16](#msgr2-16-bad-input) bad input,
//! [§17](#msgr2-17-limits) limits, [§18](#msgr2-18-an-exchange) an exchange,
//! [§20](#msgr2-20-where-we-differ) differences
//!
//! # msgr2 §1: checksums
//!
//! A preamble is summed with seed 0, a segment with seed `0xFFFFFFFF`. v1 sums segments with seed 0;
//! the two differ by what as many zeros make of the seed, which spares summing a long segment twice.
//!
//! # msgr2 §2: numbers
//!
//! **§2.1** Tags:
//!
//! | tag | frame | sent by | | tag | frame | sent by |
//! |---|---|---|---|---|---|---|
//! | 1 | HELLO | both | | 12 | SESSION_RESET | acceptor |
//! | 2 | AUTH_REQUEST | connector | | 13 | SESSION_RETRY | acceptor |
//! | 3 | AUTH_BAD_METHOD | acceptor | | 14 | SESSION_RETRY_GLOBAL | acceptor |
//! | 4 | AUTH_REPLY_MORE | acceptor | | 15 | SESSION_RECONNECT_OK | acceptor |
//! | 5 | AUTH_REQUEST_MORE | connector | | 16 | WAIT | acceptor |
//! | 6 | AUTH_DONE | acceptor | | 17 | MESSAGE | both |
//! | 7 | AUTH_SIGNATURE | both | | 18 | KEEPALIVE2 | both |
//! | 8 | CLIENT_IDENT | connector | | 19 | KEEPALIVE2_ACK | both |
//! | 9 | SERVER_IDENT | acceptor | | 20 | ACK | both |
//! | 10 | IDENT_MISSING_FEATURES | acceptor | | 21 | COMPRESSION_REQUEST | connector |
//! | 11 | SESSION_RECONNECT | connector | | 22 | COMPRESSION_DONE | acceptor |
//!
//! Nobody takes leave: a session ends with its socket.
//!
//! **§2.2** Modes: 1 plain (CRC), 2 encrypted (SECURE). Methods: 1 none, 2 cephx. Bits of a banner:
//! 1 revision 2.1, 2 compression. Every peer must offer the feature `MSG_ADDR2`.
//!
//! # msgr2 §3: phases
//!
//! Banner, HELLO, authentication, signatures, compression if both banners have it, session, open. Up
//! to and with AUTH_DONE everything is plain; the very next byte is in the mode that was picked.
//!
//! # msgr2 §4: banner
//!
//! `ceph v2` and a line feed, `u16` length (16), `u64` bits supported, `u64` bits required; what is
//! longer is ignored. Each side sends it at once, and nothing else before it has the other's. If one
//! requires what the other does not support, they do not fit and do not try again. 2.1 is spoken if
//! both support it, and the same for compression.
//!
//! # msgr2 §5: frames
//!
//! **§5.1** A frame is a preamble, one to four segments, and what protects them:
//!
//! | offset | size | preamble |
//! |---|---|---|
//! | 0 | 1 | tag |
//! | 1 | 1 | number of segments |
//! | 2 | 4 × (4 + 2) | length and alignment of each; zeros behind the last |
//! | 26 | 1 | flags; 1: compressed |
//! | 27 | 1 | reserved |
//! | 28 | 4 | `crc(0, bytes 0..28)` |
//!
//! Alignments are hints: 8, and 4096 for the data of a message.
//!
//! **§5.2** Empty segments at the end are left out, but for the first. So the last of several is
//! never empty.
//!
//! **§5.3 to §5.6** Behind the preamble, with pad(x) filled up with zeros to blocks of 16:
//!
//! | | plain | encrypted |
//! |---|---|---|
//! | 2.0 | segments; `u8` late flags (1: aborted), four `u32` sums | all with the preamble in one text: pad(each segment); late flags and 15 zeros; tag |
//! | 2.1 | first segment and its `u32` sum, if it is not empty; if there are others: these, `u8` late status, three `u32` sums | three texts, each with its tag: preamble and 48 bytes of the first segment; pad(the rest of it), if there is any; if there are other segments: pad(each), late status and 15 zeros |
//!
//! The late status is 0xE in its lower half for a frame that is complete, 1 for an aborted one, and
//! nothing else; the upper half is ignored. In 2.0, encrypted, lengths have to be believed before
//! the tag can be checked: they are within their limits then all the same.
//!
//! **§5.7** Lengths on the wire, for segments of the lengths L:
//!
//! | | plain | encrypted |
//! |---|---|---|
//! | 2.0 | 49 + ΣL | 64 + Σpad(L) |
//! | 2.1 | 32, + L₀ + 4 if L₀ > 0, + the other L + 13 if there are any | 96, + pad(L₀) − 32 if L₀ > 48, + pad of the others + 32 if there are any |
//!
//! **§5.8** AES-128-GCM without additional data. The first 40 bytes of the connection secret are the
//! key, the first nonce of what the acceptor sends, and that of what the connector sends. A nonce is
//! used for one text and then counts on: in 2.0 its first four bytes, in 2.1 its last eight. Who comes
//! around to the first one again must not send.
//!
//! **§5.9** A sender may give up a frame behind its first segment: it sends zeros, and says so at the
//! end. Once sums and tags are found right, such a frame is forgotten: the shares of a message go
//! back, and its number was never used. Before the session is open it is a fault.
//!
//! **§5.10** With `ms_crc_data` off the sums of all segments are 0, and are not looked at. Both sides
//! must be alike. The preamble's is always there.
//!
//! **§5.11** Receiving: the preamble; its sum, number of segments, last length, flags and lengths; for
//! a message the throttles (§15); then the rest, sums or tags, late status. Of a frame that is no
//! message the last segment counts.
//!
//! # msgr2 §6: contents
//!
//! **§6.1** Bytes behind the last field are ignored, missing ones are a fault.
//!
//! | frame | content |
//! |---|---|
//! | HELLO | `u8` type of the sender; the receiver's address as the sender sees it |
//! | AUTH_REQUEST | `u32` method; list of `u32` modes, best first; blob |
//! | AUTH_BAD_METHOD | `u32` method; `i32` negative errno; lists of `u32`: methods and modes that are taken |
//! | AUTH_REPLY_MORE, AUTH_REQUEST_MORE | blob |
//! | AUTH_DONE | `u64` global id; `u32` mode; blob |
//! | AUTH_SIGNATURE | 32 bytes |
//! | CLIENT_IDENT | own addresses; address that is meant; `i64` number in the own name; `u64` each: global_seq, features supported and required, flags (1: lossy), client cookie |
//! | SERVER_IDENT | own addresses; `i64` number in the own name; `u64` each: global_seq, features supported and required, flags, server cookie |
//! | IDENT_MISSING_FEATURES | `u64` features |
//! | SESSION_RECONNECT | own addresses; `u64` each: client cookie, server cookie, global_seq, connect_seq, number of the last message received |
//! | SESSION_RESET | bool: full |
//! | SESSION_RETRY, SESSION_RETRY_GLOBAL | `u64` connect_seq, global_seq |
//! | SESSION_RECONNECT_OK, ACK | `u64` number of the last message received |
//! | WAIT | nothing |
//! | KEEPALIVE2, KEEPALIVE2_ACK | time stamp of who asks |
//! | COMPRESSION_REQUEST | bool: wanted; list of `u32` algorithms, best first |
//! | COMPRESSION_DONE | bool: on; `u32` algorithm |
//!
//! **§6.2** Addresses have the newer form (encoding §6.3), and vectors that of encoding §6.4.
//!
//! **§6.3** In HELLO the acceptor says where the connector comes from, so that one with a blank ip
//! learns its own; it keeps its port and nonce, and is of type any if it had none. The connector
//! compares the acceptor's type with the one it meant, and does not try again if it is another. The
//! acceptor learns what it talks to, and so how that has to show who it is.
//!
//! # msgr2 §7: authentication
//!
//! **§7.1** The connector asks by a method. The acceptor refuses, asks for more, or is done. After a
//! refusal of the first request it may ask in another way on the same link; after a refusal of what
//! came behind a challenge it may not. A method and its payloads are not the protocol's business.
//!
//! **§7.3** Then each side sends HMAC-SHA-256, under the session key, of all bytes that it has
//! received so far: from the first of the banner to the last of AUTH_DONE, or of the last request.
//! The other compares it with what it has sent. So nobody can have changed what was plain, the modes
//! for example. Without a session key both send zeros, and nothing is proved. The signatures are the
//! first frames in the mode that was picked.
//!
//! # msgr2 §8: compression
//!
//! **§8.1** If both banners have it, the connector says whether it wants it and how, and the
//! acceptor picks the first of these that it has, or none. Each applies its own options to what the
//! other is, so that only OSDs compress, among each other; encrypted only with
//! `ms_compress_secure`. Numbers: 1 snappy, 2 zlib, 3 zstd, 4 lz4, 5 brotli, which we never have.
//! Our banner offers it if any of them is compiled in; else a compressed frame is a fault.
//!
//! **§8.2** From then on a frame with at least `ms_osd_compress_min_size` bytes has flag 1 and each
//! of its segments compressed by itself, header of messages included; empty ones stay empty.
//! Lengths, checksums and encryption are those of the compressed bytes. If a segment does not
//! compress the frame goes as it is; whether it became shorter is not asked. In a segment are:
//!
//! | algorithm | bytes |
//! |---|---|
//! | snappy | a raw block |
//! | zlib | a marker, which is ignored; raw deflate |
//! | zstd | `u32` length of the text; a frame |
//! | lz4 | `u32` number of blocks; of each, `u32` length of its text and of itself; the blocks, which may refer to the texts before |
//!
//! What a segment comes to has the bound that it has uncompressed, and no room is made for more.
//! Throttles admit a message by its compressed lengths and count the rest when it is there.
//!
//! # msgr2 §9: sessions
//!
//! **§9.1** What names a session are two cookies, random and not 0: the client cookie of who first
//! asked for it, the server cookie of who first granted it. They stay with their names when the other
//! side reconnects. A lossy session has none. *global_seq* numbers the attempts of a messenger,
//! *connect_seq* the reconnects of a session, from 0. A peer's name is its type from HELLO and the
//! number that it gives with CLIENT_IDENT or SERVER_IDENT; messages do not say who sent them.
//!
//! **§9.2** CLIENT_IDENT asks for a new session. It is a fault if it brings no address, or means one
//! that is not the acceptor's, nonce and type included. If features are missing, it is told which,
//! and may ask again. The features of the session are those that both support.
//!
//! **§9.3** SERVER_IDENT grants it. It is a fault if the address that was dialled is not among its
//! addresses. Whether the session is lossy is what it says. Received numbers begin at 0.
//!
//! **§9.4** SESSION_RECONNECT asks to go on. Answers:
//!
//! | answer | then |
//! |---|---|
//! | RECONNECT_OK(n) | messages up to n have arrived; the others are sent again, with their numbers |
//! | RESET(full) | all that was queued is void, the owner is told; a new session with another cookie |
//! | RESET(not full) | a new session with the same cookie; what is queued is kept |
//! | RETRY(c) | connect_seq is c + 1, and again |
//! | RETRY_GLOBAL(g) | a global_seq above g, and again |
//! | WAIT | the other side's own attempt goes first |
//!
//! The cookie of the other side is 0 after a reset, and so is connect_seq. WAIT may answer
//! CLIENT_IDENT too.
//!
//! # msgr2 §10: connector
//!
//! | state | waits for | then |
//! |---|---|---|
//! | BANNER_CONNECTING | banner | sends HELLO |
//! | HELLO_CONNECTING | HELLO | sends AUTH_REQUEST |
//! | AUTH_CONNECTING | AUTH_BAD_METHOD, AUTH_REPLY_MORE, AUTH_DONE | another request, AUTH_REQUEST_MORE, AUTH_SIGNATURE |
//! | AUTH_CONNECTING_SIGN | AUTH_SIGNATURE | asks for compression or a session |
//! | COMPRESSION_CONNECTING | COMPRESSION_DONE | asks for a session |
//! | SESSION_CONNECTING | SERVER_IDENT, IDENT_MISSING_FEATURES, WAIT | READY, fault, WAIT |
//! | SESSION_RECONNECTING | answers of §9.4 | READY, or asks again |
//!
//! Whatever else comes is a fault.
//!
//! # msgr2 §11: acceptor and open phase
//!
//! | state | waits for | then |
//! |---|---|---|
//! | BANNER_ACCEPTING | banner | sends HELLO |
//! | HELLO_ACCEPTING | HELLO | the caller names the method |
//! | AUTH_ACCEPTING | AUTH_REQUEST | AUTH_BAD_METHOD, AUTH_REPLY_MORE, or AUTH_DONE and AUTH_SIGNATURE |
//! | AUTH_ACCEPTING_MORE | AUTH_REQUEST_MORE | the same |
//! | AUTH_ACCEPTING_SIGN | AUTH_SIGNATURE | |
//! | COMPRESSION_ACCEPTING | COMPRESSION_REQUEST | sends COMPRESSION_DONE |
//! | SESSION_ACCEPTING | CLIENT_IDENT, SESSION_RECONNECT | asks the caller; READY when SERVER_IDENT or RECONNECT_OK is written, else the same state |
//!
//! In the open phase only MESSAGE, ACK, KEEPALIVE2 and KEEPALIVE2_ACK may come.
//!
//! **§11.1** A message has four segments: header, front, middle, data. The header:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | `u64` | number |
//! | 8 | `u64` | transaction id |
//! | 16 | `u16` × 3 | type, priority, version |
//! | 22 | `u32` | 0 |
//! | 26 | `u16` | offset of the data, as in v1 |
//! | 28 | `u64` | number of the last message received from the other side |
//! | 36 | `u8` | flags, 3 |
//! | 37 | `u16` | compat version |
//! | 39 | `u16` | 0 |
//!
//! It is a fault if it is shorter; what is longer is ignored. What it acknowledges counts as if an
//! ACK came behind the message. Duplicates and gaps are treated as in v1 (msgr1 §15).
//!
//! # msgr2 §12: an older session
//!
//! With the peer's whole vector of addresses. The first row that applies decides; the table is that
//! of [`arbitrate`](crate::proto::v2::arbitrate), kept with it.
//!
//! **§12.1** CLIENT_IDENT: none, or a closed one: granted. Being taken over: WAIT. It knows of a newer
//! attempt: closed without a word. Lossy: it ends, granted. Both cookies known, and the peer's is
//! another: the peer has begun anew; the old session is void where that is looked for (resetcheck),
//! and takes the link over. The same cookie; or it is open or stands by: it takes the link over. Both
//! connect: the link of the side with the smaller address survives, or that to a side that never
//! connects.
//!
//! **§12.2** SESSION_RECONNECT: none: RESET(full). Being taken over: RETRY_GLOBAL. Another client
//! cookie: RESET, full where resets are looked for. Never open on this side: RESET(not full). It knows
//! of a newer attempt: RETRY_GLOBAL. Reconnected more often: RETRY. Equally often, the peer's address is
//! larger, and this side connects: WAIT. Else it goes on. The server cookie is not compared.
//!
//! **§12.3** Taking a link over: the old link is closed; what was not acknowledged goes before all
//! else that is queued; the session is open when the answer is written. With SERVER_IDENT it has a new
//! server cookie and received numbers begin at 0; with RECONNECT_OK it has the numbers and features it
//! had.
//!
//! **§12.4** Addresses compare as in encoding §6.5: the first of type v2 on each side counts. As the
//! types are equal, the lowest byte of the nonce is the first that matters.
//!
//! # msgr2 §13: faults
//!
//! As in v1 (session §9), with one difference: a lossy session ends with the first fault once it has
//! been open; before that it tries again, as a lossless one does. Whenever the link of a session that has been open is lost, connect_seq
//! counts one up before the next attempt; it is above 0 whenever a server cookie is shown.
//!
//! # msgr2 §15: throttles
//!
//! Those of msgr1 §15, with the lengths of the preamble, before anything of the payload is read.
//!
//! # msgr2 §16: bad input
//!
//! | input | reaction |
//! |---|---|
//! | another banner, or a short one | fault that names what it looks like |
//! | a preamble's sum, number of segments or last length | fault |
//! | a sum, a tag, a late status | fault |
//! | an unknown tag | fault, when the frame is complete |
//! | a frame in the wrong state | fault |
//! | a message before the session is open | fault at its preamble |
//! | a content that is cut off | fault; one that is too long is fine |
//! | unknown flags of a preamble, its reserved byte, alignments | ignored |
//! | a compressed frame | fault |
//!
//! # msgr2 §17: limits
//!
//! | what | most |
//! |---|---|
//! | a frame before the signatures | 64 KiB |
//! | another frame that is no message | 1 MiB |
//! | the header of a message | 4 KiB |
//! | its front, middle and data | [`Limits`](crate::proto::Limits), as in v1 |
//! | bytes of one direction before the signatures | 1 MiB |
//! | authentication frames of a peer | 16 |
//! | requests for a session on one link | 16 |
//!
//! # msgr2 §18: an exchange
//!
//! A client pings a monitor; 2.1, plain, method none:
//!
//! ```text
//! C, M  "ceph v2\n", 10 00, supported 1, required 0
//! C     HELLO 8, v2:127.0.0.1:3300/0
//! M     HELLO 1, v2:127.0.0.1:40000/0
//! C     AUTH_REQUEST none, [plain], who it is
//! M     AUTH_DONE 4109, plain; AUTH_SIGNATURE of zeros
//! C     AUTH_SIGNATURE of zeros
//! C     CLIENT_IDENT [any:127.0.0.1:0/7], v2:127.0.0.1:3300/0, -1, 1, features, cookie
//! M     SERVER_IDENT [v2:127.0.0.1:3300/0], 0, 13, features, lossy, no cookie
//! C     MESSAGE type 2, number 1
//! M     MESSAGE type 2, number 1, acknowledges 1
//! ```
//!
//! # msgr2 §20: where we differ
//!
//! These are deviations from what release 18.2.7 does, on purpose:
//!
//! - lengths, rounds and attempts have limits;
//! - the connector takes no mode that it did not offer, and no acceptor without the features that it
//!   requires;
//! - an aborted frame before the session is open is a fault;
//! - a header that is too short is a fault, and so is a compressed frame that was not agreed on;
//! - a duplicate message is dropped, and reading goes on;
//! - the banner is refused at its first wrong byte.
