//! Networks in which nothing goes wrong.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use tsm_crypto::{CurveId, ecdsa};
use tsm_tests::{Network, join};

/// All subsets of `players` with at least `least` members.
fn signer_sets(players: u16, least: usize) -> Vec<Vec<u16>> {
    (0u32..1 << players)
        .map(|mask| (0..players).filter(|player| mask >> player & 1 == 1).collect::<Vec<u16>>())
        .filter(|set| set.len() >= least)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn s30_every_set_of_enough_signers_signs_and_every_smaller_one_is_refused() {
    for players in 2..=5 {
        let network = Network::start(players, 1).await;
        for threshold in 1..players {
            let key = network.make_key(CurveId::Secp256k1, u64::from(threshold)).await;
            for signers in signer_sets(players, 2) {
                let session =
                    network.session(&format!("sign-{threshold}-{signers:?}").replace(' ', ""), &signers);
                let answers = network.sign(&session, &key.key_id, &[7; 32]).await;
                if signers.len() > usize::from(threshold) {
                    let signature = join(&[7; 32], &answers);
                    assert!(ecdsa::verify(CurveId::Secp256k1, &key.public_key, &[7; 32], signature.der()));
                    assert_recoverable(&key.public_key, &[7; 32], &signature);
                } else {
                    let codes: Vec<_> = answers.values().map(|a| a.as_ref().unwrap_err().code).collect();
                    assert!(
                        codes.iter().all(|code| *code == tsm_types::ErrorCode::SignersTooFew),
                        "{codes:?}"
                    );
                }
            }
        }
    }
}

/// libsecp256k1 recovers the public key from the signature and its recovery ID, and verifies it.
fn assert_recoverable(public_key: &[u8], digest: &[u8; 32], signature: &ecdsa::Signature) {
    use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
    let id = RecoveryId::try_from(i32::from(signature.recovery_id())).unwrap();
    let recoverable = RecoverableSignature::from_compact(&signature.fixed(), id).unwrap();
    let message = secp256k1::Message::from_digest(*digest);
    let recovered = recoverable.recover_ecdsa(message).unwrap();
    // The last 65 bytes of a SubjectPublicKeyInfo are the uncompressed point.
    let point = &public_key[public_key.len() - 65..];
    assert_eq!(recovered.serialize_uncompressed(), point);
}

#[tokio::test(start_paused = true)]
async fn every_curve_gives_signatures_that_aws_lc_accepts() {
    type Case = (CurveId, &'static dyn VerificationAlgorithm, fn(&[u8]) -> Vec<u8>);
    let cases: [Case; 4] = [
        (CurveId::Secp256k1, &signature::ECDSA_P256K1_SHA256_ASN1, sha256),
        (CurveId::P256, &signature::ECDSA_P256_SHA256_ASN1, sha256),
        (CurveId::P384, &signature::ECDSA_P384_SHA384_ASN1, sha384),
        (CurveId::P521, &signature::ECDSA_P521_SHA512_ASN1, sha512),
    ];
    let network = Network::start(3, 2).await;
    for (curve, algorithm, hash) in cases {
        let key = network.make_key(curve, 1).await;
        let message = b"a message that a foreign library hashes by itself";
        let digest = hash(message);
        let answers =
            network.sign(&network.session(&format!("sign-{curve}"), &[0, 2]), &key.key_id, &digest).await;
        let signature = join(&digest, &answers);
        let point = uncompressed_point(&key.public_key, curve);
        UnparsedPublicKey::new(algorithm, point).verify(message, signature.der()).unwrap();
    }
}

fn uncompressed_point(der: &[u8], curve: CurveId) -> &[u8] {
    let coordinate = match curve {
        CurveId::Secp256k1 | CurveId::P256 => 32,
        CurveId::P384 => 48,
        CurveId::P521 => 66,
    };
    &der[der.len() - 2 * coordinate - 1..]
}

fn sha256(message: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message).as_ref().to_vec()
}

fn sha384(message: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, message).as_ref().to_vec()
}

fn sha512(message: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, message).as_ref().to_vec()
}

#[tokio::test(start_paused = true)]
async fn many_sessions_at_once_share_one_pair_state_and_all_sign() {
    let network = std::sync::Arc::new(Network::start(3, 3).await);
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let runs: Vec<_> = (0..40u8)
        .map(|run| {
            let (network, key_id) = (network.clone(), key.key_id.clone());
            tokio::spawn(async move {
                let session = network.session(&format!("sign-{run}"), &[0, 1]);
                let digest = [run + 1; 32];
                join(&digest, &network.sign(&session, &key_id, &digest).await)
            })
        })
        .collect();
    for run in runs {
        run.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_key() {
    let one = Network::start(3, 4).await.make_key(CurveId::Secp256k1, 1).await;
    let two = Network::start(3, 4).await.make_key(CurveId::Secp256k1, 1).await;
    assert_eq!(one, two);
}
