//! A crash at every write of every node: the store opens, and a key is either usable by all its
//! holders or seen by nobody (rule S-37).

use std::time::Duration;

use tokio::time::sleep;
use tsm_crypto::CurveId;
use tsm_storage::memory::Fault;
use tsm_tests::{Network, application, frames, join};

/// Which fault at which write of a key generation; a key generation writes four times, and
/// once for each dynamic holder.
fn faults() -> Vec<Fault> {
    (1..=5)
        .flat_map(|write| [Fault::FailWrite(write), Fault::CrashBefore(write), Fault::CrashAfter(write)])
        .chain([Fault::DiskFull])
        .collect()
}

#[tokio::test(start_paused = true)]
async fn s37_a_crash_at_any_write_leaves_a_key_that_all_holders_can_use_or_nobody_sees() {
    for victim in 0..3 {
        for fault in faults() {
            let mut network = Network::start(3, 5).await;
            network.store(victim).plan(fault);
            let session = network.session("run", &[0, 1, 2]);
            let answers = network.generate_key(&session, CurveId::Secp256k1, 1).await;
            network.restart(victim).await;
            sleep(Duration::from_secs(5)).await;

            let mut seen = Vec::new();
            for player in 0..3 {
                seen.push(network.node(player).list_keys(&application()).await.expect("the store opens"));
            }
            assert!(seen.iter().all(|keys| *keys == seen[0]), "victim {victim}, {fault:?}: {seen:?}");
            for answer in answers.values().flatten() {
                assert!(
                    seen[0].contains(&answer.key_id),
                    "victim {victim}, {fault:?}: a reported key is gone"
                );
            }
            for key_id in &seen[0] {
                for signers in [[0, 1], [0, 2], [1, 2]] {
                    let session = network.session(&format!("sign-{}-{}", signers[0], signers[1]), &signers);
                    join(&[7; 32], &network.sign(&session, key_id, &[7; 32]).await);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s37_who_alone_has_the_certificate_and_crashes_with_it_has_the_key_like_all_others() {
    for fault in faults() {
        let mut network = Network::start(2, 5).await;
        let victim = network.key(0).clone();
        network.links.set_tamper(Box::new(move |frame| {
            let confirms = frames::round(&frame.bytes).is_some_and(|(_, phase, _)| phase == 2);
            if confirms && frame.from == victim { Vec::new() } else { frames::as_it_is(frame) }
        }));
        network.store(0).plan(fault);
        let _ = network.generate_key(&network.session("run", &[0, 1]), CurveId::Secp256k1, 1).await;
        network.restart(0).await;
        sleep(Duration::from_secs(5)).await;
        let mut seen = Vec::new();
        for player in 0..2 {
            seen.push(network.node(player).list_keys(&application()).await.expect("the store opens"));
        }
        assert_eq!(seen[0], seen[1], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_the_nodes_own_fault_and_says_nothing_more_to_others() {
    let network = Network::start(3, 5).await;
    network.store(1).plan(Fault::DiskFull);
    let answers = network.generate_key(&network.session("run", &[0, 1, 2]), CurveId::Secp256k1, 1).await;
    assert_eq!(answers[&1].as_ref().unwrap_err().code, tsm_types::ErrorCode::StoreUnavailable);
    for player in [0, 2] {
        let failure = answers[&player].as_ref().unwrap_err();
        assert_eq!(failure.code, tsm_types::ErrorCode::PlayerFault);
        assert_eq!(failure.players[0].player, tsm_types::PlayerIndex(1));
    }
}
