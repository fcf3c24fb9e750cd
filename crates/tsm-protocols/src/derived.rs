//! A key below a key, of whichever curve, as nodes keep and use it (docs/spec/derivation.md).

use std::fmt;

use tsm_crypto::derivation::{DerivationError, Derived};
use tsm_crypto::{Curve, CurveId, NonIdentityPoint, Secret, with_curve};
use tsm_types::DerivationPath;
use zeroize::Zeroize;

use crate::key::Certificate;

/// The key at the end of a path, and the tweak that leads to it.
///
/// Made from a certificate and a path, and from nothing else: a caller or peer that could choose a
/// tweak could relate signatures of two keys (rule S-91).
pub struct DerivedKey {
    certificate: [u8; 32],
    curve: CurveId,
    path: Vec<u32>,
    public_key: Vec<u8>,
    chain_code: [u8; 32],
    /// ε, big endian.
    tweak: Secret<Vec<u8>>,
}

impl DerivedKey {
    /// The key itself: its own public key and chain code, and no tweak.
    pub fn root(certificate: &Certificate) -> Self {
        with_curve!(certificate.curve, C => {
            DerivedKey {
                certificate: certificate.digest(),
                curve: C::ID,
                path: Vec::new(),
                public_key: certificate.public_key.clone(),
                chain_code: certificate.chain_code,
                tweak: Secret::new(C::encode_scalar(&<C as Curve>::Scalar::ZERO)),
            }
        })
    }

    /// The key at a path below the certificate's.
    pub fn new(certificate: &Certificate, path: &DerivationPath) -> Result<Self, DerivationError> {
        path.iter().try_fold(Self::root(certificate), |key, step| key.child(*step))
    }

    /// One step further.
    pub fn child(&self, step: u32) -> Result<Self, DerivationError> {
        with_curve!(self.curve, C => {
            let point = C::decode_point(&self.public_key).expect("of a certificate, or made by `of`");
            let below = Derived::<C>::root(point, self.chain_code).child(step)?;
            let earlier = Secret::new(C::decode_scalar(self.tweak.expose()).expect("encoded here, below q"));
            let mut child = Self::of::<C>(self.certificate, [self.path.as_slice(), &[step]].concat(), &below);
            child.tweak = Secret::new(C::encode_scalar(&(*earlier.expose() + below.tweak().expose())));
            Ok(child)
        })
    }

    fn of<C: Curve>(certificate: [u8; 32], path: Vec<u32>, key: &Derived<C>) -> Self {
        DerivedKey {
            certificate,
            curve: C::ID,
            path,
            public_key: C::encode_point(key.point()),
            chain_code: *key.chain_code(),
            tweak: Secret::new(C::encode_scalar(key.tweak().expose())),
        }
    }

    /// Digest of the certificate that it was derived from.
    pub fn certificate(&self) -> &[u8; 32] {
        &self.certificate
    }

    /// The steps from the certificate's key.
    pub fn path(&self) -> &[u32] {
        &self.path
    }

    /// X', SEC1 compressed.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// X' as DER SubjectPublicKeyInfo.
    pub fn public_key_der(&self) -> Vec<u8> {
        with_curve!(self.curve, C => {
            C::public_key_der(&C::decode_point(&self.public_key).expect("made by `of`"))
        })
    }

    /// c'.
    pub fn chain_code(&self) -> &[u8; 32] {
        &self.chain_code
    }

    /// X' and ε; `None` on another curve.
    pub(crate) fn parts<C: Curve>(&self) -> Option<(NonIdentityPoint<C>, Secret<C::Scalar>)> {
        if self.curve != C::ID {
            return None;
        }
        let tweak = Secret::new(C::decode_scalar(self.tweak.expose())?);
        Some((NonIdentityPoint::decode(&self.public_key)?, tweak))
    }
}

impl Drop for DerivedKey {
    fn drop(&mut self) {
        // No secret by itself; with the public key it shows all keys below.
        self.chain_code.zeroize();
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DerivedKey {{ curve: {}, path: {:?}, .. }}", self.curve, self.path)
    }
}
