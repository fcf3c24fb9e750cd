//! Nodes that are stopped before, during and after a session, and one that stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;
use tsm_sdk::{CurveId, ErrorCode, Failure};

use crate::harness::{Network, PROMPTLY, free_port, join, managed, management, names, sha256, until};

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
    let at_once = |config| format!("{config}\n[Session]\nDrainTimeout = \"0s\"\n");
    let mut network = Network::start_with(|_, config| at_once(config)).await;
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

#[tokio::test]
async fn a_node_terminated_under_load_loses_no_session_that_began_and_ends_in_good_order() {
    let mut network = Network::start().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    network.make_signature(&[0, 1, 2], &key, b"warm").await;
    let begun = Instant::now();
    // In milliseconds from the beginning; never, until it is sent.
    let signalled = Arc::new(AtomicU64::new(u64::MAX));
    let count = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..3).map(|player| network.node(player).client()).collect();
    let mut callers = JoinSet::new();
    for caller in 0..4_u8 {
        let (clients, key, sessions) = (clients.clone(), key.clone(), network.sessions());
        let (signalled, count) = (signalled.clone(), count.clone());
        callers.spawn(async move {
            let mut done = Vec::new();
            for number in 0_u32.. {
                let asked = milliseconds(begun);
                if asked >= signalled.load(Ordering::SeqCst).saturating_add(1500) {
                    break;
                }
                let session = sessions(&[0, 1, 2]);
                let message = [[caller; 4], number.to_be_bytes()].concat();
                let digest = sha256(&message);
                let ecdsa = |player: usize| clients[player].ecdsa();
                let answers: Vec<Result<(), Failure>> = if caller == 0 {
                    let make = |player| {
                        let (ecdsa, session) = (ecdsa(player), &session);
                        async move { ecdsa.generate_key(session, 1, CurveId::P256, None).await.map(drop) }
                    };
                    let (zero, one, two) = tokio::join!(make(0), make(1), make(2));
                    vec![zero, one, two]
                } else {
                    let sign = |player| {
                        let (ecdsa, session, key, digest) = (ecdsa(player), &session, &key, &digest);
                        async move { ecdsa.sign(session, &key.key_id, &[], digest).await }
                    };
                    let (zero, one, two) = tokio::join!(sign(0), sign(1), sign(2));
                    let parts = [(0, zero), (1, one), (2, two)];
                    if parts.iter().all(|(_, part)| part.is_ok()) {
                        join(&key.public_key, &message, parts.clone().into());
                    }
                    parts.into_iter().map(|(_, part)| part.map(drop)).collect()
                };
                count.fetch_add(1, Ordering::SeqCst);
                done.push((asked, milliseconds(begun), answers));
            }
            done
        });
    }
    until("sessions run", || count.load(Ordering::SeqCst) >= 8).await;
    let signal_after = milliseconds(begun);
    signalled.store(signal_after, Ordering::SeqCst);
    let signal = Instant::now();
    assert!(network.node_mut(1).stop().await.success());
    let stopped_after = signal.elapsed();
    let done: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    let (mut across, mut refused) = (0, 0);
    for (asked, answered, answers) in &done {
        let all_good = answers.iter().all(Result::is_ok);
        match &answers[1] {
            // Not begun there: it says so, or is gone; and who waits for it is told that it is stopping, or
            // finds it gone.
            Err(failure) => {
                assert!(*answered > signal_after, "{failure}");
                let codes = [ErrorCode::NodeStopping, ErrorCode::NodeUnreachable];
                assert!(codes.contains(&failure.code), "{failure}");
                for answer in [&answers[0], &answers[2]] {
                    let other = answer.as_ref().unwrap_err();
                    let codes = [ErrorCode::PlayerStopping, ErrorCode::SessionPlayersMissing];
                    assert!(codes.contains(&other.code) && names(other, 1), "{other:?}; node 1: {failure}");
                }
                refused += 1;
            }
            Ok(()) => assert!(all_good, "a session that began is lost: {answers:?}"),
        }
        across += usize::from(all_good && *asked < signal_after && *answered > signal_after);
    }
    println!(
        "{} sessions, {across} running at SIGTERM, {refused} refused; stopped in {stopped_after:?}",
        done.len()
    );
    assert!(across > 0 && refused > 0, "{} sessions, {across} across, {refused} refused", done.len());
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap()
}

#[tokio::test]
async fn a_draining_node_is_not_healthy_and_a_second_signal_ends_it_at_once() {
    let port = free_port();
    let mut network = Network::start_with(|places, config| match places.player {
        1 => config + &managed(port, "the key"),
        _ => config,
    })
    .await;
    let health = async || management(port, "/health", "the key").await;
    let (status, body) = health().await;
    assert!(status == 200 && body.contains("\"ready\":true") && body.contains("\"player\":2"), "{body}");
    // A session of which player 2's caller does not come.
    let session = network.session(&[0, 1, 2]);
    let call = |player: u16| {
        let (client, session) = (network.node(player).client(), session.clone());
        tokio::spawn(async move {
            client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await.unwrap_err()
        })
    };
    let (zero, one) = (call(0), call(1));
    sleep(Duration::from_millis(500)).await;
    network.node(1).terminate();
    sleep(Duration::from_millis(500)).await;
    let (status, body) = health().await;
    assert!(status == 503 && body.contains("stopping") && body.contains("1 still run"), "{status} {body}");
    assert!(!network.node(1).client().ready().await.unwrap().ready);
    let refused = network.generate_key(&network.session(&[0, 1, 2])).await;
    assert_eq!(refused[&1].as_ref().unwrap_err().code, ErrorCode::NodeStopping);
    for player in [0, 2] {
        let failure = refused[&player].as_ref().unwrap_err();
        assert!(failure.code == ErrorCode::PlayerStopping && names(failure, 1), "{failure:?}");
    }
    assert!(!one.is_finished() && !zero.is_finished());

    let second = Instant::now();
    assert!(network.node_mut(1).stop().await.success());
    assert!(second.elapsed() < PROMPTLY * 2, "{:?}", second.elapsed());
    assert_eq!(one.await.unwrap().code, ErrorCode::NodeStopping);
    assert_eq!(zero.await.unwrap().code, ErrorCode::PlayerStopping);
}
