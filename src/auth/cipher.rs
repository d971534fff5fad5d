//! What seals and opens: AES-128-CBC with a fixed IV for keys of type 1 (cephx §4), AES-256-CTS
//! with HMAC-SHA-384 for those of type 2 (aes256k §3), and the envelope inside of both.
//!
//! A [`Cipher`] is a key made ready for one usage number. It knows nothing of what is sealed.
//! Invariant: for type 2 nothing is decrypted whose MAC does not fit.

use std::fmt;

use aes::cipher::consts::U16;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use aes::{Aes128, Aes256, Block};
use bytes::BufMut;
use hmac::{Hmac, Mac};
use sha2::Sha384;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::wire::{Put, Reader};

use super::{AuthError, CryptoKey, KeyType, Secret};

/// What each sealed plaintext begins with, after a version byte.
const MAGIC: u64 = 0xFF00_9CAD_8826_AA55;
/// The IV of each operation of type 1.
const IV: [u8; BLOCK] = *b"cephsageyudagreg";
const BLOCK: usize = 16;
/// Random bytes in front of a plaintext of type 2.
const CONFOUNDER: usize = BLOCK;
/// Bytes of the MAC behind a ciphertext of type 2.
const MAC: usize = 24;
/// Version byte and magic.
const HEAD: usize = 9;

/// A key made ready for one usage.
#[derive(Clone)]
pub struct Cipher(Kind);

#[derive(Clone)]
enum Kind {
    Aes(Box<Aes128>),
    Aes256k { ke: Box<Aes256>, ki: Secret },
}

impl Cipher {
    pub(super) fn new(key: &CryptoKey, usage: u32) -> Result<Self, AuthError> {
        match key.kind() {
            KeyType::None => Err(AuthError::Unsupported(
                "an empty key cannot seal or open anything; the peer or a keyring gave one".into(),
            )),
            KeyType::Aes => {
                let aes = Aes128::new_from_slice(key.secret()).expect("the length fits the type");
                Ok(Self(Kind::Aes(Box::new(aes))))
            }
            KeyType::Aes256k => {
                let ke = subkey(key.secret(), usage, 0xAA, 32);
                let ki = subkey(key.secret(), usage, 0x55, MAC);
                let aes = Aes256::new_from_slice(ke.as_bytes()).expect("32 bytes were asked for");
                Ok(Self(Kind::Aes256k {
                    ke: Box::new(aes),
                    ki,
                }))
            }
        }
    }

    /// Puts what `body` writes into an envelope and encrypts it: "raw-sealed" (cephx §4.2).
    pub fn seal_raw(
        &self,
        random: &mut dyn FnMut(&mut [u8]),
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Vec<u8> {
        let mut plain = Secret::default();
        let out = plain.as_mut_vec();
        // Enough for whatever is sealed, so that growing leaves no copies behind.
        out.reserve(512);
        out.put_u8(1);
        out.put_u64_le(MAGIC);
        body(out);
        self.encrypt(random, plain.as_bytes())
    }

    /// The same with its length in front: "sealed".
    pub fn seal(
        &self,
        random: &mut dyn FnMut(&mut [u8]),
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Vec<u8> {
        let raw = self.seal_raw(random, body);
        let mut out = Vec::with_capacity(raw.len() + 4);
        out.put_blob(&raw);
        out
    }

    /// Opens what is raw-sealed. `what` names it in the error.
    ///
    /// # Errors
    /// If it was sealed with another key, or changed.
    pub fn open_raw(&self, bytes: &[u8], what: &'static str) -> Result<Opened, AuthError> {
        let wrong = || {
            AuthError::denied(format!(
                "{what}: does not open; it was sealed with another key, or changed on the way"
            ))
        };
        let plain = self.decrypt(bytes).ok_or_else(wrong)?;
        let mut r = Reader::new(plain.as_bytes(), what);
        // The version byte is not looked at.
        let magic = r.u8().and_then(|_| r.u64());
        if magic != Ok(MAGIC) {
            return Err(wrong());
        }
        Ok(Opened { plain, what })
    }

    /// Opens what is sealed and comes next in `r`.
    ///
    /// # Errors
    /// If it is cut off, was sealed with another key, or changed.
    pub fn open(&self, r: &mut Reader<'_>, what: &'static str) -> Result<Opened, AuthError> {
        self.open_raw(r.blob()?, what)
    }

    pub(super) fn encrypt(&self, random: &mut dyn FnMut(&mut [u8]), plain: &[u8]) -> Vec<u8> {
        match &self.0 {
            Kind::Aes(aes) => {
                let pad = BLOCK - plain.len() % BLOCK;
                let mut out = Vec::with_capacity(plain.len() + pad);
                out.extend_from_slice(plain);
                out.resize(plain.len() + pad, pad as u8);
                cbc_encrypt(&**aes, IV, &mut out);
                out
            }
            Kind::Aes256k { ke, ki } => {
                let len = CONFOUNDER + plain.len();
                let mut out = Vec::with_capacity(len + BLOCK + MAC);
                out.resize(CONFOUNDER, 0);
                random(&mut out);
                out.extend_from_slice(plain);
                out.resize(len.next_multiple_of(BLOCK), 0);
                cbc_encrypt(&**ke, [0; BLOCK], &mut out);
                steal(&mut out, len);
                let mac = mac(ki, &out);
                out.extend_from_slice(&mac);
                out
            }
        }
    }

    /// Encrypts whole blocks in place, without padding; only for keys of type 1.
    pub(super) fn encrypt_blocks(&self, blocks: &mut [u8]) {
        match &self.0 {
            Kind::Aes(aes) => cbc_encrypt(&**aes, IV, blocks),
            Kind::Aes256k { .. } => debug_assert!(false, "signatures of type 2 are not encrypted"),
        }
    }

    fn decrypt(&self, bytes: &[u8]) -> Option<Secret> {
        let mut plain = Secret::default();
        let out = plain.as_mut_vec();
        match &self.0 {
            Kind::Aes(aes) => {
                if bytes.is_empty() || !bytes.len().is_multiple_of(BLOCK) {
                    return None;
                }
                out.extend_from_slice(bytes);
                cbc_decrypt(&**aes, IV, out);
                // Ceph looks no further at the padding, and neither do we: the magic and what is
                // inside tell.
                let pad = out.last().map_or(0, |pad| usize::from(*pad).min(BLOCK));
                out.truncate(out.len() - pad);
            }
            Kind::Aes256k { ke, ki } => {
                let cut = bytes.len().checked_sub(MAC)?;
                let (body, theirs) = bytes.split_at(cut);
                let is_right: bool = mac(ki, body).ct_eq(theirs).into();
                if body.len() < CONFOUNDER || !is_right {
                    return None;
                }
                out.reserve(body.len() + BLOCK);
                out.extend_from_slice(body);
                unsteal(&**ke, out);
                cbc_decrypt(&**ke, [0; BLOCK], out);
                out.truncate(body.len());
                out.drain(..CONFOUNDER);
            }
        }
        Some(plain)
    }
}

/// A plaintext; wiped when it is dropped.
#[derive(Debug)]
pub struct Opened {
    plain: Secret,
    what: &'static str,
}

impl Opened {
    /// Reads what was sealed, behind the envelope.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.plain.as_bytes()[HEAD..], self.what)
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Aes(_) => "Cipher(aes)",
            Kind::Aes256k { .. } => "Cipher(aes256k)",
        })
    }
}

fn cbc_encrypt(aes: &impl BlockEncrypt<BlockSize = U16>, iv: [u8; BLOCK], data: &mut [u8]) {
    let mut last = iv;
    for block in data.chunks_exact_mut(BLOCK) {
        xor(block, &last);
        aes.encrypt_block(Block::from_mut_slice(block));
        last.copy_from_slice(block);
    }
}

fn cbc_decrypt(aes: &impl BlockDecrypt<BlockSize = U16>, iv: [u8; BLOCK], data: &mut [u8]) {
    let mut last = iv;
    for block in data.chunks_exact_mut(BLOCK) {
        let mut this = [0; BLOCK];
        this.copy_from_slice(block);
        aes.decrypt_block(Block::from_mut_slice(block));
        xor(block, &last);
        last = this;
    }
}

fn xor(block: &mut [u8], with: &[u8]) {
    for (byte, with) in block.iter_mut().zip(with) {
        *byte ^= with;
    }
}

/// Makes ciphertext stealing of plain CBC over zero-padded blocks: the last two blocks change
/// places, and the result is cut to the length of the plaintext (variant CS3).
fn steal(data: &mut Vec<u8>, len: usize) {
    if data.len() > BLOCK {
        let last = data.len() - BLOCK;
        let (head, tail) = data.split_at_mut(last);
        head[last - BLOCK..].swap_with_slice(tail);
    }
    data.truncate(len);
}

/// The other way: the plain CBC ciphertext, of whole blocks, whose plaintext ends in zeros.
fn unsteal(aes: &impl BlockDecrypt<BlockSize = U16>, data: &mut Vec<u8>) {
    if data.len() <= BLOCK {
        return;
    }
    let blocks = data.len().div_ceil(BLOCK);
    let rest = data.len() - BLOCK * (blocks - 1);
    data.resize(BLOCK * blocks, 0);
    let (head, tail) = data.split_at_mut(BLOCK * (blocks - 1));
    let full = &mut head[BLOCK * (blocks - 2)..];
    // What the sender cut off was encrypted once more, over zeros: there it can be had back.
    let mut again = [0; BLOCK];
    again.copy_from_slice(full);
    aes.decrypt_block(Block::from_mut_slice(&mut again));
    tail[rest..].copy_from_slice(&again[rest..]);
    full.swap_with_slice(tail);
    again.zeroize();
}

/// RFC 8009 §3 with one HMAC: `len` is at most 48.
fn subkey(secret: &[u8], usage: u32, kind: u8, len: usize) -> Secret {
    let mut block = Vec::with_capacity(14);
    block.put_u32(1);
    block.put_u32(usage);
    block.put_u8(kind);
    block.put_u8(0);
    block.put_u32(len as u32 * 8);
    let mut out = hmac_sha384(secret, &[&block]);
    let key = Secret::from(&out[..len]);
    out.zeroize();
    key
}

fn mac(ki: &Secret, ciphertext: &[u8]) -> [u8; MAC] {
    let whole = hmac_sha384(ki.as_bytes(), &[&[0; BLOCK], ciphertext]);
    let mut out = [0; MAC];
    out.copy_from_slice(&whole[..MAC]);
    out
}

fn hmac_sha384(key: &[u8], parts: &[&[u8]]) -> [u8; 48] {
    let mac = <Hmac<Sha384> as Mac>::new_from_slice(key);
    let mut mac = mac.expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Timespec;

    fn unhex(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        pairs.map(byte).collect()
    }

    fn cipher(kind: KeyType, secret: Vec<u8>, usage: u32) -> Cipher {
        let key = CryptoKey::new(kind, Timespec::default(), secret.into()).unwrap();
        key.cipher(usage).unwrap()
    }

    /// Encrypts with a given confounder, checks the result, and decrypts it.
    fn check(cipher: &Cipher, plain: &[u8], confounder: &[u8], wanted: &str) {
        let mut random = |out: &mut [u8]| out.copy_from_slice(confounder);
        let bytes = cipher.encrypt(&mut random, plain);
        assert_eq!(bytes, unhex(wanted));
        assert_eq!(cipher.decrypt(&bytes).unwrap().as_bytes(), plain);
    }

    #[test]
    fn cbc_without_envelope() {
        let pk = cipher(KeyType::Aes, (0..16).collect(), 0);
        check(&pk, b"", &[], "7ee5cf4e557c533d502404fc3b64d7e9");
        check(&pk, b"abc", &[], "533fe7e624b8a731f4394f2f5c9423e7");
        let wanted = "d89cd5e1dbf157461f881fb33ba302b000d1aac63324afbce37017beb6e5a6eb";
        check(&pk, &[b'A'; 16], &[], wanted);
        assert!(pk.decrypt(&[]).is_none() && pk.decrypt(&[0; 17]).is_none());
    }

    #[test]
    fn rfc_8009_appendix_a() {
        let base = "6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52";
        let base = unhex(base);
        let kc = subkey(&base, 2, 0x99, 24);
        let ke = subkey(&base, 2, 0xAA, 32);
        let ki = subkey(&base, 2, 0x55, 24);
        let wanted = "ef5718be86cc84963d8bbb5031e9f5c4ba41f28faf69e73d";
        assert_eq!(kc.as_bytes(), unhex(wanted));
        let wanted = "56ab22bee63d82d7bc5227f6773f8ea7a5eb1c825160c38312980c442e5c7e49";
        assert_eq!(ke.as_bytes(), unhex(wanted));
        let wanted = "69b16514e3cd8e56b82010d5c73012b622c4d00ffc23ed1f";
        assert_eq!(ki.as_bytes(), unhex(wanted));

        let cipher = cipher(KeyType::Aes256k, base, 2);
        let rows = [
            (
                0,
                "f764e9fa15c276478b2c7d0c4e5f58e4",
                "41f53fa5bfe7026d91faf9be959195a0",
                "58707273a96a40f0a01960621ac612748b9bbfbe7eb4ce3c",
            ),
            (
                6,
                "b80d3251c1f6471494256ffe712d0b9a",
                "4ed7b37c2bcac8f74f23c1cf07e62bc7b75fb3f637b9",
                "f559c7f664f69eab7b6092237526ea0d1f61cb20d69d10f2",
            ),
            (
                16,
                "53bf8a0d105265d4e276428624ce5e63",
                "bc47ffec7998eb91e8115cf8d19dac4bbbe2e163e87dd37f49beca92027764f6",
                "8cf51f14d798c2273f35df574d1f932e40c4ff255b36a266",
            ),
            (
                21,
                "763e65367e864f02f55153c7e3b58af1",
                "40013e2df58e8751957d2878bcd2d6fe101ccfd556cb1eae79db3c3ee86429f2b2a602ac86",
                "fef6ecb647d6295fae077a1feb517508d2c16b4192e01f62",
            ),
        ];
        for (len, confounder, c, h) in rows {
            let plain: Vec<u8> = (0..len).collect();
            check(&cipher, &plain, &unhex(confounder), &format!("{c}{h}"));
        }
    }

    #[test]
    fn subkeys_of_the_usages() {
        let secret: Vec<u8> = (0..32).collect();
        let rows = [
            (0x03, "985b5b365a844e78", "6c743c95a6e97f3e"),
            (0x04, "d5dd0fc4ecb57925", "fbbcdfc9ff76a054"),
            (0x05, "be3f39a8fc25c7f4", "b3d29dcc398d14b9"),
            (0x10, "186828cb2b1f2a6f", "39ed5fc5d6966921"),
            (0x11, "953238a9d46b6b7c", "442ca5f8be9cdf2b"),
            (0x12, "f3f3588de4d226be", "69fee35450efbeed"),
            (0x20, "cda1f1d34010a664", "4adaa3ac0eb7dc2f"),
            (0x30, "9e1852932c039079", "f7285ea9ca38bfbc"),
        ];
        for (usage, ke, ki) in rows {
            assert_eq!(subkey(&secret, usage, 0xAA, 32).as_bytes()[..8], unhex(ke));
            assert_eq!(subkey(&secret, usage, 0x55, 24).as_bytes()[..8], unhex(ki));
        }
    }

    #[test]
    fn cts_of_all_lengths() {
        let pk2 = cipher(KeyType::Aes256k, (0..32).collect(), 4);
        let f0 = [0xf0; 16];
        let abc = "be8ea7b3538d55519bdaf3f8a0ae16e8be555da40b1adf4a2bf1001bb64ddb6bdc2a1d6f2b65\
                   e9cc729241";
        check(&pk2, b"abc", &f0, abc);
        let a16 = "8769a815f28b0b6160391e4f6f9bb30abe555d2db6a1d841be390963622032e38fca0adc0ea6\
                   eb1b1bb3a751433905c4c492395986f529fe";
        check(&pk2, &[b'A'; 16], &f0, a16);
        let a17 = "be555d2db6a1d841be390963622032e3ca44d01e88ecd06f1de37e0b7d410d738703f7bf45a9\
                   ce08bbe6fe8545698f3eb2f6fb5920588b8d3a";
        check(&pk2, &[b'A'; 17], &f0, a17);
        let a32 = "be555d2db6a1d841be390963622032e352b991a7f96293b6c875bfd9756816178769a815f28b\
                   0b6160391e4f6f9bb30a8c37881348b7626f7c9baaf8df612293cd2b90b014b368a7";
        check(&pk2, &[b'A'; 32], &f0, a32);
        for len in 0..150_u8 {
            let plain: Vec<u8> = (0..len).collect();
            let bytes = pk2.encrypt(&mut |out| out.fill(len), &plain);
            assert_eq!(bytes.len(), plain.len() + 40);
            assert_eq!(pk2.decrypt(&bytes).unwrap().as_bytes(), plain);
            for cut in 0..bytes.len() {
                assert!(pk2.decrypt(&bytes[..cut]).is_none());
            }
        }
    }
}
