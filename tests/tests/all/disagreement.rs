//! Callers that ask for different things: both sides are told what differs (rules S-01, S-02, S-99).

use tsm_crypto::{CurveId, IdentityKey};
use tsm_tests::{Answers, Network, application};
use tsm_types::request::{GenerateKey, KeyInfo, SessionRequest, SignEcdsa};
use tsm_types::{DerivationPath, ErrorCode, Failure, KeyId, PlayerIndex};

fn request(session: &SessionRequest) -> GenerateKey {
    GenerateKey { session: session.clone(), curve: CurveId::Secp256k1, threshold: 1, key_id: None }
}

/// Asks players 0, 1 and 2 for a key; `change` alters what player 2's caller asks.
async fn generate_with(network: &Network, change: impl Fn(&mut GenerateKey)) -> Answers<KeyInfo> {
    let session = network.session("run", &[0, 1, 2]);
    network
        .ask(&session, |node| {
            let mut request = request(&session);
            if node.player() == PlayerIndex(2) {
                change(&mut request);
            }
            async move { node.generate_key(&application(), request).await }
        })
        .await
}

fn failure<T>(answers: &Answers<T>, player: u16) -> &Failure {
    match &answers[&player] {
        Ok(_) => panic!("player {player} succeeded"),
        Err(failure) => failure,
    }
}

/// Everybody is told; player 2 and at least one other see the field's name.
fn assert_disagreement<T>(answers: &Answers<T>, field: &str) {
    for player in [0, 1, 2] {
        assert_eq!(failure(answers, player).code, ErrorCode::SessionDisagreement, "player {player}");
    }
    let names = |player| failure(answers, player).differences.iter().any(|d| d.field == field);
    assert!(names(2), "{:?}", failure(answers, 2));
    assert!(names(0) || names(1));
}

#[tokio::test(start_paused = true)]
async fn s01_a_differing_threshold_is_named_at_both_ends() {
    let network = Network::start(3, 1).await;
    assert_disagreement(&generate_with(&network, |request| request.threshold = 2).await, "threshold");
}

#[tokio::test(start_paused = true)]
async fn s01_a_differing_curve_is_named_at_both_ends() {
    let network = Network::start(3, 1).await;
    assert_disagreement(&generate_with(&network, |request| request.curve = CurveId::P256).await, "curve");
}

#[tokio::test(start_paused = true)]
async fn s01_a_differing_key_id_is_named_at_both_ends() {
    let network = Network::start(3, 1).await;
    let change = |request: &mut GenerateKey| request.key_id = Some(KeyId::new("mine").unwrap());
    assert_disagreement(&generate_with(&network, change).await, "key_id");
}

#[tokio::test(start_paused = true)]
async fn s01_a_differing_set_of_players_is_named_at_both_ends() {
    let network = Network::start(3, 1).await;
    let answers = generate_with(&network, |request| {
        request.session.players.remove(&PlayerIndex(0));
        request.session.dynamic_public_keys.clear();
    })
    .await;
    assert!(failure(&answers, 2).differences.iter().any(|d| d.player == Some(PlayerIndex(0))));
    assert_eq!(failure(&answers, 1).code, ErrorCode::SessionDisagreement);
    assert_eq!(failure(&answers, 0).code, ErrorCode::SessionDisagreement);
}

#[tokio::test(start_paused = true)]
async fn s99_another_dynamic_key_at_one_caller_is_named_with_both_fingerprints() {
    let network = Network::start(3, 1).await;
    let other = IdentityKey::generate(&mut tsm_crypto::hedged::test_rng(99)).public().clone();
    let wrong = other.clone();
    let before = tokio::time::Instant::now();
    let answers = generate_with(&network, move |request| {
        request.session.dynamic_public_keys.insert(PlayerIndex(0), wrong.clone());
    })
    .await;
    let difference = &failure(&answers, 2).differences[0];
    assert_eq!(difference.player, Some(PlayerIndex(0)));
    assert_eq!(difference.ours, other.fingerprint().to_string());
    assert_eq!(difference.theirs, network.key(0).fingerprint().to_string());
    // The player whose key it is, and everybody else, sees both fingerprints and what to do.
    for player in [0, 1] {
        let failure = failure(&answers, player);
        assert_eq!(failure.code, ErrorCode::SessionDisagreement);
        let difference = failure.differences.iter().find(|d| d.player == Some(PlayerIndex(0))).unwrap();
        assert_eq!(difference.ours, network.key(0).fingerprint().to_string(), "player {player}");
        assert_eq!(difference.theirs, other.fingerprint().to_string(), "player {player}");
        for key in [network.key(0), &other] {
            assert!(failure.detail.contains(&key.fingerprint().to_string()), "player {player}: {failure}");
        }
        assert!(!failure.hint().is_empty());
    }
    assert!(before.elapsed() < std::time::Duration::from_secs(2), "nobody waits for the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_dynamic_key_at_all_callers_ends_with_the_waiting_key_in_the_error() {
    wrong_dynamic_key_at_all_callers(|_| None).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_learns_from_another_that_players_are_missing_is_told_the_waiting_key_too() {
    let of_player_1 = Some(std::time::Duration::from_secs(5));
    wrong_dynamic_key_at_all_callers(|player| of_player_1.filter(|_| player == PlayerIndex(1))).await;
}

async fn wrong_dynamic_key_at_all_callers(
    connect_timeout: impl Fn(PlayerIndex) -> Option<std::time::Duration>,
) {
    let network = Network::start(3, 1).await;
    let wrong = IdentityKey::generate(&mut tsm_crypto::hedged::test_rng(99)).public().clone();
    let session = network.session("run", &[0, 1, 2]);
    let answers = network
        .ask(&session, |node| {
            let mut request = request(&session);
            request.session.connect_timeout = connect_timeout(node.player());
            if node.player() != PlayerIndex(0) {
                request.session.dynamic_public_keys.insert(PlayerIndex(0), wrong.clone());
            }
            async move { node.generate_key(&application(), request).await }
        })
        .await;
    for player in [1, 2] {
        let failure = failure(&answers, player);
        assert_eq!(failure.code, ErrorCode::SessionPlayersMissing);
        let note = &failure.players.iter().find(|concern| concern.player == PlayerIndex(0)).unwrap().note;
        assert!(note.contains(&network.key(0).fingerprint().to_string()), "{note}");
        assert!(note.contains(&wrong.fingerprint().to_string()), "{note}");
    }
    assert_eq!(failure(&answers, 0).code, ErrorCode::SessionPlayersMissing);
}

#[tokio::test(start_paused = true)]
async fn s60_different_digests_are_named_and_the_next_session_signs() {
    let network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let session = network.session("sign", &[0, 1]);
    let answers = network
        .ask(&session, |node| {
            let digest = vec![if node.player() == PlayerIndex(0) { 1 } else { 2 }; 32];
            let request = SignEcdsa {
                session: session.clone(),
                key_id: key.key_id.clone(),
                path: DerivationPath::ROOT,
                digest,
            };
            async move { node.sign(&application(), request).await }
        })
        .await;
    for player in [0, 1] {
        assert_eq!(failure(&answers, player).code, ErrorCode::SessionDisagreement);
        assert_eq!(failure(&answers, player).differences[0].field, "digest");
    }
    let answers = network.sign(&network.session("sign2", &[0, 1]), &key.key_id, &[1; 32]).await;
    tsm_tests::join(&[1; 32], &answers);
}

#[tokio::test(start_paused = true)]
async fn s05_two_keys_swapped_between_callers_are_named() {
    let network = Network::start(3, 1).await;
    let one = network.make_key(CurveId::Secp256k1, 1).await;
    let two = network.make_key(CurveId::Secp256k1, 2).await;
    let session = network.session("sign", &[0, 1, 2]);
    let answers = network
        .ask(&session, |node| {
            let key_id =
                if node.player() == PlayerIndex(0) { one.key_id.clone() } else { two.key_id.clone() };
            let request = SignEcdsa {
                session: session.clone(),
                key_id,
                path: DerivationPath::ROOT,
                digest: vec![5; 32],
            };
            async move { node.sign(&application(), request).await }
        })
        .await;
    let fields: Vec<_> = failure(&answers, 0).differences.iter().map(|d| d.field.as_str()).collect();
    assert_eq!(fields, ["key_id", "certificate"]);
}
