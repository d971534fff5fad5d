//! Keyring files: what they may look like, what is wrong with them, and random bytes.

use async_messenger::auth::{CryptoKey, KEYRING_MAX, KeyType, Keyring};
use async_messenger::wire::{AuthName, EntityType};

use crate::kit::{admin, key};
use crate::vectors::Rng;
use crate::worked::PK;

const PK2: &str = "AgAAEF5fAAAAACAAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn of(text: &str) -> AuthName {
    text.parse().unwrap()
}

#[test]
fn a_file_as_ceph_writes_it() {
    let text = format!(
        "# made by hand\n[client.admin]\n\tkey = {PK}\n\tauid = 0\n\tcaps mds = \"allow *\"\n\
         \tcaps_mgr = \"allow *\"\n\tcaps mon = \"allow r, allow command \\\"x\\\"\" ; why\n\n\
         [global]\n  whatever = is ignored\n[mon.]\r\n  key={PK2}\r\n  caps mon = allow r # plain\n\
         [client.rgw.a.b]\n"
    );
    let keyring = Keyring::parse(&text).unwrap();
    assert_eq!(
        keyring.key(&admin()).unwrap(),
        &key(KeyType::Aes, 0, 1_600_000_000)
    );
    assert_eq!(keyring.caps(&admin(), EntityType::MDS), Some("allow *"));
    assert_eq!(keyring.caps(&admin(), EntityType::MGR), Some("allow *"));
    let mon = keyring.caps(&admin(), EntityType::MON);
    assert_eq!(mon, Some("allow r, allow command \"x\""));
    assert_eq!(keyring.caps(&admin(), EntityType::OSD), None);
    assert_eq!(keyring.key(&of("mon.")).unwrap().kind(), KeyType::Aes256k);
    assert_eq!(keyring.caps(&of("mon."), EntityType::MON), Some("allow r"));
    assert_eq!(keyring.key(&of("client.rgw.a.b")), None);
    assert_eq!(keyring.key(&of("osd.0")), None);
    let names: Vec<String> = keyring.names().map(ToString::to_string).collect();
    assert_eq!(names, ["mon.", "client.admin", "client.rgw.a.b"]);
    assert_eq!(
        format!("{keyring:?}"),
        r#"Keyring(["mon.", "client.admin", "client.rgw.a.b"])"#
    );
    // Of two sections the last one counts.
    let twice = format!("[client.admin]\nkey={PK}\n[client.admin]\nkey={PK2}\n");
    let keyring = Keyring::parse(&twice).unwrap();
    assert_eq!(keyring.key(&admin()).unwrap().kind(), KeyType::Aes256k);
    assert_eq!(Keyring::parse(""), Ok(Keyring::new()));
}

#[test]
fn what_is_wrong_with_a_file() {
    let rows = [
        ("key = x", 1, "before the first section"),
        ("[client.admin", 1, "not closed"),
        ("\n[admin]", 2, "not named by an entity"),
        ("[any.1]", 1, "not named by an entity"),
        ("[client.admin] x", 1, "behind the bracket"),
        ("[client.a]\nkey", 2, "neither a section nor a property"),
        ("[client.a]\nkey = a*b", 2, "not base64"),
        (
            "[client.a]\nkey = AQAA",
            2,
            "needs 4 more bytes, 1 are left",
        ),
        ("[client.a]\npending key = x", 2, "take it out"),
        ("[client.a]\ncaps = x", 2, "is not one of the properties"),
        (
            "[client.a]\ncaps rgw = x",
            2,
            "such as mon, osd, mds or mgr",
        ),
        ("[client.a]\ncaps mon = \"x", 2, "a quote is not closed"),
        (
            "[client.a]\ncaps mon = \"x\" y",
            2,
            "behind the closing quote",
        ),
    ];
    for (text, line, what) in rows {
        let e = Keyring::parse(text).unwrap_err();
        assert_eq!(e.line, line, "{text:?}");
        assert!(e.to_string().contains(what), "{text:?}: {e}");
        assert!(
            e.to_string()
                .starts_with(&format!("keyring, line {line}: ")),
            "{e}"
        );
    }
    let e = Keyring::parse(&" ".repeat(KEYRING_MAX + 1)).unwrap_err();
    assert!(e.to_string().contains("larger than"), "{e}");
}

#[test]
fn keys_as_text() {
    let pk: CryptoKey = PK.parse().unwrap();
    // Line feeds, the other alphabet, bytes behind the secret and behind the padding.
    assert_eq!(PK.replace("AQ", "A\nQ").parse::<CryptoKey>().unwrap(), pk);
    assert_eq!(format!("{PK}zz").parse::<CryptoKey>().unwrap(), pk);
    let swapped = PK2.replace('/', "_").replace('+', "-");
    assert_eq!(swapped.parse::<CryptoKey>().unwrap(), PK2.parse().unwrap());
    let empty: CryptoKey = "AQAAAAAAAAAAAAAA".parse().unwrap();
    assert!(empty.is_empty() && empty.cipher(0).is_err());
    let bad = [
        "",
        "=",
        "A",
        "AQ AA",
        "AwAAEF5fAAAAABAAAAECAwQFBgcICQoLDA0ODw==",
        "AQAAEF5fAAAAAA8AAAECAwQFBgcICQoLDA0ODw==",
        "AQAAEF5fAAAAAP//AAECAwQFBgcICQoLDA0ODw==",
        "AgAAEF5fAAAAABAAAAECAwQFBgcICQoLDA0ODw==",
    ];
    for text in bad {
        let e = text.parse::<CryptoKey>().unwrap_err().to_string();
        assert!(text.len() < 4 || !e.contains(&text[..4]), "{e}");
    }
    assert!("A".repeat(1 << 20).parse::<CryptoKey>().is_err());
    assert_eq!("none".parse::<KeyType>().unwrap(), KeyType::None);
    assert!("AES512".parse::<KeyType>().is_err());
}

/// No key gets into an error, whatever is wrong around it.
#[test]
fn random_bytes() {
    let good = format!(
        "[client.admin]\n key = {PK}\n caps mon = \"allow *\"\n[osd.0]\n key = {PK2}\n[global]\n"
    );
    let mut rng = Rng(77);
    for _ in 0..20_000 {
        let mut bytes = good.clone().into_bytes();
        rng.mutate(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        match Keyring::parse(&text) {
            Ok(keyring) => assert!(keyring.names().count() <= 4),
            Err(e) => {
                let e = format!("{e} {e:?}");
                assert!(!e.contains("AAECAwQF"), "{e}");
            }
        }
    }
    for _ in 0..2_000 {
        let noise: Vec<u8> = (0..rng.below(300)).map(|_| rng.below(256) as u8).collect();
        let _ = Keyring::parse(&String::from_utf8_lossy(&noise));
    }
}
