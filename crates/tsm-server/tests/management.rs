//! The management port of a whole node: who sees what, and that the numbers are its own.

// The lint knows test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

mod http;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{Answer, send};
use sha2::{Digest, Sha256};
use tsm_crypto::IdentityKey;
use tsm_crypto::hedged::test_rng;
use tsm_server::RunningNode;
use tsm_server::config::{self, NodeConfig};
use tsm_storage::Stretch;

fn hash(key: &str) -> String {
    BASE64.encode(Sha256::digest(key))
}

/// A node that serves on ports of its own, with `further` sections.
async fn start(further: &str) -> RunningNode {
    let identity = IdentityKey::generate(&mut test_rng(1));
    let text = format!(
        "[Player]\nIndex = 1\nPrivateKey = \"{}\"\n[SDKServer]\nPort = 1\n[Database]\nDriverName = \"sqlite3\"\n\
         DataSourceName = \":memory:\"\nEncryptorMasterPassword = \"password\"\n[[Authentication.APIKeys]]\n\
         APIKey = \"{}\"\nApplicationID = \"demoapp\"\n[DKLS23]\n[Session]\nConnectTimeout = \"100ms\"\n{further}",
        BASE64.encode(identity.der().expose()),
        hash("sdk key"),
    );
    let mut config: NodeConfig = config::parse(&text).unwrap();
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    config.sdk_listen = anywhere;
    if let Some(management) = &mut config.management {
        management.listen = anywhere;
    }
    RunningNode::start_with(config, Stretch::CHEAPEST).await.unwrap()
}

fn managed(prometheus: bool) -> String {
    let key = |key: &str, permissions: &str| {
        format!("[[ManagementServer.APIKeys]]\nAPIKey = \"{}\"\nPermissions = [{permissions}]\n", hash(key))
    };
    format!(
        "[ManagementServer]\nPort = 2\n[ManagementServer.Metrics]\nPrometheus = {prometheus}\n{}{}{}",
        key("health key", "\"HEALTH\""),
        key("metrics key", "\"METRICS\""),
        key("all key", "\"HEALTH\", \"METRICS\", \"TSMINFO\"")
    )
}

async fn get(node: &RunningNode, path: &str, key: Option<&str>) -> Answer {
    let header = key.map(|key| format!("Authorization: APIKEY {key}"));
    let headers: Vec<&str> = header.iter().map(String::as_str).collect();
    send(node.management_address().unwrap(), "GET", path, &headers, b"").await
}

#[tokio::test]
async fn s101_every_path_needs_its_permission_and_ping_none() {
    let node = start(&managed(true)).await;
    assert_eq!(get(&node, "/ping", None).await.body, "pong");
    for (path, allowed, forbidden) in [
        ("/health", ["health key", "all key"].as_slice(), ["metrics key"].as_slice()),
        ("/metrics", &["metrics key", "all key"], &["health key"]),
        ("/info", &["all key"], &["health key", "metrics key"]),
    ] {
        for key in allowed {
            assert_eq!(get(&node, path, Some(key)).await.status, 200, "{path} {key}");
        }
        for key in forbidden {
            let answer = get(&node, path, Some(key)).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "authentication.forbidden"), "{path}");
        }
        for key in [None, Some("sdk key"), Some(""), Some("Health key"), Some(hash("all key").as_str())] {
            let answer = get(&node, path, key).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "authentication.failed"), "{path}");
        }
    }
    let info = get(&node, "/info", Some("all key")).await.json();
    assert_eq!(info["player"], 1);
    assert_eq!(get(&node, "/v1/keys", Some("all key")).await.code(), "request.unknown_route");
    // A management key opens nothing at the SDK port.
    let keys = send(node.sdk_address(), "GET", "/v1/keys", &["Authorization: APIKEY all key"], b"").await;
    assert_eq!(keys.status, 401);
    node.stop().await;
}

#[tokio::test]
async fn sessions_are_counted_by_operation_and_outcome_and_no_name_of_a_tenant_is_shown() {
    let node = start(&managed(true)).await;
    let phone = BASE64.encode(IdentityKey::generate(&mut test_rng(2)).public().der());
    let body = format!(
        "{{\"session\":{{\"session_id\":\"secretname\",\"players\":[0,1],\"dynamic_public_keys\":{{\"0\":\"{phone}\"}}}},\
         \"threshold\":1,\"curve\":\"secp256k1\"}}"
    );
    let headers = ["Authorization: APIKEY sdk key", "Content-Type: application/json"];
    let answer = send(node.sdk_address(), "POST", "/v1/ecdsa/generate-key", &headers, body.as_bytes()).await;
    assert_eq!(answer.code(), "session.players_missing");

    let text = get(&node, "/metrics", Some("metrics key")).await;
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let counted = "tsm_sessions_total{operation=\"ecdsa.generate_key\",code=\"session.players_missing\"} 1\n";
    assert!(text.body.contains(counted), "{}", text.body);
    assert!(text.body.contains("tsm_sessions_live 0\n"));
    assert!(!text.body.contains("secretname") && !text.body.contains("demoapp"));
    let lines: BTreeSet<&str> = text.body.lines().collect();
    assert_eq!(lines.len(), text.body.lines().count(), "no line twice");
    node.stop().await;
}

#[tokio::test]
async fn without_the_switch_there_are_no_metrics_and_without_a_section_no_port() {
    let node = start(&managed(false)).await;
    assert_eq!(get(&node, "/metrics", Some("all key")).await.code(), "request.unknown_route");
    node.stop().await;
    let node = start("").await;
    assert_eq!(node.management_address(), None);
    node.stop().await;
}

#[tokio::test]
async fn the_older_metrics_server_shows_metrics_without_a_key_and_nothing_else() {
    let node = start("[MetricsServer]\nPort = 2\nPrometheus = true\n").await;
    assert_eq!(get(&node, "/ping", None).await.body, "pong");
    assert!(get(&node, "/metrics", None).await.body.contains("tsm_links_up 0\n"));
    for path in ["/health", "/info"] {
        assert_eq!(get(&node, path, None).await.status, 401, "{path}");
    }
    node.stop().await;
}
