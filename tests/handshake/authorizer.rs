//! Authorizers that are challenged and proofs that come back (msgr1 §7, §9), opaque as they are to
//! the handshake.

use async_messenger::proto::ProtoError;
use async_messenger::proto::v1::{
    Acceptor, Connect, ConnectReply, Connector, ConnectorEvent, ConnectorParams, Refusal, ReplyTag,
    State,
};
use async_messenger::wire::Reader;
use bytes::{Bytes, BytesMut};

use super::{
    acceptor_params, bytes_of, claim, client, client_hello, connect_bytes, hello, open, reply,
    terms,
};

const CEPHX: u32 = 2;

fn with_cephx() -> ConnectorParams {
    ConnectorParams {
        authorizer: Some((CEPHX, Bytes::from_static(b"first"))),
        ..client()
    }
}

/// A connector that has sent its first connect.
fn connected(params: ConnectorParams) -> Connector {
    let mut connector = Connector::new(params);
    let mut out = BytesMut::new();
    connector.start(&mut out);
    let event = connector.handle_input(&mut hello()[..].into(), &mut out);
    event.expect("the right peer");
    connector
}

/// A reply that carries something.
fn carrying(tag: ReplyTag, blob: &[u8]) -> BytesMut {
    let head = ConnectReply {
        authorizer_len: blob.len() as u32,
        ..reply(tag)
    };
    let mut bytes = BytesMut::from(&bytes_of(&head)[..]);
    bytes.extend_from_slice(blob);
    bytes
}

/// The authorizer of a connect.
fn authorizer(sent: &[u8]) -> Bytes {
    let connect = Connect::decode(&mut Reader::new(sent, "connect")).expect("a connect");
    assert_eq!(connect.authorizer_protocol, CEPHX);
    assert_eq!(sent.len(), Connect::LEN + connect.authorizer_len as usize);
    Bytes::copy_from_slice(&sent[Connect::LEN..])
}

fn denied(result: Result<Option<ConnectorEvent>, ProtoError>, word: &str) {
    match result {
        Err(ProtoError::AuthDenied(text)) => assert!(text.contains(word), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_challenge_is_answered_and_each_later_connect_carries_the_answer() {
    let mut connector = connected(with_cephx());
    let mut out = BytesMut::new();
    let mut rx = carrying(ReplyTag::ChallengeAuthorizer, b"riddle");
    let event = connector.handle_input(&mut rx, &mut out).unwrap();
    let riddle = Bytes::from_static(b"riddle");
    assert_eq!(event, Some(ConnectorEvent::Challenge(riddle)));
    assert!(out.is_empty());
    connector.handle_challenge(Bytes::from_static(b"answer"), &mut out);
    assert_eq!(authorizer(&out.split()), "answer");

    // A retry proves too that the peer knows the key, and repeats the answer.
    let mut rx = carrying(ReplyTag::RetryGlobal, b"proof");
    let event = connector.handle_input(&mut rx, &mut out).unwrap();
    let proof = ConnectorEvent::Proof(Bytes::from_static(b"proof"));
    assert_eq!(event, Some(proof.clone()));
    let event = connector.handle_input(&mut rx, &mut out).unwrap();
    assert!(matches!(event, Some(ConnectorEvent::RetryGlobal { .. })));
    connector.handle_retry(9, &mut out);
    assert_eq!(authorizer(&out.split()), "answer");

    let mut rx = carrying(ReplyTag::Seq, b"proof");
    rx.extend_from_slice(&[0; 8]);
    let event = connector.handle_input(&mut rx, &mut out).unwrap();
    assert_eq!(event, Some(proof));
    let event = connector.handle_input(&mut rx, &mut out).unwrap();
    assert!(matches!(event, Some(ConnectorEvent::Ready(_))));
    assert_eq!(connector.state(), State::Opened);
}

#[test]
fn a_second_challenge_is_refused() {
    let mut connector = connected(with_cephx());
    let mut out = BytesMut::new();
    let mut rx = carrying(ReplyTag::ChallengeAuthorizer, b"riddle");
    connector.handle_input(&mut rx, &mut out).unwrap();
    connector.handle_challenge(Bytes::from_static(b"answer"), &mut out);
    let mut rx = carrying(ReplyTag::ChallengeAuthorizer, b"riddle");
    let error = connector.handle_input(&mut rx, &mut out).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn a_challenge_without_a_key_names_the_cure() {
    let mut rx = carrying(ReplyTag::ChallengeAuthorizer, b"riddle");
    let result = connected(client()).handle_input(&mut rx, &mut BytesMut::new());
    denied(result, "auth_service_required");
}

#[test]
fn a_peer_that_proves_nothing_is_refused() {
    for tag in [ReplyTag::Ready, ReplyTag::Seq, ReplyTag::RetryGlobal] {
        let mut rx = carrying(tag, b"");
        let result = connected(with_cephx()).handle_input(&mut rx, &mut BytesMut::new());
        denied(result, "does not show");
    }
}

#[test]
fn a_refusal_needs_no_proof() {
    let mut rx = carrying(ReplyTag::BadAuthorizer, b"");
    let result = connected(with_cephx()).handle_input(&mut rx, &mut BytesMut::new());
    denied(result, "ticket");
}

#[test]
fn a_reply_carries_what_was_attached_and_the_next_one_nothing() {
    let mut acceptor = Acceptor::new(acceptor_params());
    let mut out = BytesMut::new();
    acceptor.start(&mut out);
    out.clear();
    let mut rx = BytesMut::from(&[client_hello(), connect_bytes()].concat()[..]);
    let first = claim(acceptor.handle_input(&mut rx).unwrap());
    acceptor.attach(Bytes::from_static(b"riddle"));
    let refusal = Refusal::new(ReplyTag::ChallengeAuthorizer, &first, &terms());
    let verdict = super::Verdict::Refuse(refusal);
    assert_eq!(acceptor.handle_verdict(verdict, &mut out), Ok(None));
    let sent = out.split();
    let head = ConnectReply::decode(&mut Reader::new(&sent, "reply")).unwrap();
    assert_eq!(head.tag, ReplyTag::ChallengeAuthorizer);
    assert_eq!(head.authorizer_len, 6);
    assert_eq!(sent[ConnectReply::LEN..], *b"riddle");

    rx.extend_from_slice(&connect_bytes());
    claim(acceptor.handle_input(&mut rx).unwrap());
    assert_eq!(acceptor.handle_verdict(open(6), &mut out), Ok(None));
    let head = ConnectReply::decode(&mut Reader::new(&out, "reply")).unwrap();
    assert_eq!((head.tag, head.authorizer_len), (ReplyTag::Seq, 0));
}
