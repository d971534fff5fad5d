//! Damaged, oversized and unexpected things on an open connection, whichever side the subject is.

use std::time::Duration;

use async_messenger::message::{Payload as _, Registry, UnknownTypes};
use async_messenger::messages::{MMonGetVersion, MPing};
use async_messenger::proto::v1::State;
use async_messenger::{Builder, ErrorKind};

use crate::bed::{Bed, ROLES, Role, check_fault};
use crate::peers::{config, eventually};
use crate::scripted::*;
use crate::{Words, fault, of_a_script, protocol};

/// What is sent, where that is found out, and the words for it.
type Case = (&'static str, Vec<u8>, State, Words);

const FOOTER: State = State::ReadFooterAndDispatch;

/// Each case faults the connection, and only that one, on either side.
fn check(change: impl Fn(Builder) -> Builder, cases: &[Case]) {
    for role in ROLES {
        let mut bed = Bed::new(role, &change);
        for (name, bytes, phase, words) in cases {
            let (mut wire, peer) = bed.open();
            wire.try_send(bytes);
            wire.end();
            let error = bed.subject.inbox.reset();
            check_fault(
                &format!("{name}, {role:?}"),
                &error,
                peer,
                &protocol(*phase, words),
            );
            bed.bystander_echoes();
        }
        bed.finish();
    }
}

/// A frame with one bit of one byte inverted.
fn damaged(at: usize) -> Vec<u8> {
    let mut bytes = Frame::new(1).bytes();
    bytes[at] ^= 0x10;
    bytes
}

#[test]
fn damage_is_found_wherever_it_is() {
    let header = 1 + 53;
    let [front, middle, data] = Frame::new(1).parts.map(|part| part.len());
    let footer = header + front + middle + data;
    check(
        |b| b,
        &[
            (
                "sequence number",
                damaged(1),
                State::Opened,
                &["corrupt message header", "crc is"],
            ),
            (
                "length",
                damaged(1 + 25),
                State::Opened,
                &["corrupt message header"],
            ),
            (
                "crc of the header",
                damaged(header - 1),
                State::Opened,
                &["corrupt message header"],
            ),
            (
                "front",
                damaged(header),
                FOOTER,
                &["corrupt front segment", "network"],
            ),
            (
                "middle",
                damaged(header + front),
                FOOTER,
                &["corrupt middle segment"],
            ),
            (
                "data",
                damaged(footer - 1),
                FOOTER,
                &["corrupt data segment"],
            ),
            (
                "crc of the front",
                damaged(footer),
                FOOTER,
                &["corrupt front segment"],
            ),
            (
                "crc of the middle",
                damaged(footer + 4),
                FOOTER,
                &["corrupt middle segment"],
            ),
            (
                "crc of the data",
                damaged(footer + 8),
                FOOTER,
                &["corrupt data segment"],
            ),
        ],
    );
}

/// A whole frame with other flags in its footer.
fn flagged(flags: u8) -> Vec<u8> {
    Frame {
        flags,
        ..Frame::new(1)
    }
    .bytes()
}

#[test]
fn a_message_that_was_aborted_is_not_delivered() {
    check(
        |b| b,
        &[
            ("no flags", flagged(0), FOOTER, &["aborted a message"]),
            ("only NOCRC", flagged(2), FOOTER, &["aborted a message"]),
        ],
    );
}

#[test]
fn a_sender_may_leave_the_crc_of_the_data_out() {
    for role in ROLES {
        let mut bed = Bed::new(role, |b| b);
        let (mut wire, _) = bed.open();
        let mut bytes = flagged(1 | 2);
        let in_data = bytes.len() - 21 - 1;
        bytes[in_data] ^= 1;
        wire.send(&bytes);
        let (_, message) = bed.subject.inbox.find("message", of_a_script);
        assert_ne!(message.data().to_bytes(), &Frame::new(1).parts[2][..]);
        drop((wire, message));
        bed.subject.inbox.reset();
        bed.finish();
    }
}

/// The tag and the header of a message of such lengths, and nothing of its payload.
fn announced(lens: [u32; 3]) -> Vec<u8> {
    [
        vec![tag::MSG],
        Frame {
            lens: lens.map(Some),
            ..Frame::new(1)
        }
        .header(),
    ]
    .concat()
}

#[test]
fn a_length_above_its_limit_is_refused_before_its_bytes_come() {
    let max = u32::MAX;
    let cases: [Case; 6] = [
        (
            "front + 1",
            announced([(64 << 20) + 1, 0, 0]),
            State::Opened,
            &["front segment 67108865"],
        ),
        (
            "front",
            announced([max, 0, 0]),
            State::Opened,
            &["front segment 4294967295"],
        ),
        (
            "middle + 1",
            announced([0, (16 << 20) + 1, 0]),
            State::Opened,
            &["at most 16777216"],
        ),
        (
            "middle",
            announced([0, max, 0]),
            State::Opened,
            &["middle segment 4294967295"],
        ),
        (
            "data + 1",
            announced([0, 0, (256 << 20) + 1]),
            State::Opened,
            &["at most 268435456"],
        ),
        (
            "data",
            announced([0, 0, max]),
            State::Opened,
            &["exceeds a limit", "data segment"],
        ),
    ];
    check(|b| b, &cases);
}

#[test]
fn a_limit_of_ones_own_is_exact() {
    let own = |b: Builder| {
        let mut config = config();
        config.limits.front_max = 5;
        config.limits.middle_max = 3;
        config.limits.data_max = 8;
        b.config(config)
    };
    check(
        own,
        &[
            (
                "front",
                announced([6, 3, 8]),
                State::Opened,
                &["front segment 6", "at most 5"],
            ),
            (
                "middle",
                announced([5, 4, 8]),
                State::Opened,
                &["middle segment 4", "at most 3"],
            ),
            (
                "data",
                announced([5, 3, 9]),
                State::Opened,
                &["data segment 9", "at most 8"],
            ),
        ],
    );
    let mut bed = Bed::new(Role::Connector, own);
    let (mut wire, _) = bed.open();
    wire.send(&Frame::new(1).bytes());
    let (_, message) = bed.subject.inbox.find("message", of_a_script);
    assert_eq!(message.size(), 16, "5 + 3 + 8 are within the limits");
    drop(wire);
    bed.subject.inbox.reset();
    bed.finish();
}

#[test]
fn a_tag_that_does_not_exist_in_an_open_connection_ends_it() {
    for role in ROLES {
        let mut bed = Bed::new(role, |b| b);
        let known = [
            tag::CLOSE,
            tag::MSG,
            tag::ACK,
            tag::KEEPALIVE,
            tag::KEEPALIVE2,
            15,
        ];
        for tag in (0..=255).filter(|tag| !known.contains(tag)) {
            let (mut wire, peer) = bed.open();
            wire.try_send(&[tag]);
            wire.end();
            let error = bed.subject.inbox.reset();
            let words = &["broke the protocol", "does not exist in an open connection"];
            let name = format!("tag {tag}");
            check_fault(&name, &error, peer, &protocol(State::Opened, words));
            assert!(error.to_string().contains(&name), "{error}");
        }
        bed.finish();
    }
}

/// Where a reader is when it has got so many bytes of a frame.
fn phase(got: usize) -> State {
    match got {
        _ if got < 1 + 53 => State::Opened,
        _ if got < 1 + 53 + 16 => State::ReadMessageFront,
        _ => FOOTER,
    }
}

#[test]
fn a_message_cut_short_at_every_byte_is_not_delivered() {
    for role in ROLES {
        let mut bed = Bed::new(role, |b| b);
        let bytes = Frame::new(1).bytes();
        for cut in 0..bytes.len() {
            let (mut wire, peer) = bed.open();
            wire.send(&bytes[..cut]);
            wire.finish();
            wire.end();
            let want = fault(
                ErrorKind::Disconnected,
                phase(cut),
                &["closed the connection"],
            );
            check_fault(
                &format!("cut at {cut}"),
                &bed.subject.inbox.reset(),
                peer,
                &want,
            );
        }
        assert_eq!(
            bed.stats().received,
            1,
            "nothing but what the bystander said"
        );
        bed.finish();
    }
}

#[test]
fn a_peer_that_dies_in_a_large_part_is_not_waited_for() {
    for role in ROLES {
        let mut bed = Bed::new(role, |b| b);
        // From 32 KiB on a part is read to a place of its own.
        for (part, lens) in [
            (0, [60_000, 0, 0]),
            (1, [0, 60_000, 0]),
            (2, [0, 0, 10 << 20]),
        ] {
            for sent in [0, 1, 32 << 10, lens[part] as usize - 1] {
                let (mut wire, peer) = bed.open();
                wire.send(&announced(lens));
                wire.send(&vec![7; sent]);
                wire.finish();
                wire.end();
                let words = &["closed the connection"];
                let want = fault(ErrorKind::Disconnected, State::ReadMessageFront, words);
                let name = format!("{sent} bytes of part {part}");
                check_fault(&name, &bed.subject.inbox.reset(), peer, &want);
            }
        }
        bed.finish();
    }
}

#[test]
fn a_peer_that_stalls_in_a_message_is_given_up_and_holds_nobody_up() {
    for role in ROLES {
        let mut impatient = config();
        impatient.message_timeout = Duration::from_millis(300);
        // All of the throttle is for the one who stalls.
        impatient.dispatch_throttle_bytes = 1000;
        let mut bed = Bed::new(role, |b| b.config(impatient));
        for sent in [0, 1, 999] {
            let (mut wire, peer) = bed.open();
            wire.send(&announced([1000, 0, 0]));
            wire.send(&vec![7; sent]);
            eventually("it holds the throttle", || {
                bed.stats().dispatch_bytes == 1000
            });
            if role == Role::Acceptor {
                // Waits for its share, and gets it in the end.
                bed.bystander_echoes();
            }
            let words = &["in time", "message_timeout"];
            let want = fault(ErrorKind::TimedOut, State::ReadMessageFront, words);
            let error = bed.subject.inbox.reset();
            let name = format!("stalls after {sent} bytes");
            check_fault(&name, &error, peer, &want);
            wire.end();
            bed.bystander_echoes();
        }
        bed.finish();
    }
}

#[test]
fn gaps_in_the_numbers_are_taken_and_repetitions_dropped() {
    for role in ROLES {
        let mut bed = Bed::new(role, |b| b);
        let (mut wire, _) = bed.open();
        let sent = [1, 2, 2, 1, 0, 10, 10, 9, 3, 11, u64::MAX, 12, u64::MAX];
        let frames: Vec<u8> = sent
            .iter()
            .flat_map(|seq| Frame::new(*seq).bytes())
            .collect();
        wire.send(&frames);
        for seq in [1, 2, 10, 11, u64::MAX] {
            let (_, message) = bed.subject.inbox.find("message", of_a_script);
            assert_eq!(message.head().seq, seq, "{role:?}");
        }
        if role == Role::Acceptor {
            for seq in 1..6 {
                assert_eq!(wire.take_message().0, seq, "an echo");
            }
        }
        // Reading goes on behind the last one, which was a repetition too.
        wire.send(&[&[tag::KEEPALIVE2][..], &[9; 8]].concat());
        assert_eq!(wire.take(9), [&[tag::KEEPALIVE2_ACK][..], &[9; 8]].concat());
        assert_eq!(bed.stats().duplicates, 8);
        drop(wire);
        bed.subject.inbox.reset();
        bed.finish();
    }
}

#[test]
fn what_follows_a_sign_of_life_in_one_segment_is_not_left_lying() {
    for role in ROLES {
        let mut bed = Bed::new(role, |b| b);
        let (mut wire, _) = bed.open();
        let ack = [&[tag::ACK][..], &7_u64.to_le_bytes()].concat();
        let pong = [&[tag::KEEPALIVE2_ACK][..], &[1, 0, 0, 0, 2, 0, 0, 0]].concat();
        for (i, before) in [vec![tag::KEEPALIVE], vec![tag::KEEPALIVE; 3], ack, pong]
            .iter()
            .enumerate()
        {
            let seq = i as u64 + 1;
            wire.send(
                &[
                    before.clone(),
                    Frame::new(seq).bytes(),
                    vec![tag::KEEPALIVE],
                ]
                .concat(),
            );
            let (from, message) = bed.subject.inbox.find("message", of_a_script);
            assert_eq!(message.head().seq, seq, "{role:?}");
            assert_eq!(from.last_keepalive_ack().is_some(), i == 3);
        }
        drop(wire);
        bed.subject.inbox.reset();
        bed.finish();
    }
}

#[test]
fn a_peer_that_takes_leave_ends_the_connection_behind_what_it_said_before() {
    for role in ROLES {
        let mut bed = Bed::new(role, |b| b);
        let (mut wire, peer) = bed.open();
        let bytes = [
            Frame::new(1).bytes(),
            vec![tag::CLOSE],
            Frame::new(2).bytes(),
        ]
        .concat();
        wire.send(&bytes);
        let (connection, message) = bed.subject.inbox.find("message", of_a_script);
        assert_eq!(message.head().seq, 1);
        let want = fault(ErrorKind::Disconnected, State::Opened, &["took leave"]);
        check_fault("CLOSE", &bed.subject.inbox.reset(), peer, &want);
        assert!(connection.is_closed());
        wire.end();
        drop((connection, message));
        bed.bystander_echoes();
        // What the bystander said twice, and the one message before the end.
        eventually("they are counted", || bed.stats().received >= 3);
        assert_eq!(bed.stats().received, 3, "nothing behind it was read");
        bed.finish();
    }
}

/// A frame of another type, which needs a decoder of that version.
fn typed(kind: u16, compat: u16) -> Vec<u8> {
    Frame {
        kind,
        compat,
        ..Frame::new(1)
    }
    .bytes()
}

#[test]
fn a_message_that_nobody_could_decode_faults_the_connection() {
    let known = |b: Builder| {
        let mut registry = Registry::default();
        registry
            .register::<MMonGetVersion>()
            .unknown_types(UnknownTypes::Fault);
        // The bystander's messages.
        registry.register::<MPing>();
        b.registry(registry)
    };
    let kind = MMonGetVersion::KIND;
    let cases: [(Vec<u8>, Words); 2] = [
        (typed(9999, 1), &["message type 9999", "not registered"]),
        (typed(kind, 99), &["version 99", "here is 1"]),
    ];
    for role in ROLES {
        let mut bed = Bed::new(role, known);
        for (bytes, words) in &cases {
            let (mut wire, peer) = bed.open();
            wire.try_send(bytes);
            wire.end();
            let error = bed.subject.inbox.reset();
            assert_eq!(
                (error.kind(), error.peer()),
                (ErrorKind::Protocol, Some(peer)),
                "{error}"
            );
            let text = error.to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
        bed.finish();
    }
}
