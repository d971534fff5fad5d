//! Compression of v2 (msgr2 §8): segments on paper and in frames (`segments`), damage (`damage`),
//! the rules of who compresses towards whom (`rules`), and messengers (`messengers`). Bombs are in
//! a test of their own, which counts what is allocated.

mod damage;
#[path = "../common/faulty.rs"]
mod faulty;
mod messengers;
#[path = "../common/peers.rs"]
mod peers;
mod rules;
mod segments;
#[path = "../common/vectors.rs"]
mod vectors;
#[path = "../common/worked.rs"]
mod worked;

use async_messenger::crypto::{NonceStep, Opener, Role, Sealer, best, session_ciphers};
use async_messenger::message::Segment;
use async_messenger::proto::v2::{
    Algorithm, Assembler, Body, Bounds, Disassembler, Frame, Revision,
};
use async_messenger::proto::{Limits, ProtoError};
use async_messenger::wire::crc32c;
use bytes::BytesMut;

/// Those that are implemented.
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Snappy,
    Algorithm::Zlib,
    Algorithm::Zstd,
    Algorithm::Lz4,
];

/// Both revisions, plain and encrypted.
const MODES: [(Revision, bool); 4] = [
    (Revision::V0, false),
    (Revision::V0, true),
    (Revision::V1, false),
    (Revision::V1, true),
];

const BOUNDS: Bounds = Bounds {
    control: 1 << 20,
    message: Some(Limits {
        front_max: 1 << 20,
        middle_max: 1 << 20,
        data_max: 1 << 20,
    }),
};

fn ciphers(role: Role, revision: Revision) -> (Sealer, Opener) {
    let step = match revision {
        Revision::V0 => NonceStep::First32,
        Revision::V1 => NonceStep::Last64,
    };
    session_ciphers(best(), &worked::secret(), role, step).expect("64 bytes are enough")
}

/// What a client sends with, and its server receives with.
fn sides((revision, secure): (Revision, bool)) -> (Assembler, Disassembler) {
    let sealer = secure.then(|| ciphers(Role::Client, revision).0);
    let opener = secure.then(|| ciphers(Role::Server, revision).1);
    (
        Assembler::new(revision, sealer, true),
        Disassembler::new(revision, opener, true),
    )
}

fn assemble(frames: &mut Assembler, tag: u8, segments: [&[u8]; 4]) -> BytesMut {
    let [first, rest @ ..] = segments;
    let rest = rest.map(|bytes| Segment::from(bytes.to_vec()));
    let mut out = BytesMut::new();
    frames
        .frame(tag, first, rest, &mut out)
        .expect("it can be sent");
    out
}

/// The one frame that is in `rx`.
fn take(frames: &mut Disassembler, rx: &mut BytesMut) -> Result<Frame, ProtoError> {
    frames.preamble(rx, &BOUNDS)?.expect("it is complete");
    match frames.body(rx)?.expect("it is complete") {
        Body::Frame(frame) => Ok(frame),
        Body::Aborted => panic!("it is not aborted"),
    }
}

/// Receives a frame, in the plain mode of 2.1, whose segments are said to be compressed.
fn unpack(algorithm: Algorithm, tag: u8, packed: [&[u8]; 4]) -> Result<Frame, ProtoError> {
    let (mut sends, mut receives) = sides(MODES[2]);
    let mut bytes = assemble(&mut sends, tag, packed);
    bytes[26] |= 1;
    let crc = crc32c(0, &bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    receives.decompress(algorithm);
    take(&mut receives, &mut bytes)
}
