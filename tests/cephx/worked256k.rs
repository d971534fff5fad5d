//! The worked examples of the protocol documents for keys of type 2 (aes256k §12), byte for byte.
//! What is plain cipher is tested beside the cipher.

use async_messenger::auth::cephx::{LogInServer, ServiceSecrets, TicketBlob};
use async_messenger::auth::{CryptoKey, KeyType, Signer, Site};
use async_messenger::wire::{AuthName, EntityType};

use crate::kit::{Dice, NOW, admin, at, key, range, secret, site, unhex};
use crate::worked::{DAEMON_CHALLENGE, NONCE, SERVER_CHALLENGE, le, log_in, parts, show};

const PK2: &str = "AgAAEF5fAAAAACAAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const DONE: &str = "
    00010000 00000101 00000020 00000001 66000000 bd06e351 6ea99d3d cd7a68ce
    66bba6f9 97d524c9 8397edc1 adf1456a 4723a956 60e9b260 2c49e6bc 97556795
    938018be d344fa6c d582fd5e 84027c11 0da0729f c67dbb23 55af3b59 01f0c61e
    fae34b2d d68c460a 15c4fddb b3dfa332 292711a2 be6ec0ae c51d00a3 00000001
    02000000 00000000 96000000 aea68eb0 98b62440 51797e4a 6da03d06 ec10713d
    18c2b80f 3575e70a c0987876 df1eb221 3fbbff08 38d3de69 cff06153 fdb07bc5
    7d71ebd9 d8f04005 d4791b5c 2d2eb31a aef9de2a 9ccdb39f 469cbe7e 8f341e2d
    02aad9ce a5c99c6f 574e5e68 96a41886 d752f5fd 26835c85 c98b8b25 fd6135fb
    cc0e52eb 15b7710a fc90fdf5 7404587d 27e8743e 194144b7 06923dae ccd152a5
    ab8f7900 00007500 0000f8d7 d559bbe6 6ba97656 a85d3789 a3acef63 90bd7760
    e76e6dd5 276774aa 2d0b8029 66487466 bf7556fc 432dae7f ea910bd8 54928c19
    525f9e0d 5df0698e f26244d7 d9beed71 d6db6daa 55d372ba 14f185eb 154e717a
    ec83c839 4013629e f6198695 f475db5d 8238445e 27c6ef11 69df8da9 2c680627
    01000001 01000000 04000000 01660000 00d43d66 3dfbe4fa f7e6f9d5 f74f5244
    2d766f6f 0cb03f7b 3d19ce50 5910335c e4e6f873 efdb0499 5dfbd773 441e2f96
    1f5d560b b38b6b10 0f851035 515f9df6 3bf32257 0710b41b 369fed8d 6d58a80d
    6f3a6f45 f5b7f2c9 ad11f8a5 490a0096 af391734 144b6700 ae000000 01030000
    00000000 00a10000 0083c713 6728d398 8afff5fb f4ec4ecb 1e868382 97fa6a1e
    31013939 e965df91 25a92743 22d7ee25 c6130c5c 9a177a5e cbbc9a68 30a64891
    57ba849f 685d3e97 6e4f074c 26615bb3 865657b2 77ec8c40 88c5fd48 0dd856b1
    dc8b1662 e0419b66 e528dad0 c6928e2c e8c74f26 d5b07334 fad3826d 077732db
    abbe5fc9 e6cf0100 579dfca3 738dddcb 6173bd65 0d0f1b10 a5133a1d 7a31911b
    80f92132 f72dfee5 4d4c";
const AUTHORIZER: &str = "
    01921000 00000000 00040000 00010300 00000000 0000a100 000083c7 136728d3
    988afff5 fbf4ec4e cb1e8683 8297fa6a 1e310139 39e965df 9125a927 4322d7ee
    25c6130c 5c9a177a 5ecbbc9a 6830a648 9157ba84 9f685d3e 976e4f07 4c26615b
    b3865657 b277ec8c 4088c5fd 480dd856 b1dc8b16 62e0419b 66e528da d0c6928e
    2ce8c74f 26d5b073 34fad382 6d077732 dbabbe5f c9e6cf01 00579dfc a3738ddd
    cb6173bd 650d0f1b 10a5133a 1d7a3191 1b80f921 32f72dfe e54d4c43 00000018
    c04bcb1f 72644ca0 37cfa8cc a15663eb e530884e a5062a17 d10cf3da eecc2e14
    f965363d e373f7bb 8e018a19 db5a02e8 92c9ebb1 e5e15f8b ba87199a 58060078
    bd04";
const CHALLENGE: &str = "
    fa073247 acb55f8d 29e43c23 db3c7a87 8f32d3a0 e7496f40 41cfa439 8d6c7c1c
    944ae19e 592b3257 a3ae9584 04f7b1f6 51c663a0 c2dde5be 2642";
const ANSWER: &str = "
    43000000 0aa583f6 cca29c38 8c537ef9 f76227f8 c619242c b449f309 d9336d91
    7076427a e3e91f0e 024ed069 68f08bf3 c0e57c22 d5af5eed b6996e00 be0992bc
    95bf7eae 5d656a";
const REPLY_CRC: &str = "
    3a000000 724eb697 277667b5 7f1f5590 bb6949e2 fd85e516 b01cdd19 f8d117cd
    77824dab b07f8b77 72f53503 4ae8cd40 e071e3ca a0608275 d42ff1d0 7f89";
const REPLY_SECURE: &str = "
    7e000000 724eb697 277667b5 7f1f5590 bb6949e2 069d9aee 33588686 475ee57c
    eb3e0466 466ec8cb 6461d320 9f5b20c8 110eec8f d2ad3434 59a1dbb1 bc702877
    4829e12c 91a6d5ab 672212bf 3879f7dc 289c5614 d34391f8 b33279bc 2d44311f
    66f81770 98bf7fb4 6db2ad11 01788328 4b9a0fc4 5d7412d1 f7c4fe8b 76cb24e4
    d83c";
const RENEWED: &str = "
    d8000000 0c9906fc e1828494 23b1bd76 6428c346 5b58a5a5 cde5a27b 65209e43
    871697de eccadcd7 5cb0f08d f0ea1a81 bb1b6304 68a0fb74 13a1e097 37807ea3
    cd155f98 fdb4378b 1d58d707 af2c3c76 75e88abb b121f9e6 a5a7fc3d f8865e52
    cdcbb868 cbde7f4a ab9932bc 3cf795ab 3e69594d 49bd7fec 3ea6ec7c 83bd98da
    6dffce32 49338d37 ffd5ef06 b17752f7 2e37ddba 75a84b2a 68d71961 b8d46e13
    13b98145 29a51b0d bcf243de aa1bbc7e 3073060f ddc3649e 0f522603 28656854
    0d787176 894fd9c8 c9000cfb abaf6414 a70f748b 3f54d592 b7fb5b49";
const ROTATING: &str = "
    7b000000 4cda6133 7864605b 1953778e 672c632c bf0cd900 015ee862 6623e004
    eabbbd4e 76c7804b b88b6fea 948e73b5 8e9b26f9 4eb79052 2289a797 142e8dfb
    2a9697e2 0c262873 ab316905 2a5cff47 46b3d878 16f99a3c 2cf59332 b59622d5
    6e17a934 6563168a 97eaa317 3f23ef21 5ef1a643 cd4d13a3 34eea0ef f95e59";
const MIXED_BLOB: &str = "
    01030000 00000000 00910000 005d84a2 97789be6 42147cf7 b00e305d dc4ae6b4
    deb7d51a 3911ed21 240bc21e c4132916 3d45a71b 38c3b7de 838f39ef 7383beef
    797a4731 489e37ea a57398d0 bc8ac29d d40fe0b0 4df9f897 d9734004 5f0fc1ba
    bbc2c9c9 8183a499 69aece43 13e2af27 4e645af6 d3cf51b0 adb1b33d 9aa78fae
    46ddab39 fdb66b15 2b1ef28c 3579916d 5a892a4a 74044ba9 03c725b3 e03d";
const MIXED_HALF: &str = "
    56000000 6c061ca1 f01aa304 dcd0216e 8851de25 1a8189ef bae29f8c 1cc1fe18
    9e6f32a8 f76cac63 92d25da6 afecff43 3932761e 044103ef 47ab076b 9bb8e57a
    b93e7146 8b2beaca 708f9d0c 98a4931d 91d3d95c e1f78ab3 d2ea";

fn conf(byte: u8) -> Vec<u8> {
    vec![byte; 16]
}

fn pk2() -> CryptoKey {
    PK2.parse().unwrap()
}

fn example_site() -> Site {
    let mut site = site(EntityType::MON, &pk2(), KeyType::Aes256k);
    site.secrets = ServiceSecrets::fixed();
    let ms = key(KeyType::Aes256k, 0xe0, 0);
    site.secrets.set(EntityType::AUTH, vec![secret(2, ms)]);
    site.secrets.set(EntityType::OSD, vec![secret(3, os())]);
    site.next_global_id = 4242;
    site
}

fn os() -> CryptoKey {
    key(KeyType::Aes256k, 0x20, NOW.secs)
}

fn example_log_in() -> (Vec<u8>, Vec<u8>, async_messenger::auth::Authenticated) {
    let script = vec![
        le(SERVER_CHALLENGE),
        range(0xa0, 32),
        conf(0x30),
        conf(0x04),
        range(0x40, 64),
        conf(0x03),
        range(0xc0, 32),
        conf(0x31),
        conf(0x14),
    ];
    log_in(&pk2(), example_site(), script)
}

#[test]
fn key_as_text() {
    assert_eq!(pk2(), key(KeyType::Aes256k, 0, 1_600_000_000));
    assert_eq!(pk2().to_base64(), PK2);
    assert_eq!("AES256K".parse::<KeyType>().unwrap(), KeyType::Aes256k);
}

#[test]
fn signature() {
    let ok2 = key(KeyType::Aes256k, 0xc0, 0);
    let signer = Signer::new(&ok2, true).unwrap();
    assert_eq!(signer.sign(&parts()), 0xa0d6_b777_101f_687b);
    assert!(signer.verify(&parts(), 0xa0d6_b777_101f_687b));
    let why = Signer::new(&ok2, false).unwrap_err().to_string();
    assert!(why.contains("CEPHX_V2"), "{why}");
}

#[test]
fn complete_log_in() {
    let (proof, payload, done) = example_log_in();
    let wanted = "00010300ffeeddccbbaa994a14ff91b00f4652010000000000000000000000002400 0000";
    assert_eq!(proof, unhex(wanted));
    assert_eq!(payload, unhex(DONE));
    let tickets = done.login.unwrap().tickets;
    assert_eq!(
        tickets[0].session_key,
        key(KeyType::Aes256k, 0xa0, NOW.secs)
    );
    assert_eq!(
        tickets[1].session_key,
        key(KeyType::Aes256k, 0xc0, NOW.secs)
    );
}

#[test]
fn authorizer() {
    let ticket = example_log_in().2.login.unwrap().tickets.remove(1);
    let client = || vec![le(NONCE), conf(0x10), conf(0x18)];
    let server = vec![le(DAEMON_CHALLENGE), conf(0x11), conf(0x12)];
    let shown = show(&ticket, &os(), client(), server, 0);
    assert_eq!(shown.first, unhex(AUTHORIZER));
    assert_eq!(shown.challenge, unhex(CHALLENGE));
    assert_eq!(shown.second[..0xbb], shown.first[..0xbb]);
    assert_eq!(shown.second[0xbb..], unhex(ANSWER));
    assert_eq!(shown.reply, unhex(REPLY_CRC));
    let server = vec![
        le(DAEMON_CHALLENGE),
        conf(0x11),
        range(0x40, 64),
        conf(0x12),
    ];
    let shown = show(&ticket, &os(), client(), server, 64);
    assert_eq!(shown.reply, unhex(REPLY_SECURE));
}

#[test]
fn rotating_secrets() {
    let mut site = example_site();
    let name = AuthName::new(EntityType::OSD, "0");
    site.keyring.insert(name.clone(), pk2(), &[]);
    let mut entry = secret(3, os());
    entry.expires.secs = NOW.secs + 7200;
    site.secrets.set(EntityType::OSD, vec![entry]);
    let mut dice = Dice::scripted(vec![le(1), conf(0x20)]);
    let (mut session, _) = at(&mut dice, NOW, |cx| {
        LogInServer::begin(&mut site, cx, name, 7).unwrap()
    });
    let reply = at(&mut dice, NOW, |cx| session.answer(&mut site, cx, &[0, 4]));
    assert_eq!(
        (reply.result, &reply.payload[..6]),
        (0, &[0, 4, 0, 0, 0, 0][..])
    );
    assert_eq!(reply.payload[6..], unhex(ROTATING));
}

/// A renewal: the new ticket is sealed once more under the key of the old one.
#[test]
fn renewed_ticket() {
    // The seal itself: usage 5, of the blob in its length.
    let sk2 = key(KeyType::Aes256k, 0xa0, NOW.secs);
    let (_, payload, done) = example_log_in();
    let blob = &payload[0x7f - 4..0x7f + 163];
    let sealed = sk2
        .cipher(5)
        .unwrap()
        .seal(&mut |out| out.fill(5), |out| out.extend_from_slice(blob));
    assert_eq!(sealed, unhex(RENEWED));
    let held = &done.login.unwrap().tickets[0].blob;
    assert_eq!(
        *held,
        TicketBlob {
            secret_id: 2,
            sealed: payload[0x7f + 13..0x7f + 163].to_vec(),
        }
    );
}

/// The lower type is that of the session key, whichever of both it is.
#[test]
fn mixed_types() {
    // A client with an old key, a service with a new secret.
    let mut site = example_site();
    site.keyring.insert(
        admin(),
        key(KeyType::Aes, 0, 1_600_000_000),
        &crate::kit::ALLOW,
    );
    let script = vec![
        le(SERVER_CHALLENGE),
        range(0xa0, 16),
        conf(0x30),
        range(0x40, 64),
        range(0xb0, 16),
        conf(0x32),
    ];
    let (_, payload, done) = log_in(&key(KeyType::Aes, 0, 1_600_000_000), site, script);
    let osd = &done.login.unwrap().tickets[1];
    assert_eq!(osd.session_key, key(KeyType::Aes, 0xb0, NOW.secs));
    assert!(payload.ends_with(&unhex(MIXED_BLOB)));

    // The other way round.
    let mut site = example_site();
    let old = key(KeyType::Aes, 0xe0, 0);
    site.secrets.set(EntityType::OSD, vec![secret(3, old)]);
    let script = vec![
        le(SERVER_CHALLENGE),
        range(0xa0, 32),
        conf(0x30),
        conf(0x04),
        range(0x40, 64),
        conf(0x03),
        range(0xb0, 16),
        conf(0x24),
    ];
    let (_, payload, done) = log_in(&pk2(), site, script);
    let osd = &done.login.unwrap().tickets[1];
    assert_eq!(osd.session_key, key(KeyType::Aes, 0xb0, NOW.secs));
    let half = unhex(MIXED_HALF);
    assert!(payload.windows(half.len()).any(|bytes| bytes == half));
}
