//! The program of the seed document, on its configuration files: a key by players 0, 1 and 2, of
//! which player 0 is known only by the public key that comes with the session; then signatures.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_crypto::{IdentityKey, IdentityPublicKey};
use tsm_sdk::{CurveId, ErrorCode, SessionConfig, SessionId};

use crate::harness::{Network, PLAYER_0_PUBLIC_KEY, sha256};

const SIGNER_SETS: [&[u16]; 4] = [&[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];

async fn a_key_and_every_signature(curve: CurveId) {
    let network = Network::shared().await;
    let key = network.make_key(curve).await;
    assert_eq!((key.threshold, key.signers_required), (1, 2));
    assert_eq!((key.players.as_slice(), key.public_key.curve()), (&[0, 1, 2][..], curve));
    for player in 0..3 {
        let client = network.node(player).client();
        assert!(client.key_management().list_keys().await.unwrap().contains(&key.key_id));
        assert_eq!(client.ecdsa().public_key(&key.key_id, &[]).await.unwrap(), key.public_key);
    }
    for signers in SIGNER_SETS {
        network.make_signature(signers, &key, format!("signed by {signers:?}").as_bytes()).await;
    }
}

#[tokio::test]
async fn s30_the_seeds_nodes_make_a_secp256k1_key_and_every_two_or_three_of_them_sign() {
    a_key_and_every_signature(CurveId::Secp256k1).await;
}

#[tokio::test]
async fn s30_the_seeds_nodes_make_a_p256_key_and_every_two_or_three_of_them_sign() {
    a_key_and_every_signature(CurveId::P256).await;
}

#[tokio::test]
async fn s30_two_signers_of_a_key_with_threshold_2_are_too_few() {
    let network = Network::shared().await;
    let session = network.session(&[0, 1, 2]);
    let answers = network
        .ask(&[0, 1, 2], |_, client| {
            let session = session.clone();
            async move { client.ecdsa().generate_key(&session, 2, CurveId::Secp256k1, None).await }
        })
        .await;
    let key = answers[&0].clone().unwrap();
    assert_eq!(key.signers_required, 3);
    let answers =
        network.sign(&network.session(&[0, 1]), &[0, 1], &key.key_id, &sha256(b"two of three")).await;
    let codes: Vec<ErrorCode> = answers.values().map(|answer| answer.as_ref().unwrap_err().code).collect();
    assert!(codes.contains(&ErrorCode::SignersTooFew), "{codes:?}");
    assert!(
        codes.iter().all(|code| [ErrorCode::SignersTooFew, ErrorCode::SessionRefused].contains(code)),
        "{codes:?}"
    );
    network.make_signature(&[0, 1, 2], &key, b"three of three").await;
}

#[tokio::test]
async fn s100_a_key_of_the_configuration_goes_before_the_callers_and_the_reply_and_the_log_say_so() {
    let network = Network::shared().await;
    let other = IdentityKey::generate(&mut tsm_crypto::hedged::test_rng(7)).public().clone();
    let id = SessionId::generate();
    let answers = network
        .ask(&[0, 1, 2], |player, client| {
            let mut dynamic = BTreeMap::from([(0, BASE64.decode(PLAYER_0_PUBLIC_KEY).unwrap())]);
            if player == 1 {
                dynamic.insert(2, other.der().to_vec());
            }
            let session = SessionConfig::new(id.clone(), [0, 1, 2], dynamic);
            async move { client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await }
        })
        .await;
    let fingerprint = other.fingerprint().to_string();
    for (player, answer) in answers {
        let notices = answer.unwrap().notices;
        assert_eq!(notices.iter().any(|notice| notice.contains(&fingerprint)), player == 1, "{notices:?}");
    }
    let line = network.node(1).log_lines(&fingerprint).remove(0);
    assert!(line.contains("player 2 was ignored"), "{line}");
}

/// Fingerprint of the key that the seed's program gives for player 0.
pub(crate) fn player_0_fingerprint() -> String {
    let der = BASE64.decode(PLAYER_0_PUBLIC_KEY).unwrap();
    IdentityPublicKey::from_der(&der).unwrap().fingerprint().to_string()
}
