//! s·G on secp256k1 from a table of affine points: in constant time, and for public s faster.
//!
//! `k256` adds 65 points of a projective table and copies that table's 32 KB at every call. Here s has
//! 52 digits of five bits with a sign, for 52 of `k256`'s cheaper additions of an affine point. They
//! are its complete formulas: no case is special, neither the digit zero nor equal points.

use std::sync::OnceLock;

use elliptic_curve::BatchNormalize;
use elliptic_curve::subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use k256::{AffinePoint, ProjectivePoint, Scalar};
use zeroize::Zeroizing;

/// Bits of a digit, its sign among them.
const WIDTH: usize = 5;

/// 260 bits: the 256 of a scalar, and room for the last carry.
const DIGITS: usize = 52;

/// A digit is from -16 to 15.
const LARGEST: u8 = 1 << (WIDTH - 1);

/// 1·B to 16·B, for B = 32^i·G.
type Multiples = [AffinePoint; LARGEST as usize];

/// scalar·G.
pub(crate) fn mul_generator(scalar: &Scalar) -> ProjectivePoint {
    let digits = shifted_digits(scalar);
    let mut sum = ProjectivePoint::IDENTITY;
    for (multiples, digit) in table().iter().zip(digits.iter()) {
        sum += &select(multiples, *digit);
    }
    sum
}

/// scalar·G for a public scalar: reads of each digit's multiples the one that it needs.
pub(crate) fn mul_generator_vartime(scalar: &Scalar) -> ProjectivePoint {
    let digits = shifted_digits(scalar);
    let mut sum = ProjectivePoint::IDENTITY;
    for (multiples, shifted) in table().iter().zip(digits.iter()) {
        match shifted.checked_sub(LARGEST) {
            Some(0) => {}
            Some(digit) => sum += &multiples[usize::from(digit) - 1],
            None => sum -= &multiples[usize::from(LARGEST - shifted) - 1],
        }
    }
    sum
}

/// Digits plus 16 of a scalar, least significant first: those of the scalar plus 16·(1 + 32 + 32² + ..).
fn shifted_digits(scalar: &Scalar) -> Zeroizing<[u8; DIGITS]> {
    let bytes = Zeroizing::new(scalar.to_bytes());
    let mut limbs = Zeroizing::new([0u64; 5]);
    for (limb, chunk) in limbs.iter_mut().zip(bytes.rchunks_exact(8)) {
        *limb = u64::from_be_bytes(chunk.try_into().expect("32 bytes are four times eight"));
    }
    let mut carry = 0;
    for (limb, shift) in limbs.iter_mut().zip(SHIFT) {
        let wide = u128::from(*limb) + u128::from(shift) + carry;
        *limb = wide as u64;
        carry = wide >> 64;
    }
    Zeroizing::new(std::array::from_fn(|i| {
        let (word, bit) = (i * WIDTH / 64, i * WIDTH % 64);
        let wide = u128::from(limbs[word + 1]) << 64 | u128::from(limbs[word]);
        (wide >> bit) as u8 % (2 * LARGEST)
    }))
}

/// 16·(1 + 32 + 32² + ..): the highest bit of each digit.
const SHIFT: [u64; 5] = {
    let mut limbs = [0; 5];
    let mut digit = 0;
    while digit < DIGITS {
        let bit = digit * WIDTH + WIDTH - 1;
        limbs[bit / 64] |= 1 << (bit % 64);
        digit += 1;
    }
    limbs
};

/// (shifted - 16)·B: all multiples are read, whatever the digit.
fn select(multiples: &Multiples, shifted: u8) -> AffinePoint {
    let negative = Choice::from((shifted / LARGEST) ^ 1);
    let magnitude =
        u8::conditional_select(&shifted.wrapping_sub(LARGEST), &LARGEST.wrapping_sub(shifted), negative);
    let mut point = AffinePoint::IDENTITY;
    for (number, multiple) in (1..).zip(multiples) {
        point.conditional_assign(multiple, magnitude.ct_eq(&number));
    }
    let negated = -point;
    point.conditional_assign(&negated, negative);
    point
}

/// Made at first use, in a millisecond; 73 KB.
fn table() -> &'static [Multiples] {
    static TABLE: OnceLock<Vec<Multiples>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut points = Vec::with_capacity(DIGITS * usize::from(LARGEST));
        let mut base = ProjectivePoint::GENERATOR;
        for _ in 0..DIGITS {
            let mut multiple = ProjectivePoint::IDENTITY;
            for _ in 0..LARGEST {
                multiple += &base;
                points.push(multiple);
            }
            base = multiple.double();
        }
        let affine = <ProjectivePoint as BatchNormalize<[ProjectivePoint]>>::batch_normalize(&points);
        affine
            .chunks_exact(usize::from(LARGEST))
            .map(|multiples| multiples.try_into().expect("a chunk has sixteen points"))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Curve, Secp256k1};
    use crate::hedged::test_rng;
    use k256::elliptic_curve::PrimeField;

    fn agrees(scalar: Scalar) {
        let product = ProjectivePoint::GENERATOR * scalar;
        assert_eq!(mul_generator(&scalar), product, "{scalar:?}");
        assert_eq!(mul_generator_vartime(&scalar), product, "{scalar:?}");
    }

    #[test]
    fn the_product_is_that_of_the_general_multiplication() {
        let mut rng = test_rng(1);
        for _ in 0..100 {
            agrees(Secp256k1::random_scalar(&mut rng));
        }
        for small in 0..70u64 {
            agrees(Scalar::from(small));
            agrees(-Scalar::from(small));
        }
    }

    #[test]
    fn every_digit_at_every_place_gives_its_multiple() {
        let mut base = Scalar::ONE;
        for _ in 0..DIGITS - 1 {
            for digit in [1, 15, 16, 17, 31] {
                agrees(base * Scalar::from(digit as u64));
                agrees(-(base * Scalar::from(digit as u64)));
            }
            base *= Scalar::from(32u64);
        }
    }

    #[test]
    fn the_digits_with_their_signs_are_the_scalar() {
        let mut rng = test_rng(2);
        let mut scalars: Vec<Scalar> = (0..50).map(|_| Secp256k1::random_scalar(&mut rng)).collect();
        scalars.extend([Scalar::ZERO, Scalar::ONE, -Scalar::ONE, Scalar::from_u128(u128::MAX)]);
        for scalar in scalars {
            let digits = shifted_digits(&scalar);
            assert!(digits.iter().all(|digit| *digit < 2 * LARGEST));
            let sum = digits.iter().rev().fold(Scalar::ZERO, |sum, digit| {
                sum * Scalar::from(32u64) + Scalar::from(u64::from(*digit)) - Scalar::from(16u64)
            });
            assert_eq!(sum, scalar);
        }
    }
}
