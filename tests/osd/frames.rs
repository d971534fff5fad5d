//! The reader of v2: frames of revision 2.1 that are not encrypted (msgr2 §4, §5.4, §6, §11.1).

use async_messenger::wire::crc32c;

use super::talk::{Cursor, Name, Reply, Speech, Talk, u32_at};

const BANNER_LEN: usize = 26;

/// What is spoken before a session is asked for.
const BEFORE: std::ops::RangeInclusive<u8> = 1..=7;

/// Reads what was spoken on a link.
pub(crate) fn read(dialed: bool, [sent, received]: &[Vec<u8>; 2]) -> Talk {
    let mut talk = Talk::silent(dialed);
    let (mut ours, mut theirs) = (Cursor(sent), Cursor(received));
    if handshake(&mut talk, &mut ours, &mut theirs).is_some() {
        read_speech(&mut talk.sent, &mut ours);
        read_speech(&mut talk.received, &mut theirs);
    }
    talk
}

/// Tag and segments of a frame.
fn frame<'a>(from: &mut Cursor<'a>) -> Option<(u8, Vec<&'a [u8]>)> {
    let preamble = from.take(32)?;
    let crc = crc32c(0, &preamble[..28]) as usize;
    assert_eq!(u32_at(preamble, 28), crc, "of a preamble");
    let count = usize::from(preamble[1]);
    let mut segments = Vec::new();
    for i in 0..count {
        let segment = from.take(u32_at(preamble, 2 + 6 * i))?;
        segments.push(segment);
        if i == 0 && !segment.is_empty() {
            let crc = crc32c(u32::MAX, segment) as usize;
            assert_eq!(u32_at(from.take(4)?, 0), crc, "of a first segment");
        }
    }
    if count > 1 {
        let epilogue = from.take(13)?;
        assert_eq!(epilogue[0], 0x0e, "complete");
        for (i, segment) in segments.iter().enumerate().skip(1) {
            let crc = crc32c(u32::MAX, segment) as usize;
            assert_eq!(u32_at(epilogue, 4 * i - 3), crc, "of segment {i}");
        }
    }
    Some((preamble[0], segments))
}

/// The next frame that has to do with a session.
fn about_session<'a>(from: &mut Cursor<'a>) -> Option<(u8, &'a [u8])> {
    loop {
        let (tag, segments) = frame(from)?;
        if !BEFORE.contains(&tag) {
            return Some((tag, segments[0]));
        }
    }
}

/// `None`: it did not get through.
fn handshake<'a>(talk: &mut Talk, ours: &mut Cursor<'a>, theirs: &mut Cursor<'a>) -> Option<()> {
    let (connector, acceptor) = if talk.dialed {
        (ours, theirs)
    } else {
        (theirs, ours)
    };
    connector.take(BANNER_LEN)?;
    acceptor.take(BANNER_LEN)?;
    loop {
        let (asked, wish) = about_session(connector)?;
        let (tag, answer) = about_session(acceptor)?;
        let reply = match tag {
            9 => Reply::New,
            12 => Reply::Reset,
            13 => Reply::RetrySession,
            14 => Reply::RetryGlobal,
            15 => Reply::GoesOn,
            16 => Reply::Wait,
            tag => panic!("tag {tag} in answer to {asked}"),
        };
        talk.replies.push(reply);
        if reply == Reply::New {
            assert_eq!(asked, 8, "SERVER_IDENT answers CLIENT_IDENT");
            return Some(());
        }
        if reply == Reply::GoesOn {
            assert_eq!(asked, 11, "what goes on was asked for");
            // Behind the addresses, whose number may vary.
            let mut words = Cursor(&wish[wish.len() - 40..]);
            let cookies = [words.u64()?, words.u64()?];
            let (_global_seq, connect_seq) = (words.u64()?, words.u64()?);
            talk.name = Some(Name {
                cookies,
                connect_seq,
            });
            talk.tell([Cursor(answer).u64()?, words.u64()?]);
            return Some(());
        }
    }
}

fn read_speech(speech: &mut Speech, from: &mut Cursor<'_>) {
    while let Some((tag, segments)) = frame(from) {
        let word = |at| Cursor(&segments[0][at..]).u64().expect("eight bytes");
        match tag {
            17 => {
                speech.seqs.push(word(0));
                speech.acks.push(word(28));
            }
            18 | 19 => {}
            20 => speech.acks.push(word(0)),
            tag => panic!("tag {tag} in the open phase"),
        }
    }
    assert!(speech.acks.is_sorted(), "{:?}", speech.acks);
}
