//! Compression bombs: little that comes to very much is refused, and nothing is allocated for it.
//! Alone in its process, because it counts what the whole process allocates.

use std::alloc::System;
use std::sync::{Mutex, PoisonError};

use async_messenger::message::Segment;
use async_messenger::proto::v2::{Algorithm, Assembler, Bounds, Disassembler, Revision, tag};
use async_messenger::proto::{Limits, ProtoError};
use bytes::BytesMut;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Snappy,
    Algorithm::Zlib,
    Algorithm::Zstd,
    Algorithm::Lz4,
];

/// Tests run one after the other.
static ALONE: Mutex<()> = Mutex::new(());

/// What each comes to.
const BOMB: usize = 16 << 20;
const DATA_MAX: u32 = 1 << 20;

const BOUNDS: Bounds = Bounds {
    control: 1 << 20,
    message: Some(Limits {
        front_max: 1 << 20,
        middle_max: 1 << 20,
        data_max: DATA_MAX,
    }),
};

/// A frame whose data is `len` zeros, compressed.
fn frame(algorithm: Algorithm, len: usize) -> BytesMut {
    let mut frames = Assembler::new(Revision::V1, None, false);
    frames.compress(algorithm, 0);
    let rest = [Segment::EMPTY, Segment::EMPTY, Segment::from(vec![0; len])];
    let mut out = BytesMut::new();
    frames
        .frame(tag::MESSAGE, &[0; 41], rest, &mut out)
        .expect("it can be sent");
    out
}

fn take(algorithm: Algorithm, rx: &mut BytesMut) -> Result<(), ProtoError> {
    let mut frames = Disassembler::new(Revision::V1, None, false);
    frames.decompress(algorithm);
    frames.preamble(rx, &BOUNDS)?.expect("it is complete");
    frames.body(rx)?.expect("it is complete");
    Ok(())
}

/// Bytes that were allocated meanwhile, those that were given back included.
fn allocated(act: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    act();
    region.change().bytes_allocated
}

#[test]
fn bombs_are_refused_before_there_is_room_for_them() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for algorithm in ALGORITHMS {
        let just_fits = &mut frame(algorithm, DATA_MAX as usize);
        take(algorithm, just_fits).expect("as long as may be");
        for len in [BOMB, DATA_MAX as usize + 1] {
            let mut bomb = frame(algorithm, len);
            let sent = bomb.len();
            assert!(sent < len / 15, "{algorithm}: no bomb of {sent} bytes");
            let used = allocated(|| {
                let error = take(algorithm, &mut bomb).expect_err("too much");
                let ProtoError::Limit { what, got, max } = error else {
                    panic!("{algorithm}: {error}")
                };
                assert_eq!((what, max), ("data segment", DATA_MAX.into()));
                // Zlib does not say how much it would be.
                let known = algorithm != Algorithm::Zlib;
                assert_eq!(got, if known { len as u64 } else { max + 1 });
            });
            println!("{algorithm}: {sent} bytes for {len}, {used} allocated");
            // Where the length is not known, room grows up to the bound, doubling.
            let most = match algorithm {
                Algorithm::Zlib => 3 * DATA_MAX as usize,
                _ => 64 << 10,
            };
            assert!(used < most, "{algorithm}: {used}");
        }
    }
}

/// The same behind a head that says less than there is.
#[test]
fn bombs_with_a_modest_head_burst_in_vain() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (algorithm, at) in [(Algorithm::Zstd, 0), (Algorithm::Lz4, 4)] {
        let mut bomb = frame(algorithm, BOMB);
        // Behind the preamble come the header and its checksum.
        let header = u32::from_le_bytes(bomb[2..6].try_into().expect("four bytes")) as usize;
        let len_at = 32 + header + 4 + at;
        bomb[len_at..len_at + 4].copy_from_slice(&1000_u32.to_le_bytes());
        let used = allocated(|| {
            let error = take(algorithm, &mut bomb).expect_err("a lie").to_string();
            let named = format!("its data segment does not decompress by {algorithm}");
            assert!(error.contains(&named), "{error}");
        });
        assert!(used < 64 << 10, "{algorithm}: {used}");
    }
}
