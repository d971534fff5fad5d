//! AES-128-GCM in Rust alone, with the processor's AES instructions where it has them.

use std::fmt;

use aes_gcm::aead::AeadInPlace;
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::{BlockEncrypt, KeyInit};
use aes_gcm::{Aes128Gcm, Nonce, Tag};

use super::{Aead, KEY_LEN, NONCE_LEN, OpenError, Provider, TAG_LEN};

const NO_DATA: &[u8] = &[];

#[derive(Debug)]
pub(super) struct Soft;

impl Provider for Soft {
    fn name(&self) -> &'static str {
        "rust"
    }

    fn aes128_gcm(&self, key: &[u8; KEY_LEN]) -> Box<dyn Aead> {
        let block = Aes128::new(key.into());
        Box::new(Key {
            gcm: Aes128Gcm::from(block.clone()),
            block,
        })
    }
}

struct Key {
    gcm: Aes128Gcm,
    /// The same key, for looking at a beginning.
    block: Aes128,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aes128Gcm(rust)")
    }
}

impl Aead for Key {
    fn seal(&self, nonce: &[u8; NONCE_LEN], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::from_slice(nonce);
        let tag = self.gcm.encrypt_in_place_detached(nonce, NO_DATA, text);
        // The only error is a text of 64 GiB; frames are far shorter.
        tag.expect("a frame is shorter than 64 GiB").into()
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError> {
        let (nonce, tag) = (Nonce::from_slice(nonce), Tag::from_slice(tag));
        let opened = self
            .gcm
            .decrypt_in_place_detached(nonce, NO_DATA, text, tag);
        opened.map_err(|_| OpenError)
    }

    fn peek(&self, nonce: &[u8; NONCE_LEN], beginning: &mut [u8; 32]) {
        for (counter, part) in (2_u32..).zip(beginning.chunks_exact_mut(16)) {
            let mut block = [0; 16];
            block[..NONCE_LEN].copy_from_slice(nonce);
            block[NONCE_LEN..].copy_from_slice(&counter.to_be_bytes());
            self.block.encrypt_block((&mut block).into());
            part.iter_mut()
                .zip(block)
                .for_each(|(byte, key)| *byte ^= key);
        }
    }
}
