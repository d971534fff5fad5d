//! Peers that are connected to, and do not get through the handshake.

use std::net::SocketAddr;
use std::time::Duration;

use async_messenger::message::Message;
use async_messenger::proto::v1::State;
use async_messenger::wire::{AddrType, AddrVec, EntityAddr, features};
use async_messenger::{Builder, ConnectionEvent, ErrorKind, Policy};

use crate::bed::{Bed, Role, check_fault};
use crate::peers::{Seen, config};
use crate::retry::tagged;
use crate::scripted::*;
use crate::{Case, Words, changed, fault, of_a_script, protocol};

fn check_connector(change: impl FnOnce(Builder) -> Builder, cases: &[Case]) {
    let bed = Bed::new(Role::Connector, change);
    let meant = bed.listener().addr();
    for case in cases {
        let connection = bed.connect();
        let mut wire = bed.listener().accept();
        (case.play)(bed.listener(), &mut wire);
        wire.end();
        check_fault(case.name, &bed.subject.inbox.reset(), meant, &case.fault);
        assert!(
            connection.is_closed() && !connection.is_connected(),
            "{}",
            case.name
        );
        bed.bystander_echoes();
    }
    assert_eq!(
        bed.stats().handshakes_failed,
        0,
        "those are of the accepting side"
    );
    bed.finish();
}

const HELLO: State = State::ConnectingWaitBannerAndIdentify;
const REPLY: State = State::ConnectingSendConnectMsg;

fn server_says(name: &'static str, play: fn(&Listener, &mut Wire), words: Words) -> Case {
    Case {
        name,
        play,
        fault: protocol(HELLO, words),
    }
}

/// The hello of a server at another address.
fn hello_from(at: SocketAddr, nonce: u32) -> Vec<u8> {
    [BANNER, &addr(v4(at), nonce), &[0; ADDR_LEN]].concat()
}

#[test]
fn a_connector_names_the_stranger_that_answers() {
    check_connector(
        |b| b,
        &[
            server_says(
                "nonsense",
                |_, wire| wire.try_send(b"hello"),
                &["banner", "\"hello\""],
            ),
            server_says(
                "old",
                |_, wire| wire.try_send(b"ceph v026"),
                &["version of msgr1"],
            ),
            server_says(
                "HTTP",
                |_, wire| wire.try_send(b"HTTP/1.1 400 Bad\r\n"),
                &["HTTP server"],
            ),
            server_says(
                "msgr2",
                |_, wire| wire.try_send(b"ceph v2\n\x10\0"),
                &["msgr2", "v1 address"],
            ),
            server_says(
                "SSH",
                |_, wire| wire.try_send(b"SSH-2.0-x\r\n"),
                &["SSH server"],
            ),
            server_says(
                "TLS",
                |_, wire| wire.try_send(b"\x16\x03\x03\0\x7a\x02"),
                &["TLS"],
            ),
            server_says(
                "another nonce",
                |at, wire| wire.try_send(&hello_from(at.at().into(), 1)),
                &["says it is", "/1, we meant", "restarted", "nonce"],
            ),
            server_says(
                "another port",
                |_, wire| wire.try_send(&hello_from(([127, 0, 0, 1], 1).into(), SERVER_NONCE)),
                &["says it is v1:127.0.0.1:1/", "check the address"],
            ),
            server_says(
                "another host",
                |at, wire| {
                    wire.try_send(&hello_from(
                        ([9, 9, 9, 9], at.at().port()).into(),
                        SERVER_NONCE,
                    ))
                },
                &["says it is v1:9.9.9.9:", "check the address"],
            ),
            server_says(
                "address of no known family",
                |at, wire| wire.try_send(&changed(at.hello(wire), BANNER.len() + 9, 99)),
                &["undecodable", "acceptor's address"],
            ),
            server_says(
                "our address of no known family",
                |at, wire| wire.try_send(&changed(at.hello(wire), CLIENT_HELLO_LEN + 9, 99)),
                &["undecodable", "our address"],
            ),
        ],
    );
}

fn answer(at: &Listener, wire: &mut Wire, reply: &Reply) {
    at.greet(wire);
    take_connect(wire);
    wire.try_send(&reply.bytes());
}

const fn wrong(name: &'static str, play: fn(&Listener, &mut Wire), words: Words) -> Case {
    reply_case(name, play, ErrorKind::Protocol, words)
}

const fn reply_case(
    name: &'static str,
    play: fn(&Listener, &mut Wire),
    kind: ErrorKind,
    words: Words,
) -> Case {
    Case {
        name,
        play,
        fault: fault(kind, REPLY, words),
    }
}

/// Replies by which a server refuses.
const REFUSED: [Case; 6] = [
    reply_case(
        "BADPROTOVER",
        |at, wire| {
            answer(
                at,
                wire,
                &Reply {
                    protocol: 15,
                    ..tagged(reply::BADPROTOVER)
                },
            )
        },
        ErrorKind::Incompatible,
        &["protocol version 15", "we speak 24", "entity type"],
    ),
    reply_case(
        "FEATURES",
        |at, wire| {
            answer(
                at,
                wire,
                &Reply {
                    features: u64::MAX,
                    ..tagged(reply::FEATURES)
                },
            )
        },
        ErrorKind::Incompatible,
        &["features that we do not offer", "RESERVED"],
    ),
    reply_case(
        "FEATURES that we have",
        |at, wire| answer(at, wire, &tagged(reply::FEATURES)),
        ErrorKind::Protocol,
        &["refuses our features"],
    ),
    reply_case(
        "BADAUTHORIZER",
        |at, wire| answer(at, wire, &tagged(reply::BADAUTHORIZER)),
        ErrorKind::Denied,
        &["refused our authorizer", "none", "allow that method"],
    ),
    reply_case(
        "CHALLENGE_AUTHORIZER",
        |at, wire| {
            let blob = vec![1; 40];
            answer(
                at,
                wire,
                &Reply {
                    blob,
                    ..tagged(reply::CHALLENGE_AUTHORIZER)
                },
            );
        },
        ErrorKind::Denied,
        &["cephx", "none"],
    ),
    Case {
        name: "WAIT",
        play: |at, wire| answer(at, wire, &tagged(reply::WAIT)),
        fault: fault(
            ErrorKind::Disconnected,
            State::Wait,
            &["wait", "peer's own connection"],
        ),
    },
];

#[test]
fn a_connector_tells_why_it_was_refused() {
    check_connector(|b| b, &REFUSED);
}

/// Replies that no server means, to a client that requires `MSG_ADDR2`.
const IMPOSSIBLE: [Case; 7] = [
    wrong(
        "RETRY_SESSION that goes nowhere",
        |at, wire| answer(at, wire, &tagged(reply::RETRY_SESSION)),
        &["connect_seq 0", "no more than our 0"],
    ),
    wrong(
        "READY of a later session",
        |at, wire| {
            answer(
                at,
                wire,
                &Reply {
                    tag: reply::READY,
                    connect_seq: 2,
                    ..Reply::default()
                },
            )
        },
        &["opens connect_seq 2", "ours is 1"],
    ),
    wrong(
        "SEQ of an earlier session",
        |at, wire| {
            answer(
                at,
                wire,
                &Reply {
                    connect_seq: 0,
                    ..Reply::default()
                },
            )
        },
        &["opens connect_seq 0", "ours is 1"],
    ),
    wrong(
        "blob of one byte too many",
        |at, wire| {
            answer(
                at,
                wire,
                &Reply {
                    blob_len: Some(4096),
                    ..Reply::default()
                },
            )
        },
        &["authorizer bytes 4096", "at most 4095"],
    ),
    wrong(
        "blob of 4 GiB",
        |at, wire| {
            answer(
                at,
                wire,
                &Reply {
                    blob_len: Some(u32::MAX),
                    ..Reply::default()
                },
            )
        },
        &["authorizer bytes 4294967295"],
    ),
    wrong(
        "endless retries",
        |at, wire| {
            answer(at, wire, &tagged(reply::RETRY_GLOBAL));
            for _ in 1..16 {
                take_connect(wire);
                wire.try_send(&tagged(reply::RETRY_GLOBAL).bytes());
            }
        },
        &["connect attempts on one socket 17", "at most 16"],
    ),
    reply_case(
        "READY without a feature that is required",
        |at, wire| {
            let features = features::SUPPORTED & !features::MSG_ADDR2;
            answer(
                at,
                wire,
                &Reply {
                    features,
                    ..Reply::default()
                },
            );
        },
        ErrorKind::Incompatible,
        &["does not offer features that we require", "MSG_ADDR2"],
    ),
];

#[test]
fn a_connector_does_not_believe_an_impossible_reply() {
    let change = |b: Builder| b.default_policy(Policy::lossy_client(features::MSG_ADDR2));
    check_connector(change, &IMPOSSIBLE);
}

#[test]
fn a_connector_faults_at_every_reply_tag_that_does_not_exist() {
    let bed = Bed::new(Role::Connector, |b| b);
    let known = [1, 2, 3, 4, 5, 10, 11, 12, 13, 16];
    for tag in (0..=255).filter(|tag| !known.contains(tag)) {
        bed.connect();
        let mut wire = bed.listener().accept();
        answer(bed.listener(), &mut wire, &tagged(tag));
        wire.end();
        let want = protocol(REPLY, &["undecodable", "connect reply"]);
        let error = bed.subject.inbox.reset();
        check_fault(&format!("tag {tag}"), &error, bed.listener().addr(), &want);
    }
    bed.finish();
}

/// All that a server sends in the handshake.
fn server_side(at: &Listener, wire: &Wire) -> Vec<u8> {
    [at.hello(wire), Reply::default().bytes(), vec![0; SEQ_LEN]].concat()
}

fn connector_phase(got: usize) -> State {
    if got < SERVER_HELLO_LEN { HELLO } else { REPLY }
}

#[test]
fn a_connector_tells_where_the_acceptor_gave_up_at_every_byte() {
    let bed = Bed::new(Role::Connector, |b| b);
    let total = SERVER_HELLO_LEN + REPLY_LEN + SEQ_LEN;
    for cut in 0..total {
        bed.connect();
        let mut wire = bed.listener().accept();
        let bytes = server_side(bed.listener(), &wire);
        assert_eq!(bytes.len(), total);
        wire.send(&bytes[..cut]);
        wire.finish();
        wire.end();
        let words = &["closed", "during the handshake"];
        let want = fault(ErrorKind::Disconnected, connector_phase(cut), words);
        let error = bed.subject.inbox.reset();
        check_fault(
            &format!("cut at {cut}"),
            &error,
            bed.listener().addr(),
            &want,
        );
    }
    bed.finish();
}

#[test]
fn a_connector_does_not_wait_for_ever_in_any_state() {
    let mut patience = config();
    patience.ready_timeout = Duration::from_millis(100);
    let bed = Bed::new(Role::Connector, |b| b.config(patience));
    let reply = SERVER_HELLO_LEN + REPLY_LEN;
    for cut in [
        0,
        5,
        SERVER_HELLO_LEN - 1,
        SERVER_HELLO_LEN,
        reply - 1,
        reply,
        reply + SEQ_LEN - 1,
    ] {
        let connection = bed.connect();
        connection.send(Message::new(42)).expect("room");
        let mut wire = bed.listener().accept();
        let bytes = server_side(bed.listener(), &wire);
        wire.send(&bytes[..cut]);
        let error = bed.subject.inbox.find("reset", |seen| match seen {
            Seen::Event(of, ConnectionEvent::Reset { error, unsent }) if of == connection => {
                assert_eq!(unsent, 1, "what waited for the handshake was not sent");
                Some(error)
            }
            _ => None,
        });
        wire.end();
        let want = fault(
            ErrorKind::TimedOut,
            connector_phase(cut),
            &["in time", "ready_timeout"],
        );
        check_fault(
            &format!("silent after {cut}"),
            &error,
            bed.listener().addr(),
            &want,
        );
        bed.bystander_echoes();
    }
    bed.finish();
}

#[test]
fn a_connector_takes_a_server_that_does_not_know_its_ip() {
    let bed = Bed::new(Role::Connector, |b| b);
    bed.connect();
    let mut wire = bed.listener().accept();
    let blank = SocketAddr::from(([0, 0, 0, 0], bed.listener().at().port()));
    let client = EntityAddr::new(AddrType::Legacy, blank, 0);
    assert!(client.is_blank_ip());
    wire.send(&hello_from(blank, SERVER_NONCE));
    wire.take(CLIENT_HELLO_LEN);
    take_connect(&mut wire);
    finish_open(&mut wire, &Reply::default());
    wire.send(&Frame::new(1).bytes());
    bed.subject.inbox.find("message", of_a_script);
    drop(wire);
    bed.subject.inbox.reset();
    bed.finish();
}

#[test]
fn a_connect_that_the_network_swallows_is_refused_in_time_and_tried_again() {
    let mut patience = config();
    patience.ready_timeout = Duration::from_millis(50);
    let bed = Bed::new(Role::Connector, |b| b.config(patience));
    // Nobody accepts: when the backlog is full Linux drops what asks for a connection.
    let hole = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = hole.local_addr().expect("it is bound");
    let mut waiting = Vec::new();
    while let Ok(socket) = std::net::TcpStream::connect_timeout(&at, Duration::from_millis(50)) {
        waiting.push(socket);
        if waiting.len() > 10_000 {
            return;
        }
    }
    let target = EntityAddr::new(AddrType::Legacy, at, SERVER_NONCE);
    let peer_type = async_messenger::wire::EntityType::OSD;
    let connection = bed
        .subject
        .messenger
        .connect(peer_type, &AddrVec(vec![target]));
    let connection = connection.expect("started");
    for attempt in 0..3 {
        let error = bed.subject.inbox.refusal();
        let want = fault(ErrorKind::TimedOut, State::StartConnect, &["in time"]);
        check_fault(&format!("attempt {attempt}"), &error, target, &want);
        bed.bystander_echoes();
    }
    assert!(!connection.is_closed());
    connection.mark_down();
    drop((connection, waiting, hole));
    bed.finish();
}
