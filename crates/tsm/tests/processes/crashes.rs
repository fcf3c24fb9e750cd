//! `kill -9` of each node, at many moments of key generation and signing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tsm_sdk::{CurveId, ErrorCode, SessionConfig};

use crate::harness::{Network, names, sha256};

const ALL: [u16; 3] = [0, 1, 2];

/// Whoever still has a node learns within this time that another one died: two seconds for the link
/// to come back, and a busy machine.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn s37_a_node_killed_at_any_moment_of_key_generation_leaves_a_key_that_all_can_use_or_nobody_sees() {
    let mut network = Network::start().await;
    // Made once: the first use of a client takes longer than a key generation.
    let clients = ALL.map(|player| network.node(player).client());
    let generate = |session: SessionConfig| {
        clients.clone().map(|client| {
            let session = session.clone();
            tokio::spawn(
                async move { client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await },
            )
        })
    };
    let mut known = BTreeSet::new();
    let mut usual = Duration::MAX;
    for _ in 0..4 {
        let begun = Instant::now();
        for call in generate(network.session(&ALL)) {
            known.insert(call.await.unwrap().unwrap().key_id);
        }
        usual = usual.min(begun.elapsed());
    }
    let mut made = 0;
    const ROUNDS: u32 = 12;
    for round in 0..ROUNDS {
        let victim = ALL[round as usize % 3];
        let moment = usual * (round + 1) / ROUNDS;
        let calls = generate(dangerous_session(&network));
        sleep(moment).await;
        let what = format!("round {round}: player {victim} killed after {moment:?}");
        network.node_mut(victim).kill();
        let killed = Instant::now();
        let mut reported = BTreeSet::new();
        for (player, call) in ALL.into_iter().zip(calls) {
            match call.await.unwrap() {
                Ok(key) => drop(reported.insert(key.key_id)),
                Err(failure) if player == victim => {
                    assert_eq!(failure.code, ErrorCode::NodeUnreachable, "{what}: {failure}");
                }
                Err(failure) => assert!(names(&failure, victim), "{what}, player {player}: {failure:?}"),
            }
            assert!(killed.elapsed() < TOLD_WITHIN, "{what}: {:?}", killed.elapsed());
        }
        network.node_mut(victim).start().await;

        let seen = lists(&network).await;
        let new: BTreeSet<String> = seen.iter().flatten().cloned().collect::<BTreeSet<_>>();
        let new: BTreeSet<String> = new.difference(&known).cloned().collect();
        assert!(new.is_superset(&reported), "{what}: reported {reported:?}, seen {new:?}");
        assert!(new.len() <= 1, "{what}: {new:?}");
        for key_id in &new {
            let key = owner_of(&network, &seen, key_id).await;
            for signers in [&[0, 1][..], &[0, 2], &[1, 2]] {
                network.make_signature(signers, &key, what.as_bytes()).await;
            }
        }
        let seen = lists(&network).await;
        assert!(seen.iter().all(|keys| *keys == seen[0]), "{what}: {seen:?}");
        made += usize::from(!reported.is_empty());
        println!("{what}: told {reported:?}, seen {new:?}");
        known.extend(new);
    }
    println!("key generation takes {usual:?}; {made} of {ROUNDS} had a result in spite of the crash");
}

#[tokio::test]
async fn s37_a_node_killed_at_any_moment_of_signing_is_named_and_signs_again_when_it_is_back() {
    let mut network = Network::start().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    let clients = ALL.map(|player| network.node(player).client());
    let sign = |session: SessionConfig, message: &str| {
        let digest = sha256(message.as_bytes());
        clients.clone().map(|client| {
            let (session, key_id, digest) = (session.clone(), key.key_id.clone(), digest.clone());
            tokio::spawn(async move { client.ecdsa().sign(&session, &key_id, &[], &digest).await })
        })
    };
    let mut usual = Duration::MAX;
    for _ in 0..4 {
        let begun = Instant::now();
        for call in sign(network.session(&ALL), "timed") {
            call.await.unwrap().unwrap();
        }
        usual = usual.min(begun.elapsed());
    }
    let mut signed = 0;
    const ROUNDS: u32 = 8;
    for round in 0..ROUNDS {
        let victim = ALL[round as usize % 3];
        let moment = usual * (round + 1) / ROUNDS;
        let what = format!("round {round}: player {victim} killed after {moment:?}");
        let calls = sign(dangerous_session(&network), &what);
        sleep(moment).await;
        network.node_mut(victim).kill();
        let killed = Instant::now();
        for (player, call) in ALL.into_iter().zip(calls) {
            match call.await.unwrap() {
                Ok(_) => signed += 1,
                Err(failure) if player == victim => {
                    assert_eq!(failure.code, ErrorCode::NodeUnreachable, "{what}: {failure}");
                }
                Err(failure) => assert!(names(&failure, victim), "{what}, player {player}: {failure:?}"),
            }
            assert!(killed.elapsed() < TOLD_WITHIN, "{what}: {:?}", killed.elapsed());
        }
        network.node_mut(victim).start().await;
        // In every other round the crash hits pairs of processes that share no state yet.
        if round % 2 == 1 {
            network.make_signature(&ALL, &key, what.as_bytes()).await;
        }
        assert!(lists(&network).await.iter().all(|keys| *keys == [key.key_id.as_str()]), "{what}");
    }
    network.make_signature(&ALL, &key, b"after all crashes").await;
    println!("signing takes {usual:?}; {signed} of {} parts came in spite of the crashes", ROUNDS * 3);
}

/// Who dies before it has come is missing at the deadline, as if it had never lived.
fn dangerous_session(network: &Network) -> SessionConfig {
    network.session(&ALL).with_connect_timeout(TOLD_WITHIN / 2).with_session_timeout(TOLD_WITHIN)
}

/// The keys that each node shows. A node that missed the end of a key generation asks for it.
async fn lists(network: &Network) -> Vec<Vec<String>> {
    let mut lists = Vec::new();
    for player in ALL {
        lists.push(network.node(player).client().key_management().list_keys().await.unwrap());
    }
    lists
}

async fn owner_of(network: &Network, seen: &[Vec<String>], key_id: &String) -> tsm_sdk::GeneratedKey {
    let player = ALL.into_iter().find(|player| seen[usize::from(*player)].contains(key_id)).unwrap();
    network.node(player).client().ecdsa().key_info(key_id, &[]).await.unwrap()
}
