//! Log-ins with the library's own methods, by a client to a monitor.

use std::sync::Mutex;

use async_messenger::auth::{
    Client, CryptoKey, Identity, KeyType, Keyring, Method, Mode, Offer, Offers, Secret, Server,
    Site, SiteRef,
};
use async_messenger::proto::ProtoError;
use async_messenger::proto::v2::AcceptorEvent;
use async_messenger::wire::{AuthName, EntityName, EntityType, Timespec};

use super::BANNERS;
use super::fake::{Both, Play};
use super::meeting::{Cast, meet};

#[derive(Debug)]
struct Own(Mutex<Site>);

impl SiteRef for Own {
    fn with(&self, f: &mut dyn FnMut(&mut Site)) {
        f(&mut self.0.lock().unwrap());
    }
}

fn key(kind: KeyType, byte: u8) -> CryptoKey {
    let secret = Secret::from(vec![byte; kind.secret_len()]);
    CryptoKey::new(kind, Timespec::default(), secret).unwrap()
}

fn admin() -> AuthName {
    AuthName::new(EntityType::CLIENT, "admin")
}

fn both(method: Method, mode: Mode, keys: [CryptoKey; 2]) -> Both {
    let [own, known] = keys;
    let offer = Offer {
        methods: vec![method],
        modes: vec![mode],
    };
    let who = Identity {
        name: admin(),
        key: Some(own),
        ..Identity::default()
    };
    let mut keyring = Keyring::new();
    keyring.insert(admin(), known, &[(EntityType::MON, "allow *")]);
    let mut site = Site::new(EntityType::MON, keyring);
    site.offers = Offers::uniform(&[method], &[mode]);
    let client = Client::new(who, EntityType::MON, offer.clone());
    let site = Box::new(Own(Mutex::new(site)));
    let server = Server::new(site, EntityType::CLIENT, offer);
    (Box::new(client), Box::new(server))
}

fn cast(banner: usize, real: fn() -> Both) -> Cast<'static> {
    let play = Play {
        real: Some(real),
        ..Play::plain()
    };
    let mut cast = Cast::new(BANNERS[banner], play);
    cast.connector.name = EntityName::client(-1);
    cast.connector.peer_type = EntityType::MON;
    cast.acceptor.entity = EntityType::MON;
    cast
}

const AES: KeyType = KeyType::Aes;
const NEW: KeyType = KeyType::Aes256k;

#[test]
fn log_ins() {
    type Case = (fn() -> Both, Mode, bool);
    let cases: [Case; 4] = [
        (
            || both(Method::NONE, Mode::CRC, [key(AES, 1), key(AES, 1)]),
            Mode::CRC,
            false,
        ),
        (
            || both(Method::CEPHX, Mode::CRC, [key(AES, 1), key(AES, 1)]),
            Mode::CRC,
            true,
        ),
        (
            || both(Method::CEPHX, Mode::SECURE, [key(AES, 1), key(AES, 1)]),
            Mode::SECURE,
            true,
        ),
        (
            || both(Method::CEPHX, Mode::SECURE, [key(NEW, 1), key(NEW, 1)]),
            Mode::SECURE,
            true,
        ),
    ];
    for banner in 0..2 {
        for (real, mode, signed) in cases {
            let cast = cast(banner, real);
            let whole = meet(&cast, usize::MAX);
            let (c, a) = whole.opened().unwrap_or_else(|| panic!("{whole:#?}"));
            assert_eq!((c.mode, a.mode), (mode, mode));
            assert_eq!((a.who.name.clone(), a.who.global_id), (admin(), 4100));
            assert_eq!(c.who.global_id, 4100);
            assert_eq!(a.who.session_key.is_some(), signed);
            assert_eq!(c.who.session_key, a.who.session_key);
            assert_eq!(whole.arrived.each_ref().map(Vec::len), [1, 1]);
            for size in [1, 7, 100] {
                assert_eq!(meet(&cast, size), whole, "{size} bytes at a time");
            }
        }
    }
}

#[test]
fn another_key_is_not_let_in() {
    for banner in 0..2 {
        let cast = cast(banner, || {
            both(Method::CEPHX, Mode::SECURE, [key(AES, 1), key(AES, 2)])
        });
        let meeting = meet(&cast, usize::MAX);
        assert!(meeting.opened().is_none());
        assert!(matches!(meeting.errors[0], Some(ProtoError::AuthDenied(_))));
        let denied = meeting.acceptor.last();
        assert!(
            matches!(denied, Some(AcceptorEvent::Denied(_))),
            "{meeting:?}"
        );
    }
}

#[test]
fn a_method_that_is_not_taken_is_refused() {
    let cast = cast(1, || {
        let (client, _) = both(Method::NONE, Mode::CRC, [key(AES, 1), key(AES, 1)]);
        let (_, server) = both(Method::CEPHX, Mode::CRC, [key(AES, 1), key(AES, 1)]);
        (client, server)
    });
    let meeting = meet(&cast, usize::MAX);
    assert!(meeting.error(0).contains("-95"), "{meeting:?}");
    assert!(meeting.opened().is_none());
}
