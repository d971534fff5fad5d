//! The worked examples of msgr2 §18 and of the complete log-in, byte for byte.

use async_messenger::auth::{AuthRequest, CryptoKey, KeyType, Method, Mode};
use async_messenger::crypto::Role;
use async_messenger::message::{Message, TxBatch};
use async_messenger::proto::Incoming;
use async_messenger::proto::v2::{
    Assembler, Banner, ClientIdent, Control, Disassembler, Encoder, Revision, ServerIdent, tag,
};
use async_messenger::wire::{EntityAddr, EntityType, Timespec};
use bytes::BytesMut;

use super::vectors::unhex;
use super::worked::worked;
use super::{MODES, Reader, assemble, assembler, ciphers, disassembler, drain, take_frame};

const V0: (Revision, bool) = MODES[0];
const V0_SECURE: (Revision, bool) = MODES[1];
const V1: (Revision, bool) = MODES[2];
const V1_SECURE: (Revision, bool) = MODES[3];

fn addr(text: &str) -> EntityAddr {
    text.parse().unwrap()
}

fn frame(assembler: &mut Assembler, control: &Control) -> Vec<u8> {
    assemble(assembler, control.tag(), [&control.encode(), b"", b"", b""])
}

/// It is made as on paper, and read back.
fn check(mode: (Revision, bool), control: &Control, bytes: &[u8]) {
    assert_eq!(frame(&mut assembler(mode), control), bytes, "{control:?}");
    let mut rx = BytesMut::from(bytes);
    let got = take_frame(&mut disassembler(mode), &mut rx);
    assert_eq!(Control::decode(got.tag, got.last()).as_ref(), Ok(control));
    assert!(rx.is_empty());
}

#[test]
fn banner() {
    let mut out = BytesMut::new();
    let banner = Banner {
        supported: 3,
        required: 0,
    };
    banner.encode(&mut out);
    assert_eq!(out, worked("banner"));
    out.clear();
    let without = Banner {
        supported: 1,
        required: 0,
    };
    without.encode(&mut out);
    assert_eq!(out, worked("login-banner"), "2.1, and no compression");
    let more = Banner::ours().supported & !banner.supported;
    assert_eq!(more, 0, "no other bits are known");
}

#[test]
fn hello() {
    let hello = Control::Hello {
        entity: EntityType::CLIENT,
        peer_addr: addr("v2:127.0.0.1:3300/0"),
    };
    let bytes = worked("hello-2.1");
    check(V1, &hello, &bytes);
    let old = [&bytes[..0x44], &worked("hello-2.0-epilogue")].concat();
    check(V0, &hello, &old);
    assert_eq!(worked("login-hello-client"), bytes);
    let answer = Control::Hello {
        entity: EntityType::MON,
        peer_addr: addr("v2:127.0.0.1:40000/0"),
    };
    check(V1, &answer, &worked("login-hello-server"));
}

#[test]
fn acknowledgements_and_wait() {
    check(V1, &Control::Ack(5), &worked("ack-2.1"));
    check(V1, &Control::Wait, &worked("wait-2.1"));
    check(V0, &Control::Wait, &worked("wait-2.0"));
    check(V1_SECURE, &Control::Ack(5), &worked("ack-2.1-client"));
    check(V0_SECURE, &Control::Ack(5), &worked("ack-2.0-client"));
    let sealer = ciphers(Role::Server, Revision::V1).0;
    let mut server = Assembler::new(Revision::V1, Some(sealer), true);
    let bytes = frame(&mut server, &Control::Ack(5));
    assert_eq!(bytes, worked("ack-2.1-server"));
    let opener = ciphers(Role::Client, Revision::V1).1;
    let mut client = Disassembler::new(Revision::V1, Some(opener), true);
    let got = take_frame(&mut client, &mut BytesMut::from(&bytes[..]));
    assert_eq!(Control::decode(got.tag, got.last()), Ok(Control::Ack(5)));
}

/// What is inside of an encrypted frame, and the nonces behind it.
#[test]
fn operations_and_nonces() {
    let (mut sealer, _) = ciphers(Role::Client, Revision::V1);
    assert_eq!(sealer.next_nonce()[..], unhex("5c5d5e5f6061626364656667"));
    let mut text = worked("ack-2.1-plain");
    let tag = sealer.seal(&mut text).unwrap();
    assert_eq!([&text[..], &tag].concat(), worked("ack-2.1-client"));
    assert_eq!(sealer.next_nonce()[..], unhex("5c5d5e5f6161626364656667"));

    let (mut sealer, _) = ciphers(Role::Client, Revision::V1);
    let (mut a, mut c) = (worked("message-2.1-A"), worked("message-2.1-C"));
    let tags = [sealer.seal(&mut a).unwrap(), sealer.seal(&mut c).unwrap()];
    let wire = [&a[..], &tags[0], &c, &tags[1]].concat();
    assert_eq!(wire, worked("message-2.1-sealed"));
    assert_eq!(sealer.next_nonce()[..], unhex("5c5d5e5f6261626364656667"));

    let (mut sealer, _) = ciphers(Role::Client, Revision::V0);
    sealer.seal(&mut [0; 64]).unwrap();
    assert_eq!(sealer.next_nonce()[..], unhex("5d5d5e5f6061626364656667"));
}

fn message() -> Message {
    Message::new(42)
        .with_tid(7)
        .with_version(8, 5)
        .with_priority(127)
        .with_front(&b"front-bytes"[..])
        .with_data(&b"DATA-PAYLOAD-0123456789"[..])
}

#[test]
fn messages() {
    let table = [
        (V1, "message-2.1"),
        (V0, "message-2.0"),
        (V1_SECURE, "message-2.1-sealed"),
    ];
    for (mode, name) in table {
        let mut batch = TxBatch::default();
        let mut encoder = Encoder::new(assembler(mode));
        encoder.message(message(), 2, 1, &mut batch).unwrap();
        let bytes = drain(&mut batch);
        assert_eq!(bytes, worked(name), "{name}");
        let mut reader = Reader::new(disassembler(mode), false);
        reader.feed(&bytes).unwrap();
        let [Incoming::Message(got), Incoming::Ack(1)] = &reader.seen[..] else {
            panic!("{name}: {:?}", reader.seen)
        };
        assert_eq!((got.head().seq, got.src()), (2, super::PEER));
        assert_eq!(got.front().to_bytes(), &b"front-bytes"[..]);
        assert!(got.middle().is_empty());
        assert_eq!(got.data().to_bytes(), &b"DATA-PAYLOAD-0123456789"[..]);
    }
}

#[test]
fn the_frames_of_a_log_in() {
    let request = Control::AuthRequest(AuthRequest {
        method: Method::CEPHX,
        modes: vec![Mode::SECURE, Mode::CRC],
        payload: unhex("0a 08000000 05000000 61646d696e 0000000000000000"),
    });
    check(V1, &request, &worked("login-auth-request"));
    for name in [
        "login-auth-reply-more",
        "login-auth-request-more",
        "login-auth-done",
    ] {
        let bytes = worked(name);
        let got = take_frame(&mut disassembler(V1), &mut BytesMut::from(&bytes[..]));
        let control = Control::decode(got.tag, got.last()).unwrap();
        check(V1, &control, &bytes);
        match (got.tag, control) {
            (tag::AUTH_REPLY_MORE, Control::AuthReplyMore(payload)) => {
                assert_eq!(payload, unhex("018877665544332211"));
            }
            (tag::AUTH_REQUEST_MORE, Control::AuthRequestMore(payload)) => {
                assert_eq!(payload.len(), 36);
            }
            (
                tag::AUTH_DONE,
                Control::AuthDone {
                    global_id,
                    mode,
                    payload,
                },
            ) => {
                assert_eq!((global_id, mode, payload.len()), (4242, Mode::SECURE, 466));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// From the signatures on, everything is encrypted, and one pair of ciphers does all of it.
#[test]
fn the_encrypted_frames_of_a_log_in() {
    let key: Vec<u8> = (0xa0..0xb0).collect();
    let key = CryptoKey::new(KeyType::Aes, Timespec::default(), key[..].into()).unwrap();
    let join = |names: &[&str]| -> Vec<u8> { names.iter().flat_map(|n| worked(n)).collect() };
    let sent = join(&[
        "login-banner",
        "login-hello-client",
        "login-auth-request",
        "login-auth-request-more",
    ]);
    let received = join(&[
        "login-banner",
        "login-hello-server",
        "login-auth-reply-more",
        "login-auth-done",
    ]);
    assert_eq!((sent.len(), received.len()), (252, 665));
    let signatures = [&received, &sent].map(|bytes| key.hmac_sha256(&[bytes]));
    assert_eq!(
        signatures[1][..],
        unhex("db5d72cb22a18e040f6b6fd40a447530ca587235b6b9633e4165eecbff43862c")
    );

    let (sealer, opener) = ciphers(Role::Client, Revision::V1);
    let mut sends = Assembler::new(Revision::V1, Some(sealer), true);
    let mut receives = Disassembler::new(Revision::V1, Some(opener), true);
    let ident = ClientIdent {
        addrs: "any:127.0.0.1:0/12345".parse().unwrap(),
        target: addr("v2:127.0.0.1:3300/0"),
        gid: 4242,
        global_seq: 1,
        supported: 0x3F01_CFBF_FFFD_FFFF,
        required: 1 << 59,
        lossy: true,
        cookie: 0,
    };
    let ident = Control::ClientIdent(ident);
    assert_eq!(ident.encode(), worked("login-client-ident"));
    let ours = [Control::AuthSignature(signatures[0]), ident];
    for (control, name) in ours
        .iter()
        .zip(["login-signature-client", "login-client-ident-sealed"])
    {
        assert_eq!(frame(&mut sends, control), worked(name), "{name}");
    }
    let answer = Control::ServerIdent(ServerIdent {
        addrs: "v2:127.0.0.1:3300/0".parse().unwrap(),
        gid: 0,
        global_seq: 9,
        supported: 0x3F01_CFBF_FFFD_FFFF,
        required: 1 << 59,
        lossy: true,
        cookie: 0,
    });
    assert_eq!(answer.encode(), worked("login-server-ident"));
    let theirs = [Control::AuthSignature(signatures[1]), answer];
    let names = ["login-signature-server", "login-server-ident-sealed"];
    let mut rx = BytesMut::from(&join(&names)[..]);
    for control in theirs {
        let got = take_frame(&mut receives, &mut rx);
        assert_eq!(Control::decode(got.tag, got.last()), Ok(control));
    }
    assert!(rx.is_empty());
}
