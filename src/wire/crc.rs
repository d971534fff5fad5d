//! CRC-32C as the protocol uses it: the caller's seed, no inversion at either end
//! (encoding §7). It composes: `crc32c(crc32c(s, a), b)` is the sum of `a` and `b` joined.

/// How many bytes the quicker crate has to sum to be worth one multiplication.
const WORTH: usize = 2048;

/// x to the power of 8 times each power of two.
const POWERS: [u32; usize::BITS as usize] = {
    let mut powers = [1 << (31 - 8); usize::BITS as usize];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = multiply(powers[i - 1], powers[i - 1]);
        i += 1;
    }
    powers
};

/// The CRC-32C of `data`, continued from `seed`.
#[inline]
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    // The crates compute the iSCSI form, which inverts before and after. The quicker one begins
    // with all ones whatever is asked for; as a sum is linear in its seed, that can be made good.
    let multiplications = match seed {
        u32::MAX => 0,
        _ => data.len().count_ones() as usize,
    };
    if data.len() < WORTH * multiplications {
        return !crc32c::crc32c_append(!seed, data);
    }
    !crc_fast::crc32_iscsi(data) ^ behind_zeros(!seed, data.len())
}

/// The CRC of `len` zeros, from a seed: the seed times x to the power of their bits.
pub(crate) fn behind_zeros(seed: u32, len: usize) -> u32 {
    let (mut out, mut bits) = (seed, len);
    while out != 0 && bits != 0 {
        out = multiply(POWERS[bits.trailing_zeros() as usize], out);
        bits &= bits - 1;
    }
    out
}

/// The product of two polynomials modulo that of CRC-32C; the highest bit is x^0.
const fn multiply(mut a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    while a != 0 {
        product ^= b & (a >> 31).wrapping_neg();
        a <<= 1;
        b = b >> 1 ^ 0x82f6_3b78 & (b & 1).wrapping_neg();
    }
    product
}

#[cfg(test)]
mod tests {
    use super::{WORTH, crc32c};

    #[test]
    fn vectors() {
        let ramp: Vec<u8> = (0..17 * WORTH).map(|i| (i * 7 + i / 255) as u8).collect();
        let slowly = |seed: u32, data: &[u8]| !crc32c::crc32c_append(!seed, data);
        let around = |n: usize| n - 2..n + 3;
        let lens = (0..300).chain(around(WORTH)).chain(around(4 * WORTH));
        for len in lens
            .chain(around(16 * WORTH))
            .chain([3 * WORTH, 5 * WORTH - 7])
        {
            for seed in [0, 1, 0xdead_beef, u32::MAX] {
                let data = &ramp[len % 7..][..len];
                let sums = (crc32c(seed, data), slowly(seed, data));
                assert_eq!(sums.0, sums.1, "{seed:#x}, {len} bytes");
            }
        }
    }
}
