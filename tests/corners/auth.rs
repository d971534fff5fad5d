//! Peers that break the rules of authentication.

use async_messenger::auth::cephx::{LogInClient, ServiceSecrets, Tickets};
use async_messenger::auth::{
    AUTH_TTL, AuthAnswer, AuthClient, AuthError, AuthRefusal, AuthRequest, KeyType, Keyring,
    Method, Mode, Offers, SECTIONS_MAX, SERVICE_TTL, Site,
};
use async_messenger::wire::{AuthName, EntityType};
use async_messenger::{Authority, Credentials};

use super::{key, with_cx};

fn admin() -> AuthName {
    AuthName::new(EntityType::CLIENT, "admin")
}

fn offers(methods: &[Method], modes: &[Mode]) -> Offers {
    Offers::uniform(methods, modes)
}

fn with_key() -> Credentials {
    let credentials = Credentials::new(admin(), key(KeyType::Aes, 7));
    credentials.offers(offers(
        &[Method::CEPHX, Method::NONE],
        &[Mode::CRC, Mode::SECURE],
    ))
}

fn misbehaved<T: std::fmt::Debug>(result: Result<T, AuthError>, text: &str) {
    let error = result.expect_err(text);
    assert!(matches!(error, AuthError::Misbehaved(_)), "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

fn refusal(method: Method) -> AuthRefusal {
    AuthRefusal {
        method,
        result: -95,
        methods: vec![Method::NONE],
        modes: vec![Mode::CRC],
    }
}

#[test]
fn answers_without_a_question() {
    let mut client = with_key().client(EntityType::MON);
    misbehaved(
        with_cx(|cx| client.refused(cx, &refusal(Method::CEPHX))),
        "it refuses what was not asked",
    );
    misbehaved(
        with_cx(|cx| client.more(cx, b"")),
        "it challenges a second time",
    );
    misbehaved(
        with_cx(|cx| client.done(cx, 1, Mode::CRC, b"")),
        "a mode that was not asked for",
    );
}

#[test]
fn nothing_to_prove_and_nothing_to_encrypt_with() {
    let none = Credentials::none(admin());
    let none = none.offers(offers(&[Method::NONE], &[Mode::CRC]));
    let begun = || -> Box<dyn AuthClient> {
        let mut client = none.client(EntityType::MON);
        with_cx(|cx| client.begin(cx)).expect("none needs nothing");
        client
    };
    let challenged = with_cx(|cx| begun().more(cx, b"prove it"));
    misbehaved(challenged, "it challenges a peer that has nothing to prove");
    let mode = with_cx(|cx| begun().done(cx, 1, Mode::SECURE, b""));
    misbehaved(mode, "a mode that was not asked for");
}

#[test]
fn no_method_that_can_be_used() {
    for (credentials, wanted) in [
        (
            Credentials::none(admin()).offers(offers(&[Method::CEPHX], &[Mode::CRC])),
            "key",
        ),
        (
            Credentials::none(admin()).offers(offers(&[Method(4)], &[Mode::CRC])),
            "none of the configured methods can be used",
        ),
        (
            Credentials::none(admin()).offers(offers(&[Method::NONE], &[Mode::SECURE])),
            "none of the configured modes goes with method none",
        ),
    ] {
        let mut client = credentials.client(EntityType::MON);
        let error = with_cx(|cx| client.begin(cx))
            .expect_err(wanted)
            .to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// A monitor with a keyring that takes nothing but what it is told to.
fn monitor(methods: &[Method]) -> Authority {
    let mut keyring = Keyring::new();
    keyring.insert(
        admin(),
        key(KeyType::Aes, 7),
        &[(EntityType::MON, "allow *")],
    );
    let mut site = Site::new(EntityType::MON, keyring);
    site.offers = offers(methods, &[Mode::CRC, Mode::SECURE]);
    Authority::new(site)
}

fn ask(server: &Authority, peer: EntityType, method: Method, payload: &[u8]) -> AuthAnswer {
    let request = AuthRequest {
        method,
        modes: vec![Mode::CRC],
        payload: payload.to_vec(),
    };
    with_cx(|cx| server.server(peer).begin(cx, &request))
}

fn refused(answer: AuthAnswer, text: &str) {
    let AuthAnswer::Refused { why, .. } = answer else {
        panic!("let in: {answer:?}")
    };
    assert!(why.to_string().contains(text), "{why}");
}

#[test]
fn names_that_say_something_else_than_hello() {
    let hello = |first: u8, name: &AuthName| {
        let mut payload = vec![first];
        name.encode(&mut payload);
        payload.extend_from_slice(&0_u64.to_le_bytes());
        payload
    };
    let open = monitor(&[Method::NONE, Method::CEPHX]);
    for first in [0, 20, 255] {
        let payload = hello(first, &admin());
        refused(
            ask(&open, EntityType::CLIENT, Method::NONE, &payload),
            "who the peer is",
        );
    }
    // Who says nothing at all is let in where that was asked for, by nothing but none.
    let none = (Method::NONE, &b""[..]);
    refused(
        ask(&open, EntityType::CLIENT, none.0, none.1),
        "who the peer is",
    );
    open.edit(|site| site.allow_nameless = true);
    let AuthAnswer::Done { who, mode, .. } = ask(&open, EntityType::CLIENT, none.0, none.1) else {
        panic!("not let in")
    };
    assert_eq!(
        (who.name.to_string().as_str(), mode),
        ("client.", Mode::CRC)
    );
    let answer = ask(&open, EntityType::CLIENT, Method::CEPHX, b"");
    assert!(matches!(answer, AuthAnswer::Refused { .. }), "{answer:?}");
    open.edit(|site| site.offers = offers(&[Method::CEPHX], &[Mode::CRC]));
    refused(
        ask(&open, EntityType::CLIENT, none.0, none.1),
        "method none is not taken",
    );
    // It is a client by its HELLO, where none is taken, and another thing by its name.
    let mut site = Site::new(EntityType::MON, Keyring::new());
    site.offers = offers(&[Method::CEPHX], &[Mode::CRC]);
    site.offers.service_methods = vec![Method::NONE, Method::CEPHX];
    let picky = Authority::new(site);
    let mon = AuthName::new(EntityType::MON, "a");
    let payload = hello(10, &mon);
    let answer = ask(&picky, EntityType::CLIENT, Method::NONE, &payload);
    refused(answer, "method none is not taken from mon.a");
    let mut site = Site::new(EntityType::MON, Keyring::new());
    site.offers = offers(&[Method::NONE], &[Mode::CRC]);
    site.offers.service_methods = vec![Method::CEPHX];
    let answer = ask(
        &Authority::new(site),
        EntityType::CLIENT,
        Method::CEPHX,
        &payload,
    );
    refused(answer, "method cephx is not taken from mon.a");
    let long = AuthName::new(EntityType::CLIENT, "x".repeat(100_000));
    let answer = ask(&open, EntityType::CLIENT, Method::CEPHX, &hello(10, &long));
    refused(answer, "the name is too long");
}

#[test]
fn monitors_challenge_once_and_give_a_number() {
    let tickets = Tickets::default();
    let mut login = LogInClient::new(admin(), key(KeyType::Aes, 7), &tickets, 0);
    assert_eq!(login.hello()[0], 10);
    let mut challenge = vec![1];
    challenge.extend_from_slice(&99_u64.to_le_bytes());
    with_cx(|cx| login.prove(cx, &challenge)).expect("a challenge");
    let again = with_cx(|cx| login.prove(cx, &challenge));
    misbehaved(again, "the monitor challenges a second time");
    misbehaved(
        with_cx(|cx| login.finish(cx, 0, b"")),
        "the monitor gave no number",
    );
}

#[test]
fn sessions_by_messages_keep_to_what_was_offered() {
    let none = Credentials::none(admin()).offers(offers(&[Method::NONE], &[Mode::CRC]));
    let mut session = none.session();
    session.begin().expect("an offer");
    let chosen = with_cx(|cx| session.handle_reply(cx, (2, 0), 5, b""));
    misbehaved(chosen, "the monitor chose a method that was not offered");
    let mut offer = vec![1];
    offer.extend_from_slice(&1000_u32.to_le_bytes());
    offer.extend_from_slice(&[1, 0, 0, 0].repeat(1000));
    let mut server = monitor(&[Method::NONE]).session();
    let reply = with_cx(|cx| server.handle(cx, 0, &offer));
    let why = reply.why.expect("too many").to_string();
    assert!(why.contains("it offers too many methods"), "{why}");
    // Who comes back by none keeps the number that it had.
    let mut offer = vec![1];
    offer.extend_from_slice(&1_u32.to_le_bytes());
    offer.extend_from_slice(&Method::NONE.0.to_le_bytes());
    admin().encode(&mut offer);
    offer.extend_from_slice(&4711_u64.to_le_bytes());
    let mut server = monitor(&[Method::NONE]).session();
    let reply = with_cx(|cx| server.handle(cx, 0, &offer));
    assert_eq!(reply.who.expect("let in").global_id, 4711);
}

#[test]
fn keyrings_have_a_limit() {
    let sections =
        |count: usize| -> String { (0..count).map(|i| format!("[client.{i}]\n")).collect() };
    let text = format!("[global]\nfsid = x\n{}", sections(SECTIONS_MAX + 1));
    let error = Keyring::parse(&text).expect_err("one too many").to_string();
    assert!(error.contains("there are too many sections"), "{error}");
}

#[test]
fn lifetimes_of_secrets_can_be_changed() {
    use std::time::Duration;
    let mut secrets = ServiceSecrets::new(KeyType::Aes, AUTH_TTL, SERVICE_TTL);
    secrets.set_ttl(Duration::from_secs(60), Duration::from_secs(30));
    assert_eq!(secrets.ttl(EntityType::AUTH), Duration::from_secs(60));
    assert_eq!(secrets.ttl(EntityType::OSD), Duration::from_secs(30));
}
