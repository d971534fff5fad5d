//! The v1 handshake: our two sides against bytes on paper (`connector`, `acceptor`), against each
//! other (`pair`), and against recordings of real Ceph programs (`recorded`), cut in every way.

use async_messenger::proto::v1::{
    AcceptorEvent, AcceptorParams, Claim, ConnectReply, ConnectorParams, ReplyTag, Terms, Verdict,
};
use async_messenger::wire::features::{self, SUPPORTED};
use async_messenger::wire::{EntityAddr, EntityName};
use vectors::unhex;

mod acceptor;
mod authorizer;
mod connector;
mod pair;
mod recorded;
mod tags;
#[path = "../common/vectors.rs"]
mod vectors;

const HELLO_LEN: usize = 281;
const CLIENT_HELLO_LEN: usize = 145;

fn addr(text: &str) -> EntityAddr {
    text.parse().unwrap()
}

fn legacy(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    addr(text).encode_legacy(&mut out);
    out
}

/// The client of the notes' worked exchange (msgr1 §23).
fn client() -> ConnectorParams {
    ConnectorParams {
        name: EntityName::client(-1),
        addr: addr("v1:-/287454020"),
        // Whatever it is called, here it is spoken to as v1.
        peer_addr: addr("any:127.0.0.1:46789/0"),
        features: SUPPORTED,
        required: features::NOSRCADDR,
        protocol_version: 15,
        authorizer: None,
        lossy: true,
        global_seq: 1,
        connect_seq: 0,
        in_seq: 0,
    }
}

fn server_hello(own: &str, seen: &str) -> Vec<u8> {
    [b"ceph v027".to_vec(), legacy(own), legacy(seen)].concat()
}

fn hello() -> Vec<u8> {
    server_hello("v1:127.0.0.1:46789/0", "v1:127.0.0.1:38198/0")
}

fn reply(tag: ReplyTag) -> ConnectReply {
    ConnectReply {
        tag,
        features: SUPPORTED,
        global_seq: 3,
        connect_seq: 1,
        protocol_version: 15,
        authorizer_len: 0,
        flags: 1,
    }
}

fn bytes_of(reply: &ConnectReply) -> Vec<u8> {
    let mut out = Vec::new();
    reply.encode(&mut out);
    out
}

fn acceptor_params() -> AcceptorParams {
    let peer_seen = "127.0.0.1:38198".parse().unwrap();
    AcceptorParams {
        addr: addr("v1:127.0.0.1:46789/0"),
        peer_seen,
    }
}

fn client_hello() -> Vec<u8> {
    [b"ceph v027".to_vec(), legacy("v1:127.0.0.1:0/287454020")].concat()
}

fn connect_bytes() -> Vec<u8> {
    unhex("fffffdffbfcf013f 08000000 01000000 00000000 0f000000 00000000 00000000 01")
}

fn terms() -> Terms {
    Terms {
        protocol_version: 15,
        supported: SUPPORTED,
        required: features::NOSRCADDR,
        require_authorizer: true,
        monitor: true,
    }
}

fn open(in_seq: u64) -> Verdict {
    Verdict::Open {
        features: SUPPORTED,
        protocol_version: 15,
        global_seq: 3,
        lossy: true,
        in_seq,
        reset: false,
    }
}

fn claim(event: Option<AcceptorEvent>) -> Claim {
    match event {
        Some(AcceptorEvent::Claim(claim)) => claim,
        other => panic!("no claim but {other:?}"),
    }
}
