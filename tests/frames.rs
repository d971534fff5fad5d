//! The open phase of msgr v1: recorded exchanges of real Ceph daemons, however they are cut.

#[path = "common/vectors.rs"]
mod vectors;

use async_messenger::message::{Message, TxBatch};
use async_messenger::proto::v1::{Decoder, Encoder};
use async_messenger::proto::{Checksums, Decoded, Gate, Incoming, Limits, Part, ProtoError, Toll};
use async_messenger::wire::{EntityName, features};
use bytes::{Bytes, BytesMut};
use vectors::{From, Recorded, Rng, load};

/// What both daemons offered in the recordings, so what they negotiated.
const NEGOTIATED: u64 = 0x3f01_cfbd_fffd_ffff;

/// Admits everything, or every other time it is asked.
struct Doorman {
    reluctant: bool,
    asked: u32,
}

impl Gate for Doorman {
    fn admit(&mut self, _: Toll, _: u64) -> bool {
        self.asked += 1;
        !self.reluctant || self.asked.is_multiple_of(2)
    }
}

/// Where the open phase begins in the streams of client and server (msgr1 §1).
fn open_phase(recorded: &Recorded) -> Option<(Vec<u8>, Vec<u8>)> {
    let (client, server) = (recorded.stream(From::Client), recorded.stream(From::Server));
    let (mut c, mut s) = (145, 281);
    let u32_at = |bytes: &[u8], at: usize| {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().expect("4 bytes")) as usize)
    };
    loop {
        c += 33 + u32_at(&client, c + 28)?;
        let tag = *server.get(s)?;
        s += 26 + u32_at(&server, s + 21)?;
        match tag {
            1 => break,
            13 => {
                (c, s) = (c + 8, s + 8);
                break;
            }
            _ => {}
        }
    }
    Some((client.get(c..)?.to_vec(), server.get(s..)?.to_vec()))
}

/// All complete open-phase streams of the recordings.
fn streams() -> Vec<(String, Vec<u8>)> {
    let recorded = vectors::ALL.into_iter().flat_map(load);
    let streams: Vec<_> = recorded
        .filter_map(|r| open_phase(&r).map(|(c, s)| (r.name, c, s)))
        .flat_map(|(name, c, s)| [(format!("{name} client"), c), (format!("{name} server"), s)])
        .filter(|(_, stream)| !stream.is_empty())
        .collect();
    assert!(
        streams.len() >= 16,
        "only {} streams were found",
        streams.len()
    );
    streams
}

fn new_decoder() -> Decoder {
    Decoder::new(NEGOTIATED, Checksums::default(), Limits::default())
}

/// Reads a stream in pieces the way a connection does: to where the decoder wants its bytes.
struct Reader {
    decoder: Decoder,
    rx: BytesMut,
    gate: Doorman,
    seen: Vec<Incoming>,
}

impl Reader {
    fn new(reluctant: bool) -> Self {
        let gate = Doorman {
            reluctant,
            asked: 0,
        };
        Self {
            decoder: new_decoder(),
            rx: BytesMut::new(),
            gate,
            seen: Vec::new(),
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ProtoError> {
        while !bytes.is_empty() {
            match self.decoder.landing() {
                Some(landing) => {
                    let n = landing.wanted.min(bytes.len());
                    landing.buf.extend_from_slice(&bytes[..n]);
                    bytes = &bytes[n..];
                }
                None => {
                    self.rx.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
            self.decode()?;
        }
        Ok(())
    }

    fn decode(&mut self) -> Result<(), ProtoError> {
        loop {
            match self.decoder.decode(&mut self.rx, &mut self.gate)? {
                Decoded::Incoming(incoming) => self.seen.push(incoming),
                Decoded::Throttled => {}
                Decoded::NeedMore => return Ok(()),
            }
        }
    }
}

/// What was seen, comparable.
fn print(seen: &[Incoming]) -> Vec<String> {
    seen.iter()
        .map(|incoming| match incoming {
            Incoming::Message(m) => format!(
                "{:?} {:?} {:?} {:?}",
                m.head(),
                m.front().to_bytes(),
                m.middle().to_bytes(),
                m.data().to_bytes()
            ),
            other => format!("{other:?}"),
        })
        .collect()
}

fn whole(stream: &[u8]) -> Vec<Incoming> {
    let mut reader = Reader::new(false);
    reader.feed(stream).expect("real daemons keep the protocol");
    reader.seen
}

#[test]
fn recorded_streams_decode_the_same_when_cut_at_every_byte() {
    for (name, stream) in streams() {
        let expected = print(&whole(&stream));
        assert!(!expected.is_empty(), "{name}");
        for cut in 0..=stream.len() {
            let mut reader = Reader::new(cut % 2 == 0);
            reader.feed(&stream[..cut]).expect("a valid prefix");
            reader.feed(&stream[cut..]).expect("a valid rest");
            assert_eq!(print(&reader.seen), expected, "{name} cut at {cut}");
        }
    }
}

#[test]
fn recorded_streams_decode_the_same_in_pieces_of_any_size() {
    for (name, stream) in streams() {
        let expected = print(&whole(&stream));
        for size in [1, 2, 3, 5, 7, 53, 75, 1000] {
            let mut reader = Reader::new(true);
            stream
                .chunks(size)
                .for_each(|piece| reader.feed(piece).expect("valid"));
            assert_eq!(print(&reader.seen), expected, "{name} in pieces of {size}");
        }
    }
}

fn encoded(encoder: &Encoder, seen: Vec<Incoming>) -> Vec<u8> {
    let mut batch = TxBatch::default();
    let mut out = Vec::new();
    for incoming in seen {
        match incoming {
            Incoming::Message(message) => {
                let seq = message.head().seq;
                encoder.message(message, seq, &mut batch);
            }
            Incoming::Keepalive2(stamp) => encoder.keepalive(stamp, &mut batch),
            Incoming::Keepalive2Ack(stamp) => encoder.keepalive_ack(stamp, &mut batch),
            Incoming::Ack(seq) => {
                // Lossless sessions acknowledge; this version has none, so it has no encoder.
                batch.copy(&[8]);
                batch.copy(&seq.to_le_bytes());
            }
            other => panic!("the recordings have no {other:?}"),
        }
    }
    while !batch.is_empty() {
        let taken = batch.write_to(|slices| {
            slices.iter().for_each(|slice| out.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        taken.expect("a vector takes all");
    }
    out
}

#[test]
fn what_was_decoded_encodes_to_the_recorded_bytes() {
    let encoder = Encoder::new(NEGOTIATED, Checksums::default());
    for (name, stream) in streams() {
        let again = encoded(&encoder, whole(&stream));
        assert_eq!(again[..], stream[..again.len()], "{name}");
        assert!(
            stream.len() - again.len() < 5000,
            "{name}: all but an incomplete end"
        );
    }
}

/// One message as bytes, and where its parts are.
fn sample(front: usize, middle: usize, data: usize) -> Vec<u8> {
    let message = Message::new(42)
        .with_front(vec![1; front])
        .with_middle(vec![2; middle])
        .with_data(vec![3; data]);
    let encoder = Encoder::new(NEGOTIATED, Checksums::default());
    let mut batch = TxBatch::default();
    encoder.message(message, 1, &mut batch);
    let mut out = Vec::new();
    let taken = batch.write_to(|slices| {
        slices.iter().for_each(|slice| out.extend_from_slice(slice));
        Ok(out.len())
    });
    taken.expect("a vector takes all");
    out
}

fn fails(bytes: &[u8]) -> ProtoError {
    let mut reader = Reader::new(false);
    let error = reader.feed(bytes).expect_err("refused");
    assert!(reader.seen.is_empty(), "nothing of it is delivered");
    assert_eq!(reader.decode().expect_err("for good"), error);
    error
}

#[test]
fn damage_is_found_in_every_part() {
    let bytes = sample(10, 20, 30);
    let parts = [
        (1, 54, Part::Header),
        (54, 64, Part::Front),
        (64, 84, Part::Middle),
        (84, 114, Part::Data),
    ];
    for (from, to, part) in parts {
        for at in from..to {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let error = fails(&damaged);
            assert!(
                matches!(error, ProtoError::Corrupt { part: p, .. } if p == part),
                "{error}"
            );
        }
    }
    let mut aborted = bytes.clone();
    *aborted.last_mut().expect("not empty") &= !1;
    assert_eq!(fails(&aborted), ProtoError::Aborted);
    let mut unknown = bytes;
    unknown[0] = 200;
    assert!(fails(&unknown).to_string().contains("200"));
}

#[test]
fn a_length_over_the_limit_is_refused_before_anything_is_allocated() {
    for (at, what) in [(22, "front"), (26, "middle"), (30, "data")] {
        let mut bytes = sample(0, 0, 0);
        bytes[1 + at..1 + at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let crc = async_messenger::wire::crc32c(0, &bytes[1..50]);
        bytes[50..54].copy_from_slice(&crc.to_le_bytes());
        let error = fails(&bytes);
        assert!(matches!(error, ProtoError::Limit { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn large_parts_land_in_a_buffer_of_their_own_and_small_ones_are_slices() {
    let bytes = sample(100, 0, 200_000);
    let mut reader = Reader::new(false);
    reader.feed(&bytes[..60_000]).expect("valid");
    let landing = reader.decoder.landing().expect("the data is incomplete");
    assert_eq!(landing.buf.len() + landing.wanted, 200_000);
    assert!(reader.rx.is_empty());
    reader.feed(&bytes[60_000..]).expect("valid");
    assert!(reader.decoder.landing().is_none());
    let Some(Incoming::Message(message)) = reader.seen.pop() else {
        panic!("no message")
    };
    assert_eq!(message.data().to_bytes(), vec![3; 200_000]);
    assert_eq!(message.data().chunks().len(), 1, "one contiguous piece");
}

#[test]
fn checksums_can_be_off_on_both_sides() {
    let off = Checksums {
        header: false,
        data: false,
    };
    let encoder = Encoder::new(features::SUPPORTED, off);
    let message = Message::new(42).with_data(Bytes::from_static(b"data"));
    let stream = encoded(&encoder, vec![Incoming::Message(message)]);
    let mut reader = Reader::new(false);
    reader.decoder = Decoder::new(features::SUPPORTED, off, Limits::default());
    reader.feed(&stream).expect("nothing is checked");
    assert_eq!(reader.seen.len(), 1);
    // A side that checks headers sees that they are missing: both must be configured alike.
    let mut strict = Reader::new(false);
    assert!(strict.feed(&stream).is_err());
}

#[test]
fn a_peer_without_signatures_gets_the_short_footer() {
    let old = features::SUPPORTED & !features::MSG_AUTH & !features::MSGR_KEEPALIVE2;
    let encoder = Encoder::new(old, Checksums::default());
    let message = Message::new(2).with_version(1, 1).with_priority(127);
    let stream = encoded(&encoder, vec![Incoming::Message(message)]);
    assert_eq!(stream.len(), 1 + 53 + 13);
    let mut batch = TxBatch::default();
    encoder.keepalive(Default::default(), &mut batch);
    assert_eq!(batch.len(), 1, "the form without a stamp");
    let mut reader = Reader::new(false);
    reader.decoder = Decoder::new(old, Checksums::default(), Limits::default());
    reader.feed(&stream).expect("valid");
    let Some(Incoming::Message(message)) = reader.seen.pop() else {
        panic!("no message")
    };
    assert_eq!((message.kind(), message.src()), (2, EntityName::default()));
}

#[test]
fn random_changes_never_panic() {
    let seed = 0x5eed;
    println!("seed {seed:#x}");
    let mut rng = Rng(seed);
    let streams = streams();
    for _ in 0..20_000 {
        let (_, stream) = &streams[rng.below(streams.len())];
        let start = rng.below(stream.len());
        let mut bytes = stream[start..(start + 2000).min(stream.len())].to_vec();
        rng.mutate(&mut bytes);
        let mut reader = Reader::new(rng.below(2) == 0);
        for piece in bytes.chunks(1 + rng.below(700)) {
            if reader.feed(piece).is_err() {
                break;
            }
        }
    }
}
