//! Callers that ask for different things, and players under a key that is not theirs.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_crypto::{IdentityKey, IdentityPublicKey};
use tsm_sdk::{CurveId, ErrorCode, GeneratedKey, PlayerIndex, SessionId};

use crate::harness::{Answers, Network, PLAYER_0_PUBLIC_KEY, PROMPTLY, names, session_with, sha256};
use crate::main_job::player_0_fingerprint;

fn another_key() -> IdentityPublicKey {
    IdentityKey::generate(&mut tsm_crypto::hedged::test_rng(99)).public().clone()
}

/// A key generation of all three; the callers of the players in `wrong` give `other` for player 0.
async fn generate_with_wrong_key_at(
    network: &Network,
    wrong: &[u16],
    other: &IdentityPublicKey,
    connect_timeout: Duration,
) -> Answers<GeneratedKey> {
    let id = SessionId::generate();
    network
        .ask(&[0, 1, 2], |player, client| {
            let key = if wrong.contains(&player) {
                BASE64.encode(other.der())
            } else {
                PLAYER_0_PUBLIC_KEY.to_owned()
            };
            let session = session_with(id.clone(), &[0, 1, 2], &key).with_connect_timeout(connect_timeout);
            async move { client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await }
        })
        .await
}

#[tokio::test]
async fn s99_a_wrong_dynamic_key_at_one_caller_is_named_to_all_callers_at_once() {
    // Their first session: player 0 is not known to anybody yet.
    let network = Network::start().await;
    let (other, real) = (another_key(), player_0_fingerprint());
    let before = Instant::now();
    let answers = generate_with_wrong_key_at(&network, &[2], &other, Duration::from_secs(10)).await;
    assert!(before.elapsed() < PROMPTLY, "{:?}", before.elapsed());
    for (player, answer) in &answers {
        let failure = answer.as_ref().unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionDisagreement, "player {player}: {failure}");
    }
    let other = other.fingerprint().to_string();
    for (player, ours, theirs) in [(1, &real, &other), (2, &other, &real)] {
        let failure = answers[&player].as_ref().unwrap_err();
        let difference = failure.differences.iter().find(|d| d.player == Some(PlayerIndex(0)));
        let difference = difference.unwrap_or_else(|| panic!("player {player}: {failure}"));
        assert_eq!((&difference.ours, &difference.theirs), (ours, theirs), "player {player}");
    }
    // Node 2 does not let player 0 in, so player 0 learns it from player 1: who, and what about.
    let failure = answers[&0].as_ref().unwrap_err();
    assert!(names(failure, 1) && names(failure, 2), "{failure:?}");
    assert!(failure.detail.contains("players.0"), "{failure}");

    network.make_key(CurveId::Secp256k1).await;
}

#[tokio::test]
async fn s99_a_wrong_dynamic_key_at_all_callers_ends_at_the_deadline_with_the_key_that_waits() {
    let network = Network::start().await;
    let (other, real) = (another_key(), player_0_fingerprint());
    let deadline = Duration::from_millis(1500);
    let before = Instant::now();
    let answers = generate_with_wrong_key_at(&network, &[1, 2], &other, deadline).await;
    assert!(before.elapsed() >= deadline && before.elapsed() < deadline + PROMPTLY, "{:?}", before.elapsed());
    let other = other.fingerprint().to_string();
    for player in [1, 2] {
        let failure = answers[&player].as_ref().unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionPlayersMissing, "player {player}: {failure}");
        let note = failure
            .players
            .iter()
            .find(|concern| concern.player == PlayerIndex(0) && concern.note.contains(&real));
        let note = &note.unwrap_or_else(|| panic!("player {player}: {failure:?}")).note;
        assert!(note.contains(&other), "player {player}: {note}");
    }
    let failure = answers[&0].as_ref().unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionPlayersMissing, "{failure}");
    assert!(names(failure, 1) && names(failure, 2), "{failure:?}");
}

#[tokio::test]
async fn s60_different_messages_end_both_callers_at_once_and_the_next_session_signs() {
    let network = Network::shared().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    let session = network.session(&[0, 1]);
    let before = Instant::now();
    let answers = network
        .ask(&[0, 1], |player, client| {
            let (session, key_id) = (session.clone(), key.key_id.clone());
            let digest = sha256(format!("what caller {player} wants").as_bytes());
            async move { client.ecdsa().sign(&session, &key_id, &[], &digest).await }
        })
        .await;
    assert!(before.elapsed() < PROMPTLY, "{:?}", before.elapsed());
    for (player, peer) in [(0, 1), (1, 0)] {
        let failure = answers[&player].as_ref().unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionDisagreement, "player {player}: {failure}");
        assert!(names(failure, peer), "player {player}: {failure:?}");
        let fields: Vec<&str> = failure.differences.iter().map(|d| d.field.as_str()).collect();
        assert_eq!(fields, ["digest"], "player {player}: {failure}");
    }
    network.make_signature(&[0, 1], &key, b"what both want").await;
}
