//! Recorded v2 connections, frame by frame.
#![allow(dead_code)] // each test uses its part

use std::fs;
use std::ops::Range;
use std::path::Path;

use async_messenger::auth::{CryptoKey, KeyType, Mode};
use async_messenger::crypto::{NonceStep, Opener, Role, Sealer, best, session_ciphers};
use async_messenger::proto::Limits;
use async_messenger::proto::v2::{Body, Bounds, Control, Disassembler, Frame, Revision, tag};
use async_messenger::wire::Timespec;
use bytes::BytesMut;

use super::vectors::{From, Recorded, load, unhex};

/// All recordings of v2.
pub(crate) const ALL: [&str; 13] = [
    "v2-crc-none-mon",
    "v2-crc-none-osd",
    "v2-crc-none-ping",
    "v2-crc-cephx-mon",
    "v2-crc-cephx-osd",
    "v2-crc-cephx-ping",
    "v2-secure-cephx-mon",
    "v2-secure-cephx-osd",
    "v2-secure-cephx-ping",
    "v2-none-osd-osd-reconnect",
    "v2-refused-key",
    "v2-refused-method",
    "v2-refused-mode",
];

const BANNER_LEN: usize = 26;

/// One frame of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Tapped {
    pub(crate) at: Range<usize>,
    pub(crate) frame: Frame,
}

impl Tapped {
    pub(crate) fn control(&self) -> Option<Control> {
        let control = || Control::decode(self.frame.tag, self.frame.last());
        (self.frame.tag != tag::MESSAGE).then(|| control().expect("real programs keep the rules"))
    }

    /// Whether it belongs to the open phase.
    pub(crate) fn is_open(&self) -> bool {
        (tag::MESSAGE..=tag::ACK).contains(&self.frame.tag)
    }
}

/// One recorded connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) recorded: Recorded,
    /// Whole streams, of the client and of the server.
    pub(crate) streams: [Vec<u8>; 2],
    pub(crate) frames: [Vec<Tapped>; 2],
    /// How frames are protected behind authentication, if it came to that.
    pub(crate) mode: Option<Mode>,
    pub(crate) session_key: Option<CryptoKey>,
    pub(crate) secret: Vec<u8>,
}

impl Connection {
    /// Where the open phase of a side begins, if it does.
    pub(crate) fn open_at(&self, side: usize) -> Option<usize> {
        let ready = [tag::SERVER_IDENT, tag::SESSION_RECONNECT_OK];
        let mut server = self.frames[1].iter();
        let answer = server.rfind(|f| ready.contains(&f.frame.tag))?;
        match side {
            1 => Some(answer.at.end),
            _ => {
                let asks = [tag::CLIENT_IDENT, tag::SESSION_RECONNECT];
                let mut client = self.frames[0].iter();
                client
                    .rfind(|f| asks.contains(&f.frame.tag))
                    .map(|f| f.at.end)
            }
        }
    }

    /// How many operations of the cipher are behind the handshake of a side.
    pub(crate) fn ciphers(&self, role: Role) -> Option<(Sealer, Opener)> {
        let step = NonceStep::Last64;
        (self.mode == Some(Mode::SECURE)).then(|| {
            session_ciphers(best(), &self.secret, role, step).expect("the recorded secret")
        })
    }
}

/// A field of `v2-secrets.jsonl`.
fn secret(name: &str, field: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v2-secrets.jsonl");
    let text = fs::read_to_string(path).expect("the secrets are there");
    let (recording, number) = name.split_once(" #")?;
    let key = format!("{{\"name\":\"{recording}\",\"c\":{number},");
    let line = text.lines().find(|line| line.starts_with(&key))?;
    let value = line.split_once(&format!("\"{field}\":\""))?.1;
    Some(unhex(value.split('"').next()?))
}

/// All frames from an offset on, as long as they are complete and `more` of them are wanted.
fn frames(
    stream: &[u8],
    from: usize,
    reads: &mut Disassembler,
    mut more: impl FnMut(&Frame) -> bool,
) -> Vec<Tapped> {
    let bounds = Bounds::ready(Limits::default());
    let mut rx = BytesMut::from(stream.get(from..).unwrap_or_default());
    let mut out = Vec::new();
    let mut start = from;
    loop {
        let preamble = reads.preamble(&mut rx, &bounds);
        if preamble.expect("real programs keep the rules").is_none() {
            return out;
        }
        match reads.body(&mut rx).expect("real programs keep the rules") {
            Some(Body::Frame(frame)) => {
                let end = stream.len() - rx.len();
                let go_on = more(&frame);
                let at = start..end;
                out.push(Tapped { at, frame });
                start = end;
                if !go_on {
                    return out;
                }
            }
            Some(Body::Aborted) => panic!("no daemon gives up a frame"),
            None => return out,
        }
    }
}

fn tap(recorded: Recorded) -> Connection {
    let streams = [recorded.stream(From::Client), recorded.stream(From::Server)];
    let key = secret(&recorded.name, "session_key");
    let session_key = key.map(|key| {
        CryptoKey::new(KeyType::Aes, Timespec::default(), key[..].into()).expect("16 bytes")
    });
    let mut connection = Connection {
        secret: secret(&recorded.name, "secret").unwrap_or_default(),
        session_key,
        streams,
        frames: [vec![], vec![]],
        mode: None,
        recorded,
    };
    let plain = || Disassembler::new(Revision::V1, None, true);
    let mut mode = None;
    let before = frames(&connection.streams[1], BANNER_LEN, &mut plain(), |frame| {
        if let Ok(Control::AuthDone { mode: picked, .. }) = Control::decode(frame.tag, frame.last())
        {
            mode = Some(picked);
        }
        mode.is_none()
    });
    connection.mode = mode;
    // As many as the server has answered; without an end of authentication, all.
    let mut count = mode.map_or(usize::MAX, |_| before.len());
    let asked = frames(&connection.streams[0], BANNER_LEN, &mut plain(), |_| {
        count -= 1;
        count > 0
    });
    let ciphers = |role| connection.ciphers(role).map(|(_, opener)| opener);
    let openers = [ciphers(Role::Server), ciphers(Role::Client)];
    connection.frames = [asked, before];
    if mode.is_some() {
        for (side, opener) in openers.into_iter().enumerate() {
            let mut reads = Disassembler::new(Revision::V1, opener, true);
            let from = connection.frames[side].last().map_or(0, |f| f.at.end);
            let behind = frames(&connection.streams[side], from, &mut reads, |_| true);
            connection.frames[side].extend(behind);
        }
    }
    connection
}

/// All connections of a recording.
pub(crate) fn connections(name: &str) -> Vec<Connection> {
    load(name).into_iter().map(tap).collect()
}
