//! Every reply tag, byte by byte: what an acceptor writes, what a connector makes of it, and what
//! it sends next.

use async_messenger::proto::v1::{
    Acceptor, Connector, ConnectorEvent, ConnectorParams, Refusal, ReplyTag, State, Verdict,
};
use bytes::BytesMut;

use super::vectors::unhex;
use super::{acceptor_params, claim, client, client_hello, connect_bytes, hello, open, terms};

/// What the connector does.
enum Then {
    /// Is open, and has sent this.
    Opens(&'static str),
    /// Asks its caller, and then sends a connect with this incarnation.
    Asks(&'static str),
    Waits,
    Fails,
}

/// A reply from the features up to the incarnation, and behind it.
const FEATURES: &str = "fffffdffbfcf013f";
const END: &str = "0f000000 00000000 01";

/// Tag, number of the attempt, incarnation, what follows the reply, and what the connector does.
fn replies() -> [(ReplyTag, [&'static str; 4], Then); 10] {
    use Then::{Asks, Fails, Opens, Waits};
    let (zero, five) = ("00000000", "05000000");
    [
        (ReplyTag::Ready, ["01", "0a000000", five, ""], Opens("")),
        (ReplyTag::ResetSession, ["02", zero, zero, ""], Asks(zero)),
        (ReplyTag::Wait, ["03", zero, zero, ""], Waits),
        (
            ReplyTag::RetrySession,
            ["04", zero, "06000000", ""],
            Asks("06000000"),
        ),
        (
            ReplyTag::RetryGlobal,
            ["05", "0a000000", zero, ""],
            Asks("04000000"),
        ),
        (ReplyTag::BadProtocolVersion, ["0a", zero, zero, ""], Fails),
        (ReplyTag::BadAuthorizer, ["0b", zero, zero, ""], Fails),
        (ReplyTag::Features, ["0c", zero, zero, ""], Fails),
        (
            ReplyTag::Seq,
            ["0d", "0a000000", five, "0700000000000000"],
            Opens("0900000000000000"),
        ),
        (ReplyTag::ChallengeAuthorizer, ["10", zero, zero, ""], Fails),
    ]
}

fn connector() -> (Connector, BytesMut) {
    let mut connector = Connector::new(ConnectorParams {
        connect_seq: 4,
        in_seq: 9,
        global_seq: 7,
        ..client()
    });
    let mut out = BytesMut::new();
    connector.start(&mut out);
    let mut rx = BytesMut::from(&hello()[..]);
    connector.handle_input(&mut rx, &mut out).expect("hello");
    out.clear();
    (connector, out)
}

#[test]
fn a_connector_answers_every_reply_tag_byte_by_byte() {
    for (tag, [number, global_seq, connect_seq, rest], then) in replies() {
        let bytes = unhex(&[number, FEATURES, global_seq, connect_seq, END, rest].join(" "));
        let (mut connector, mut out) = connector();
        let mut rx = BytesMut::from(&bytes[..bytes.len() - 1]);
        let early = connector.handle_input(&mut rx, &mut out);
        assert_eq!(early, Ok(None), "{tag:?} without its last byte");
        rx.extend_from_slice(&bytes[bytes.len() - 1..]);
        let event = connector.handle_input(&mut rx, &mut out);
        match then {
            Then::Opens(sent) => {
                let is_open = matches!(event, Ok(Some(ConnectorEvent::Ready(_))));
                assert!(is_open, "{tag:?}: {event:?}");
                assert_eq!(connector.state(), State::Opened);
                assert_eq!(out, unhex(sent), "{tag:?}");
            }
            Then::Asks(connect_seq) => {
                assert!(matches!(event, Ok(Some(_))), "{tag:?}: {event:?}");
                assert!(out.is_empty(), "{tag:?}: the caller decides first");
                connector.handle_retry(11, &mut out);
                let attempt = [FEATURES, "08000000 0b000000", connect_seq, END];
                // Without an authorizer its method and length are 0.
                let want = attempt
                    .join(" ")
                    .replace(END, "0f000000 00000000 00000000 01");
                assert_eq!(out, unhex(&want), "{tag:?}");
            }
            Then::Waits => {
                assert_eq!(event, Ok(Some(ConnectorEvent::Wait)));
                assert!(out.is_empty());
            }
            Then::Fails => {
                assert!(event.is_err(), "{tag:?}: {event:?}");
                assert!(out.is_empty(), "{tag:?}: nothing is sent");
            }
        }
        assert!(rx.is_empty(), "{tag:?}: all is read");
    }
}

/// What is said to a claim that is not let in; the next claim may be.
#[test]
fn an_acceptor_writes_every_reply_tag_byte_by_byte() {
    for (tag, [number, global_seq, connect_seq, _], then) in replies() {
        if matches!(then, Then::Opens(_)) || tag == ReplyTag::ChallengeAuthorizer {
            // `acceptor_opens` has the first ones; nobody is challenged by this side.
            continue;
        }
        let mut acceptor = Acceptor::new(acceptor_params());
        let mut out = BytesMut::new();
        acceptor.start(&mut out);
        let mut rx = BytesMut::from(&[client_hello(), connect_bytes()].concat()[..]);
        let asked = claim(acceptor.handle_input(&mut rx).expect("a claim"));
        let word = |hex| {
            let bytes = unhex(hex);
            u32::from_le_bytes(bytes.try_into().expect("4 bytes"))
        };
        let mut refusal = Refusal::new(tag, &asked, &terms());
        refusal.global_seq = word(global_seq);
        refusal.connect_seq = word(connect_seq);
        out.clear();
        let event = acceptor.handle_verdict(Verdict::Refuse(refusal), &mut out);
        assert_eq!(event, Ok(None), "{tag:?}");
        // Flags are those of an open session only.
        let end = END.replace(" 01", " 00");
        let want = unhex(&[number, FEATURES, global_seq, connect_seq, &end].join(" "));
        assert_eq!(out.split(), want, "{tag:?}");

        rx.extend_from_slice(&connect_bytes());
        claim(acceptor.handle_input(&mut rx).expect("another claim"));
        acceptor
            .handle_verdict(open(6), &mut out)
            .expect("it is let in");
        assert_eq!(out[0], ReplyTag::Seq as u8, "behind {tag:?}");
    }
}
