//! Segments that are damaged, and checksums that do not show it.

use async_messenger::proto::v2::tag;
use async_messenger::proto::{Limits, ProtoError};

use super::{ALGORITHMS, Algorithm, BOUNDS, MODES, assemble, sides, unpack};

/// The compressed form, as we send it.
fn pack(algorithm: Algorithm, text: &[u8]) -> Vec<u8> {
    let (mut sends, _) = sides(MODES[2]);
    sends.compress(algorithm, 0);
    let bytes = assemble(&mut sends, tag::ACK, [text, b"", b"", b""]);
    bytes[32..bytes.len() - 4].to_vec()
}

/// Right or not, it is an answer, and not more than the bounds allow.
fn check(algorithm: Algorithm, packed: &[u8]) -> Option<ProtoError> {
    let at_data: [&[u8]; 4] = [b"", b"", b"", packed];
    match unpack(algorithm, tag::MESSAGE, at_data) {
        Ok(frame) => {
            assert!(frame.segments[3].len() <= 1 << 20, "{algorithm}");
            None
        }
        Err(error) => {
            let text = error.to_string();
            let named = format!("its data segment does not decompress by {algorithm}: ");
            let long = "peer exceeds a limit: data segment";
            assert!(text.contains(&named) || text.contains(long), "{text}");
            Some(error)
        }
    }
}

fn sample() -> Vec<u8> {
    (0..400_u32)
        .flat_map(|i| (i / 7 * i % 97).to_le_bytes())
        .collect()
}

#[test]
fn every_bit_of_a_segment_may_be_wrong() {
    for algorithm in ALGORITHMS {
        let packed = pack(algorithm, &sample());
        assert_eq!(check(algorithm, &packed), None);
        let mut refused = 0;
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut packed = packed.clone();
                packed[at] ^= 1 << bit;
                refused += usize::from(check(algorithm, &packed).is_some());
            }
        }
        println!("{algorithm}: {refused} of {} refused", packed.len() * 8);
        assert!(refused > 0, "{algorithm}");
    }
}

#[test]
fn no_beginning_of_a_segment_and_none_with_something_behind_it_is_right() {
    for algorithm in ALGORITHMS {
        let packed = pack(algorithm, &sample());
        for len in 1..packed.len() {
            assert!(
                check(algorithm, &packed[..len]).is_some(),
                "{algorithm} {len}"
            );
        }
        for more in [&[0][..], &[1, 2, 3], &[0xff; 40]] {
            let long = [&packed, more].concat();
            assert!(check(algorithm, &long).is_some(), "{algorithm} {more:?}");
        }
    }
}

#[test]
fn noise_is_no_compressed_segment() {
    let mut state = 0xbad_5eed_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for algorithm in ALGORITHMS {
        let good = pack(algorithm, &sample());
        for _ in 0..3000 {
            let len = 1 + next() as usize % 80;
            let mut noise: Vec<u8> = (0..len).map(|_| next() as u8).collect();
            let _ = check(algorithm, &noise);
            // With a head that is right.
            let head = good.len().min(next() as usize % 24);
            noise.splice(..0, good[..head].iter().copied());
            let _ = check(algorithm, &noise);
        }
    }
}

/// Heads of lz4 and zstd that contradict what follows.
#[test]
fn heads_that_lie() {
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
    let max = u32::MAX;
    for (what, said) in [
        (words(&[max]), "cut off"),
        (words(&[max, max, max]), "cut off"),
        (
            words(&[1, max, 0]),
            "limit: data segment 4294967295, at most 1048576",
        ),
        (
            words(&[2, max, 0, max, 0]),
            "limit: data segment 8589934590",
        ),
        (words(&[1, 5, max]), "cut off"),
        (words(&[0, 5]), "more behind its end"),
        (
            [words(&[1, 5, 4]), b"\x30abc".to_vec()].concat(),
            "says 5 bytes and holds 3",
        ),
        (
            [words(&[1, 2, 4]), b"\x30abc".to_vec()].concat(),
            "does not decompress by lz4",
        ),
        // Refers to what is not there.
        (
            [words(&[1, 8, 4]), b"\x10a\x09\x00".to_vec()].concat(),
            "does not decompress by lz4",
        ),
    ] {
        let error = check(Algorithm::Lz4, &what).expect("refused").to_string();
        assert!(error.contains(said), "{what:x?}: {error}");
    }
    let zstd = pack(Algorithm::Zstd, &sample());
    for (len, said) in [
        (max, "limit: data segment 4294967295"),
        (0, "does not decompress by zstd"),
        (1599, "does not decompress by zstd"),
        (1601, "says 1601 bytes and holds 1600"),
    ] {
        let lies = [&len.to_le_bytes()[..], &zstd[4..]].concat();
        let error = check(Algorithm::Zstd, &lies).expect("refused").to_string();
        assert!(error.contains(said), "{len}: {error}");
    }
}

/// A frame that is no message has one bound for all of its segments.
#[test]
fn control_frames_have_one_bound_for_all_segments() {
    for algorithm in ALGORITHMS {
        let half = pack(algorithm, &vec![1; BOUNDS.control as usize / 2]);
        let one = pack(algorithm, b"1");
        unpack(algorithm, tag::ACK, [&half, &half, b"", b""]).expect("just fits");
        let error = unpack(algorithm, tag::ACK, [&half, &half, b"", &one]);
        let error = error.expect_err("one too many");
        let limit = ProtoError::Limit {
            what: "control frame",
            got: (1 << 20) + 1,
            max: 1 << 20,
        };
        assert_eq!(error, limit, "{algorithm}");
    }
}

/// What may come compressed is bounded, too, before anything is decompressed.
#[test]
fn lengths_of_compressed_segments_are_bounded() {
    let Limits { data_max, .. } = BOUNDS.message.expect("messages are allowed");
    let most = data_max as usize + data_max as usize / 6 + 64;
    let longest = vec![0xff; most];
    let error = check(Algorithm::Snappy, &longest).expect("it is nonsense");
    assert!(matches!(error, ProtoError::PeerMisbehaved(_)), "{error}");
    let long = vec![0xff; most + 1];
    let error = check(Algorithm::Snappy, &long).expect("too long");
    let limit = ProtoError::Limit {
        what: "data segment",
        got: most as u64 + 1,
        max: most as u64,
    };
    assert_eq!(error, limit);
}
