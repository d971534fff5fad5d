//! Real clients that are not let in, and what both sides say of it; and what a client of ours gets
//! of the server before it has logged in.

use std::process::Command;

use async_messenger::message::{Message, Payload};
use async_messenger::messages::{
    AUTH_NONE, AuthOffer, MAuth, MAuthReply, MMonCommand, MMonGetMap, MMonMap, MMonSubscribe, MPing,
};
use async_messenger::wire::{AddrVec, EntityType};
use async_messenger::{Credentials, Messenger};

use super::ceph::{Finished, Server, client, or_skip, run};
use super::peers::Inbox;
use super::rules::{admin, client_with};
use super::{
    CONNECT, DEADLINE, KEY, Place, V1, V2, WRONG_KEY, Way, ceph_status, drivers, log, python,
    serve, way,
};

/// Runs `ceph -s` and librados, which both have to fail with this text.
fn assert_refused(conf: &str, way: Way, error: &str) {
    for finished in [ceph_status(conf), run(python(conf, CONNECT), DEADLINE)] {
        assert!(
            !matches!(finished.code, Some(0) | None),
            "{way:?}: {finished}"
        );
        assert!(finished.stderr.contains(error), "{way:?}: {finished}");
    }
}

/// The line of a server's log that says why somebody was not let in.
#[track_caller]
fn assert_logged(mut server: Server, words: &[&str]) {
    assert!(server.is_up(), "{}", server.end());
    let said = server.end();
    let told = said
        .lines()
        .any(|line| line.contains("not let in") && words.iter().all(|word| line.contains(word)));
    assert!(told, "no line with {words:?} in:\n{said}");
    log::assert_no_key(&said, &[KEY, WRONG_KEY]);
}

const WITH_KEYS: [Way; 3] = [
    way(V1, "cephx", "crc"),
    way(V2, "cephx", "crc"),
    way(V2, "cephx", "secure"),
];

#[test]
fn a_wrong_key_is_permission_denied() {
    if or_skip(client()).is_none() {
        return;
    }
    let place = Place::new();
    let keyring = place.keyring("client.admin", KEY);
    let wrong = place.keyring("client.admin", WRONG_KEY);
    for driver in drivers() {
        for way in WITH_KEYS {
            let (server, address) = serve(&driver, way, &keyring);
            let conf = place.conf(&address, way, &wrong);
            assert_refused(&conf, way, "[errno 13]");
            let phase = match way.bind {
                V1 => "phase=\"log-in\"",
                _ => "phase=AUTH_ACCEPTING_MORE",
            };
            let peer = format!("peer={}", &way.bind[..13]);
            assert_logged(server, &[&peer, phase, "client.admin showed a proof"]);
        }
    }
}

/// It has the right key for a name, and the server no such name; or the name may do nothing.
#[test]
fn an_unknown_name_and_one_without_caps_are_permission_denied() {
    if or_skip(client()).is_none() {
        return;
    }
    let place = Place::new();
    let theirs = place.keyring("client.admin", KEY);
    let stranger = place.keyring("client.other", KEY);
    let text = format!("[client.admin]\nkey = {KEY}\n");
    let bare = place.write("bare", &text);
    for driver in drivers() {
        for way in WITH_KEYS {
            for (keyring, why) in [
                (&stranger, "there is no key for client.admin"),
                (&bare, "client.admin has no caps for mon"),
            ] {
                let (server, address) = serve(&driver, way, keyring);
                let conf = place.conf(&address, way, &theirs);
                assert_refused(&conf, way, "[errno 13]");
                assert_logged(server, &[why]);
            }
        }
    }
}

/// Methods, and modes of v2, that have nothing in common.
#[test]
fn what_the_server_does_not_take_is_refused() {
    if or_skip(client()).is_none() {
        return;
    }
    let place = Place::new();
    let keyring = place.keyring("client.admin", KEY);
    let cases = [
        (way(V2, "cephx", "crc"), "cephx", "secure", "modes"),
        (way(V2, "cephx", "secure"), "cephx", "crc", "modes"),
        (way(V1, "cephx", "crc"), "none", "crc", "methods"),
        (way(V2, "cephx", "crc"), "none", "crc", "method none"),
        (way(V1, "none", "crc"), "cephx", "crc", "methods"),
        (way(V2, "none", "crc"), "cephx", "crc", "method cephx"),
    ];
    for driver in drivers() {
        for (takes, auth, mode, why) in cases {
            let (server, address) = serve(&driver, takes, &keyring);
            let wants = Way {
                auth,
                mode,
                ..takes
            };
            let conf = place.conf(&address, wants, &keyring);
            // Each version of a client has its own words for it.
            assert_refused(&conf, takes, "error connecting to the cluster");
            assert_logged(server, &[why]);
        }
    }
}

/// What was asked before logging in, but for the ping, is as if it had not been asked.
#[test]
fn on_v1_nothing_but_a_ping_is_answered_before_the_log_in() {
    let place = Place::new();
    let keyring = place.keyring("client.admin", KEY);
    for driver in drivers() {
        for (way, result) in [(way(V1, "none", "crc"), 0), (way(V1, "cephx", "crc"), -95)] {
            let (_server, address) = serve(&driver, way, &keyring);
            let (messenger, inbox) = client_with(Credentials::none(admin()));
            let addrs: AddrVec = address.parse().expect("an address");
            let to = messenger.connect(EntityType::MON, &addrs).expect("started");
            let send = |message: Message| to.send(message).expect("room");
            send(Message::from_payload(&MMonGetMap, 0));
            send(Message::from_payload(&MMonSubscribe::default(), 0));
            let status = MMonCommand {
                command: vec![r#"{"prefix":"status"}"#.into()],
                ..MMonCommand::default()
            };
            send(Message::from_payload(&status, 0).with_tid(3));
            send(Message::from_payload(&MPing::default(), 0));
            assert_eq!(inbox.message().1.kind(), MPing::KIND, "{way:?}");
            send(Message::from_payload(&offer(), 0));
            let reply: MAuthReply = inbox.message().1.decode().expect("a reply");
            assert_eq!(reply.result, result, "{way:?}");
            send(Message::from_payload(&MMonGetMap, 0));
            send(Message::from_payload(&MPing::default(), 0));
            // The map that comes with the log-in, and the one that was asked for; or neither.
            let maps = if result == 0 { 2 } else { 0 };
            assert_eq!(maps_before_ping(&inbox), maps, "{way:?}");
            end(messenger);
        }
    }
}

fn offer() -> MAuth {
    MAuth::offering(&AuthOffer {
        methods: vec![AUTH_NONE],
        name: admin(),
        global_id: 0,
    })
}

fn maps_before_ping(inbox: &Inbox) -> usize {
    let kinds = std::iter::repeat_with(|| inbox.message().1.kind());
    let before = kinds.take_while(|kind| *kind != MPing::KIND);
    before
        .inspect(|kind| assert_eq!(*kind, MMonMap::KIND))
        .count()
}

fn end(messenger: Messenger) {
    messenger.shutdown();
    messenger.wait().expect("ends in time");
}

#[test]
fn wrong_usage_is_told_apart() {
    let place = Place::new();
    let keyring = place.keyring("client.admin", KEY);
    let broken = place.write("broken", &format!("[client.admin]\nkey = {}\n", &KEY[..30]));
    for (args, says) in [
        (&["v2:0.0.0.0:0"][..], "ip of this host"),
        (&["127.0.0.1:0"], "v1:IP:PORT"),
        (&[V2, "--auth", "cephx"], "--keyring"),
        (&[V2, "--mode", "secure"], "--auth cephx"),
        (
            &[
                V2,
                "--auth",
                "none",
                "--mode",
                "secure",
                "--keyring",
                &keyring,
            ],
            "--auth cephx",
        ),
        (&[V2, "--auth", "gss"], "cephx and none"),
        (&[V2, "--mode", "plain"], "crc and secure"),
        (&[V2, "--keyring", "/no/such/file"], "/no/such/file"),
        (&[V2, "--keyring", &broken], "line 2"),
    ] {
        let mut msgr = Command::new(env!("CARGO_BIN_EXE_msgr"));
        msgr.args(["serve", "--mon"]).args(args);
        let failed: Finished = run(msgr, DEADLINE).expect_code(2);
        assert!(failed.stderr.contains(says), "no {says:?}: {failed}");
        assert!(!failed.stderr.contains(&KEY[16..30]), "{failed}");
    }
}
