//! Servers that break the rules of v2: a client of ours says which, in which phase and why, and
//! does not take itself for let in.

use std::net::TcpListener;

use async_messenger::auth::{AuthRefusal, Method, Mode};
use async_messenger::proto::v2::{Control, SIGNATURE_LEN, State, tag};
use async_messenger::wire::{AddrType, EntityAddr, EntityType};
use async_messenger::{Credentials, Error, ErrorKind};

use super::KEY;
use super::rules::{ANY, admin, assert_told, client, client_with, refused};
use super::wire::*;

/// What a client makes of a server that answers its first request by these bytes.
#[track_caller]
fn answered_by(key: Option<&str>, answer: impl Fn(EntityAddr) -> Vec<u8>) -> Error {
    super::log::keep();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("bound");
    let addr = EntityAddr::new(AddrType::Msgr2, at, 0);
    let (messenger, inbox) = match key {
        Some(key) => client(key, &ANY),
        None => client_with(Credentials::none(admin())),
    };
    messenger
        .connect(EntityType::MON, &addr.into())
        .expect("a connection");
    let mut wire = Wire::accept(&listener, EntityType::MON);
    assert!(matches!(wire.take(), Control::AuthRequest(_)));
    wire.send(&answer(addr));
    let error = refused(&inbox);
    assert_told(&error, Some(addr), State::AuthConnecting, &[]);
    wire.end();
    messenger.shutdown();
    messenger.wait().expect("ends in time");
    error
}

#[track_caller]
fn assert_says(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

#[test]
fn auth_done_with_a_payload_longer_than_its_frame() {
    for len in [1_u32, 5, 100, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        for key in [None, Some(KEY)] {
            let error = answered_by(key, |_| auth_done(4711, 1, len, b""));
            assert_says(&error, ErrorKind::Protocol, &["AUTH_DONE: needs"]);
        }
    }
}

#[test]
fn lengths_beyond_all_bounds() {
    for len in [0x7fff_ffff_u32, 0x8000_0000, 0xffff_ffff] {
        let error = answered_by(None, |_| frame_of_len(tag::AUTH_DONE, len));
        assert_says(
            &error,
            ErrorKind::Protocol,
            &["control frame", &len.to_string()],
        );
        let word = len.to_le_bytes();
        let error = answered_by(Some(KEY), |_| raw_frame(tag::AUTH_REPLY_MORE, &word));
        assert_says(&error, ErrorKind::Protocol, &["AUTH_REPLY_MORE"]);
        let counts = [[2, 0, 0, 0], (-95_i32).to_le_bytes(), word].concat();
        let error = answered_by(None, |_| raw_frame(tag::AUTH_BAD_METHOD, &counts));
        assert_says(&error, ErrorKind::Protocol, &["AUTH_BAD_METHOD"]);
    }
}

/// A server that refuses, and goes on as if it had not.
#[test]
fn a_session_is_not_set_up_after_a_refusal() {
    let refusal = |method, result| {
        frame(&Control::AuthBadMethod(AuthRefusal {
            method,
            result,
            methods: vec![method],
            modes: ANY.to_vec(),
        }))
    };
    let signature = frame(&Control::AuthSignature([0; SIGNATURE_LEN]));
    for result in [-13, -95, 0, i32::MIN] {
        let error = answered_by(None, |at| {
            let done = auth_done(4711, 1, 0, b"");
            let first = refusal(Method::NONE, result);
            [first, done, signature.clone(), server_ident(at)].concat()
        });
        assert_says(&error, ErrorKind::Denied, &["none"]);
    }
    let error = answered_by(None, |at| [signature.clone(), server_ident(at)].concat());
    assert_says(&error, ErrorKind::Protocol, &["AUTH_SIGNATURE"]);
    let error = answered_by(None, server_ident);
    assert_says(&error, ErrorKind::Protocol, &["SERVER_IDENT"]);
    // One that lets in who has not been asked for a proof: it does not know the key.
    let error = answered_by(Some(KEY), |at| {
        [
            auth_done(4711, 1, 0, b""),
            signature.clone(),
            server_ident(at),
        ]
        .concat()
    });
    assert!(
        matches!(error.kind(), ErrorKind::Denied | ErrorKind::Protocol),
        "{error}"
    );
}

/// A server that would have another method, or none at all (0).
#[test]
fn methods_that_the_client_does_not_have() {
    for method in [Method(0), Method::NONE, Method(7)] {
        let error = answered_by(Some(KEY), |_| {
            frame(&Control::AuthBadMethod(AuthRefusal {
                method: Method::CEPHX,
                result: -95,
                methods: vec![method],
                modes: vec![Mode::CRC],
            }))
        });
        let words = ["-95", &format!("it takes methods {method}")[..]];
        assert_says(&error, ErrorKind::Denied, &words);
    }
}

/// Secure was asked for, and something else comes.
#[test]
fn a_mode_that_was_not_asked_for() {
    for mode in [0, 2, 3, u32::MAX] {
        let error = answered_by(None, |_| auth_done(4711, mode, 0, b""));
        let words = [&format!("mode {mode}, which we did not offer")[..]];
        assert_says(&error, ErrorKind::Denied, &words);
    }
}
