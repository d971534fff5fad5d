//! Both sides against each other: every flow, key type, method and mode, and who is refused.

use async_messenger::auth::cephx::{Authorizer, Tickets};
use async_messenger::auth::{
    AuthAnswer, AuthError, AuthRequest, Authenticated, Caps, CryptoKey, KeyType, Keyring, Method,
    Mode, Offer, Offers, Site,
};
use async_messenger::wire::{AuthName, EntityType};
use async_messenger::{Authority, Credentials};

use crate::kit::{ALLOW, Dice, Failed, HOUR, NOW, admin, at, key, later, play, site};

const TYPES: [KeyType; 2] = [KeyType::Aes, KeyType::Aes256k];
const MODES: [Mode; 2] = [Mode::CRC, Mode::SECURE];

/// A monitor and an OSD that share secrets, and a client.
pub(crate) struct Cluster {
    pub(crate) mon: Authority,
    pub(crate) osd: Authority,
    pub(crate) client: Credentials,
    pub(crate) dice: Dice,
}

pub(crate) fn cluster(principal: KeyType, service: KeyType, modes: &[Mode]) -> Cluster {
    let key = key(principal, 1, 0);
    let offers = Offers::uniform(&[Method::CEPHX, Method::NONE], modes);
    let mut dice = Dice::new(7);
    let mut mon = site(EntityType::MON, &key, service);
    let strict = Offers::uniform(&[Method::CEPHX], modes);
    mon.offers = strict.clone();
    at(&mut dice, NOW, |cx| mon.secrets.rotate(cx));
    let mut osd = Site::new(EntityType::OSD, Keyring::new());
    osd.offers = strict;
    osd.secrets = mon.secrets.clone();
    Cluster {
        mon: Authority::new(mon),
        osd: Authority::new(osd),
        client: Credentials::new(admin(), key).offers(offers),
        dice,
    }
}

impl Cluster {
    /// Logs in over v2.
    pub(crate) fn log_in(&mut self, now: async_messenger::wire::Timespec) -> Authenticated {
        let mut client = self.client.client(EntityType::MON);
        let mut server = self.mon.server(EntityType::CLIENT);
        let played = play(&mut *client, &mut *server, &mut self.dice, now).unwrap();
        self.client.logged_in(&played.client);
        played.client
    }
}

#[test]
fn log_in_and_show_the_ticket() {
    for principal in TYPES {
        for service in TYPES {
            for mode in MODES {
                both_flows(principal, service, mode);
            }
        }
    }
}

fn both_flows(principal: KeyType, service: KeyType, mode: Mode) {
    let mut all = cluster(principal, service, &[mode]);
    let mut client = all.client.client(EntityType::MON);
    let mut server = all.mon.server(EntityType::CLIENT);
    let played = play(&mut *client, &mut *server, &mut all.dice, NOW).unwrap();
    let (ours, theirs) = (&played.client, &played.server);
    assert_eq!(played.mode, mode);
    assert_eq!((&ours.name, &theirs.name), (&admin(), &admin()));
    assert_eq!(ours.global_id, 4100);
    assert_eq!(theirs.caps, Caps::new("allow *"));
    let session_key = ours.session_key.as_ref().unwrap();
    assert_eq!(session_key.kind(), principal);
    same_secrets(ours, theirs, mode);
    all.client.logged_in(ours);
    let held = all.client.tickets();
    for service in [
        EntityType::MON,
        EntityType::OSD,
        EntityType::MGR,
        EntityType::AUTH,
    ] {
        assert!(held.valid(service, NOW).is_some(), "{service}");
    }
    assert!(held.get(EntityType::MDS).is_none());

    let mut client = all.client.client(EntityType::OSD);
    let mut server = all.osd.server(EntityType::CLIENT);
    let played = play(&mut *client, &mut *server, &mut all.dice, NOW).unwrap();
    assert_eq!(played.mode, mode);
    assert_eq!(played.server.name, admin());
    assert_eq!(played.server.global_id, 4100);
    assert_eq!(played.server.caps, Caps::new("allow *"));
    let kind = played.client.session_key.as_ref().unwrap().kind();
    assert_eq!(kind, principal.min(service));
    same_secrets(&played.client, &played.server, mode);

    // The same beside the connect message of v1, where there is no such thing as a mode.
    assert!(all.client.client_v1(EntityType::MON).is_none());
    let mut client = all.client.client_v1(EntityType::OSD).unwrap();
    let mut server = all.osd.server_v1(EntityType::CLIENT);
    let played = play(&mut *client, &mut *server, &mut all.dice, NOW).unwrap();
    same_secrets(&played.client, &played.server, Mode::CRC);
}

fn same_secrets(ours: &Authenticated, theirs: &Authenticated, mode: Mode) {
    assert!(ours.session_key.is_some());
    assert_eq!(ours.session_key, theirs.session_key);
    assert_eq!(ours.connection_secret, theirs.connection_secret);
    let wanted = if mode == Mode::SECURE { 64 } else { 0 };
    assert_eq!(ours.connection_secret.len(), wanted);
}

#[test]
fn v1_repeats_the_answer_when_it_repeats_the_connect_message() {
    let mut all = cluster(KeyType::Aes256k, KeyType::Aes256k, &[Mode::CRC]);
    all.log_in(NOW);
    let mut client = all.client.client_v1(EntityType::OSD).unwrap();
    let mut server = all.osd.server_v1(EntityType::CLIENT);
    let dice = &mut all.dice;
    let request = at(dice, NOW, |cx| client.begin(cx)).unwrap();
    let AuthAnswer::More(challenge) = at(dice, NOW, |cx| server.begin(cx, &request)) else {
        panic!("no challenge");
    };
    let answer = at(dice, NOW, |cx| client.more(cx, &challenge)).unwrap();
    for _ in 0..3 {
        let AuthAnswer::Done { mode, payload, who } = at(dice, NOW, |cx| server.more(cx, &answer))
        else {
            panic!("refused");
        };
        at(dice, NOW, |cx| {
            client.done(cx, who.global_id, mode, &payload)
        })
        .unwrap();
    }
    // On another connection it is worth nothing.
    let mut other = all.osd.server_v1(EntityType::CLIENT);
    let again = AuthRequest {
        payload: answer.clone(),
        ..request
    };
    assert!(matches!(
        at(dice, NOW, |cx| other.begin(cx, &again)),
        AuthAnswer::More(_)
    ));
    refused(at(dice, NOW, |cx| other.more(cx, &answer)), -13, "replayed");
}

fn refused(answer: AuthAnswer, result: i32, why: &str) {
    let AuthAnswer::Refused { refusal, why: text } = answer else {
        panic!("not refused: {answer:?}");
    };
    assert_eq!(refusal.result, result);
    assert!(text.to_string().contains(why), "{text}");
}

#[test]
fn an_unchallenged_authorizer_never_convinces() {
    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::CRC]);
    all.log_in(NOW);
    let mut client = all.client.client(EntityType::OSD);
    let mut server = all.osd.server(EntityType::CLIENT);
    let dice = &mut all.dice;
    let request = at(dice, NOW, |cx| client.begin(cx)).unwrap();
    assert!(matches!(
        at(dice, NOW, |cx| server.begin(cx, &request)),
        AuthAnswer::More(_)
    ));
    refused(
        at(dice, NOW, |cx| server.more(cx, &request.payload)),
        -13,
        "replayed",
    );
    refused(
        at(dice, NOW, |cx| server.more(cx, &request.payload)),
        -13,
        "no challenge",
    );
    refused(
        at(dice, NOW, |cx| server.begin(cx, &request)),
        -13,
        "second time",
    );
}

#[test]
fn method_none() {
    let mon = Authority::none(EntityType::MON);
    let osd = Authority::none(EntityType::OSD);
    let client = Credentials::none(admin());
    let dice = &mut Dice::new(3);
    let mut ours = client.client(EntityType::MON);
    let mut theirs = mon.server(EntityType::CLIENT);
    let played = play(&mut *ours, &mut *theirs, dice, NOW).unwrap();
    assert_eq!((played.client.global_id, played.mode), (4100, Mode::CRC));
    assert_eq!(
        (played.client.session_key, played.server.session_key),
        (None, None)
    );
    assert!(played.server.caps.allow_all);
    client.logged_in(&Authenticated {
        global_id: 4100,
        ..Authenticated::default()
    });
    for v1 in [false, true] {
        let (mut ours, mut theirs) = if v1 {
            (
                client.client_v1(EntityType::OSD).unwrap(),
                osd.server_v1(EntityType::CLIENT),
            )
        } else {
            (
                client.client(EntityType::OSD),
                osd.server(EntityType::CLIENT),
            )
        };
        let played = play(&mut *ours, &mut *theirs, dice, NOW).unwrap();
        assert_eq!(
            (played.server.name, played.server.global_id),
            (admin(), 4100)
        );
    }
}

#[test]
fn what_is_refused_is_tried_by_another_method_with_monitors_only() {
    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::CRC]);
    all.mon
        .edit(|site| site.offers = Offers::uniform(&[Method::NONE], &[Mode::CRC]));
    all.osd
        .edit(|site| site.offers = Offers::uniform(&[Method::NONE], &[Mode::CRC]));
    let mut ours = all.client.client(EntityType::MON);
    let mut theirs = all.mon.server(EntityType::CLIENT);
    let played = play(&mut *ours, &mut *theirs, &mut all.dice, NOW).unwrap();
    assert_eq!(played.client.session_key, None);

    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::CRC]);
    all.log_in(NOW);
    all.osd
        .edit(|site| site.offers = Offers::uniform(&[Method::NONE], &[Mode::CRC]));
    let mut ours = all.client.client(EntityType::OSD);
    let mut theirs = all.osd.server(EntityType::CLIENT);
    let Err(Failed::Server(refusal, _)) = play(&mut *ours, &mut *theirs, &mut all.dice, NOW) else {
        panic!("let in");
    };
    assert_eq!(
        (refusal.result, &refusal.methods[..]),
        (-95, &[Method::NONE][..])
    );
}

#[test]
fn modes_that_do_not_meet() {
    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::CRC]);
    let secure = Offers::uniform(&[Method::CEPHX], &[Mode::SECURE]);
    let client = all.client.clone().offers(secure.clone());
    let mut ours = client.client(EntityType::MON);
    let mut theirs = all.mon.server(EntityType::CLIENT);
    let Err(Failed::Server(refusal, why)) = play(&mut *ours, &mut *theirs, &mut all.dice, NOW)
    else {
        panic!("let in");
    };
    assert_eq!(
        (refusal.result, &refusal.modes[..]),
        (-95, &[Mode::CRC][..])
    );
    assert!(why.to_string().contains("secure"), "{why}");

    // A peer that picks what was not asked for gets no further.
    let mut ours = client.client(EntityType::MON);
    at(&mut all.dice, NOW, |cx| ours.begin(cx)).unwrap();
    let done = at(&mut all.dice, NOW, |cx| ours.done(cx, 1, Mode::CRC, &[]));
    assert!(matches!(done, Err(AuthError::Misbehaved(_))));

    // Method none goes without secure mode only.
    let none = Credentials::none(admin()).offers(Offers::uniform(&[Method::NONE], &[Mode::SECURE]));
    let begun = at(&mut all.dice, NOW, |cx| {
        none.client(EntityType::MON).begin(cx)
    });
    assert!(begun.unwrap_err().to_string().contains("add crc"));
}

#[test]
fn modes_by_own_type_and_peer() {
    let all = Offers::default();
    let mons = [EntityType::MON, EntityType::MGR];
    let others = [EntityType::OSD, EntityType::MDS];
    let secure_first = vec![Mode::SECURE, Mode::CRC];
    let crc_first = vec![Mode::CRC, Mode::SECURE];
    let of = |own, peer| all.of(own, peer);
    for mon in mons {
        let offer = of(EntityType::CLIENT, mon);
        assert_eq!(offer.methods, [Method::CEPHX, Method::NONE]);
        assert_eq!(offer.modes, secure_first);
        for peer in mons.into_iter().chain(others).chain([EntityType::CLIENT]) {
            assert_eq!(of(mon, peer).modes, secure_first, "{mon} {peer}");
            assert_eq!(of(mon, peer).methods, [Method::CEPHX]);
        }
    }
    for own in others {
        assert_eq!(of(own, EntityType::MON).modes, secure_first);
        assert_eq!(of(own, EntityType::OSD).modes, crc_first);
        assert_eq!(of(own, EntityType::CLIENT).modes, crc_first);
        assert_eq!(of(EntityType::CLIENT, own).modes, crc_first);
    }
    // Which list it is.
    let mut marked = all.clone();
    marked.service_modes = vec![Mode(7)];
    marked.mon_service_modes = vec![Mode(8)];
    marked.cluster_modes = vec![Mode(9)];
    marked.mon_cluster_modes = vec![Mode(10)];
    assert_eq!(
        marked.of(EntityType::OSD, EntityType::CLIENT).modes,
        [Mode(7)]
    );
    assert_eq!(marked.of(EntityType::MON, EntityType::OSD).modes, [Mode(8)]);
    assert_eq!(marked.of(EntityType::OSD, EntityType::MDS).modes, [Mode(9)]);
    assert_eq!(
        marked.of(EntityType::OSD, EntityType::MGR).modes,
        [Mode(10)]
    );
    let offer = Offer {
        methods: Vec::new(),
        modes: crc_first.clone(),
    };
    assert_eq!(offer.modes_for(Method::NONE), [Mode::CRC]);
    assert_eq!(offer.pick(Method::CEPHX, &secure_first), Some(Mode::SECURE));
    assert_eq!(offer.pick(Method::NONE, &secure_first), Some(Mode::CRC));
}

#[test]
fn who_is_not_let_in() {
    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::CRC]);
    let strict = Offers::uniform(&[Method::CEPHX], &[Mode::CRC]);
    let mut refused = |client: &Credentials, wanted: &str| {
        let mut ours = client.client(EntityType::MON);
        let mut theirs = all.mon.server(EntityType::CLIENT);
        let Err(Failed::Server(refusal, why)) = play(&mut *ours, &mut *theirs, &mut all.dice, NOW)
        else {
            panic!("let in: {wanted}");
        };
        assert_eq!(refusal.result, -13);
        assert!(why.to_string().contains(wanted), "{why}");
    };
    let wrong = Credentials::new(admin(), key(KeyType::Aes, 9, 0)).offers(strict.clone());
    refused(&wrong, "keyring and ours differ");
    let other = Credentials::new(admin(), key(KeyType::Aes256k, 1, 0)).offers(strict.clone());
    refused(&other, "keyring and ours differ");
    let stranger = AuthName::new(EntityType::CLIENT, "x");
    let stranger = Credentials::new(stranger, key(KeyType::Aes, 1, 0)).offers(strict.clone());
    refused(&stranger, "section [client.x]");
    let poor = AuthName::new(EntityType::CLIENT, "poor");
    all.mon.edit(|site| {
        site.keyring
            .insert(poor.clone(), key(KeyType::Aes, 1, 0), &ALLOW[1..]);
    });
    let poor = Credentials::new(poor, key(KeyType::Aes, 1, 0)).offers(strict.clone());
    refused(&poor, "no caps for mon");
    all.mon.edit(|site| site.key_types = vec![KeyType::Aes256k]);
    let old = Credentials::new(admin(), key(KeyType::Aes, 1, 0)).offers(strict);
    refused(&old, "not allowed");
    // A daemon gives out no tickets.
    let mut ours = old.client(EntityType::MON);
    let mut theirs = all.osd.server(EntityType::CLIENT);
    let played = play(&mut *ours, &mut *theirs, &mut all.dice, NOW);
    assert!(matches!(played, Err(Failed::Server(..))));
}

#[test]
fn nothing_to_show() {
    let dice = &mut Dice::new(1);
    let strict = Offers::uniform(&[Method::CEPHX], &[Mode::CRC]);
    let keyless = Credentials::none(admin()).offers(strict.clone());
    let why = at(dice, NOW, |cx| keyless.client(EntityType::MON).begin(cx)).unwrap_err();
    assert_eq!(why, AuthError::NoKey(admin()));
    let fresh = Credentials::new(admin(), key(KeyType::Aes, 1, 0));
    let why = at(dice, NOW, |cx| fresh.client(EntityType::OSD).begin(cx)).unwrap_err();
    assert_eq!(why, AuthError::NoTicket(EntityType::OSD));
    assert!(
        why.to_string().contains("log in to a monitor first"),
        "{why}"
    );
}

#[test]
fn a_ticket_that_is_over() {
    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::CRC]);
    all.log_in(NOW);
    let begin = |all: &mut Cluster, now| {
        let mut ours = all.client.client(EntityType::OSD);
        at(&mut all.dice, now, |cx| ours.begin(cx).map(|_| ()))
    };
    assert_eq!(begin(&mut all, later(HOUR - 1)), Ok(()));
    let over = Err(AuthError::NoTicket(EntityType::OSD));
    assert_eq!(begin(&mut all, later(HOUR)), over);
    // A clock that went back does not make it useless.
    let mut earlier = NOW;
    earlier.secs -= 10 * HOUR;
    assert_eq!(begin(&mut all, earlier), Ok(()));
    assert_ne!(all.client.tickets().due(4, earlier), 0);
    assert_eq!(all.client.tickets().due(4, NOW), 0);
}

#[test]
fn the_secret_rotates_away() {
    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::CRC]);
    all.log_in(NOW);
    let try_at = |all: &mut Cluster, secs| {
        // The OSD fetches what the monitor has at that time; the client's clock stands still.
        let secrets = all.mon.edit(|site| {
            at(&mut all.dice, later(secs), |cx| site.secrets.rotate(cx));
            site.secrets.clone()
        });
        all.osd.set_secrets(secrets);
        let mut ours = all.client.client(EntityType::OSD);
        let mut theirs = all.osd.server(EntityType::CLIENT);
        play(&mut *ours, &mut *theirs, &mut all.dice, NOW).map(|_| ())
    };
    assert!(try_at(&mut all, 0).is_ok());
    // It was sealed with the current one, which is the previous one now.
    assert!(try_at(&mut all, HOUR).is_ok());
    let Err(Failed::Server(refusal, why)) = try_at(&mut all, 2 * HOUR) else {
        panic!("let in");
    };
    assert_eq!(refusal.result, -13);
    assert!(why.to_string().contains("not known here"), "{why}");
}

#[test]
fn a_ticket_of_ones_own_making() {
    for kind in TYPES {
        for mode in MODES {
            let shared = key(kind, 0x50, 0);
            let mut keyring = Keyring::new();
            keyring.insert(AuthName::new(EntityType::OSD, ""), shared, &[]);
            let mut osd = Site::new(EntityType::OSD, keyring.clone());
            osd.offers = Offers::uniform(&[Method::CEPHX], &[mode]);
            let osd = Authority::new(osd);
            let client = Credentials::none(admin())
                .offers(Offers::uniform(&[Method::CEPHX], &[mode]))
                .service_keys(keyring);
            let mut ours = client.client(EntityType::OSD);
            let mut theirs = osd.server(EntityType::CLIENT);
            let played = play(&mut *ours, &mut *theirs, &mut Dice::new(2), NOW).unwrap();
            same_secrets(&played.client, &played.server, mode);
            assert_eq!(played.server.name, admin());
            // Who does not have that key takes no such ticket.
            osd.edit(|site| site.keyring = Keyring::new());
            let mut theirs = osd.server(EntityType::CLIENT);
            let mut ours = client.client(EntityType::OSD);
            let Err(Failed::Server(_, why)) =
                play(&mut *ours, &mut *theirs, &mut Dice::new(2), NOW)
            else {
                panic!("let in");
            };
            assert!(why.to_string().contains("add a section [osd.]"), "{why}");
        }
    }
}

#[test]
fn monitors_among_each_other() {
    let mut keyring = Keyring::new();
    let name = AuthName::new(EntityType::MON, "");
    keyring.insert(
        name.clone(),
        key(KeyType::Aes, 3, 0),
        &[(EntityType::MON, "allow *")],
    );
    let mon = Authority::new(Site::new(EntityType::MON, keyring.clone()));
    let own = Credentials::from_keyring(&keyring, name.clone())
        .unwrap()
        .service_keys(keyring);
    let mut dice = Dice::new(4);
    for v1 in [false, true] {
        let (mut ours, mut theirs) = if v1 {
            (
                own.client_v1(EntityType::MON).unwrap(),
                mon.server_v1(EntityType::MON),
            )
        } else {
            (own.client(EntityType::MON), mon.server(EntityType::MON))
        };
        let played = play(&mut *ours, &mut *theirs, &mut dice, NOW).unwrap();
        assert_eq!(
            (played.server.name, played.server.global_id),
            (name.clone(), 0)
        );
        assert!(played.server.caps.is_empty());
    }
    // A ticket that a monitor gave to a client is not enough.
    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::CRC]);
    all.log_in(NOW);
    let held: Tickets = all.client.tickets();
    let ticket = held.get(EntityType::MON).unwrap();
    let shown = at(&mut dice, NOW, |cx| {
        Authorizer::new(cx, held.global_id, ticket)
            .first(cx)
            .unwrap()
    });
    let request = AuthRequest {
        method: Method::CEPHX,
        modes: vec![Mode::CRC],
        payload: shown,
    };
    let mut theirs = all.mon.server(EntityType::CLIENT);
    refused(
        at(&mut dice, NOW, |cx| theirs.begin(cx, &request)),
        -13,
        "not known here",
    );
}

/// No text that anybody may see holds a key, in any of its forms.
#[test]
fn keys_are_never_shown() {
    for kind in TYPES {
        let mut all = cluster(kind, kind, &[Mode::SECURE]);
        let principal = key(kind, 1, 0);
        let mut ours = all.client.client(EntityType::MON);
        let mut theirs = all.mon.server(EntityType::CLIENT);
        let mut text = format!("{ours:?} {theirs:?} {principal:?}");
        let played = play(&mut *ours, &mut *theirs, &mut all.dice, NOW).unwrap();
        all.client.logged_in(&played.client);
        text += &format!(
            "{played:#?} {ours:?} {theirs:?} {:?} {:#?}",
            all.client, all.mon
        );
        text += &format!("{:?}", all.client.session_after(&played.client));
        text += &format!("{:?}", all.mon.session_after(&played.server));
        all.mon.edit(|site| text += &format!("{site:#?}"));
        let wrong = Credentials::new(admin(), key(kind, 1, 9).clone());
        text += &format!("{wrong:?} {:?}", principal.cipher(4));
        let (session, secret) = (
            played.client.session_key.unwrap(),
            &played.client.connection_secret,
        );
        let mut keys: Vec<CryptoKey> = vec![principal, session];
        all.mon.edit(|site| {
            let all = site.secrets.of(EntityType::OSD).iter();
            keys.extend(all.map(|secret| secret.key.clone()));
        });
        let held = all.client.tickets();
        keys.extend(
            held.get(EntityType::OSD)
                .map(|ticket| ticket.session_key.clone()),
        );
        for key in keys {
            let base64 = key.to_base64();
            assert!(!text.contains(&base64));
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            hidden(&text, &bytes[12..]);
        }
        hidden(&text, secret.as_bytes());
    }
}

fn hidden(text: &str, secret: &[u8]) {
    let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    assert!(!text.to_lowercase().contains(&hex));
    let list = format!("{secret:?}");
    assert!(!text.contains(list.trim_matches(['[', ']'])));
    let long: Vec<String> = secret.iter().map(u8::to_string).collect();
    let squeezed: String = text.split_whitespace().collect();
    assert!(!squeezed.contains(&long.join(",")));
}
