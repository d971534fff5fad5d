//! Recorded exchanges of real Ceph 16.2.15: our client, given their random numbers, says what
//! theirs said and believes what theirs believed; our server decides as theirs did.

use std::fs;
use std::path::Path;

use async_messenger::auth::cephx::{Authorizer, LogInClient, Tickets};
use async_messenger::auth::{
    AuthAnswer, AuthClient as _, AuthError, AuthRequest, Authenticated, Client, CryptoKey,
    Identity, KeyType, Method, Mode, Offer, Offers, Session, SessionEvent, SignedParts, Signer,
};
use async_messenger::wire::{EntityType, MsgFooter, MsgHeader, Reader};
use async_messenger::{Authority, Credentials};

use crate::kit::{Dice, NOW, admin, at, key, site, unhex};
use crate::vectors::{From, Recorded, load};

const MON_OSD_MGR: u32 = 1 | 4 | 16;

/// The client's key, from the first line of a recording.
fn admin_key(name: &str) -> CryptoKey {
    let text = field(&lines(name)[0], "key.client.admin").unwrap();
    text.parse().unwrap()
}

fn lines(name: &str) -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let text = fs::read_to_string(dir.join(format!("{name}.jsonl"))).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn field(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    let end = rest.find([',', '}'])?;
    Some(rest[..end].trim_matches('"').to_owned())
}

/// The payloads of the frames of one direction, up to the signature: tag and bytes.
fn frames(recorded: &Recorded, from: From) -> Vec<(u8, Vec<u8>)> {
    let stream = recorded.stream(from);
    let mut at = 26;
    let mut out = Vec::new();
    while at < stream.len() {
        let tag = stream[at];
        let len = u32::from_le_bytes(stream[at + 2..at + 6].try_into().unwrap()) as usize;
        if tag == 7 {
            break;
        }
        out.push((tag, stream[at + 32..at + 32 + len].to_vec()));
        // What comes behind these two may be encrypted.
        if tag == 5 || tag == 6 {
            break;
        }
        at += 32 + len + 4;
    }
    out
}

fn payload(frames: &[(u8, Vec<u8>)], tag: u8) -> &[u8] {
    &frames.iter().find(|(t, _)| *t == tag).unwrap().1
}

fn blob(bytes: &[u8]) -> Vec<u8> {
    Reader::new(bytes, "blob").blob().unwrap().to_vec()
}

fn numbers(r: &mut Reader<'_>) -> Vec<u32> {
    let count = r.count(4).unwrap();
    (0..count).map(|_| r.u32().unwrap()).collect()
}

fn request(bytes: &[u8]) -> AuthRequest {
    let mut r = Reader::new(bytes, "request");
    AuthRequest {
        method: Method(r.u32().unwrap()),
        modes: numbers(&mut r).into_iter().map(Mode).collect(),
        payload: r.blob().unwrap().to_vec(),
    }
}

/// The random number in a recorded proof.
fn client_challenge(proof: &[u8]) -> Vec<u8> {
    proof[3..11].to_vec()
}

fn wanted(proof: &[u8]) -> u32 {
    u32::from_le_bytes(proof[proof.len() - 4..].try_into().unwrap()) & !32
}

struct LoggedIn {
    who: Authenticated,
    tickets: Tickets,
}

fn identity(name: &str, wanted: u32) -> Identity {
    Identity {
        name: admin(),
        key: Some(admin_key(name)),
        wanted,
        ..Identity::default()
    }
}

/// Replays a log-in over v2 with our client.
fn log_in_v2(name: &str, recorded: &Recorded, modes: &[Mode]) -> Result<LoggedIn, AuthError> {
    let (ours, theirs) = (
        frames(recorded, From::Client),
        frames(recorded, From::Server),
    );
    let asked = request(payload(&ours, 2));
    let proof = blob(payload(&ours, 5));
    let offer = Offer {
        methods: vec![Method::CEPHX],
        modes: modes.to_vec(),
    };
    let mut client = Client::new(identity(name, wanted(&proof)), EntityType::MON, offer);
    let mut dice = Dice::scripted(vec![client_challenge(&proof)]);
    assert_eq!(at(&mut dice, NOW, |cx| client.begin(cx)).unwrap(), asked);
    let challenge = blob(payload(&theirs, 4));
    let answer = at(&mut dice, NOW, |cx| client.more(cx, &challenge)).unwrap();
    assert_eq!(answer, proof);
    let Some((_, done)) = theirs.iter().find(|(tag, _)| *tag == 6) else {
        let refusal = refusal(payload(&theirs, 3));
        assert_eq!(refusal.result, -13);
        return Err(at(&mut dice, NOW, |cx| client.refused(cx, &refusal)).unwrap_err());
    };
    let mut r = Reader::new(done, "done");
    let (global_id, mode) = (r.u64().unwrap(), Mode(r.u32().unwrap()));
    let who = at(&mut dice, NOW, |cx| {
        client.done(cx, global_id, mode, r.blob().unwrap())
    })?;
    let mut tickets = Tickets::new(global_id);
    for ticket in &who.login.as_ref().unwrap().tickets {
        tickets.insert(ticket.clone());
    }
    Ok(LoggedIn { who, tickets })
}

fn refusal(bytes: &[u8]) -> async_messenger::auth::AuthRefusal {
    let mut r = Reader::new(bytes, "refusal");
    async_messenger::auth::AuthRefusal {
        method: Method(r.u32().unwrap()),
        result: r.i32().unwrap(),
        methods: numbers(&mut r).into_iter().map(Method).collect(),
        modes: numbers(&mut r).into_iter().map(Mode).collect(),
    }
}

/// What both sides agreed on, as the program says that made the recordings.
fn agreed(name: &str, connection: usize) -> (Vec<u8>, Vec<u8>) {
    let lines = lines("v2-secrets");
    let is_it = |line: &&String| {
        field(line, "name").as_deref() == Some(name)
            && field(line, "c") == Some(connection.to_string())
    };
    let line = lines.iter().find(is_it).unwrap();
    let of = |name| unhex(&field(line, name).unwrap());
    (of("session_key"), of("secret"))
}

fn check_agreed(who: &Authenticated, name: &str, connection: usize) {
    let (session_key, secret) = agreed(name, connection);
    let mut bytes = Vec::new();
    who.session_key.as_ref().unwrap().encode(&mut bytes);
    assert_eq!(bytes[12..], session_key, "{name} {connection}");
    assert_eq!(
        who.connection_secret.as_bytes(),
        secret,
        "{name} {connection}"
    );
}

/// The authorizer of a recording, made again: the random number in it is ours to read.
fn authorizer(tickets: &Tickets, theirs: &[u8]) -> Authorizer {
    let ticket = tickets.get(EntityType::OSD).unwrap();
    let opened = ticket.session_key.cipher(0x10).unwrap();
    let sealed = &theirs[theirs.len() - 36..];
    let opened = opened
        .open(&mut Reader::new(sealed, "proof"), "proof")
        .unwrap();
    let mut r = opened.reader();
    assert_eq!(r.u8(), Ok(2));
    let mut dice = Dice::scripted(vec![r.u64().unwrap().to_le_bytes().to_vec()]);
    at(&mut dice, NOW, |cx| {
        Authorizer::new(cx, tickets.global_id, ticket)
    })
}

fn no_dice<R>(f: impl FnOnce(&mut async_messenger::auth::AuthCx<'_>) -> R) -> R {
    at(&mut Dice::scripted(Vec::new()), NOW, f)
}

fn v2(mode: Mode) {
    for what in ["mon", "osd"] {
        let name = format!("v2-{mode}-cephx-{what}");
        let all = load(&name);
        let first = log_in_v2(&name, &all[0], &[mode]).unwrap();
        assert_eq!(first.who.login.as_ref().unwrap().tickets.len(), 1);
        check_agreed(&first.who, &name, 0);
        let held = log_in_v2(&name, &all[1], &[mode]).unwrap();
        assert_eq!(held.who.login.as_ref().unwrap().tickets.len(), 4);
        check_agreed(&held.who, &name, 1);
        if what == "mon" {
            continue;
        }
        let (ours, theirs) = (frames(&all[2], From::Client), frames(&all[2], From::Server));
        let asked = request(payload(&ours, 2));
        let authorizer = authorizer(&held.tickets, &asked.payload);
        assert_eq!(no_dice(|cx| authorizer.first(cx)).unwrap(), asked.payload);
        let challenge = blob(payload(&theirs, 4));
        let answer = no_dice(|cx| authorizer.answer(cx, &challenge)).unwrap();
        assert_eq!(answer, blob(payload(&ours, 5)));
        let done = payload(&theirs, 6);
        let secret = authorizer.verify(&blob(&done[12..])).unwrap();
        let who = Authenticated {
            session_key: Some(authorizer.session_key().clone()),
            connection_secret: secret,
            ..Authenticated::default()
        };
        check_agreed(&who, &name, 2);
    }
}

#[test]
fn v2_crc() {
    v2(Mode::CRC);
}

#[test]
fn v2_secure() {
    v2(Mode::SECURE);
}

/// A monitor of ours that knows the client by `key`.
fn mon(key: &CryptoKey, methods: &[Method], mode: Mode) -> Authority {
    let mut site = site(EntityType::MON, key, KeyType::Aes);
    site.offers = Offers::uniform(methods, &[mode]);
    Authority::new(site)
}

#[test]
fn our_server_lets_their_client_in() {
    for mode in [Mode::CRC, Mode::SECURE] {
        let name = format!("v2-{mode}-cephx-mon");
        for recorded in load(&name).iter().take(2) {
            let ours = frames(recorded, From::Client);
            let theirs = frames(recorded, From::Server);
            let mut server =
                mon(&admin_key(&name), &[Method::CEPHX], mode).server(EntityType::CLIENT);
            let challenge = blob(payload(&theirs, 4));
            let mut dice = Dice::scripted(vec![challenge[1..].to_vec()]);
            let asked = request(payload(&ours, 2));
            let answer = at(&mut dice, NOW, |cx| server.begin(cx, &asked));
            assert_eq!(answer, AuthAnswer::More(challenge));
            let proof = blob(payload(&ours, 5));
            let answer = at(&mut Dice::new(1), NOW, |cx| server.more(cx, &proof));
            assert!(matches!(answer, AuthAnswer::Done { mode: m, .. } if m == mode));
        }
    }
}

#[test]
fn refused_over_v2() {
    // The key.
    let name = "v2-refused-key";
    let recorded = &load(name)[0];
    let why = log_in_v2(name, recorded, &[Mode::CRC]).err().unwrap();
    assert!(
        matches!(why, AuthError::Refused { result: -13, .. }),
        "{why}"
    );
    let (ours, theirs) = (
        frames(recorded, From::Client),
        frames(recorded, From::Server),
    );
    let other = key(KeyType::Aes, 1, 0);
    let mut server = mon(&other, &[Method::CEPHX], Mode::CRC).server(EntityType::CLIENT);
    let challenge = blob(payload(&theirs, 4));
    let mut dice = Dice::scripted(vec![challenge[1..].to_vec()]);
    let asked = request(payload(&ours, 2));
    at(&mut dice, NOW, |cx| server.begin(cx, &asked));
    let proof = blob(payload(&ours, 5));
    let answer = at(&mut Dice::new(1), NOW, |cx| server.more(cx, &proof));
    let AuthAnswer::Refused { refusal: ours, .. } = answer else {
        panic!("let in");
    };
    assert_eq!(ours, refusal(payload(&theirs, 3)));

    // The method, and the mode.
    for name in ["v2-refused-method", "v2-refused-mode"] {
        let recorded = &load(name)[0];
        let (ours, theirs) = (
            frames(recorded, From::Client),
            frames(recorded, From::Server),
        );
        let asked = request(payload(&ours, 2));
        let mut server = mon(&other, &[Method::CEPHX], Mode::CRC).server(EntityType::CLIENT);
        let answer = no_dice(|cx| server.begin(cx, &asked));
        let AuthAnswer::Refused { refusal: told, .. } = answer else {
            panic!("let in");
        };
        assert_eq!(told, refusal(payload(&theirs, 3)), "{name}");
        let credentials = if asked.method == Method::NONE {
            Credentials::none(admin())
        } else {
            let offers = Offers::uniform(&[Method::CEPHX, Method::NONE], &[Mode::SECURE]);
            Credentials::new(admin(), admin_key(name)).offers(offers)
        };
        let mut client = credentials.client(EntityType::MON);
        assert_eq!(no_dice(|cx| client.begin(cx)).unwrap(), asked, "{name}");
        let why = no_dice(|cx| client.refused(cx, &told)).unwrap_err();
        assert!(why.to_string().contains("it takes methods cephx"), "{why}");
    }
}

#[test]
fn none_over_v2() {
    let all = load("v2-crc-none-osd");
    let client = Credentials::none(admin());
    for (recorded, peer) in [(&all[1], EntityType::MON), (&all[2], EntityType::OSD)] {
        let (ours, theirs) = (
            frames(recorded, From::Client),
            frames(recorded, From::Server),
        );
        let asked = request(payload(&ours, 2));
        let mut side = client.client(peer);
        assert_eq!(no_dice(|cx| side.begin(cx)).unwrap(), asked);
        let mut r = Reader::new(payload(&theirs, 6), "done");
        let (global_id, mode) = (r.u64().unwrap(), Mode(r.u32().unwrap()));
        let reply = r.blob().unwrap();
        let who = no_dice(|cx| side.done(cx, global_id, mode, reply)).unwrap();
        client.logged_in(&who);
        let authority = Authority::none(peer);
        authority.edit(|site| site.next_global_id = global_id);
        let answer = no_dice(|cx| authority.server(EntityType::CLIENT).begin(cx, &asked));
        let AuthAnswer::Done { mode, payload, who } = answer else {
            panic!("refused");
        };
        assert_eq!(
            (mode, &payload[..], who.global_id),
            (Mode::CRC, reply, global_id)
        );
    }
}

/// The messages of one direction in v1, from `at` on: header, segments, footer.
struct Framed {
    header: MsgHeader,
    header_crc: u32,
    front: Vec<u8>,
    footer: MsgFooter,
}

fn messages(recorded: &Recorded, from: From, mut at: usize) -> Vec<Framed> {
    let stream = recorded.stream(from);
    let mut out = Vec::new();
    while at < stream.len() {
        at += match stream[at] {
            7 => {
                let Some(head) = stream.get(at + 1..at + 54) else {
                    break;
                };
                let header = MsgHeader::decode(head.try_into().unwrap(), true).unwrap();
                let size = header.size() as usize;
                let Some(footer) = stream.get(at + 54 + size..at + 54 + size + 21) else {
                    break;
                };
                out.push(Framed {
                    header,
                    header_crc: u32::from_le_bytes(head[49..].try_into().unwrap()),
                    front: stream[at + 54..at + 54 + header.front_len as usize].to_vec(),
                    footer: MsgFooter::decode(footer.try_into().unwrap()),
                });
                54 + size + 21
            }
            6 => break,
            8 | 14 | 15 => 9,
            tag => panic!("tag {tag} at {at}"),
        };
    }
    out
}

/// The requests of MAuth: protocol and payload.
fn auth_requests(recorded: &Recorded) -> Vec<(u32, Vec<u8>)> {
    let all = messages(recorded, From::Client, 186);
    let auth = all.iter().filter(|m| m.header.head.kind == 17);
    let read = |m: &Framed| {
        let mut r = Reader::new(&m.front[18..], "auth");
        (r.u32().unwrap(), r.blob().unwrap().to_vec())
    };
    auth.map(read).collect()
}

/// The replies of MAuthReply: protocol, result, number, payload.
fn auth_replies(recorded: &Recorded) -> Vec<((u32, i32), u64, Vec<u8>)> {
    let all = messages(recorded, From::Server, 315);
    let auth = all.iter().filter(|m| m.header.head.kind == 18);
    let read = |m: &Framed| {
        let mut r = Reader::new(&m.front, "auth reply");
        let head = (r.u32().unwrap(), r.i32().unwrap());
        (head, r.u64().unwrap(), r.blob().unwrap().to_vec())
    };
    auth.map(read).collect()
}

/// Replays a log-in over v1 with our client.
fn log_in_v1(name: &str, recorded: &Recorded, mask: u32) -> Result<Session, AuthError> {
    let (ours, theirs) = (auth_requests(recorded), auth_replies(recorded));
    let mut session = Session::new(identity(name, mask), &[Method::CEPHX]);
    let first = session.begin().unwrap();
    assert_eq!((first.protocol, first.payload), ours[0]);
    let mut dice = Dice::scripted(vec![client_challenge(&ours[1].1)]);
    let mut take = |reply: &((u32, i32), u64, Vec<u8>)| {
        at(&mut dice, NOW, |cx| {
            session.handle_reply(cx, reply.0, reply.1, &reply.2)
        })
    };
    let SessionEvent::Send(proof) = take(&theirs[0])? else {
        panic!("no proof");
    };
    assert_eq!((proof.protocol, proof.payload), ours[1]);
    let SessionEvent::LoggedIn(who) = take(&theirs[1])? else {
        panic!("not logged in");
    };
    assert_eq!(who.global_id, theirs[0].1);
    Ok(session)
}

#[test]
fn v1_log_in_and_service_tickets() {
    let name = "v1-cephx-mon";
    let all = load(name);
    log_in_v1(name, &all[0], 0).unwrap();
    let recorded = &all[1];
    let session = log_in_v1(name, recorded, MON_OSD_MGR).unwrap();
    let held = session.tickets();
    assert_eq!(held.due(MON_OSD_MGR | 32, NOW), 0);

    // Then theirs asks for tickets by themselves.
    let (ours, theirs) = (auth_requests(recorded), auth_replies(recorded));
    let asked = &ours[2].1;
    let auth = held.get(EntityType::AUTH).unwrap();
    let sealed = &asked[asked.len() - 5 - 36..asked.len() - 5];
    let cipher = auth.session_key.cipher(0x10).unwrap();
    let opened = cipher
        .open(&mut Reader::new(sealed, "proof"), "proof")
        .unwrap();
    let nonce = opened.reader().bytes(9).unwrap()[1..].to_vec();
    let login = LogInClient::resumed(admin(), admin_key(name), held, MON_OSD_MGR, 1);
    let mask = u32::from_le_bytes(asked[asked.len() - 4..].try_into().unwrap());
    let made = at(&mut Dice::scripted(vec![nonce]), NOW, |cx| {
        login.request_tickets(cx, mask)
    });
    assert_eq!(made.unwrap(), *asked);
    assert_eq!(theirs[2].0, (2, 0));
    let tickets = no_dice(|cx| login.finish_tickets(cx, &theirs[2].2)).unwrap();
    let of: Vec<EntityType> = tickets.iter().map(|ticket| ticket.service).collect();
    assert_eq!(of, [EntityType::MON, EntityType::OSD, EntityType::MGR]);
}

#[test]
fn our_server_decides_as_theirs_over_v1() {
    let other = key(KeyType::Aes, 1, 0);
    for name in ["v1-cephx-mon", "v1-refused-key", "v1-refused-method"] {
        let recorded = &load(name)[0];
        let (ours, theirs) = (auth_requests(recorded), auth_replies(recorded));
        let is_known = name == "v1-cephx-mon";
        let key = if is_known {
            admin_key(name)
        } else {
            other.clone()
        };
        let mon = mon(&key, &[Method::CEPHX], Mode::CRC);
        mon.edit(|site| site.next_global_id = theirs[0].1);
        let mut server = mon.session();
        let script = theirs[0].2.get(1..).map(<[u8]>::to_vec);
        let mut dice = Dice::scripted(script.into_iter().collect());
        let first = at(&mut dice, NOW, |cx| {
            server.handle(cx, ours[0].0, &ours[0].1)
        });
        let told = (
            (first.protocol, first.result),
            first.global_id,
            first.payload,
        );
        assert_eq!(told, theirs[0], "{name}");
        if name == "v1-refused-method" {
            assert_eq!((first.result, first.who), (-95, None));
            continue;
        }
        let second = at(&mut Dice::new(1), NOW, |cx| {
            server.handle(cx, ours[1].0, &ours[1].1)
        });
        let told = ((second.protocol, second.result), second.global_id);
        assert_eq!(told, (theirs[1].0, theirs[1].1), "{name}");
        assert_eq!(second.payload.len(), theirs[1].2.len(), "{name}");
        assert_eq!(second.who.is_some(), is_known);
        assert_eq!(server.is_open(), is_known);
    }
    let name = "v1-refused-key";
    let why = log_in_v1(name, &load(name)[0], 0).err().unwrap();
    assert!(
        why.to_string()
            .contains("check that the key in the keyring"),
        "{why}"
    );
}

#[test]
fn v1_authorizer_and_signatures() {
    let name = "v1-cephx-osd";
    let all = load(name);
    let session = log_in_v1(name, &all[1], MON_OSD_MGR).unwrap();
    // Theirs got new tickets by themselves, and showed one of those.
    let theirs = auth_replies(&all[1]);
    let key = admin_key(name);
    let login = LogInClient::resumed(admin(), key, session.tickets(), MON_OSD_MGR, 1);
    let mut held = session.tickets().clone();
    for ticket in no_dice(|cx| login.finish_tickets(cx, &theirs[2].2)).unwrap() {
        held.insert(ticket);
    }
    let (ours, osd) = (all[2].stream(From::Client), all[2].stream(From::Server));
    let authorizer = authorizer(&held, &ours[178..352]);
    assert_eq!(no_dice(|cx| authorizer.first(cx)).unwrap(), ours[178..352]);
    let answer = no_dice(|cx| authorizer.answer(cx, &osd[307..339])).unwrap();
    assert_eq!(answer, ours[385..559]);
    assert!(authorizer.verify(&osd[365..401]).unwrap().is_empty());

    let signer = Signer::new(authorizer.session_key(), true).unwrap();
    let old = Signer::new(authorizer.session_key(), false).unwrap();
    let mut checked = 0;
    for (from, start) in [(From::Client, 567), (From::Server, 409)] {
        for message in messages(&all[2], from, start) {
            let mut parts = SignedParts {
                header_crc: message.header_crc,
                front_crc: message.footer.front_crc,
                front_len: message.header.front_len,
                middle_crc: message.footer.middle_crc,
                middle_len: message.header.middle_len,
                data_crc: message.footer.data_crc,
                data_len: message.header.data_len,
                seq: message.header.head.seq,
            };
            assert!(signer.verify(&parts, message.footer.sig));
            assert!(!old.verify(&parts, message.footer.sig));
            parts.data_crc ^= 1;
            assert!(!signer.verify(&parts, message.footer.sig));
            checked += 1;
        }
    }
    assert!(checked >= 14, "{checked}");
}
