//! The connecting side against bytes on paper.

use async_messenger::proto::v1::{
    Connect, ConnectReply, Connector, ConnectorEvent, ConnectorParams, Opened, ReplyTag, State,
    none_authorizer,
};
use async_messenger::proto::{Mismatch, ProtoError};
use async_messenger::wire::features::{self, SUPPORTED};
use async_messenger::wire::{AuthName, Reader};
use bytes::BytesMut;

use super::vectors::unhex;
use super::{addr, bytes_of, client, hello, legacy, reply, server_hello};

/// A connector that has sent its first connect.
fn connected(params: ConnectorParams) -> Connector {
    let mut connector = Connector::new(params);
    let mut out = BytesMut::new();
    connector.start(&mut out);
    let mut rx = BytesMut::from(&hello()[..]);
    connector.handle_input(&mut rx, &mut out).unwrap();
    assert_eq!(connector.state(), State::ConnectingSendConnectMsg);
    assert!(rx.is_empty());
    connector
}

/// What a connector makes of one reply, and what it sends then.
fn answer(
    params: ConnectorParams,
    input: &[u8],
) -> (Result<Option<ConnectorEvent>, ProtoError>, BytesMut) {
    let mut connector = connected(params);
    let mut out = BytesMut::new();
    let result = connector.handle_input(&mut input.into(), &mut out);
    if result.is_err() {
        let again = connector.handle_input(&mut BytesMut::new(), &mut out);
        assert_eq!(again, result, "errors stay");
        assert!(connector.state() < State::StartAccept, "where it failed");
    }
    (result, out)
}

fn error(params: ConnectorParams, input: &[u8]) -> ProtoError {
    answer(params, input).0.unwrap_err()
}

#[test]
fn worked_exchange() {
    let mut connector = Connector::new(client());
    assert_eq!(connector.state(), State::Connecting);
    let mut out = BytesMut::new();
    connector.start(&mut out);
    assert_eq!(out.split(), "ceph v027");
    assert_eq!(connector.state(), State::ConnectingWaitBannerAndIdentify);

    let mut rx = BytesMut::from(&hello()[..]);
    let learned = connector.handle_input(&mut rx, &mut out).unwrap();
    assert_eq!(
        learned,
        Some(ConnectorEvent::Learned(addr("v1:127.0.0.1:0/287454020")))
    );
    let mut want = unhex("00000000 44332211 0002 0000 7f000001");
    want.resize(136, 0);
    want.extend(unhex(
        "fffffdffbfcf013f 08000000 01000000 00000000 0f000000 00000000 00000000 01",
    ));
    assert_eq!(out.split(), want);

    let seq =
        unhex("0d fffffdffbfcf013f 03000000 01000000 0f000000 00000000 01  0500000000000000  07");
    let mut rx = BytesMut::from(&seq[..]);
    let opened = Opened {
        features: SUPPORTED,
        global_seq: 3,
        connect_seq: 1,
        lossy: true,
        acked: Some(5),
    };
    let event = connector.handle_input(&mut rx, &mut out).unwrap();
    assert_eq!(event, Some(ConnectorEvent::Ready(opened)));
    assert_eq!(out.split(), [0; 8][..]);
    assert_eq!(rx, [7][..], "the open phase is left alone");
    assert_eq!(connector.state(), State::Opened);
    assert_eq!(connector.handle_input(&mut rx, &mut out), Ok(None));
    assert_eq!(rx.len(), 1);
}

#[test]
fn ready_and_seq_open() {
    let params = || ConnectorParams {
        connect_seq: 4,
        in_seq: 9,
        lossy: false,
        ..client()
    };
    let features = features::NOSRCADDR | features::MSG_ADDR2;
    let ready = ConnectReply {
        features,
        connect_seq: 5,
        flags: 0,
        ..reply(ReplyTag::Ready)
    };
    // A bit that only the peer offers is not agreed on.
    let ready = ConnectReply {
        features: features | features::RESERVED,
        ..ready
    };
    let opened = Opened {
        features,
        global_seq: 3,
        connect_seq: 5,
        lossy: false,
        acked: None,
    };
    let (event, out) = answer(params(), &bytes_of(&ready));
    assert_eq!(event, Ok(Some(ConnectorEvent::Ready(opened))));
    assert!(out.is_empty());

    let seq = ConnectReply {
        tag: ReplyTag::Seq,
        authorizer_len: 3,
        ..ready
    };
    let input = [&bytes_of(&seq)[..], b"xyz", &7u64.to_le_bytes()].concat();
    let (event, out) = answer(params(), &input);
    let opened = Opened {
        acked: Some(7),
        ..opened
    };
    assert_eq!(event, Ok(Some(ConnectorEvent::Ready(opened))));
    assert_eq!(out, 9u64.to_le_bytes()[..]);

    for tag in [ReplyTag::Ready, ReplyTag::Seq] {
        let wrong = ConnectReply {
            tag,
            connect_seq: 6,
            ..ready
        };
        let e = error(params(), &bytes_of(&wrong));
        assert_eq!(
            e.to_string(),
            "peer broke the protocol: it opens connect_seq 6, ours is 5"
        );
        let lacking = ConnectReply {
            tag,
            features: features::MSG_ADDR2,
            ..ready
        };
        let missing = features::NOSRCADDR;
        let want = Mismatch::PeerLacks {
            missing,
            theirs: features::MSG_ADDR2,
        };
        assert_eq!(error(params(), &bytes_of(&lacking)), want.into());
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let bytes = |tag| bytes_of(&reply(tag));
    let params = ConnectorParams {
        features: SUPPORTED & !2,
        required: 0,
        ..client()
    };
    let e = error(params, &bytes(ReplyTag::Features));
    assert_eq!(
        e,
        Mismatch::WeLack {
            missing: 2,
            ours: SUPPORTED & !2
        }
        .into()
    );
    let e = error(client(), &bytes(ReplyTag::Features));
    assert!(matches!(e, ProtoError::PeerMisbehaved(_)), "{e}");

    let params = ConnectorParams {
        protocol_version: 24,
        ..client()
    };
    let e = error(params, &bytes(ReplyTag::BadProtocolVersion));
    assert_eq!(
        e,
        Mismatch::Protocol {
            ours: 24,
            theirs: 15
        }
        .into()
    );

    let method = none_authorizer(&AuthName::default(), 0);
    for (authorizer, hint) in [
        (None, "we gave none"),
        (Some(method), "auth_service_required"),
    ] {
        let e = error(
            ConnectorParams {
                authorizer,
                ..client()
            },
            &bytes(ReplyTag::BadAuthorizer),
        );
        assert!(
            matches!(e, ProtoError::AuthDenied(_)) && e.to_string().contains(hint),
            "{e}"
        );
    }
    let e = error(client(), &bytes(ReplyTag::ChallengeAuthorizer));
    assert!(
        matches!(e, ProtoError::AuthDenied(_)) && e.to_string().contains("cephx"),
        "{e}"
    );

    let mut unknown = bytes(ReplyTag::Ready);
    unknown[0] = 99;
    let e = error(client(), &unknown);
    assert_eq!(
        e.to_string(),
        "undecodable bytes from the peer: connect reply: cannot be 0x63"
    );
    let long = ConnectReply {
        authorizer_len: 4096,
        ..reply(ReplyTag::Seq)
    };
    let want = ProtoError::Limit {
        what: "authorizer bytes",
        got: 4096,
        max: 4095,
    };
    assert_eq!(error(client(), &bytes_of(&long)), want);
}

#[test]
fn retries_connect_again() {
    let params = || ConnectorParams {
        connect_seq: 4,
        in_seq: 9,
        global_seq: 7,
        ..client()
    };
    let again = |tag, with: ConnectReply| {
        let mut connector = connected(params());
        let mut out = BytesMut::new();
        let mut rx = BytesMut::from(&bytes_of(&ConnectReply { tag, ..with })[..]);
        let event = connector.handle_input(&mut rx, &mut out).unwrap().unwrap();
        assert!(out.is_empty(), "the caller decides first");
        connector.handle_retry(11, &mut out);
        let sent = Connect::decode(&mut Reader::new(&out, "connect")).unwrap();
        assert_eq!((out.len(), sent.global_seq), (Connect::LEN, 11));
        (event, sent.connect_seq)
    };
    let base = ConnectReply {
        global_seq: 10,
        connect_seq: 6,
        ..reply(ReplyTag::Ready)
    };
    let global = ConnectorEvent::RetryGlobal {
        peer_global_seq: 10,
    };
    assert_eq!(again(ReplyTag::RetryGlobal, base), (global, 4));
    let session = ConnectorEvent::RetrySession { connect_seq: 6 };
    assert_eq!(again(ReplyTag::RetrySession, base), (session, 6));
    assert_eq!(
        again(ReplyTag::ResetSession, base),
        (ConnectorEvent::ResetSession, 0)
    );

    let stale = ConnectReply {
        connect_seq: 4,
        ..reply(ReplyTag::RetrySession)
    };
    let e = error(params(), &bytes_of(&stale));
    assert!(matches!(e, ProtoError::PeerMisbehaved(_)), "{e}");

    let (event, out) = answer(params(), &bytes_of(&reply(ReplyTag::Wait)));
    assert_eq!((event, out.len()), (Ok(Some(ConnectorEvent::Wait)), 0));
}

#[test]
fn a_reset_forgets_what_was_received() {
    let mut connector = connected(ConnectorParams {
        connect_seq: 4,
        in_seq: 9,
        ..client()
    });
    let mut out = BytesMut::new();
    let mut rx = BytesMut::from(&bytes_of(&reply(ReplyTag::ResetSession))[..]);
    connector.handle_input(&mut rx, &mut out).unwrap();
    connector.handle_retry(2, &mut out);
    out.clear();
    rx.extend_from_slice(&bytes_of(&reply(ReplyTag::Seq)));
    rx.extend_from_slice(&[0; 8]);
    connector.handle_input(&mut rx, &mut out).unwrap();
    assert_eq!(out, [0; 8][..]);
}

#[test]
fn retries_are_bounded() {
    let mut connector = connected(client());
    let mut out = BytesMut::new();
    let mut retry = |global_seq| {
        let mut rx = BytesMut::from(&bytes_of(&reply(ReplyTag::RetryGlobal))[..]);
        connector.handle_input(&mut rx, &mut out)?;
        connector.handle_retry(global_seq, &mut out);
        Ok(())
    };
    for global_seq in 1..16 {
        assert_eq!(retry(global_seq), Ok(()));
    }
    let what = "connect attempts on one socket";
    assert_eq!(
        retry(16),
        Err(ProtoError::Limit {
            what,
            got: 17,
            max: 16
        })
    );
}

#[test]
fn the_peer_must_be_the_one_that_was_meant() {
    let meet = |own: &str| {
        let mut connector = Connector::new(client());
        let mut out = BytesMut::new();
        connector.start(&mut out);
        let hello = server_hello(own, "v1:127.0.0.1:5/0");
        connector.handle_input(&mut hello[..].into(), &mut out)
    };
    assert!(meet("v1:127.0.0.1:46789/0").is_ok());
    assert!(meet("v1:0.0.0.0:46789/0").is_ok());
    let text = meet("v1:127.0.0.1:46789/9").unwrap_err().to_string();
    assert!(text.contains("current map"), "{text}");
    for other in [
        "v1:127.0.0.1:46788/0",
        "v1:127.0.0.2:46789/0",
        "v1:0.0.0.0:46789/1",
        "-",
    ] {
        let text = meet(other).unwrap_err().to_string();
        assert!(text.contains("we meant v1:127.0.0.1:46789/0"), "{text}");
    }
    let blank = ConnectorParams {
        peer_addr: addr("v1:0.0.0.0:46789/0"),
        ..client()
    };
    let mut connector = Connector::new(blank);
    let mut out = BytesMut::new();
    connector.start(&mut out);
    assert!(
        connector
            .handle_input(&mut hello()[..].into(), &mut out)
            .is_err()
    );

    let mut wrong_family = server_hello("v1:127.0.0.1:46789/0", "-");
    wrong_family[9 + 9] = 77;
    let mut connector = Connector::new(client());
    let mut out = BytesMut::new();
    connector.start(&mut out);
    let e = connector
        .handle_input(&mut wrong_family[..].into(), &mut out)
        .unwrap_err();
    assert!(matches!(e, ProtoError::Malformed(_)), "{e}");
}

#[test]
fn an_address_is_learned_only_if_it_helps() {
    let sent = |own: &str, seen: &str| {
        let mut connector = Connector::new(ConnectorParams {
            addr: addr(own),
            ..client()
        });
        let mut out = BytesMut::new();
        connector.start(&mut out);
        out.clear();
        let hello = server_hello("v1:127.0.0.1:46789/0", seen);
        let event = connector
            .handle_input(&mut hello[..].into(), &mut out)
            .unwrap();
        (event, out[..136].to_vec())
    };
    for (own, seen) in [
        ("v1:10.0.0.1:6800/5", "v1:127.0.0.1:5/0"),
        ("v1:-/5", "-"),
        ("v1:0.0.0.0:6800/5", "v1:0.0.0.0:5/0"),
    ] {
        assert_eq!(sent(own, seen), (None, legacy(own)));
    }
    let learned = "v1:127.0.0.1:6800/5";
    let event = ConnectorEvent::Learned(addr(learned));
    let got = sent("v1:0.0.0.0:6800/5", "v1:127.0.0.1:5/0");
    assert_eq!(got, (Some(event), legacy(learned)));
}
