//! What things are called, and texts of errors.

use async_messenger::auth::{AuthError, CryptoKey, KeyType, Method, Mode, Offers, Secret};
use async_messenger::crypto::{OpenError, SealError};
use async_messenger::proto::v2::{Claim, Verdict, Wants, vet};
use async_messenger::proto::{Mismatch, Part, Phase, ProtoError, v1, v2};
use async_messenger::wire::features::{MSG_ADDR2, SUPPORTED};
use async_messenger::wire::{AddrVec, EntityAddr, EntityName, EntityType, Timespec};

const V1: [v1::State; 18] = [
    v1::State::None,
    v1::State::StartConnect,
    v1::State::Connecting,
    v1::State::ConnectingWaitBannerAndIdentify,
    v1::State::ConnectingSendConnectMsg,
    v1::State::StartAccept,
    v1::State::Accepting,
    v1::State::AcceptingWaitConnectMsgAuth,
    v1::State::AcceptingHandledConnectMsg,
    v1::State::Opened,
    v1::State::ThrottleMessage,
    v1::State::ThrottleBytes,
    v1::State::ThrottleDispatchQueue,
    v1::State::ReadMessageFront,
    v1::State::ReadFooterAndDispatch,
    v1::State::Closed,
    v1::State::Wait,
    v1::State::Standby,
];

const V2: [v2::State; 25] = [
    v2::State::None,
    v2::State::StartConnect,
    v2::State::BannerConnecting,
    v2::State::HelloConnecting,
    v2::State::AuthConnecting,
    v2::State::AuthConnectingSign,
    v2::State::CompressionConnecting,
    v2::State::SessionConnecting,
    v2::State::SessionReconnecting,
    v2::State::StartAccept,
    v2::State::BannerAccepting,
    v2::State::HelloAccepting,
    v2::State::AuthAccepting,
    v2::State::AuthAcceptingMore,
    v2::State::AuthAcceptingSign,
    v2::State::CompressionAccepting,
    v2::State::SessionAccepting,
    v2::State::Ready,
    v2::State::ThrottleMessage,
    v2::State::ThrottleBytes,
    v2::State::ThrottleDispatchQueue,
    v2::State::ReadFrame,
    v2::State::Closed,
    v2::State::Wait,
    v2::State::Standby,
];

/// `StartConnect` as `START_CONNECT`.
fn shouted(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_uppercase());
    }
    text
}

#[test]
fn states_have_the_names_of_ceph_s_logs_and_an_order() {
    for state in V1 {
        assert_eq!(state.to_string(), shouted(&format!("{state:?}")));
        assert_eq!(Phase::from(state).to_string(), state.to_string());
    }
    for state in V2 {
        assert_eq!(state.to_string(), shouted(&format!("{state:?}")));
        assert_eq!(Phase::from(state).to_string(), state.to_string());
    }
    assert!(V1.is_sorted() && V2.is_sorted());
    assert_eq!((v1::State::default(), v2::State::default()), (V1[0], V2[0]));
}

#[test]
fn phases_tell_where_a_handshake_is() {
    let all = || V1.map(Phase::from).into_iter().chain(V2.map(Phase::from));
    let which = |is: fn(Phase) -> bool| -> Vec<String> {
        all()
            .filter(|phase| is(*phase))
            .map(|phase| phase.to_string())
            .collect()
    };
    assert_eq!(which(Phase::is_connecting).len(), 5 + 9);
    let before = [
        "NONE",
        "START_CONNECT",
        "CONNECTING",
        "CONNECTING_WAIT_BANNER_AND_IDENTIFY",
        "NONE",
        "START_CONNECT",
        "BANNER_CONNECTING",
    ];
    assert_eq!(which(Phase::is_before_hello), before);
    let undecided = which(Phase::is_undecided);
    assert_eq!(undecided.len(), 3 + 8);
    assert!(undecided.contains(&"SESSION_ACCEPTING".to_owned()));
    assert!(!undecided.contains(&"ACCEPTING_HANDLED_CONNECT_MSG".to_owned()));
    assert_eq!(which(Phase::is_waiting), ["WAIT", "WAIT"]);
}

#[test]
fn errors_name_what_is_wrong_and_what_helps() {
    let banner = Mismatch::Banner {
        we_lack: 8,
        peer_lacks: 1,
    };
    let corrupt = |part| {
        let (expected, got) = (1, 2);
        ProtoError::Corrupt {
            part,
            expected,
            got,
        }
    };
    let refused = AuthError::Refused {
        method: Method(4),
        result: -5,
        methods: vec![],
    };
    for (text, wanted) in [
        (
            ProtoError::from(banner).to_string(),
            "we do not offer 0x8 that the peer requires",
        ),
        (
            corrupt(Part::Front).to_string(),
            "corrupt front segment: crc is",
        ),
        (
            corrupt(Part::Middle).to_string(),
            "corrupt middle segment: crc is",
        ),
        (
            ProtoError::Tampered { part: Part::Data }.to_string(),
            "encrypted data segment does not open",
        ),
        (OpenError.to_string(), "the tag does not fit"),
        (
            SealError.to_string(),
            "all nonces of the connection's key have been used",
        ),
        (refused.to_string(), "with -5: see its log"),
        (Mode(9).to_string(), "9"),
        (Method(77).to_string(), "77"),
        (
            "".parse::<AddrVec>().expect_err("nothing").to_string(),
            "v1:127.0.0.1:6789/0",
        ),
    ] {
        assert!(text.contains(wanted), "{text}");
    }
    assert_eq!(EntityAddr::default().to_string(), "-");
}

#[test]
fn entities_are_made_by_their_type() {
    let made = [
        EntityName::mon(1),
        EntityName::mds(2),
        EntityName::osd(3),
        EntityName::client(4),
        EntityName::mgr(5),
    ];
    let texts = made.map(|name| name.to_string());
    assert_eq!(texts, ["mon.1", "mds.2", "osd.3", "client.4", "mgr.5"]);
}

#[test]
fn keys_are_as_long_as_their_type_wants() {
    for (kind, number, len) in [
        (KeyType::None, 0, 0),
        (KeyType::Aes, 1, 16),
        (KeyType::Aes256k, 2, 32),
    ] {
        assert_eq!((kind.number(), kind.secret_len()), (number, len));
        let created = Timespec { secs: 5, nanos: 6 };
        let make = |len: usize| CryptoKey::new(kind, created, Secret::from(vec![7; len]));
        let key = make(len).expect("as long as it has to be");
        assert_eq!((key.kind(), key.created()), (kind, created));
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        let mut r = async_messenger::wire::Reader::new(&bytes, "key");
        assert_eq!(CryptoKey::decode(&mut r).expect("what was encoded"), key);
        for wrong in [len + 1, len.wrapping_sub(1)] {
            if wrong < 64 {
                let error = make(wrong).expect_err("too long or short").to_string();
                let wanted = format!("a key of type {kind} has {len} bytes, not {wrong}");
                assert!(error.contains(&wanted), "{error}");
            }
        }
    }
}

#[test]
fn lists_of_methods_and_modes_by_their_names() {
    let mut offers = Offers::default();
    let (mode, method) = (vec![Mode::SECURE], vec![Method::NONE, Method::CEPHX]);
    for name in [
        "ms_mon_cluster_mode",
        "ms_mon_service_mode",
        "ms_mon_client_mode",
        "ms_cluster_mode",
        "ms_service_mode",
        "ms_client_mode",
    ] {
        assert_eq!(offers.set(name, "gcm; secure"), Ok(true), "{name}");
    }
    for name in [
        "auth_cluster_required",
        "auth_service_required",
        "auth_client_required",
    ] {
        assert_eq!(offers.set(name, "none,gss cephx"), Ok(true), "{name}");
    }
    let uniform = Offers::uniform(&method, &mode);
    assert_eq!(offers, uniform);
    assert_eq!(offers.set("ms_type", "async"), Ok(false));
    for (name, value) in [("ms_client_mode", "gcm"), ("auth_client_required", "gss")] {
        let error = offers
            .set(name, value)
            .expect_err("nothing known")
            .to_string();
        assert!(
            error.contains(&format!("{name} = {value}: none of it is known")),
            "{error}"
        );
    }
    assert_eq!(offers, uniform, "unchanged");
}

#[test]
fn claims_are_vetted_by_their_features() {
    let claim = |wants| Claim {
        peer_addrs: AddrVec::default(),
        peer_type: EntityType::OSD,
        who: Default::default(),
        global_seq: 1,
        client_cookie: 2,
        wants,
    };
    let new = |features| {
        claim(Wants::New {
            gid: 0,
            features,
            required: 0,
            lossy: false,
        })
    };
    assert_eq!(new(SUPPORTED).connect_seq(), None);
    assert_eq!(vet(&new(SUPPORTED), 1 << 5), Ok(()));
    let missing = Verdict::MissingFeatures(MSG_ADDR2 | 2);
    assert_eq!(vet(&new(0), 2), Err(missing));
    let resume = claim(Wants::Resume {
        server_cookie: 1,
        connect_seq: 7,
        msg_seq: 0,
    });
    assert_eq!(resume.connect_seq(), Some(7));
    assert_eq!(
        vet(&resume, u64::MAX),
        Ok(()),
        "it was vetted when it began"
    );
}
