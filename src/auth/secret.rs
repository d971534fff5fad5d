//! Bytes that nobody may see: wiped when they are dropped, compared in constant time, never
//! printed.
//!
//! Invariant: `Debug` tells the length and nothing else.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Secret bytes, wiped when they are dropped.
#[derive(Clone, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `len` bytes from a generator.
    #[must_use]
    pub fn random(len: usize, random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut bytes = vec![0; len];
        if len > 0 {
            random(&mut bytes);
        }
        Self(bytes)
    }

    /// For in-place work of the ciphers.
    pub(super) fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

/// Takes the bytes over; no copy is left behind.
impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

/// In constant time for equal lengths.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}
