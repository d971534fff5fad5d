//! Authenticated encryption of what is sent: AES-128-GCM behind a small trait, and the nonces that
//! go with it (msgr2 §5.8).
//!
//! A [`Provider`] makes ciphers; all of them give the same bytes, so that a choice is only one of
//! speed. A [`Sealer`] and an [`Opener`] are one direction of one connection each: a cipher and a
//! nonce that moves on with each text. Invariants: a sealer never uses a nonce twice; what does not
//! verify is never handed out; keys are wiped from memory when they are dropped.
//!
//! It does not know frames, sockets or how a key came about.

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod nonce;
mod soft;
mod stream;

use std::fmt;

pub use nonce::{NONCE_LEN, NonceStep};
pub use stream::{Opener, Role, SECRET_LEN_MIN, SealError, Sealer, session_ciphers};

/// Bytes of an AES-128 key.
pub const KEY_LEN: usize = 16;
/// Bytes that a sealed text is longer by.
pub const TAG_LEN: usize = 16;

/// An implementation of the ciphers.
pub trait Provider: Send + Sync + fmt::Debug {
    /// Its name, for logs.
    fn name(&self) -> &'static str;

    /// AES-128-GCM with a key.
    fn aes128_gcm(&self, key: &[u8; KEY_LEN]) -> Box<dyn Aead>;
}

/// AES-128-GCM with one key; no additional data is authenticated.
pub trait Aead: Send + Sync + fmt::Debug {
    /// Encrypts in place, and returns the tag that goes behind the text.
    fn seal(&self, nonce: &[u8; NONCE_LEN], text: &mut [u8]) -> [u8; TAG_LEN];

    /// Decrypts in place.
    ///
    /// # Errors
    /// If the tag does not fit; what is in `text` then must not be used.
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError>;

    /// Decrypts the beginning of a text whose tag has not come yet. It may have been forged: who
    /// believes it has to open the whole text later.
    fn peek(&self, nonce: &[u8; NONCE_LEN], beginning: &mut [u8; 32]);
}

/// A tag that does not fit its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenError;

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tag does not fit the encrypted bytes")
    }
}

impl std::error::Error for OpenError {}

#[cfg(feature = "aws-lc")]
const PROVIDERS: &[&dyn Provider] = &[&aws_lc::AwsLc, &soft::Soft];
#[cfg(not(feature = "aws-lc"))]
const PROVIDERS: &[&dyn Provider] = &[&soft::Soft];

/// All providers that are compiled in, the fastest first.
#[must_use]
pub fn providers() -> &'static [&'static dyn Provider] {
    PROVIDERS
}

/// The fastest provider that is compiled in.
#[must_use]
pub fn best() -> &'static dyn Provider {
    PROVIDERS[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST's test case 2 for AES-128-GCM: one block of zeros under the key of zeros.
    #[test]
    fn known_answer() {
        let sealed = 0x0388_dace_60b6_a392_f328_c2b9_71b2_fe78_u128.to_be_bytes();
        let tag = 0xab6e_47d4_2cec_13bd_f53a_67b2_1257_bddf_u128.to_be_bytes();
        for provider in providers() {
            let aead = provider.aes128_gcm(&[0; KEY_LEN]);
            let mut text = [0; 16];
            assert_eq!(aead.seal(&[0; NONCE_LEN], &mut text), tag, "{provider:?}");
            assert_eq!(text, sealed, "{provider:?}");
            assert_eq!(aead.open(&[0; NONCE_LEN], &mut text, &tag), Ok(()));
            assert_eq!(text, [0; 16]);
        }
    }

    #[test]
    fn providers_give_the_same_bytes() {
        let key: [u8; KEY_LEN] = std::array::from_fn(|i| i as u8 * 3);
        let nonce: [u8; NONCE_LEN] = std::array::from_fn(|i| 200 - i as u8);
        for len in (0..100).chain([1000, 4096, 70_001]) {
            let plain: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let mut first = None;
            for provider in providers() {
                let aead = provider.aes128_gcm(&key);
                let mut text = plain.clone();
                let tag = aead.seal(&nonce, &mut text);
                let known = first.get_or_insert_with(|| (text.clone(), tag));
                assert_eq!(*known, (text.clone(), tag), "{provider:?} of {len}");
                if let Some(beginning) = text.first_chunk() {
                    let mut beginning = *beginning;
                    aead.peek(&nonce, &mut beginning);
                    assert_eq!(beginning, plain[..32], "{provider:?}");
                }
                let mut wrong = text.clone();
                let mut bad = tag;
                bad[len % 16] ^= 1;
                assert_eq!(aead.open(&nonce, &mut wrong, &bad), Err(OpenError));
                assert_eq!(aead.open(&nonce, &mut text, &tag), Ok(()));
                assert_eq!(text, plain);
            }
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        for provider in providers() {
            let text = format!("{:?}", provider.aes128_gcm(&[0x5a; KEY_LEN]));
            assert!(!text.contains("90") && text.len() < 40, "{text}");
        }
        assert_eq!(best().name(), providers()[0].name());
    }
}
