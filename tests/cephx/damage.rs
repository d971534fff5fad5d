//! Payloads that were cut or changed on their way, or never made sense: no panic, and nobody is
//! let in by a proof that is not whole.

use async_messenger::auth::{AuthAnswer, AuthRequest, KeyType, Method, Mode, SessionEvent};
use async_messenger::wire::EntityType;

use crate::flows::{Cluster, cluster};
use crate::kit::{Dice, NOW, Played, admin, at, play, play_altered};
use crate::vectors::Rng;

const TYPES: [KeyType; 2] = [KeyType::Aes, KeyType::Aes256k];

/// One handshake whose payload number `step` is altered, with the same dice each time.
fn altered(
    all: &Cluster,
    peer: EntityType,
    step: usize,
    alter: &mut dyn FnMut(&mut Vec<u8>),
) -> Option<Played> {
    let mut client = all.client.client(peer);
    let authority = if peer == EntityType::MON {
        &all.mon
    } else {
        &all.osd
    };
    let mut server = authority.server(EntityType::CLIENT);
    let mut dice = Dice::new(99);
    let mut alter = |n: usize, payload: &mut Vec<u8>| {
        if n == step {
            alter(payload);
        }
    };
    play_altered(&mut *client, &mut *server, &mut dice, NOW, &mut alter).ok()
}

/// The length of each payload of a handshake.
fn lengths(all: &Cluster, peer: EntityType) -> Vec<usize> {
    let mut out = Vec::new();
    let mut client = all.client.client(peer);
    let authority = if peer == EntityType::MON {
        &all.mon
    } else {
        &all.osd
    };
    let mut server = authority.server(EntityType::CLIENT);
    let mut dice = Dice::new(99);
    let mut note = |_: usize, payload: &mut Vec<u8>| out.push(payload.len());
    play_altered(&mut *client, &mut *server, &mut dice, NOW, &mut note).unwrap();
    assert_eq!(out.len(), 4);
    out
}

#[test]
fn cut_at_every_byte() {
    for kind in TYPES {
        for mode in [Mode::CRC, Mode::SECURE] {
            let mut all = cluster(kind, kind, &[mode]);
            all.log_in(NOW);
            for peer in [EntityType::MON, EntityType::OSD] {
                for (step, len) in lengths(&all, peer).into_iter().enumerate() {
                    for cut in 0..len {
                        let played =
                            altered(&all, peer, step, &mut |payload| payload.truncate(cut));
                        assert!(played.is_none(), "{kind} {mode} {peer} {step} {cut}");
                    }
                }
            }
        }
    }
}

/// Bytes that prove nothing: versions, and what a server does not look at.
fn is_free(peer: EntityType, step: usize, at: usize) -> bool {
    match (peer, step) {
        // The name and number that are asked for, and the first byte, which says the flow.
        (EntityType::MON, 0) => true,
        (EntityType::MON, 1) => at == 0,
        // Version of the proof and the ticket, and the mask of services.
        (EntityType::MON, 2) => at == 2,
        // Status, versions, count; what the client gets is looked at below.
        (EntityType::MON, _) => at < 16,
        // The flow, the version of the ticket.
        (_, 0 | 2) => at == 0 || at == 13,
        _ => false,
    }
}

#[test]
fn each_byte_changed() {
    for kind in TYPES {
        let mut all = cluster(kind, kind, &[Mode::SECURE]);
        all.log_in(NOW);
        for peer in [EntityType::MON, EntityType::OSD] {
            let lengths = lengths(&all, peer);
            for (step, len) in lengths.into_iter().enumerate() {
                for place in 0..len {
                    for flip in [1_u8, 0x80, 0xff] {
                        let played =
                            altered(&all, peer, step, &mut |payload| payload[place] ^= flip);
                        check(kind, peer, (step, place, len), played);
                    }
                }
            }
        }
    }
}

fn check(
    kind: KeyType,
    peer: EntityType,
    (step, place, len): (usize, usize, usize),
    played: Option<Played>,
) {
    let Some(played) = played else { return };
    if is_free(peer, step, place) {
        return;
    }
    let what = format!("{kind} {peer} {step} {place}/{len}");
    let same_keys = played.client.session_key == played.server.session_key;
    match (peer, step) {
        // Tail of the proof: the old ticket's version and the mask of services.
        (EntityType::MON, 2) => assert!(place >= 19, "{what}"),
        // The answer of the monitor holds opaque tickets, and for keys of type 1 sealed parts
        // without a check of their own. The signature that follows is made with the session key.
        (EntityType::MON, 3) => {}
        // A ticket of type 1 has no check of its own either; who can change one can read it.
        // A ticket of type 1 has no check of its own either; who can change one can read it. What
        // comes behind it in the first authorizer proves nothing: the second one does.
        (_, 0 | 2) if kind == KeyType::Aes => {
            let end = if step == 0 { len } else { len - 36 };
            assert!((26..end).contains(&place), "{what}");
            assert_eq!(played.server.global_id, played.client.global_id, "{what}");
        }
        (_, 3) if kind == KeyType::Aes => {
            // The nonce is in the first two blocks; behind it comes the secret, which both sides
            // then see in a different way, and none of their frames opens.
            let differs = played.client.connection_secret != played.server.connection_secret;
            assert!(same_keys && differs && place >= 4 + 16, "{what}");
        }
        _ => panic!("let in: {what}"),
    }
}

#[test]
fn absurd_lengths() {
    for kind in TYPES {
        let mut all = cluster(kind, kind, &[Mode::SECURE]);
        all.log_in(NOW);
        for peer in [EntityType::MON, EntityType::OSD] {
            for (step, len) in lengths(&all, peer).into_iter().enumerate() {
                for place in 0..len.saturating_sub(3) {
                    let values = [0x7fff_ffff_u32, 0xffff_ffff, 0x8000_0000, 0xffff_fffe];
                    let count = if place < 64 { 4 } else { 2 };
                    for absurd in &values[..count] {
                        altered(&all, peer, step, &mut |payload| {
                            payload[place..place + 4].copy_from_slice(&absurd.to_le_bytes());
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn noise() {
    let mut rng = Rng(4242);
    for kind in TYPES {
        let mut all = cluster(kind, kind, &[Mode::CRC]);
        all.log_in(NOW);
        for round in 0..3000 {
            let peer = [EntityType::MON, EntityType::OSD][round % 2];
            let step = 1 + rng.below(3);
            altered(&all, peer, step, &mut |payload| rng.mutate(payload));
            // Out of the blue.
            let payload: Vec<u8> = (0..rng.below(64)).map(|_| rng.below(256) as u8).collect();
            let request = AuthRequest {
                method: Method(rng.below(4) as u32),
                modes: vec![Mode::CRC],
                payload: payload.clone(),
            };
            let dice = &mut Dice::new(3);
            let mut server = all.osd.server(EntityType::CLIENT);
            let answer = at(dice, NOW, |cx| server.more(cx, &payload));
            assert!(matches!(answer, AuthAnswer::Refused { .. }));
            let answer = at(dice, NOW, |cx| server.begin(cx, &request));
            assert!(!matches!(answer, AuthAnswer::Done { .. }));
            let mut client = all.client.client(EntityType::MON);
            assert!(at(dice, NOW, |cx| client.more(cx, &payload)).is_err());
            assert!(at(dice, NOW, |cx| client.done(cx, 1, Mode::CRC, &payload)).is_err());
        }
    }
}

#[test]
fn messages_of_a_session() {
    let mut rng = Rng(5);
    for kind in TYPES {
        let all = cluster(kind, kind, &[Mode::CRC]);
        let mut dice = Dice::new(1);
        // Good payloads of each kind, to change.
        let mut session = all.client.session();
        let mut server = all.mon.session();
        let mut sent = vec![session.begin().unwrap()];
        let mut replies = Vec::new();
        loop {
            let last = sent.last().unwrap();
            let reply = at(&mut dice, NOW, |cx| {
                server.handle(cx, last.protocol, &last.payload)
            });
            replies.push(reply.clone());
            let head = (reply.protocol, reply.result);
            let event = at(&mut dice, NOW, |cx| {
                session.handle_reply(cx, head, reply.global_id, &reply.payload)
            });
            match event.unwrap() {
                SessionEvent::Send(next) => sent.push(next),
                _ => break,
            }
        }
        for _ in 0..2000 {
            let mut server = all.mon.session();
            let mut session = all.client.session();
            session.begin().unwrap();
            let bad = rng.below(2);
            for (i, (message, reply)) in sent.iter().zip(&replies).enumerate() {
                let (mut message, mut reply) = (message.payload.clone(), reply.clone());
                if bad == i {
                    rng.mutate(&mut message);
                    rng.mutate(&mut reply.payload);
                }
                at(&mut dice, NOW, |cx| {
                    server.handle(cx, sent[i].protocol, &message)
                });
                let head = (reply.protocol, reply.result);
                let _ = at(&mut dice, NOW, |cx| {
                    session.handle_reply(cx, head, reply.global_id, &reply.payload)
                });
            }
            let noise: Vec<u8> = (0..rng.below(80)).map(|_| rng.below(256) as u8).collect();
            at(&mut dice, NOW, |cx| server.handle(cx, 2, &noise));
        }
    }
}

/// What a refused peer is told does not depend on what was wrong with its proof.
#[test]
fn all_proofs_fail_alike() {
    let mut all = cluster(KeyType::Aes256k, KeyType::Aes256k, &[Mode::CRC]);
    all.log_in(NOW);
    let mut told = Vec::new();
    for place in [0, 14, 30, 60, 150, 200] {
        let mut client = all.client.client(EntityType::OSD);
        let mut server = all.osd.server(EntityType::CLIENT);
        let dice = &mut Dice::new(1);
        let mut request = at(dice, NOW, |cx| client.begin(cx)).unwrap();
        request.payload[place] ^= 0x55;
        let AuthAnswer::Refused { refusal, .. } = at(dice, NOW, |cx| server.begin(cx, &request))
        else {
            panic!("let in: {place}");
        };
        told.push(refusal);
    }
    told.dedup();
    assert_eq!((told.len(), told[0].result), (1, -13));
    let mut client = all.client.client(EntityType::OSD);
    let mut server = all.osd.server(EntityType::CLIENT);
    let played = play(&mut *client, &mut *server, &mut all.dice, NOW).unwrap();
    assert_eq!(played.server.name, admin());
}
