//! Frames and the open phase of msgr v2: every mode and length (`layout`), bytes on paper
//! (`examples`), what a peer may get wrong (`damage`), messages (`open`), and what real Ceph
//! programs sent (`recorded`).

mod damage;
mod examples;
mod layout;
mod open;
mod recorded;
#[path = "../common/tap.rs"]
mod tap;
#[path = "../common/vectors.rs"]
mod vectors;
#[path = "../common/worked.rs"]
mod worked;

use async_messenger::crypto::{NonceStep, Opener, Role, Sealer, best, session_ciphers};
use async_messenger::message::{Segment, TxBatch};
use async_messenger::proto::v2::{
    Assembler, Body, Bounds, Decoder, Disassembler, Encoder, Frame, Revision,
};
use async_messenger::proto::{Decoded, Gate, Incoming, Limits, ProtoError, Toll};
use async_messenger::wire::EntityName;
use bytes::BytesMut;

/// Both revisions, plain and encrypted.
const MODES: [(Revision, bool); 4] = [
    (Revision::V0, false),
    (Revision::V0, true),
    (Revision::V1, false),
    (Revision::V1, true),
];

const PEER: EntityName = EntityName::osd(3);

/// Takes nearly everything.
const WIDE: Bounds = Bounds {
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

/// What a client sends with.
fn assembler((revision, secure): (Revision, bool)) -> Assembler {
    let sealer = secure.then(|| ciphers(Role::Client, revision).0);
    Assembler::new(revision, sealer, true)
}

/// What its server receives with.
fn disassembler((revision, secure): (Revision, bool)) -> Disassembler {
    let opener = secure.then(|| ciphers(Role::Server, revision).1);
    Disassembler::new(revision, opener, true)
}

fn assemble(assembler: &mut Assembler, tag: u8, segments: [&[u8]; 4]) -> Vec<u8> {
    let [first, rest @ ..] = segments;
    let mut out = BytesMut::new();
    let rest = rest.map(|bytes| Segment::from(bytes.to_vec()));
    assembler
        .frame(tag, first, rest, &mut out)
        .expect("it can be sent");
    out.to_vec()
}

/// One frame from the front of `rx`, or what is wrong with it.
fn take(frames: &mut Disassembler, rx: &mut BytesMut) -> Result<Option<Body>, ProtoError> {
    match frames.preamble(rx, &WIDE)? {
        Some(_) => frames.body(rx),
        None => Ok(None),
    }
}

fn take_frame(frames: &mut Disassembler, rx: &mut BytesMut) -> Frame {
    match take(frames, rx) {
        Ok(Some(Body::Frame(frame))) => frame,
        other => panic!("no frame but {other:?}"),
    }
}

/// All that a batch holds.
fn drain(batch: &mut TxBatch) -> Vec<u8> {
    let mut out = Vec::new();
    while !batch.is_empty() {
        let taken = batch.write_to(|slices| {
            slices.iter().for_each(|slice| out.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        taken.expect("a vector takes all");
    }
    out
}

/// Admits everything, or every other time it is asked.
#[derive(Default)]
struct Doorman {
    reluctant: bool,
    asked: u32,
    aborted: u32,
    admitted: Vec<(Toll, u64)>,
}

impl Gate for Doorman {
    fn admit(&mut self, toll: Toll, size: u64) -> bool {
        self.asked += 1;
        let in_it_goes = !self.reluctant || self.asked.is_multiple_of(2);
        if in_it_goes {
            self.admitted.push((toll, size));
        }
        in_it_goes
    }

    fn aborted(&mut self) {
        self.aborted += 1;
    }
}

/// Reads a stream in pieces the way a connection does: to where the decoder wants its bytes.
struct Reader {
    decoder: Decoder,
    rx: BytesMut,
    gate: Doorman,
    seen: Vec<Incoming>,
}

impl Reader {
    fn new(frames: Disassembler, reluctant: bool) -> Self {
        Self {
            decoder: Decoder::new(frames, PEER, Limits::default()),
            rx: BytesMut::new(),
            gate: Doorman {
                reluctant,
                ..Doorman::default()
            },
            seen: Vec::new(),
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ProtoError> {
        while !bytes.is_empty() {
            match self.decoder.landing() {
                Some(landing) => {
                    assert!(self.rx.is_empty(), "nothing may be left before it");
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

    fn prints(&self) -> Vec<String> {
        self.seen.iter().map(print).collect()
    }
}

/// What was seen, comparable.
fn print(incoming: &Incoming) -> String {
    match incoming {
        Incoming::Message(m) => format!(
            "{:?} {:?} {:?} {:?}",
            m.head(),
            m.front().to_bytes(),
            m.middle().to_bytes(),
            m.data().to_bytes()
        ),
        other => format!("{other:?}"),
    }
}

fn encoder(mode: (Revision, bool)) -> Encoder {
    Encoder::new(assembler(mode))
}
