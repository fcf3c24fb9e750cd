//! GF(2^128) for the consistency check of the OT extension (rule S-43, `docs/spec/ot.md` 4.1).
//!
//! The field is GF(2)\[x\] / (x^128 + x^7 + x^2 + x + 1); bit i of the word is the coefficient of
//! x^i. The product has a type, so that no bitwise AND can be mistaken for it.

use tsm_simd::Clmul;
use zeroize::Zeroizing;

use super::bits::{BitBlock, transpose};
use super::{bit128, mask128};

/// An element of GF(2^128).
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Gf128(pub(super) u128);

/// x^7 + x^2 + x + 1, which is x^128 in this field.
const REDUCTION: u128 = 0x87;

impl Gf128 {
    pub(super) fn add(self, other: Self) -> Self {
        Gf128(self.0 ^ other.0)
    }

    /// The product of the field, in constant time: Horner's rule over the bits of `self`.
    ///
    /// All single products of the check go through here; a version for carry-less multiplication
    /// instructions would replace this body and nothing else.
    pub(super) fn mul(self, other: Self) -> Self {
        let mut product = 0u128;
        for index in (0..128).rev() {
            let carry = mask128(bit128(product, 127));
            product = (product << 1) ^ (carry & REDUCTION);
            product ^= mask128(bit128(self.0, index)) & other.0;
        }
        Gf128(product)
    }
}

/// For each of 128 columns the sum over b of χ_b times its part of block b. The columns are secret, the
/// challenges public.
pub(super) fn fold(challenges: &[Gf128], blocks: &[BitBlock]) -> BitBlock {
    assert_eq!(challenges.len(), blocks.len(), "a challenge for each block");
    match Clmul::detect() {
        Some(clmul) => {
            let factors: Vec<u128> = challenges.iter().map(|challenge| challenge.0).collect();
            clmul.sums_of_products(&factors, blocks)
        }
        None => fold_vartime_in_challenges(challenges, blocks),
    }
}

/// The same without instructions for it, by rows: word i of a transposed block holds coefficient i of
/// all columns. Columns are met by XOR only; the time depends on the challenges.
fn fold_vartime_in_challenges(challenges: &[Gf128], blocks: &[BitBlock]) -> BitBlock {
    // In halves: the compiler makes wide registers of 64-bit words, but not of 128-bit ones.
    let mut halves = [[0u64; 2]; 256];
    for (challenge, block) in challenges.iter().zip(blocks) {
        let mut rows = Zeroizing::new(*block);
        transpose(&mut rows);
        let rows = Zeroizing::new(rows.map(|word| [word as u64, (word >> 64) as u64]));
        for shift in (0..128).filter(|shift| (challenge.0 >> shift) & 1 == 1) {
            let sums = halves[shift..shift + 128].as_flattened_mut();
            for (sum, word) in sums.iter_mut().zip(rows.as_flattened()) {
                *sum ^= word;
            }
        }
    }
    let mut product = halves.map(|[low, high]| u128::from(high) << 64 | u128::from(low));
    // x^m = x^(m-128) · (x^7 + x^2 + x + 1), highest first: the new terms are below m.
    for m in (128..256).rev() {
        let high = product[m];
        for term in [0, 1, 2, 7] {
            product[m - 128 + term] ^= high;
        }
    }
    let mut folded = [0; 128];
    folded.copy_from_slice(&product[..128]);
    transpose(&mut folded);
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hedged::test_rng;
    use num_bigint::BigUint;
    use rand_core::Rng;

    fn random(rng: &mut impl Rng) -> Gf128 {
        Gf128(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
    }

    /// Independent of `mul`: the full polynomial product first, then long division, on big integers.
    fn slow_mul(a: Gf128, b: Gf128) -> Gf128 {
        let polynomial = (BigUint::from(1u8) << 128u32) + BigUint::from(REDUCTION);
        let mut product = BigUint::ZERO;
        for i in 0..128u64 {
            if (a.0 >> i) & 1 == 1 {
                product ^= BigUint::from(b.0) << i;
            }
        }
        for i in (128..=254u64).rev() {
            if product.bit(i) {
                product ^= &polynomial << (i - 128);
            }
        }
        Gf128(u128::try_from(product).unwrap())
    }

    #[test]
    fn s43_the_product_agrees_with_long_division() {
        let mut rng = test_rng(1);
        for _ in 0..500 {
            let (a, b) = (random(&mut rng), random(&mut rng));
            assert_eq!(a.mul(b), slow_mul(a, b));
        }
    }

    #[test]
    fn s43_the_product_agrees_with_the_published_ghash_value() {
        // Test case 2 of the GCM specification (McGrew, Viega): X_1 = C_1 · H. GCM writes the
        // coefficient of x^0 as the first bit, hence the reversal.
        let element = |hex: u128| Gf128(hex.reverse_bits());
        let h = element(0x66e94bd4ef8a2c3b884cfa59ca342b2e);
        let c = element(0x0388dace60b6a392f328c2b971b2fe78);
        assert_eq!(c.mul(h), element(0x5e2ec746917062882c85b0685353deb7));
    }

    #[test]
    fn s43_the_product_is_that_of_a_field() {
        let mut rng = test_rng(2);
        let one = Gf128(1);
        for _ in 0..50 {
            let (a, b, c) = (random(&mut rng), random(&mut rng), random(&mut rng));
            assert_eq!(a.mul(one), a);
            assert_eq!(a.mul(b), b.mul(a));
            assert_eq!(a.mul(b).mul(c), a.mul(b.mul(c)));
            assert_eq!(a.mul(b.add(c)), a.mul(b).add(a.mul(c)));
            // Fermat: a^(2^128) = a.
            assert_eq!((0..128).fold(a, |power, _| power.mul(power)), a);
        }
    }

    #[test]
    fn s43_x_to_the_127_times_x_is_the_reduction() {
        assert_eq!(Gf128(1 << 127).mul(Gf128(2)), Gf128(REDUCTION));
    }

    #[test]
    fn s43_the_fold_of_all_columns_is_the_fold_of_each() {
        let mut rng = test_rng(3);
        let challenges: Vec<Gf128> = (0..4).map(|_| random(&mut rng)).collect();
        let columns: Vec<BitBlock> = (0..4).map(|_| std::array::from_fn(|_| random(&mut rng).0)).collect();
        let folded = fold(&challenges, &columns);
        // By whichever way; both give the same.
        assert_eq!(folded, fold_vartime_in_challenges(&challenges, &columns));
        for a in 0..128 {
            let sum = (0..4).fold(Gf128(0), |sum, b| sum.add(challenges[b].mul(Gf128(columns[b][a]))));
            assert_eq!(folded[a], sum.0, "column {a}");
        }
    }
}
