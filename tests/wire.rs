//! Encodings against bytes that other implementations made, and against bytes that nobody did.

use async_messenger::wire::header::flags;
use async_messenger::wire::{
    AddrVec, AuthName, EntityAddr, EntityName, EntityType, MsgFooter, MsgHead, MsgHeader, Put,
    Reader, Timespec, crc32c, features, msgtype,
};
use bytes::BufMut;
use vectors::unhex;

#[path = "common/vectors.rs"]
mod vectors;

fn check_addr(text: &str, features: u64, want: &str, zeros: usize) {
    let mut want = unhex(want);
    want.resize(want.len() + zeros, 0);
    let addr: EntityAddr = text.parse().unwrap();
    let mut out = Vec::new();
    addr.encode(features, &mut out);
    assert_eq!(out, want, "{text}");
    let mut r = Reader::new(&want, "address");
    let back = EntityAddr::decode(&mut r).unwrap();
    assert_eq!(
        (back.sock, back.nonce, r.is_empty()),
        (addr.sock, addr.nonce, true)
    );
}

#[test]
fn golden_addresses() {
    let v4 = "v1:10.20.30.40:6789/16909060";
    check_addr(v4, 0, "00000000 04030201 0002 1a85 0a141e28", 120);
    let want = "010101 1c000000 01000000 04030201 10000000 0200 1a85 0a141e28 0000000000000000";
    check_addr(v4, features::SUPPORTED, want, 0);
    let v6 = "v2:[fd00::1]:3300/16909060";
    let want = "00000000 04030201 000a 0ce4 00000000 fd000000000000000000000000000001";
    check_addr(v6, 0, want, 104);
    let want = "010101 28000000 02000000 04030201 1c000000 0a00 0ce4 00000000 \
                fd000000000000000000000000000001 00000000";
    check_addr(v6, features::SUPPORTED, want, 0);
}

#[test]
fn golden_address_vector() {
    let want = unhex(
        "02 02000000 \
         010101 1c000000 02000000 07000000 10000000 0200 0ce4 0a141e28 0000000000000000 \
         010101 1c000000 01000000 07000000 10000000 0200 1a85 0a141e28 0000000000000000",
    );
    let addrs: AddrVec = "[v2:10.20.30.40:3300/7,v1:10.20.30.40:6789/7]"
        .parse()
        .unwrap();
    let mut out = Vec::new();
    addrs.encode(features::SUPPORTED, &mut out);
    assert_eq!(out, want);
    assert_eq!(
        AddrVec::decode(&mut Reader::new(&want, "addresses")),
        Ok(addrs)
    );
}

fn header(kind: u16, seq: u64, src: EntityName) -> MsgHeader {
    let head = MsgHead {
        seq,
        kind,
        priority: MsgHead::PRIORITY_DEFAULT,
        version: 1,
        compat_version: 1,
        src,
        ..MsgHead::default()
    };
    MsgHeader {
        head,
        ..MsgHeader::default()
    }
}

#[test]
fn golden_ping() {
    let ping = header(msgtype::PING, 1, EntityName::client(-1));
    let want = unhex(
        "0100000000000000 0000000000000000 0200 7f00 0100 00000000 00000000 00000000 0000 \
         08 ffffffffffffffff 0100 0000 e092242d",
    );
    assert_eq!(ping.encode(true)[..], want);
    let footer = MsgFooter {
        flags: flags::COMPLETE,
        ..MsgFooter::default()
    };
    assert_eq!(
        footer.encode()[..],
        unhex("00000000 00000000 00000000 0000000000000000 01")
    );
    assert_eq!(
        footer.encode_old()[..],
        unhex("00000000 00000000 00000000 01")
    );

    let hello = MsgHeader {
        data_len: 5,
        ..header(msgtype::PING, 2, EntityName::osd(0))
    };
    assert_eq!(hello.encode(true)[49..], 0xd130_e714_u32.to_le_bytes());
    assert_eq!(crc32c(0, b"hello"), 0xdf03_cd79);
}

#[test]
fn golden_mon_subscribe() {
    let mut front = Vec::new();
    front.put_count(1);
    front.put_string("monmap");
    front.put_u64_le(0);
    front.put_u8(0);
    front.put_string("h");
    let want = "01000000 06000000 6d6f6e6d6170 0000000000000000 00 01000000 68";
    assert_eq!(front, unhex(want));
    let mut frame = header(msgtype::MON_SUBSCRIBE, 1, EntityName::client(-1));
    frame.head.version = 3;
    frame.front_len = 28;
    assert_eq!(frame.encode(true)[49..], 0x5cd1_f405_u32.to_le_bytes());
    assert_eq!(crc32c(0, &front), 0x9e75_c1b0);
}

#[test]
fn golden_auth() {
    let mut front = Vec::new();
    front.put_u64_le(0);
    front.put_i16_le(-1);
    front.put_u64_le(0);
    front.put_u32_le(0);
    let mut blob = vec![1];
    blob.put_count(1);
    blob.put_u32_le(1);
    AuthName::new(EntityType::CLIENT, "admin").encode(&mut blob);
    blob.put_u64_le(0);
    front.put_blob(&blob);
    front.put_u32_le(0);
    let want = "0000000000000000 ffff 0000000000000000 00000000 1e000000 01 01000000 01000000 \
                08000000 05000000 61646d696e 0000000000000000 00000000";
    assert_eq!(front, unhex(want));
}

/// Decodes `bytes` as everything there is; what decodes must encode and decode to the same.
fn decode_all(bytes: &[u8]) {
    if let Ok(addrs) = AddrVec::decode(&mut Reader::new(bytes, "addresses")) {
        let mut out = Vec::new();
        addrs.encode(features::SUPPORTED, &mut out);
        assert_eq!(AddrVec::decode(&mut Reader::new(&out, "again")), Ok(addrs));
    }
    if let Ok(addr) = EntityAddr::decode_legacy(&mut Reader::new(bytes, "address")) {
        let mut out = Vec::new();
        addr.encode_legacy(&mut out);
        assert_eq!(out.len(), EntityAddr::LEGACY_LEN);
        assert_eq!(
            EntityAddr::decode(&mut Reader::new(&out, "again")),
            Ok(addr)
        );
    }
    if let Ok(name) = AuthName::decode(&mut Reader::new(bytes, "name")) {
        assert!(name.id.len() <= bytes.len());
    }
    let _ = EntityName::decode(&mut Reader::new(bytes, "name")).map(|name| name.to_string());
    let _ = Timespec::decode(&mut Reader::new(bytes, "time"));
    let mut r = Reader::new(bytes, "envelope");
    if let Ok((_, mut body)) = r.envelope(9, "body") {
        assert!(body.remaining() + r.remaining() + 6 == bytes.len());
        if let Ok(count) = body.count(4) {
            assert!(count * 4 <= body.remaining());
        }
        let _ = body.string();
    }
    if let Some(b) = bytes.first_chunk::<{ MsgHeader::LEN }>() {
        let _ = MsgHeader::decode(b, true);
        let header = MsgHeader::decode(b, false).unwrap();
        assert_eq!(MsgHeader::decode(&header.encode(true), true), Ok(header));
    }
}

#[test]
fn garbage_does_no_harm() {
    let mut seeds = Vec::new();
    for text in [
        "[v2:10.20.30.40:3300/7,v1:[fd00::1]:6789/7]",
        "v1:1.2.3.4:5/6",
        "[]",
    ] {
        let addrs: AddrVec = text.parse().unwrap();
        for features in [0, features::SUPPORTED] {
            let mut out = Vec::new();
            addrs.encode(features, &mut out);
            seeds.push(out);
        }
    }
    seeds.push(header(2, 1, EntityName::osd(3)).encode(true).to_vec());
    let mut name = Vec::new();
    AuthName::new(EntityType::CLIENT, "admin").encode(&mut name);
    seeds.push(name);
    let mut envelope = Vec::new();
    envelope.put_envelope(3, 1, |body| {
        body.put_count(2);
        body.put_string("abcd");
    });
    seeds.push(envelope);

    let mut rng = vectors::Rng(0x2545_f491_4f6c_dd1d);
    for round in 0..100_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        rng.mutate(&mut bytes);
        decode_all(&bytes);
    }
    for seed in &seeds {
        for cut in 0..=seed.len() {
            decode_all(&seed[..cut]);
        }
    }
}
