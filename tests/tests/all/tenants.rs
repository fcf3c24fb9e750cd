//! Two tenants, each with a phone of its own as player 0, on the same servers: what one breaks, the
//! other does not feel (rules S-103, S-104).

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tsm_crypto::CurveId;
use tsm_tests::frames::{self, BODY, as_it_is, watch_set_ups};
use tsm_tests::{Network, join};
use tsm_transport::memory::Delivery;
use tsm_types::ErrorCode;

/// More failed checks than the servers take before they slow a peer down.
const FAILURES: usize = 5;

#[tokio::test(start_paused = true)]
async fn s104_failed_checks_of_one_phone_cost_another_phone_nothing() {
    let one = Network::start(3, 51).await;
    let two = one.with_another_player_0(1, "another-tenant").await;
    assert_ne!(one.key(0), two.key(0));
    let key_1 = one.make_key(CurveId::Secp256k1, 1).await;
    let key_2 = two.make_key(CurveId::Secp256k1, 1).await;
    for (network, key) in [(&one, &key_1), (&two, &key_2)] {
        let session = network.session("warm-up", &[0, 1]);
        join(&[7; 32], &network.sign(&session, &key.key_id, &[7; 32]).await);
    }

    // Every extension that the first phone sends to node 1 is spoiled.
    let (cheat, victim) = (one.key(0).clone(), one.key(1).clone());
    let set_ups = watch_set_ups(&one.links, move |frame| {
        let mut bytes = frame.bytes.clone();
        let spoil = frame.from == cheat && frame.to == victim && bytes.len() > 4_000;
        if spoil && frames::round(&bytes).is_some_and(|(_, phase, round)| (phase, round) == (1, 1)) {
            let extension = BODY + 32 + 32 + 32;
            // The set-up's first flight has the same place in its session; it is longer.
            if bytes.len() < 8_000 {
                bytes[extension + 32 + 5] ^= 1;
            }
        }
        vec![Delivery::at_once(bytes)]
    });
    let mut compromised = 0;
    for attempt in 0..FAILURES {
        let session = one.session(&format!("cheat-{attempt}"), &[0, 1]);
        let answers = one.sign(&session, &key_1.key_id, &[7; 32]).await;
        let code = answers[&1].as_ref().unwrap_err().code;
        compromised += usize::from(code == ErrorCode::PairCompromised);

        let before = Instant::now();
        let session = two.session(&format!("honest-{attempt}"), &[0, 1]);
        join(&[8; 32], &two.sign(&session, &key_2.key_id, &[8; 32]).await);
        assert!(before.elapsed() < Duration::from_secs(1), "attempt {attempt}: {:?}", before.elapsed());
    }
    assert!(compromised >= 3, "only {compromised} checks failed");
    let opened = set_ups.lock().unwrap().clone();
    assert!(!opened.is_empty(), "the first phone's burned states were made anew");
    let of_phone_2 = |key| key == *two.key(0);
    assert!(
        opened.into_iter().all(|(from, to)| !of_phone_2(from) && !of_phone_2(to)),
        "the second phone's state was made anew"
    );

    // Slowed down is not shut out: no failure disables a key (S-104).
    one.links.set_tamper(Box::new(as_it_is));
    sleep(Duration::from_secs(61)).await;
    join(&[9; 32], &one.sign(&one.session("honest", &[0, 1]), &key_1.key_id, &[9; 32]).await);
}

#[tokio::test(start_paused = true)]
async fn s103_a_phone_cannot_use_or_see_the_key_of_another_tenants_phone() {
    let one = Network::start(3, 52).await;
    let two = one.with_another_player_0(1, "another-tenant").await;
    let key = one.make_key(CurveId::Secp256k1, 1).await;
    for player in [0, 1, 2] {
        assert_eq!(two.node(player).list_keys(&two.application).await.unwrap(), []);
    }
    let answers = two.sign(&two.session("steal", &[0, 1]), &key.key_id, &[7; 32]).await;
    for (player, answer) in answers {
        let code = answer.unwrap_err().code;
        assert!(
            [ErrorCode::KeyNotFound, ErrorCode::SessionRefused].contains(&code),
            "player {player}: {code}"
        );
    }
    // Not even if the other tenant's caller logs in to the first tenant's application at a server.
    let mut thief = two.with_another_player_0(2, "another-tenant").await;
    thief.application = one.application.clone();
    let answers = thief.sign(&thief.session("steal-2", &[0, 1]), &key.key_id, &[7; 32]).await;
    assert_eq!(answers[&1].as_ref().unwrap_err().code, ErrorCode::KeyOtherHolder);
}
