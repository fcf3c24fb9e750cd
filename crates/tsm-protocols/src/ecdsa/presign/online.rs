//! From a presignature to a partial signature, at one node by itself (docs/spec/presigning.md 5).

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use elliptic_curve::{Field, Group};
use tsm_crypto::ecdsa::{Common, PARTIAL_VERSION, PartialSignature, shifted_vartime};
use tsm_crypto::{Curve, Label, NonIdentityPoint, Secret, Transcript, with_curve};
use tsm_types::{Digest, ErrorCode, PlayerIndex, Players, PresignatureId};

use crate::ecdsa::sign::refusal::signable;
use crate::key::Certificate;

/// A player's part of a signature that is still to be given its digest. One use: it has no copy and
/// no encoding, and [`sign`](Self::sign) consumes it.
pub struct Presignature {
    public: Arc<PublicPart>,
    /// φ_i, u_i and v_i, big endian.
    secrets: [Secret<Vec<u8>>; 3],
}

/// What all signers know of a presignature.
#[derive(Debug)]
pub struct PublicPart {
    id: PresignatureId,
    origin: Arc<Origin>,
    /// R, SEC1 compressed.
    pub(super) nonce_point: Vec<u8>,
    /// The same, a `NonIdentityPoint` of the certificate's curve: decoding costs a square root.
    decoded: Box<dyn Any + Send + Sync>,
}

/// What a whole batch has in common.
#[derive(Debug)]
pub(super) struct Origin {
    certificate: Certificate,
    certificate_digest: [u8; 32],
    signers: Players,
    me: PlayerIndex,
}

impl Origin {
    pub(super) fn new(certificate: Certificate, signers: Players, me: PlayerIndex) -> Self {
        Origin { certificate_digest: certificate.digest(), certificate, signers, me }
    }
}

/// All that is public of a signature with a presignature. Nothing has been taken for it.
pub struct Prepared {
    id: PresignatureId,
    tuple: [u8; 32],
    common: Common,
    signer: PlayerIndex,
    /// h, ε, δ and r', big endian.
    scalars: [Vec<u8>; 4],
}

/// Why a presignature is not used for this. It is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseRefusal {
    /// The digest has another length than the curve signs, or is zero modulo the group order.
    Digest,
    /// The tweak is not a scalar of the curve, or gives no key; or a value that must not be zero is
    /// (check C14).
    Tweak,
}

impl UseRefusal {
    /// The code under which the caller learns of it.
    pub fn code(&self) -> ErrorCode {
        match self {
            UseRefusal::Digest => ErrorCode::DigestInvalid,
            UseRefusal::Tweak => ErrorCode::PathInvalid,
        }
    }
}

impl fmt::Display for UseRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UseRefusal::Digest => "the digest cannot be signed on the key's curve",
            UseRefusal::Tweak => "the derivation path gives no key",
        })
    }
}

impl std::error::Error for UseRefusal {}

impl PublicPart {
    /// Its name, the same at all signers.
    pub fn id(&self) -> PresignatureId {
        self.id
    }

    /// The certificate of the key that it belongs to.
    pub fn certificate(&self) -> &Certificate {
        &self.origin.certificate
    }

    /// Exactly those whose parts make the signature.
    pub fn signers(&self) -> &Players {
        &self.origin.signers
    }

    /// Steps 5.1 to 5.3, all on public values: what a signature of `digest` will be, under the key
    /// derived by the tweak ε (big endian; `None` is the key itself).
    ///
    /// # Errors
    /// [`UseRefusal`]; nothing has been taken.
    pub fn prepare(&self, digest: &Digest, tweak: Option<&[u8]>) -> Result<Prepared, UseRefusal> {
        with_curve!(self.certificate().curve, C => self.prepare_on::<C>(digest, tweak))
    }

    fn prepare_on<C: Curve>(&self, digest: &Digest, tweak: Option<&[u8]>) -> Result<Prepared, UseRefusal> {
        let certificate = self.certificate();
        // Step 5.1. The tweak is public, and so is whether there is one.
        let h = signable::<C>(digest).map_err(|_| UseRefusal::Digest)?;
        let (epsilon, public_key) = match tweak {
            None => (C::Scalar::ZERO, certificate.public_key.clone()),
            Some(tweak) => {
                let epsilon = C::decode_scalar(tweak).ok_or(UseRefusal::Tweak)?;
                let key = C::decode_point(&certificate.public_key).ok_or(UseRefusal::Tweak)?;
                // C14: X' is a point.
                let derived = key + C::mul_generator(&epsilon);
                if bool::from(derived.is_identity()) {
                    return Err(UseRefusal::Tweak);
                }
                (epsilon, C::encode_point(&derived))
            }
        };
        // Step 5.2.
        let transcript = self.transcript::<C>(&public_key, &epsilon, digest);
        let delta: C::Scalar = transcript.challenge::<C>();
        // Step 5.3.
        let nonce_point: &NonIdentityPoint<C> =
            self.decoded.downcast_ref().expect("a presignature is made on its key's curve");
        let r_point = shifted_vartime(nonce_point, &delta);
        // C14: no value of a hash or a sum is the one in q at which something degenerates (S-61).
        let r = r_point.map(|point| (C::r_coordinate(&point).r, point));
        let Some((r, r_point)) = r.filter(|(r, _)| !bool::from(r.is_zero() | delta.is_zero())) else {
            return Err(UseRefusal::Tweak);
        };
        let common = Common {
            curve: C::ID,
            session: self.id.0,
            signers: self.signers().indices().map(|player| player.0).collect(),
            public_key,
            digest: digest.as_bytes().to_vec(),
            r_point: r_point.encoded().to_vec(),
        };
        let scalars = [h, epsilon, delta, r].map(|scalar| C::encode_scalar(&scalar));
        Ok(Prepared { id: self.id, tuple: transcript.digest(), common, signer: self.origin.me, scalars })
    }

    /// All that a signature is agreed by: δ follows from it, and nothing else is in it (S-59).
    fn transcript<C: Curve>(&self, public_key: &[u8], epsilon: &C::Scalar, digest: &Digest) -> Transcript {
        let certificate = self.certificate();
        let signers = borsh::to_vec(self.signers()).expect("encoding to memory cannot fail");
        Transcript::new(Label::Presignature)
            .bytes("purpose", b"ecdsa")
            .bytes("curve", C::ID.name().as_bytes())
            .bytes("presignature", &self.id.0)
            .bytes("certificate", &self.origin.certificate_digest)
            .bytes("key_id", certificate.key_id.as_str().as_bytes())
            .number("epoch", u64::from(certificate.epoch.0))
            .bytes("derived key", public_key)
            .scalar::<C>("tweak", epsilon)
            .bytes("R", &self.nonce_point)
            .bytes("digest", digest.as_bytes())
            .bytes("signers", &signers)
    }
}

impl Prepared {
    /// Of which presignature.
    pub fn id(&self) -> PresignatureId {
        self.id
    }

    /// What makes this use the same as another: a hash over all that is signed and agreed.
    pub fn tuple(&self) -> &[u8; 32] {
        &self.tuple
    }
}

impl Presignature {
    pub(super) fn new<C: Curve>(
        id: PresignatureId,
        origin: Arc<Origin>,
        nonce_point: NonIdentityPoint<C>,
        secrets: [Secret<Vec<u8>>; 3],
    ) -> Self {
        let encoded = nonce_point.encoded().to_vec();
        let public = PublicPart { id, origin, nonce_point: encoded, decoded: Box::new(nonce_point) };
        Presignature { public: Arc::new(public), secrets }
    }

    /// What all signers know of it.
    pub fn public(&self) -> &Arc<PublicPart> {
        &self.public
    }

    /// Steps 5.5 and 5.6. To be called when the presignature has left its place for good.
    ///
    /// # Panics
    /// If `prepared` is of another presignature, which is a mistake of the caller's author.
    pub fn sign(self, prepared: &Prepared) -> PartialSignature {
        assert_eq!(self.public.id, prepared.id, "prepared for this presignature");
        with_curve!(prepared.common.curve, C => self.sign_on::<C>(prepared))
    }

    fn sign_on<C: Curve>(self, prepared: &Prepared) -> PartialSignature {
        let scalar = |bytes: &[u8]| C::decode_scalar(bytes).expect("encoded from a scalar");
        let [h, epsilon, delta, r] = prepared.scalars.each_ref().map(|bytes| scalar(bytes));
        let [phi, u, v] = self.secrets.each_ref().map(|bytes| Secret::new(scalar(bytes.expose())));
        // Step 5.5: u' = u + δ * φ, v' = v + ε * φ, w = h * φ + r' * v'.
        let derived = Secret::new(*v.expose() + epsilon * phi.expose());
        let w = h * phi.expose() + r * derived.expose();
        let u = *u.expose() + delta * phi.expose();
        PartialSignature {
            version: PARTIAL_VERSION,
            common: prepared.common.clone(),
            signer: prepared.signer.0,
            w: C::encode_scalar(&w),
            u: C::encode_scalar(&u),
        }
    }
}

impl fmt::Debug for Presignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presignature {{ id: {}, secret: <secret> }}", self.public.id)
    }
}
