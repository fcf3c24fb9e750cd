//! Keys below a key in whole networks (docs/spec/derivation.md; rules S-89 to S-93).

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use tsm_crypto::{CurveId, ecdsa};
use tsm_node::Settings;
use tsm_tests::{Answers, Network, application, join};
use tsm_types::request::{KeyInfo, SignEcdsa, Signed};
use tsm_types::{DerivationPath, ErrorCode, Failure};

fn path(steps: &[u32]) -> DerivationPath {
    DerivationPath::new(steps).unwrap()
}

/// Every player of the session is asked to sign at a path of its own.
async fn sign_at(
    network: &Network,
    session: &str,
    players: &[u16],
    key: &KeyInfo,
    digest: &[u8],
    steps: impl Fn(u16) -> Vec<u32>,
) -> Answers<Signed> {
    let session = network.session(session, players);
    network
        .ask(&session, |node| {
            let path = path(&steps(node.player().0));
            let request = SignEcdsa {
                session: session.clone(),
                key_id: key.key_id.clone(),
                path,
                digest: digest.to_vec(),
            };
            async move { node.sign(&application(), request).await }
        })
        .await
}

/// The public key at a path, as all nodes tell it.
async fn public_key(network: &Network, players: u16, key: &KeyInfo, steps: &[u32]) -> Vec<u8> {
    let mut told = Vec::new();
    for player in 0..players {
        let info = network.node(player).public_key(&application(), &key.key_id, &path(steps)).await.unwrap();
        assert_eq!(KeyInfo { public_key: key.public_key.clone(), ..info.clone() }, *key);
        told.push(info.public_key);
    }
    assert!(told.iter().all(|public_key| *public_key == told[0]));
    told.remove(0)
}

fn codes<T>(answers: &Answers<T>) -> Vec<ErrorCode> {
    answers.values().map(|answer| answer.as_ref().err().map(|failure| failure.code).unwrap()).collect()
}

/// The point of a SubjectPublicKeyInfo, which is at its end.
fn point(der: &[u8], curve: CurveId) -> &[u8] {
    let length = match curve {
        CurveId::Secp256k1 | CurveId::P256 => 65,
        CurveId::P384 => 97,
        CurveId::P521 => 133,
    };
    &der[der.len() - length..]
}

#[tokio::test(start_paused = true)]
async fn derived_keys_of_every_curve_give_signatures_that_aws_lc_accepts() {
    type Hash = &'static aws_lc_rs::digest::Algorithm;
    type Case = (CurveId, &'static dyn VerificationAlgorithm, Hash);
    use aws_lc_rs::digest::{SHA256, SHA384, SHA512};
    let cases: [Case; 4] = [
        (CurveId::Secp256k1, &signature::ECDSA_P256K1_SHA256_ASN1, &SHA256),
        (CurveId::P256, &signature::ECDSA_P256_SHA256_ASN1, &SHA256),
        (CurveId::P384, &signature::ECDSA_P384_SHA384_ASN1, &SHA384),
        (CurveId::P521, &signature::ECDSA_P521_SHA512_ASN1, &SHA512),
    ];
    let network = Network::start(3, 51).await;
    for (curve, algorithm, hash) in cases {
        let key = network.make_key(curve, 1).await;
        let message = b"signed with a key below";
        let digest = aws_lc_rs::digest::digest(hash, message);
        for (signers, steps) in [(&[0, 2][..], &[0][..]), (&[1, 2], &[44, 0, 7]), (&[0, 1, 2], &[44, 0, 8])] {
            let name = format!("sign-{curve}-{}", signers.len() * 10 + steps.len());
            let answers = sign_at(&network, &name, signers, &key, digest.as_ref(), |_| steps.to_vec()).await;
            let signature = join(digest.as_ref(), &answers);
            let derived = public_key(&network, 3, &key, steps).await;
            assert_ne!(derived, key.public_key);
            let verifies =
                |der| UnparsedPublicKey::new(algorithm, point(der, curve)).verify(message, signature.der());
            verifies(&derived).unwrap();
            verifies(&key.public_key).unwrap_err();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_derived_key_is_recovered_from_its_signature_by_libsecp256k1() {
    use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
    let network = Network::start(3, 52).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    for number in 0..4u32 {
        let steps = vec![44, number];
        let digest = [number as u8 + 1; 32];
        let answers =
            sign_at(&network, &format!("sign{number}"), &[0, 1], &key, &digest, |_| steps.clone()).await;
        let signature = join(&digest, &answers);
        let id = RecoveryId::try_from(i32::from(signature.recovery_id())).unwrap();
        let recoverable = RecoverableSignature::from_compact(&signature.fixed(), id).unwrap();
        let recovered = recoverable.recover_ecdsa(secp256k1::Message::from_digest(digest)).unwrap();
        let derived = public_key(&network, 3, &key, &steps).await;
        assert_eq!(recovered.serialize_uncompressed(), point(&derived, CurveId::Secp256k1));
    }
}

#[tokio::test(start_paused = true)]
async fn s92_a_differing_derivation_path_is_named_at_both_ends_and_burns_no_pair() {
    let network = Network::start(3, 53).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    for (number, other) in [vec![], vec![44], vec![44, 1], vec![44, 0, 0]].into_iter().enumerate() {
        let answers = sign_at(&network, &format!("sign{number}"), &[0, 1], &key, &[1; 32], |player| {
            if player == 0 { vec![44, 0] } else { other.clone() }
        })
        .await;
        for (player, answer) in &answers {
            let failure = answer.as_ref().unwrap_err();
            assert_eq!(failure.code, ErrorCode::SessionDisagreement);
            let [difference] = &failure.differences[..] else { panic!("{failure:?}") };
            assert_eq!(difference.field, "derivation_path");
            let shown = [path(&[44, 0]).to_string(), path(&other).to_string()];
            let (ours, theirs) = if *player == 0 { (0, 1) } else { (1, 0) };
            assert_eq!((&difference.ours, &difference.theirs), (&shown[ours], &shown[theirs]));
        }
    }
    let answers = sign_at(&network, "after", &[0, 1], &key, &[1; 32], |_| vec![44, 0]).await;
    join(&[1; 32], &answers);
}

#[tokio::test(start_paused = true)]
async fn d2_s93_a_path_shorter_than_configured_is_refused_before_the_key_is_read_or_anybody_spoken_to() {
    let settings = Settings { min_chain_path_length: 2, ..Settings::default() };
    let network = Network::start_with(3, 54, settings).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let refused = |failure: Failure| assert_eq!(failure.code, ErrorCode::PathTooShort, "{failure}");
    for steps in [vec![], vec![44]] {
        let answers =
            sign_at(&network, &format!("short{}", steps.len()), &[0, 1], &key, &[1; 32], |_| steps.clone())
                .await;
        assert!(codes(&answers).iter().all(|code| *code == ErrorCode::PathTooShort), "{answers:?}");
        for player in 0..3 {
            let node = network.node(player);
            refused(node.public_key(&application(), &key.key_id, &path(&steps)).await.unwrap_err());
            refused(node.chain_code(&application(), &key.key_id, &path(&steps)).await.unwrap_err());
            assert_eq!(node.running_sessions(), 0);
            // A key that does not exist is not looked for.
            let absent = tsm_types::KeyId::new("absent").unwrap();
            refused(node.public_key(&application(), &absent, &path(&steps)).await.unwrap_err());
        }
    }
    for steps in [vec![44, 0], vec![44, 0, 1]] {
        let name = format!("long{}", steps.len());
        let answers = sign_at(&network, &name, &[0, 1], &key, &[1; 32], |_| steps.clone()).await;
        let derived = public_key(&network, 3, &key, &steps).await;
        assert!(ecdsa::verify(CurveId::Secp256k1, &derived, &[1; 32], join(&[1; 32], &answers).der()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_keys_are_derived_with_and_without_a_cache_and_in_any_order() {
    let (small, none) = (
        Settings { derived_keys: 2, ..Settings::default() },
        Settings { derived_keys: 0, ..Settings::default() },
    );
    let mut told = Vec::new();
    for settings in [Settings::default(), small, none] {
        // The same seed makes the same key.
        let network = Network::start_with(2, 55, settings).await;
        let key = network.make_key(CurveId::Secp256k1, 1).await;
        let mut keys = std::collections::BTreeMap::new();
        for steps in [&[1, 2, 3][..], &[1], &[1, 2, 4], &[1, 2], &[2, 1], &[1, 2, 3]] {
            let public_key = public_key(&network, 2, &key, steps).await;
            let node = network.node(1);
            let chain_code = node.chain_code(&application(), &key.key_id, &path(steps)).await.unwrap();
            let found = (public_key, chain_code.0);
            assert!(keys.insert(steps, found.clone()).is_none_or(|earlier| earlier == found));
        }
        assert_eq!(keys.len(), 5);
        told.push((key, keys));
    }
    assert!(told.iter().all(|network| *network == told[0]));
}

#[tokio::test(start_paused = true)]
async fn s117_a_request_at_another_path_is_no_repetition() {
    let network = Network::start(2, 56).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let first = sign_at(&network, "sign", &[0, 1], &key, &[1; 32], |_| vec![1]).await;
    assert_eq!(sign_at(&network, "sign", &[0, 1], &key, &[1; 32], |_| vec![1]).await, first);
    let other = sign_at(&network, "sign", &[0, 1], &key, &[1; 32], |_| vec![2]).await;
    assert!(codes(&other).iter().all(|code| *code == ErrorCode::SessionConflict), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn s103_another_applications_chain_code_is_not_shown() {
    let network = Network::start(2, 57).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let other = tsm_types::ApplicationId::new("another").unwrap();
    for steps in [&[][..], &[1]] {
        let node = network.node(0);
        // Also not from the cache, where it is now.
        node.chain_code(&application(), &key.key_id, &path(steps)).await.unwrap();
        let refused = node.chain_code(&other, &key.key_id, &path(steps)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::KeyNotFound);
    }
}
