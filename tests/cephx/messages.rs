//! Authentication by messages: log-ins of v1, renewals on sessions of both versions, secrets of
//! daemons, the rules for numbers that are asked for again.

use async_messenger::auth::cephx::{LogInClient, Tickets};
use async_messenger::auth::{
    AuthError, Identity, KeyType, Keyring, Method, Mode, Offers, Session, SessionEvent,
    SessionReply, SessionServer, Site,
};
use async_messenger::wire::{AuthName, EntityType, Timespec};
use async_messenger::{Authority, Credentials};

use crate::flows::cluster;
use crate::kit::{ALLOW, Dice, HOUR, NOW, admin, at, key, later, play, site, unhex};

const MASK: u32 = 1 | 4 | 16;

fn identity(kind: KeyType) -> Identity {
    Identity {
        name: admin(),
        key: Some(key(kind, 1, 0)),
        wanted: MASK,
        ..Identity::default()
    }
}

fn mon(principal: KeyType, service: KeyType) -> Authority {
    let mut mon = site(EntityType::MON, &key(principal, 1, 0), service);
    mon.offers = Offers::uniform(&[Method::CEPHX, Method::NONE], &[Mode::CRC]);
    Authority::new(mon)
}

/// Sends one message, and gives the reply back.
fn exchange(
    server: &mut SessionServer,
    client: &mut Session,
    dice: &mut Dice,
    now: Timespec,
    message: &async_messenger::auth::AuthMessage,
) -> (SessionReply, Result<SessionEvent, AuthError>) {
    let reply = at(dice, now, |cx| {
        server.handle(cx, message.protocol, &message.payload)
    });
    let head = (reply.protocol, reply.result);
    let event = at(dice, now, |cx| {
        client.handle_reply(cx, head, reply.global_id, &reply.payload)
    });
    (reply, event)
}

fn log_in(server: &mut SessionServer, client: &mut Session, dice: &mut Dice) {
    let first = client.begin().unwrap();
    let (_, event) = exchange(server, client, dice, NOW, &first);
    let SessionEvent::Send(proof) = event.unwrap() else {
        panic!("no proof");
    };
    assert!(!server.is_open());
    let (reply, event) = exchange(server, client, dice, NOW, &proof);
    let SessionEvent::LoggedIn(ours) = event.unwrap() else {
        panic!("not logged in");
    };
    let theirs = reply.who.unwrap();
    assert!(server.is_open());
    assert_eq!(ours.global_id, theirs.global_id);
    assert_eq!(ours.session_key, theirs.session_key);
    assert!(ours.connection_secret.is_empty());
}

#[test]
fn log_in_and_renewals() {
    for principal in [KeyType::Aes, KeyType::Aes256k] {
        for service in [KeyType::Aes, KeyType::Aes256k] {
            let mon = mon(principal, service);
            let mut server = mon.session();
            let mut client = Session::new(identity(principal), &[Method::CEPHX]);
            let dice = &mut Dice::new(5);
            log_in(&mut server, &mut client, dice);
            assert_eq!(client.tickets().due(MASK | 32, NOW), 0);
            renewals(&mut server, &mut client, dice);
        }
    }
}

/// First the service tickets become due, after three quarters of an hour, then the auth ticket.
fn renewals(server: &mut SessionServer, client: &mut Session, dice: &mut Dice) {
    let due = later(HOUR * 3 / 4);
    let early = later(HOUR * 3 / 4 - 1);
    assert_eq!(at(dice, early, |cx| client.renew(cx)), Ok(None));
    assert_eq!(
        client.tickets().next_due().unwrap().as_secs(),
        u64::from(due.secs)
    );
    let old = client.tickets().clone();
    let message = at(dice, due, |cx| client.renew(cx)).unwrap().unwrap();
    assert_eq!(message.payload[..2], [0, 2]);
    // One request at a time.
    assert_eq!(at(dice, due, |cx| client.renew(cx)), Ok(None));
    assert!(client.fetch_secrets().is_none());
    let (reply, event) = exchange(server, client, dice, due, &message);
    assert_eq!((reply.result, reply.who), (0, None));
    assert!(matches!(event, Ok(SessionEvent::Tickets(tickets)) if tickets.len() == 3));
    assert_eq!(client.tickets().due(MASK | 32, due), 0);
    assert_eq!(
        client.tickets().get(EntityType::AUTH),
        old.get(EntityType::AUTH)
    );
    assert_ne!(
        client.tickets().get(EntityType::OSD),
        old.get(EntityType::OSD)
    );

    let due = later(54 * HOUR);
    let message = at(dice, due, |cx| client.renew(cx)).unwrap().unwrap();
    assert_eq!(message.payload[..2], [0, 1]);
    let (reply, event) = exchange(server, client, dice, due, &message);
    assert_eq!(reply.why, None);
    assert!(matches!(event, Ok(SessionEvent::Tickets(_))));
    // The ticket is sealed once more: the byte behind the principal's half says so.
    let half = 6 + 1 + 4 + 4 + 1;
    let len = u32::from_le_bytes(reply.payload[half..half + 4].try_into().unwrap());
    assert_eq!(reply.payload[half + 4 + len as usize], 1);
    assert_eq!(client.tickets().due(MASK | 32, due), 0);
    assert_ne!(
        client.tickets().get(EntityType::AUTH),
        old.get(EntityType::AUTH)
    );
}

#[test]
fn renewals_after_a_log_in_over_v2() {
    let mut all = cluster(KeyType::Aes256k, KeyType::Aes, &[Mode::SECURE]);
    let mut ours = all.client.client(EntityType::MON);
    let mut theirs = all.mon.server(EntityType::CLIENT);
    let played = play(&mut *ours, &mut *theirs, &mut all.dice, NOW).unwrap();
    all.client.logged_in(&played.client);
    let mut client = all.client.session_after(&played.client).unwrap();
    let mut server = all.mon.session_after(&played.server);
    assert!(server.is_open());
    let dice = &mut all.dice;
    renewals(&mut server, &mut client, dice);
    // A rise of the cluster's epoch makes all tickets useless, and the old one is still shown.
    client.expire_all();
    assert!(
        client
            .tickets()
            .valid(EntityType::AUTH, later(54 * HOUR))
            .is_none()
    );
    let now = later(54 * HOUR);
    let message = at(dice, now, |cx| client.renew(cx)).unwrap().unwrap();
    let (_, event) = exchange(&mut server, &mut client, dice, now, &message);
    let Ok(SessionEvent::Tickets(tickets)) = event else {
        panic!("{event:?}");
    };
    all.client.renewed(&tickets);
    assert!(all.client.tickets().valid(EntityType::OSD, now).is_some());
}

#[test]
fn method_none_and_method_choice() {
    let mon = mon(KeyType::Aes, KeyType::Aes);
    let dice = &mut Dice::new(6);
    let mut server = mon.session();
    let credentials = Credentials::none(admin());
    let mut client = credentials.session();
    let first = client.begin().unwrap();
    let (reply, event) = exchange(&mut server, &mut client, dice, NOW, &first);
    assert_eq!(
        (reply.protocol, reply.result, reply.payload.len()),
        (1, 0, 0)
    );
    assert!(matches!(event, Ok(SessionEvent::LoggedIn(who)) if who.session_key.is_none()));
    assert!(server.is_open());
    assert_eq!(at(dice, NOW, |cx| client.renew(cx)), Ok(None));
    let again = at(dice, NOW, |cx| server.handle(cx, 2, &[0, 1]));
    assert_eq!(again.result, -22);
    assert!(server.is_open());

    // Both can do both: the higher number wins.
    let both = Offers::uniform(&[Method::NONE, Method::CEPHX], &[Mode::CRC]);
    let credentials = Credentials::new(admin(), key(KeyType::Aes, 1, 0)).offers(both);
    let mut client = credentials.session();
    let mut server = mon.session();
    let first = client.begin().unwrap();
    let (reply, _) = exchange(&mut server, &mut client, dice, NOW, &first);
    assert_eq!(reply.protocol, 2);

    // Nothing in common; not begun; nothing to offer.
    mon.edit(|site| site.offers = Offers::uniform(&[Method::CEPHX], &[Mode::CRC]));
    let mut server = mon.session();
    let mut client = Credentials::none(admin()).session();
    let first = client.begin().unwrap();
    let (reply, event) = exchange(&mut server, &mut client, dice, NOW, &first);
    assert_eq!((reply.protocol, reply.result), (0, -95));
    assert!(matches!(event, Err(AuthError::Refused { result: -95, .. })));
    assert_eq!(
        at(dice, NOW, |cx| mon.session().handle(cx, 2, &[0, 1])).result,
        -22
    );
    let none = Identity {
        key: None,
        ..identity(KeyType::Aes)
    };
    let mut client = Session::new(none, &[Method::CEPHX]);
    assert_eq!(client.begin(), Err(AuthError::NoKey(admin())));
    let unasked = at(dice, NOW, |cx| client.handle_reply(cx, (2, 0), 1, &[]));
    assert!(matches!(unasked, Err(AuthError::Misbehaved(_))));
}

#[test]
fn unknown_requests() {
    let mon = mon(KeyType::Aes, KeyType::Aes);
    let dice = &mut Dice::new(8);
    let mut server = mon.session();
    let mut client = Session::new(identity(KeyType::Aes), &[Method::CEPHX]);
    log_in(&mut server, &mut client, dice);
    let mut ask = |payload: &[u8]| at(dice, NOW, |cx| server.handle(cx, 2, payload));
    assert_eq!(ask(&[0, 8]).result, -22);
    assert_eq!(ask(&[0]).result, -13);
    // A client has no service whose secrets it could fetch.
    assert_eq!(ask(&[0, 4]).result, -13);
    // None of the services asked for has a secret; the mask may have any bits.
    let key = key(KeyType::Aes, 1, 0);
    let login = LogInClient::resumed(admin(), key, client.tickets(), MASK, 1);
    for (mask, result) in [
        (0, -13),
        (32, -13),
        (8, -13),
        (0x8000_0000, -13),
        (u32::MAX, 0),
    ] {
        let asked = at(&mut Dice::new(1), NOW, |cx| login.request_tickets(cx, mask)).unwrap();
        let reply = ask(&asked);
        assert_eq!(reply.result, result, "{mask:#x}");
        if result != 0 {
            assert_eq!(reply.payload, unhex("0002 f3ffffff"));
        }
    }
    // They are still there afterwards.
    let message = at(dice, later(HOUR), |cx| client.renew(cx))
        .unwrap()
        .unwrap();
    let (_, event) = exchange(&mut server, &mut client, dice, later(HOUR), &message);
    assert!(event.is_ok());
}

/// A service that the monitor has no tickets for is asked for once, and not without end.
#[test]
fn services_that_are_not_there() {
    for missing in [EntityType::MGR.0, 0] {
        let mon = mon(KeyType::Aes, KeyType::Aes);
        let dice = &mut Dice::new(11);
        mon.edit(|site| {
            at(dice, NOW, |cx| site.secrets.rotate(cx));
            let all = [
                EntityType::MON,
                EntityType::OSD,
                EntityType::MDS,
                EntityType::MGR,
            ];
            let kept = all.map(|service| (service, site.secrets.of(service).to_vec()));
            let auth = site.secrets.of(EntityType::AUTH).to_vec();
            site.secrets = async_messenger::auth::cephx::ServiceSecrets::fixed();
            site.secrets.set(EntityType::AUTH, auth);
            for (service, secrets) in kept {
                if missing != 0 && service.0 != missing {
                    site.secrets.set(service, secrets);
                }
            }
        });
        let mut server = mon.session();
        let mut client = Session::new(identity(KeyType::Aes), &[Method::CEPHX]);
        log_in(&mut server, &mut client, dice);
        assert!(client.tickets().get(EntityType::MGR).is_none());
        let message = at(dice, NOW, |cx| client.renew(cx)).unwrap().unwrap();
        assert_eq!(message.payload[..2], [0, 2]);
        let (reply, event) = exchange(&mut server, &mut client, dice, NOW, &message);
        assert_eq!(reply.result, -13);
        assert!(matches!(event, Err(AuthError::Refused { result: -13, .. })));
        assert_eq!(at(dice, NOW, |cx| client.renew(cx)), Ok(None));
    }
}

#[test]
fn daemons_fetch_their_secrets() {
    let mon = mon(KeyType::Aes, KeyType::Aes256k);
    let name = AuthName::new(EntityType::OSD, "0");
    let own = key(KeyType::Aes256k, 0x70, 0);
    mon.edit(|site| site.keyring.insert(name.clone(), own.clone(), &ALLOW[..1]));
    let who = Identity {
        name,
        key: Some(own),
        ..Identity::default()
    };
    let mut client = Session::new(who, &[Method::CEPHX]);
    let mut server = mon.session();
    let dice = &mut Dice::new(9);
    log_in(&mut server, &mut client, dice);
    let message = client.fetch_secrets().unwrap();
    let (_, event) = exchange(&mut server, &mut client, dice, NOW, &message);
    let Ok(SessionEvent::Secrets(secrets)) = event else {
        panic!("{event:?}");
    };
    assert_eq!(secrets.len(), 3);
    let wanted = mon.edit(|site| site.secrets.of(EntityType::OSD).to_vec());
    assert_eq!(secrets, wanted);
    let mut osd = Site::new(EntityType::OSD, Keyring::new());
    osd.secrets = async_messenger::auth::cephx::ServiceSecrets::fixed();
    assert!(osd.secrets.is_due(EntityType::OSD, NOW));
    osd.secrets.set(EntityType::OSD, secrets);
    assert!(!osd.secrets.is_due(EntityType::OSD, NOW));
    assert!(osd.secrets.is_due(EntityType::OSD, later(HOUR)));
}

/// The table of cephx §8.2.
#[test]
fn numbers_that_are_asked_for_again() {
    let mon = mon(KeyType::Aes, KeyType::Aes);
    let dice = &mut Dice::new(10);
    let mut first = Session::new(identity(KeyType::Aes), &[Method::CEPHX]);
    log_in(&mut mon.session(), &mut first, dice);
    let held = first.tickets().clone();
    assert_eq!(held.global_id, 4100);

    let mut try_with = |global_id: u64, auth: Option<&Tickets>, version: u8, insecure: bool| {
        mon.edit(|site| site.allow_insecure_reclaim = insecure);
        let mut who = identity(KeyType::Aes);
        who.tickets = auth.cloned().unwrap_or_default();
        who.tickets.global_id = global_id;
        let mut server = mon.session();
        let mut client = Session::new(who, &[Method::CEPHX]);
        let mut message = client.begin().unwrap();
        // By itself it does not ask for a number that it cannot show a ticket for.
        let claim = message.payload.len() - 8;
        message.payload[claim..].copy_from_slice(&global_id.to_le_bytes());
        let (_, event) = exchange(&mut server, &mut client, dice, NOW, &message);
        let Ok(SessionEvent::Send(mut proof)) = event else {
            panic!("{event:?}");
        };
        // Behind the number of the request.
        proof.payload[2] = version;
        let (reply, event) = exchange(&mut server, &mut client, dice, NOW, &proof);
        assert_eq!(reply.result == 0, event.is_ok(), "{event:?}");
        (reply.result, reply.global_id)
    };
    // New, without and with a ticket.
    assert_eq!(try_with(0, None, 3, true), (0, 4101));
    assert_eq!(try_with(0, Some(&held), 3, true).0, -22);
    // Again, with the right ticket; without; with another one's; with one that does not open.
    assert_eq!(try_with(4100, Some(&held), 3, true), (0, 4100));
    assert_eq!(try_with(4100, Some(&held), 2, false), (0, 4100));
    let mut damaged = held.get(EntityType::AUTH).unwrap().clone();
    damaged.blob.sealed[20] ^= 1;
    damaged.blob.secret_id += 40;
    let mut damaged_held = held.clone();
    damaged_held.insert(damaged);
    for (number, shown) in [
        (4100, None),
        (4101, Some(&held)),
        (4100, Some(&damaged_held)),
    ] {
        assert_eq!(try_with(number, shown, 3, true).0, -13);
        assert_eq!(try_with(number, shown, 2, false).0, -13);
        assert_eq!(try_with(number, shown, 2, true), (0, number));
    }
}

/// A client that was challenged by one and comes back to another session keeps its number.
#[test]
fn a_client_comes_back() {
    let mut all = cluster(KeyType::Aes256k, KeyType::Aes256k, &[Mode::SECURE]);
    let first = all.log_in(NOW);
    let second = all.log_in(later(10));
    assert_eq!(first.global_id, second.global_id);
    assert_ne!(first.session_key, second.session_key);
    // After the monitor has lost all its secrets it has to begin anew.
    all.mon.edit(|site| {
        let kind = KeyType::Aes256k;
        let hour = async_messenger::auth::SERVICE_TTL;
        site.secrets = async_messenger::auth::cephx::ServiceSecrets::new(kind, hour, hour);
    });
    let mut ours = all.client.client(EntityType::MON);
    let mut theirs = all.mon.server(EntityType::CLIENT);
    assert!(play(&mut *ours, &mut *theirs, &mut all.dice, NOW).is_err());
    all.client.forget();
    let third = all.log_in(later(20));
    assert_ne!(first.global_id, third.global_id);
}
