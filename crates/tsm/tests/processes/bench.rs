//! `tsm bench` against the seed's three nodes.

use serde_json::Value;
use tsm_sdk::GeneratedKey;

use crate::harness::{Network, PLAYER_0_PUBLIC_KEY, run_tsm};

/// Runs `tsm bench`, for a second unless `more` says otherwise, against players 0 and 2; returns its exit code and its report.
async fn bench(network: &Network, more: &[&str]) -> (Option<i32>, Value) {
    let urls = [0, 2]
        .map(|player| format!("http://Node{player}LoginPassword@{}", network.node(player).sdk_address()));
    let dynamic = format!("0={PLAYER_0_PUBLIC_KEY}");
    let mut line = vec!["bench", "--node", &urls[0], "--node", &urls[1], "--dynamic", &dynamic];
    if !more.contains(&"--duration") {
        line.extend(["--duration", "1"]);
    }
    line.push("--json");
    line.extend(more);
    let line: Vec<String> = line.into_iter().map(str::to_owned).collect();
    // The nodes' tests run on this thread, too.
    let output = tokio::task::spawn_blocking(move || run_tsm(&line)).await.unwrap();
    let told = if output.status.success() { &output.stdout } else { &output.stderr };
    (output.status.code(), serde_json::from_slice(told).unwrap())
}

#[tokio::test]
async fn a_load_test_counts_signatures_and_nothing_fails() {
    let network = Network::shared().await;
    let (code, report) = bench(network, &["--clients", "2"]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!((&report["operation"], &report["clients"]), (&"sign".into(), &2.into()));
    assert_eq!(report["players"], serde_json::json!([0, 2]));
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
    assert!(report["failures"].as_object().unwrap().is_empty(), "{report}");
    let latency = |name: &str| report["latency_ms"][name].as_f64().unwrap();
    assert!(0.0 < latency("min") && latency("p50") <= latency("p99") && latency("p99") <= latency("max"));
}

#[tokio::test]
async fn a_load_test_of_presigning_counts_batches_and_deletes_them() {
    let network = Network::shared().await;
    let key = network.make_key(tsm_sdk::CurveId::Secp256k1).await;
    let chosen = ["--operation", "presign", "--batch", "5", "--clients", "2", "--key-id", &key.key_id];
    let (code, report) = bench(network, &chosen).await;
    assert_eq!((code, &report["batch"]), (Some(0), &5.into()), "{report}");
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
    assert!(report["failures"].as_object().unwrap().is_empty(), "{report}");
    // At most the batches that were under way at the end, and just then complete.
    assert!(held(network, &key).await.into_iter().all(|held| held <= 10));
}

#[tokio::test]
async fn a_load_test_with_presignatures_ends_when_they_are_used_up() {
    let network = Network::shared().await;
    let key = network.make_key(tsm_sdk::CurveId::Secp256k1).await;
    let chosen = ["--operation", "sign-with-presignature", "--presignatures", "7", "--key-id", &key.key_id];
    let (code, report) = bench(network, &[&chosen[..], &["--duration", "60"]].concat()).await;
    assert_eq!((code, &report["operations"]), (Some(0), &7.into()), "{report}");
    assert!(report["failures"].as_object().unwrap().is_empty(), "{report}");
    // Throughput is of the time that they lasted.
    let (seconds, each_second) =
        (report["seconds"].as_f64().unwrap(), report["per_second"].as_f64().unwrap());
    assert!(seconds < 59.0 && (each_second * seconds - 7.0).abs() < 0.01, "{report}");
    assert_eq!(held(network, &key).await, [0, 0]);
}

/// Unused presignatures of the key at the nodes of players 0 and 2.
async fn held(network: &Network, key: &GeneratedKey) -> Vec<u64> {
    let mut held = Vec::new();
    for player in [0, 2] {
        let sets = network.node(player).client().ecdsa().count_presignatures(&key.key_id).await.unwrap();
        held.push(sets.iter().map(|set| set.count).sum());
    }
    held
}

#[tokio::test]
async fn a_load_test_uses_the_key_that_it_is_given() {
    let network = Network::shared().await;
    let GeneratedKey { key_id, .. } = network.make_key(tsm_sdk::CurveId::P256).await;
    let (code, report) = bench(network, &["--operation", "public-key", "--key-id", &key_id]).await;
    assert_eq!((code, &report["curve"]), (Some(0), &"P-256".into()), "{report}");
}

#[tokio::test]
async fn a_load_test_with_a_key_that_nobody_has_says_so() {
    let network = Network::shared().await;
    let (code, told) = bench(network, &["--key-id", "nosuchkey"]).await;
    assert_eq!((code, &told["errors"][0]["code"]), (Some(2), &"key.not_found".into()), "{told}");
}
