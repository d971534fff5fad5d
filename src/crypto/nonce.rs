//! Nonces: 12 bytes of which a part counts up (msgr2 §5.8).

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;

/// Which part of a nonce counts; little-endian, and it wraps around.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NonceStep {
    /// The first four bytes, as revision 2.0 does.
    First32,
    /// The last eight bytes, as revision 2.1 does.
    Last64,
}

/// A nonce that moves on with each use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nonce {
    value: [u8; NONCE_LEN],
    step: NonceStep,
}

impl Nonce {
    pub(super) fn new(value: [u8; NONCE_LEN], step: NonceStep) -> Self {
        Self { value, step }
    }

    /// The next one to be used.
    pub(super) fn value(&self) -> &[u8; NONCE_LEN] {
        &self.value
    }

    /// Gives this one, and moves on.
    pub(super) fn take(&mut self) -> [u8; NONCE_LEN] {
        let now = self.value;
        let counting = match self.step {
            NonceStep::First32 => &mut self.value[..4],
            NonceStep::Last64 => &mut self.value[4..],
        };
        for byte in counting {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_counts_its_part_and_wraps() {
        let ones = [0xff; NONCE_LEN];
        let table = [
            (
                NonceStep::First32,
                [0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
            ),
            (
                NonceStep::Last64,
                [255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
        ];
        for (step, wrapped) in table {
            let mut nonce = Nonce::new(ones, step);
            assert_eq!(nonce.take(), ones);
            assert_eq!(*nonce.value(), wrapped);
        }
        let mut nonce = Nonce::new([0; NONCE_LEN], NonceStep::Last64);
        for _ in 0..0x1_0203 {
            nonce.take();
        }
        assert_eq!(*nonce.value(), [0, 0, 0, 0, 3, 2, 1, 0, 0, 0, 0, 0]);
    }
}
