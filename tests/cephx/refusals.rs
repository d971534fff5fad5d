//! What is refused although every key in it is right.

use async_messenger::auth::cephx::{LogInClient, Tickets};
use async_messenger::auth::{
    AuthAnswer, AuthClient, AuthRequest, AuthServer, Authenticated, KeyType, Method, Mode, Offers,
};
use async_messenger::wire::{AuthName, EntityType};

use crate::flows::{Cluster, cluster};
use crate::kit::{ALLOW, Failed, NOW, admin, at, key, play};

const OSD_BIT: u32 = 4;

/// Sends the first payload of a log-in, and returns the challenge.
fn hello(server: &mut dyn AuthServer, all: &mut Cluster, mode: Mode, payload: Vec<u8>) -> Vec<u8> {
    let request = AuthRequest {
        method: Method::CEPHX,
        modes: vec![mode],
        payload,
    };
    match at(&mut all.dice, NOW, |cx| server.begin(cx, &request)) {
        AuthAnswer::More(challenge) => challenge,
        other => panic!("no challenge but {other:?}"),
    }
}

/// Logs a name in by hand, asking for these tickets.
fn log_in(
    all: &mut Cluster,
    (name, first): (AuthName, u8),
    mode: Mode,
    wanted: u32,
    alter: impl FnOnce(&mut Vec<u8>),
) -> (LogInClient, AuthAnswer) {
    let mut server = all.mon.server(EntityType::CLIENT);
    let tickets = Tickets::default();
    let mut login = LogInClient::new(name, key(KeyType::Aes, first, 0), &tickets, wanted);
    let challenge = hello(&mut *server, all, mode, login.hello());
    let proof = at(&mut all.dice, NOW, |cx| login.prove(cx, &challenge));
    let mut proof = proof.expect("a challenge");
    alter(&mut proof);
    let answer = at(&mut all.dice, NOW, |cx| server.more(cx, &proof));
    (login, answer)
}

fn let_in(answer: AuthAnswer) -> (Vec<u8>, Authenticated) {
    match answer {
        AuthAnswer::Done { payload, who, .. } => (payload, who),
        other => panic!("not let in but {other:?}"),
    }
}

#[test]
fn a_ticket_without_caps_for_the_service() {
    for kind in [KeyType::Aes, KeyType::Aes256k] {
        let mut all = cluster(kind, kind, &[Mode::CRC]);
        all.mon.edit(|site| {
            let caps = [(EntityType::MON, "allow *")];
            site.keyring.insert(admin(), key(kind, 1, 0), &caps);
        });
        all.log_in(NOW);
        let mut ours = all.client.client(EntityType::OSD);
        let mut theirs = all.osd.server(EntityType::CLIENT);
        let played = play(&mut *ours, &mut *theirs, &mut all.dice, NOW);
        let Err(Failed::Server(refusal, why)) = played else {
            panic!("let in: {played:?}")
        };
        assert_eq!(refusal.result, -13);
        let text = "client.admin has no caps for osd; add them to its section";
        assert!(why.to_string().contains(text), "{why}");
    }
}

#[test]
fn secure_mode_needs_a_place_for_its_secret() {
    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::SECURE]);
    // The mask is at the end of the proof.
    let no_mask = |proof: &mut Vec<u8>| {
        let at = proof.len() - 4;
        proof[at..].fill(0);
    };
    let (_, answer) = log_in(&mut all, (admin(), 1), Mode::SECURE, OSD_BIT, no_mask);
    let AuthAnswer::Refused { why, .. } = answer else {
        panic!("let in: {answer:?}")
    };
    let text = "secure mode needs the mask of other keys";
    assert!(why.to_string().contains(text), "{why}");
}

#[test]
fn secure_mode_is_not_believed_without_a_secret() {
    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::CRC, Mode::SECURE]);
    all.mon
        .edit(|site| site.offers = Offers::uniform(&[Method::CEPHX], &[Mode::CRC]));
    let mut client: Box<dyn AuthClient> = all.client.client(EntityType::MON);
    let mut server = all.mon.server(EntityType::CLIENT);
    let request = at(&mut all.dice, NOW, |cx| client.begin(cx)).expect("a request");
    assert_eq!(request.modes, [Mode::CRC, Mode::SECURE]);
    let challenge = hello(&mut *server, &mut all, Mode::CRC, request.payload);
    let proof = at(&mut all.dice, NOW, |cx| client.more(cx, &challenge)).expect("a proof");
    let (payload, who) = let_in(at(&mut all.dice, NOW, |cx| server.more(cx, &proof)));
    // Somebody on the way writes another mode into it.
    let lied = at(&mut all.dice, NOW, |cx| {
        client.done(cx, who.global_id, Mode::SECURE, &payload)
    });
    let text = lied.expect_err("no secret came").to_string();
    assert!(text.contains("secure mode without a secret"), "{text}");
}

#[test]
fn tickets_are_not_given_for_somebody_else_s_ticket() {
    let mut all = cluster(KeyType::Aes, KeyType::Aes, &[Mode::CRC]);
    let other = AuthName::new(EntityType::CLIENT, "other");
    all.mon.edit(|site| {
        let other = (other.clone(), key(KeyType::Aes, 40, 0));
        site.keyring.insert(other.0, other.1, &ALLOW);
    });
    let (mut ours, answer) = log_in(&mut all, (admin(), 1), Mode::CRC, OSD_BIT, |_| {});
    let (payload, who) = let_in(answer);
    let finished = at(&mut all.dice, NOW, |cx| {
        ours.finish(cx, who.global_id, &payload)
    });
    finished.expect("logged in");
    let asks = at(&mut all.dice, NOW, |cx| ours.request_tickets(cx, OSD_BIT));
    let asks = asks.expect("a request");
    let (_, answer) = log_in(&mut all, (other, 40), Mode::CRC, OSD_BIT, |_| {});
    let (_, theirs) = let_in(answer);
    for (who, refused) in [(who, false), (theirs, true)] {
        let mut session = all.mon.session_after(&who);
        let reply = at(&mut all.dice, NOW, |cx| {
            session.handle(cx, Method::CEPHX.0, &asks)
        });
        let why = reply.why.map(|why| why.to_string()).unwrap_or_default();
        assert_eq!(
            why.contains("the auth ticket is somebody else's"),
            refused,
            "{why}"
        );
        assert_eq!(reply.result < 0, refused);
    }
}
