//! A modulus q of 256 bits and what its reductions need. All of it is public.

use crate::{LIMB, PAD_LIMBS, Scalar, split};

/// Limbs of a pad that are replaced by their remainders; what is below them has 208 bits.
pub(crate) const FOLDED: usize = 4;

/// Limbs that are divided away after that.
pub(crate) const CLEARED: usize = 2;

/// A modulus above 2^255 and below 2^256.
pub struct Modulus {
    pub(crate) q: Scalar,
    /// -1/q modulo 2^52.
    pub(crate) negated_inverse: u64,
    /// 2^(52·(i + 2)) modulo q, for the highest limbs i of a pad.
    pub(crate) folds: [Scalar; FOLDED],
    /// 2^(52·8) modulo q: what a pad is multiplied by before a division by it.
    pub(crate) s: Scalar,
}

impl Modulus {
    /// For odd q; `power_of_two` gives powers of two modulo q. Numbers in limbs of 64 bits.
    pub fn new(q: &[u64; 4], power_of_two: impl Fn(usize) -> [u64; 4]) -> Self {
        // Newton: each step doubles the number of right bits, from 3 (q·q = 1 modulo 8).
        let mut inverse = q[0];
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(q[0].wrapping_mul(inverse)));
        }
        let power = |limbs: usize| split(&power_of_two(crate::LIMB_BITS * limbs));
        Modulus {
            q: split(q),
            negated_inverse: inverse.wrapping_neg() & LIMB,
            folds: std::array::from_fn(|i| power(PAD_LIMBS - FOLDED + i + CLEARED)),
            s: power(PAD_LIMBS),
        }
    }

    /// The factor that [`Ifma::check_values`](crate::Ifma::check_values) takes away, 2^416 modulo q,
    /// is to be in its coefficients: this is its exponent.
    pub const FACTOR_BITS: usize = crate::LIMB_BITS * PAD_LIMBS;
}
