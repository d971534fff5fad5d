//! A peer of v2 that is a script: frames of revision 2.1 over a plain socket, unencrypted, every
//! read with a deadline.
//!
//! What is sent is made by the library's own encoders of frames, the words of this language; those
//! that decide are held against literal bytes in [`literal`]. What the subject sends is taken apart
//! here anew.

use std::io::{ErrorKind as IoError, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use async_messenger::auth::{AuthRequest, Method, Mode};
use async_messenger::message::Segment;
use async_messenger::proto::v2::{
    Assembler, ClientIdent, Control, Reconnect, Revision, ServerIdent, tag,
};
use async_messenger::wire::{
    AddrType, AddrVec, EntityAddr, EntityType, Timespec, crc32c, features,
};
use bytes::{Bytes, BytesMut};

use super::peers::{DEADLINE, eventually};

/// Without compression.
pub(crate) const BANNER: &[u8] = b"ceph v2\n\x10\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// The number in the script's name, and in the subject's.
pub(crate) const SCRIPT: i64 = 1;
pub(crate) const SUBJECT: i64 = 0;

/// Frames as they are in msgr2 §18, or written down by its tables, byte by byte.
pub(crate) mod literal {
    /// msgr2 §18.4.
    pub(crate) const WAIT: &[u8] = b"\x10\x01\0\0\0\0\x08\0\0\0\0\0\0\0\0\0\
        \0\0\0\0\0\0\0\0\0\0\0\0\xc8\xe3\xaa\xb0";
    /// msgr2 §18.3.
    pub(crate) const ACK_5: &[u8] = b"\x14\x01\x08\0\0\0\x08\0\0\0\0\0\0\0\0\0\
        \0\0\0\0\0\0\0\0\0\0\0\0\x73\x74\xbc\x5b\
        \x05\0\0\0\0\0\0\0\x3f\xb2\xf6\x1b";
}

/// One end of a TCP connection with the subject, and the revision that is spoken on it.
pub(crate) struct Line(TcpStream, Revision);

impl Line {
    fn new(socket: TcpStream) -> Self {
        socket.set_nonblocking(false).expect("an option");
        socket.set_nodelay(true).expect("an option");
        socket.set_read_timeout(Some(DEADLINE)).expect("an option");
        socket.set_write_timeout(Some(DEADLINE)).expect("an option");
        Self(socket, Revision::V1)
    }

    pub(crate) fn connect(to: &AddrVec) -> Self {
        let target = to.0[0].sock.expect("an address that was bound");
        Self::new(TcpStream::connect_timeout(&target, DEADLINE).expect("the subject listens"))
    }

    /// This end as the subject knows it from the socket alone.
    pub(crate) fn seen(&self) -> EntityAddr {
        let local = self.0.local_addr().expect("it is connected");
        EntityAddr::new(AddrType::Msgr2, local, 0)
    }

    fn peer(&self) -> EntityAddr {
        let peer = self.0.peer_addr().expect("it is connected");
        EntityAddr::new(AddrType::Msgr2, peer, 0)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the subject reads");
    }

    /// To a subject that may hang up meanwhile.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        if let Err(e) = self.0.write_all(bytes) {
            let gone = [IoError::BrokenPipe, IoError::ConnectionReset];
            assert!(gone.contains(&e.kind()), "it neither reads nor ends: {e}");
        }
    }

    pub(crate) fn say(&mut self, control: &Control) {
        let content = control.encode();
        let bytes = frame_of(self.1, control.tag(), [&content, &[], &[], &[]]);
        self.send(&bytes);
    }

    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0
            .read_exact(&mut bytes)
            .expect("the subject sends that much");
        bytes
    }

    /// Waits until the subject ends the connection; returns what it sent before.
    pub(crate) fn end(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Err(e) if e.kind() != IoError::ConnectionReset => {
                panic!("the subject keeps the connection: {e}")
            }
            _ => bytes,
        }
    }

    /// The segments of a frame, and all its bytes.
    fn frame(&mut self) -> (u8, Vec<Vec<u8>>, Vec<u8>) {
        let mut all = self.take(32);
        let crc = crc32c(0, &all[..28]);
        assert_eq!(all[28..], crc.to_le_bytes(), "of a preamble");
        let (tag, count) = (all[0], usize::from(all[1]));
        let mut segments = Vec::new();
        for i in 0..count {
            let len: [u8; 4] = all[2 + 6 * i..][..4].try_into().expect("4 bytes");
            let segment = self.take(u32::from_le_bytes(len) as usize);
            all.extend(&segment);
            if i == 0 && !segment.is_empty() && self.1 == Revision::V1 {
                let sum = self.take(4);
                assert_eq!(sum, crc32c(u32::MAX, &segment).to_le_bytes());
                all.extend(sum);
            }
            segments.push(segment);
        }
        // Where the epilogue has a sum for the first one too, it always is there.
        let (len, complete, from) = match self.1 {
            Revision::V0 => (17, 0, 0),
            Revision::V1 => (13, 0x0e, 1),
        };
        if count > from {
            let epilogue = self.take(len);
            assert_eq!(epilogue[0], complete, "complete");
            for (segment, sum) in segments[from..].iter().zip(epilogue[1..].chunks(4)) {
                assert_eq!(sum, crc32c(u32::MAX, segment).to_le_bytes());
            }
            all.extend(epilogue);
        }
        (tag, segments, all)
    }

    /// The next frame, which is no message.
    pub(crate) fn hear(&mut self) -> Control {
        let (tag, segments, _) = self.frame();
        assert_eq!(segments.len(), 1, "of a frame with tag {tag}");
        Control::decode(tag, &segments[0]).expect("a frame that decodes")
    }

    /// The same, as it is on the wire.
    pub(crate) fn hear_bytes(&mut self) -> Vec<u8> {
        self.frame().2
    }

    /// The next frame, which is a message of [`numbered`](super::numbered): its number, what it
    /// acknowledges, and its tid.
    pub(crate) fn take_numbered(&mut self) -> (u64, u64, u64) {
        let (tag, segments, _) = self.frame();
        assert_eq!(tag, tag::MESSAGE);
        assert_eq!(segments[0].len(), 41);
        let word = |at: usize| {
            let bytes = segments[0][at..at + 8].try_into().expect("8 bytes");
            u64::from_le_bytes(bytes)
        };
        assert_eq!(segments[1], word(8).to_le_bytes(), "its front is its tid");
        (word(0), word(28), word(8))
    }

    /// One on a link on which a session goes on: its number and its tid. What has arrived before
    /// was said by the handshake, and need not be said again.
    pub(crate) fn take_again(&mut self) -> (u64, u64) {
        let (seq, _, tid) = self.take_numbered();
        (seq, tid)
    }

    /// A keepalive, and what answers it. Nothing else may come before the answer.
    pub(crate) fn check_nothing_pending(&mut self) {
        let stamp = Timespec { secs: 77, nanos: 5 };
        self.say(&Control::Keepalive2(stamp));
        assert_eq!(self.hear(), Control::Keepalive2Ack(stamp));
    }

    /// Connects to the subject and authenticates, as osd.1 that is let in by method none.
    pub(crate) fn knock(to: &AddrVec) -> Self {
        let mut line = Self::connect(to);
        line.send(BANNER);
        line.get_let_in(to)
    }

    /// The same in revision 2.0.
    pub(crate) fn old(to: &AddrVec) -> Self {
        let mut line = Self::connect(to);
        line.1 = Revision::V0;
        line.send(&[&BANNER[..10], &[0; 16]].concat());
        line.get_let_in(to)
    }

    fn get_let_in(mut self, to: &AddrVec) -> Self {
        self.take_banner();
        self.say(&hello(to.0[0]));
        assert_eq!(self.hear(), hello(self.seen()));
        self.say(&none());
        self.hear_let_in();
        self.say(&SIGNATURE);
        self
    }

    pub(crate) fn take_banner(&mut self) {
        let banner = self.take(BANNER.len());
        assert_eq!(banner[..10], BANNER[..10]);
        assert_eq!(banner[10] & 1, 1, "it can do revision 2.1");
        assert_eq!(banner[18..], [0; 8], "it requires nothing");
    }

    /// The subject lets the script in.
    pub(crate) fn hear_let_in(&mut self) {
        assert_eq!(self.hear(), done());
        assert_eq!(self.hear(), SIGNATURE);
    }

    /// Lets the subject in, which has connected.
    pub(crate) fn let_in(&mut self) {
        self.send(BANNER);
        self.take_banner();
        self.say(&hello(self.peer()));
        assert!(matches!(self.hear(), Control::Hello { .. }));
        self.authenticate();
    }

    /// The part of it behind HELLO.
    pub(crate) fn authenticate(&mut self) {
        let Control::AuthRequest(request) = self.hear() else {
            panic!("no request")
        };
        assert_eq!((request.method, request.modes), (Method(1), vec![Mode(1)]));
        self.say(&done());
        self.say(&SIGNATURE);
        assert_eq!(self.hear(), SIGNATURE);
    }
}

pub(crate) const SIGNATURE: Control = Control::AuthSignature([0; 32]);

pub(crate) fn hello(peer_addr: EntityAddr) -> Control {
    Control::Hello {
        entity: EntityType::OSD,
        peer_addr,
    }
}

/// Method none, of osd.1 without a number in the cluster.
pub(crate) fn none() -> Control {
    let payload = [&[1, 4, 0, 0, 0, 1, 0, 0, 0][..], b"1", &[0; 8]].concat();
    Control::AuthRequest(AuthRequest {
        method: Method(1),
        modes: vec![Mode(1)],
        payload,
    })
}

pub(crate) fn done() -> Control {
    Control::AuthDone {
        global_id: 0,
        mode: Mode(1),
        payload: Vec::new(),
    }
}

/// A frame on the wire.
pub(crate) fn frame(tag: u8, segments: [&[u8]; 4]) -> Vec<u8> {
    frame_of(Revision::V1, tag, segments)
}

fn frame_of(revision: Revision, tag: u8, segments: [&[u8]; 4]) -> Vec<u8> {
    let [first, front, middle, data] = segments;
    let rest = [front, middle, data].map(|s| Segment::from(Bytes::copy_from_slice(s)));
    let mut out = BytesMut::new();
    let made = Assembler::new(revision, None, true).frame(tag, first, rest, &mut out);
    made.expect("it is short");
    out.to_vec()
}

pub(crate) fn bytes(control: &Control) -> Vec<u8> {
    frame(control.tag(), [&control.encode(), &[], &[], &[]])
}

/// The header of a message (msgr2 §11.1) of type 42.
pub(crate) fn header2(seq: u64, ack_seq: u64) -> Vec<u8> {
    let mut header = [seq.to_le_bytes(), seq.to_le_bytes()].concat();
    for short in [42_u16, 127, 1] {
        header.extend(short.to_le_bytes());
    }
    header.extend([0; 6]);
    header.extend(ack_seq.to_le_bytes());
    header.extend([3, 1, 0, 0, 0]);
    header
}

/// A message with this number, and one for its front, that acknowledges.
pub(crate) fn message(seq: u64, ack_seq: u64) -> Vec<u8> {
    let front = seq.to_le_bytes();
    frame(tag::MESSAGE, [&header2(seq, ack_seq), &front, &[], &[]])
}

/// Where the script lives, and whom the subject connects to.
pub(crate) struct Home {
    socket: TcpListener,
    nonce: u32,
}

impl Home {
    pub(crate) fn new(nonce: u32) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("an option");
        Self { socket, nonce }
    }

    pub(crate) fn addr(&self) -> EntityAddr {
        let at: SocketAddr = self.socket.local_addr().expect("it is bound");
        EntityAddr::new(AddrType::Msgr2, at, self.nonce)
    }

    /// The next connection of the subject.
    pub(crate) fn accept(&self) -> Line {
        let mut accepted = None;
        eventually("the subject connects", || {
            accepted = self.try_accept();
            accepted.is_some()
        });
        accepted.expect("just set")
    }

    pub(crate) fn try_accept(&self) -> Option<Line> {
        match self.socket.accept() {
            Ok((socket, _)) => Some(Line::new(socket)),
            Err(e) => {
                assert_eq!(e.kind(), IoError::WouldBlock, "{e}");
                None
            }
        }
    }

    /// The next one, let in; and what it asks for.
    pub(crate) fn attempt(&self) -> (Line, Control) {
        let mut line = self.accept();
        line.let_in();
        let asked = line.hear();
        (line, asked)
    }

    /// Asks for a new session.
    pub(crate) fn ident(&self, to: &AddrVec, global_seq: u64, cookie: u64) -> Control {
        Control::ClientIdent(ClientIdent {
            addrs: self.addr().into(),
            target: to.0[0],
            gid: SCRIPT,
            global_seq,
            supported: features::SUPPORTED,
            required: features::MSG_ADDR2,
            lossy: cookie == 0,
            cookie,
        })
    }

    /// Asks to go on with a session.
    pub(crate) fn reconnect(&self, cookies: [u64; 2], numbers: [u64; 3]) -> Control {
        let [client_cookie, server_cookie] = cookies;
        let [global_seq, connect_seq, msg_seq] = numbers;
        Control::SessionReconnect(Reconnect {
            addrs: self.addr().into(),
            client_cookie,
            server_cookie,
            global_seq,
            connect_seq,
            msg_seq,
        })
    }

    /// Grants a new session.
    pub(crate) fn grant(&self, cookie: u64) -> Control {
        Control::ServerIdent(ServerIdent {
            addrs: self.addr().into(),
            gid: SCRIPT,
            global_seq: 1,
            supported: features::SUPPORTED,
            required: features::MSG_ADDR2,
            lossy: cookie == 0,
            cookie,
        })
    }
}
