//! Signatures of messages in v1 (cephx §10.3, aes256k §6): 64 bits made with the session key over
//! the CRCs and lengths of a message. v2 has none; there, frames are protected as a whole.

use bytes::BufMut;
use hmac::Mac;
use subtle::ConstantTimeEq;

use super::{AuthError, Cipher, CryptoKey, KeyType};

/// What a signature covers: values from the header and footer of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SignedParts {
    /// CRC of the header.
    pub header_crc: u32,
    /// CRC of the front segment.
    pub front_crc: u32,
    /// Its length.
    pub front_len: u32,
    /// CRC of the middle segment.
    pub middle_crc: u32,
    /// Its length.
    pub middle_len: u32,
    /// CRC of the data segment; 0 if those are switched off.
    pub data_crc: u32,
    /// Its length.
    pub data_len: u32,
    /// Number of the message in its session.
    pub seq: u64,
}

/// Signs the messages of one session, and checks those of the peer.
#[derive(Clone, Debug)]
pub struct Signer(Form);

#[derive(Clone)]
enum Form {
    /// The newer form by AES.
    Aes(Cipher),
    /// The newer form by HMAC.
    Hmac(CryptoKey),
    /// The form of peers without the feature CEPHX_V2.
    Old(Cipher),
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Aes(_) => "aes",
            Self::Hmac(_) => "hmac",
            Self::Old(_) => "old",
        })
    }
}

impl Signer {
    /// Signs with a session key; `cephx_v2` says whether both sides have the feature CEPHX_V2.
    ///
    /// # Errors
    /// For a key of the newer type without that feature, since no two programs agree on what its
    /// signature would be; and for an empty key.
    pub fn new(key: &CryptoKey, cephx_v2: bool) -> Result<Self, AuthError> {
        match (key.kind(), cephx_v2) {
            (KeyType::Aes256k, true) => Ok(Self(Form::Hmac(key.clone()))),
            (KeyType::Aes256k, false) => Err(AuthError::Unsupported(
                "a key of type aes256k cannot sign for a peer without the feature CEPHX_V2; \
                 upgrade the peer"
                    .into(),
            )),
            (_, true) => Ok(Self(Form::Aes(key.cipher(0)?))),
            (_, false) => Ok(Self(Form::Old(key.cipher(0)?))),
        }
    }

    /// The signature of a message.
    #[must_use]
    pub fn sign(&self, parts: &SignedParts) -> u64 {
        let mut block = [0; 32];
        match &self.0 {
            Form::Aes(cipher) => {
                fill(&mut block, parts);
                // The padding behind it does not reach the signature.
                cipher.encrypt_blocks(&mut block);
                fold(&block)
            }
            Form::Hmac(key) => {
                fill(&mut block, parts);
                let mut mac = key.hmac();
                mac.update(&block);
                fold(&mac.finalize().into_bytes())
            }
            Form::Old(cipher) => {
                let sealed = cipher.seal_raw(&mut |_| {}, |out| {
                    let crcs = [
                        parts.header_crc,
                        parts.front_crc,
                        parts.middle_crc,
                        parts.data_crc,
                    ];
                    out.put_u32_le(16);
                    for crc in crcs {
                        out.put_u32_le(crc);
                    }
                });
                first_word(&sealed)
            }
        }
    }

    /// Whether a message carries the signature that it should; in constant time.
    #[must_use]
    pub fn verify(&self, parts: &SignedParts, signature: u64) -> bool {
        let wanted = self.sign(parts).to_le_bytes();
        wanted.ct_eq(&signature.to_le_bytes()).into()
    }
}

fn fill(block: &mut [u8; 32], parts: &SignedParts) {
    let words = [
        parts.header_crc,
        parts.front_crc,
        parts.front_len,
        parts.middle_crc,
        parts.middle_len,
        parts.data_crc,
        parts.data_len,
        parts.seq as u32,
    ];
    for (place, word) in block.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// The first four little-endian words of some bytes, XORed; bytes that are not there are zeros.
pub(super) fn fold(bytes: &[u8]) -> u64 {
    bytes
        .chunks_exact(8)
        .take(4)
        .map(first_word)
        .fold(0, |sum, word| sum ^ word)
}

fn first_word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}
