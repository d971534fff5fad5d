//! Our two sides against each other, in pieces of any size.

use async_messenger::auth::{Method, Mode};
use async_messenger::proto::v2::{
    AcceptorEvent, Algorithm, Banner, ConnectorEvent, Verdict, Wants,
};
use async_messenger::wire::features::SUPPORTED;
use async_messenger::wire::{EntityName, EntityType};

use super::fake::Play;
use super::meeting::{Cast, Meeting, meet};
use super::{BANNERS, addr, resume};

fn plays() -> Vec<Play> {
    vec![
        Play::plain(),
        Play::keyed(Mode::CRC),
        Play::keyed(Mode::SECURE),
        Play {
            challenges: 3,
            ..Play::keyed(Mode::SECURE)
        },
        Play {
            methods: vec![Method(4), Method::CEPHX],
            ..Play::keyed(Mode::SECURE)
        },
    ]
}

/// All at once, and in pieces: however it is cut, it comes to the same.
fn meet_all(cast: &Cast<'_>, what: &str) -> Meeting {
    let whole = meet(cast, usize::MAX);
    for size in (1..40).chain([48, 64, 96, 97, 200, 333, 700]) {
        let cut = meet(cast, size);
        assert_eq!(cut.errors, [None, None], "{what}: {size} bytes at a time");
        assert_eq!(cut, whole, "{what}: {size} bytes at a time");
    }
    whole
}

#[test]
fn new_sessions_in_every_mode() {
    for banner in BANNERS {
        for play in plays() {
            let what = format!("{banner:?} {play:?}");
            let meeting = meet_all(&Cast::new(banner, play.clone()), &what);
            let (c, a) = meeting.opened().unwrap_or_else(|| panic!("{meeting:#?}"));
            assert_eq!((c.mode, a.mode), (play.picks, play.picks), "{what}");
            assert_eq!((c.features, a.features), (SUPPORTED, SUPPORTED));
            assert_eq!((c.global_seq, a.global_seq), (Some(8), Some(3)));
            assert_eq!((c.connect_seq, a.connect_seq), (0, 0));
            assert_eq!((c.acked, a.acked), (None, None));
            assert_eq!((c.peer, a.peer), (EntityName::osd(1), EntityName::osd(0)));
            assert_eq!((c.client_cookie, c.server_cookie), (0xc0, 0x51));
            assert_eq!((a.client_cookie, a.server_cookie), (0xc0, 0x51));
            assert_eq!(a.peer_addrs.to_string(), "[v2:127.0.0.1:6801/11]");
            assert_eq!(c.peer_addrs.to_string(), "[v2:127.0.0.1:6802/22]");
            assert_eq!(a.who.global_id, 77);
            assert!(a.who.connection_secret.is_empty(), "it is in use");
            let heard = [r#"osd.1 b"\x01\x01\x01""#, r#"osd.0 b"\0\0\0""#];
            assert_eq!(meeting.arrived, heard.map(|text| vec![text.to_owned()]));
            let denied = meeting.acceptor.iter();
            let denied = denied.filter(|event| matches!(event, AcceptorEvent::Denied(_)));
            assert_eq!(denied.count(), play.methods.len() - 1, "{what}");
        }
    }
}

#[test]
fn the_revision_and_the_mode_show_on_the_wire() {
    for banner in BANNERS {
        let plain = meet(&Cast::new(banner, Play::keyed(Mode::CRC)), usize::MAX);
        let sealed = meet(&Cast::new(banner, Play::keyed(Mode::SECURE)), usize::MAX);
        let has = |meeting: &Meeting, text: &[u8]| {
            let mut windows = meeting.sent.iter().flat_map(|s| s.windows(text.len()));
            windows.any(|window| window == text)
        };
        // The features that CLIENT_IDENT offers.
        assert!(has(&plain, &SUPPORTED.to_le_bytes()));
        assert!(!has(&sealed, &SUPPORTED.to_le_bytes()));
        // HELLO has 36 bytes; 2.0 has an epilogue of 17, 2.1 a checksum of 4.
        let frame = if banner == Banner::REVISION_0 {
            32 + 36 + 17
        } else {
            32 + 36 + 4
        };
        assert_eq!(plain.sent[1][26 + frame], 4, "AUTH_REPLY_MORE comes next");
        assert!(plain.sent[0].len() < sealed.sent[0].len());
    }
}

#[test]
fn sessions_that_go_on() {
    for banner in BANNERS {
        for play in plays() {
            let mut cast = Cast::new(banner, play);
            cast.connector.resume = Some(resume());
            let meeting = meet_all(&cast, "resume");
            let (c, a) = meeting.opened().unwrap_or_else(|| panic!("{meeting:#?}"));
            assert_eq!((c.acked, a.acked), (Some(17), Some(9)));
            assert_eq!((c.connect_seq, a.connect_seq), (4, 4));
            assert_eq!((c.global_seq, a.global_seq), (None, Some(3)));
            assert_eq!((c.server_cookie, a.server_cookie), (0x50, 0x50));
            assert_eq!((c.peer, a.peer), (EntityName::osd(1), EntityName::osd(0)));
            assert_eq!(meeting.arrived.each_ref().map(Vec::len), [1, 1]);
        }
    }
}

#[test]
fn answers_that_make_it_try_again() {
    let verdicts = [
        Verdict::RetryGlobal(20),
        Verdict::Retry(6),
        Verdict::Retry(7),
        Verdict::RetryGlobal(30),
        Verdict::Reset { full: false },
    ];
    for banner in BANNERS {
        for play in [Play::plain(), Play::keyed(Mode::SECURE)] {
            let mut cast = Cast::new(banner, play);
            cast.connector.resume = Some(resume());
            cast.verdicts = &verdicts;
            let meeting = meet_all(&cast, "retries");
            let told = [
                ConnectorEvent::RetryGlobal {
                    peer_global_seq: 20,
                },
                ConnectorEvent::RetrySession { connect_seq: 7 },
                ConnectorEvent::RetrySession { connect_seq: 8 },
                ConnectorEvent::RetryGlobal {
                    peer_global_seq: 30,
                },
                ConnectorEvent::ResetSession {
                    full: false,
                    client_cookie: 0xc0,
                },
            ];
            assert_eq!(meeting.connector[..5], told);
            let claims = meeting.acceptor.iter().filter_map(|event| match event {
                AcceptorEvent::Claim(claim) => Some((claim.global_seq, claim.wants)),
                _ => None,
            });
            let claims: Vec<_> = claims.collect();
            let again = |connect_seq| Wants::Resume {
                server_cookie: 0x50,
                connect_seq,
                msg_seq: 9,
            };
            assert_eq!(
                claims[..5],
                [
                    (3, again(4)),
                    (21, again(4)),
                    (21, again(7)),
                    (21, again(8)),
                    (31, again(8)),
                ]
            );
            assert!(matches!(claims[5], (31, Wants::New { gid: 0, .. })));
            let (c, _) = meeting.opened().unwrap();
            assert_eq!((c.acked, c.connect_seq), (None, 0));
        }
    }
}

#[test]
fn a_full_reset_brings_another_cookie() {
    let mut cast = Cast::new(BANNERS[1], Play::plain());
    cast.connector.resume = Some(resume());
    cast.verdicts = &[Verdict::Reset { full: true }];
    let meeting = meet_all(&cast, "reset");
    let cookie = 0x5a5a_5a5a_5a5a_5a5a;
    let reset = ConnectorEvent::ResetSession {
        full: true,
        client_cookie: cookie,
    };
    assert_eq!(meeting.connector[0], reset);
    let (c, a) = meeting.opened().unwrap();
    assert_eq!((c.client_cookie, a.client_cookie), (cookie, cookie));
}

#[test]
fn told_to_wait() {
    for resume in [None, Some(resume())] {
        let mut cast = Cast::new(BANNERS[1], Play::plain());
        cast.connector.resume = resume;
        cast.verdicts = &[Verdict::Wait];
        let meeting = meet_all(&cast, "wait");
        assert_eq!(meeting.connector, [ConnectorEvent::Wait]);
        assert!(meeting.opened().is_none());
    }
}

#[test]
fn a_client_learns_its_address() {
    let mut cast = Cast::new(BANNERS[1], Play::plain());
    for (own, learned) in [
        ("[]", "any:127.0.0.1:0/0"),
        ("any:-/7", "any:127.0.0.1:0/7"),
        ("v2:0.0.0.0:6801/7", "v2:127.0.0.1:6801/7"),
        (
            "[v2:0.0.0.0:6801/7,v1:0.0.0.0:6802/7]",
            "v2:127.0.0.1:6801/7",
        ),
    ] {
        cast.connector.addrs = own.parse().unwrap();
        let meeting = meet_all(&cast, own);
        assert_eq!(
            meeting.connector[0],
            ConnectorEvent::Learned(addr(learned)),
            "{own}"
        );
        let (_, a) = meeting.opened().unwrap();
        assert_eq!(a.peer_addrs.front(), addr(learned));
        assert!(a.peer_addrs.0.iter().all(|addr| !addr.is_blank_ip()));
    }
}

/// Both banners say that compression may be negotiated, and nobody wants any.
#[test]
fn compression_is_negotiated_and_there_is_none() {
    let banner = Banner {
        supported: 3,
        required: 0,
    };
    for play in [Play::plain(), Play::keyed(Mode::SECURE)] {
        let meeting = meet_all(&Cast::new(banner, play), "compression");
        assert!(meeting.opened().is_some());
        let without = meet(&Cast::new(BANNERS[1], Play::plain()), usize::MAX);
        assert!(meeting.sent[0].len() > without.sent[0].len());
    }
    let any = [
        Algorithm::Snappy,
        Algorithm::Zlib,
        Algorithm::Zstd,
        Algorithm::Lz4,
    ];
    let any = any.iter().any(|algorithm| algorithm.is_compiled());
    let says = Banner::ours().supported & 2 != 0;
    assert_eq!(says, any, "ours says it if there is a reason to");
}

#[test]
fn one_side_of_the_older_revision_is_enough() {
    for swapped in [false, true] {
        let mut cast = Cast::new(BANNERS[0], Play::keyed(Mode::SECURE));
        if swapped {
            cast.acceptor.banner = BANNERS[1];
        } else {
            cast.connector.banner = BANNERS[1];
        }
        assert!(meet_all(&cast, "mixed").opened().is_some());
    }
}

#[test]
fn lossy_sessions_have_no_cookies() {
    let mut cast = Cast::new(BANNERS[1], Play::plain());
    cast.connector.lossy = true;
    cast.connector.client_cookie = 0;
    let verdict = Verdict::Open {
        addrs: cast.acceptor.addrs.clone(),
        gid: 4,
        features: SUPPORTED,
        required: 0,
        global_seq: 1,
        lossy: true,
        server_cookie: 0,
    };
    let verdicts = [verdict];
    cast.verdicts = &verdicts;
    let meeting = meet_all(&cast, "lossy");
    let (c, a) = meeting.opened().unwrap();
    assert!(c.lossy && a.lossy);
    assert_eq!((c.client_cookie, c.server_cookie), (0, 0));
    assert_eq!(c.peer, EntityName::new(EntityType::OSD, 4));
}
