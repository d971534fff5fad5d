//! What compressed segments look like, and that frames of them come out as they went in.

use async_messenger::message::{Message, Segment, TxBatch};
use async_messenger::proto::v2::{Control, Decoder, Encoder, tag};
use async_messenger::proto::{Decoded, Gate, Incoming, Limits, Toll};
use async_messenger::wire::EntityName;
use bytes::BytesMut;

use super::vectors::unhex;
use super::{ALGORITHMS, Algorithm, MODES, assemble, sides, take, unpack};

const TEXT: &str = "the object is the object the object is the object the object is the object and \
                    nothing but the object. ";

/// The text as the reference implementations of the algorithms compress it; lz4 in two blocks, the
/// second of which refers to the first.
const PACKED: [&str; 4] = [
    "6734746865206f626a656374206973201d0e1d0b9a19006c616e64206e6f7468696e672062757420746865206f626a\
     6563742e20",
    "002bc94855c84fca4a4d2e51c82c562841f04a489648cc4b51c8cb2fc9c8cc4b57482a4556a8a70000",
    "6700000028b52ffd2067650100f0746865206f626a65637420697320616e64206e6f7468696e672062752e200400\
     45e014cf022e1188782a01",
    "02000000320000001d000000350000001b000000e7746865206f626a656374206973200e00070b00051900506a6563\
     74200f320006e5616e64206e6f7468696e672062754200506563742e20",
];

/// Texts that are said to be compressed and are stored as they are, made by hand.
const STORED: [&str; 4] = [
    // Length 3, a literal of 3.
    "0308616263",
    // Marker of hardware, one last stored block: length 3, its complement.
    "01010300fcff616263",
    // Length 3; magic, a single segment, content size 3, one last raw block.
    "0300000028b52ffd2003190000616263",
    // One block of 3 from 4, a literal of 3.
    "01000000030000000400000030616263",
];

#[test]
fn segments_are_as_the_reference_implementations_make_them() {
    for (i, algorithm) in ALGORITHMS.into_iter().enumerate() {
        assert_eq!(algorithm.number() as usize, i + 1);
        assert_eq!(Algorithm::from_number(i as u32 + 1), Some(algorithm));
        let frame = unpack(algorithm, tag::ACK, [&unhex(PACKED[i]), b"", b"", b""]);
        let frame = frame.unwrap_or_else(|e| panic!("{algorithm}: {e}"));
        assert_eq!(frame.segments[0], TEXT, "{algorithm}");
        let stored = unhex(STORED[i]);
        let frame = unpack(algorithm, tag::ACK, [b"", &stored, b"", &stored]).expect("right");
        let wanted: [&[u8]; 4] = [b"", b"abc", b"", b"abc"];
        assert_eq!(
            (frame.count, frame.segments.each_ref().map(|s| &s[..])),
            (4, wanted)
        );
    }
}

/// What we send has the heads that the specification asks for.
#[test]
fn own_segments_begin_as_they_have_to() {
    let text = TEXT.repeat(20);
    let len = (text.len() as u32).to_le_bytes();
    for algorithm in ALGORITHMS {
        let (mut sends, _) = sides(MODES[2]);
        sends.compress(algorithm, 0);
        let bytes = assemble(&mut sends, tag::ACK, [text.as_bytes(), b"", b"", b""]);
        let packed_len = bytes.len() - 36;
        assert!(packed_len < text.len() / 4, "{algorithm}: {packed_len}");
        assert_eq!((bytes[1], bytes[26]), (1, 1));
        assert_eq!(bytes[2..6], (packed_len as u32).to_le_bytes());
        let packed = &bytes[32..32 + packed_len];
        println!("{algorithm} {} {text}", hex(packed));
        let begins = match algorithm {
            Algorithm::Snappy => vec![0x8c, 0x10],
            // Not stored, and so no zlib header: that would be 0x78.
            Algorithm::Zlib => vec![0],
            Algorithm::Zstd => [len, 0xfd2f_b528_u32.to_le_bytes()].concat(),
            _ => [
                1_u32.to_le_bytes(),
                len,
                (packed_len as u32 - 12).to_le_bytes(),
            ]
            .concat(),
        };
        assert!(packed.starts_with(&begins), "{algorithm}: {}", hex(packed));
        if algorithm == Algorithm::Zlib {
            assert_ne!(packed[1], 0x78);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lengths of the frame suite, and others that reach the threshold.
#[test]
fn behaviour_29_and_30_round_trips_and_reuse_with_compression() {
    let lengths = [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [48, 101, 202, 303],
        [49, 101, 0, 0],
        [41, 0, 0, 1023 - 41],
        [41, 0, 0, 1024 - 41],
        [1, 0, 2048, 0],
        [41, 600, 0, 70_000],
        [5000, 1, 1, 200_000],
    ];
    for mode in MODES {
        for algorithm in ALGORITHMS {
            let (mut plain, _) = sides(mode);
            let (mut sends, mut receives) = sides(mode);
            sends.compress(algorithm, 1024);
            receives.decompress(algorithm);
            for lens in lengths.into_iter().cycle().take(3 * lengths.len()) {
                let fill = [b'H', b'F', b'M', b'D'];
                let texts: [Vec<u8>; 4] = std::array::from_fn(|i| vec![fill[i]; lens[i]]);
                let texts = texts.each_ref().map(|text| &text[..]);
                let as_is = assemble(&mut plain, 123, texts);
                let mut bytes = assemble(&mut sends, 123, texts);
                let what = format!("{mode:?} {algorithm} {lens:?}");
                let size: usize = lens.iter().sum();
                if mode.1 {
                    // Others before it may have used up more nonces.
                    assert_eq!(bytes.len() == as_is.len(), size < 1024, "{what}");
                } else {
                    assert_eq!(bytes == as_is, size < 1024, "{what}");
                }
                if size > 4096 {
                    assert!(bytes.len() < as_is.len() / 2, "{what}: {}", bytes.len());
                }
                let frame = take(&mut receives, &mut bytes).expect(&what);
                let count = lens.iter().rposition(|len| *len > 0).unwrap_or(0) + 1;
                assert_eq!((frame.tag, frame.count), (123, count), "{what}");
                let came = frame.segments.each_ref().map(|segment| &segment[..]);
                assert!(came == texts, "{what}");
                assert!(bytes.is_empty(), "{what}");
            }
        }
    }
}

/// Every byte value, lengths around the edges of the algorithms, and what does not compress.
#[test]
fn all_sorts_of_texts_come_back() {
    let mut state = 0x5eed_u64;
    let mut noise = |len: usize| -> Vec<u8> {
        let step = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(step).collect()
    };
    let mut texts: Vec<Vec<u8>> = (0..70).map(&mut noise).collect();
    texts.extend([255, 4095, 65_535, 65_536, 65_537, 300_000].map(&mut noise));
    texts.extend([64, 65_535, 65_536, 131_073, 1 << 20].map(|len| vec![7; len]));
    texts.push((0..100_000).map(|i| (i % 251) as u8).collect());
    // Not one that cannot be made shorter is refused for what its compressed form is longer.
    texts.push(noise(1 << 20));
    for algorithm in ALGORITHMS {
        let (mut sends, mut receives) = sides(MODES[2]);
        sends.compress(algorithm, 0);
        receives.decompress(algorithm);
        for text in &texts {
            let mut bytes = assemble(&mut sends, tag::MESSAGE, [&[0; 41], b"", b"", text]);
            let frame = take(&mut receives, &mut bytes).expect("it is right");
            assert!(frame.segments[3] == text, "{algorithm} {}", text.len());
        }
    }
}

/// Admits everything, and keeps count.
#[derive(Default)]
struct Doorman {
    admitted: Vec<u64>,
    grown: u64,
}

impl Gate for Doorman {
    fn admit(&mut self, _: Toll, size: u64) -> bool {
        self.admitted.push(size);
        true
    }

    fn grown(&mut self, by: u64) {
        self.grown += by;
    }
}

fn drain(batch: &mut TxBatch) -> BytesMut {
    let mut out = BytesMut::new();
    while !batch.is_empty() {
        let taken = batch.write_to(|slices| {
            slices.iter().for_each(|slice| out.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        taken.expect("a buffer takes all");
    }
    out
}

#[test]
fn messages_and_signs_of_life_of_an_open_session() {
    for mode in MODES {
        for algorithm in ALGORITHMS {
            let (mut sends, mut receives) = sides(mode);
            sends.compress(algorithm, 0);
            receives.decompress(algorithm);
            let mut encoder = Encoder::new(sends);
            let mut batch = TxBatch::default();
            let mut data = Segment::from(vec![1; 5000]);
            data.push(vec![2; 50_000]);
            let message = Message::new(42).with_tid(9).with_front(vec![3; 700]);
            let message = message.with_data(data);
            let size = message.size();
            encoder.message(message, 1, 4, &mut batch).unwrap();
            encoder.ack(5, &mut batch).unwrap();
            encoder.message(Message::new(43), 2, 4, &mut batch).unwrap();
            let stream = drain(&mut batch);
            for cut in (0..=stream.len()).step_by(5) {
                let (_, mut receives) = sides(mode);
                receives.decompress(algorithm);
                let peer = EntityName::osd(3);
                let mut decoder = Decoder::new(receives, peer, Limits::default());
                let (mut gate, mut seen) = (Doorman::default(), Vec::new());
                let mut rx = BytesMut::new();
                for piece in [&stream[..cut], &stream[cut..]] {
                    rx.extend_from_slice(piece);
                    while let Decoded::Incoming(incoming) =
                        decoder.decode(&mut rx, &mut gate).expect("it is right")
                    {
                        seen.push(incoming);
                    }
                }
                let [
                    Incoming::Message(m),
                    Incoming::Ack(4),
                    Incoming::Ack(5),
                    Incoming::Message(_),
                ] = &seen[..]
                else {
                    panic!("{mode:?} {algorithm} {cut}: {seen:?}")
                };
                assert_eq!((m.kind(), m.tid(), m.src()), (42, 9, peer));
                assert_eq!(m.front().to_bytes(), vec![3; 700]);
                let wanted = [vec![1; 5000], vec![2; 50_000]].concat();
                assert_eq!(m.data().to_bytes(), wanted);
                // It comes in by its compressed length, and then weighs what it weighs.
                assert!(gate.admitted[1] < size / 4);
                assert_eq!(gate.admitted[1] + gate.grown, size);
            }
        }
    }
}

#[test]
fn what_is_too_short_or_cannot_be_compressed_goes_as_it_is() {
    let mut brotli = sides(MODES[2]).0;
    let mut none = sides(MODES[2]).0;
    brotli.compress(Algorithm::Brotli, 0);
    let control = Control::Ack(7).encode();
    for lens in [0, 1, 5000] {
        let text = vec![1; lens];
        let segments: [&[u8]; 4] = [&control, &text, b"", &text];
        let bytes = assemble(&mut brotli, tag::MESSAGE, segments);
        assert_eq!(bytes, assemble(&mut none, tag::MESSAGE, segments));
    }
    assert!(!Algorithm::Brotli.is_compiled());
    let error = unpack(Algorithm::Brotli, tag::ACK, [b"abc", b"", b"", b""]);
    let error = error.expect_err("there is no brotli").to_string();
    assert!(error.contains("does not decompress by brotli"), "{error}");
    let wait = Control::Wait;
    for algorithm in ALGORITHMS {
        let (mut sends, mut receives) = sides(MODES[2]);
        sends.compress(algorithm, 0);
        let mut bytes = assemble(&mut sends, wait.tag(), [&wait.encode(), b"", b"", b""]);
        assert_eq!(
            (bytes.len(), bytes[26]),
            (32, 1),
            "nothing of it to compress"
        );
        let error = take(&mut receives, &mut bytes.clone()).expect_err("not agreed on");
        let text = "a compressed frame, and compression was not agreed on";
        assert!(error.to_string().contains(text), "{error}");
        let (_, mut receives) = sides(MODES[2]);
        receives.decompress(algorithm);
        assert!(take(&mut receives, &mut bytes).unwrap().last().is_empty());
    }
}
