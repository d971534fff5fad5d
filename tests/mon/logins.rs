//! Logging in by cephx, and tickets that are renewed while the session stands.

use std::time::Duration;

use async_messenger::auth::cephx::ServiceSecrets;
use async_messenger::auth::{KeyType, Keyring, Method, Mode, Offers, Site};
use async_messenger::mon::{Client, Settings};
use async_messenger::wire::EntityType;
use async_messenger::{Authority, Credentials, ErrorKind};

use super::peers::{DEADLINE, Msgr, eventually, msgr};
use super::server::{Act, Mon};
use super::{admin, check, client, client_as, settings};

const KEY: &str = "AQBSBgZmAAAAABAA3X1kTQkzmYkGTGgEjLJ9hA==";
const OTHER_KEY: &str = "AQBSBgZmAAAAABAA3X1kTQkzmYkGTGgEjLJ9hQ==";

fn keyring(key: &str) -> Keyring {
    let text = format!(
        "[client.admin]\nkey = {key}\ncaps mon = \"allow *\"\ncaps osd = \"allow *\"\n\
         caps mgr = \"allow *\"\n"
    );
    Keyring::parse(&text).expect("a keyring")
}

/// By cephx only, in the mode that is tested.
fn offers() -> Offers {
    let mode = match msgr() {
        Msgr::V2Secure => Mode::SECURE,
        _ => Mode::CRC,
    };
    Offers::uniform(&[Method::CEPHX], &[mode])
}

fn site() -> Site {
    let mut site = Site::new(EntityType::MON, keyring(KEY));
    site.offers = offers();
    site
}

fn login(key: &str, settings: Settings) -> Client {
    let who = Credentials::from_keyring(&keyring(key), admin()).expect("it has the key");
    client_as(who.offers(offers()), settings)
}

#[test]
fn a_key_opens_a_session_and_brings_tickets() {
    let mon = Mon::start(Authority::new(site()), &[]);
    let client = login(KEY, settings(&[&mon.addrs]));
    check(&client);
    let credentials = client.messenger().credentials();
    let tickets = credentials.tickets();
    assert_ne!(tickets.global_id, 0);
    for service in [
        EntityType::AUTH,
        EntityType::MON,
        EntityType::OSD,
        EntityType::MGR,
    ] {
        assert!(tickets.get(service).is_some(), "{service}");
    }
    mon.end();
}

#[test]
fn the_wrong_key_or_none_is_refused() {
    let mon = Mon::start(Authority::new(site()), &[]);
    let wrong = login(OTHER_KEY, settings(&[&mon.addrs]));
    let error = wrong.session(DEADLINE).wait().expect_err("a wrong key");
    assert_eq!(error.kind(), ErrorKind::Denied);
    let text = error.to_string();
    assert!(text.contains("-13"), "{text}");
    assert!(!text.contains(&OTHER_KEY[10..]), "{text}");

    let keyless = client(settings(&[&mon.addrs]));
    let error = keyless.session(DEADLINE).wait().expect_err("no key");
    assert_eq!(error.kind(), ErrorKind::Denied);
    let text = error.to_string();
    assert!(text.contains("cephx"), "{text}");
    mon.end();
}

#[test]
fn tickets_are_renewed_before_they_expire() {
    let ttl = Duration::from_millis(400);
    let mut site = site();
    site.secrets = ServiceSecrets::new(KeyType::Aes, 2 * ttl, ttl);
    let mon = Mon::start(Authority::new(site), &[]);
    let client = login(
        KEY,
        Settings {
            keepalive_interval: Duration::from_millis(20),
            ..settings(&[&mon.addrs])
        },
    );
    client.session(DEADLINE).wait().expect("a session");
    let held = |service| {
        let tickets = client.messenger().credentials().tickets();
        let ticket = tickets.get(service).expect("it has one");
        (ticket.blob.clone(), ticket.expires())
    };
    for service in [EntityType::OSD, EntityType::AUTH, EntityType::OSD] {
        let (blob, expires) = held(service);
        eventually("another ticket", || held(service).0 != blob);
        assert!(held(service).1 > expires, "{service}");
    }
    assert_eq!(client.sessions(), 1, "all on one session");
    check(&client);
    mon.end();
}

#[test]
fn who_is_not_believed_its_number_logs_in_as_somebody_new() {
    let site = || Site {
        allow_insecure_reclaim: false,
        ..site()
    };
    let authority = Authority::new(site());
    let mon = Mon::start(authority.clone(), &[Act::Answer, Act::HangUp]);
    let client = login(KEY, settings(&[&mon.addrs]));
    check(&client);
    let first = client.messenger().credentials().tickets().global_id;
    // The monitors have lost their secrets, so that they cannot read the old ticket.
    authority.edit(|held| {
        *held = Site {
            next_global_id: first + 10,
            ..site()
        };
    });
    check(&client);
    let second = client.messenger().credentials().tickets().global_id;
    assert_eq!(second, first + 10);
    assert_eq!(client.sessions(), 2);

    // And with the secrets in place the number is kept.
    mon.script_acts(&[Act::HangUp]);
    check(&client);
    assert_eq!(client.sessions(), 3);
    let third = client.messenger().credentials().tickets().global_id;
    assert_eq!(third, second);
    mon.end();
}
