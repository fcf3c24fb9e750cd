//! Signatures before foreign eyes.

use std::fs;
use std::process::Command;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use tsm_sdk::{CurveId, PublicKey, SignResult, Signature, ecdsa};

use super::Answers;

pub(crate) fn sha256(message: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message).as_ref().to_vec()
}

/// Joins the parts of all signers; the signature of `message` is good for AWS-LC, for OpenSSL, and
/// on secp256k1 for libsecp256k1, which also recovers the public key.
pub(crate) fn join(key: &PublicKey, message: &[u8], answers: Answers<SignResult>) -> Signature {
    let parts: Vec<Vec<u8>> = answers
        .into_iter()
        .map(|(player, answer)| match answer {
            Ok(part) => part.partial_signature,
            Err(failure) => panic!("player {player}: {failure}\n{failure:?}"),
        })
        .collect();
    let signature = ecdsa::finalise_for(key, &sha256(message), &parts).unwrap();
    let algorithm: &dyn VerificationAlgorithm = match key.curve() {
        CurveId::Secp256k1 => &signature::ECDSA_P256K1_SHA256_ASN1,
        CurveId::P256 => &signature::ECDSA_P256_SHA256_ASN1,
        other => panic!("no test signs a SHA-256 digest on {other}"),
    };
    UnparsedPublicKey::new(algorithm, key.sec1_uncompressed()).verify(message, signature.der()).unwrap();
    if key.curve() == CurveId::Secp256k1 {
        recover(key, message, &signature);
    }
    openssl(key, message, &signature);
    signature
}

fn recover(key: &PublicKey, message: &[u8], signature: &Signature) {
    use secp256k1::Message;
    use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
    let id = RecoveryId::try_from(i32::from(signature.recovery_id())).unwrap();
    let recoverable = RecoverableSignature::from_compact(&signature.fixed(), id).unwrap();
    let digest = sha256(message).try_into().unwrap();
    let recovered = recoverable.recover_ecdsa(Message::from_digest(digest)).unwrap();
    assert_eq!(recovered.serialize_uncompressed(), key.sec1_uncompressed());
}

fn openssl(key: &PublicKey, message: &[u8], signature: &Signature) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("key"), key.der()).unwrap();
    fs::write(path("signature"), signature.der()).unwrap();
    fs::write(path("message"), message).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-keyform", "DER", "-verify"]).arg(path("key"));
    openssl.arg("-signature").arg(path("signature")).arg(path("message"));
    match openssl.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("not verified with openssl: {error}"),
    }
}
