//! Sides that lie, are lied to, or do not fit together.

use async_messenger::auth::Mode;
use async_messenger::proto::v2::{Acceptor, AcceptorEvent, Banner, Connector, Verdict, tag};
use async_messenger::proto::{Mismatch, ProtoError};
use async_messenger::wire::features::SUPPORTED;
use async_messenger::wire::{EntityType, crc32c};
use bytes::BytesMut;

use super::fake::Play;
use super::meeting::{Cast, meet};
use super::scripted::{banner_bytes, feed, new_acceptor};
use super::vectors::Rng;
use super::{BANNERS, addr, connector_params, open, resume, with_cx};

/// Somebody changes one bit. Whichever it is, the session does not come about, or what is said in
/// it does not arrive. Without encryption that only holds for what is signed: behind it some bits
/// mean nothing.
#[test]
fn every_changed_bit_is_found() {
    for banner in BANNERS {
        for mode in [Mode::CRC, Mode::SECURE] {
            let play = Play::keyed(mode);
            let whole = meet(&Cast::new(banner, play.clone()), usize::MAX);
            for from in 0..2 {
                let end = match mode {
                    Mode::CRC => find(banner, &whole.sent[from], tag::AUTH_SIGNATURE),
                    _ => whole.sent[from].len(),
                };
                for at in 0..end {
                    let tamper = move |side: usize, offset: usize, byte: &mut u8| {
                        if (side, offset) == (from, at) {
                            *byte ^= 1 << (at % 8);
                        }
                    };
                    let mut cast = Cast::new(banner, play.clone());
                    cast.tamper = &tamper;
                    let meeting = meet(&cast, usize::MAX);
                    let fine = meeting.opened().is_some() && meeting.arrived == whole.arrived;
                    assert!(!fine, "{banner:?} {mode:?}: byte {at} of side {from}");
                }
            }
        }
    }
}

/// The connection breaks off after any number of bytes: nobody is let in early, and nobody fails.
#[test]
fn a_break_at_every_byte_opens_nothing_early() {
    for play in [Play::plain(), Play::keyed(Mode::SECURE)] {
        let whole = meet(&Cast::new(BANNERS[1], play.clone()), usize::MAX);
        let stream = &whole.sent[0];
        let mut claims = 0;
        for end in 0..stream.len() {
            let (mut acceptor, mut out) = (new_acceptor(), BytesMut::new());
            acceptor.start(&mut out);
            let mut rx = BytesMut::from(&stream[..end]);
            let events = feed(&mut acceptor, &play, &mut rx, &mut out).expect("no error");
            claims += usize::from(events.iter().any(|e| matches!(e, AcceptorEvent::Claim(_))));
        }
        // Only the complete CLIENT_IDENT is a claim; the message of the open phase is behind it.
        let message = match play.picks {
            Mode::CRC => 32 + 41 + 4 + 3 + 13,
            _ => 96 + 16 + 32,
        };
        assert_eq!(claims, message, "{play:?}");
    }
}

#[test]
fn different_keys_do_not_sign_alike() {
    for (banner, mode) in [(BANNERS[0], Mode::CRC), (BANNERS[1], Mode::CRC)] {
        for keys in [[Some(7), Some(8)], [Some(7), None], [None, Some(7)]] {
            let play = Play {
                keys,
                ..Play::keyed(mode)
            };
            let meeting = meet(&Cast::new(banner, play), usize::MAX);
            for side in 0..2 {
                let text = meeting.error(side);
                assert!(text.contains("signature of the handshake"), "{text}");
            }
            assert!(meeting.opened().is_none());
        }
    }
}

/// Replaces bytes of a frame on its way, and makes its checksums right again.
fn forge(stream: &[u8], from: usize, at: usize, bytes: &[u8]) -> Vec<(usize, u8)> {
    let mut forged = stream.to_vec();
    forged[at..at + bytes.len()].copy_from_slice(bytes);
    let len = u32::from_le_bytes(forged[from + 2..from + 6].try_into().unwrap()) as usize;
    let crc = crc32c(0, &forged[from..from + 28]).to_le_bytes();
    forged[from + 28..from + 32].copy_from_slice(&crc);
    let crc = crc32c(u32::MAX, &forged[from + 32..from + 32 + len]).to_le_bytes();
    forged[from + 32 + len..from + 36 + len].copy_from_slice(&crc);
    let changed = forged.into_iter().enumerate();
    changed.filter(|(i, byte)| stream[*i] != *byte).collect()
}

/// Where the frame with this tag begins in a stream of plain control frames behind a banner.
fn find(banner: Banner, stream: &[u8], tag: u8) -> usize {
    let around = if banner == Banner::REVISION_0 { 49 } else { 36 };
    let mut at = 26;
    while stream[at] != tag {
        at += around + u32::from_le_bytes(stream[at + 2..at + 6].try_into().unwrap()) as usize;
    }
    at
}

fn forged(play: &Play, side: usize, tag: u8, at: usize, bytes: &[u8]) -> super::meeting::Meeting {
    let mut cast = Cast::new(BANNERS[1], play.clone());
    let whole = meet(&cast, usize::MAX);
    let from = find(BANNERS[1], &whole.sent[side], tag);
    let changes = forge(&whole.sent[side], from, from + 32 + at, bytes);
    assert!(!changes.is_empty());
    let tamper = move |sender: usize, offset: usize, byte: &mut u8| {
        if let Some((_, new)) = changes.iter().find(|(i, _)| (sender, offset) == (side, *i)) {
            *byte = *new;
        }
    };
    cast.tamper = &tamper;
    meet(&cast, usize::MAX)
}

/// Somebody in between wants the two to speak without encryption.
#[test]
fn downgrades_are_found() {
    // The announced mode was changed, to one that was not offered.
    let secure_only = Play {
        offers: vec![Mode::SECURE],
        ..Play::keyed(Mode::SECURE)
    };
    let meeting = forged(&secure_only, 1, tag::AUTH_DONE, 8, &1_u32.to_le_bytes());
    assert!(
        meeting.error(0).contains("which we did not offer"),
        "{meeting:?}"
    );
    let meeting = forged(&secure_only, 1, tag::AUTH_DONE, 8, &0_u32.to_le_bytes());
    assert!(meeting.error(0).contains("mode 0, which we did not offer"));
    // To one that was: the acceptor's signature is encrypted, the connector's is not.
    let play = Play::keyed(Mode::SECURE);
    let meeting = forged(&play, 1, tag::AUTH_DONE, 8, &1_u32.to_le_bytes());
    assert!(meeting.opened().is_none());
    assert!(meeting.errors[0].is_some(), "{meeting:?}");
    // The offer was changed: the acceptor's signature shows it.
    let play = Play::keyed(Mode::CRC);
    let swapped = [1_u32.to_le_bytes(), 2_u32.to_le_bytes()].concat();
    let meeting = forged(&play, 0, tag::AUTH_REQUEST, 8, &swapped);
    assert!(meeting.error(0).contains("signature of the handshake"));
    assert!(meeting.opened().is_none());
    // The acceptor would never pick what was not offered.
    let play = Play {
        offers: vec![Mode::SECURE],
        ..Play::keyed(Mode::CRC)
    };
    let meeting = meet(&Cast::new(BANNERS[1], play), usize::MAX);
    assert!(meeting.error(1).contains("did not offer"));
}

#[test]
fn lengths_beyond_their_frame_are_refused() {
    for len in [9_u32, 100, 0x7fff_ffff, u32::MAX] {
        let meeting = forged(&Play::plain(), 1, tag::AUTH_DONE, 12, &len.to_le_bytes());
        let text = meeting.error(0);
        assert!(text.contains("AUTH_DONE: needs"), "{text}");
        // The count of modes, and the length behind them.
        let meeting = forged(&Play::plain(), 0, tag::AUTH_REQUEST, 4, &len.to_le_bytes());
        let text = meeting.error(1);
        assert!(text.contains("AUTH_REQUEST: "), "{text}");
    }
}

#[test]
fn encryption_needs_a_secret() {
    let play = Play {
        keys: [None, None],
        ..Play::keyed(Mode::SECURE)
    };
    let meeting = meet(&Cast::new(BANNERS[1], play), usize::MAX);
    for side in 0..2 {
        assert!(
            meeting.error(side).contains("without a secret"),
            "{meeting:?}"
        );
    }
}

#[test]
fn banners_that_do_not_fit() {
    let begin = |bytes: &[u8]| {
        let (mut acceptor, mut out) = (new_acceptor(), BytesMut::new());
        acceptor.start(&mut out);
        let mut rx = BytesMut::from(bytes);
        with_cx(|cx| acceptor.handle_input(&mut rx, cx, &mut out)).map(|_| rx.len())
    };
    let banner = banner_bytes();
    for cut in 0..banner.len() {
        assert_eq!(begin(&banner[..cut]), Ok(cut), "waits for more");
    }
    let table: [(&[u8], &str); 7] = [
        (b"x", "its banner begins with \"x\""),
        (b"ceph v027", "it speaks msgr1"),
        (b"ceph v0", "use the v2 address"),
        (b"ceph v3", "another version of msgr2"),
        (b"GET / HTTP/1.1", "HTTP client"),
        (b"\x16\x03\x01", "TLS"),
        (b"ceph v2\n\x0f\0", "its banner has 15 bytes"),
    ];
    for (bytes, hint) in table {
        let text = begin(bytes).unwrap_err().to_string();
        assert!(text.contains(hint), "{text}");
    }
    // Later releases may say more.
    let longer = [&b"ceph v2\n\x14\0"[..], &banner[10..], b"more"].concat();
    assert_eq!(begin(&longer), Ok(0));
    let mut cast = Cast::new(BANNERS[0], Play::plain());
    cast.acceptor.banner = Banner {
        supported: 1,
        required: 1,
    };
    let meeting = meet(&cast, usize::MAX);
    let lack = |we_lack, peer_lacks| Mismatch::Banner {
        we_lack,
        peer_lacks,
    };
    assert_eq!(
        meeting.errors,
        [lack(1, 0), lack(0, 1)].map(|m| Some(m.into()))
    );
}

#[test]
fn sides_that_do_not_fit() {
    let fails = |change: &dyn Fn(&mut Cast<'_>), side: usize, text: &str| {
        let mut cast = Cast::new(BANNERS[1], Play::plain());
        change(&mut cast);
        let meeting = meet(&cast, usize::MAX);
        let got = meeting.error(side);
        assert!(got.contains(text), "{got}");
        assert!(meeting.opened().is_none());
    };
    fails(
        &|cast| cast.connector.peer_type = EntityType::MON,
        0,
        "the peer is of type osd and mon was meant",
    );
    fails(
        &|cast| cast.connector.peer_addr = addr("v2:127.0.0.1:6802/23"),
        1,
        "it means to reach v2:127.0.0.1:6802/23",
    );
    let elsewhere = [Verdict::Open {
        addrs: "v2:127.0.0.1:6802/99".parse().unwrap(),
        gid: 1,
        features: SUPPORTED,
        required: 0,
        global_seq: 1,
        lossy: false,
        server_cookie: 1,
    }];
    let mut cast = Cast::new(BANNERS[1], Play::plain());
    cast.verdicts = &elsewhere;
    let text = meet(&cast, usize::MAX).error(0);
    assert!(text.contains("we meant v2:127.0.0.1:6802/22"), "{text}");
    fails(
        &|cast| {
            cast.verdicts = &[Verdict::MissingFeatures(2)];
        },
        0,
        "peer requires features that we do not offer: NOSRCADDR",
    );
    fails(
        &|cast| cast.connector.required = 1 << 62,
        0,
        "peer does not offer features that we require",
    );
}

#[test]
fn attempts_and_rounds_are_limited() {
    let verdicts: Vec<_> = (0..20).map(|i| Verdict::RetryGlobal(10 + i)).collect();
    let mut cast = Cast::new(BANNERS[1], Play::plain());
    cast.connector.resume = Some(resume());
    cast.verdicts = &verdicts;
    let meeting = meet(&cast, usize::MAX);
    let text = [meeting.error(0), meeting.error(1)].concat();
    assert!(
        text.contains("connect attempts on one socket 17, at most 16"),
        "{text}"
    );
    let play = Play {
        challenges: 20,
        ..Play::keyed(Mode::CRC)
    };
    let meeting = meet(&Cast::new(BANNERS[1], play), usize::MAX);
    let text = [meeting.error(0), meeting.error(1)].concat();
    assert!(
        text.contains("rounds of authentication 17, at most 16"),
        "{text}"
    );
}

#[test]
fn mistakes_of_the_caller_are_errors() {
    let mut acceptor = new_acceptor();
    let error = acceptor.handle_verdict(Verdict::Wait, &mut BytesMut::new());
    assert!(matches!(error, Err(ProtoError::LocalBug(_))));
    let mut acceptor = new_acceptor();
    let error = acceptor.handle_auth(Play::plain().server());
    assert!(matches!(error, Err(ProtoError::LocalBug(_))));
    let mut connector = Connector::new(connector_params(BANNERS[1]), Play::plain().client());
    let error = connector.handle_retry(9, &mut BytesMut::new());
    assert!(matches!(error, Err(ProtoError::LocalBug(_))));
    assert!(connector.into_open(Default::default()).is_none());
    // A verdict for another sort of claim.
    let mut cast = Cast::new(BANNERS[1], Play::plain());
    let verdicts = [Verdict::Resume {
        in_seq: 1,
        server_cookie: 1,
        standing: super::STANDING,
    }];
    cast.verdicts = &verdicts;
    assert!(meet(&cast, usize::MAX).error(1).contains("bug in"));
}

#[test]
fn a_retry_has_to_get_further() {
    for (connect_seq, fine) in [(3, false), (4, true), (9, true), (u64::MAX, false)] {
        let mut cast = Cast::new(BANNERS[1], Play::plain());
        cast.connector.resume = Some(resume());
        let verdicts = [Verdict::Retry(connect_seq)];
        cast.verdicts = &verdicts;
        let meeting = meet(&cast, usize::MAX);
        assert_eq!(meeting.opened().is_some(), fine, "{connect_seq}");
        if !fine {
            assert!(meeting.error(0).contains("no more than our 4"));
        }
    }
}

/// Feeds garbage to both sides. They may refuse it, but must neither panic nor send much.
#[test]
fn garbage_does_no_harm() {
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    for round in 0..4000 {
        let banner = BANNERS[round % 2];
        let play = [
            Play::plain(),
            Play::keyed(Mode::CRC),
            Play::keyed(Mode::SECURE),
        ][round % 3]
            .clone();
        let mut cast = Cast::new(banner, play.clone());
        if round % 5 == 0 {
            cast.connector.resume = Some(resume());
        }
        let whole = meet(&cast, usize::MAX);
        let mut stream = whole.sent[0].clone();
        rng.mutate(&mut stream);
        let (mut acceptor, mut out) = (Acceptor::new(cast.acceptor.clone()), BytesMut::new());
        acceptor.start(&mut out);
        let mut rx = BytesMut::new();
        for piece in stream.chunks(1 + rng.below(200)) {
            rx.extend_from_slice(piece);
            let Ok(events) = feed(&mut acceptor, &play, &mut rx, &mut out) else {
                break;
            };
            if let Some(AcceptorEvent::Claim(claim)) = events.last() {
                acceptor.handle_verdict(open(claim), &mut out).unwrap();
            }
        }
        assert!(out.len() < 2000);
        let mut stream = whole.sent[1].clone();
        rng.mutate(&mut stream);
        let mut connector = Connector::new(cast.connector.clone(), play.client());
        let (mut rx, mut out) = (BytesMut::new(), BytesMut::new());
        connector.start(&mut out);
        for piece in stream.chunks(1 + rng.below(200)) {
            rx.extend_from_slice(piece);
            if with_cx(|cx| connector.handle_input(&mut rx, cx, &mut out)).is_err() {
                break;
            }
        }
        assert!(out.len() < 2000);
    }
}
