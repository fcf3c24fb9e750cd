//! Integers in 64-bit limbs, least significant first, for sums of many products with one reduction
//! at their end (`docs/spec/ot.md` 5.5).
//!
//! The multiplication handles thousands of scalars that are used once, in sums. Reducing each would
//! be most of its time. Here a pad stays the integer it was drawn as, products are added up
//! unreduced, and Montgomery's reduction runs once per result. Nothing here branches on values.
//!
//! `N` limbs hold a scalar, `V` limbs a pad plus some headroom; a product has `A` = N + V limbs.
//! The reduction divides by S = 2^(64·V); a factor S is worked into one side of each product.

use elliptic_curve::{Field as _, PrimeField};

use crate::curve::Curve;

/// The modulus of a curve's scalars, for pads of `V` limbs.
pub(super) struct Modulus<const N: usize, const V: usize> {
    pub(super) q: [u64; N],
    /// -1/q modulo 2^64.
    negated_inverse: u64,
    /// 2^(64·(i+2)) modulo q for the highest limbs i of a pad.
    high_powers: [[u64; N]; HIGH],
}

/// Highest limbs of a pad that are folded; what is below them is less than 2^κ.
const HIGH: usize = 3;

impl<const N: usize, const V: usize> Modulus<N, V> {
    pub(super) fn new<C: Curve>() -> Self {
        // q = (q - 1) + 1; q is odd, so the last step has no carry.
        let mut q = scalar_to_limbs::<C, N>(&-C::Scalar::ONE);
        q[0] |= 1;
        // Newton: each step doubles the number of right bits, from 3 (q·q = 1 modulo 8).
        let mut inverse = q[0];
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(q[0].wrapping_mul(inverse)));
        }
        let high_powers =
            std::array::from_fn(|i| scalar_to_limbs::<C, N>(&power_of_two::<C>(64 * (V - HIGH + i + 2))));
        Modulus { q, negated_inverse: inverse.wrapping_neg(), high_powers }
    }

    /// sum / S modulo q, below q.
    ///
    /// `sum` must be below q·S; `docs/spec/ot.md` 5.5 shows it for each use.
    #[inline(always)]
    pub(super) fn reduce<const A: usize>(&self, mut sum: [u64; A]) -> [u64; N] {
        const { assert!(A == N + V) };
        let top = self.clear_low_limbs::<A>(&mut sum, V);
        let mut result = [0u64; N];
        result.copy_from_slice(&sum[V..]);
        self.subtract_once(result, top).0
    }

    /// pad modulo q, below q.
    #[inline(always)]
    pub(super) fn reduce_pad(&self, pad: &[u64; V]) -> [u64; N] {
        // pad · 2^128, its highest limbs folded, then Montgomery's division by 2^128.
        let (low, high) = pad.split_at(V - HIGH);
        let mut sum = [0u64; V];
        sum[2..V - 1].copy_from_slice(low);
        for (limb, power) in high.iter().zip(&self.high_powers) {
            accumulate_limb(&mut sum, *limb, power);
        }
        let carry = self.clear_low_limbs::<V>(&mut sum, 2);
        let mut result = [0u64; N];
        result.copy_from_slice(&sum[2..N + 2]);
        // P-521's pads have no limb above the result.
        let top = sum.get(N + 2).copied().unwrap_or(carry);
        // Below 3q: the low limbs are less than 2^κ < 2q, the folded ones next to nothing.
        let (result, top) = self.subtract_once(result, top);
        self.subtract_once(result, top).0
    }

    /// a + b modulo q, for a and b below q.
    #[inline(always)]
    pub(super) fn add(&self, mut a: [u64; N], b: &[u64; N]) -> [u64; N] {
        let mut carry = 0;
        for i in 0..N {
            (a[i], carry) = add(a[i], b[i], carry);
        }
        self.subtract_once(a, carry).0
    }

    /// Adds the multiple of q that makes the `count` lowest limbs zero; returns the carry.
    #[inline(always)]
    fn clear_low_limbs<const A: usize>(&self, sum: &mut [u64; A], count: usize) -> u64 {
        let mut top = 0u64;
        for i in 0..count {
            let factor = sum[i].wrapping_mul(self.negated_inverse);
            let mut carry = 0u64;
            for j in 0..N {
                (sum[i + j], carry) = multiply_add(sum[i + j], factor, self.q[j], carry);
            }
            // The carry of the step before belongs to this limb too.
            (sum[i + N], top) = add(sum[i + N], carry, top);
        }
        for limb in &mut sum[count + N..] {
            (*limb, top) = add(*limb, 0, top);
        }
        top
    }

    /// Subtracts q from value + top · 2^(64·N), unless that is negative. `top` is 0 or 1.
    #[inline(always)]
    fn subtract_once(&self, mut value: [u64; N], top: u64) -> ([u64; N], u64) {
        let mut difference = [0u64; N];
        let mut borrow = 0u64;
        for i in 0..N {
            (difference[i], borrow) = subtract(value[i], self.q[i], borrow);
        }
        // The compiler is kept from making a branch of it.
        let keep = std::hint::black_box((borrow & !top).wrapping_neg());
        for i in 0..N {
            value[i] = (value[i] & keep) | (difference[i] & !keep);
        }
        (value, top & !borrow)
    }
}

/// sum += a · b.
#[inline(always)]
pub(super) fn accumulate<const N: usize, const V: usize, const A: usize>(
    sum: &mut [u64; A],
    a: &[u64; N],
    b: &[u64; V],
) {
    const { assert!(A == N + V) };
    for i in 0..N {
        let mut carry = 0u64;
        for j in 0..V {
            (sum[i + j], carry) = multiply_add(sum[i + j], a[i], b[j], carry);
        }
        for limb in &mut sum[i + V..] {
            (*limb, carry) = add(*limb, 0, carry);
        }
    }
}

/// sum += limb · a.
#[inline(always)]
fn accumulate_limb<const N: usize, const A: usize>(sum: &mut [u64; A], limb: u64, a: &[u64; N]) {
    let mut carry = 0u64;
    for j in 0..N {
        (sum[j], carry) = multiply_add(sum[j], limb, a[j], carry);
    }
    for limb in &mut sum[N..] {
        (*limb, carry) = add(*limb, 0, carry);
    }
}

/// sum += mask & a, for a mask of all ones or zero; `a` has no more limbs than `sum`.
#[inline(always)]
pub(super) fn add_masked<const N: usize, const A: usize>(sum: &mut [u64; A], a: &[u64; N], mask: u64) {
    let mut carry = 0u64;
    for (i, limb) in sum.iter_mut().enumerate() {
        let addend = if i < N { a[i] & mask } else { 0 };
        (*limb, carry) = add(*limb, addend, carry);
    }
}

/// a - b, which must not be negative.
#[inline(always)]
pub(super) fn difference<const V: usize>(a: &[u64; V], b: &[u64; V]) -> [u64; V] {
    let mut result = [0; V];
    let mut borrow = 0u64;
    for i in 0..V {
        (result[i], borrow) = subtract(a[i], b[i], borrow);
    }
    result
}

/// Reads a big-endian number of at most 8·N bytes.
#[inline(always)]
pub(super) fn limbs_from_bytes<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut limbs = [0u64; N];
    for (limb, chunk) in limbs.iter_mut().zip(bytes.rchunks(8)) {
        let mut word = [0; 8];
        word[8 - chunk.len()..].copy_from_slice(chunk);
        *limb = u64::from_be_bytes(word);
    }
    limbs
}

/// Writes a number big endian; it must fit.
#[inline(always)]
pub(super) fn limbs_to_bytes<const N: usize>(limbs: &[u64; N], bytes: &mut [u8]) {
    for (limb, chunk) in limbs.iter().zip(bytes.rchunks_mut(8)) {
        let word = limb.to_be_bytes();
        chunk.copy_from_slice(&word[8 - chunk.len()..]);
    }
}

pub(super) fn scalar_to_limbs<C: Curve, const N: usize>(scalar: &C::Scalar) -> [u64; N] {
    limbs_from_bytes(scalar.to_repr().as_ref())
}

pub(super) fn scalar_from_limbs<C: Curve, const N: usize>(limbs: &[u64; N]) -> C::Scalar {
    let mut bytes = [0u8; MAX_BYTES];
    let bytes = &mut bytes[..C::SCALAR_BYTES];
    limbs_to_bytes(limbs, bytes);
    let scalar = C::decode_scalar(bytes).expect("a reduced number is below q");
    zeroize::Zeroize::zeroize(bytes);
    scalar
}

/// 2^exponent modulo q.
pub(super) fn power_of_two<C: Curve>(exponent: usize) -> C::Scalar {
    C::Scalar::from(2).pow_vartime([exponent as u64])
}

/// P-521 has the longest scalars.
const MAX_BYTES: usize = 66;

/// (low, high) of sum + a · b + carry, which fits in 128 bits.
#[inline(always)]
fn multiply_add(sum: u64, a: u64, b: u64, carry: u64) -> (u64, u64) {
    let wide = u128::from(a) * u128::from(b) + u128::from(sum) + u128::from(carry);
    (wide as u64, (wide >> 64) as u64)
}

/// (a + b + carry, new carry).
#[inline(always)]
fn add(a: u64, b: u64, carry: u64) -> (u64, u64) {
    let wide = u128::from(a) + u128::from(b) + u128::from(carry);
    (wide as u64, (wide >> 64) as u64)
}

/// (a - b - borrow, new borrow).
#[inline(always)]
fn subtract(a: u64, b: u64, borrow: u64) -> (u64, u64) {
    let wide = u128::from(a).wrapping_sub(u128::from(b)).wrapping_sub(u128::from(borrow));
    (wide as u64, (wide >> 127) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{P256, P384, P521, Secp256k1};
    use crate::hedged::test_rng;
    use num_bigint::BigUint;
    use rand_core::Rng;

    fn big<const N: usize>(limbs: &[u64; N]) -> BigUint {
        limbs.iter().rev().fold(BigUint::ZERO, |sum, limb| (sum << 64u32) + limb)
    }

    fn agrees_with_big_integers<C: Curve, const N: usize, const V: usize, const A: usize>(pad_bits: usize) {
        let mut rng = test_rng(1);
        let modulus = Modulus::<N, V>::new::<C>();
        let q = big(&modulus.q);
        let s = BigUint::from(1u8) << (64 * V);
        let limit: [u64; V] = std::array::from_fn(|i| match pad_bits.saturating_sub(64 * i) {
            bits @ 0..64 => (1 << bits) - 1,
            _ => u64::MAX,
        });
        for round in 0..200 {
            let mut sum = [0u64; A];
            let mut expected = BigUint::ZERO;
            let mut pads = Vec::new();
            for _ in 0..if round == 0 { 700 } else { 3 } {
                let mut a = scalar_to_limbs::<C, N>(&C::random_scalar(&mut rng));
                let mut b: [u64; V] = std::array::from_fn(|_| rng.next_u64());
                b.iter_mut().zip(&limit).for_each(|(limb, limit)| *limb &= limit);
                if round == 0 {
                    // The largest values and the longest sum that can occur.
                    a = scalar_to_limbs::<C, N>(&-C::Scalar::ONE);
                    b = limit;
                }
                pads.push(b);
                accumulate(&mut sum, &a, &b);
                add_masked(&mut sum, &a, u64::MAX);
                add_masked(&mut sum, &a, 0);
                expected += big(&a) * big(&b) + big(&a);
            }
            assert_eq!(big(&sum), expected);
            let reduced = modulus.reduce::<A>(sum);
            assert!(big(&reduced) < q);
            assert_eq!(big(&reduced) * &s % &q, &expected % &q);

            let other = modulus.reduce_pad(&pads[0]);
            assert_eq!(big(&modulus.add(reduced, &other)), (big(&reduced) + big(&other)) % &q);
            for pad in pads.iter().chain([&limit, &[0; V]]) {
                assert_eq!(big(&modulus.reduce_pad(pad)), big(pad) % &q);
            }
            for multiple in 1..4u8 {
                let (below, above) = (&q * multiple - 1u8, &q * multiple + 1u8);
                for value in [below, &q * multiple, above] {
                    let mut pad = [0; V];
                    pad.iter_mut().zip(value.to_u64_digits()).for_each(|(limb, digit)| *limb = digit);
                    assert_eq!(big(&modulus.reduce_pad(&pad)), value % &q);
                }
            }
        }
    }

    #[test]
    fn sums_of_products_and_their_reduction_agree_with_big_integers() {
        agrees_with_big_integers::<Secp256k1, 4, 7, 11>(386);
        agrees_with_big_integers::<P256, 4, 7, 11>(386);
        agrees_with_big_integers::<P384, 6, 9, 15>(514);
        agrees_with_big_integers::<P521, 9, 11, 20>(658);
    }

    #[test]
    fn the_reduction_of_multiples_of_q_is_zero_and_of_their_neighbours_is_not() {
        let modulus = Modulus::<4, 7>::new::<P256>();
        for factor in [1u64, 2, 3, u64::MAX] {
            let mut sum = [0u64; 11];
            accumulate::<4, 7, 11>(&mut sum, &modulus.q, &[factor, 0, 0, 0, 0, 0, 0]);
            assert_eq!(modulus.reduce::<11>(sum), [0; 4]);
            sum[0] ^= 1;
            assert_ne!(modulus.reduce::<11>(sum), [0; 4]);
        }
    }
}
