//! Nodes that are stopped before, during and after a session, and one that stands still.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tsm_sdk::{CurveId, ErrorCode};

use crate::harness::{Network, PROMPTLY, names, sha256};

#[tokio::test]
async fn s32_a_node_stopped_before_a_session_is_named_by_the_others_at_the_deadline() {
    let mut network = Network::start().await;
    assert!(network.node_mut(2).stop().await.success());
    let answers = network.generate_key(&network.hasty_session(&[0, 1, 2])).await;
    for player in [0, 1] {
        let failure = answers[&player].as_ref().unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionPlayersMissing, "player {player}: {failure}");
        assert!(names(failure, 2), "player {player}: {failure:?}");
    }
    assert_eq!(answers[&2].as_ref().unwrap_err().code, ErrorCode::NodeUnreachable);

    network.node_mut(2).start().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    network.make_signature(&[0, 2], &key, b"after the node came").await;
}

#[tokio::test]
async fn a_node_stopped_while_others_wait_tells_all_callers_at_once() {
    let mut network = Network::start().await;
    let session = network.session(&[0, 1, 2]);
    let call = |player: u16| {
        let (client, session) = (network.node(player).client(), session.clone());
        tokio::spawn(async move {
            let answer = client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await;
            (answer.unwrap_err(), Instant::now())
        })
    };
    let (waiting, stopped) = (call(0), call(1));
    sleep(Duration::from_millis(700)).await;
    let stop = Instant::now();
    assert!(network.node_mut(1).stop().await.success());
    assert!(stop.elapsed() < PROMPTLY * 2, "{:?}", stop.elapsed());

    let (failure, told) = stopped.await.unwrap();
    assert_eq!(failure.code, ErrorCode::NodeStopping, "{failure}");
    assert!(told - stop < PROMPTLY, "{:?}", told - stop);
    let (failure, told) = waiting.await.unwrap();
    assert_eq!(failure.code, ErrorCode::PlayerStopping, "{failure}");
    assert!(names(&failure, 1), "{failure:?}");
    assert!(told - stop < PROMPTLY, "{:?}", told - stop);
}

#[tokio::test]
async fn a_node_stopped_after_a_session_does_not_keep_the_others_from_signing_and_has_its_keys_when_it_is_back()
 {
    let mut network = Network::start().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    network.make_signature(&[1, 2], &key, b"before").await;
    assert!(network.node_mut(1).stop().await.success());
    network.make_signature(&[0, 2], &key, b"meanwhile").await;
    network.node_mut(1).start().await;
    let listed = network.node(1).client().key_management().list_keys().await.unwrap();
    assert_eq!(listed, [key.key_id.as_str()]);
    // Both with one that has seen nothing of its end but a closed link, and at once.
    network.make_signature(&[0, 1], &key, b"with the dynamic player").await;
    network.make_signature(&[1, 2], &key, b"with the static player").await;
}

#[tokio::test]
async fn s32_a_node_that_stands_still_in_the_middle_is_named_at_the_deadline_and_signs_when_it_goes_on() {
    let network = Network::start().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    let timeout = Duration::from_secs(2);
    let session = network.session(&[0, 1, 2]).with_session_timeout(timeout);
    let digest = sha256(b"not signed");
    let call = |player: u16| {
        let (client, session) = (network.node(player).client(), session.clone());
        let (key_id, digest) = (key.key_id.clone(), digest.clone());
        tokio::spawn(async move { client.ecdsa().sign(&session, &key_id, &[], &digest).await })
    };
    let begun = Instant::now();
    let (zero, one) = (call(0), call(1));
    // Player 1 has joined the session and waits for player 2 when it stops moving.
    sleep(Duration::from_millis(500)).await;
    network.node(1).pause();
    let two = call(2);
    for (player, answer) in [(0, zero), (2, two)] {
        let failure = answer.await.unwrap().unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionTimeout, "player {player}: {failure}");
        assert!(names(&failure, 1), "player {player}: {failure:?}");
    }
    let took = begun.elapsed();
    assert!(took >= timeout && took < timeout + PROMPTLY, "{took:?}");
    // Nobody else is held up.
    network.make_signature(&[0, 2], &key, b"without it").await;

    network.node(1).resume();
    one.await.unwrap().unwrap_err();
    network.make_signature(&[0, 1, 2], &key, b"with it").await;
}
