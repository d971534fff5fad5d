//! What real Ceph programs sent in the open phase, in pieces of any size, and made again.

use async_messenger::crypto::Role;
use async_messenger::message::{Segment, TxBatch};
use async_messenger::proto::Incoming;
use async_messenger::proto::v2::{
    Assembler, Bounds, Control, Disassembler, Encoder, Revision, tag,
};
use bytes::{Bytes, BytesMut};

use super::tap::{ALL, Connection, connections};
use super::{Reader, drain};

/// One direction of a recorded connection that was opened.
struct Stream<'a> {
    name: String,
    connection: &'a Connection,
    side: usize,
    open_at: usize,
}

fn for_each_stream(act: impl Fn(&Stream<'_>)) -> usize {
    let mut count = 0;
    for name in ALL {
        for connection in &connections(name) {
            for side in 0..2 {
                let Some(open_at) = connection.open_at(side) else {
                    continue;
                };
                let name = format!("{} side {side}", connection.recorded.name);
                act(&Stream {
                    name,
                    connection,
                    side,
                    open_at,
                });
                count += 1;
            }
        }
    }
    count
}

impl Stream<'_> {
    /// What the other side reads it with, behind the handshake.
    fn reads(&self) -> Disassembler {
        let role = [Role::Server, Role::Client][self.side];
        let opener = self.connection.ciphers(role).map(|(_, opener)| opener);
        let mut reads = Disassembler::new(Revision::V1, opener, true);
        for tapped in self.signed() {
            let bytes = &self.connection.streams[self.side][tapped.at.clone()];
            let mut rx = BytesMut::from(bytes);
            let bounds = Bounds::KNOWN;
            assert!(matches!(reads.preamble(&mut rx, &bounds), Ok(Some(_))));
            assert!(matches!(reads.body(&mut rx), Ok(Some(_))));
        }
        reads
    }

    /// The frames of the handshake behind authentication.
    fn signed(&self) -> impl Iterator<Item = &super::tap::Tapped> {
        let frames = self.connection.frames[self.side].iter();
        let frames = frames.skip_while(|f| f.frame.tag != tag::AUTH_SIGNATURE);
        frames.take_while(|f| f.at.end <= self.open_at)
    }

    fn bytes(&self) -> &[u8] {
        &self.connection.streams[self.side][self.open_at..]
    }

    fn whole(&self) -> Vec<String> {
        let mut reader = Reader::new(self.reads(), false);
        reader
            .feed(self.bytes())
            .expect("real programs keep the protocol");
        reader.prints()
    }
}

#[test]
fn recorded_streams_decode_the_same_however_they_are_cut() {
    let streams = for_each_stream(|stream| {
        let (whole, bytes) = (stream.whole(), stream.bytes());
        for size in [1, 2, 3, 5, 7, 31, 32, 53, 96, 97, 1000] {
            let mut reader = Reader::new(stream.reads(), true);
            for piece in bytes.chunks(size) {
                reader.feed(piece).expect("valid");
            }
            assert_eq!(
                reader.prints(),
                whole,
                "{} in pieces of {size}",
                stream.name
            );
        }
        // Encryption takes its time in every run; its frames are longer, and the same otherwise.
        let step = if stream.connection.secret.is_empty() {
            7
        } else {
            41
        };
        for cut in (0..=bytes.len()).step_by(step) {
            let mut reader = Reader::new(stream.reads(), cut % 2 == 0);
            reader.feed(&bytes[..cut]).expect("a valid prefix");
            reader.feed(&bytes[cut..]).expect("a valid rest");
            assert_eq!(reader.prints(), whole, "{} cut at {cut}", stream.name);
        }
    });
    assert!(streams >= 40, "only {streams}");
}

/// The sequence of what a stream brings is that of its frames.
#[test]
fn nothing_is_lost_or_made_up() {
    for_each_stream(|stream| {
        let mut reader = Reader::new(stream.reads(), false);
        reader.feed(stream.bytes()).expect("valid");
        let mut seen = reader.seen.iter().peekable();
        let mut acked = 0;
        for tapped in &stream.connection.frames[stream.side] {
            if tapped.at.start < stream.open_at {
                continue;
            }
            let header = &tapped.frame.segments[0];
            match (seen.next(), tapped.control()) {
                (Some(Incoming::Message(message)), None) => {
                    assert_eq!(message.head().seq.to_le_bytes(), header[..8]);
                    let ack = u64::from_le_bytes(header[28..36].try_into().unwrap());
                    if ack > acked {
                        assert!(matches!(seen.next(), Some(Incoming::Ack(n)) if *n == ack));
                        acked = ack;
                    }
                }
                (Some(Incoming::Ack(seq)), Some(Control::Ack(wanted))) => {
                    assert_eq!(*seq, wanted);
                    acked = acked.max(wanted);
                }
                (Some(Incoming::Keepalive2(seen)), Some(Control::Keepalive2(sent)))
                | (Some(Incoming::Keepalive2Ack(seen)), Some(Control::Keepalive2Ack(sent))) => {
                    assert_eq!(*seen, sent);
                }
                other => panic!("{}: {other:?}", stream.name),
            }
        }
        assert!(seen.next().is_none(), "{}", stream.name);
    });
}

#[test]
fn what_was_decoded_encodes_to_the_recorded_bytes() {
    let counted = for_each_stream(|stream| {
        let role = [Role::Client, Role::Server][stream.side];
        let sealer = stream.connection.ciphers(role).map(|(sealer, _)| sealer);
        let mut frames = Assembler::new(Revision::V1, sealer, true);
        let bytes = &stream.connection.streams[stream.side];
        for tapped in stream.signed() {
            let mut out = BytesMut::new();
            let none = [Segment::EMPTY, Segment::EMPTY, Segment::EMPTY];
            frames
                .frame(tapped.frame.tag, tapped.frame.last(), none, &mut out)
                .expect("fresh");
            assert_eq!(out, bytes[tapped.at.clone()], "{}", stream.name);
        }
        let mut encoder = Encoder::new(frames);
        let mut reader = Reader::new(stream.reads(), false);
        let (mut batch, mut from) = (TxBatch::default(), stream.open_at);
        for tapped in stream.connection.frames[stream.side]
            .iter()
            .filter(|f| f.is_open())
        {
            reader.feed(&bytes[tapped.at.clone()]).expect("valid");
            let header: &Bytes = &tapped.frame.segments[0];
            let done = match reader.seen.remove(0) {
                Incoming::Message(message) => {
                    let seq = message.head().seq;
                    let ack = u64::from_le_bytes(header[28..36].try_into().unwrap());
                    encoder.message(message, seq, ack, &mut batch)
                }
                Incoming::Ack(seq) => encoder.ack(seq, &mut batch),
                Incoming::Keepalive2(stamp) => encoder.keepalive(stamp, &mut batch),
                Incoming::Keepalive2Ack(stamp) => encoder.keepalive_ack(stamp, &mut batch),
                other => panic!("the recordings have no {other:?}"),
            };
            done.expect("it can be sent");
            reader.seen.clear();
            assert_eq!(
                drain(&mut batch),
                bytes[tapped.at.clone()],
                "{}",
                stream.name
            );
            from = tapped.at.end;
        }
        assert!(bytes.len() - from < 5000, "all but an incomplete end");
    });
    println!("{counted} streams");
}
