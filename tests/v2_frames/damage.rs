//! What a peer may get wrong, and what an attacker may do, and the error that names it.

use async_messenger::crypto::{Role, Sealer};
use async_messenger::proto::v2::{
    Assembler, Body, Bounds, Control, Disassembler, Preamble, Revision, tag,
};
use async_messenger::proto::{Part, ProtoError};
use async_messenger::wire::crc32c;
use bytes::BytesMut;

use super::vectors::Rng;
use super::{MODES, Reader, assemble, assembler, ciphers, disassembler, encoder, take, take_frame};

/// Makes frames by the rules as they are written down, wrong ones too.
pub(crate) struct Craft {
    revision: Revision,
    sealer: Option<Sealer>,
}

impl Craft {
    pub(crate) fn new((revision, secure): (Revision, bool)) -> Self {
        let sealer = secure.then(|| ciphers(Role::Client, revision).0);
        Self { revision, sealer }
    }

    /// The late status of a frame that was sent whole.
    pub(crate) fn done(&self) -> u8 {
        match self.revision {
            Revision::V0 => 0,
            Revision::V1 => 0xe,
        }
    }

    pub(crate) fn frame(&mut self, tag: u8, parts: [&[u8]; 4], late: u8) -> Vec<u8> {
        let preamble = Preamble::new(tag, parts.map(|part| part.len() as u32));
        let head = preamble.encode([8, 8, 8, 4096]);
        self.raw(head, &parts[..preamble.count], late)
    }

    /// Whatever the preamble says, these are the parts.
    fn raw(&mut self, head: [u8; 32], parts: &[&[u8]], late: u8) -> Vec<u8> {
        let crc = |part: &&[u8]| crc32c(u32::MAX, part).to_le_bytes();
        let Some(sealer) = &mut self.sealer else {
            let mut out = head.to_vec();
            if self.revision == Revision::V0 {
                parts.iter().for_each(|part| out.extend(*part));
                let mut sums: Vec<u8> = parts.iter().flat_map(crc).collect();
                sums.resize(16, 0);
                return [out, vec![late], sums].concat();
            }
            if !parts[0].is_empty() {
                out.extend(parts[0]);
                out.extend(crc(&parts[0]));
            }
            if parts.len() > 1 {
                parts[1..].iter().for_each(|part| out.extend(*part));
                let mut sums: Vec<u8> = parts[1..].iter().flat_map(crc).collect();
                sums.resize(12, 0);
                out.push(late);
                out.extend(sums);
            }
            return out;
        };
        let pad = |part: &[u8]| [part, &vec![0; part.len().wrapping_neg() % 16]].concat();
        let mut seal = |mut text: Vec<u8>| {
            let tag = sealer.seal(&mut text).expect("fresh");
            [text, tag.to_vec()].concat()
        };
        let end = pad(&[late]);
        let padded: Vec<_> = parts.iter().map(|part| pad(part)).collect();
        if self.revision == Revision::V0 {
            return seal([head.to_vec(), padded.concat(), end].concat());
        }
        let mut first = padded[0].clone();
        let beyond = first.split_off(first.len().min(48));
        first.resize(48, 0);
        let mut out = seal([head.to_vec(), first].concat());
        if !beyond.is_empty() {
            out.extend(seal(beyond));
        }
        if parts.len() > 1 {
            out.extend(seal([padded[1..].concat(), end].concat()));
        }
        out
    }
}

/// Gives the bytes to a disassembler, and returns its error.
fn refused(mode: (Revision, bool), bytes: &[u8]) -> ProtoError {
    let mut rx = BytesMut::from(bytes);
    let result = take(&mut disassembler(mode), &mut rx);
    result.expect_err("it is refused")
}

fn patched(mut head: [u8; 32], at: usize, byte: u8) -> [u8; 32] {
    head[at] = byte;
    let crc = crc32c(0, &head[..28]).to_le_bytes();
    head[28..].copy_from_slice(&crc);
    head
}

#[test]
fn crafted_frames_are_as_ours() {
    let parts: [&[u8]; 4] = [&[1; 70], &[2; 20], b"", &[4; 33]];
    for mode in MODES {
        for count in 1..=4 {
            let mut parts = parts;
            parts[count..].fill(b"");
            let mut craft = Craft::new(mode);
            let done = craft.done();
            let made = assemble(&mut assembler(mode), tag::MESSAGE, parts);
            assert_eq!(craft.frame(tag::MESSAGE, parts, done), made, "{mode:?}");
        }
    }
}

#[test]
fn a_preamble_has_to_make_sense() {
    for mode in MODES {
        let head = Preamble::new(99, [5, 6, 0, 0]).encode([8; 4]);
        let parts: [&[u8]; 2] = [&[1; 5], &[2; 6]];
        let text = |head: [u8; 32]| {
            let mut craft = Craft::new(mode);
            refused(mode, &craft.raw(head, &parts, craft.done())).to_string()
        };
        for count in [0, 5, 200] {
            let got = text(patched(head, 1, count));
            let wanted = format!("a frame with {count} segments, it must have one to four");
            assert!(got.contains(&wanted), "{got}");
        }
        let got = text(patched(head, 1, 3));
        assert!(got.contains("whose last segment, of 3, is empty"), "{got}");
        for flags in [1, 3, 0xff] {
            let got = text(patched(head, 26, flags));
            assert!(got.contains("a compressed frame"), "{got}");
        }
        let mut wrong = head;
        wrong[28] ^= 1;
        assert!(text(wrong).contains("corrupt frame preamble"));
        // These are ignored: unknown flags, the reserved byte, alignments.
        for (at, byte) in [(26, 0xfe), (27, 7), (6, 3), (6, 0)] {
            let mut craft = Craft::new(mode);
            let done = craft.done();
            let bytes = craft.raw(patched(head, at, byte), &parts, done);
            let frame = take_frame(&mut disassembler(mode), &mut BytesMut::from(&bytes[..]));
            assert_eq!(frame.segments[1], &[2; 6][..]);
        }
    }
}

/// Lengths near the ends of their range, in each place. Nothing waits for as many bytes.
#[test]
fn lengths_beyond_their_bounds_are_refused_at_once() {
    let lens = [0x10_0001, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, u32::MAX];
    for mode in MODES {
        for len in lens {
            for (tag, segment, what) in [
                (tag::MESSAGE, 0, "message header"),
                (tag::MESSAGE, 1, "front segment"),
                (tag::MESSAGE, 2, "middle segment"),
                (tag::MESSAGE, 3, "data segment"),
                (tag::ACK, 0, "control frame"),
                (tag::ACK, 3, "control frame"),
            ] {
                let mut lens = [41, 1, 1, 1];
                lens[segment] = len;
                let head = Preamble::new(tag, lens).encode([8; 4]);
                let bytes = Craft::new(mode).raw(head, &[&[0; 41]], 0);
                let error = refused(mode, &bytes);
                assert!(matches!(error, ProtoError::Limit { .. }), "{error}");
                assert!(error.to_string().contains(what), "{error}");
            }
        }
        // All of them at their largest do not overflow either.
        let head = Preamble::new(tag::HELLO, [u32::MAX; 4]).encode([8; 4]);
        let error = refused(mode, &Craft::new(mode).raw(head, &[b""], 0));
        assert!(matches!(error, ProtoError::Limit { .. }), "{error}");
    }
}

#[test]
fn no_message_before_its_time() {
    for mode in MODES {
        let bytes = assemble(
            &mut assembler(mode),
            tag::MESSAGE,
            [&[0; 41], b"", b"", b""],
        );
        for bounds in [Bounds::STRANGER, Bounds::KNOWN] {
            let result = disassembler(mode).preamble(&mut BytesMut::from(&bytes[..]), &bounds);
            let text = result.unwrap_err().to_string();
            assert!(
                text.contains("message before the session is open"),
                "{text}"
            );
        }
    }
}

/// A header segment of every length: shorter than 41 is refused, more is for later releases.
#[test]
fn message_headers_of_every_length() {
    for mode in MODES {
        for len in 0..=100 {
            let bytes = assemble(
                &mut assembler(mode),
                tag::MESSAGE,
                [&vec![0; len], b"front", b"", b""],
            );
            let mut reader = Reader::new(disassembler(mode), false);
            match (reader.feed(&bytes), len) {
                (Err(error), ..41) => {
                    let wanted = format!("message header: needs 41 more bytes, {len} are left");
                    assert!(error.to_string().contains(&wanted), "{error}");
                    assert!(reader.gate.admitted.is_empty(), "nothing was taken for it");
                }
                (Ok(()), 41..) => assert_eq!(reader.seen.len(), 1),
                other => panic!("{mode:?} {len}: {other:?}"),
            }
        }
    }
}

#[test]
fn checksums_name_their_part() {
    for revision in [Revision::V0, Revision::V1] {
        let mode = (revision, false);
        for (tag, names) in [
            (
                tag::MESSAGE,
                [Part::Header, Part::Front, Part::Middle, Part::Data],
            ),
            (tag::ACK, [Part::Control; 4]),
        ] {
            let parts: [&[u8]; 4] = [&[1; 41], &[2; 10], &[3; 20], &[4; 30]];
            let bytes = assemble(&mut assembler(mode), tag, parts);
            let gap = if revision == Revision::V1 { 4 } else { 0 };
            let starts = [32, 73 + gap, 83 + gap, 103 + gap];
            for (i, start) in starts.into_iter().enumerate() {
                for at in start..start + parts[i].len() {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 0x10;
                    let error = refused(mode, &damaged);
                    let right =
                        matches!(error, ProtoError::Corrupt { part, .. } if part == names[i]);
                    assert!(right, "{i}: {error}");
                }
            }
            for at in 0..32 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x10;
                let error = refused(mode, &damaged);
                let part = Part::Preamble;
                assert!(matches!(error, ProtoError::Corrupt { part: p, .. } if p == part));
            }
        }
    }
}

#[test]
fn the_late_status_is_read_as_written_down() {
    let parts: [&[u8]; 4] = [b"control", b"x", b"", b""];
    for mode in MODES {
        for late in 0..=255_u8 {
            let bytes = Craft::new(mode).frame(tag::ACK, parts, late);
            let result = take(&mut disassembler(mode), &mut BytesMut::from(&bytes[..]));
            let aborted = match (mode.0, late & 15) {
                (Revision::V0, low) => Some(low & 1 == 1),
                (Revision::V1, 0xe) => Some(false),
                (Revision::V1, 1) => Some(true),
                (Revision::V1, _) => None,
            };
            match (result, aborted) {
                (Ok(Some(Body::Frame(_))), Some(false)) | (Ok(Some(Body::Aborted)), Some(true)) => {
                }
                (Err(error), None) => {
                    let wanted = format!("late status is {late:#04x}");
                    assert!(error.to_string().contains(&wanted), "{error}");
                }
                other => panic!("{mode:?} {late:#x}: {other:?}"),
            }
        }
    }
}

/// Segment checksums can be off on both sides; the preamble's cannot.
#[test]
fn segments_without_checksums() {
    for revision in [Revision::V0, Revision::V1] {
        let mut sends = Assembler::new(revision, None, false);
        let parts: [&[u8]; 4] = [&[1; 41], b"front", b"", b"data"];
        let bytes = assemble(&mut sends, tag::MESSAGE, parts);
        let tail = &bytes[bytes.len() - 12..];
        assert_eq!(tail, [0; 12], "they are sent as zeros");
        let new = || Disassembler::new(revision, None, false);
        for at in 32..bytes.len() {
            let mut damaged = bytes.clone();
            // The late status is checked all the same; its high half is not.
            damaged[at] ^= 0x10;
            take_frame(&mut new(), &mut BytesMut::from(&damaged[..]));
        }
        let mut damaged = bytes.clone();
        damaged[3] ^= 1;
        let error = take(&mut new(), &mut BytesMut::from(&damaged[..]));
        assert!(matches!(error, Err(ProtoError::Corrupt { .. })));
        // A side that checks sees that they are missing.
        assert!(matches!(
            refused((revision, false), &bytes),
            ProtoError::Corrupt { .. }
        ));
    }
}

#[test]
fn every_changed_byte_of_an_encrypted_frame_is_found() {
    for mode in [MODES[1], MODES[3]] {
        let parts: [&[u8]; 4] = [&[1; 60], &[2; 20], &[3; 1], &[4; 40]];
        let bytes = assemble(&mut assembler(mode), tag::MESSAGE, parts);
        for at in 0..bytes.len() {
            for bit in [0, 4, 7] {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let error = refused(mode, &damaged);
                // In 2.0 the preamble has to be believed before the tag comes.
                let early = mode.0 == Revision::V0 && at < 32;
                match error {
                    ProtoError::Tampered { .. } => {}
                    ProtoError::Corrupt {
                        part: Part::Preamble,
                        ..
                    } if early => {}
                    other => panic!("{mode:?} byte {at}: {other}"),
                }
            }
        }
    }
}

#[test]
fn frames_that_are_repeated_or_out_of_order_do_not_open() {
    for mode in [MODES[1], MODES[3]] {
        let mut sends = assembler(mode);
        let ack = |n: u64| Control::Ack(n).encode();
        let frames: Vec<_> = (0..3)
            .map(|n| assemble(&mut sends, tag::ACK, [&ack(n), b"", b"", b""]))
            .collect();
        for order in [[0, 0, 1], [1, 0, 2], [0, 2, 1]] {
            let mut receives = disassembler(mode);
            let mut bad = None;
            for (i, n) in order.into_iter().enumerate() {
                let mut rx = BytesMut::from(&frames[n][..]);
                if take(&mut receives, &mut rx).is_err() {
                    bad = Some(i);
                    break;
                }
            }
            let first = order.iter().zip(0..).position(|(n, i)| *n != i);
            assert_eq!(bad, first, "{mode:?} {order:?}");
        }
        // What goes the other way does not open either.
        let (sealer, _) = ciphers(Role::Server, mode.0);
        let mut server = Assembler::new(mode.0, Some(sealer), true);
        let mirrored = assemble(&mut server, tag::ACK, [&ack(0), b"", b"", b""]);
        refused(mode, &mirrored);
    }
}

#[test]
fn control_frames_that_are_cut_off_or_too_long() {
    let controls = [
        Control::Ack(1),
        Control::Keepalive2(Default::default()),
        Control::AuthSignature([7; 32]),
        Control::SessionReset { full: true },
        Control::AuthDone {
            global_id: 1,
            mode: async_messenger::auth::Mode::CRC,
            payload: vec![1, 2, 3],
        },
        Control::CompressionRequest {
            wanted: true,
            algorithms: vec![1, 3],
        },
    ];
    for control in controls {
        let (tag, content) = (control.tag(), control.encode());
        for cut in 0..content.len() {
            let error = Control::decode(tag, &content[..cut]).unwrap_err();
            assert!(matches!(error, ProtoError::Malformed(_)), "{error}");
            assert!(
                error.to_string().contains(tag::name(tag).unwrap()),
                "{error}"
            );
        }
        let longer = [&content[..], b"for later releases"].concat();
        assert_eq!(Control::decode(tag, &longer), Ok(control));
    }
    for tag in [0, 23, 99, 255] {
        let text = Control::decode(tag, &[]).unwrap_err().to_string();
        assert!(text.contains(&format!("no frame with tag {tag}")), "{text}");
    }
    // Of several segments the last one counts.
    for mode in MODES {
        let bytes = assemble(
            &mut assembler(mode),
            tag::ACK,
            [b"something", b"", &Control::Ack(9).encode(), b""],
        );
        let mut reader = Reader::new(disassembler(mode), false);
        reader.feed(&bytes).unwrap();
        assert_eq!(reader.prints(), ["Ack(9)"]);
    }
}

#[test]
fn an_unknown_frame_is_read_whole_and_refused() {
    for mode in MODES {
        let bytes = assemble(&mut assembler(mode), 99, [b"what", b"is", b"", b"this"]);
        let mut reader = Reader::new(disassembler(mode), false);
        reader
            .feed(&bytes[..bytes.len() - 1])
            .expect("not complete");
        let error = reader.feed(&bytes[bytes.len() - 1..]).unwrap_err();
        assert!(
            error.to_string().contains("no frame with tag 99"),
            "{error}"
        );
    }
}

#[test]
fn random_changes_never_panic() {
    let mut rng = Rng(0x5eed);
    for round in 0..20_000 {
        let mode = MODES[round % 4];
        let (mut batch, mut encoder) = (Default::default(), encoder(mode));
        for seq in 1..3 {
            let data = vec![7; rng.below(300)];
            let message = async_messenger::message::Message::new(7).with_data(data);
            encoder.message(message, seq, 1, &mut batch).unwrap();
        }
        let mut bytes = super::drain(&mut batch);
        rng.mutate(&mut bytes);
        if mode == MODES[0] || mode == MODES[2] {
            // To get behind the preamble.
            let crc = crc32c(0, bytes.get(..28).unwrap_or_default()).to_le_bytes();
            if let Some(place) = bytes.get_mut(28..32) {
                place.copy_from_slice(&crc);
            }
        }
        let mut reader = Reader::new(disassembler(mode), rng.below(2) == 0);
        for piece in bytes.chunks(1 + rng.below(200)) {
            if reader.feed(piece).is_err() {
                break;
            }
        }
    }
}
