//! A player's identity: an EC key on P-256, P-384 or P-521 (spec 4).
//!
//! The same key proves a player on its links (TLS with raw public keys) and signs what must be
//! shown to others (certificates). A public key is kept as its canonical DER
//! SubjectPublicKeyInfo, and that is what is compared, hashed and shown.

use std::fmt;
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use elliptic_curve::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use sha2::{Digest, Sha256};

use crate::secret::Secret;
use crate::transcript::{Label, Transcript};

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormatError {
    /// Not DER of an EC key on P-256, P-384 or P-521, or its point is not on the curve.
    Malformed,
    /// A private key whose stored public key is not its own.
    Mismatch,
}

impl fmt::Display for KeyFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyFormatError::Malformed => "not a DER-encoded EC key on P-256, P-384 or P-521",
            KeyFormatError::Mismatch => "the public key stored in this private key is not its own",
        })
    }
}

impl std::error::Error for KeyFormatError {}

/// A player's public key. Always valid: on its curve and canonically encoded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityPublicKey {
    der: Vec<u8>,
}

impl IdentityPublicKey {
    /// Reads a DER SubjectPublicKeyInfo. A compressed point is accepted and stored uncompressed,
    /// so that one key has one form.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyFormatError> {
        let der = if let Ok(key) = p256::PublicKey::from_public_key_der(der) {
            key.to_public_key_der()
        } else if let Ok(key) = p384::PublicKey::from_public_key_der(der) {
            key.to_public_key_der()
        } else if let Ok(key) = p521::PublicKey::from_public_key_der(der) {
            key.to_public_key_der()
        } else {
            return Err(KeyFormatError::Malformed);
        };
        let der = der.expect("a valid point always encodes").into_vec();
        Ok(IdentityPublicKey { der })
    }

    /// DER SubjectPublicKeyInfo with an uncompressed point.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER form: what people compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(&self.der).into())
    }

    /// Whether `signature` is this player's on `transcript`.
    pub fn verifies(&self, transcript: &Transcript, signature: &[u8]) -> bool {
        let mut digest = [0u8; 64];
        transcript.fill(&mut digest);
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(&self.der) {
            p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok())
        } else if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_der(&self.der) {
            p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok())
        } else if let Ok(key) = p521::ecdsa::VerifyingKey::from_public_key_der(&self.der) {
            p521::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok())
        } else {
            false
        }
    }
}

impl fmt::Debug for IdentityPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityPublicKey({})", self.fingerprint())
    }
}

impl BorshSerialize for IdentityPublicKey {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        BorshSerialize::serialize(&self.der, writer)
    }
}

impl BorshDeserialize for IdentityPublicKey {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let der = Vec::<u8>::deserialize_reader(reader)?;
        let key = Self::from_der(&der).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        // One key, one encoding (rule S-29).
        if key.der != der {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "public key is not in its canonical form",
            ));
        }
        Ok(key)
    }
}

/// SHA-256 of a public key's DER form. Shown shortened; compared whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A player's private key.
pub struct IdentityKey {
    key: SigningKey,
    der: Secret<Vec<u8>>,
    public: IdentityPublicKey,
}

enum SigningKey {
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
    P521(Box<p521::ecdsa::SigningKey>),
}

impl IdentityKey {
    /// Reads a DER EC private key (SEC1 as in `openssl ecparam -genkey`, or PKCS#8).
    pub fn from_der(der: &[u8]) -> Result<Self, KeyFormatError> {
        macro_rules! try_curve {
            ($module:ident, $variant:ident) => {
                if let Ok(secret) = $module::SecretKey::from_sec1_der(der)
                    .or_else(|_| $module::SecretKey::from_pkcs8_der(der).map_err(|_| elliptic_curve::Error))
                {
                    let public =
                        secret.public_key().to_public_key_der().map_err(|_| KeyFormatError::Malformed)?;
                    let key = SigningKey::$variant(Box::new($module::ecdsa::SigningKey::from(&secret)));
                    return Ok(IdentityKey {
                        key,
                        der: Secret::new(der.to_vec()),
                        public: IdentityPublicKey { der: public.into_vec() },
                    });
                }
            };
        }
        try_curve!(p256, P256);
        try_curve!(p384, P384);
        try_curve!(p521, P521);
        Err(KeyFormatError::Malformed)
    }

    /// A fresh key on P-256.
    pub fn generate(rng: &mut dyn rand_core::CryptoRng) -> Self {
        let secret = loop {
            let mut bytes = Secret::new([0u8; 32]);
            rng.fill_bytes(bytes.expose_mut());
            if let Ok(secret) = p256::SecretKey::from_slice(bytes.expose()) {
                break secret;
            }
        };
        let der = secret.to_sec1_der().expect("a valid key always encodes");
        Self::from_der(&der).expect("a fresh key is well formed")
    }

    /// The public half.
    pub fn public(&self) -> &IdentityPublicKey {
        &self.public
    }

    /// The private key in the DER form it was read in, for the TLS library.
    pub fn der(&self) -> &Secret<Vec<u8>> {
        &self.der
    }

    /// Signs a transcript (ECDSA with deterministic nonces, RFC 6979, over 64 bytes of its output).
    pub fn sign(&self, transcript: &Transcript) -> Vec<u8> {
        let mut digest = [0u8; 64];
        transcript.fill(&mut digest);
        match &self.key {
            SigningKey::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).expect("64 bytes suffice");
                signature.to_vec()
            }
            SigningKey::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign_prehash(&digest).expect("64 bytes suffice");
                signature.to_vec()
            }
            SigningKey::P521(key) => {
                let signature: p521::ecdsa::Signature = key.sign_prehash(&digest).expect("64 bytes suffice");
                signature.to_vec()
            }
        }
    }

    /// A secret of this device, for [`crate::hedged`].
    pub fn device_secret(&self) -> Secret<[u8; 32]> {
        Secret::new(Transcript::new(Label::DeviceSecret).bytes("key", self.der.expose()).digest())
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey {{ public: {}, secret: <secret> }}", self.public.fingerprint())
    }
}
