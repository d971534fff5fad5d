//! Clients that break the rules of v2 and of cephx: a server with a keyring says who, in which
//! phase and why, and lets nobody in.

use std::sync::Arc;

use async_messenger::auth::{AuthRefusal, Keyring, Method, Mode, Offers, Site};
use async_messenger::proto::v2::{Control, SIGNATURE_LEN, State, tag};
use async_messenger::proto::{Phase, ProtoError};
use async_messenger::wire::{AuthName, EntityAddr, EntityName, EntityType};
use async_messenger::{
    Authority, ConnectionEvent, Credentials, Error, ErrorKind, Messenger, Policy,
};

use super::peers::{Inbox, Recorder, Seen, config};
use super::wire::*;
use super::{KEY, WRONG_KEY, log};

/// The mask of modes that most tests do not care about.
pub(crate) const ANY: [Mode; 2] = [Mode::SECURE, Mode::CRC];

pub(crate) fn keyring(key: &str) -> Keyring {
    let text =
        format!("[client.admin]\nkey = {key}\ncaps mon = \"allow *\"\ncaps osd = \"allow *\"\n");
    Keyring::parse(&text).expect("a keyring")
}

pub(crate) fn admin() -> AuthName {
    AuthName::new(EntityType::CLIENT, "admin")
}

/// A monitor that lets client.admin in by cephx.
pub(crate) struct Mon {
    pub(crate) messenger: Messenger,
    pub(crate) inbox: Inbox,
    pub(crate) addr: EntityAddr,
}

impl Mon {
    pub(crate) fn start(modes: &[Mode]) -> Self {
        log::keep();
        let mut site = Site::new(EntityType::MON, keyring(KEY));
        site.offers = Offers::uniform(&[Method::CEPHX], modes);
        let messenger = Messenger::builder(EntityName::mon(0))
            .config(config())
            .nonce(0)
            .require_authorizer(false)
            .authority(Authority::new(site))
            .default_policy(Policy::stateless_server(0))
            .build()
            .expect("a messenger");
        let addrs = messenger.bind(&"v2:127.0.0.1:0".parse().expect("an address"));
        let (recorder, inbox) = Recorder::new(true, false);
        messenger
            .add_dispatcher_tail(Arc::<Recorder>::clone(&recorder))
            .expect("not started");
        messenger.start().expect("starts");
        Self {
            messenger,
            inbox,
            addr: addrs.expect("a free port").front(),
        }
    }

    /// Why somebody did not get through the handshake; nobody got through meanwhile.
    pub(crate) fn failed(&self) -> Error {
        self.inbox.find("failed handshake", |seen| match seen {
            Seen::AcceptFailed(error) => Some(error),
            Seen::Message(..) | Seen::Fast(..) => panic!("somebody was let in: {seen:?}"),
            Seen::Event(..) => None,
        })
    }

    pub(crate) fn end(self) {
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
        log::assert_no_key(&log::text(), &[KEY, WRONG_KEY]);
    }
}

/// A client of our own, and what it sees.
pub(crate) fn client(key: &str, modes: &[Mode]) -> (Messenger, Inbox) {
    let credentials = Credentials::from_keyring(&keyring(key), admin()).expect("a key");
    let credentials = credentials.offers(Offers::uniform(&[Method::CEPHX], modes));
    client_with(credentials)
}

pub(crate) fn client_with(credentials: Credentials) -> (Messenger, Inbox) {
    let messenger = Messenger::builder(EntityName::client(-1))
        .config(config())
        .credentials(credentials)
        .build()
        .expect("a messenger");
    let (recorder, inbox) = Recorder::new(false, false);
    messenger
        .add_dispatcher_tail(Arc::<Recorder>::clone(&recorder))
        .expect("not started");
    messenger.start().expect("starts");
    (messenger, inbox)
}

/// Why an attempt of a client of ours failed; it has not been let in meanwhile.
pub(crate) fn refused(inbox: &Inbox) -> Error {
    inbox.find("refusal", |seen| match seen {
        Seen::Event(_, ConnectionEvent::Refused(error) | ConnectionEvent::Reset { error, .. }) => {
            Some(error)
        }
        Seen::Event(_, ConnectionEvent::Ready(_)) | Seen::Fast(..) | Seen::Message(..) => {
            panic!("it was let in: {seen:?}")
        }
        _ => None,
    })
}

/// An error names the peer, the phase and what was wrong, and no key.
#[track_caller]
pub(crate) fn assert_told(error: &Error, peer: Option<EntityAddr>, phase: State, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.phase(), Some(Phase::V2(phase)), "{text}");
    let named = error.peer().expect("it names the peer");
    assert!(peer.is_none_or(|peer| peer == named), "{text}");
    assert!(text.contains(&named.to_string()), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
    log::assert_no_key(&text, &[KEY, WRONG_KEY]);
}

fn bad_method(wire: &mut Wire) -> AuthRefusal {
    match wire.take() {
        Control::AuthBadMethod(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// One that has shown a proof that does not hold, and knows it.
fn refuted(mon: &Mon) -> Wire {
    let mut wire = Wire::connect(mon.addr);
    wire.send(&request(Method::CEPHX, &ANY, log_in("admin")));
    assert!(matches!(wire.take(), Control::AuthReplyMore(_)));
    wire.send(&frame(&Control::AuthRequestMore(proof(0))));
    let refusal = bad_method(&mut wire);
    assert_eq!((refusal.method, refusal.result), (Method::CEPHX, -13));
    wire
}

#[test]
fn nobody_goes_on_after_a_proof_that_did_not_hold() {
    let mon = Mon::start(&ANY);
    let signature = frame(&Control::AuthSignature([0; SIGNATURE_LEN]));
    let message = raw_frame(tag::MESSAGE, &[0; 41]);
    for (next, name) in [
        (signature.clone(), "AUTH_SIGNATURE"),
        (client_ident(mon.addr), "CLIENT_IDENT"),
        (reconnect(), "SESSION_RECONNECT"),
        (
            request(Method::CEPHX, &ANY, log_in("admin")),
            "AUTH_REQUEST",
        ),
        (auth_done(1, 1, 0, b""), "AUTH_DONE"),
        (message, "a message before the session is open"),
    ] {
        let mut wire = refuted(&mon);
        wire.send(&next);
        wire.end();
        assert_told(&mon.failed(), None, State::AuthAcceptingMore, &[name]);
    }
    // All at once, without waiting for the refusal.
    let mut wire = Wire::connect(mon.addr);
    wire.send(&request(Method::CEPHX, &ANY, log_in("admin")));
    let more = frame(&Control::AuthRequestMore(proof(0)));
    wire.send(&[more, signature, client_ident(mon.addr)].concat());
    wire.end();
    assert_told(
        &mon.failed(),
        None,
        State::AuthAcceptingMore,
        &["AUTH_SIGNATURE"],
    );
    // A second proof is not looked at, and there is no end of it but one.
    let mut wire = refuted(&mon);
    for _ in 0..1000 {
        wire.send(&frame(&Control::AuthRequestMore(proof(0))));
    }
    wire.end();
    assert_told(
        &mon.failed(),
        None,
        State::AuthAcceptingMore,
        &["rounds of authentication"],
    );
    let log = log::text();
    let why = "client.admin showed a proof that was not made with its key";
    let told = |line: &&str| line.contains(why) && line.contains("peer=v2:127.0.0.1:");
    let line = log.lines().find(told).expect("the log says who and why");
    assert!(line.contains("phase=AUTH_ACCEPTING_MORE"), "{line}");
    assert!(log.contains("it answers no challenge"), "of a second proof");
    mon.end();
}

#[test]
fn nobody_goes_on_without_authentication() {
    let mon = Mon::start(&ANY);
    for (next, name) in [
        (
            frame(&Control::AuthSignature([0; SIGNATURE_LEN])),
            "AUTH_SIGNATURE",
        ),
        (client_ident(mon.addr), "CLIENT_IDENT"),
        (reconnect(), "SESSION_RECONNECT"),
        (
            frame(&Control::AuthRequestMore(proof(0))),
            "AUTH_REQUEST_MORE",
        ),
    ] {
        let mut wire = Wire::connect(mon.addr);
        wire.send(&next);
        wire.end();
        assert_told(&mon.failed(), None, State::AuthAccepting, &[name]);
    }
    mon.end();
}

/// Method 0 and others that there are not; modes 0 and 3; none at all. Each may be tried again.
#[test]
fn methods_and_modes_that_there_are_not() {
    let mon = Mon::start(&ANY);
    let none = [Mode(0), Mode(3), Mode(u32::MAX)];
    let mut wire = Wire::connect(mon.addr);
    for (method, modes) in [
        (Method(0), &ANY[..]),
        (Method::NONE, &ANY),
        (Method(4), &ANY),
        (Method(u32::MAX), &ANY),
        (Method::CEPHX, &[]),
        (Method::CEPHX, &none),
    ] {
        wire.send(&request(method, modes, log_in("admin")));
        let refusal = bad_method(&mut wire);
        assert_eq!((refusal.method, refusal.result), (method, -95));
        assert_eq!(refusal.methods, [Method::CEPHX]);
        assert_eq!(refusal.modes, ANY);
    }
    wire.send(&client_ident(mon.addr));
    wire.end();
    assert_told(&mon.failed(), None, State::AuthAccepting, &["CLIENT_IDENT"]);
    mon.end();
}

/// Each is refused before anything is allocated for it, or waited for.
#[test]
fn lengths_and_counts_beyond_all_bounds() {
    let mon = Mon::start(&ANY);
    let lens = [0x7fff_ffff_u32, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    for len in lens {
        for (next, name) in [
            (frame_of_len(tag::AUTH_REQUEST, len), "control frame"),
            (frame_of_len(tag::HELLO, len), "control frame"),
            (
                raw_frame(tag::AUTH_REQUEST, &words(&[2, len, 1])),
                "AUTH_REQUEST",
            ),
            (
                raw_frame(tag::AUTH_REQUEST, &words(&[2, 1, 1, len])),
                "AUTH_REQUEST",
            ),
            (
                raw_frame(tag::AUTH_REQUEST, &words(&[2, 1, 1])),
                "AUTH_REQUEST",
            ),
        ] {
            let mut wire = Wire::connect(mon.addr);
            wire.send(&next);
            wire.end();
            assert_told(&mon.failed(), None, State::AuthAccepting, &[name]);
        }
        // In the answer to the challenge, of the frame's and of cephx's own.
        let mut wire = Wire::connect(mon.addr);
        wire.send(&request(Method::CEPHX, &ANY, log_in("admin")));
        assert!(matches!(wire.take(), Control::AuthReplyMore(_)));
        wire.send(&raw_frame(tag::AUTH_REQUEST_MORE, &words(&[len])));
        wire.end();
        let error = mon.failed();
        assert_told(
            &error,
            None,
            State::AuthAcceptingMore,
            &["AUTH_REQUEST_MORE"],
        );
        assert!(matches!(error.protocol(), Some(ProtoError::Malformed(_))));

        let mut wire = Wire::connect(mon.addr);
        wire.send(&request(Method::CEPHX, &ANY, log_in("admin")));
        assert!(matches!(wire.take(), Control::AuthReplyMore(_)));
        wire.send(&frame(&Control::AuthRequestMore(proof(len))));
        assert_eq!(bad_method(&mut wire).result, -13);
        drop(wire);
        assert_eq!(mon.failed().kind(), ErrorKind::Disconnected);

        // The name's.
        let mut payload = log_in("admin");
        payload[5..9].copy_from_slice(&len.to_le_bytes());
        let mut wire = Wire::connect(mon.addr);
        wire.send(&request(Method::CEPHX, &ANY, payload));
        assert_eq!(bad_method(&mut wire).result, -13);
        drop(wire);
        assert_eq!(mon.failed().kind(), ErrorKind::Disconnected);
    }
    mon.end();
}

/// Who wants only encryption gets that or nothing, and the same the other way round.
#[test]
fn modes_that_have_nothing_in_common() {
    for (takes, wants) in [(Mode::CRC, Mode::SECURE), (Mode::SECURE, Mode::CRC)] {
        let mon = Mon::start(&[takes]);
        let (messenger, inbox) = client(KEY, &[wants]);
        let addrs = mon.addr.into();
        messenger
            .connect(EntityType::MON, &addrs)
            .expect("a connection");
        let error = refused(&inbox);
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert_told(
            &error,
            Some(mon.addr),
            State::AuthConnecting,
            &["-95", "modes"],
        );
        messenger.shutdown();
        let log = log::text();
        let why = format!("none of the modes is taken that the peer wants: [\\\"{wants}\\\"]");
        let plain = why.replace('\\', "");
        assert!(
            log.contains(&why) || log.contains(&plain),
            "{why} not in {log}"
        );
        mon.end();
    }
}

#[test]
fn a_wrong_key_and_an_unknown_name() {
    let mon = Mon::start(&ANY);
    let (messenger, inbox) = client(WRONG_KEY, &ANY);
    let addrs = mon.addr.into();
    messenger
        .connect(EntityType::MON, &addrs)
        .expect("a connection");
    let error = refused(&inbox);
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let words = ["permission denied", "keyring"];
    assert_told(&error, Some(mon.addr), State::AuthConnecting, &words);
    messenger.shutdown();

    let text = format!("[client.nobody]\nkey = {KEY}\n");
    let stranger = AuthName::new(EntityType::CLIENT, "nobody");
    let keyring = Keyring::parse(&text).expect("a keyring");
    let (messenger, inbox) =
        client_with(Credentials::from_keyring(&keyring, stranger).expect("a key"));
    messenger
        .connect(EntityType::MON, &addrs)
        .expect("a connection");
    // The same number: who has no key here is not to learn that.
    assert_told(
        &refused(&inbox),
        Some(mon.addr),
        State::AuthConnecting,
        &words,
    );
    messenger.shutdown();
    let log = log::text();
    assert!(log.contains("there is no key for client.nobody"), "{log}");
    mon.end();
}
