//! The worked examples of the protocol documents for keys of type 1 (cephx §13), byte for byte.

use async_messenger::auth::cephx::{Authorizer, Presented, ServiceSecrets, Ticket, Verifier};
use async_messenger::auth::{
    AuthAnswer, AuthRequest, Client, CryptoKey, Identity, KeyType, Method, Mode, Offer,
    SignedParts, Signer, Site,
};
use async_messenger::wire::{AuthName, EntityType};
use async_messenger::{Authority, Credentials};

use crate::kit::{Dice, NOW, admin, at, key, range, secret, site, unhex};

pub(crate) const PK: &str = "AQAAEF5fAAAAABAAAAECAwQFBgcICQoLDA0ODw==";
const DONE: &str = "
    00010000 00000101 00000020 00000001
    30000000 f0ba657c 10a9afe1 e791c481 bb27ebc5 abd4e13a 23b0ac40 9388273f
    238992c8 e5a2cdcf c89ad730 262cd4df 5a070860 006d0000 00010200 00000000
    00006000 0000136d f4bfe740 d1416154 4a44810a 3efdb71f 15c88266 132d374f
    ee481faa d724f4a0 a62efcb7 b785711b 9767990a 6221c5d2 946f02db c3cf259f
    38f6c9a2 580798fc 5bf482f5 ce73b5ae 5b25b9ac 113e85b4 4156b843 3abf0541
    9685e395 896a5400 00005000 000066a2 5d61b7f5 1fae8106 af17a0f8 6727a31b
    ae83ca9e 2647d323 c787995f 180e7219 2f2ff9ad 329930bf 3982260b d0010739
    cd4fea14 4395c0ff baf31b9e 048a1493 03c0a8e4 081bae2a 70408b81 15ddc000
    00000101 00000004 00000001 30000000 ea05cebb 2aa16682 501ceaf4 f08793ef
    4cdf0ea6 83b0c4eb 650d36ee a66439c3 bef5b110 f082fe66 0ede7d94 e8354682
    007d0000 00010300 00000000 00007000 00004f66 a65fa214 3f4f9a15 eeda581b
    42af480b 30278982 eb67a021 adf968c8 cce842f4 0a4e9fcb f87cfc15 7cbae6ff
    cf2d18df d8916655 1b51e198 383e3533 0299e6e8 0b79c80c deea3634 96637b37
    b70e7b0b 13366dcf 286fdd75 ae03427e 1c12eec4 bd662052 791c39cc 4da88c13
    76c3";
const AUTHORIZER: &str = "
    01921000 00000000 00040000 00010300 00000000 00007000 00004f66 a65fa214
    3f4f9a15 eeda581b 42af480b 30278982 eb67a021 adf968c8 cce842f4 0a4e9fcb
    f87cfc15 7cbae6ff cf2d18df d8916655 1b51e198 383e3533 0299e6e8 0b79c80c
    deea3634 96637b37 b70e7b0b 13366dcf 286fdd75 ae03427e 1c12eec4 bd662052
    791c39cc 4da88c13 76c32000 0000daf3 fabec85f 8045b5eb 9487016f 4f2a867b
    03ffef62 28f35b93 d0ce7c69 f9d8";
const CHALLENGE: &str = "a67d9332 5ad7ff2a 5ad0588d ce3f7b97 259025a7 a38ca383 1ea9772e 7b90755a";
const ANSWER: &str = "
    20000000 daf3fabe c85f8045 b5eb9487 016f4f2a 6c34d79e ac989fe9 6a664b72 b93dede9";
const REPLY_CRC: &str = "
    20000000 c3ea1ae6 13e5ce79 89369761 fd3e505f d5afbdbb 32160e9c f6f46e49 23316404";
const REPLY_SECURE: &str = "
    60000000 aa7010cb d12ee3b4 13555ab1 e115f367 6f51622f dd749b0a 2d2e5d74
    52e70342 151f7107 13ab570a ea333f95 83d5cf1c 5dd0c7a6 e12b9563 c86e7a77
    fd962ed2 da299f2f 2835cd34 85154522 243a57f8 501f347e ac63f042 afb2de47
    c9b3e706";

pub(crate) const SERVER_CHALLENGE: u64 = 0x1122_3344_5566_7788;
pub(crate) const CLIENT_CHALLENGE: u64 = 0x99AA_BBCC_DDEE_FF00;
pub(crate) const NONCE: u64 = 0x0A0B_0C0D_0E0F_1011;
pub(crate) const DAEMON_CHALLENGE: u64 = 0x2122_2324_2526_2728;

pub(crate) fn le(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

pub(crate) fn secure() -> Offer {
    Offer {
        methods: vec![Method::CEPHX],
        modes: vec![Mode::SECURE, Mode::CRC],
    }
}

/// A client that wants a ticket for OSDs.
pub(crate) fn client(key: &CryptoKey) -> Client {
    let who = Identity {
        name: admin(),
        key: Some(key.clone()),
        wanted: u32::from(EntityType::OSD.0),
        ..Identity::default()
    };
    let offer = Offer {
        modes: vec![Mode::SECURE],
        ..secure()
    };
    Client::new(who, EntityType::MON, offer)
}

fn example_site() -> Site {
    let mut site = site(EntityType::MON, &PK.parse().unwrap(), KeyType::Aes);
    site.secrets = ServiceSecrets::fixed();
    let (ms, os) = (key(KeyType::Aes, 0xf0, 0), key(KeyType::Aes, 0xe0, 0));
    site.secrets.set(EntityType::AUTH, vec![secret(2, ms)]);
    site.secrets.set(EntityType::OSD, vec![secret(3, os)]);
    site.next_global_id = 4242;
    site
}

#[test]
fn key_as_text_and_bytes() {
    let pk: CryptoKey = PK.parse().unwrap();
    assert_eq!(pk, key(KeyType::Aes, 0, 1_600_000_000));
    assert_eq!(pk.to_base64(), PK);
    let mut bytes = Vec::new();
    pk.encode(&mut bytes);
    let wanted = "01000010 5e5f0000 00001000 00010203 04050607 08090a0b 0c0d0e0f";
    assert_eq!(bytes, unhex(wanted));
}

#[test]
fn envelope() {
    let pk: CryptoKey = PK.parse().unwrap();
    let cipher = pk.cipher(4).unwrap();
    let x = 0x0102_0304_0506_0708_u64.to_le_bytes();
    let raw = cipher.seal_raw(&mut |_| {}, |out| out.extend_from_slice(&x));
    let wanted = "7c19a641a749b86101b6faf3208ebe40326a1e67552e7b50b793cd9144c3a7b0";
    assert_eq!(raw, unhex(wanted));
    let sealed = cipher.seal(&mut |_| {}, |out| out.extend_from_slice(&x));
    assert_eq!(sealed, [&[0x20, 0, 0, 0], &raw[..]].concat());
    let opened = cipher.open_raw(&raw, "x").unwrap();
    assert_eq!(opened.reader().u64(), Ok(0x0102_0304_0506_0708));
}

pub(crate) fn parts() -> SignedParts {
    SignedParts {
        header_crc: 0x1111_1111,
        front_crc: 0x2222_2222,
        front_len: 20,
        data_crc: 0x3333_3333,
        data_len: 4096,
        // Only the low half is signed.
        seq: 7 | 1 << 40,
        ..SignedParts::default()
    }
}

#[test]
fn signatures() {
    let ok = key(KeyType::Aes, 0xb0, 0);
    let new = Signer::new(&ok, true).unwrap();
    assert_eq!(new.sign(&parts()), 0x1fac_0140_17c8_8b74);
    assert!(new.verify(&parts(), 0x1fac_0140_17c8_8b74));
    assert!(!new.verify(&parts(), 0x1fac_0140_17c8_8b75));
    let old = Signer::new(&ok, false).unwrap();
    assert_eq!(old.sign(&parts()), 0x6f06_ceaf_be1e_f899);
    assert!(Signer::new(&CryptoKey::default(), true).is_err());
}

#[test]
fn small_payloads() {
    let hello = unhex("0a080000000500000061646d696e0000000000000000");
    let begun = |client: &mut Client| {
        use async_messenger::auth::AuthClient as _;
        at(&mut Dice::new(1), NOW, |cx| client.begin(cx)).unwrap()
    };
    let mut client = client(&PK.parse().unwrap());
    assert_eq!(begun(&mut client).payload, hello);
    let mut who = Identity {
        name: admin(),
        ..Identity::default()
    };
    who.tickets.global_id = 4242;
    let offer = Offer {
        methods: vec![Method::NONE],
        modes: vec![Mode::SECURE, Mode::CRC],
    };
    let request = begun(&mut Client::new(who, EntityType::OSD, offer));
    let wanted = unhex("01080000000500000061646d696e9210000000000000");
    assert_eq!((request.payload, request.modes), (wanted, vec![Mode::CRC]));
}

/// The whole log-in: what our client sends, what our server answers, what our client makes of it.
pub(crate) fn log_in(
    principal: &CryptoKey,
    site: Site,
    server_script: Vec<Vec<u8>>,
) -> (Vec<u8>, Vec<u8>, async_messenger::auth::Authenticated) {
    use async_messenger::auth::AuthClient as _;
    let mut client = client(principal);
    let mut server = Authority::new(site).server(EntityType::CLIENT);
    let mut dice = Dice::scripted(server_script);
    let mut client_dice = Dice::scripted(vec![le(CLIENT_CHALLENGE)]);
    let request = at(&mut client_dice_of_none(), NOW, |cx| client.begin(cx)).unwrap();
    let AuthAnswer::More(challenge) = at(&mut dice, NOW, |cx| server.begin(cx, &request)) else {
        panic!("no challenge");
    };
    assert_eq!(challenge, unhex("018877665544332211"));
    let proof = at(&mut client_dice, NOW, |cx| client.more(cx, &challenge)).unwrap();
    let AuthAnswer::Done { mode, payload, who } = at(&mut dice, NOW, |cx| server.more(cx, &proof))
    else {
        panic!("refused");
    };
    assert!(dice.is_used_up());
    assert_eq!((who.global_id, mode), (4242, Mode::SECURE));
    let done = at(&mut client_dice, NOW, |cx| {
        client.done(cx, 4242, mode, &payload)
    });
    let done = done.unwrap();
    assert_eq!(done.session_key, who.session_key);
    assert_eq!(done.connection_secret, who.connection_secret);
    assert_eq!(done.connection_secret.as_bytes(), range(0x40, 64));
    (proof, payload, done)
}

fn client_dice_of_none() -> Dice {
    Dice::scripted(Vec::new())
}

fn example_log_in() -> (Vec<u8>, Vec<u8>, async_messenger::auth::Authenticated) {
    let script = vec![
        le(SERVER_CHALLENGE),
        range(0xa0, 16),
        range(0x40, 64),
        range(0xb0, 16),
    ];
    log_in(&PK.parse().unwrap(), example_site(), script)
}

#[test]
fn complete_log_in() {
    let (proof, payload, done) = example_log_in();
    let wanted =
        unhex("00010300 ffeeddcc bbaa9918 adbc1050 d8ad4f01 00000000 00000000 00000000 24000000");
    assert_eq!(proof, wanted);
    assert_eq!(payload, unhex(DONE));
    let tickets = done.login.unwrap().tickets;
    let of: Vec<EntityType> = tickets.iter().map(|ticket| ticket.service).collect();
    assert_eq!(of, [EntityType::AUTH, EntityType::OSD]);
    assert_eq!(tickets[1].session_key, key(KeyType::Aes, 0xb0, NOW.secs));
    assert_eq!(tickets[1].expires().as_secs(), 1_700_003_600);
    assert_eq!(tickets[1].renew_after().as_secs(), 1_700_002_700);
}

/// Ceph counts a service that it has no secret for, and then has no ticket to write (cephx §8.2).
#[test]
fn a_list_of_tickets_that_is_cut_off() {
    use async_messenger::auth::AuthClient as _;
    let mut payload = unhex(DONE);
    let extra = 0x13e - 0x30;
    assert_eq!(payload[extra..extra + 9], [192, 0, 0, 0, 1, 1, 0, 0, 0]);
    payload[extra] += 4;
    payload[extra + 5] += 1;
    payload.extend_from_slice(&[8, 0, 0, 0]);
    let mut client = client(&PK.parse().unwrap());
    let mut dice = Dice::scripted(vec![le(CLIENT_CHALLENGE)]);
    at(&mut dice, NOW, |cx| client.begin(cx)).unwrap();
    let challenge = unhex("018877665544332211");
    at(&mut dice, NOW, |cx| client.more(cx, &challenge)).unwrap();
    let done = at(&mut dice, NOW, |cx| {
        client.done(cx, 4242, Mode::SECURE, &payload)
    })
    .unwrap();
    assert_eq!(done.login.unwrap().tickets.len(), 2);
}

pub(crate) struct Shown {
    pub(crate) first: Vec<u8>,
    pub(crate) challenge: Vec<u8>,
    pub(crate) second: Vec<u8>,
    pub(crate) reply: Vec<u8>,
}

/// Shows a ticket to an OSD that knows secret 3; both sides with scripted randomness.
pub(crate) fn show(
    ticket: &Ticket,
    os: &CryptoKey,
    client: Vec<Vec<u8>>,
    server: Vec<Vec<u8>>,
    secret_len: usize,
) -> Shown {
    let (mut client, mut server) = (Dice::scripted(client), Dice::scripted(server));
    let authorizer = at(&mut client, NOW, |cx| Authorizer::new(cx, 4242, ticket));
    let mut verifier = Verifier::default();
    let secret = |id: u64| (id == 3).then(|| os.clone());
    let mut look = |payload: &[u8]| {
        at(&mut server, NOW, |cx| {
            verifier.verify(cx, EntityType::OSD, &secret, payload, secret_len)
        })
    };
    let first = at(&mut client, NOW, |cx| authorizer.first(cx)).unwrap();
    let Ok(Presented::Challenge(challenge)) = look(&first) else {
        panic!("no challenge");
    };
    let second = at(&mut client, NOW, |cx| authorizer.answer(cx, &challenge)).unwrap();
    let Ok(Presented::Accepted {
        reply,
        name,
        caps,
        connection_secret,
        ..
    }) = look(&second)
    else {
        panic!("refused");
    };
    assert_eq!((name, &caps.text[..]), (admin(), "allow *"));
    assert_eq!(authorizer.verify(&reply).unwrap(), connection_secret);
    assert!(client.is_used_up() && server.is_used_up());
    Shown {
        first,
        challenge,
        second,
        reply,
    }
}

#[test]
fn authorizer() {
    let ticket = example_log_in().2.login.unwrap().tickets.remove(1);
    let os = key(KeyType::Aes, 0xe0, 0);
    let shown = show(&ticket, &os, vec![le(NONCE)], vec![le(DAEMON_CHALLENGE)], 0);
    assert_eq!(shown.first, unhex(AUTHORIZER));
    assert_eq!(shown.challenge, unhex(CHALLENGE));
    assert_eq!(shown.second[..0x8a], shown.first[..0x8a]);
    assert_eq!(shown.second[0x8a..], unhex(ANSWER));
    assert_eq!(shown.reply, unhex(REPLY_CRC));
    let server = vec![le(DAEMON_CHALLENGE), range(0x40, 64)];
    let shown = show(&ticket, &os, vec![le(NONCE)], server, 64);
    assert_eq!(shown.reply, unhex(REPLY_SECURE));
}

#[test]
fn a_request_that_is_not_taken() {
    let mut server = Authority::new(example_site()).server(EntityType::CLIENT);
    let request = AuthRequest {
        method: Method(4),
        modes: vec![Mode::CRC],
        payload: Vec::new(),
    };
    let answer = at(&mut Dice::new(1), NOW, |cx| server.begin(cx, &request));
    let AuthAnswer::Refused { refusal, why } = answer else {
        panic!("taken");
    };
    assert_eq!(refusal.result, -95);
    assert_eq!(refusal.methods, [Method::CEPHX]);
    assert_eq!(why.to_string(), "method 4 is not taken from client");
    // The same link may ask by another method.
    let mut client = Credentials::new(admin(), PK.parse().unwrap()).client(EntityType::MON);
    let request = at(&mut Dice::new(1), NOW, |cx| client.begin(cx)).unwrap();
    let answer = at(&mut Dice::new(1), NOW, |cx| server.begin(cx, &request));
    assert!(matches!(answer, AuthAnswer::More(_)));
    assert_eq!(AuthName::new(EntityType::CLIENT, "admin"), admin());
}
