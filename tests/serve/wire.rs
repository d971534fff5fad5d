//! A peer of v2 that is a script, up to where encryption may begin; every read has a deadline.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use async_messenger::auth::{AuthRequest, Method, Mode};
use async_messenger::message::Segment;
use async_messenger::proto::v2::{
    Assembler, Banner, ClientIdent, Control, Reconnect, Revision, ServerIdent, tag,
};
use async_messenger::wire::features::SUPPORTED;
use async_messenger::wire::{AddrType, AddrVec, EntityAddr, EntityType, crc32c};
use bytes::BytesMut;

use super::DEADLINE;

/// Of revision 2.1, which both sides of every test speak; without compression.
const BANNER: Banner = Banner {
    supported: 1,
    required: 0,
};
const BANNER_LEN: usize = 26;
const PREAMBLE_LEN: usize = 32;

/// One end of a connection with a messenger.
pub(crate) struct Wire(TcpStream);

impl Wire {
    fn new(socket: TcpStream) -> Self {
        socket.set_nonblocking(false).expect("an option");
        socket.set_nodelay(true).expect("an option");
        socket.set_read_timeout(Some(DEADLINE)).expect("an option");
        socket.set_write_timeout(Some(DEADLINE)).expect("an option");
        Self(socket)
    }

    /// A client, which has exchanged HELLO.
    pub(crate) fn connect(to: EntityAddr) -> Self {
        let target = to.sock.expect("bound");
        let mut wire =
            Self::new(TcpStream::connect_timeout(&target, DEADLINE).expect("it listens"));
        wire.greet(EntityType::CLIENT, target);
        wire
    }

    /// A server of this kind, which has exchanged HELLO with whoever connects next.
    pub(crate) fn accept(listener: &TcpListener, kind: EntityType) -> Self {
        listener.set_nonblocking(true).expect("an option");
        let began = std::time::Instant::now();
        let (socket, peer) = loop {
            match listener.accept() {
                Ok(accepted) => break accepted,
                Err(e) if e.kind() == ErrorKind::WouldBlock && began.elapsed() < DEADLINE => {
                    std::thread::yield_now();
                }
                Err(e) => panic!("nobody connects: {e}"),
            }
        };
        let mut wire = Self::new(socket);
        wire.greet(kind, peer);
        wire
    }

    fn greet(&mut self, entity: EntityType, peer: SocketAddr) {
        let mut out = BytesMut::new();
        BANNER.encode(&mut out);
        self.send(&out);
        self.send(&frame(&Control::Hello {
            entity,
            peer_addr: EntityAddr::new(AddrType::Msgr2, peer, 0),
        }));
        let mut banner = [0; BANNER_LEN];
        self.0.read_exact(&mut banner).expect("a banner");
        assert_eq!(&banner[..8], b"ceph v2\n");
        assert!(matches!(self.take(), Control::Hello { .. }));
    }

    /// To a peer that may hang up meanwhile, or before.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Err(e) = self.0.write_all(bytes) {
            let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(gone.contains(&e.kind()), "neither reads nor ends: {e}");
        }
    }

    /// The next frame, which is neither a message nor encrypted.
    pub(crate) fn take(&mut self) -> Control {
        let mut preamble = [0; PREAMBLE_LEN];
        self.0.read_exact(&mut preamble).expect("a frame");
        let word = |at| u32::from_le_bytes(preamble[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!(word(28), crc32c(0, &preamble[..28]), "crc of the preamble");
        assert_eq!(preamble[1], 1, "one segment");
        let mut content = vec![0; word(2) as usize];
        self.0.read_exact(&mut content).expect("the segment");
        let mut crc = [0; 4];
        self.0.read_exact(&mut crc).expect("its crc");
        assert_eq!(u32::from_le_bytes(crc), crc32c(u32::MAX, &content));
        Control::decode(preamble[0], &content).expect("it decodes")
    }

    /// Waits until the peer hangs up; what it sends before does not matter.
    pub(crate) fn end(mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
            Err(e) => panic!("the peer keeps the connection: {e}"),
        }
    }
}

pub(crate) fn frame(control: &Control) -> Vec<u8> {
    raw_frame(control.tag(), &control.encode())
}

pub(crate) fn raw_frame(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let none = [Segment::EMPTY, Segment::EMPTY, Segment::EMPTY];
    Assembler::new(Revision::V1, None, true)
        .frame(tag, content, none, &mut out)
        .expect("it can be sent");
    out.to_vec()
}

/// A frame that says its segment has so many bytes.
pub(crate) fn frame_of_len(tag: u8, len: u32) -> Vec<u8> {
    let mut frame = raw_frame(tag, b"some");
    frame[2..6].copy_from_slice(&len.to_le_bytes());
    let crc = crc32c(0, &frame[..28]).to_le_bytes();
    frame[28..32].copy_from_slice(&crc);
    frame
}

/// Number and mode, and a payload that says how long it is.
pub(crate) fn auth_done(global_id: u64, mode: u32, len: u32, payload: &[u8]) -> Vec<u8> {
    let mut content = global_id.to_le_bytes().to_vec();
    content.extend(mode.to_le_bytes());
    content.extend(len.to_le_bytes());
    content.extend(payload);
    raw_frame(tag::AUTH_DONE, &content)
}

pub(crate) fn request(method: Method, modes: &[Mode], payload: Vec<u8>) -> Vec<u8> {
    frame(&Control::AuthRequest(AuthRequest {
        method,
        modes: modes.to_vec(),
        payload,
    }))
}

/// What a client says first when it logs in as this name (cephx §8).
pub(crate) fn log_in(name: &str) -> Vec<u8> {
    let mut payload = vec![10];
    payload.extend(u32::from(EntityType::CLIENT.0).to_le_bytes());
    payload.extend((name.len() as u32).to_le_bytes());
    payload.extend(name.as_bytes());
    payload.extend(0_u64.to_le_bytes());
    payload
}

/// A proof (cephx §6.1) that holds for no key, and an old ticket that says how long it is.
pub(crate) fn proof(ticket_len: u32) -> Vec<u8> {
    let mut payload = 0x0100_u16.to_le_bytes().to_vec();
    payload.push(3);
    payload.extend(7_u64.to_le_bytes());
    payload.extend(8_u64.to_le_bytes());
    // The old ticket: version, number of the secret, length. Then the mask of other keys.
    payload.push(1);
    payload.extend(0_u64.to_le_bytes());
    payload.extend(ticket_len.to_le_bytes());
    payload.extend(0_u32.to_le_bytes());
    payload
}

pub(crate) fn client_ident(target: EntityAddr) -> Vec<u8> {
    frame(&Control::ClientIdent(ClientIdent {
        addrs: own(),
        target,
        gid: 0,
        global_seq: 1,
        supported: SUPPORTED,
        required: 0,
        lossy: true,
        cookie: 0,
    }))
}

pub(crate) fn reconnect() -> Vec<u8> {
    frame(&Control::SessionReconnect(Reconnect {
        addrs: own(),
        client_cookie: 1,
        server_cookie: 2,
        global_seq: 3,
        connect_seq: 4,
        msg_seq: 5,
    }))
}

pub(crate) fn server_ident(at: EntityAddr) -> Vec<u8> {
    frame(&Control::ServerIdent(ServerIdent {
        addrs: AddrVec(vec![at]),
        gid: 0,
        global_seq: 1,
        supported: SUPPORTED,
        required: 0,
        lossy: true,
        cookie: 0,
    }))
}

fn own() -> AddrVec {
    "v2:127.0.0.1:0/77".parse().expect("an address")
}
