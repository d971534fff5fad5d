//! Each side against what real Ceph programs sent to each other.

use async_messenger::proto::v1::{
    Acceptor, AcceptorEvent, AcceptorParams, Connect, ConnectReply, Connector, ConnectorEvent,
    ConnectorParams, Refusal, ReplyTag, Verdict,
};
use async_messenger::wire::{EntityAddr, EntityName, Reader};
use bytes::{Bytes, BytesMut};

use super::vectors::{self, From, Recorded};
use super::{CLIENT_HELLO_LEN, HELLO_LEN};

/// What release 16.2.15 offers.
const PACIFIC: u64 = 0x3f01_cfbd_fffd_ffff;

/// Zeros for the bytes behind the IPv4 addresses of a hello, which carry garbage.
fn tidy(mut stream: Vec<u8>, hello_len: usize) -> Vec<u8> {
    for slot in (9..hello_len.min(stream.len())).step_by(EntityAddr::LEGACY_LEN) {
        let end = stream.len().min(slot + 24);
        stream[end.min(slot + 16)..end].fill(0);
    }
    stream
}

/// The handshake in a recording: the offers, the replies, and how long it is on either side.
struct Script {
    connects: Vec<(Connect, Bytes)>,
    replies: Vec<ConnectReply>,
    /// Sequence numbers behind a SEQ reply, as far as they were sent.
    seqs: [Option<u64>; 2],
    lens: [usize; 2],
}

fn script(recorded: &Recorded) -> Script {
    let streams = [recorded.stream(From::Client), recorded.stream(From::Server)];
    let mut c = Reader::new(&streams[0], "client");
    let mut s = Reader::new(&streams[1], "server");
    let mut out = Script {
        connects: vec![],
        replies: vec![],
        seqs: [None; 2],
        lens: [0; 2],
    };
    let hellos = (c.bytes(CLIENT_HELLO_LEN), s.bytes(HELLO_LEN));
    while let Ok(connect) = Connect::decode(&mut c) {
        assert!(hellos.0.is_ok() && hellos.1.is_ok());
        let blob = c.bytes(connect.authorizer_len as usize).unwrap();
        out.connects.push((connect, Bytes::copy_from_slice(blob)));
        let Ok(reply) = ConnectReply::decode(&mut s) else {
            break;
        };
        s.bytes(reply.authorizer_len as usize).unwrap();
        out.replies.push(reply);
        if matches!(reply.tag, ReplyTag::Seq | ReplyTag::Ready) {
            if reply.tag == ReplyTag::Seq {
                out.seqs = [c.u64().ok(), s.u64().ok()];
            }
            break;
        }
    }
    out.lens = [
        streams[0].len() - c.remaining(),
        streams[1].len() - s.remaining(),
    ];
    out
}

/// What one of our sides made of a recorded stream: events as text, bytes sent, bytes left.
type Replay = (Vec<String>, Vec<u8>, Vec<u8>);

fn replay_connector(recorded: &Recorded, script: &Script, pieces: &[&[u8]]) -> Replay {
    let hello = recorded.stream(From::Client);
    let own = EntityAddr::decode_legacy(&mut Reader::new(&hello[9..], "own")).unwrap();
    let server = recorded.stream(From::Server);
    let meant = EntityAddr::decode_legacy(&mut Reader::new(&server[9..], "meant")).unwrap();
    let mut connects = script.connects.iter().map(|(connect, _)| connect);
    let (first, blob) = &script.connects[0];
    connects.next();
    let mut connector = Connector::new(ConnectorParams {
        name: EntityName::new(first.host_type, 1),
        // A client does not know its ip before the first answer.
        addr: if own.port() == 0 {
            EntityAddr { sock: None, ..own }
        } else {
            own
        },
        peer_addr: meant,
        features: PACIFIC,
        required: 0,
        protocol_version: first.protocol_version,
        authorizer: (!blob.is_empty()).then(|| (first.authorizer_protocol, blob.clone())),
        lossy: first.flags & 1 != 0,
        global_seq: first.global_seq,
        connect_seq: first.connect_seq,
        in_seq: script.seqs[0].unwrap_or(0),
    });
    let (mut rx, mut out, mut events) = (BytesMut::new(), BytesMut::new(), Vec::new());
    connector.start(&mut out);
    for piece in pieces {
        rx.extend_from_slice(piece);
        while let Some(event) = connector.handle_input(&mut rx, &mut out).unwrap() {
            events.push(format!("{event:?}"));
            if matches!(
                event,
                ConnectorEvent::RetryGlobal { .. }
                    | ConnectorEvent::RetrySession { .. }
                    | ConnectorEvent::ResetSession
            ) {
                let Some(next) = connects.next() else { break };
                connector.handle_retry(next.global_seq, &mut out);
            }
        }
    }
    (events, out.to_vec(), rx.to_vec())
}

fn replay_acceptor(recorded: &Recorded, script: &Script, pieces: &[&[u8]]) -> Replay {
    let server = recorded.stream(From::Server);
    let own = EntityAddr::decode_legacy(&mut Reader::new(&server[9..], "own")).unwrap();
    let mut acceptor = Acceptor::new(AcceptorParams {
        addr: own,
        peer_seen: recorded.client,
    });
    let mut replies = script.replies.iter();
    let (mut rx, mut out, mut events) = (BytesMut::new(), BytesMut::new(), Vec::new());
    acceptor.start(&mut out);
    for piece in pieces {
        rx.extend_from_slice(piece);
        while let Some(event) = acceptor.handle_input(&mut rx).unwrap() {
            events.push(format!("{event:?}"));
            let AcceptorEvent::Claim(_) = event else {
                break;
            };
            let Some(reply) = replies.next() else { break };
            let verdict = match reply.tag {
                ReplyTag::Seq | ReplyTag::Ready => Verdict::Open {
                    features: reply.features,
                    protocol_version: reply.protocol_version,
                    global_seq: reply.global_seq,
                    lossy: reply.flags & 1 != 0,
                    in_seq: script.seqs[1].unwrap_or(0),
                    reset: reply.tag == ReplyTag::Ready,
                },
                tag => Verdict::Refuse(Refusal {
                    tag,
                    features: reply.features,
                    protocol_version: reply.protocol_version,
                    global_seq: reply.global_seq,
                    connect_seq: reply.connect_seq,
                }),
            };
            let event = acceptor.handle_verdict(verdict, &mut out).unwrap();
            events.extend(event.map(|event| format!("{event:?}")));
        }
    }
    (events, out.to_vec(), rx.to_vec())
}

type Side = fn(&Recorded, &Script, &[&[u8]]) -> Replay;

/// Replays one side of a recording, whole and cut everywhere in its handshake.
fn check_recorded(recorded: &Recorded, script: &Script, from: From, side: Side) {
    let input = recorded.stream(from);
    let (at, answers, hello_len) = match from {
        From::Server => (1, recorded.stream(From::Client), CLIENT_HELLO_LEN),
        From::Client => (0, recorded.stream(From::Server), HELLO_LEN),
    };
    let whole = side(recorded, script, &[&input]);
    let (events, sent, left) = &whole;
    let name = &recorded.name;
    let answers = tidy(answers, hello_len);
    // A side may have died before it sent all of its part.
    let common = sent.len().min(answers.len()).min(script.lens[1 - at]);
    assert_eq!(sent[..common], answers[..common], "{name}: what we send");
    if script.seqs[0].is_some() && script.seqs[1].is_some() {
        assert_eq!(
            sent.len(),
            script.lens[1 - at],
            "{name}: no more than the handshake"
        );
        assert!(
            events.last().unwrap().starts_with("Ready"),
            "{name}: {events:?}"
        );
        assert_eq!(*left, input[script.lens[at]..], "{name}: what we leave");
    }
    for cut in 0..=script.lens[at] {
        let (a, b) = input.split_at(cut);
        assert_eq!(
            side(recorded, script, &[a, b]),
            whole,
            "{name}: cut at {cut}"
        );
    }
    let bytes: Vec<&[u8]> = input.chunks(1).take(2000).collect();
    let rest = &input[bytes.len()..];
    let bytes: Vec<&[u8]> = bytes.into_iter().chain([rest]).collect();
    assert_eq!(
        side(recorded, script, &bytes),
        whole,
        "{name}: byte by byte"
    );
}

#[test]
fn recorded_handshakes() {
    let mut opened = 0;
    for name in vectors::ALL {
        for recorded in vectors::load(name) {
            let script = script(&recorded);
            if script.connects.is_empty() {
                continue;
            }
            check_recorded(&recorded, &script, From::Server, replay_connector);
            check_recorded(&recorded, &script, From::Client, replay_acceptor);
            opened += usize::from(script.seqs[0].is_some());
        }
    }
    assert!(opened >= 8, "only {opened} recorded handshakes");
}
