//! Each player falls silent at each round: the others end by the deadline, and know who it was
//! (rule S-32).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tsm_crypto::CurveId;
use tsm_tests::frames::{self, as_it_is};
use tsm_tests::{Answers, Network, join};
use tsm_types::{ErrorCode, Failure, KeyId, PlayerIndex};

/// A session's time, and what a key generation adds while it looks for its certificate.
const LATEST: Duration = Duration::from_secs(63);

/// From this message on, nothing of a player reaches anybody.
fn silence(network: &Network, player: u16, from_phase: u8, from_round: u8) -> Arc<AtomicBool> {
    let silent = Arc::new(AtomicBool::new(false));
    let (state, victim) = (silent.clone(), network.key(player).clone());
    network.links.set_tamper(Box::new(move |frame| {
        if frame.from != victim {
            return as_it_is(frame);
        }
        if let Some((_, phase, round)) = frames::round(&frame.bytes)
            && (phase, round) == (from_phase, from_round)
        {
            state.store(true, Ordering::SeqCst);
        }
        // It did come to the session; the first frame says no more than that.
        let says_nothing = state.load(Ordering::SeqCst) && frames::opened(&frame.bytes).is_none();
        if says_nothing { vec![] } else { as_it_is(frame) }
    }));
    silent
}

/// All others failed because of `silent` and nobody else: where another player is mentioned, then as
/// the bearer of the news.
fn assert_named<T>(answers: &Answers<T>, silent: u16, case: &str) {
    let others: BTreeMap<_, _> = answers.iter().filter(|(player, _)| **player != silent).collect();
    for (player, answer) in others {
        let failure: &Failure = match answer {
            Ok(_) => panic!("{case}: player {player} has a result"),
            Err(failure) => failure,
        };
        assert_eq!(failure.code, ErrorCode::SessionTimeout, "{case}: player {player}: {failure}");
        let accused: Vec<_> = failure
            .players
            .iter()
            .filter(|concern| concern.note != "ended the session")
            .map(|concern| concern.player)
            .collect();
        assert_eq!(accused, [PlayerIndex(silent)], "{case}: player {player}: {failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s32_each_player_silent_at_each_round_of_a_key_generation_is_named_by_the_deadline() {
    // Two rounds, and the confirmation.
    for (phase, round) in [(1, 1), (1, 2), (2, 1)] {
        for player in 0..3 {
            let case = format!("player {player} silent at {phase}.{round}");
            let network = Network::start(3, 31).await;
            let silent = silence(&network, player, phase, round);
            let before = Instant::now();
            let answers =
                network.generate_key(&network.session("run", &[0, 1, 2]), CurveId::Secp256k1, 1).await;
            assert!(silent.load(Ordering::SeqCst), "{case}: the round was not reached");
            assert!(before.elapsed() <= LATEST, "{case}: {:?}", before.elapsed());
            assert_named(&answers, player, &case);
            // When it speaks again, its holders all have the key or none has.
            network.links.set_tamper(Box::new(as_it_is));
            network.links.disconnect(network.key(player));
            network.links.reconnect(network.key(player));
            sleep(Duration::from_secs(5)).await;
            let seen = seen_keys(&network).await;
            for key_id in seen.iter().flatten().take(1) {
                // Whoever has the key brings the certificate to who missed it.
                for signers in [[0, 1], [0, 2], [1, 2]] {
                    let session = network.session(&format!("sign-{}-{}", signers[0], signers[1]), &signers);
                    join(&[7; 32], &network.sign(&session, key_id, &[7; 32]).await);
                }
            }
            let seen = seen_keys(&network).await;
            assert!(seen.iter().all(|keys| *keys == seen[0]), "{case}: {seen:?}");
        }
    }
}

async fn seen_keys(network: &Network) -> Vec<Vec<KeyId>> {
    let mut seen = Vec::new();
    for holder in 0..3 {
        seen.push(network.node(holder).list_keys(&network.application).await.unwrap());
        assert_eq!(network.node(holder).running_sessions(), 0);
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn s32_each_player_silent_at_each_round_of_a_signature_is_named_by_the_deadline() {
    let network = Network::start(3, 32).await;
    let key = network.make_key(CurveId::Secp256k1, 2).await;
    let everybody = [0, 1, 2];
    join(&[7; 32], &network.sign(&network.session("warm-up", &everybody), &key.key_id, &[7; 32]).await);
    for round in [1, 2] {
        for player in everybody {
            let case = format!("player {player} silent at round {round}");
            let silent = silence(&network, player, 1, round);
            let before = Instant::now();
            let session = network.session(&format!("sign-{player}-{round}"), &everybody);
            let answers = network.sign(&session, &key.key_id, &[7; 32]).await;
            assert!(silent.load(Ordering::SeqCst), "{case}: the round was not reached");
            assert!(before.elapsed() <= LATEST, "{case}: {:?}", before.elapsed());
            assert_named(&answers, player, &case);
            // The silence cost the session and nothing else.
            network.links.set_tamper(Box::new(as_it_is));
            let session = network.session(&format!("next-{player}-{round}"), &everybody);
            join(&[8; 32], &network.sign(&session, &key.key_id, &[8; 32]).await);
        }
    }
}
