//! AES-128-GCM by AWS-LC, which is written in assembly for each processor.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::{Aead, KEY_LEN, NONCE_LEN, OpenError, Provider, TAG_LEN};

#[derive(Debug)]
pub(super) struct AwsLc;

impl Provider for AwsLc {
    fn name(&self) -> &'static str {
        "aws-lc"
    }

    fn aes128_gcm(&self, key: &[u8; KEY_LEN]) -> Box<dyn Aead> {
        let gcm = UnboundKey::new(&AES_128_GCM, key).expect("16 bytes are a key");
        let ctr = UnboundCipherKey::new(&AES_128, key).and_then(DecryptingKey::ctr);
        Box::new(Key {
            gcm: LessSafeKey::new(gcm),
            ctr: ctr.expect("16 bytes are a key"),
        })
    }
}

struct Key {
    /// "Less safe" because its user picks the nonces.
    gcm: LessSafeKey,
    /// The same key, for looking at a beginning.
    ctr: DecryptingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aes128Gcm(aws-lc)")
    }
}

impl Aead for Key {
    fn seal(&self, nonce: &[u8; NONCE_LEN], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .gcm
            .seal_in_place_separate_tag(nonce, Aad::empty(), text);
        let mut out = [0; TAG_LEN];
        // The only error is a text of 64 GiB; frames are far shorter.
        out.copy_from_slice(tag.expect("a frame is shorter than 64 GiB").as_ref());
        out
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .gcm
            .open_in_place_separate_tag(nonce, Aad::empty(), tag, text);
        opened.map(|_| ()).map_err(|_| OpenError)
    }

    fn peek(&self, nonce: &[u8; NONCE_LEN], beginning: &mut [u8; 32]) {
        let mut block = [0; 16];
        block[..NONCE_LEN].copy_from_slice(nonce);
        block[15] = 2;
        let context = DecryptionContext::Iv128(FixedLength::from(&block));
        let opened = self.ctr.decrypt(beginning, context);
        // CTR takes any length and checks nothing.
        opened.expect("CTR decrypts whatever it is given");
    }
}
