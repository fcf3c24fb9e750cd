//! No secret of a configuration is in a log or in a database (rules S-107 and S-87).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_sdk::CurveId;

use crate::harness::{Network, sha256};

/// What a configuration has for an API key.
pub(crate) fn api_key_hash(key: &str) -> String {
    BASE64.encode(sha256(key.as_bytes()))
}

#[tokio::test]
async fn s107_no_secret_of_the_configuration_is_in_a_log_or_database() {
    let mut network = Network::prepare(&[("RUST_LOG", "trace")], |_, config| config);
    network.start_all().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    network.make_signature(&[0, 2], &key, b"signed").await;
    // Refusals and failures, too.
    network.node(0).client_with("CanaryOfAWrongLogin").key_management().list_keys().await.unwrap_err();
    let session = network.hasty_session(&[0, 1]);
    network.sign(&session, &[0], &key.key_id, &sha256(b"alone")).await[&0].as_ref().unwrap_err();
    for player in 0..3 {
        assert!(network.node_mut(player).stop().await.success());
    }

    let mut canaries: Vec<(String, Vec<u8>)> = vec![text("a wrong login", "CanaryOfAWrongLogin")];
    for player in 0..3 {
        let config = std::fs::read_to_string(network.node(player).config_path()).unwrap();
        let value = |key: &str| value_of(&config, key).to_owned();
        let private_key = BASE64.decode(value("PrivateKey")).unwrap();
        // SEC1: two headers, version 1, then 32 bytes of scalar.
        let scalar = private_key[7..39].to_vec();
        assert_eq!(private_key[..7], [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20]);
        canaries.extend([
            text(&format!("API key {player}"), &format!("Node{player}LoginPassword")),
            text(&format!("hash of API key {player}"), &value("APIKey")),
            text(&format!("master password {player}"), &value("EncryptorMasterPassword")),
            text(&format!("private key {player}, base64"), &value("PrivateKey")),
            text(&format!("private key {player}, hex"), &hex(&scalar)),
            (format!("private key {player}, DER"), private_key),
            (format!("private key {player}"), scalar),
        ]);
    }
    for player in 0..3 {
        let node = network.node(player);
        let mut files = node.database_files();
        assert!(files.iter().any(|(_, bytes)| bytes.len() > 4096), "a database is among the files");
        assert!(node.log().contains("DEBUG"), "the log has everything");
        files.push(("the log".to_owned(), node.log().into_bytes()));
        for (name, bytes) in &files {
            for (what, canary) in &canaries {
                assert!(!contains(bytes, canary), "{what} is in {name} of node {player}");
            }
        }
    }
}

fn text(what: &str, canary: &str) -> (String, Vec<u8>) {
    (what.to_owned(), canary.as_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn contains(bytes: &[u8], canary: &[u8]) -> bool {
    bytes.windows(canary.len()).any(|window| window == canary)
}

/// The value of a key that stands once in the file.
fn value_of<'c>(config: &'c str, key: &str) -> &'c str {
    let line = config.lines().find(|line| line.trim_start().starts_with(&format!("{key} ="))).unwrap();
    line.split('"').nth(1).unwrap()
}
