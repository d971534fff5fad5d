//! The accepting side against bytes on paper.

use async_messenger::proto::ProtoError;
use async_messenger::proto::v1::{
    Acceptor, AcceptorEvent, Claim, Connect, ConnectReply, Opened, Refusal, ReplyTag, State, Terms,
    Verdict, is_to_show, none_authorizer, vet,
};
use async_messenger::wire::features::{self, SUPPORTED};
use async_messenger::wire::{AuthName, EntityType, Reader};
use bytes::{Bytes, BytesMut};

use super::vectors::unhex;
use super::{
    acceptor_params, addr, claim, client_hello, connect_bytes, hello, legacy, open, terms,
};

#[test]
fn acceptor_opens() {
    let mut acceptor = Acceptor::new(acceptor_params());
    assert_eq!(acceptor.state(), State::StartAccept);
    let mut out = BytesMut::new();
    acceptor.start(&mut out);
    assert_eq!(out.split(), hello());
    assert_eq!(acceptor.state(), State::Accepting);

    let mut rx = BytesMut::from(&[client_hello(), connect_bytes()].concat()[..]);
    let got = claim(acceptor.handle_input(&mut rx).unwrap());
    let want = Claim {
        peer_addr: addr("v1:127.0.0.1:0/287454020"),
        peer_type: EntityType::CLIENT,
        features: SUPPORTED,
        global_seq: 1,
        connect_seq: 0,
        protocol_version: 15,
        auth_method: 0,
        authorizer: Bytes::new(),
        lossy: true,
    };
    assert_eq!(got, want);
    assert_eq!(vet(&got, &terms()), Ok(()));
    rx.extend_from_slice(&unhex("0700000000000000 08"));
    assert_eq!(
        acceptor.handle_input(&mut rx),
        Ok(None),
        "waits for the verdict"
    );
    assert_eq!(acceptor.handle_verdict(open(6), &mut out), Ok(None));
    assert_eq!(acceptor.state(), State::AcceptingHandledConnectMsg);
    let seq = "0d fffffdffbfcf013f 03000000 01000000 0f000000 00000000 01 0600000000000000";
    assert_eq!(out.split(), unhex(seq));
    let opened = Opened {
        features: SUPPORTED,
        global_seq: 1,
        connect_seq: 1,
        lossy: true,
        acked: Some(7),
    };
    assert_eq!(
        acceptor.handle_input(&mut rx),
        Ok(Some(AcceptorEvent::Ready(opened)))
    );
    assert_eq!(rx, [8][..]);
    let e = acceptor.handle_verdict(open(6), &mut out).unwrap_err();
    assert!(matches!(e, ProtoError::LocalBug(_)));
}

#[test]
fn acceptor_opens_without_sequence_numbers() {
    let old = Connect {
        features: SUPPORTED & !features::RECONNECT_SEQ,
        ..Connect::decode(&mut Reader::new(&connect_bytes(), "connect")).unwrap()
    };
    let mut no_seq = Vec::new();
    old.encode(&mut no_seq);
    let Verdict::Open {
        features,
        protocol_version,
        global_seq,
        lossy,
        in_seq,
        ..
    } = open(6)
    else {
        unreachable!()
    };
    let anew = Verdict::Open {
        features,
        protocol_version,
        global_seq,
        lossy,
        in_seq,
        reset: true,
    };
    for (bytes, verdict) in [(connect_bytes(), anew), (no_seq, open(6))] {
        let mut acceptor = Acceptor::new(acceptor_params());
        let mut out = BytesMut::new();
        acceptor.start(&mut out);
        out.clear();
        let mut rx = BytesMut::from(&[client_hello(), bytes].concat()[..]);
        let claim = claim(acceptor.handle_input(&mut rx).unwrap());
        let event = acceptor.handle_verdict(verdict, &mut out).unwrap();
        let Some(AcceptorEvent::Ready(opened)) = event else {
            panic!("not open: {event:?}")
        };
        assert_eq!(
            (opened.acked, opened.features),
            (None, claim.features & SUPPORTED)
        );
        assert_eq!(
            (out.len(), out[0]),
            (ConnectReply::LEN, ReplyTag::Ready as u8)
        );
    }
}

#[test]
fn a_blank_ip_comes_from_the_socket() {
    for (own, want) in [
        ("v1:-/5", "v1:127.0.0.1:0/5"),
        ("v1:0.0.0.0:6800/5", "v1:127.0.0.1:6800/5"),
        ("v1:[::]:6800/5", "v1:127.0.0.1:6800/5"),
        ("v1:[::1]:6800/5", "v1:[::1]:6800/5"),
    ] {
        let mut acceptor = Acceptor::new(acceptor_params());
        acceptor.start(&mut BytesMut::new());
        let bytes = [b"ceph v027".to_vec(), legacy(own), connect_bytes()].concat();
        let claim = claim(acceptor.handle_input(&mut bytes[..].into()).unwrap());
        assert_eq!(claim.peer_addr, addr(want));
    }
}

#[test]
fn claims_are_vetted_in_order() {
    let base = a_claim();
    let old = Claim {
        features: 1,
        protocol_version: 14,
        ..base.clone()
    };
    let less_old = Claim {
        protocol_version: 15,
        ..old.clone()
    };
    let table = [
        (base, None),
        (old, Some(ReplyTag::BadProtocolVersion)),
        (less_old, Some(ReplyTag::Features)),
    ];
    for (i, (claim, want)) in table.into_iter().enumerate() {
        let got = vet(&claim, &terms());
        assert_eq!(got.err().map(|r| r.tag), want, "row {i}");
        if let Err(refusal) = got {
            let features = claim.features & SUPPORTED | features::NOSRCADDR;
            assert_eq!((refusal.features, refusal.protocol_version), (features, 15));
        }
    }
}

fn a_claim() -> Claim {
    Claim {
        peer_addr: addr("v1:127.0.0.1:0/1"),
        peer_type: EntityType::CLIENT,
        features: SUPPORTED,
        global_seq: 1,
        connect_seq: 0,
        protocol_version: 15,
        auth_method: 0,
        authorizer: Bytes::new(),
        lossy: true,
    }
}

#[test]
fn who_has_to_show_an_authorizer() {
    let none = none_authorizer(&AuthName::new(EntityType::OSD, "0"), 4).1;
    let base = a_claim();
    let with = |method, authorizer: &Bytes| Claim {
        auth_method: method,
        authorizer: authorizer.clone(),
        ..base.clone()
    };
    let mon = |claim| Claim {
        peer_type: EntityType::MON,
        ..claim
    };
    let osd_terms = Terms {
        monitor: false,
        ..terms()
    };
    let lenient = Terms {
        require_authorizer: false,
        ..osd_terms
    };
    let empty = Bytes::new();
    let table = [
        (base.clone(), terms(), false),
        (base.clone(), osd_terms, true),
        (base.clone(), lenient, false),
        (mon(base.clone()), terms(), true),
        (mon(with(1, &none)), terms(), true),
        (with(1, &none), osd_terms, true),
        (with(1, &none), lenient, true),
        (with(1, &empty), osd_terms, true),
        (with(1, &empty), terms(), true),
        (with(0, &none), terms(), true),
        (with(2, &none), lenient, true),
    ];
    for (i, (claim, terms, want)) in table.into_iter().enumerate() {
        assert_eq!(is_to_show(&claim, &terms), want, "row {i}");
    }
}

#[test]
fn acceptor_bounds_what_it_reads() {
    let start = || {
        let mut acceptor = Acceptor::new(acceptor_params());
        acceptor.start(&mut BytesMut::new());
        acceptor
    };
    let mut acceptor = start();
    let e = acceptor
        .handle_input(&mut BytesMut::from("GET /"))
        .unwrap_err();
    assert!(e.to_string().contains("HTTP"), "{e}");
    assert_eq!(acceptor.handle_input(&mut BytesMut::new()), Err(e));
    assert_eq!(acceptor.state(), State::Accepting, "where it failed");

    let mut connect = connect_bytes();
    connect[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
    let bytes = [client_hello(), connect].concat();
    let e = start().handle_input(&mut bytes[..].into()).unwrap_err();
    let want = ProtoError::Limit {
        what: "authorizer bytes",
        got: 0xffff_ffff,
        max: 4095,
    };
    assert_eq!(e, want);

    let mut connect = connect_bytes();
    connect[9] = 1; // no entity type is that large
    let bytes = [client_hello(), connect].concat();
    let e = start().handle_input(&mut bytes[..].into()).unwrap_err();
    assert!(matches!(e, ProtoError::Malformed(_)), "{e}");
}

#[test]
fn attempts_are_bounded() {
    let what = "connect attempts on one socket";
    let want = ProtoError::Limit {
        what,
        got: 17,
        max: 16,
    };
    let mut acceptor = Acceptor::new(acceptor_params());
    let mut out = BytesMut::new();
    acceptor.start(&mut out);
    let mut rx = BytesMut::from(&client_hello()[..]);
    for _ in 0..16 {
        rx.extend_from_slice(&connect_bytes());
        let claim = claim(acceptor.handle_input(&mut rx).unwrap());
        let refusal = Refusal::new(ReplyTag::RetryGlobal, &claim, &terms());
        acceptor
            .handle_verdict(Verdict::Refuse(refusal), &mut out)
            .unwrap();
    }
    rx.extend_from_slice(&connect_bytes());
    assert_eq!(acceptor.handle_input(&mut rx).unwrap_err(), want);
}
