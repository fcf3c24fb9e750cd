//! Messages of an earlier run under the same session ID (rule S-03).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tsm_crypto::CurveId;
use tsm_tests::Network;
use tsm_tests::frames::{self, as_it_is};
use tsm_transport::memory::Delivery;
use tsm_types::ErrorCode;

#[tokio::test(start_paused = true)]
async fn s03_a_key_generation_takes_no_message_of_an_earlier_run_with_the_same_session_id() {
    let mut network = Network::start(3, 61).await;
    // Everything that player 1 says in the first run.
    let recorded = Arc::new(Mutex::new(BTreeMap::new()));
    let (record, replayed) = (recorded.clone(), network.key(1).clone());
    network.links.set_tamper(Box::new(move |frame| {
        if frame.from == replayed
            && let Some((_, phase, round)) = frames::round(&frame.bytes)
        {
            let place = (frame.to.clone(), phase, round);
            record.lock().unwrap().insert(place, frame.bytes.clone());
        }
        as_it_is(frame)
    }));
    let session = network.session("run", &[0, 1, 2]);
    let answers = network.generate_key(&session, CurveId::Secp256k1, 1).await;
    let first = answers[&0].as_ref().expect("the first run works").key_id.clone();
    assert_eq!(recorded.lock().unwrap().len(), 2 * 3);
    // New processes do not remember the session ID: the run's own fresh bytes must tell.
    for player in 0..3 {
        network.restart(player).await;
    }
    let (recorded, replayed) = (recorded.lock().unwrap().clone(), network.key(1).clone());
    network.links.set_tamper(Box::new(move |frame| {
        let Some((_, phase, round)) = frames::round(&frame.bytes) else { return as_it_is(frame) };
        if frame.from != replayed {
            return as_it_is(frame);
        }
        let old = recorded[&(frame.to.clone(), phase, round)].clone();
        assert_eq!(old[..35], frame.bytes[..35], "the same session, phase and round");
        assert_ne!(old, frame.bytes, "another run");
        vec![Delivery::at_once(old)]
    }));
    let answers = network.generate_key(&session, CurveId::Secp256k1, 1).await;
    for player in [0, 2] {
        let failure = answers[&player].as_ref().unwrap_err();
        assert_eq!(failure.code, ErrorCode::Equivocation, "player {player}: {failure}");
    }
    for player in 0..3 {
        let keys = network.node(player).list_keys(&network.application).await.unwrap();
        assert_eq!(keys, std::slice::from_ref(&first), "player {player}");
    }
}
