//! Keys: their types, their form in bytes and in text (cephx §3, aes256k §2).
//!
//! Invariants: the length of a secret fits its type; a key never shows its secret in `Debug`, and
//! there is no `Display`, so that it takes a deliberate [`CryptoKey::to_base64`] to get it out.
//! It knows nothing of ciphers; those are in `cipher.rs`.

use std::fmt;
use std::str::FromStr;

use bytes::BufMut;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

use crate::wire::{DecodeError, ParseError, Reader, Timespec};

use super::{AuthError, Cipher, Secret};

/// The longest key text that is looked at; keys take 40 or 60 characters.
const TEXT_MAX: usize = 256;

/// What a key is made for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum KeyType {
    /// No key at all.
    #[default]
    None,
    /// AES-128-CBC, the only one of old programs.
    Aes,
    /// AES-256-CTS with HMAC-SHA-384 (RFC 8009).
    Aes256k,
}

impl KeyType {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Aes => 1,
            Self::Aes256k => 2,
        }
    }

    /// The length of the secret of such a key.
    #[must_use]
    pub const fn secret_len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Aes => 16,
            Self::Aes256k => 32,
        }
    }

    const fn from_number(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Aes),
            2 => Some(Self::Aes256k),
            _ => None,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Aes => "aes",
            Self::Aes256k => "aes256k",
        })
    }
}

/// Names are taken in either case.
impl FromStr for KeyType {
    type Err = ParseError;

    fn from_str(s: &str) -> Result<Self, ParseError> {
        let all = [Self::None, Self::Aes, Self::Aes256k];
        let found = all
            .into_iter()
            .find(|kind| kind.to_string().eq_ignore_ascii_case(s));
        found.ok_or_else(|| ParseError::new("a key type: none, aes or aes256k", s))
    }
}

/// A secret shared by two parties, and what it is made for.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CryptoKey {
    kind: KeyType,
    created: Timespec,
    secret: Secret,
}

impl CryptoKey {
    /// A key of given bytes.
    ///
    /// # Errors
    /// If a key of this type cannot have so many.
    pub fn new(kind: KeyType, created: Timespec, secret: Secret) -> Result<Self, AuthError> {
        if secret.len() != kind.secret_len() {
            return Err(AuthError::Unsupported(
                format!(
                    "a key of type {kind} has {} bytes, not {}",
                    kind.secret_len(),
                    secret.len()
                )
                .into(),
            ));
        }
        Ok(Self {
            kind,
            created,
            secret,
        })
    }

    /// A new key that nobody has seen.
    pub fn generate(kind: KeyType, created: Timespec, random: &mut dyn FnMut(&mut [u8])) -> Self {
        Self {
            kind,
            created,
            secret: Secret::random(kind.secret_len(), random),
        }
    }

    /// What it is made for.
    #[must_use]
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// When it was made, as its maker said; informative.
    #[must_use]
    pub fn created(&self) -> Timespec {
        self.created
    }

    /// Whether there is no secret in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secret.is_empty()
    }

    pub(super) fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// HMAC-SHA-256 of the concatenated parts, keyed with the secret.
    #[must_use]
    pub fn hmac_sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.hmac();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    pub(super) fn hmac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(self.secret()).expect("HMAC takes keys of any length")
    }

    /// What seals and opens for one usage (aes256k §5); the usage does not matter to a key of
    /// type 1. Who needs it often keeps it: for type 2 the subkeys are derived here.
    ///
    /// # Errors
    /// If the key is empty.
    pub fn cipher(&self, usage: u32) -> Result<Cipher, AuthError> {
        Cipher::new(self, usage)
    }

    /// Writes the form that is in tickets.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u16_le(self.kind.number());
        self.created.encode(out);
        out.put_u16_le(self.secret.len() as u16);
        out.put_slice(self.secret.as_bytes());
    }

    /// Reads the form that is in tickets.
    ///
    /// # Errors
    /// If it is cut off, of an unknown type, or its length does not fit the type.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = r.u16()?;
        let created = Timespec::decode(r)?;
        let len = r.u16()?;
        let secret = r.bytes(len.into())?;
        if len == 0 {
            // The empty key, whatever its type says.
            return Ok(Self {
                created,
                ..Self::default()
            });
        }
        let Some(kind) = KeyType::from_number(number).filter(|kind| *kind != KeyType::None) else {
            return Err(r.bad_value(number));
        };
        if usize::from(len) != kind.secret_len() {
            return Err(r.bad_value(len));
        }
        Ok(Self {
            kind,
            created,
            secret: secret.into(),
        })
    }

    /// The text that keyrings hold. It is the secret itself: not for logs.
    #[must_use]
    pub fn to_base64(&self) -> String {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        let text = base64_encode(&bytes);
        bytes.zeroize();
        text
    }
}

/// From the text that keyrings hold.
impl FromStr for CryptoKey {
    type Err = AuthError;

    fn from_str(text: &str) -> Result<Self, AuthError> {
        let mut bytes = base64_decode(text).ok_or_else(|| {
            AuthError::Unsupported(
                "a key is not base64 text; copy it whole, as `ceph auth get-key` prints it".into(),
            )
        })?;
        let mut r = Reader::new(&bytes, "key");
        let key = Self::decode(&mut r);
        bytes.zeroize();
        Ok(key?)
    }
}

impl fmt::Debug for CryptoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CryptoKey({})", self.kind)
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(BASE64[(word >> (18 - 6 * i) & 63) as usize].into());
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// Skips line feeds, takes the characters of the URL alphabet too, stops at padding (cephx §3.2).
fn base64_decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_MAX {
        return None;
    }
    // Room for all, so that no copy of a secret is left behind by growing.
    let mut out = Vec::with_capacity(TEXT_MAX);
    let mut word = 0_u32;
    let mut bits = 0;
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'\n' => continue,
            b'=' => break,
            _ => {
                out.zeroize();
                return None;
            }
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    Some(out)
}
