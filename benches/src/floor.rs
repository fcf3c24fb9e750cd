//! Single-signer ECDSA on secp256k1: what a signature costs whoever has the whole key.

use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use k256::ecdsa::{Signature, SigningKey};

use crate::DIGEST;

const SECRET: [u8; 32] = [0x11; 32];

/// The crate `k256`, in Rust as ours.
pub struct K256(SigningKey);

impl K256 {
    /// With a fixed key.
    pub fn new() -> Self {
        K256(SigningKey::from_slice(&SECRET).expect("a number below the group order"))
    }

    /// Signs.
    pub fn sign(&self) -> Signature {
        self.0.sign_prehash(&DIGEST).expect("a digest of 32 bytes")
    }

    /// Verifies a signature of this key.
    pub fn verify(&self, signature: &Signature) -> bool {
        self.0.verifying_key().verify_prehash(&DIGEST, signature).is_ok()
    }
}

impl Default for K256 {
    fn default() -> Self {
        K256::new()
    }
}

/// The crate `secp256k1`, which binds Bitcoin Core's library in C.
pub struct Libsecp256k1 {
    secret: secp256k1::SecretKey,
    public: secp256k1::PublicKey,
}

impl Libsecp256k1 {
    /// With a fixed key.
    pub fn new() -> Self {
        let secret = secp256k1::SecretKey::from_secret_bytes(SECRET).expect("a number below the group order");
        Libsecp256k1 { secret, public: secp256k1::PublicKey::from_secret_key(&secret) }
    }

    /// Signs.
    pub fn sign(&self) -> secp256k1::ecdsa::Signature {
        secp256k1::ecdsa::sign(secp256k1::Message::from_digest(DIGEST), &self.secret)
    }

    /// Verifies a signature of this key.
    pub fn verify(&self, signature: &secp256k1::ecdsa::Signature) -> bool {
        secp256k1::ecdsa::verify(signature, secp256k1::Message::from_digest(DIGEST), &self.public).is_ok()
    }
}

impl Default for Libsecp256k1 {
    fn default() -> Self {
        Libsecp256k1::new()
    }
}
