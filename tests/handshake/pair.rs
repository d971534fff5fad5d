//! Our two sides against each other, and each against garbage.

use async_messenger::proto::v1::{
    Acceptor, AcceptorEvent, Connector, ConnectorEvent, ConnectorParams, Refusal, ReplyTag,
    Verdict, none_authorizer, vet,
};
use async_messenger::wire::{AuthName, EntityType};
use bytes::BytesMut;

use super::vectors::Rng;
use super::{CLIENT_HELLO_LEN, HELLO_LEN, acceptor_params, client, open, terms};

/// Everything that shows outside in one meeting of our two sides.
#[derive(PartialEq, Eq, Debug)]
struct Meeting {
    connector: Vec<ConnectorEvent>,
    acceptor: Vec<AcceptorEvent>,
    sent: [Vec<u8>; 2],
    left: [usize; 2],
}

/// Lets our two sides meet, `size` bytes at a time, with these refusals first.
fn meet(size: usize, refusals: &[(ReplyTag, u32, u32)]) -> Meeting {
    let mut refusals = refusals.iter();
    let (method, blob) = none_authorizer(&AuthName::new(EntityType::CLIENT, "admin"), 4106);
    let params = ConnectorParams {
        authorizer: Some((method, blob)),
        connect_seq: 2,
        in_seq: 5,
        ..client()
    };
    let mut connector = Connector::new(params);
    let mut acceptor = Acceptor::new(acceptor_params());
    let mut log = Meeting {
        connector: vec![],
        acceptor: vec![],
        sent: [vec![], vec![]],
        left: [0; 2],
    };
    let (mut to_acceptor, mut to_connector) = (BytesMut::new(), BytesMut::new());
    connector.start(&mut to_acceptor);
    acceptor.start(&mut to_connector);
    let (mut c_rx, mut a_rx) = (BytesMut::new(), BytesMut::new());
    while !to_acceptor.is_empty() || !to_connector.is_empty() {
        let piece = to_acceptor.split_to(size.min(to_acceptor.len()));
        log.sent[0].extend_from_slice(&piece);
        a_rx.extend_from_slice(&piece);
        while let Some(event) = acceptor.handle_input(&mut a_rx).unwrap() {
            log.acceptor.push(event.clone());
            let AcceptorEvent::Claim(claim) = event else {
                to_connector.extend_from_slice(b"first bytes of the open phase");
                break;
            };
            let verdict = match refusals.next() {
                Some(&(tag, global_seq, connect_seq)) => {
                    let refusal = Refusal::new(tag, &claim, &terms());
                    Verdict::Refuse(Refusal {
                        global_seq,
                        connect_seq,
                        ..refusal
                    })
                }
                None => open(7),
            };
            assert_eq!(
                acceptor.handle_verdict(verdict, &mut to_connector),
                Ok(None)
            );
        }
        let piece = to_connector.split_to(size.min(to_connector.len()));
        log.sent[1].extend_from_slice(&piece);
        c_rx.extend_from_slice(&piece);
        while let Some(event) = connector.handle_input(&mut c_rx, &mut to_acceptor).unwrap() {
            log.connector.push(event.clone());
            match event {
                ConnectorEvent::RetryGlobal { peer_global_seq } => {
                    connector.handle_retry(peer_global_seq + 1, &mut to_acceptor);
                }
                ConnectorEvent::RetrySession { .. } | ConnectorEvent::ResetSession => {
                    connector.handle_retry(8, &mut to_acceptor);
                }
                ConnectorEvent::Ready(_) => to_acceptor.extend_from_slice(b"and of this side"),
                ConnectorEvent::Learned(_) | ConnectorEvent::Wait => {}
                ConnectorEvent::Challenge(_) | ConnectorEvent::Proof(_) => {
                    unreachable!("the method is none")
                }
            }
        }
    }
    log.left = [c_rx.len(), a_rx.len()];
    log
}

#[test]
fn our_two_sides_agree_however_the_bytes_are_cut() {
    let all = [
        (ReplyTag::RetryGlobal, 10, 0),
        (ReplyTag::RetrySession, 0, 4),
        (ReplyTag::ResetSession, 0, 0),
        (ReplyTag::RetryGlobal, 20, 0),
    ];
    for refusals in [&[][..], &all[..1], &all] {
        let whole = meet(usize::MAX, refusals);
        let (Some(ConnectorEvent::Ready(c)), Some(AcceptorEvent::Ready(a))) =
            (whole.connector.last(), whole.acceptor.last())
        else {
            panic!("{whole:?}");
        };
        assert_eq!(
            (c.features, c.connect_seq, c.lossy),
            (a.features, a.connect_seq, a.lossy)
        );
        assert_eq!((c.acked, c.global_seq), (Some(7), 3));
        assert_eq!(a.acked, Some(if refusals.len() > 1 { 0 } else { 5 }));
        assert_eq!(whole.left, [29, 16]);
        assert_eq!(whole.acceptor.len(), refusals.len() + 2);
        for size in 1..300 {
            assert_eq!(meet(size, refusals), whole, "{size} bytes at a time");
        }
    }
}

/// Feeds garbage to both sides. They may refuse it, but must neither panic nor send much.
#[test]
fn garbage_does_no_harm() {
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    let whole = meet(usize::MAX, &[(ReplyTag::RetryGlobal, 10, 0)]);
    for round in 0..100_000 {
        let mut bytes = whole.sent[round % 2].clone();
        // Mostly leave the hello alone, to get behind it.
        let keep = if rng.below(4) == 0 {
            0
        } else {
            [CLIENT_HELLO_LEN, HELLO_LEN][round % 2]
        };
        let mut tail = bytes.split_off(keep);
        rng.mutate(&mut tail);
        bytes.extend_from_slice(&tail);
        let (head, tail) = bytes.split_at(rng.below(bytes.len()));
        let (mut rx, mut out) = (BytesMut::from(head), BytesMut::new());
        if round % 2 == 0 {
            let mut acceptor = Acceptor::new(acceptor_params());
            acceptor.start(&mut out);
            feed_acceptor(&mut acceptor, &mut rng, &mut rx, &mut out);
            rx.extend_from_slice(tail);
            feed_acceptor(&mut acceptor, &mut rng, &mut rx, &mut out);
        } else {
            let mut connector = Connector::new(client());
            connector.start(&mut out);
            feed_connector(&mut connector, &mut rx, &mut out);
            rx.extend_from_slice(tail);
            feed_connector(&mut connector, &mut rx, &mut out);
        }
        assert!(out.len() < 1000);
    }
}

fn feed_acceptor(acceptor: &mut Acceptor, rng: &mut Rng, rx: &mut BytesMut, out: &mut BytesMut) {
    loop {
        match acceptor.handle_input(rx) {
            Ok(Some(AcceptorEvent::Claim(claim))) => {
                let verdict = match vet(&claim, &terms()) {
                    Err(refusal) => Verdict::Refuse(refusal),
                    Ok(()) if rng.below(2) == 0 => {
                        Verdict::Refuse(Refusal::new(ReplyTag::RetryGlobal, &claim, &terms()))
                    }
                    Ok(()) => open(1),
                };
                acceptor.handle_verdict(verdict, out).unwrap();
            }
            Ok(Some(AcceptorEvent::Ready(_)) | None) => return,
            Err(e) => {
                assert_eq!(acceptor.handle_input(rx), Err(e.clone()));
                assert!(!e.to_string().is_empty());
                return;
            }
        }
    }
}

fn feed_connector(connector: &mut Connector, rx: &mut BytesMut, out: &mut BytesMut) {
    loop {
        match connector.handle_input(rx, out) {
            Ok(Some(ConnectorEvent::Learned(_))) => {}
            Ok(Some(ConnectorEvent::Ready(_) | ConnectorEvent::Wait) | None) => return,
            Ok(Some(_)) => connector.handle_retry(11, out),
            Err(e) => {
                assert_eq!(connector.handle_input(rx, out), Err(e.clone()));
                assert!(!e.to_string().is_empty());
                return;
            }
        }
    }
}
