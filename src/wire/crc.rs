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

/// What all ones become behind so many zeros, few, and each power of two: what the sums from seed 0
/// need that `msgr` v1 has three of for each message.
const ONES_BEHIND: [u32; 257] = {
    let mut ones = [u32::MAX; 257];
    let mut i = 1;
    while i < ones.len() {
        ones[i] = multiply(POWERS[0], ones[i - 1]);
        i += 1;
    }
    ones
};
const ONES_BEHIND_POWERS: [u32; usize::BITS as usize] = {
    let mut ones = POWERS;
    let mut i = 0;
    while i < ones.len() {
        ones[i] = multiply(POWERS[i], u32::MAX);
        i += 1;
    }
    ones
};

/// The CRC-32C of `data`, continued from `seed`.
#[inline]
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    // The crates compute the iSCSI form, which inverts before and after. The quicker one begins
    // with all ones whatever is asked for; as a sum is linear in its seed, that can be made good.
    let made_good = match seed {
        u32::MAX => 0,
        0 if data.len() < ONES_BEHIND.len() => ONES_BEHIND[data.len()],
        _ => return continued(seed, data),
    };
    !crc_fast::crc32_iscsi(data) ^ made_good
}

fn continued(seed: u32, data: &[u8]) -> u32 {
    let bits = data.len().count_ones() as usize;
    let multiplications = if seed == 0 { bits - 1 } else { bits };
    if data.len() < WORTH * multiplications {
        return !crc32c::crc32c_append(!seed, data);
    }
    let made_good = match seed {
        0 => ones_behind(data.len()),
        _ => behind_zeros(!seed, data.len()),
    };
    !crc_fast::crc32_iscsi(data) ^ made_good
}

/// What all ones become behind `len` zeros.
pub(crate) fn ones_behind(len: usize) -> u32 {
    if let Some(ones) = ONES_BEHIND.get(len) {
        return *ones;
    }
    let highest = len.ilog2();
    behind_zeros(ONES_BEHIND_POWERS[highest as usize], len ^ 1 << highest)
}

/// The CRC of `len` zeros, from a seed: the seed times x to the power of their bits.
fn behind_zeros(seed: u32, len: usize) -> u32 {
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
