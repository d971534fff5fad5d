//! Messages and signs of life in an open session.

use async_messenger::message::{Message, TxBatch};
use async_messenger::proto::v2::{Control, Revision, State, tag};
use async_messenger::proto::{Incoming, ProtoError, Toll};
use async_messenger::wire::{EntityName, Timespec};

use super::damage::Craft;
use super::{MODES, PEER, Reader, assemble, assembler, disassembler, drain, encoder};

const STAMP: Timespec = Timespec { secs: 7, nanos: 8 };

fn sample(front: usize, middle: usize, data: usize) -> Message {
    Message::new(42)
        .with_version(3, 2)
        .with_tid(11)
        .with_front(vec![1; front])
        .with_middle(vec![2; middle])
        .with_data(vec![3; data])
}

#[test]
fn streams_decode_the_same_when_cut_at_every_byte() {
    for mode in MODES {
        let (mut batch, mut encoder) = (TxBatch::default(), encoder(mode));
        encoder.keepalive(STAMP, &mut batch).unwrap();
        encoder.message(sample(0, 0, 0), 1, 0, &mut batch).unwrap();
        encoder
            .message(sample(10, 0, 30), 2, 4, &mut batch)
            .unwrap();
        encoder.ack(5, &mut batch).unwrap();
        encoder
            .message(sample(10, 20, 0), 3, 5, &mut batch)
            .unwrap();
        encoder
            .message(sample(0, 0, 600), 4, 6, &mut batch)
            .unwrap();
        encoder.keepalive_ack(STAMP, &mut batch).unwrap();
        let stream = drain(&mut batch);
        let mut whole = Reader::new(disassembler(mode), false);
        whole.feed(&stream).unwrap();
        let kinds: Vec<_> = whole.prints().iter().map(|p| p[..3].to_owned()).collect();
        let wanted = [
            "Kee", "Msg", "Msg", "Ack", "Ack", "Msg", "Msg", "Ack", "Kee",
        ];
        assert_eq!(kinds, wanted, "5 is no news the second time");
        for cut in 0..=stream.len() {
            let mut reader = Reader::new(disassembler(mode), cut % 2 == 0);
            reader.feed(&stream[..cut]).expect("a valid prefix");
            reader.feed(&stream[cut..]).expect("a valid rest");
            assert_eq!(reader.prints(), whole.prints(), "{mode:?} cut at {cut}");
        }
    }
}

#[test]
fn shares_are_taken_in_order_before_the_payload() {
    for mode in MODES {
        let mut batch = TxBatch::default();
        encoder(mode)
            .message(sample(10, 20, 300), 1, 0, &mut batch)
            .unwrap();
        let stream = drain(&mut batch);
        let mut reader = Reader::new(disassembler(mode), false);
        let head = if mode == MODES[3] { 96 } else { 32 };
        reader.feed(&stream[..head]).unwrap();
        let wanted = [Toll::Messages, Toll::Bytes, Toll::Dispatch].map(|toll| (toll, 330));
        assert_eq!(
            reader.gate.admitted, wanted,
            "{mode:?}: nothing of the payload is there"
        );
        assert_eq!(reader.decoder.in_message(), Some(330));
        assert_eq!(reader.decoder.state(), State::ReadFrame);
        reader.feed(&stream[head..]).unwrap();
        assert_eq!(reader.gate.admitted.len(), 3);
        assert_eq!(reader.decoder.in_message(), None);
        assert_eq!(reader.decoder.state(), State::Ready);
        let Incoming::Message(message) = &reader.seen[0] else {
            panic!("no message")
        };
        assert_eq!(
            (message.src(), message.tid(), message.kind()),
            (PEER, 11, 42)
        );
        assert_eq!(PEER, EntityName::osd(3), "it is not in the message");
    }
}

#[test]
fn large_messages_land_in_a_buffer_of_their_own_and_small_ones_are_slices() {
    for mode in MODES {
        let (mut batch, mut encoder) = (TxBatch::default(), encoder(mode));
        encoder
            .message(sample(100, 0, 200_000), 1, 0, &mut batch)
            .unwrap();
        encoder
            .message(sample(100, 0, 50), 2, 0, &mut batch)
            .unwrap();
        let stream = drain(&mut batch);
        let mut reader = Reader::new(disassembler(mode), false);
        reader.feed(&stream[..60_000]).unwrap();
        let landing = reader.decoder.landing().expect("it is incomplete");
        let total = landing.buf.len() + landing.wanted;
        assert!((200_100..200_400).contains(&total), "{mode:?} {total}");
        assert!(reader.rx.is_empty());
        // The second message is in the buffer when it is decoded.
        reader.rx.reserve(4096);
        reader.feed(&stream[60_000..]).unwrap();
        assert!(reader.decoder.landing().is_none());
        let [Incoming::Message(large), Incoming::Message(small)] = &reader.seen[..] else {
            panic!("{:?}", reader.prints())
        };
        assert_eq!(large.data().to_bytes(), vec![3; 200_000]);
        assert_eq!(large.data().chunks().len(), 1, "one contiguous piece");
        // Front and data of the small one are neighbours still.
        let [front, data] = [small.front(), small.data()].map(|s| s.to_bytes());
        let gap = data.as_ptr() as usize - front.as_ptr() as usize;
        assert_eq!(gap, if mode.1 { 112 } else { 100 }, "{mode:?}");
    }
}

#[test]
fn frames_of_the_handshake_do_not_belong_here() {
    for mode in MODES {
        for control in [
            Control::Wait,
            Control::AuthSignature([0; 32]),
            Control::SessionRetry { connect_seq: 1 },
        ] {
            let mut reader = Reader::new(disassembler(mode), false);
            let bytes = assemble(
                &mut assembler(mode),
                control.tag(),
                [&control.encode(), b"", b"", b""],
            );
            let error = reader.feed(&bytes).expect_err("refused");
            let name = tag::name(control.tag()).unwrap();
            let wanted = format!("{name} does not belong into an open session");
            assert!(error.to_string().contains(&wanted), "{error}");
            assert_eq!(reader.decode(), Err(error), "for good");
        }
    }
}

/// All segments of one long frame, sealed from pieces.
#[test]
fn pieces_are_joined_and_large_checksums_converted() {
    for mode in MODES {
        let (mut batch, mut encoder) = (TxBatch::default(), encoder(mode));
        let mut message = sample(0, 0, 40_000);
        let mut data = message.take_data();
        data.push(vec![4; 70_000]);
        data.push(vec![5; 3]);
        encoder
            .message(message.with_data(data), 1, 0, &mut batch)
            .unwrap();
        let mut reader = Reader::new(disassembler(mode), false);
        reader.feed(&drain(&mut batch)).unwrap();
        let Incoming::Message(message) = &reader.seen[0] else {
            panic!("no message")
        };
        let wanted = [vec![3; 40_000], vec![4; 70_000], vec![5; 3]].concat();
        assert_eq!(message.data().to_bytes(), wanted);
    }
}

#[test]
fn an_aborted_message_is_forgotten_and_its_shares_go_back() {
    for mode in MODES {
        let mut craft = Craft::new(mode);
        let mut reader = Reader::new(disassembler(mode), false);
        let gives_up = if mode.0 == Revision::V0 { 1 } else { 0x21 };
        let parts: [&[u8]; 4] = [&[0; 41], &[0; 100], b"", &[0; 7]];
        reader
            .feed(&craft.frame(tag::MESSAGE, parts, gives_up))
            .expect("it is no fault");
        assert_eq!((reader.seen.len(), reader.gate.aborted), (0, 1), "{mode:?}");
        assert_eq!(reader.gate.admitted.len(), 3);
        assert_eq!(reader.decoder.in_message(), None);
        // So is any other frame, which has taken nothing.
        let parts: [&[u8]; 4] = [b"", &[0; 8], b"", b""];
        reader
            .feed(&craft.frame(tag::ACK, parts, gives_up))
            .unwrap();
        assert_eq!((reader.seen.len(), reader.gate.aborted), (0, 1), "{mode:?}");
        // The next one is read as if nothing had been.
        let done = craft.done();
        let ack = craft.frame(tag::ACK, [&[5, 0, 0, 0, 0, 0, 0, 0], b"", b"", b""], done);
        reader.feed(&ack).unwrap();
        assert!(matches!(reader.seen[..], [Incoming::Ack(5)]));
        // Checksums come first.
        let parts: [&[u8]; 4] = [&[0; 41], &[0; 100], b"", &[0; 7]];
        let mut bad = craft.frame(tag::MESSAGE, parts, gives_up);
        let last = bad.len() - 1;
        bad[last] ^= 1;
        let error = reader.feed(&bad).expect_err("damaged");
        let found = matches!(
            error,
            ProtoError::Corrupt { .. } | ProtoError::Tampered { .. }
        );
        assert!(found, "{error}");
        assert_eq!(reader.gate.aborted, 1);
    }
}
