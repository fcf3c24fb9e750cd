//! Wrong public keys in the hands of any callers, for any player (rule S-99).

use std::time::Duration;

use tokio::time::Instant;
use tsm_crypto::{CurveId, IdentityKey};
use tsm_tests::Network;
use tsm_types::request::GenerateKey;
use tsm_types::{ErrorCode, PlayerIndex};

const PLAYERS: u16 = 4;

#[tokio::test(start_paused = true)]
async fn s99_every_set_of_callers_with_a_wrong_key_for_any_player_makes_no_key_and_learns_why() {
    for subject in 0..PLAYERS {
        let others: Vec<u16> = (0..PLAYERS).filter(|player| *player != subject).collect();
        for mask in 1..1u32 << others.len() {
            let misled: Vec<u16> =
                (0..others.len()).filter(|place| mask >> place & 1 == 1).map(|place| others[place]).collect();
            misled_callers(subject, &misled, misled.len() == others.len()).await;
        }
    }
}

async fn misled_callers(subject: u16, misled: &[u16], all: bool) {
    let case = format!("callers {misled:?} have a wrong key for player {subject}");
    let network = Network::start_all_dynamic(PLAYERS, 41).await;
    let wrong = IdentityKey::generate(&mut tsm_crypto::hedged::test_rng(99)).public().clone();
    let session = network.session("run", &(0..PLAYERS).collect::<Vec<_>>());
    let before = Instant::now();
    let answers = network
        .ask(&session, |node| {
            let mut session = session.clone();
            if misled.contains(&node.player().0) {
                // They look around while the real player still waits at the door.
                session.connect_timeout = Some(Duration::from_secs(5));
                session.dynamic_public_keys.insert(PlayerIndex(subject), wrong.clone());
            }
            let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: None };
            let application = network.application.clone();
            async move { node.generate_key(&application, request).await }
        })
        .await;
    for (player, answer) in &answers {
        let failure = answer.as_ref().expect_err(&case);
        // With all others misled the real player 0 meets nobody, and they wait for one that is not.
        let expected = if all { ErrorCode::SessionPlayersMissing } else { ErrorCode::SessionDisagreement };
        assert_eq!(failure.code, expected, "{case}, player {player}: {failure:?}");
    }
    if all {
        for player in misled {
            let named = &answers[player].as_ref().unwrap_err().players;
            assert_eq!(named.len(), 1, "{case}: {named:?}");
            assert_eq!(named[0].player, PlayerIndex(subject), "{case}");
            // Of two players the lower dials, and only then can the other see with which key.
            let note = &named[0].note;
            assert!(
                subject > *player || note.contains(&network.key(subject).fingerprint().to_string()),
                "{case}: {note}"
            );
        }
    } else {
        // Nobody waits, and at least one on either side sees whose key differs, with both keys.
        assert!(before.elapsed() < Duration::from_secs(2), "{case}: {:?}", before.elapsed());
        let shown = answers.values().flat_map(|answer| &answer.as_ref().unwrap_err().differences);
        let shown: Vec<_> = shown.filter(|difference| !difference.ours.is_empty()).collect();
        assert!(!shown.is_empty(), "{case}");
        for difference in shown {
            assert_eq!(
                (difference.field.as_str(), difference.player),
                ("players", Some(PlayerIndex(subject)))
            );
        }
    }
    for player in 0..PLAYERS {
        assert_eq!(network.node(player).list_keys(&network.application).await.unwrap(), [], "{case}");
    }
}
