//! What libsecp256k1 computes for us on secp256k1, where it is part of the build. All that it sees is
//! public.

use std::sync::OnceLock;

use elliptic_curve::Group;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey};

use crate::curve::{Curve, NonIdentityPoint, Secp256k1};

/// Whether C11 holds: the point of the verification is R exactly if the key that belongs to the signature
/// and its recovery ID is X.
pub(crate) fn recovers<C: Curve>(
    public_key: &[u8],
    digest: &[u8],
    r: &C::Scalar,
    s: &C::Scalar,
    recovery_id: u8,
) -> bool {
    let signature = [C::encode_scalar(r), C::encode_scalar(s)].concat();
    let recovery_id = RecoveryId::from_u8_masked(recovery_id);
    let recovered = RecoverableSignature::from_compact(&signature, recovery_id)
        .ok()
        .and_then(|signature| signature.recover(Message::from_digest(digest.try_into().ok()?)).ok());
    recovered.is_some_and(|key| key.serialize() == public_key)
}

/// point + scalar·G as a sum of multiples from a table. `None` if it is the identity.
pub(crate) fn shifted<C: Curve>(
    point: &NonIdentityPoint<C>,
    scalar: &C::Scalar,
) -> Option<NonIdentityPoint<C>> {
    let encoded = borsh::to_vec(point).expect("encoding to memory cannot fail");
    let point = PublicKey::from_slice(&encoded).expect("a point of the curve");
    let digits = C::encode_scalar(scalar);
    // Digit d of 256^i has number d - 1; zero has none.
    let multiples = table()
        .iter()
        .zip(digits.iter().rev())
        .filter_map(|(multiples, digit)| usize::from(*digit).checked_sub(1).map(|number| &multiples[number]));
    let terms: Vec<&PublicKey> = std::iter::once(&point).chain(multiples).collect();
    let sum = PublicKey::combine_keys(&terms).ok()?;
    Some(borsh::from_slice(&sum.serialize_uncompressed()).expect("a point of the curve"))
}

/// 1 to 255 times 256^i·G, for each byte of a scalar: 522 KB, made at first use in some milliseconds.
fn table() -> &'static [[PublicKey; 255]] {
    static TABLE: OnceLock<Vec<[PublicKey; 255]>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut points = Vec::with_capacity(Secp256k1::SCALAR_BYTES * 255);
        let mut base = <Secp256k1 as Curve>::Point::generator();
        for _ in 0..Secp256k1::SCALAR_BYTES {
            let mut multiple = base;
            for _ in 0..255 {
                points.push(multiple);
                multiple += base;
            }
            base = multiple;
        }
        let points = NonIdentityPoint::<Secp256k1>::batch(&points).expect("no multiple is the identity");
        let keys: Vec<PublicKey> = points
            .iter()
            .map(|point| {
                let encoded = borsh::to_vec(point).expect("encoding to memory cannot fail");
                PublicKey::from_slice(&encoded).expect("a point of the curve")
            })
            .collect();
        keys.as_chunks().0.to_vec()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hedged::test_rng;

    type Scalar = <Secp256k1 as Curve>::Scalar;

    fn agrees(secret: Scalar, scalar: Scalar) {
        let point = NonIdentityPoint::<Secp256k1>::new(Secp256k1::mul_generator(&secret)).unwrap();
        let expected = NonIdentityPoint::new(*point.point() + Secp256k1::mul_generator(&scalar));
        assert_eq!(shifted(&point, &scalar), expected, "{scalar:?}");
    }

    #[test]
    fn the_sum_is_that_of_the_general_way() {
        let mut rng = test_rng(1);
        for _ in 0..100 {
            agrees(Secp256k1::random_nonzero_scalar(&mut rng), Secp256k1::random_scalar(&mut rng));
        }
        let mut weight = Scalar::ONE;
        for _ in 0..Secp256k1::SCALAR_BYTES {
            for digit in [0, 1, 2, 127, 128, 254, 255] {
                agrees(Scalar::from(7u64), weight * Scalar::from(digit as u64));
            }
            weight *= Scalar::from(256u64);
        }
    }

    #[test]
    fn equal_and_opposite_terms_are_no_special_cases() {
        // A point that is one of the table's, its negative, and the negative of the whole sum.
        let scalar = Scalar::from(5u64) + Scalar::from(3u64 << 16);
        for secret in [Scalar::from(5u64), -Scalar::from(5u64), -Scalar::from(3u64 << 16), -scalar] {
            agrees(secret, scalar);
        }
    }
}
