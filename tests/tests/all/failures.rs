//! Players that are late, silent, gone or restarted, and callers that leave or ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tsm_crypto::CurveId;
use tsm_tests::frames::as_it_is;
use tsm_tests::{Network, application, join};
use tsm_transport::memory::Delivery;
use tsm_types::request::{GenerateKey, SessionRequest, SignEcdsa};
use tsm_types::{ApplicationId, DerivationPath, ErrorCode, KeyId, PlayerIndex};

fn key_request(session: &SessionRequest) -> GenerateKey {
    GenerateKey { session: session.clone(), curve: CurveId::Secp256k1, threshold: 1, key_id: None }
}

fn sign_request(session: &SessionRequest, key_id: &KeyId, digest: u8) -> SignEcdsa {
    SignEcdsa {
        session: session.clone(),
        key_id: key_id.clone(),
        path: DerivationPath::ROOT,
        digest: vec![digest; 32],
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_come_late() {
    let network = Network::start(3, 1).await;
    let session = network.session("run", &[0, 1, 2]);
    let answers = network
        .ask(&session, |node| {
            let request = key_request(&session);
            async move {
                sleep(Duration::from_secs(u64::from(node.player().0) * 4)).await;
                node.generate_key(&application(), request).await
            }
        })
        .await;
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn s32_a_player_whose_caller_never_comes_is_named_by_everybody_at_the_deadline() {
    let network = Network::start(3, 1).await;
    let session = network.session("run", &[0, 1, 2]);
    let before = Instant::now();
    let app = application();
    let (zero, one) = tokio::join!(
        network.node(0).generate_key(&app, key_request(&session)),
        network.node(1).generate_key(&app, key_request(&session)),
    );
    for failure in [zero.unwrap_err(), one.unwrap_err()] {
        assert_eq!(failure.code, ErrorCode::SessionPlayersMissing);
        assert_eq!(failure.players.len(), 1, "{failure:?}");
        assert_eq!(failure.players[0].player, PlayerIndex(2));
    }
    assert!(before.elapsed() >= Duration::from_secs(10) && before.elapsed() < Duration::from_secs(11));
    // The late caller learns at once that it is over.
    let before = Instant::now();
    let failure = network.node(2).generate_key(&app, key_request(&session)).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionPlayersMissing);
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn callers_can_shorten_the_wait_but_not_lengthen_it() {
    let network = Network::start(3, 1).await;
    for (asked, waited) in [(2, 2), (60, 10)] {
        let mut session = network.session(&format!("run{asked}"), &[0, 1, 2]);
        session.connect_timeout = Some(Duration::from_secs(asked));
        let before = Instant::now();
        let failure = network.node(0).generate_key(&application(), key_request(&session)).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionPlayersMissing);
        assert_eq!(before.elapsed().as_secs(), waited);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_ends_the_session_everywhere_at_once() {
    let network = Network::start(3, 1).await;
    let session = network.session("run", &[0, 1, 2]);
    let before = Instant::now();
    let app = application();
    let leaving = async {
        let call = network.node(1).generate_key(&app, key_request(&session));
        assert!(timeout(Duration::from_secs(1), call).await.is_err(), "player 2 is not there yet");
    };
    let (zero, ()) = tokio::join!(network.node(0).generate_key(&app, key_request(&session)), leaving);
    let failure = zero.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionCancelled);
    assert_eq!(failure.players[0].player, PlayerIndex(1));
    assert!(before.elapsed() < Duration::from_secs(2));
    // Who left and asks again is told whose caller it was, too.
    let failure = network.node(1).generate_key(&app, key_request(&session)).await.unwrap_err();
    assert_eq!((failure.code, failure.players[0].player), (ErrorCode::SessionCancelled, PlayerIndex(1)));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_at_one_node_ends_the_session_everywhere_at_once() {
    let network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    network.node(1).delete_key_share(&application(), &key.key_id).await.unwrap();
    let before = Instant::now();
    let answers = network.sign(&network.session("sign", &[0, 1]), &key.key_id, &[7; 32]).await;
    assert_eq!(answers[&1].as_ref().unwrap_err().code, ErrorCode::KeyNotFound);
    let failure = answers[&0].as_ref().unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionRefused);
    assert_eq!(failure.players[0].player, PlayerIndex(1));
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_stopping_node_tells_everybody_why() {
    let network = Network::start(3, 1).await;
    let session = network.session("run", &[0, 1, 2]);
    let app = application();
    let stopping = async {
        sleep(Duration::from_secs(1)).await;
        network.node(1).stop().await;
    };
    let (zero, one, ()) = tokio::join!(
        network.node(0).generate_key(&app, key_request(&session)),
        network.node(1).generate_key(&app, key_request(&session)),
        stopping,
    );
    assert_eq!(one.unwrap_err().code, ErrorCode::NodeStopping);
    let failure = zero.unwrap_err();
    assert_eq!(failure.code, ErrorCode::PlayerStopping);
    assert_eq!(failure.players[0].player, PlayerIndex(1));
    assert!(!network.node(1).not_ready().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn asking_again_gives_the_same_answer_and_other_parameters_are_a_conflict() {
    let network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let session = network.session("sign", &[0, 1]);
    let first = network.sign(&session, &key.key_id, &[7; 32]).await;
    join(&[7; 32], &first);
    let again = network.node(0).sign(&application(), sign_request(&session, &key.key_id, 7)).await;
    assert_eq!(first[&0], again);
    let other = network.node(0).sign(&application(), sign_request(&session, &key.key_id, 8)).await;
    assert_eq!(other.unwrap_err().code, ErrorCode::SessionConflict);
}

#[tokio::test(start_paused = true)]
async fn two_calls_of_the_same_request_share_one_run() {
    let network = Network::start(3, 1).await;
    let session = network.session("run", &[0, 1, 2]);
    let app = application();
    let (a, b, c, d) = tokio::join!(
        network.node(0).generate_key(&app, key_request(&session)),
        network.node(0).generate_key(&app, key_request(&session)),
        network.node(1).generate_key(&app, key_request(&session)),
        network.node(2).generate_key(&app, key_request(&session)),
    );
    let key = a.unwrap();
    assert!([b, c, d].into_iter().all(|other| other.unwrap() == key));
    assert_eq!(network.node(0).list_keys(&app).await.unwrap(), [key.key_id]);
}

#[tokio::test(start_paused = true)]
async fn s103_an_application_sees_and_uses_only_its_own_keys() {
    let network = Network::start(2, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let other = ApplicationId::new("otherapp").unwrap();
    assert_eq!(network.node(0).list_keys(&other).await, Ok(vec![]));
    let code = |result: Result<(), tsm_types::Failure>| result.unwrap_err().code;
    assert_eq!(
        code(network.node(0).public_key(&other, &key.key_id, &DerivationPath::ROOT).await.map(drop)),
        ErrorCode::KeyNotFound
    );
    assert_eq!(code(network.node(0).delete_key_share(&other, &key.key_id).await), ErrorCode::KeyNotFound);
    let request = sign_request(&network.session("sign", &[0, 1]), &key.key_id, 1);
    assert_eq!(code(network.node(0).sign(&other, request).await.map(drop)), ErrorCode::KeyNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_key_id_of_the_callers_own_is_kept_and_cannot_be_used_twice() {
    let network = Network::start(3, 1).await;
    let wished = KeyId::new("treasury7").unwrap();
    for (run, expected) in [("run1", None), ("run2", Some(ErrorCode::KeyExists))] {
        let session = network.session(run, &[0, 1, 2]);
        let answers = network
            .ask(&session, |node| {
                let request = GenerateKey { key_id: Some(wished.clone()), ..key_request(&session) };
                async move { node.generate_key(&application(), request).await }
            })
            .await;
        for answer in answers.values() {
            match (answer, expected) {
                (Ok(key), None) => assert_eq!(key.key_id, wished),
                (Err(failure), Some(code)) => {
                    assert!([code, ErrorCode::SessionRefused].contains(&failure.code), "{failure}");
                }
                (answer, _) => panic!("{answer:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_holder_under_the_same_index_is_refused_with_both_fingerprints() {
    let network = Network::start(2, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let stranger = tsm_crypto::IdentityKey::generate(&mut tsm_crypto::hedged::test_rng(99)).public().clone();
    let mut session = network.session("sign", &[0, 1]);
    session.dynamic_public_keys.insert(PlayerIndex(0), stranger.clone());
    let failure =
        network.node(1).sign(&application(), sign_request(&session, &key.key_id, 1)).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::KeyOtherHolder);
    assert!(failure.detail.contains(&stranger.fingerprint().to_string()));
    assert!(failure.detail.contains(&network.key(0).fingerprint().to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_and_comes_back_does_not_end_a_session() {
    let network = Arc::new(Network::start(3, 1).await);
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    // Every frame takes a second, and in the middle the link of player 1 is away for a while.
    network.links.set_tamper(Box::new(|frame| {
        vec![Delivery { after: Duration::from_secs(1), bytes: frame.bytes.clone() }]
    }));
    let breaking = async {
        sleep(Duration::from_millis(1500)).await;
        network.links.disconnect(network.key(1));
        sleep(Duration::from_secs(1)).await;
        network.links.reconnect(network.key(1));
    };
    let session = network.session("sign", &[0, 1]);
    let (answers, ()) = tokio::join!(network.sign(&session, &key.key_id, &[7; 32]), breaking);
    join(&[7; 32], &answers);
}

/// Even the last one, of a player that has its result and waits for nothing more.
#[tokio::test(start_paused = true)]
async fn whichever_message_a_link_loses_when_it_breaks_both_signers_have_their_result() {
    let network = Arc::new(Network::start(3, 1).await);
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    network.sign(&network.session("warm", &[0, 1]), &key.key_id, &[7; 32]).await;
    // Two openings, two rounds of both.
    const FRAMES: usize = 6;
    for lost in 0..FRAMES {
        let seen = AtomicUsize::new(0);
        network.links.set_tamper(Box::new(move |frame| {
            if seen.fetch_add(1, Ordering::Relaxed) == lost { Vec::new() } else { as_it_is(frame) }
        }));
        let breaking = async {
            sleep(Duration::from_secs(1)).await;
            network.links.disconnect(network.key(1));
            sleep(Duration::from_millis(100)).await;
            network.links.reconnect(network.key(1));
        };
        let session = network.session(&format!("sign-{lost}"), &[0, 1]);
        let (answers, ()) = tokio::join!(network.sign(&session, &key.key_id, &[8; 32]), breaking);
        join(&[8; 32], &answers);
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_does_not_come_back_ends_the_session_promptly_and_names_the_player() {
    let network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    network.links.set_tamper(Box::new(|frame| {
        vec![Delivery { after: Duration::from_secs(1), bytes: frame.bytes.clone() }]
    }));
    let breaking = async {
        sleep(Duration::from_millis(1500)).await;
        network.links.disconnect(network.key(1));
    };
    let before = Instant::now();
    let session = network.session("sign", &[0, 1]);
    let (answers, ()) = tokio::join!(network.sign(&session, &key.key_id, &[7; 32]), breaking);
    let failure = answers[&0].as_ref().unwrap_err();
    assert_eq!(failure.code, ErrorCode::LinkLost);
    assert_eq!(failure.players[0].player, PlayerIndex(1));
    assert!(before.elapsed() < Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_player_that_is_back_as_another_process_ends_the_session_at_once_and_is_named() {
    let mut network = Network::start(3, 1).await;
    // The caller of player 0 does not come.
    let session = network.session("run", &[0, 1, 2]);
    let ask = |player: u16| {
        let (node, request) = (network.node(player).clone(), key_request(&session));
        tokio::spawn(async move { node.generate_key(&application(), request).await })
    };
    let (one, two) = (ask(1), ask(2));
    sleep(Duration::from_secs(1)).await;
    let before = Instant::now();
    network.restart(2).await;
    assert_eq!(two.await.unwrap().unwrap_err().code, ErrorCode::NodeStopping);
    let failure = one.await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::PlayerRestarted, "{failure}");
    assert_eq!(failure.players[0].player, PlayerIndex(2));
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_pair_is_set_up_anew_and_signs() {
    let mut network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    for (run, player) in [(0u8, 0), (1, 1), (2, 0)] {
        let digest = [run + 1; 32];
        join(
            &digest,
            &network.sign(&network.session(&format!("sign{run}"), &[0, 1]), &key.key_id, &digest).await,
        );
        network.restart(player).await;
    }
    join(&[9; 32], &network.sign(&network.session("last", &[0, 1]), &key.key_id, &[9; 32]).await);
}

#[tokio::test(start_paused = true)]
async fn s105_more_sessions_than_allowed_are_refused_by_name() {
    let settings = tsm_node::Settings { max_sessions: 3, ..Default::default() };
    let network = Arc::new(Network::start_with(3, 1, settings).await);
    let waiting: Vec<_> = (0..3)
        .map(|run| {
            let (node, session) =
                (network.node(0).clone(), network.session(&format!("run{run}"), &[0, 1, 2]));
            tokio::spawn(async move { node.generate_key(&application(), key_request(&session)).await })
        })
        .collect();
    sleep(Duration::from_millis(50)).await;
    let session = network.session("one-too-many", &[0, 1, 2]);
    let failure = network.node(0).generate_key(&application(), key_request(&session)).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionLimit);
    for run in waiting {
        assert_eq!(run.await.unwrap().unwrap_err().code, ErrorCode::SessionPlayersMissing);
    }
    assert_eq!(network.node(0).running_sessions(), 0);
}
