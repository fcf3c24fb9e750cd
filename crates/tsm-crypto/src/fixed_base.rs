//! s·G from tables of affine points, on the curves of 256 bits: in constant time, and for public s
//! faster.
//!
//! With t = s + (2^w - 1)/2 · (1 + 2^w + 2^2w + ..) modulo q, and f_i its digits in base 2^w, s·G is the
//! sum over i of (f_i - (2^w - 1)/2) · 2^(w·i)·G. Each of these factors is an odd half: none is zero, and
//! of each digit's multiples half are the negatives of the others. So a table holds (1/2), (3/2), ..
//! times 2^(w·i)·G, and a digit says by its highest bit whether it is the multiple itself, and by the
//! others which. The crates' additions of an affine point are complete: no case is special.

use std::ops::{AddAssign, Neg, SubAssign};

use elliptic_curve::group::Group;
use elliptic_curve::subtle::{Choice, ConditionallySelectable};
use elliptic_curve::{BatchNormalize, CurveArithmetic, Field, PrimeField};
use zeroize::{Zeroize, Zeroizing};

/// Multiples of a digit of five bits, of which one is selected by reading all.
pub(crate) const SECRET: usize = 16;

/// Multiples of a digit of eight bits, of which one is read.
pub(crate) const PUBLIC: usize = 128;

/// Scalars have so many bits, and no more.
const SCALAR_BITS: usize = 256;

/// The multiples of each digit, for digits of w bits: 2^(w - 1) = `MULTIPLES`.
pub(crate) struct FixedBase<C: CurveArithmetic, const MULTIPLES: usize> {
    /// (2^w - 1)/2 · (1 + 2^w + 2^2w + ..).
    offset: C::Scalar,
    digits: Vec<[C::AffinePoint; MULTIPLES]>,
}

impl<C, const MULTIPLES: usize> FixedBase<C, MULTIPLES>
where
    C: CurveArithmetic,
    C::AffinePoint: ConditionallySelectable,
    C::ProjectivePoint: BatchNormalize<[C::ProjectivePoint], Output = Vec<C::AffinePoint>>
        + for<'a> AddAssign<&'a C::AffinePoint>
        + for<'a> SubAssign<&'a C::AffinePoint>,
{
    /// w.
    const WIDTH: usize = MULTIPLES.ilog2() as usize + 1;

    /// A few milliseconds.
    pub(crate) fn new() -> Self {
        let half = C::Scalar::TWO_INV;
        let (mut weight, mut weights) = (C::Scalar::ONE, C::Scalar::ZERO);
        let mut points = Vec::new();
        for _ in 0..SCALAR_BITS.div_ceil(Self::WIDTH) {
            let step = C::ProjectivePoint::generator() * weight;
            let mut multiple = C::ProjectivePoint::generator() * (weight * half);
            for _ in 0..MULTIPLES {
                points.push(multiple);
                multiple = multiple + step;
            }
            weights += weight;
            weight *= C::Scalar::from(2 * MULTIPLES as u64);
        }
        let affine = C::ProjectivePoint::batch_normalize(points.as_slice());
        FixedBase {
            offset: weights * C::Scalar::from(2 * MULTIPLES as u64 - 1) * half,
            digits: affine.as_chunks().0.to_vec(),
        }
    }

    /// Of each digit all multiples and its f_i, least significant first.
    fn terms(&self, scalar: &C::Scalar) -> impl Iterator<Item = (&[C::AffinePoint; MULTIPLES], u8)> {
        let mut bytes = (self.offset + scalar).to_repr();
        // Little endian, with room for the bits beyond the highest.
        let mut number = Zeroizing::new([0; SCALAR_BITS / 8 + 1]);
        for (low, high) in number.iter_mut().zip(bytes.iter().rev()) {
            *low = *high;
        }
        bytes.zeroize();
        self.digits.iter().enumerate().map(move |(i, multiples)| {
            let (byte, bit) = (i * Self::WIDTH / 8, i * Self::WIDTH % 8);
            let word = u16::from_le_bytes([number[byte], number[byte + 1]]);
            (multiples, (word >> bit) as u8 & (2 * MULTIPLES - 1) as u8)
        })
    }
}

impl<C> FixedBase<C, SECRET>
where
    C: CurveArithmetic,
    C::AffinePoint: ConditionallySelectable,
    C::ProjectivePoint: BatchNormalize<[C::ProjectivePoint], Output = Vec<C::AffinePoint>>
        + for<'a> AddAssign<&'a C::AffinePoint>
        + for<'a> SubAssign<&'a C::AffinePoint>,
{
    /// scalar·G.
    pub(crate) fn mul(&self, scalar: &C::Scalar) -> C::ProjectivePoint {
        let mut sum = C::ProjectivePoint::identity();
        for (multiples, digit) in self.terms(scalar) {
            sum += &select(multiples, digit);
        }
        sum
    }
}

impl<C> FixedBase<C, PUBLIC>
where
    C: CurveArithmetic,
    C::AffinePoint: ConditionallySelectable,
    C::ProjectivePoint: BatchNormalize<[C::ProjectivePoint], Output = Vec<C::AffinePoint>>
        + for<'a> AddAssign<&'a C::AffinePoint>
        + for<'a> SubAssign<&'a C::AffinePoint>,
{
    /// scalar·G for a public scalar.
    pub(crate) fn mul_vartime(&self, scalar: &C::Scalar) -> C::ProjectivePoint {
        let mut sum = C::ProjectivePoint::identity();
        for (multiples, digit) in self.terms(scalar) {
            match usize::from(digit).checked_sub(PUBLIC) {
                Some(multiple) => sum += &multiples[multiple],
                None => sum -= &multiples[PUBLIC - 1 - usize::from(digit)],
            }
        }
        sum
    }
}

/// The digit's multiple: all are read, whatever the digit. They are halved bit by bit.
fn select<A>(multiples: &[A; SECRET], digit: u8) -> A
where
    A: ConditionallySelectable + Neg<Output = A>,
{
    let positive = digit / SECRET as u8;
    // A negative digit counts from the other end.
    let number = digit ^ positive.wrapping_sub(1);
    let bit = |place: u8| Choice::from((number >> place) & 1);
    let of_eight: [A; 8] = halved(multiples, bit(0));
    let of_four: [A; 4] = halved(&of_eight, bit(1));
    let of_two: [A; 2] = halved(&of_four, bit(2));
    let [point]: [A; 1] = halved(&of_two, bit(3));
    A::conditional_select(&-point, &point, Choice::from(positive))
}

/// Of each two the first or the second.
fn halved<A: ConditionallySelectable, const N: usize>(points: &[A], second: Choice) -> [A; N] {
    std::array::from_fn(|i| A::conditional_select(&points[2 * i], &points[2 * i + 1], second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Curve, P256, Secp256k1};
    use crate::hedged::test_rng;

    fn agrees<C: Curve>(scalar: C::Scalar) {
        let product = C::Point::generator() * scalar;
        assert_eq!(C::mul_generator(&scalar), product, "{scalar:?}");
        assert_eq!(C::mul_generator_vartime(&scalar), product, "{scalar:?}");
    }

    fn the_product_is_that_of_the_general_multiplication<C: Curve>() {
        let mut rng = test_rng(1);
        for _ in 0..100 {
            agrees::<C>(C::random_scalar(&mut rng));
        }
        for small in 0..70u64 {
            agrees::<C>(C::Scalar::from(small));
            agrees::<C>(-C::Scalar::from(small));
        }
    }

    #[test]
    fn the_product_is_that_of_the_general_multiplication_on_either_curve() {
        the_product_is_that_of_the_general_multiplication::<Secp256k1>();
        the_product_is_that_of_the_general_multiplication::<P256>();
    }

    /// Scalars whose t is all zeros but for one digit, which takes every value.
    fn every_digit_gives_its_multiple<C: Curve>(width: u64, multiply: fn(&C::Scalar) -> C::Point) {
        let base = C::Scalar::from(1u64 << width);
        let places = 256u64.div_ceil(width);
        let powers = (0..places).scan(C::Scalar::ONE, |power, _| {
            let this = *power;
            *power *= base;
            Some(this)
        });
        let powers: Vec<C::Scalar> = powers.collect();
        let sum = powers.iter().fold(C::Scalar::ZERO, |sum, power| sum + power);
        let offset = sum * C::Scalar::from((1u64 << width) - 1) * C::Scalar::TWO_INV;
        for (place, power) in powers.iter().enumerate() {
            let mut expected = C::Point::generator() * -offset;
            let step = C::Point::generator() * *power;
            let mut scalar = -offset;
            // The highest digit does not take all values below q.
            for _ in 0..if place as u64 + 1 == places { 2 } else { 1u64 << width } {
                assert_eq!(multiply(&scalar), expected, "digit {place}");
                (scalar, expected) = (scalar + power, expected + step);
            }
        }
    }

    #[test]
    fn every_value_of_every_digit_gives_its_multiple() {
        every_digit_gives_its_multiple::<Secp256k1>(5, Secp256k1::mul_generator);
        every_digit_gives_its_multiple::<Secp256k1>(8, Secp256k1::mul_generator_vartime);
        every_digit_gives_its_multiple::<P256>(5, P256::mul_generator);
        every_digit_gives_its_multiple::<P256>(8, P256::mul_generator_vartime);
    }
}
