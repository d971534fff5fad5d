//! Round trips in every mode, and lengths on the wire.

use async_messenger::message::{Message, TxBatch};
use async_messenger::proto::v2::{Bounds, Revision, frame_len};
use bytes::{Bytes, BytesMut};

use super::{MODES, assemble, assembler, disassembler, encoder, take, take_frame};

/// Header, front, middle and data of behaviour 29.
const LENS: [&[usize]; 4] = [&[0, 1, 48, 49], &[0, 101], &[0, 202], &[0, 303]];

fn combinations() -> Vec<[usize; 4]> {
    let mut all = Vec::new();
    for &header in LENS[0] {
        for &front in LENS[1] {
            for &middle in LENS[2] {
                all.extend(LENS[3].iter().map(|&data| [header, front, middle, data]));
            }
        }
    }
    assert_eq!(all.len(), 32);
    all
}

fn filled(lens: [usize; 4]) -> [Vec<u8>; 4] {
    let fill = |i: usize| vec![b"HFMD"[i]; lens[i]];
    [fill(0), fill(1), fill(2), fill(3)]
}

fn count(lens: [usize; 4]) -> usize {
    lens.iter().rposition(|len| *len > 0).map_or(1, |i| i + 1)
}

/// The lengths on the wire as the table of the suite gives them: preamble, segments, epilogue.
fn expected((revision, secure): (Revision, bool), lens: [usize; 4]) -> Vec<usize> {
    let count = count(lens);
    let up = |len: usize| len.div_ceil(16) * 16;
    let mut parts = Vec::new();
    match (revision, secure) {
        (Revision::V0, false) => {
            parts.push(32);
            parts.extend(&lens[..count]);
            parts.push(17);
        }
        (Revision::V0, true) => {
            parts.push(32);
            parts.extend(lens[..count].iter().map(|len| up(*len)));
            parts.push(32);
        }
        (Revision::V1, false) => {
            parts.extend([32, if lens[0] > 0 { lens[0] + 4 } else { 0 }]);
            parts.extend(&lens[1..count]);
            parts.extend((count > 1).then_some(13));
        }
        (Revision::V1, true) => {
            parts.extend([
                96,
                if lens[0] <= 48 {
                    0
                } else {
                    up(lens[0]) - 48 + 16
                },
            ]);
            parts.extend(lens[1..count].iter().map(|len| up(*len)));
            parts.extend((count > 1).then_some(32));
        }
    }
    parts
}

fn words(lens: [usize; 4]) -> [u32; 4] {
    lens.map(|len| u32::try_from(len).expect("small"))
}

/// Sends and receives each combination as often as said, with one pair for all of it.
fn round_trips(times: usize) {
    for mode in MODES {
        for lens in combinations() {
            let (mut sends, mut receives) = (assembler(mode), disassembler(mode));
            let segments = filled(lens);
            let wanted: usize = expected(mode, lens).iter().sum();
            for _ in 0..times {
                let bytes = assemble(&mut sends, 123, segments.each_ref().map(|s| &s[..]));
                assert_eq!(bytes.len(), wanted, "{mode:?} {lens:?}");
                assert_eq!(frame_len(mode.0, mode.1, words(lens)), wanted as u64);
                let mut rx = BytesMut::from(&bytes[..]);
                let frame = take_frame(&mut receives, &mut rx);
                assert_eq!((frame.tag, frame.count), (123, count(lens)));
                assert_eq!(frame.segments.each_ref().map(|s| s.to_vec()), segments);
                assert!(rx.is_empty(), "{mode:?} {lens:?}: nothing is left over");
            }
        }
    }
}

#[test]
fn behaviour_29_round_trip() {
    round_trips(1);
}

#[test]
fn behaviour_30_reuse() {
    round_trips(3);
}

#[test]
fn behaviour_29_sample_lengths() {
    type Sample = ([usize; 4], [&'static [usize]; 4]);
    let samples: [Sample; 4] = [
        (
            [0, 0, 0, 0],
            [&[32, 0, 17], &[32, 0, 32], &[32, 0], &[96, 0]],
        ),
        (
            [49, 101, 202, 303],
            [
                &[32, 49, 101, 202, 303, 17],
                &[32, 64, 112, 208, 304, 32],
                &[32, 53, 101, 202, 303, 13],
                &[96, 32, 112, 208, 304, 32],
            ],
        ),
        (
            [1, 0, 0, 303],
            [
                &[32, 1, 0, 0, 303, 17],
                &[32, 16, 0, 0, 304, 32],
                &[32, 5, 0, 0, 303, 13],
                &[96, 0, 0, 0, 304, 32],
            ],
        ),
        (
            [48, 0, 202, 0],
            [
                &[32, 48, 0, 202, 17],
                &[32, 48, 0, 208, 32],
                &[32, 52, 0, 202, 13],
                &[96, 0, 0, 208, 32],
            ],
        ),
    ];
    for (lens, by_mode) in samples {
        for (mode, parts) in MODES.into_iter().zip(by_mode) {
            assert_eq!(expected(mode, lens), parts, "the table of the suite");
            let total = parts.iter().sum::<usize>() as u64;
            assert_eq!(
                frame_len(mode.0, mode.1, words(lens)),
                total,
                "{mode:?} {lens:?}"
            );
        }
    }
}

/// The table of msgr2 §5.7.
#[test]
fn lengths_on_paper() {
    let table: [([u32; 4], [u64; 4]); 9] = [
        ([0, 0, 0, 0], [49, 32, 64, 96]),
        ([41, 0, 0, 0], [90, 77, 112, 96]),
        ([48, 0, 0, 0], [97, 84, 112, 96]),
        ([49, 0, 0, 0], [98, 85, 128, 128]),
        ([123, 0, 0, 0], [172, 159, 192, 192]),
        ([0, 70, 0, 0], [119, 115, 144, 208]),
        ([41, 0, 0, 23], [113, 113, 144, 160]),
        ([41, 11, 0, 23], [124, 124, 160, 176]),
        ([105, 70, 0, 350], [574, 574, 608, 640]),
    ];
    let columns = [MODES[0], MODES[2], MODES[1], MODES[3]];
    for (lens, by_mode) in table {
        for ((revision, secure), len) in columns.into_iter().zip(by_mode) {
            assert_eq!(
                frame_len(revision, secure, lens),
                len,
                "{revision:?} {lens:?}"
            );
        }
    }
}

/// Long enough for a buffer of its own, and beyond one of the cipher's.
#[test]
fn long_frames_in_pieces() {
    for mode in MODES {
        for size in [32 << 10, 200_000] {
            let data: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
            let (mut sends, mut receives) = (assembler(mode), disassembler(mode));
            for piece in [1000, 65_536, usize::MAX] {
                let bytes = assemble(&mut sends, 17, [&[1; 60], b"front", b"", &data]);
                let mut rx = BytesMut::new();
                let mut taken = None;
                for part in bytes.chunks(piece.min(bytes.len())) {
                    assert!(taken.is_none(), "it was complete before");
                    rx.extend_from_slice(part);
                    taken = take(&mut receives, &mut rx).expect("valid");
                }
                let Some(async_messenger::proto::v2::Body::Frame(frame)) = taken else {
                    panic!("{mode:?} {size} in pieces of {piece}")
                };
                assert_eq!(frame.segments[0], vec![1; 60]);
                assert_eq!(frame.segments[3], data);
            }
        }
    }
}

/// Round trips of a message of each size, with their rate; only to be looked at.
#[test]
#[ignore = "a measurement, for release builds"]
fn behaviour_31_performance() {
    for mode in MODES {
        for size in [0, 512, 4096, 32_768, 131_072, 4_194_304] {
            let rounds = (200_000_000 / (size + 2000)).min(100_000);
            let (mut sends, mut receives) = (encoder(mode), disassembler(mode));
            let (front, data) = (Bytes::from(vec![1; 250]), Bytes::from(vec![2; size]));
            let (mut batch, mut rx) = (TxBatch::default(), BytesMut::new());
            let bounds = Bounds::ready(Default::default());
            let start = std::time::Instant::now();
            for seq in 1..=rounds as u64 {
                let message = Message::new(42).with_front(front.clone());
                let message = message.with_data(data.clone());
                sends.message(message, seq, 0, &mut batch).expect("fresh");
                rx.reserve(batch.len());
                while !batch.is_empty() {
                    let taken = batch.write_to(|slices| {
                        slices.iter().for_each(|slice| rx.extend_from_slice(slice));
                        Ok(slices.iter().map(|slice| slice.len()).sum())
                    });
                    taken.expect("a buffer takes all");
                }
                receives.preamble(&mut rx, &bounds).expect("valid");
                assert!(matches!(receives.body(&mut rx), Ok(Some(_))));
            }
            let took = start.elapsed() / rounds as u32;
            let rate = (size + 291) as f64 / took.as_secs_f64() / 1e6;
            println!("{mode:?} data {size:7}: {took:?} each, {rate:.0} MB/s");
        }
    }
}
