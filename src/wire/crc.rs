//! CRC-32C as the protocol uses it: the caller's seed, no inversion at either end
//! (encoding §7). It composes: `crc32c(crc32c(s, a), b)` is the sum of `a` and `b` joined.

/// The CRC-32C of `data`, continued from `seed`.
#[inline]
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    // The crate computes the iSCSI form, which inverts before and after.
    !crc32c::crc32c_append(!seed, data)
}

/// The CRC of `len` zeros, from a seed: the seed times x to the power of their bits.
pub(crate) fn behind_zeros(seed: u32, len: usize) -> u32 {
    let mut out = seed;
    // Squares of x^8, x to the power of 8, 16, 32, and so on.
    let mut power = 1 << (31 - 8);
    let mut bits = len;
    while bits > 0 {
        if bits & 1 == 1 {
            out = multiply(power, out);
        }
        power = multiply(power, power);
        bits >>= 1;
    }
    out
}

/// The product of two polynomials modulo that of CRC-32C; the highest bit is x^0.
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for bit in (0..32).rev() {
        product ^= b & (a >> bit & 1).wrapping_neg();
        b = b >> 1 ^ 0x82f6_3b78 & (b & 1).wrapping_neg();
    }
    product
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn vectors() {
        let ramp: Vec<u8> = (0..32).collect();
        let table: [(&[u8], u32, u32); 16] = [
            (b"", 0, 0),
            (b"", 0xffff_ffff, 0xffff_ffff),
            (b"123456789", 0, 0x58e3_fa20),
            (b"123456789", 0xffff_ffff, 0x1cf9_6d7c),
            (b"foo bar baz", 0, 0xf58c_78ac),
            (b"foo bar baz", 1234, 0x348d_acce),
            (b"whiz bang boom", 0, 0x8cae_40c8),
            (b"whiz bang boom", 5678, 0xdf19_f0c8),
            (&[1; 5], 0, 0xa1dc_4c1e),
            (&[1; 35], 0, 0x1a41_fb58),
            (&[0; 32], 0, 0),
            (&[0; 32], 0xffff_ffff, 0x756e_c955),
            (&[0; 4096], 0xffff_ffff, 0x6706_be76),
            (&ramp, 0xffff_ffff, 0xb922_86b1),
            (b"ceph v027", 0, 0x35d4_bc3e),
            (b"hello", 0, 0xdf03_cd79),
        ];
        for (data, seed, want) in table {
            assert_eq!(crc32c(seed, data), want, "{data:?} from {seed:#x}");
            for cut in 0..data.len().min(64) {
                let (a, b) = data.split_at(cut);
                assert_eq!(crc32c(crc32c(seed, a), b), want, "cut at {cut}");
            }
        }
    }
}
