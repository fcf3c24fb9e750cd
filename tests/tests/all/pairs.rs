//! The state that two processes share: set up once, renewed without disturbing anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tsm_crypto::CurveId;
use tsm_tests::{Network, join};
use tsm_transport::memory::Delivery;

/// Counts invitations to set-ups: opening frames whose session's operation is the third.
fn count_set_ups(network: &Network) -> Arc<AtomicUsize> {
    let counter = Arc::new(AtomicUsize::new(0));
    let seen = counter.clone();
    network.links.set_tamper(Box::new(move |frame| {
        // Variant 0 is an opening; set-ups name their sessions "pair-…".
        if frame.bytes.first() == Some(&0) && frame.bytes[5..].starts_with(b"pair-") {
            seen.fetch_add(1, Ordering::Relaxed);
        }
        vec![Delivery::at_once(frame.bytes.clone())]
    }));
    counter
}

/// Both sides open each set-up once.
const OPENINGS: usize = 2;

#[tokio::test(start_paused = true)]
async fn one_set_up_serves_all_sessions_and_keys_of_two_processes() {
    let network = Network::start(2, 1).await;
    let set_ups = count_set_ups(&network);
    for curve in [CurveId::Secp256k1, CurveId::P256] {
        let key = network.make_key(curve, 1).await;
        for run in 0..5 {
            let session = network.session(&format!("sign-{curve}-{run}"), &[0, 1]);
            join(&[7; 32], &network.sign(&session, &key.key_id, &[7; 32]).await);
        }
    }
    assert_eq!(set_ups.load(Ordering::Relaxed), OPENINGS);
}

#[tokio::test(start_paused = true)]
async fn an_hourly_renewal_disturbs_no_session() {
    let network = Network::start(2, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let set_ups = count_set_ups(&network);
    for minute in 0..150 {
        // The callers are not quite at the same time, in turn.
        let session = network.session(&format!("sign-{minute}"), &[0, 1]);
        let answers = network.ask(&session, |node| {
            let request = tsm_types::request::SignEcdsa {
                session: session.clone(),
                key_id: key.key_id.clone(),
                path: tsm_types::DerivationPath::ROOT,
                digest: vec![7; 32],
            };
            async move {
                let late = u64::from(node.player().0) == minute % 2;
                sleep(Duration::from_secs(if late { 5 } else { 0 })).await;
                node.sign(&tsm_tests::application(), request).await
            }
        });
        join(&[7; 32], &answers.await);
        sleep(Duration::from_secs(if (58..64).contains(&(minute % 60)) { 7 } else { 55 })).await;
    }
    let set_ups = set_ups.load(Ordering::Relaxed) / OPENINGS;
    assert!((2..=3).contains(&set_ups), "{set_ups} set-ups in two hours");
}
