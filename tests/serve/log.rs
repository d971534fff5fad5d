//! What is said aloud, and that no key is in it.

use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// All that the library has logged in this process.
static LOG: Mutex<String> = Mutex::new(String::new());

fn lock() -> MutexGuard<'static, String> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to keep the log, of all tests of this process.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Keeper).expect("there is no other");
    });
}

/// All of it so far.
pub(crate) fn text() -> String {
    lock().clone()
}

struct Keeper;

impl Subscriber for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let mut log = lock();
        let _ = writeln!(log, "{}", line.0);
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

/// Looks for keys of 16 bytes, given in their text form, in every form that bytes are printed in.
#[track_caller]
pub(crate) fn assert_no_key(text: &str, keys: &[&str]) {
    let found = keys.iter().find_map(|key| found(text, key));
    assert!(found.is_none(), "{found:?} of a key is in:\n{text}");
}

fn found(text: &str, key: &str) -> Option<String> {
    forms(key).into_iter().find(|form| text.contains(form))
}

fn forms(key: &str) -> Vec<String> {
    let whole = from_base64(key);
    let secret = &whole[whole.len() - 16..];
    let list = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    vec![
        key.to_owned(),
        // Behind type, time and length, which are no secret.
        key[16..36].to_owned(),
        hex(secret, ""),
        hex(secret, " "),
        hex(secret, "").to_uppercase(),
        list(&secret[4..12]),
        secret[1..].escape_ascii().to_string(),
    ]
}

fn hex(bytes: &[u8], between: &str) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(between)
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter(|byte| *byte != b'=') {
        let value = DIGITS.iter().position(|d| *d == digit).expect("base64");
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}

#[test]
fn keys_are_found_in_every_form() {
    let secret: Vec<u8> = (0..16).collect();
    for text in [
        super::KEY.to_owned(),
        "AAECAwQFBgcICQoLDA0ODw==".to_owned(),
        "000102030405060708090a0b0c0d0e0f".to_owned(),
        "000102030405060708090A0B0C0D0E0F".to_owned(),
        format!("{secret:?}"),
        format!("{:?}", bytes::Bytes::from(secret.clone())),
    ] {
        assert!(found(&text, super::KEY).is_some(), "{text}");
    }
    assert_eq!(found("[client.admin] 0, 1, 2", super::KEY), None);
}
