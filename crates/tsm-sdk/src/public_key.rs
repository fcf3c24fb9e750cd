//! A key's public half in the forms that people need.

use std::fmt;

use tsm_crypto::{Curve, CurveId, ecdsa, with_curve};
use tsm_types::Failure;

/// A valid public key on one of the signing curves.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    curve: CurveId,
    der: Vec<u8>,
    compressed: Vec<u8>,
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo.
    pub fn from_der(der: &[u8]) -> Result<Self, Failure> {
        let refused = || {
            let rule = "not DER of an EC public key on secp256k1, P-256, P-384 or P-521";
            Failure::invalid_field("public_key", rule)
        };
        let curve = ecdsa::curve_of(der).ok_or_else(refused)?;
        with_curve!(curve, C => {
            let point = C::public_key_from_der(der).ok_or_else(refused)?;
            Ok(PublicKey { curve, der: C::public_key_der(&point), compressed: C::encode_point(&point) })
        })
    }

    /// The curve.
    pub fn curve(&self) -> CurveId {
        self.curve
    }

    /// DER SubjectPublicKeyInfo (RFC 5480), with the point uncompressed.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SEC1, compressed: 33 bytes on the 256-bit curves.
    pub fn sec1_compressed(&self) -> &[u8] {
        &self.compressed
    }

    /// SEC1, uncompressed: 65 bytes on the 256-bit curves.
    pub fn sec1_uncompressed(&self) -> &[u8] {
        // A byte and two coordinates, the end of the DER form.
        let length = 2 * self.compressed.len() - 1;
        self.der.split_at(self.der.len() - length).1
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, ", self.curve)?;
        self.compressed.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsm_crypto::hedged::test_rng;

    #[test]
    fn all_forms_of_a_key_are_the_same_point() {
        for curve in CurveId::ALL {
            let der = with_curve!(curve, C => C::public_key_der(&C::mul_generator(&C::random_scalar(&mut test_rng(1)))));
            let key = PublicKey::from_der(&der).unwrap();
            assert_eq!((key.curve(), key.der()), (curve, der.as_slice()));
            let (compressed, whole) = (key.sec1_compressed(), key.sec1_uncompressed());
            assert_eq!(whole.len(), 2 * compressed.len() - 1);
            assert_eq!(whole.first(), Some(&4));
            assert_eq!(whole[1..compressed.len()], compressed[1..]);
            assert!(compressed[0] == 2 || compressed[0] == 3);
        }
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        assert!(PublicKey::from_der(&[]).is_err());
        assert!(PublicKey::from_der(&[0x30; 88]).is_err());
    }
}
