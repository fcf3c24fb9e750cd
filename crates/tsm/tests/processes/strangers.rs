//! Nodes behind an address or a key where another one was expected.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_crypto::IdentityPublicKey;
use tsm_sdk::ErrorCode;

use crate::harness::{Network, PROMPTLY, names};
use crate::main_job::player_0_fingerprint;

#[tokio::test]
async fn s99_an_address_answered_with_another_key_is_told_to_all_callers_and_logged_at_both_ends() {
    // Player 0 dials player 1 where it should dial player 2.
    let network = Network::start_with(|places, config| match places.player {
        0 => config.replace(&format!(":{}?", places.mpc[2]), &format!(":{}?", places.mpc[1])),
        _ => config,
    })
    .await;
    let [expected, presented] = [2, 1].map(|player| fingerprint_in(&network, player));
    let before = Instant::now();
    let answers = network.generate_key(&network.session(&[0, 1, 2])).await;
    assert!(before.elapsed() < PROMPTLY, "{:?}", before.elapsed());
    for (player, answer) in &answers {
        let failure = answer.as_ref().unwrap_err();
        assert_eq!(failure.code, ErrorCode::LinkWrongKey, "player {player}: {failure}");
        if *player != 2 {
            assert!(names(failure, 2), "player {player}: {failure:?}");
        }
    }
    let failure = answers[&0].as_ref().unwrap_err();
    assert!(failure.detail.contains(&expected) && failure.detail.contains(&presented), "{failure}");

    let line = network.node(0).log_lines("another public key than expected").remove(0);
    assert!(line.contains(&expected) && line.contains(&presented), "{line}");
    let told = network.node(1).log_lines("a node that dialled this one expects another public key here");
    assert!(told[0].contains("WARN") && told[0].contains("127.0.0.1"), "{told:?}");
}

/// Takes half a minute, for that is how long a node may wait for its caller's session.
#[tokio::test]
async fn s33_an_unknown_key_that_dials_is_parked_and_refused_with_a_clear_line_in_the_log() {
    // Nobody's session names player 0, and only sessions make it known to the others.
    let network = Network::start().await;
    let stranger = player_0_fingerprint();
    for player in [1, 2] {
        network.node(player).logs_within(Duration::from_secs(45), "refused: unknown key").await;
        let line = network.node(player).log_lines("refused: unknown key").remove(0);
        for part in ["WARN", &stranger, "127.0.0.1", "claimed player 0", "name it in the session"] {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
    }
}

/// Fingerprint of a static player's public key, as the configuration of node 0 has it.
fn fingerprint_in(network: &Network, player: u16) -> String {
    let config = std::fs::read_to_string(network.node(0).config_path()).unwrap();
    let section = config.split(&format!("[Players.{player}]")).nth(1).unwrap();
    let key = section.split("PublicKey = \"").nth(1).unwrap().split('"').next().unwrap();
    IdentityPublicKey::from_der(&BASE64.decode(key).unwrap()).unwrap().fingerprint().to_string()
}
