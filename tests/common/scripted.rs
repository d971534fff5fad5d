//! A peer that is a script: exact bytes over a plain socket, every read with a deadline.
//!
//! Bytes are made here anew, from the notes alone, so that an error which the library makes in both
//! directions is seen. "The subject" is the messenger under test.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::io::{ErrorKind as IoError, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};

use async_messenger::wire::{AddrType, AddrVec, EntityAddr, crc32c, features};

use super::peers::{DEADLINE, eventually};

pub const BANNER: &[u8] = b"ceph v027";
/// Bytes of an address in the banner phase.
pub const ADDR_LEN: usize = 136;
pub const SERVER_HELLO_LEN: usize = BANNER.len() + 2 * ADDR_LEN;
pub const CLIENT_HELLO_LEN: usize = BANNER.len() + ADDR_LEN;
pub const CONNECT_LEN: usize = 33;
pub const REPLY_LEN: usize = 26;
pub const SEQ_LEN: usize = 8;
/// What tells a scripted server from another at its address.
pub const SERVER_NONCE: u32 = 0x0051_7e57;

/// Tags of the open phase.
pub mod tag {
    pub const CLOSE: u8 = 6;
    pub const MSG: u8 = 7;
    pub const ACK: u8 = 8;
    pub const KEEPALIVE: u8 = 9;
    pub const KEEPALIVE2: u8 = 14;
    pub const KEEPALIVE2_ACK: u8 = 15;
}

/// Tags of a reply.
pub mod reply {
    pub const READY: u8 = 1;
    pub const RESETSESSION: u8 = 2;
    pub const WAIT: u8 = 3;
    pub const RETRY_SESSION: u8 = 4;
    pub const RETRY_GLOBAL: u8 = 5;
    pub const BADPROTOVER: u8 = 10;
    pub const BADAUTHORIZER: u8 = 11;
    pub const FEATURES: u8 = 12;
    pub const SEQ: u8 = 13;
    pub const CHALLENGE_AUTHORIZER: u8 = 16;
}

/// One end of a TCP connection with the subject.
pub struct Wire {
    socket: TcpStream,
}

impl Wire {
    fn new(socket: TcpStream) -> Self {
        socket.set_nonblocking(false).expect("an option");
        socket.set_nodelay(true).expect("an option");
        socket.set_read_timeout(Some(DEADLINE)).expect("an option");
        socket.set_write_timeout(Some(DEADLINE)).expect("an option");
        Self { socket }
    }

    pub fn connect(to: &AddrVec) -> Self {
        let target = to.0[0].sock.expect("an address that was bound");
        Self::new(TcpStream::connect_timeout(&target, DEADLINE).expect("the subject listens"))
    }

    pub fn local(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is connected")
    }

    pub fn peer(&self) -> SocketAddr {
        self.socket.peer_addr().expect("it is connected")
    }

    /// This end as the subject knows it from the socket alone.
    pub fn seen(&self) -> EntityAddr {
        EntityAddr::new(AddrType::Legacy, self.local(), 0)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the subject reads");
    }

    /// Sends to a subject that may hang up meanwhile, or before.
    pub fn try_send(&mut self, bytes: &[u8]) {
        if let Err(e) = self.socket.write_all(bytes) {
            let gone = [IoError::BrokenPipe, IoError::ConnectionReset];
            assert!(
                gone.contains(&e.kind()),
                "the subject neither reads nor ends: {e}"
            );
        }
    }

    /// Each byte for itself.
    pub fn trickle(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.send(&[*byte]));
    }

    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.socket
            .read_exact(&mut bytes)
            .expect("the subject sends that much");
        bytes
    }

    /// No more bytes follow from this end; the subject may go on sending.
    pub fn finish(&mut self) {
        // The subject may have ended it before.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Waits until the subject ends the connection; returns what it sent before.
    pub fn end(mut self) -> Vec<u8> {
        self.take_end()
    }

    /// The same, and keeps this end open.
    pub fn take_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.socket.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(e) if e.kind() == IoError::ConnectionReset => bytes,
            Err(e) => panic!("the subject keeps the connection: {e}"),
        }
    }

    /// Whether the subject greets, or ends the connection instead.
    pub fn greeted(&mut self) -> Option<()> {
        let mut hello = [0; SERVER_HELLO_LEN];
        match self.socket.read_exact(&mut hello) {
            Ok(()) => Some(()),
            Err(e) if e.kind() == IoError::UnexpectedEof => None,
            Err(e) if e.kind() == IoError::ConnectionReset => None,
            Err(e) => panic!("neither greeted nor refused: {e}"),
        }
    }

    /// A message that the subject sends; its front, middle and data.
    pub fn take_message(&mut self) -> (u64, [Vec<u8>; 3]) {
        assert_eq!(self.take(1), [tag::MSG]);
        self.take_message_body()
    }

    /// The same behind its tag.
    pub fn take_message_body(&mut self) -> (u64, [Vec<u8>; 3]) {
        let header = self.take(53);
        assert_eq!(
            word(&header, 49),
            crc32c(0, &header[..49]),
            "crc of the header"
        );
        let parts = [22, 26, 30].map(|at| self.take(word(&header, at) as usize));
        let footer = self.take(21);
        for (part, at) in parts.iter().zip([0, 4, 8]) {
            assert_eq!(
                word(&footer, at),
                crc32c(0, part),
                "crc at {at} of the footer"
            );
        }
        assert_eq!(footer[20], 1, "complete");
        (
            u64::from_le_bytes(header[..8].try_into().expect("8 bytes")),
            parts,
        )
    }
}

/// The little-endian word at an offset.
pub fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// An address of the banner phase.
pub fn addr(at: SocketAddrV4, nonce: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(nonce.to_le_bytes());
    bytes.extend(2_u16.to_be_bytes());
    bytes.extend(at.port().to_be_bytes());
    bytes.extend(at.ip().octets());
    bytes.resize(ADDR_LEN, 0);
    bytes
}

pub fn v4(at: SocketAddr) -> SocketAddrV4 {
    match at {
        SocketAddr::V4(v4) => v4,
        SocketAddr::V6(_) => panic!("tests run on IPv4: {at}"),
    }
}

/// Banner and address of a client, which listens nowhere.
pub fn client_hello(nonce: u32) -> Vec<u8> {
    [
        BANNER,
        &addr(SocketAddrV4::new([127, 0, 0, 1].into(), 0), nonce),
    ]
    .concat()
}

/// The address of such a client.
pub fn announced(nonce: u32) -> EntityAddr {
    EntityAddr::new(AddrType::Legacy, ([127, 0, 0, 1], 0).into(), nonce)
}

/// The authorizer of the method "none", of client.admin.
pub fn authorizer() -> Vec<u8> {
    [
        &[1_u8][..],
        &8_u32.to_le_bytes(),
        &5_u32.to_le_bytes(),
        b"admin",
        &[0; 8],
    ]
    .concat()
}

/// A connect struct; the default is what osd.0 accepts from a client.
#[derive(Clone, Debug)]
pub struct Connect {
    pub features: u64,
    pub host_type: u32,
    pub global_seq: u32,
    pub connect_seq: u32,
    pub protocol: u32,
    pub method: u32,
    pub authorizer: Vec<u8>,
    /// Instead of the true length.
    pub authorizer_len: Option<u32>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            features: features::SUPPORTED,
            host_type: 8,
            global_seq: 1,
            connect_seq: 0,
            protocol: 24,
            method: 1,
            authorizer: authorizer(),
            authorizer_len: None,
        }
    }
}

impl Connect {
    pub fn bytes(&self) -> Vec<u8> {
        let len = self.authorizer_len.unwrap_or(self.authorizer.len() as u32);
        let mut bytes = self.features.to_le_bytes().to_vec();
        let words = [
            self.host_type,
            self.global_seq,
            self.connect_seq,
            self.protocol,
        ];
        for word in words.into_iter().chain([self.method, len]) {
            bytes.extend(word.to_le_bytes());
        }
        bytes.push(1);
        bytes.extend(&self.authorizer);
        bytes
    }

    fn parse(bytes: &[u8]) -> Self {
        Self {
            features: u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")),
            host_type: word(bytes, 8),
            global_seq: word(bytes, 12),
            connect_seq: word(bytes, 16),
            protocol: word(bytes, 20),
            method: word(bytes, 24),
            authorizer: vec![0; word(bytes, 28) as usize],
            authorizer_len: None,
        }
    }
}

/// A connect reply; the default opens a lossy session.
#[derive(Clone, Debug)]
pub struct Reply {
    pub tag: u8,
    pub features: u64,
    pub global_seq: u32,
    pub connect_seq: u32,
    pub protocol: u32,
    pub blob: Vec<u8>,
    /// Instead of the true length.
    pub blob_len: Option<u32>,
    pub flags: u8,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            tag: reply::SEQ,
            features: features::SUPPORTED,
            global_seq: 7,
            connect_seq: 1,
            protocol: 24,
            blob: Vec::new(),
            blob_len: None,
            flags: 1,
        }
    }
}

impl Reply {
    pub fn bytes(&self) -> Vec<u8> {
        let len = self.blob_len.unwrap_or(self.blob.len() as u32);
        let mut bytes = vec![self.tag];
        bytes.extend(self.features.to_le_bytes());
        for word in [self.global_seq, self.connect_seq, self.protocol, len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.push(self.flags);
        bytes.extend(&self.blob);
        bytes
    }
}

/// A message on the wire, footer in the long form.
#[derive(Clone, Debug)]
pub struct Frame {
    pub seq: u64,
    pub kind: u16,
    pub compat: u16,
    /// Front, middle, data.
    pub parts: [Vec<u8>; 3],
    /// Instead of the true lengths.
    pub lens: [Option<u32>; 3],
    pub flags: u8,
}

impl Frame {
    /// With something in every part.
    pub fn new(seq: u64) -> Self {
        let parts = [&b"front"[..], b"mid", b"the data"].map(<[u8]>::to_vec);
        Self {
            seq,
            kind: 42,
            compat: 1,
            parts,
            lens: [None; 3],
            flags: 1,
        }
    }

    pub fn header(&self) -> Vec<u8> {
        let mut bytes = [self.seq.to_le_bytes(), self.seq.to_le_bytes()].concat();
        for short in [self.kind, 127, 1] {
            bytes.extend(short.to_le_bytes());
        }
        for (part, len) in self.parts.iter().zip(self.lens) {
            bytes.extend(len.unwrap_or(part.len() as u32).to_le_bytes());
        }
        bytes.extend([0, 0, 8]);
        bytes.extend((-1_i64).to_le_bytes());
        bytes.extend(self.compat.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(crc32c(0, &bytes).to_le_bytes());
        bytes
    }

    /// Tag, header, parts, footer.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![tag::MSG];
        bytes.extend(self.header());
        self.parts.iter().for_each(|part| bytes.extend(part));
        self.parts
            .iter()
            .for_each(|part| bytes.extend(crc32c(0, part).to_le_bytes()));
        bytes.extend([0; 8]);
        bytes.push(self.flags);
        bytes
    }
}

/// Gets a scripted client through the handshake of osd.0.
pub fn open_client(to: &AddrVec, nonce: u32) -> Wire {
    let mut wire = Wire::connect(to);
    let hello = wire.take(SERVER_HELLO_LEN);
    let at = v4(to.0[0].sock.expect("an address"));
    let expected = [BANNER, &addr(at, to.0[0].nonce), &addr(v4(wire.local()), 0)].concat();
    assert_eq!(hello, expected, "banner, its address, our address");
    wire.send(&client_hello(nonce));
    wire.send(&Connect::default().bytes());
    let reply = wire.take(REPLY_LEN + SEQ_LEN);
    assert_eq!((reply[0], reply[25]), (reply::SEQ, 1), "open and lossy");
    assert_eq!(
        (word(&reply, 13), word(&reply, 17)),
        (1, 24),
        "incarnation, version"
    );
    assert_eq!(reply[REPLY_LEN..], [0; 8], "nothing received yet");
    wire.send(&[0; 8]);
    wire
}

/// A server that is a script.
pub struct Listener {
    socket: TcpListener,
}

impl Listener {
    pub fn new() -> Self {
        Self::at_port(([127, 0, 0, 1], 0).into())
    }

    /// On a port that the system chose before, as soon as it is free.
    pub fn at_port(at: SocketAddr) -> Self {
        let mut bound = None;
        eventually("the port is free", || {
            match TcpListener::bind(at) {
                Ok(socket) => bound = Some(socket),
                Err(e) => assert_eq!(e.kind(), IoError::AddrInUse, "{e}"),
            }
            bound.is_some()
        });
        let socket = bound.expect("just set");
        socket.set_nonblocking(true).expect("an option");
        Self { socket }
    }

    pub fn at(&self) -> SocketAddrV4 {
        v4(self.socket.local_addr().expect("it is bound"))
    }

    pub fn addr(&self) -> EntityAddr {
        EntityAddr::new(AddrType::Legacy, self.at().into(), SERVER_NONCE)
    }

    pub fn accept(&self) -> Wire {
        let mut accepted = None;
        eventually("the subject connects", || {
            match self.socket.accept() {
                Ok((socket, _)) => accepted = Some(Wire::new(socket)),
                Err(e) => assert_eq!(e.kind(), IoError::WouldBlock, "{e}"),
            }
            accepted.is_some()
        });
        accepted.expect("just set")
    }

    /// Banner, own address, the client's address.
    pub fn hello(&self, wire: &Wire) -> Vec<u8> {
        let client = v4(wire.peer());
        [BANNER, &addr(self.at(), SERVER_NONCE), &addr(client, 0)].concat()
    }

    /// Greets, and reads the client's banner and address.
    pub fn greet(&self, wire: &mut Wire) {
        let hello = self.hello(wire);
        wire.send(&hello);
        assert_eq!(wire.take(CLIENT_HELLO_LEN)[..BANNER.len()], *BANNER);
    }

    /// Accepts and goes through the whole handshake.
    pub fn open(&self) -> Wire {
        let mut wire = self.accept();
        self.greet(&mut wire);
        let connect = take_connect(&mut wire);
        assert_eq!(
            (connect.host_type, connect.protocol, connect.connect_seq),
            (8, 24, 0)
        );
        finish_open(&mut wire, &Reply::default());
        wire
    }
}

/// A connect struct with its authorizer.
pub fn take_connect(wire: &mut Wire) -> Connect {
    let mut connect = Connect::parse(&wire.take(CONNECT_LEN));
    connect.authorizer = wire.take(connect.authorizer.len());
    connect
}

/// Opens the session, with sequence numbers.
pub fn finish_open(wire: &mut Wire, reply: &Reply) {
    wire.send(&reply.bytes());
    wire.send(&[0; 8]);
    assert_eq!(wire.take(SEQ_LEN), [0; 8], "nothing received yet");
}
