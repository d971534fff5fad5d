//! The negotiation of compression (msgr2 §8.1), with everything compressed that may be.

use async_messenger::auth::Mode;
use async_messenger::proto::v2::{
    Algorithm, Algorithms, Banner, CompressMode, Compression, Control, PREAMBLE_LEN, Revision,
    frame_len, tag,
};
use async_messenger::wire::EntityType;

use super::fake::Play;
use super::meeting::{Cast, Meeting, meet};

const BANNER_LEN: usize = 26;

fn wants(algorithms: &[Algorithm], secure: bool) -> Compression {
    Compression {
        osd_mode: CompressMode::Force,
        osd_min_size: 0,
        osd_algorithms: Algorithms(algorithms.to_vec()),
        secure,
    }
}

fn cast(play: Play, connector: &Compression, acceptor: &Compression) -> Cast<'static> {
    let mut cast = Cast::new(Banner::ours(), play);
    cast.connector.compression = connector.clone();
    cast.acceptor.compression = acceptor.clone();
    cast
}

fn meet_all(cast: &Cast<'_>) -> Meeting {
    let whole = meet(cast, usize::MAX);
    for size in [1, 7, 32, 100] {
        assert_eq!(meet(cast, size), whole, "{size} bytes at a time");
    }
    whole
}

/// Tag, flags and first segment of each frame that a side has sent in the plain mode of 2.1.
fn frames(sent: &[u8]) -> Vec<(u8, u8, &[u8])> {
    let (mut at, mut frames) = (BANNER_LEN, Vec::new());
    while at < sent.len() {
        let head = &sent[at..at + PREAMBLE_LEN];
        let len = |i: usize| {
            let bytes = &head[2 + 6 * i..6 + 6 * i];
            u32::from_le_bytes(bytes.try_into().expect("four bytes"))
        };
        let lens = [len(0), len(1), len(2), len(3)];
        let first = &sent[at + PREAMBLE_LEN..][..lens[0] as usize];
        frames.push((head[0], head[26], first));
        at += frame_len(Revision::V1, false, lens) as usize;
    }
    frames
}

fn answer(meeting: &Meeting) -> Control {
    let frames = frames(&meeting.sent[1]);
    let done = frames.iter().find(|frame| frame.0 == tag::COMPRESSION_DONE);
    let (_, flags, content) = done.expect("it was negotiated");
    assert_eq!(*flags, 0, "it is not compressed itself");
    Control::decode(tag::COMPRESSION_DONE, content).expect("it is right")
}

#[test]
fn frames_are_compressed_from_the_answer_on() {
    for algorithm in [
        Algorithm::Snappy,
        Algorithm::Zlib,
        Algorithm::Zstd,
        Algorithm::Lz4,
    ] {
        let both = wants(&[algorithm], false);
        let meeting = meet_all(&cast(Play::keyed(Mode::CRC), &both, &both));
        assert!(meeting.opened().is_some(), "{meeting:#?}");
        assert_eq!(meeting.arrived.each_ref().map(Vec::len), [1, 1]);
        let (on, algorithm) = (true, algorithm.number());
        assert_eq!(answer(&meeting), Control::CompressionDone { on, algorithm });
        for sent in &meeting.sent {
            for (tag, flags, _) in frames(sent) {
                let after = matches!(tag, tag::CLIENT_IDENT | tag::SERVER_IDENT | tag::MESSAGE);
                assert_eq!(flags, u8::from(after), "{:?}", tag::name(tag));
            }
        }
    }
}

#[test]
fn the_connecting_side_s_order_decides() {
    let connector = wants(&[Algorithm::Lz4, Algorithm::Zstd, Algorithm::Snappy], false);
    let acceptor = wants(&[Algorithm::Snappy, Algorithm::Zstd], false);
    let meeting = meet_all(&cast(Play::plain(), &connector, &acceptor));
    assert!(meeting.opened().is_some());
    let zstd = Control::CompressionDone {
        on: true,
        algorithm: 3,
    };
    assert_eq!(answer(&meeting), zstd);
}

#[test]
fn it_takes_two_of_them_and_a_common_algorithm() {
    let none = Compression::default();
    let (zlib, lz4) = (
        wants(&[Algorithm::Zlib], false),
        wants(&[Algorithm::Lz4], false),
    );
    for (connector, acceptor) in [
        (&none, &zlib),
        (&zlib, &none),
        (&zlib, &lz4),
        (&none, &none),
    ] {
        let meeting = meet_all(&cast(Play::plain(), connector, acceptor));
        assert!(meeting.opened().is_some());
        let off = Control::CompressionDone {
            on: false,
            algorithm: 0,
        };
        assert_eq!(answer(&meeting), off);
        for sent in &meeting.sent {
            assert!(frames(sent).iter().all(|(_, flags, _)| *flags == 0));
        }
    }
    // Nobody but OSDs is asked to.
    let mut other = cast(Play::plain(), &zlib, &zlib);
    other.connector.peer_type = EntityType::MDS;
    other.acceptor.entity = EntityType::MDS;
    let meeting = meet_all(&other);
    let sent = frames(&meeting.sent[0]);
    let asked = sent
        .iter()
        .find(|frame| frame.0 == tag::COMPRESSION_REQUEST);
    assert_eq!(asked.expect("it was negotiated").2, [0, 0, 0, 0, 0]);
}

#[test]
fn encrypted_connections_are_compressed_if_both_say_so() {
    let (with, without) = (
        wants(&[Algorithm::Zlib], true),
        wants(&[Algorithm::Zlib], false),
    );
    let sent = |connector, acceptor| {
        let meeting = meet_all(&cast(Play::keyed(Mode::SECURE), connector, acceptor));
        assert!(meeting.opened().is_some());
        assert_eq!(meeting.arrived.each_ref().map(Vec::len), [1, 1]);
        meeting.sent.iter().map(Vec::len).sum::<usize>()
    };
    let plain = sent(&without, &without);
    assert_eq!(sent(&with, &without), plain);
    assert_eq!(sent(&without, &with), plain);
    assert!(sent(&with, &with) < plain);
}

/// Changes COMPRESSION_DONE on its way, in the plain mode, and its checksum with it.
#[test]
fn an_answer_that_nobody_asked_for() {
    for (asked, said) in [
        (
            Compression::default(),
            "picked compression 2, we asked for none",
        ),
        (
            wants(&[Algorithm::Lz4], false),
            "picked compression 2, which we did not offer",
        ),
    ] {
        let cast = cast(Play::plain(), &asked, &Compression::default());
        let honest = meet(&cast, usize::MAX);
        let done = Control::CompressionDone {
            on: false,
            algorithm: 0,
        };
        let from = |content: &[u8]| {
            let mut windows = honest.sent[1].windows(content.len());
            windows.position(|window| window == content)
        };
        let crc = |content: &[u8]| async_messenger::wire::crc32c(u32::MAX, content).to_le_bytes();
        let old = done.encode();
        let old = [&old[..], &crc(&old)].concat();
        let at = from(&old).expect("it was sent");
        let new = [1, 2, 0, 0, 0];
        let new = [&new[..], &crc(&new)].concat();
        let tamper = |side: usize, place: usize, byte: &mut u8| {
            if side == 1 && (at..at + new.len()).contains(&place) {
                *byte = new[place - at];
            }
        };
        let lied = Cast {
            tamper: &tamper,
            ..cast
        };
        let meeting = meet(&lied, usize::MAX);
        assert!(meeting.error(0).contains(said), "{}", meeting.error(0));
    }
}
