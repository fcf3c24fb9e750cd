//! Polynomials over the scalars, in the clear and in the exponent (docs/spec/key-generation.md 2).

use elliptic_curve::{Field, Group};
use tsm_crypto::{Curve, NonIdentityPoint, Secret};
use tsm_types::{PlayerIndex, Players};
use zeroize::Zeroize;

/// f(at), where `coefficients` start with the constant term. Constant time.
pub(crate) fn evaluate<C: Curve>(coefficients: &[C::Scalar], at: u64) -> Secret<C::Scalar> {
    let mut at = C::Scalar::from(at);
    let mut value = Secret::new(C::Scalar::ZERO);
    for coefficient in coefficients.iter().rev() {
        *value.expose_mut() = *value.expose() * at + coefficient;
    }
    at.zeroize();
    value
}

/// f(at)·G from the points of the coefficients, all public.
pub(crate) fn evaluate_in_exponent_vartime<C: Curve>(coefficients: &[C::Point], at: u64) -> C::Point {
    coefficients
        .iter()
        .rev()
        .fold(C::Point::identity(), |value, coefficient| times_vartime::<C>(&value, at) + coefficient)
}

/// The points inside what a message carried.
pub(crate) fn points<C: Curve>(encoded: &[NonIdentityPoint<C>]) -> Vec<C::Point> {
    encoded.iter().map(|point| *point.point()).collect()
}

/// Lagrange coefficient at 0 of `signer`'s share, for the signers of a session among the holders of
/// a key. `None` if a signer is not a holder, or `signer` does not sign.
///
/// Share numbers come from the order of the holders and are distinct and below q, so that no
/// denominator is zero (rule S-21).
pub(crate) fn lagrange_at_zero<C: Curve>(
    signer: PlayerIndex,
    signers: impl Iterator<Item = PlayerIndex>,
    holders: &Players,
) -> Option<C::Scalar> {
    let own = C::Scalar::from(holders.share_number(signer)?);
    let (mut numerator, mut denominator) = (C::Scalar::ONE, C::Scalar::ONE);
    let mut signs = false;
    for other in signers {
        if other == signer {
            signs = true;
            continue;
        }
        let number = C::Scalar::from(holders.share_number(other)?);
        numerator *= number;
        denominator *= number - own;
    }
    let inverse = Option::<C::Scalar>::from(denominator.invert())?;
    signs.then_some(numerator * inverse)
}

/// factor·P for a small public factor: a share number.
fn times_vartime<C: Curve>(point: &C::Point, factor: u64) -> C::Point {
    (0..u64::BITS - factor.leading_zeros()).rev().fold(C::Point::identity(), |value, bit| {
        let doubled = value.double();
        if factor >> bit & 1 == 1 { doubled + point } else { doubled }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsm_crypto::hedged::test_rng;
    use tsm_crypto::{P521, Secp256k1};

    fn agrees<C: Curve>() {
        let mut rng = test_rng(3);
        let coefficients: Vec<C::Scalar> = (0..4).map(|_| C::random_scalar(&mut rng)).collect();
        let points: Vec<C::Point> = coefficients.iter().map(C::mul_generator).collect();
        for at in [0, 1, 2, 3, 7, 8, 32] {
            let value = evaluate::<C>(&coefficients, at);
            assert!(
                C::mul_generator(value.expose()) == evaluate_in_exponent_vartime::<C>(&points, at),
                "{at}"
            );
        }
    }

    #[test]
    fn evaluation_in_the_exponent_agrees_with_evaluation_in_the_clear() {
        agrees::<Secp256k1>();
        agrees::<P521>();
    }
}
