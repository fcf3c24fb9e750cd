//! C6 and C7 of all presignatures of a batch as one equation (docs/spec/presigning.md, step 4.2).

use elliptic_curve::Field;
use elliptic_curve::subtle::ConstantTimeEq;
use tsm_crypto::{CryptoRng, Curve, Secret};
use zeroize::Zeroize;

use super::multiply::SignaturePoints;
use crate::ecdsa::sign::check::Finished;
use crate::ecdsa::sign::multiply::MultiplyPrivate;

/// Products with secrets that share their doublings: two of a presignature. More save next to nothing.
const TOGETHER: usize = 16;

/// Bytes of a coefficient. With 120 bits none is split in two by the endomorphism of secp256k1.
const COEFFICIENT: usize = 15;

/// What peer j has shown and sent for one presignature, and what its multiplications gave.
pub(super) struct Claim<'a, C: Curve> {
    pub(super) points: &'a SignaturePoints<C>,
    pub(super) private: &'a MultiplyPrivate<C>,
    pub(super) finished: &'a Finished<C>,
}

/// Whether C6 and C7 hold for all of them, but for one of 2^120 draws of the coefficients.
pub(super) fn hold<C: Curve>(claims: &[Claim<'_, C>], rng: &mut dyn CryptoRng) -> bool {
    let mut with_chi = Vec::with_capacity(2 * claims.len());
    let mut gammas = Vec::with_capacity(2 * claims.len());
    let mut d = Secret::new(C::Scalar::ZERO);
    for Claim { points, private, finished } in claims {
        // C6 times a, and C7 times e.
        let (a, e) = (coefficient::<C>(rng), coefficient::<C>(rng));
        let (chi, [d_u, d_v]) = (finished.chi.expose(), finished.d.expose());
        with_chi.push((*points.nonce_point.point(), a * chi));
        with_chi.push((*points.key_point.point(), e * chi));
        gammas.push((*private.gamma_u.point(), a));
        gammas.push((*private.gamma_v.point(), e));
        *d.expose_mut() += a * d_u + e * d_v;
    }
    let (many, rest) = with_chi.as_chunks::<TOGETHER>();
    let products = many.iter().map(C::lincomb).chain(rest.as_chunks::<2>().0.iter().map(C::lincomb));
    // What a and e are is of no use to anybody once j has sent all that they multiply.
    let left = products.sum::<C::Point>() - C::lincomb_of_many_vartime(&gammas);
    with_chi.iter_mut().for_each(|(_, scalar)| scalar.zeroize());
    bool::from(left.ct_eq(&C::mul_generator(d.expose())))
}

/// Uniform, below 2^120.
fn coefficient<C: Curve>(rng: &mut dyn CryptoRng) -> C::Scalar {
    let mut bytes = vec![0; C::SCALAR_BYTES];
    rng.fill_bytes(&mut bytes[C::SCALAR_BYTES - COEFFICIENT..]);
    C::decode_scalar(&bytes).expect("a coefficient is shorter than the group order")
}
