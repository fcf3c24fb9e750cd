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

/// Bits of a digit of a scalar. One more makes the table twice as large and saves two additions of 26, less
/// what the processor waits for memory.
const WIDTH: usize = 10;

/// Digits of a scalar.
const DIGITS: usize = (8 * Secp256k1::SCALAR_BYTES).div_ceil(WIDTH);

/// Values of a digit but zero.
const MULTIPLES: usize = (1 << WIDTH) - 1;

/// point + scalar·G as a sum of multiples from a table. `None` if it is the identity.
pub(crate) fn shifted<C: Curve>(
    point: &NonIdentityPoint<C>,
    scalar: &C::Scalar,
) -> Option<NonIdentityPoint<C>> {
    // Copied first: so the processor fetches all of them at once, not each when its turn to be added has come.
    let mut terms = [public_key(point); 1 + DIGITS];
    let mut count = 1;
    for (multiples, digit) in table().iter().zip(digits(&C::encode_scalar(scalar))) {
        if let Some(number) = digit.checked_sub(1) {
            terms[count] = multiples[number];
            count += 1;
        }
    }
    let sum = PublicKey::combine_keys(&terms.each_ref()[..count]).ok()?;
    Some(borsh::from_slice(&sum.serialize_uncompressed()).expect("a point of the curve"))
}

/// The digits of a scalar's encoding, the lowest first.
fn digits(encoded: &[u8]) -> impl Iterator<Item = usize> {
    // Little endian, with room for the bits beyond the highest.
    let mut number = [0; Secp256k1::SCALAR_BYTES + 2];
    for (low, high) in number.iter_mut().zip(encoded.iter().rev()) {
        *low = *high;
    }
    (0..DIGITS).map(move |digit| {
        let (byte, bit) = (digit * WIDTH / 8, digit * WIDTH % 8);
        let word = u32::from_le_bytes([number[byte], number[byte + 1], number[byte + 2], 0]);
        (word >> bit) as usize & MULTIPLES
    })
}

/// 1 to 1023 times 1024^i·G, for each digit of a scalar: 1.7 MB, made at first use in tens of milliseconds.
fn table() -> &'static [[PublicKey; MULTIPLES]] {
    static TABLE: OnceLock<Vec<[PublicKey; MULTIPLES]>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut points = Vec::with_capacity(DIGITS * MULTIPLES);
        let mut base = <Secp256k1 as Curve>::Point::generator();
        for _ in 0..DIGITS {
            let mut multiple = base;
            for _ in 0..MULTIPLES {
                points.push(multiple);
                multiple += base;
            }
            base = multiple;
        }
        let points = NonIdentityPoint::<Secp256k1>::batch(&points).expect("no multiple is the identity");
        let keys: Vec<PublicKey> = points.iter().map(public_key).collect();
        keys.as_chunks().0.to_vec()
    })
}

fn public_key<C: Curve>(point: &NonIdentityPoint<C>) -> PublicKey {
    let encoded = borsh::to_vec(point).expect("encoding to memory cannot fail");
    PublicKey::from_slice(&encoded).expect("a point of the curve")
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
        let (mut weight, values) = (Scalar::ONE, 1u64 << WIDTH);
        for _ in 0..DIGITS {
            for digit in [0, 1, 2, values / 2 - 1, values / 2, values - 2, values - 1] {
                agrees(Scalar::from(7u64), weight * Scalar::from(digit));
            }
            weight *= Scalar::from(values);
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
