//! Who hands out different things to different players gains nothing: no honest player is named,
//! and no state of a pair is lost (rules S-02, S-18).

use std::sync::{Arc, Mutex};

use tsm_crypto::CurveId;
use tsm_tests::frames::{self, BODY, as_it_is, watch_set_ups};
use tsm_tests::{Answers, Network, join};
use tsm_transport::memory::{Delivery, Frame};
use tsm_types::request::{GenerateKey, KeyInfo, SignEcdsa, Signed};
use tsm_types::{DerivationPath, Digest, ErrorCode, KeyId, Operation, PlayerIndex, SessionId};

/// Codes that say of a player that it cheated.
const ACCUSATIONS: [ErrorCode; 4] = [
    ErrorCode::MessageMalformed,
    ErrorCode::Equivocation,
    ErrorCode::PlayerCheated,
    ErrorCode::PairCompromised,
];

/// Three players with a key that every two of them can use, and all their pairs set up.
async fn with_pairs() -> (Network, KeyInfo) {
    let network = Network::start(3, 21).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    sign_all(&network, &key, "warm-up").await;
    (network, key)
}

async fn sign_all(network: &Network, key: &KeyInfo, id: &str) {
    join(&[7; 32], &network.sign(&network.session(id, &[0, 1, 2]), &key.key_id, &[7; 32]).await);
}

/// Signs with everybody; no pair may need a new state for it.
async fn assert_pairs_survived(network: &Network, key: &KeyInfo, case: &str) {
    let set_ups = watch_set_ups(&network.links, as_it_is);
    sign_all(network, key, &format!("after-{case}")).await;
    assert_eq!(*set_ups.lock().unwrap(), [], "{case}: a pair lost its state");
}

/// Each player's caller asks for a signature; `change` alters what player 2's caller asks.
async fn sign_with(
    network: &Network,
    key: &KeyInfo,
    id: &str,
    change: impl Fn(&mut SignEcdsa),
) -> Answers<Signed> {
    let session = network.session(id, &[0, 1, 2]);
    network
        .ask(&session, |node| {
            let (session, key_id) = (session.clone(), key.key_id.clone());
            let mut request = SignEcdsa { session, key_id, path: DerivationPath::ROOT, digest: vec![7; 32] };
            if node.player() == PlayerIndex(2) {
                change(&mut request);
            }
            let application = network.application.clone();
            async move { node.sign(&application, request).await }
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn s02_callers_that_are_told_different_things_burn_no_pair_and_accuse_nobody() {
    let (network, key) = with_pairs().await;
    let other = network.make_key(CurveId::P256, 1).await;
    let other_session = SessionId::new("another").unwrap();
    type Change<'a> = (&'static str, Box<dyn Fn(&mut SignEcdsa) + 'a>);
    let changes: [Change<'_>; 5] = [
        ("digest", Box::new(|request| request.digest[31] = 8)),
        ("key", Box::new(|request| request.key_id = other.key_id.clone())),
        ("no-such-key", Box::new(|request| request.key_id = KeyId::new("nosuchkey").unwrap())),
        ("session-id", Box::new(|request| request.session.id = other_session.clone())),
        (
            "players",
            Box::new(|request| {
                request.session.players.remove(&PlayerIndex(1));
            }),
        ),
    ];
    for (case, change) in changes {
        let answers = sign_with(&network, &key, case, change).await;
        for (player, answer) in answers {
            let failure = answer.expect_err(case);
            assert!(!ACCUSATIONS.contains(&failure.code), "{case}, player {player}: {failure}");
        }
        assert_pairs_survived(&network, &key, case).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s02_another_operation_under_the_same_session_id_burns_no_pair_and_accuses_nobody() {
    let (network, key) = with_pairs().await;
    let session = network.session("run", &[0, 1, 2]);
    let generate =
        GenerateKey { session: session.clone(), curve: CurveId::Secp256k1, threshold: 1, key_id: None };
    let sign = SignEcdsa {
        session: session.clone(),
        key_id: key.key_id.clone(),
        path: DerivationPath::ROOT,
        digest: vec![7; 32],
    };
    let answers = network
        .ask(&session, |node| {
            let (generate, sign) = (generate.clone(), sign.clone());
            let application = network.application.clone();
            async move {
                if node.player() == PlayerIndex(2) {
                    node.generate_key(&application, generate).await.map(drop)
                } else {
                    node.sign(&application, sign).await.map(drop)
                }
            }
        })
        .await;
    for (player, answer) in answers {
        assert_eq!(answer.unwrap_err().code, ErrorCode::SessionDisagreement, "player {player}");
    }
    assert_pairs_survived(&network, &key, "operation").await;
}

/// Player 2 tells player 1 of another digest than player 0, with everything that follows from it.
#[tokio::test(start_paused = true)]
async fn s02_a_peer_that_opens_two_sessions_under_one_id_burns_no_pair_of_others() {
    let (network, key) = with_pairs().await;
    let (cheat, victim) = (network.key(2).clone(), network.key(1).clone());
    network.links.set_tamper(Box::new(move |frame| {
        if frame.from != cheat || frame.to != victim {
            return as_it_is(frame);
        }
        let Some(mut session) = frames::opened(&frame.bytes) else {
            // Messages of a session that the victim does not run: the tag is another.
            let mut bytes = frame.bytes.clone();
            bytes[5] ^= 1;
            return vec![Delivery::at_once(bytes)];
        };
        if let Operation::SignEcdsa { digest, .. } = &mut session.operation {
            *digest = Digest::new([9; 32], CurveId::Secp256k1).unwrap();
        }
        vec![Delivery::at_once(frames::open(&session))]
    }));
    let answers = network.sign(&network.session("run", &[0, 1, 2]), &key.key_id, &[7; 32]).await;
    for (player, answer) in answers {
        let failure = answer.unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionDisagreement, "player {player}: {failure}");
    }
    assert_pairs_survived(&network, &key, "two-sessions").await;
}

/// Flips a bit of what player 2 broadcasts in one round, towards player 1 only.
fn equivocate(network: &Network, in_round: u8, place: usize) -> impl FnMut(&Frame) -> Vec<Delivery> + use<> {
    let (cheat, victim) = (network.key(2).clone(), network.key(1).clone());
    move |frame| {
        let mut bytes = frame.bytes.clone();
        let hit = frames::round(&bytes).is_some_and(|(_, _, round)| round == in_round);
        if hit && frame.from == cheat && frame.to == victim {
            bytes[BODY + place] ^= 1;
        }
        vec![Delivery::at_once(bytes)]
    }
}

#[tokio::test(start_paused = true)]
async fn s18_an_equivocated_broadcast_of_a_signature_burns_no_pair_of_honest_players() {
    // The commitment, and the 32 fresh bytes beside it.
    for place in [0, 40] {
        let (network, key) = with_pairs().await;
        network.links.set_tamper(Box::new(equivocate(&network, 1, place)));
        let answers = network.sign(&network.session("run", &[0, 1, 2]), &key.key_id, &[7; 32]).await;
        for player in [0, 1] {
            let failure = answers[&player].as_ref().unwrap_err();
            assert_eq!(failure.code, ErrorCode::Equivocation, "place {place}, player {player}: {failure}");
        }
        assert_pairs_survived(&network, &key, "equivocation").await;
    }
}

#[tokio::test(start_paused = true)]
async fn s18_an_equivocated_broadcast_of_a_key_generation_makes_no_key_anywhere() {
    for (round, place) in [(1, 0), (1, 40)] {
        let network = Network::start(3, 22).await;
        network.links.set_tamper(Box::new(equivocate(&network, round, place)));
        let answers = network.generate_key(&network.session("run", &[0, 1, 2]), CurveId::Secp256k1, 1).await;
        for player in [0, 1] {
            let failure = answers[&player].as_ref().unwrap_err();
            assert_eq!(failure.code, ErrorCode::Equivocation, "player {player}: {failure}");
            // Who is at fault cannot be seen from one side: the cheat is always among the named.
            let named = |player| failure.players.iter().any(|concern| concern.player == PlayerIndex(player));
            assert!(named(2), "{failure:?}");
        }
        for player in 0..3 {
            assert_eq!(network.node(player).list_keys(&network.application).await.unwrap(), []);
        }
    }
}

/// The counter of the tests above counts: a burned pair does need a new state.
#[tokio::test(start_paused = true)]
async fn s42_a_failed_check_burns_the_pair_and_the_next_signature_sets_it_up_anew() {
    let (network, key) = with_pairs().await;
    let (cheat, victim) = (network.key(1).clone(), network.key(0).clone());
    let spoiled = Arc::new(Mutex::new(false));
    let done = spoiled.clone();
    network.links.set_tamper(Box::new(move |frame| {
        let mut bytes = frame.bytes.clone();
        let first = frames::round(&bytes).is_some_and(|(_, _, round)| round == 1);
        if first && frame.from == cheat && frame.to == victim {
            // Behind commitment, fresh bytes, the state's identifier and the nonce: the extension.
            bytes[BODY + 32 + 32 + 32 + 32 + 5] ^= 1;
            *done.lock().unwrap() = true;
        }
        vec![Delivery::at_once(bytes)]
    }));
    let answers = network.sign(&network.session("run", &[0, 1]), &key.key_id, &[7; 32]).await;
    assert!(*spoiled.lock().unwrap());
    assert_eq!(answers[&0].as_ref().unwrap_err().code, ErrorCode::PairCompromised);
    let set_ups = watch_set_ups(&network.links, as_it_is);
    sign_all(&network, &key, "next").await;
    let opened: Vec<_> = set_ups.lock().unwrap().clone();
    assert!(!opened.is_empty(), "the burned state was used again");
    let of_these_two = |key| key == *network.key(0) || key == *network.key(1);
    assert!(opened.into_iter().all(|(from, to)| of_these_two(from) && of_these_two(to)));
}
