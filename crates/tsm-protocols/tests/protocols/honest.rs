//! Honest runs, checked by verifiers that nobody here wrote and by the model.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256K1_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1,
    UnparsedPublicKey,
};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use sha2::Digest as _;
use tsm_crypto::ecdsa::Signature;
use tsm_protocols::Certificate;
use tsm_types::{CurveId, Digest};

use crate::support::*;

/// The digest that aws-lc makes of a message on this curve.
fn hash(curve: CurveId, message: &[u8]) -> Digest {
    let bytes = match curve {
        CurveId::Secp256k1 | CurveId::P256 => sha2::Sha256::digest(message).to_vec(),
        CurveId::P384 => sha2::Sha384::digest(message).to_vec(),
        CurveId::P521 => sha2::Sha512::digest(message).to_vec(),
    };
    Digest::new(bytes, curve).unwrap()
}

fn aws_lc_verifies(curve: CurveId, public_key_der: &[u8], message: &[u8], signature: &Signature) -> bool {
    let algorithm = match curve {
        CurveId::Secp256k1 => &ECDSA_P256K1_SHA256_ASN1,
        CurveId::P256 => &ECDSA_P256_SHA256_ASN1,
        CurveId::P384 => &ECDSA_P384_SHA384_ASN1,
        CurveId::P521 => &ECDSA_P521_SHA512_ASN1,
    };
    UnparsedPublicKey::new(algorithm, public_key_der).verify(message, signature.der()).is_ok()
}

fn libsecp256k1_verifies(public_key: &[u8], digest: &Digest, signature: &Signature) {
    let key = secp256k1::PublicKey::from_slice(public_key).unwrap();
    let message = secp256k1::Message::from_digest(digest.as_bytes().try_into().unwrap());
    // This library accepts signatures in the lower half of s only.
    let parsed = secp256k1::ecdsa::Signature::from_der(signature.der()).unwrap();
    secp256k1::ecdsa::verify(&parsed, message, &key).unwrap();
    let id = RecoveryId::try_from(i32::from(signature.recovery_id())).unwrap();
    let recoverable = RecoverableSignature::from_compact(&signature.fixed(), id).unwrap();
    assert_eq!(recoverable.recover_ecdsa(message).unwrap(), key);
}

/// Signs once and has the signature verified by everybody who knows the curve.
fn sign_and_verify(shares: &Shares, signers: &[u16], seed: u64) {
    let certificate = &shares.values().next().unwrap().certificate;
    let curve = certificate.curve;
    let message = format!("message {seed} of {signers:?}");
    let digest = hash(curve, message.as_bytes());
    let session = sign_session(&format!("sign{seed}"), shares, &digest, signers);
    let partials = all(run_sign(&session, shares, &PAIRS, seed, honest));
    let signature = joined(&partials);
    verify_everywhere(certificate, &digest, message.as_bytes(), &signature);
}

/// Has a signature verified by everybody who knows the curve.
fn verify_everywhere(certificate: &Certificate, digest: &Digest, message: &[u8], signature: &Signature) {
    let curve = certificate.curve;
    let der = certificate.public_key_der();
    assert!(tsm_crypto::ecdsa::verify(curve, &der, digest.as_bytes(), signature.der()));
    assert!(aws_lc_verifies(curve, &der, message, signature));
    assert!(!aws_lc_verifies(curve, &der, b"another message", signature));
    if curve == CurveId::Secp256k1 {
        libsecp256k1_verifies(&certificate.public_key, digest, signature);
    }
}

#[test]
fn every_large_enough_set_of_holders_signs_for_every_threshold_of_two_to_five_players() {
    let mut seed = 10_000;
    for n in 2..=5 {
        let holders = &INDICES[..n];
        for t in 1..n {
            let shares = generate(CurveId::Secp256k1, t as u64, holders);
            for signers in subsets(holders, t + 1) {
                seed += 1000;
                sign_and_verify(&shares, &signers, seed);
            }
        }
    }
}

#[test]
fn keys_on_the_nist_curves_sign() {
    for curve in [CurveId::P256, CurveId::P384, CurveId::P521] {
        let shares = generate(curve, 1, &[0, 5, 9]);
        sign_and_verify(&shares, &[0, 9], 1000);
        sign_and_verify(&shares, &[5, 9], 2000);
        sign_and_verify(&shares, &[0, 5, 9], 3000);
    }
}

/// Makes presignatures and has a signature of each verified.
fn presign_and_verify(shares: &Shares, signers: &[u16], count: u64, seed: u64) {
    let certificate = &shares.values().next().unwrap().certificate;
    let session = presign_session(&format!("presign{seed}"), shares, count, signers);
    let made = all(run_presign(&session, shares, &PAIRS, seed, honest));
    let mut number = 0;
    for presignatures in each(made) {
        let message = format!("message {seed}.{number} of {signers:?}");
        let digest = hash(certificate.curve, message.as_bytes());
        let signature = joined(&use_all(presignatures, &digest, None));
        verify_everywhere(certificate, &digest, message.as_bytes(), &signature);
        number += 1;
    }
    assert_eq!(number, count);
}

#[test]
fn presignatures_of_every_large_enough_set_of_holders_give_signatures_that_others_verify() {
    let mut seed = 50_000;
    for n in 2..=4 {
        let holders = &INDICES[..n];
        for t in 1..n {
            let shares = generate(CurveId::Secp256k1, t as u64, holders);
            for signers in subsets(holders, t + 1) {
                seed += 1000;
                presign_and_verify(&shares, &signers, 2, seed);
            }
        }
    }
}

#[test]
fn presignatures_on_the_nist_curves_and_in_the_largest_batch_give_signatures() {
    for curve in [CurveId::P256, CurveId::P384, CurveId::P521] {
        let shares = generate(curve, 1, &[0, 5, 9]);
        presign_and_verify(&shares, &[0, 9], 2, 1000);
        presign_and_verify(&shares, &[0, 5, 9], 1, 2000);
    }
    presign_and_verify(&generate(CurveId::Secp256k1, 1, &[0, 5]), &[0, 5], 100, 3000);
}
