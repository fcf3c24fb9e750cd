//! s·G from a table of affine points, on the curves of 256 bits, in constant time.
//!
//! With t = s + 31/2 · (1 + 32 + 32² + ..) modulo q, and f_i its digits in base 32, s·G is the sum over i of
//! (f_i - 31/2) · 32^i·G. Each of these factors is an odd half: none is zero, and of each digit's multiples
//! half are the negatives of the others. So the table holds 1/2, 3/2, .. 31/2 times 32^i·G, and a digit says
//! by its highest bit whether it is the multiple itself, and by the others which. The crates' additions of an
//! affine point are complete: no case is special.

use std::ops::{AddAssign, Neg};

use elliptic_curve::group::Group;
use elliptic_curve::subtle::{Choice, ConditionallySelectable};
use elliptic_curve::{BatchNormalize, CurveArithmetic, Field, PrimeField};
use zeroize::{Zeroize, Zeroizing};

/// Bits of a digit.
const WIDTH: usize = 5;

/// Multiples of a digit.
const MULTIPLES: usize = 1 << (WIDTH - 1);

/// Values of a digit.
const VALUES: u64 = 1 << WIDTH;

/// Scalars have so many bits, and no more.
const SCALAR_BITS: usize = 256;

/// The multiples of each digit: 82 KB.
pub(crate) struct FixedBase<C: CurveArithmetic> {
    /// 31/2 · (1 + 32 + 32² + ..).
    offset: C::Scalar,
    digits: Vec<[C::AffinePoint; MULTIPLES]>,
}

impl<C> FixedBase<C>
where
    C: CurveArithmetic,
    C::AffinePoint: ConditionallySelectable,
    C::ProjectivePoint: BatchNormalize<[C::ProjectivePoint], Output = Vec<C::AffinePoint>>
        + for<'a> AddAssign<&'a C::AffinePoint>,
{
    /// A millisecond or two.
    pub(crate) fn new() -> Self {
        let half = C::Scalar::TWO_INV;
        let (mut weight, mut weights) = (C::Scalar::ONE, C::Scalar::ZERO);
        let mut points = Vec::new();
        for _ in 0..SCALAR_BITS.div_ceil(WIDTH) {
            let step = C::ProjectivePoint::generator() * weight;
            let first = C::ProjectivePoint::generator() * (weight * half);
            points.extend(std::iter::successors(Some(first), |point| Some(*point + step)).take(MULTIPLES));
            weights += weight;
            weight *= C::Scalar::from(VALUES);
        }
        let affine = C::ProjectivePoint::batch_normalize(points.as_slice());
        FixedBase {
            offset: weights * C::Scalar::from(VALUES - 1) * half,
            digits: affine.as_chunks().0.to_vec(),
        }
    }

    /// scalar·G.
    pub(crate) fn mul(&self, scalar: &C::Scalar) -> C::ProjectivePoint {
        let mut bytes = (self.offset + scalar).to_repr();
        // Little endian, with room for the bits beyond the highest.
        let mut number = Zeroizing::new([0; SCALAR_BITS / 8 + 1]);
        for (low, high) in number.iter_mut().zip(bytes.iter().rev()) {
            *low = *high;
        }
        bytes.zeroize();
        let mut sum = C::ProjectivePoint::identity();
        for (i, multiples) in self.digits.iter().enumerate() {
            let (byte, bit) = (i * WIDTH / 8, i * WIDTH % 8);
            let word = u16::from_le_bytes([number[byte], number[byte + 1]]);
            sum += &select(multiples, (word >> bit) as u8 % VALUES as u8);
        }
        sum
    }
}

/// The digit's multiple: all are read, whatever the digit. They are halved bit by bit.
fn select<A>(multiples: &[A; MULTIPLES], digit: u8) -> A
where
    A: ConditionallySelectable + Neg<Output = A>,
{
    let positive = digit / MULTIPLES as u8;
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

    fn the_product_is_that_of_the_general_multiplication<C: Curve>() {
        let agrees = |scalar: C::Scalar| {
            assert_eq!(C::mul_generator(&scalar), C::Point::generator() * scalar, "{scalar:?}");
        };
        let mut rng = test_rng(1);
        for _ in 0..100 {
            agrees(C::random_scalar(&mut rng));
        }
        for small in 0..70u64 {
            agrees(C::Scalar::from(small));
            agrees(-C::Scalar::from(small));
        }
    }

    #[test]
    fn the_product_is_that_of_the_general_multiplication_on_either_curve() {
        the_product_is_that_of_the_general_multiplication::<Secp256k1>();
        the_product_is_that_of_the_general_multiplication::<P256>();
    }

    /// Scalars whose t is all zeros but for one digit, which takes every value.
    fn every_digit_gives_its_multiple<C: Curve>() {
        let places = SCALAR_BITS.div_ceil(WIDTH);
        let mut powers = vec![C::Scalar::ONE];
        for place in 1..places {
            powers.push(powers[place - 1] * C::Scalar::from(VALUES));
        }
        let sum = powers.iter().fold(C::Scalar::ZERO, |sum, power| sum + power);
        let offset = sum * C::Scalar::from(VALUES - 1) * C::Scalar::TWO_INV;
        for (place, power) in powers.iter().enumerate() {
            let mut expected = C::Point::generator() * -offset;
            let step = C::Point::generator() * *power;
            let mut scalar = -offset;
            // The highest digit does not take all values below q.
            for _ in 0..if place + 1 == places { 2 } else { VALUES } {
                assert_eq!(C::mul_generator(&scalar), expected, "digit {place}");
                (scalar, expected) = (scalar + power, expected + step);
            }
        }
    }

    #[test]
    fn every_value_of_every_digit_gives_its_multiple() {
        every_digit_gives_its_multiple::<Secp256k1>();
        every_digit_gives_its_multiple::<P256>();
    }
}
