//! Peers that connect, and do not get through the handshake.

use std::time::Duration;

use async_messenger::proto::v1::State;
use async_messenger::wire::{EntityAddr, features};
use async_messenger::{ErrorKind, Policy};

use crate::bed::{Bed, Role, check_fault};
use crate::peers::config;
use crate::scripted::*;
use crate::{Case, Words, changed, fault, protocol};

/// Each case ends the connection, and only that one.
fn check_acceptor(cases: &[Case]) {
    let bed = Bed::new(Role::Acceptor, |b| b);
    for (i, case) in cases.iter().enumerate() {
        let mut wire = Wire::connect(&bed.subject.addrs);
        let seen = wire.seen();
        (case.play)(bed.listener(), &mut wire);
        bed.bystander_echoes();
        wire.end();
        check_fault(
            case.name,
            &bed.subject.inbox.accept_failed(),
            seen,
            &case.fault,
        );
        assert_eq!(bed.stats().handshakes_failed, i as u64 + 1, "{}", case.name);
    }
    bed.finish();
}

fn first_bytes(name: &'static str, play: fn(&Listener, &mut Wire), words: Words) -> Case {
    Case {
        name,
        play,
        fault: protocol(State::Accepting, words),
    }
}

#[test]
fn an_acceptor_names_the_stranger_that_knocks() {
    check_acceptor(&[
        first_bytes(
            "nonsense",
            |_, wire| wire.try_send(b"xyz"),
            &["banner", "\"xyz\""],
        ),
        first_bytes(
            "one wrong byte",
            |_, wire| wire.try_send(b"ceph v026"),
            &["version of msgr1"],
        ),
        first_bytes(
            "HTTP client",
            |_, wire| wire.try_send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            &["HTTP client", "not a web port"],
        ),
        first_bytes(
            "TLS client hello",
            |_, wire| {
                wire.try_send(
                    &[&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], &[7; 500]].concat(),
                )
            },
            &["TLS"],
        ),
        first_bytes(
            "msgr2 client",
            |_, wire| wire.try_send(b"ceph v2\n\x10\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            &["msgr2", "v1 address"],
        ),
        first_bytes(
            "SSH client",
            |_, wire| wire.try_send(b"SSH-2.0-OpenSSH_9\r\n"),
            &["SSH"],
        ),
    ]);
}

#[test]
fn an_acceptor_refuses_an_address_or_a_connect_that_does_not_decode() {
    let limits = State::AcceptingWaitConnectMsgAuth;
    check_acceptor(&[
        first_bytes(
            "address of no known family",
            |_, wire| wire.try_send(&changed(client_hello(1), BANNER.len() + 9, 99)),
            &["undecodable", "connector's address"],
        ),
        first_bytes(
            "address in the newer form",
            |_, wire| wire.try_send(&changed(client_hello(1), BANNER.len(), 1)),
            &["undecodable", "connector's address"],
        ),
        Case {
            name: "type of entity that does not fit",
            play: |_, wire| {
                offer(
                    wire,
                    Connect {
                        host_type: 256,
                        ..Connect::default()
                    },
                )
            },
            fault: protocol(limits, &["undecodable", "connect"]),
        },
        Case {
            name: "authorizer of one byte too many",
            play: |_, wire| offer(wire, announcing(4096)),
            fault: protocol(limits, &["authorizer bytes 4096", "at most 4095"]),
        },
        Case {
            name: "authorizer of 4 GiB",
            play: |_, wire| offer(wire, announcing(u32::MAX)),
            fault: protocol(limits, &["authorizer bytes 4294967295", "at most 4095"]),
        },
        Case {
            name: "endless attempts",
            play: |_, wire| {
                wire.send(&client_hello(1));
                for _ in 0..17 {
                    wire.try_send(
                        &Connect {
                            protocol: 9,
                            ..Connect::default()
                        }
                        .bytes(),
                    );
                }
            },
            fault: protocol(limits, &["connect attempts on one socket 17", "at most 16"]),
        },
    ]);
}

fn announcing(authorizer_len: u32) -> Connect {
    Connect {
        authorizer_len: Some(authorizer_len),
        ..Connect::default()
    }
}

fn offer(wire: &mut Wire, connect: Connect) {
    wire.send(&client_hello(1));
    wire.try_send(&connect.bytes());
}

/// Connects that are wrong, the feature required by the server's policy, and the answers.
fn refused(require: u64) -> [(Connect, u8); 7] {
    let good = Connect::default;
    let lacking = features::SUPPORTED & !require;
    [
        (
            Connect {
                protocol: 23,
                ..good()
            },
            reply::BADPROTOVER,
        ),
        (
            Connect {
                features: lacking,
                ..good()
            },
            reply::FEATURES,
        ),
        (
            Connect {
                method: 0,
                authorizer: Vec::new(),
                ..good()
            },
            reply::BADAUTHORIZER,
        ),
        (
            Connect {
                method: 2,
                ..good()
            },
            reply::BADAUTHORIZER,
        ),
        (
            Connect {
                authorizer: vec![1, 2, 3],
                ..good()
            },
            reply::BADAUTHORIZER,
        ),
        // The first thing that is wrong counts.
        (
            Connect {
                protocol: 0,
                features: 0,
                method: 9,
                ..good()
            },
            reply::BADPROTOVER,
        ),
        (
            Connect {
                features: 0,
                method: 9,
                ..good()
            },
            reply::FEATURES,
        ),
    ]
}

#[test]
fn an_acceptor_keeps_a_refused_connector_that_then_does_it_right() {
    let require = features::MSG_ADDR2;
    let bed = Bed::new(Role::Acceptor, |b| {
        b.default_policy(Policy::stateless_server(require))
    });
    let mut wire = Wire::connect(&bed.subject.addrs);
    wire.take(SERVER_HELLO_LEN);
    wire.send(&client_hello(1));
    for (connect, tag) in refused(require) {
        wire.send(&connect.bytes());
        let reply = wire.take(REPLY_LEN);
        let offered = connect.features & features::SUPPORTED | require;
        assert_eq!(reply[0], tag, "{connect:?}");
        assert_eq!(reply[1..9], offered.to_le_bytes(), "{connect:?}");
        assert_eq!(
            (word(&reply, 9), word(&reply, 13), reply[25]),
            (0, 0, 0),
            "{connect:?}"
        );
        assert_eq!(
            (word(&reply, 17), word(&reply, 21)),
            (24, 0),
            "version, no blob: {connect:?}"
        );
        bed.bystander_echoes();
    }
    wire.send(&Connect::default().bytes());
    assert_eq!(wire.take(REPLY_LEN + SEQ_LEN)[0], reply::SEQ);
    wire.send(&[0; SEQ_LEN]);
    wire.send(&Frame::new(1).bytes());
    assert_eq!(wire.take_message(), (1, Frame::new(1).parts));
    drop(wire);
    bed.subject.inbox.reset();
    bed.finish();
}

#[test]
fn an_acceptor_greets_those_without_sequence_numbers_by_ready() {
    let bed = Bed::new(Role::Acceptor, |b| b);
    let mut wire = Wire::connect(&bed.subject.addrs);
    wire.take(SERVER_HELLO_LEN);
    let lacking = features::SUPPORTED & !features::RECONNECT_SEQ;
    let connect = Connect {
        features: lacking,
        connect_seq: 5,
        ..Connect::default()
    };
    // A stateless server does not ask for the incarnation, and takes a message at once.
    wire.send(&[client_hello(1), connect.bytes(), Frame::new(1).bytes()].concat());
    let reply = wire.take(REPLY_LEN);
    assert_eq!((reply[0], word(&reply, 13)), (reply::READY, 6));
    assert_eq!(wire.take_message(), (1, Frame::new(1).parts));
    drop(wire);
    bed.finish();
}

/// All that a client sends in the handshake.
pub(crate) fn client_side(nonce: u32) -> Vec<u8> {
    [
        client_hello(nonce),
        Connect::default().bytes(),
        vec![0; SEQ_LEN],
    ]
    .concat()
}

/// Where an acceptor is when it has got so many bytes of them.
fn acceptor_phase(got: usize) -> State {
    let connect = CLIENT_HELLO_LEN + CONNECT_LEN;
    match got {
        _ if got < connect => State::Accepting,
        _ if got < connect + authorizer().len() => State::AcceptingWaitConnectMsgAuth,
        _ => State::AcceptingHandledConnectMsg,
    }
}

/// By what an acceptor knows a connector then: once it is let in, by the address that it announces.
fn known_as(wire: &Wire, nonce: u32, got: usize) -> EntityAddr {
    match acceptor_phase(got) {
        State::AcceptingHandledConnectMsg => announced(nonce),
        _ => wire.seen(),
    }
}

#[test]
fn an_acceptor_tells_where_a_connector_gave_up_at_every_byte() {
    let bed = Bed::new(Role::Acceptor, |b| b);
    let bytes = client_side(1);
    for cut in 0..bytes.len() {
        let mut wire = Wire::connect(&bed.subject.addrs);
        let peer = known_as(&wire, 1, cut);
        wire.send(&bytes[..cut]);
        wire.finish();
        wire.end();
        let words = &["closed", "during the handshake"];
        let want = fault(ErrorKind::Disconnected, acceptor_phase(cut), words);
        check_fault(
            &format!("cut at {cut}"),
            &bed.subject.inbox.accept_failed(),
            peer,
            &want,
        );
    }
    bed.finish();
}

#[test]
fn an_acceptor_survives_a_reset_at_every_byte() {
    let bed = Bed::new(Role::Acceptor, |b| b);
    let bytes = client_side(1);
    for cut in 0..bytes.len() {
        let mut wire = Wire::connect(&bed.subject.addrs);
        let seen = wire.seen();
        wire.send(&bytes[..cut]);
        wire.take(1);
        // With bytes unread the system does not end the connection, it resets it.
        drop(wire);
        let error = bed.subject.inbox.accept_failed();
        assert_eq!(error.kind(), ErrorKind::Disconnected, "{cut}");
        // Bytes that were not read yet are lost in a reset.
        assert!(
            [seen, announced(1)].map(Some).contains(&error.peer()),
            "{cut}: {error}"
        );
    }
    bed.finish();
}

#[test]
fn an_acceptor_does_not_wait_for_ever_in_any_state() {
    let mut patience = config();
    patience.ready_timeout = Duration::from_millis(100);
    let bed = Bed::new(Role::Acceptor, |b| b.config(patience));
    let bytes = client_side(1);
    let connect = CLIENT_HELLO_LEN + CONNECT_LEN;
    let last = bytes.len() - 1;
    let cuts = [
        0,
        5,
        BANNER.len(),
        CLIENT_HELLO_LEN,
        connect - 1,
        connect,
        last - 8,
        last - 7,
        last,
    ];
    let mut silent = Vec::new();
    for cut in cuts {
        let mut wire = Wire::connect(&bed.subject.addrs);
        wire.send(&client_side(cut as u32)[..cut]);
        silent.push((cut, wire));
    }
    bed.bystander_echoes();
    let errors: Vec<_> = cuts
        .iter()
        .map(|_| bed.subject.inbox.accept_failed())
        .collect();
    for (cut, wire) in silent {
        let seen = known_as(&wire, cut as u32, cut);
        wire.end();
        let error = errors
            .iter()
            .find(|e| e.peer() == Some(seen))
            .expect("one for each");
        let want = fault(
            ErrorKind::TimedOut,
            acceptor_phase(cut),
            &["in time", "ready_timeout"],
        );
        check_fault(&format!("silent after {cut}"), error, seen, &want);
        assert!(error.is_retryable());
    }
    bed.finish();
}
