//! ECDSA at the edge: partial signatures, joining them, and verification (spec 9).
//!
//! Joining needs no secret and no node: whoever holds the partial signatures of all signers makes
//! the signature. It is verified under the key before anybody sees it (rule S-63).

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use elliptic_curve::Field;

use crate::curve::{Curve, CurveId, NonIdentityPoint};
#[cfg(feature = "libsecp256k1")]
use crate::libsecp256k1;
use crate::transcript::{Label, Transcript};
use crate::with_curve;

/// One signer's part of a signature: opaque to callers, and no secret.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PartialSignature {
    /// Format version, 1.
    pub version: u8,
    /// What all signers' parts have in common.
    pub common: Common,
    /// Index of the signer whose part this is.
    pub signer: u16,
    /// w_i = h·phi_i + r·v_i, big endian.
    pub w: Vec<u8>,
    /// u_i, big endian.
    pub u: Vec<u8>,
}

/// What the parts of one signature share.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Common {
    /// Curve of the key.
    pub curve: CurveId,
    /// Tag of the signing session, or the presignature's identifier.
    pub session: [u8; 32],
    /// Indices of all signers, ascending.
    pub signers: Vec<u16>,
    /// The public key, SEC1 compressed.
    pub public_key: Vec<u8>,
    /// The signed digest.
    pub digest: Vec<u8>,
    /// R, SEC1 compressed.
    pub r_point: Vec<u8>,
}

/// Format version of [`PartialSignature`].
pub const PARTIAL_VERSION: u8 = 1;

/// Why partial signatures could not be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// No partial signature was given, or one is not readable.
    Malformed,
    /// The parts that say that they are of these two signers belong to different sessions, presignatures,
    /// keys, digests or signer sets. Which of them is the wrong one, the parts alone do not tell.
    Foreign(u16, u16),
    /// Two parts of this signer were given.
    Twice(u16),
    /// The parts of these signers are missing.
    Missing(Vec<u16>),
    /// The digest asked for is not the one that was signed.
    OtherDigest,
    /// The parts give no signature that verifies (checks C10, C11): somebody's part is wrong.
    Unverifiable,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Malformed => f.write_str("a partial signature is missing or not readable"),
            JoinError::Foreign(one, other) => write!(
                f,
                "the partial signatures of players {one} and {other} belong to different sessions or presignatures, \
                 keys, signer sets or digests: one of the two is wrong"
            ),
            JoinError::Twice(signer) => write!(f, "two partial signatures of player {signer} were given"),
            JoinError::Missing(signers) => {
                write!(f, "the partial signatures of players {signers:?} are missing")
            }
            JoinError::OtherDigest => f.write_str("the partial signatures are for another digest"),
            JoinError::Unverifiable => f.write_str("the joined signature does not verify under the key"),
        }
    }
}

impl std::error::Error for JoinError {}

/// An ECDSA signature, verified before it was returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    curve: CurveId,
    r: Vec<u8>,
    s: Vec<u8>,
    recovery_id: u8,
    der: Vec<u8>,
}

impl Signature {
    /// The curve.
    pub fn curve(&self) -> CurveId {
        self.curve
    }

    /// ASN.1 DER (RFC 3279).
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// r followed by s, each as long as a scalar: 64 bytes on the 256-bit curves.
    pub fn fixed(&self) -> Vec<u8> {
        [self.r.as_slice(), &self.s].concat()
    }

    /// r, s and the recovery ID: 65 bytes on the 256-bit curves.
    pub fn recoverable(&self) -> Vec<u8> {
        [self.r.as_slice(), &self.s, &[self.recovery_id]].concat()
    }

    /// Bit 0: y(R) is odd; bit 1: x(R) is the group order or more.
    pub fn recovery_id(&self) -> u8 {
        self.recovery_id
    }
}

/// Joins the partial signatures of all signers of one session or presignature.
///
/// The result has been verified under the key that the partial signatures name; compare that key
/// ([`Common::public_key`]) with the one expected where the nodes are not trusted for it. On
/// secp256k1 s is in the lower half (BIP-62), with the recovery ID to match.
pub fn join(digest: &[u8], partials: &[PartialSignature]) -> Result<Signature, JoinError> {
    let first = partials.first().ok_or(JoinError::Malformed)?;
    with_curve!(first.common.curve, C => join_on::<C>(&first.common, digest, partials))
}

fn join_on<C: Curve>(
    common: &Common,
    digest: &[u8],
    partials: &[PartialSignature],
) -> Result<Signature, JoinError> {
    let mut missing = common.signers.clone();
    for (place, partial) in partials.iter().enumerate() {
        // Of whom it says that it is must be among those whom it says that they sign.
        if partial.version != PARTIAL_VERSION || !partial.common.signers.contains(&partial.signer) {
            return Err(JoinError::Malformed);
        }
        if partials.iter().take(place).any(|earlier| earlier.signer == partial.signer) {
            return Err(JoinError::Twice(partial.signer));
        }
        if partial.common != *common {
            return Err(JoinError::Foreign(partials[0].signer, partial.signer));
        }
        missing.retain(|signer| *signer != partial.signer);
    }
    if !missing.is_empty() {
        return Err(JoinError::Missing(missing));
    }
    if common.digest != digest || digest.len() != C::ID.digest_bytes() {
        return Err(JoinError::OtherDigest);
    }
    let r_point = NonIdentityPoint::<C>::decode(&common.r_point).ok_or(JoinError::Malformed)?;

    // Spec 9.2: s = (sum of w_i) / (sum of u_i).
    let sum = |part: fn(&PartialSignature) -> &[u8]| {
        partials.iter().try_fold(C::Scalar::ZERO, |sum, partial| {
            C::decode_scalar(part(partial)).map(|scalar| sum + scalar).ok_or(JoinError::Malformed)
        })
    };
    let w = sum(|partial| &partial.w)?;
    let u = sum(|partial| &partial.u)?;
    let coordinate = C::r_coordinate(&r_point);
    // C10: the sum of u_i, r and s are not zero.
    let inverse = Option::<C::Scalar>::from((w * u).invert()).ok_or(JoinError::Unverifiable)?;
    if bool::from(coordinate.r.is_zero()) {
        return Err(JoinError::Unverifiable);
    }
    let (mut s, s_inverse) = (w.square() * inverse, u.square() * inverse);
    let mut recovery_id = u8::from(coordinate.y_is_odd) | (u8::from(coordinate.x_reduced) << 1);
    // C11: it verifies under the key, and the point of the verification is R itself. Tested before s
    // is brought to the lower half, which replaces that point by its negative.
    if !recovers::<C>(&common.public_key, digest, &coordinate.r, &s, recovery_id) {
        let public_key = C::decode_point(&common.public_key).ok_or(JoinError::Malformed)?;
        let h = C::digest_to_scalar(digest);
        let point = C::lincomb_vartime(&(h * s_inverse), &(coordinate.r * s_inverse), &public_key);
        if point != *r_point.point() {
            return Err(JoinError::Unverifiable);
        }
    }
    if C::LOW_S && C::is_high(&s) {
        s = -s;
        recovery_id ^= 1;
    }
    let der = C::signature_to_der(&coordinate.r, &s).ok_or(JoinError::Unverifiable)?;
    Ok(Signature {
        curve: C::ID,
        r: C::encode_scalar(&coordinate.r),
        s: C::encode_scalar(&s),
        recovery_id,
        der,
    })
}

/// R + δ·G of public values, in variable time: the nonce point of a signature from a presignature. `None`
/// if it is the identity.
pub fn shifted_vartime<C: Curve>(
    point: &NonIdentityPoint<C>,
    delta: &C::Scalar,
) -> Option<NonIdentityPoint<C>> {
    #[cfg(feature = "libsecp256k1")]
    if C::ID == CurveId::Secp256k1 {
        return libsecp256k1::shifted(point, delta);
    }
    NonIdentityPoint::new_vartime(C::mul_generator(delta) + point.point())
}

/// Whether libsecp256k1 says that C11 holds, in half of the time of the general way. `false` also where it
/// is not part of the build, and on other curves.
fn recovers<C: Curve>(
    public_key: &[u8],
    digest: &[u8],
    r: &C::Scalar,
    s: &C::Scalar,
    recovery_id: u8,
) -> bool {
    #[cfg(feature = "libsecp256k1")]
    if C::ID == CurveId::Secp256k1 {
        return libsecp256k1::recovers::<C>(public_key, digest, r, s, recovery_id);
    }
    let _ = (public_key, digest, r, s, recovery_id);
    false
}

/// Verifies a signature in DER or fixed form.
///
/// `public_key` is a DER SubjectPublicKeyInfo. High-s signatures are valid signatures and pass.
pub fn verify(curve: CurveId, public_key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    with_curve!(curve, C => verify_on::<C>(public_key, digest, signature))
}

fn verify_on<C: Curve>(public_key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    let Some(point) = C::public_key_from_der(public_key) else { return false };
    if digest.len() != C::ID.digest_bytes() {
        return false;
    }
    let fixed = (signature.len() == 2 * C::SCALAR_BYTES).then(|| {
        let (r, s) = signature.split_at(C::SCALAR_BYTES);
        Some((C::decode_scalar(r)?, C::decode_scalar(s)?))
    });
    let Some((r, s)) = fixed.flatten().or_else(|| C::signature_from_der(signature)) else { return false };
    verifies::<C>(&point, digest, &r, &s)
}

/// The curve of a DER SubjectPublicKeyInfo, if it is one of ours and the point is valid.
pub fn curve_of(public_key: &[u8]) -> Option<CurveId> {
    CurveId::ALL
        .into_iter()
        .find(|curve| with_curve!(*curve, C => C::public_key_from_der(public_key).is_some()))
}

/// ECDSA verification (FIPS 186-5, 6.4.2) of public values.
fn verifies<C: Curve>(public_key: &C::Point, digest: &[u8], r: &C::Scalar, s: &C::Scalar) -> bool {
    if bool::from(r.is_zero()) || bool::from(s.is_zero()) {
        return false;
    }
    let Some(s_inverse) = Option::<C::Scalar>::from(s.invert()) else { return false };
    let h = C::digest_to_scalar(digest);
    let point = C::lincomb_vartime(&(h * s_inverse), &(*r * s_inverse), public_key);
    NonIdentityPoint::<C>::new(point).is_some_and(|point| C::r_coordinate(&point).r == *r)
}

/// Signs with a whole key. For tests and examples of single-signer ECDSA only: no product code
/// ever has a whole key.
#[doc(hidden)]
pub fn partial_of_whole_key<C: Curve>(
    secret: &C::Scalar,
    nonce: &C::Scalar,
    digest: &[u8],
) -> PartialSignature {
    let r_point = NonIdentityPoint::<C>::new(C::mul_generator(nonce)).expect("the nonce is not zero");
    let r = C::r_coordinate(&r_point).r;
    let w = C::digest_to_scalar(digest) + r * secret;
    PartialSignature {
        version: PARTIAL_VERSION,
        common: Common {
            curve: C::ID,
            session: Transcript::new(Label::SessionTag).digest(),
            signers: vec![0],
            public_key: C::encode_point(&C::mul_generator(secret)),
            digest: digest.to_vec(),
            r_point: r_point.encoded().to_vec(),
        },
        signer: 0,
        w: C::encode_scalar(&w),
        u: C::encode_scalar(nonce),
    }
}
