//! The two directions of an encrypted connection (msgr2 §5.8).

use std::error::Error;
use std::fmt;

use super::nonce::Nonce;
use super::{Aead, KEY_LEN, NONCE_LEN, NonceStep, OpenError, Provider, TAG_LEN};

/// Bytes of the connection secret that are used: the key and the two first nonces.
pub const SECRET_LEN_MIN: usize = KEY_LEN + 2 * NONCE_LEN;

/// Which end of the connection this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The one that connected.
    Client,
    /// The one that accepted.
    Server,
}

/// What is sent.
#[derive(Debug)]
pub struct Sealer {
    aead: Box<dyn Aead>,
    nonce: Nonce,
    first: [u8; NONCE_LEN],
    used: bool,
}

/// What is received.
#[derive(Debug)]
pub struct Opener {
    aead: Box<dyn Aead>,
    nonce: Nonce,
}

/// Why nothing more can be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealError;

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all nonces of the connection's key have been used; connect again")
    }
}

impl Error for SealError {}

/// The ciphers of one end: for what it sends and for what it receives. `None` if the secret is too
/// short to be one.
#[must_use]
pub fn session_ciphers(
    provider: &dyn Provider,
    secret: &[u8],
    role: Role,
    step: NonceStep,
) -> Option<(Sealer, Opener)> {
    let (key, rest) = secret.split_first_chunk::<KEY_LEN>()?;
    let (from_server, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
    let from_client = rest.first_chunk::<NONCE_LEN>()?;
    let (sends, receives) = match role {
        Role::Client => (from_client, from_server),
        Role::Server => (from_server, from_client),
    };
    let sealer = Sealer::new(provider.aes128_gcm(key), *sends, step);
    let opener = Opener::new(provider.aes128_gcm(key), *receives, step);
    Some((sealer, opener))
}

impl Sealer {
    /// A sealer whose first text gets this nonce.
    #[must_use]
    pub fn new(aead: Box<dyn Aead>, first: [u8; NONCE_LEN], step: NonceStep) -> Self {
        Self {
            aead,
            nonce: Nonce::new(first, step),
            first,
            used: false,
        }
    }

    /// The nonce of the next text.
    #[must_use]
    pub fn next_nonce(&self) -> &[u8; NONCE_LEN] {
        self.nonce.value()
    }

    /// Encrypts in place, and returns the tag that goes behind the text.
    ///
    /// # Errors
    /// If the nonces have come around to the first one: using it again would give the key away.
    pub fn seal(&mut self, text: &mut [u8]) -> Result<[u8; TAG_LEN], SealError> {
        if self.used && *self.nonce.value() == self.first {
            return Err(SealError);
        }
        self.used = true;
        Ok(self.aead.seal(&self.nonce.take(), text))
    }
}

impl Opener {
    /// An opener that expects this nonce for the first text.
    #[must_use]
    pub fn new(aead: Box<dyn Aead>, first: [u8; NONCE_LEN], step: NonceStep) -> Self {
        Self {
            aead,
            nonce: Nonce::new(first, step),
        }
    }

    /// The nonce of the next text.
    #[must_use]
    pub fn next_nonce(&self) -> &[u8; NONCE_LEN] {
        self.nonce.value()
    }

    /// Decrypts in place.
    ///
    /// # Errors
    /// If the tag does not fit: the text was changed, repeated or left out on its way.
    pub fn open(&mut self, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), OpenError> {
        self.aead.open(&self.nonce.take(), text, tag)
    }

    /// Decrypts the beginning of the next text, which must be opened as a whole later.
    pub fn peek(&self, beginning: &mut [u8; 32]) {
        self.aead.peek(self.nonce.value(), beginning);
    }
}

#[cfg(test)]
mod tests {
    use super::super::best;
    use super::*;

    #[test]
    fn the_first_nonce_is_not_used_again() {
        let aead = best().aes128_gcm(&[1; KEY_LEN]);
        let mut sealer = Sealer::new(aead, [7; NONCE_LEN], NonceStep::First32);
        assert!(sealer.seal(&mut [0; 4]).is_ok());
        // As if all others had been used meanwhile.
        sealer.nonce = Nonce::new([7; NONCE_LEN], NonceStep::First32);
        assert_eq!(sealer.seal(&mut [0; 4]), Err(SealError));
        assert_eq!(sealer.seal(&mut [0; 4]), Err(SealError), "for good");
    }

    #[test]
    fn the_two_ends_are_crossed() {
        let secret: Vec<u8> = (0x40..0x80).collect();
        let ciphers = |role| session_ciphers(best(), &secret, role, NonceStep::Last64);
        let (mut sends, opens) = ciphers(Role::Client).expect("long enough");
        let (seals, mut receives) = ciphers(Role::Server).expect("long enough");
        assert_eq!(sends.next_nonce()[..], secret[28..40]);
        assert_eq!(seals.next_nonce()[..], secret[16..28]);
        assert_eq!(opens.next_nonce(), seals.next_nonce());
        for _ in 0..3 {
            let mut text = *b"text";
            let tag = sends.seal(&mut text).expect("fresh");
            assert_eq!(receives.open(&mut text, &tag), Ok(()));
            assert_eq!(&text, b"text");
        }
        let short = session_ciphers(best(), &secret[..39], Role::Client, NonceStep::Last64);
        assert!(short.is_none());
    }
}
