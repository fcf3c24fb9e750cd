//! Presignatures of real processes: `kill -9` and an old database bring none back; the command line.

use std::fs;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_sdk::{CurveId, ErrorCode, GeneratedKey, PresignatureSignResult, SignResult};

use crate::harness::{Network, PLAYER_0_PUBLIC_KEY, binary, join, sha256};

const SIGNERS: [u16; 2] = [0, 2];
const MESSAGE: &[u8] = b"signed without a word between nodes";

async fn presign(network: &Network, key: &GeneratedKey, count: u16) -> Vec<String> {
    let session = network.session(&SIGNERS);
    let answers = network
        .ask(&SIGNERS, |_, client| {
            let (session, key_id) = (session.clone(), key.key_id.clone());
            async move { client.ecdsa().generate_presignatures(&session, &key_id, count).await }
        })
        .await;
    let mut made = answers.into_values().map(|answer| answer.unwrap().presignature_ids);
    let first = made.next().unwrap();
    assert!(made.all(|other| other == first));
    first
}

async fn sign(
    network: &Network,
    player: u16,
    key: &GeneratedKey,
    id: &str,
    message: &[u8],
) -> Result<PresignatureSignResult, ErrorCode> {
    let client = network.node(player).client();
    let signed =
        client.ecdsa().sign_with_presignature(&key.key_id, Some(id), None, &[], &sha256(message)).await;
    signed.map_err(|failure| failure.code)
}

#[tokio::test]
async fn s56_s57_kill_minus_9_and_an_old_database_bring_no_presignature_back() {
    let mut network = Network::start().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    let ids = presign(&network, &key, 3).await;
    let copy = network.node(0).database_files();
    let parts =
        [sign(&network, 0, &key, &ids[0], MESSAGE).await, sign(&network, 2, &key, &ids[0], MESSAGE).await];
    let answers = SIGNERS.into_iter().zip(parts).map(|(player, part)| {
        let partial_signature = part.unwrap().partial_signature;
        (player, Ok(SignResult { partial_signature, notices: vec![] }))
    });
    join(&key.public_key, MESSAGE, answers.collect());
    // No byte of it is in any file of the database, before or after.
    let needle = hex::decode(&ids[0]).unwrap();
    for (name, bytes) in copy.iter().chain(&network.node(0).database_files()) {
        assert!(!bytes.windows(32).any(|window| window == needle), "{name}");
    }

    network.node_mut(0).kill();
    let folder = network.node(0).database_path().parent().unwrap().to_owned();
    for (name, _) in network.node(0).database_files() {
        fs::remove_file(folder.join(name)).unwrap();
    }
    for (name, bytes) in &copy {
        fs::write(folder.join(name), bytes).unwrap();
    }
    network.node_mut(0).start().await;

    // The used one, for both messages, and those that were never used.
    for (id, message) in [(&ids[0], MESSAGE), (&ids[0], b"another message"), (&ids[1], MESSAGE)] {
        assert_eq!(sign(&network, 0, &key, id, message).await, Err(ErrorCode::PresignatureNotFound));
    }
    let client = network.node(0).client();
    assert!(client.ecdsa().count_presignatures(&key.key_id).await.unwrap().is_empty());
    assert_eq!(client.key_management().list_keys().await.unwrap(), std::slice::from_ref(&key.key_id));

    // Nobody has to do anything: new ones are made and used.
    let new = presign(&network, &key, 1).await;
    assert!(sign(&network, 0, &key, &new[0], MESSAGE).await.is_ok());
    assert_eq!(sign(&network, 0, &key, &new[0], b"another").await, Err(ErrorCode::PresignatureUsed));
}

#[tokio::test]
async fn the_command_line_makes_counts_uses_and_deletes_presignatures() {
    let network = Network::start().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    let urls: Vec<String> = SIGNERS
        .iter()
        .map(|player| format!("http://Node{player}LoginPassword@{}", network.node(*player).sdk_address()))
        .collect();
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(arguments).args(["--key-id", &key.key_id, "--json"]);
        command.args(urls.iter().flat_map(|url| ["--node", url.as_str()]));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {text}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let dynamic = format!("0={PLAYER_0_PUBLIC_KEY}");
    let made = run(&["ecdsa", "presign", "--count", "3", "--dynamic", &dynamic]).await;
    let ids: Vec<&str> =
        made["presignature_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);

    let digest = "07".repeat(32);
    for (which, expected) in [("any", ids[0]), (ids[2], ids[2])] {
        let signed = run(&["ecdsa", "sign", "--presignature", which, "--digest", &digest]).await;
        assert_eq!(signed["presignature_id"], expected);
        let der = hex::decode(signed["signature"]["der"].as_str().unwrap()).unwrap();
        tsm_sdk::ecdsa::verify(key.public_key.der(), &[7; 32], &der).unwrap();
        assert_eq!(signed["public_key"], BASE64.encode(key.public_key.der()));
    }
    let counted = run(&["keys", "presignatures"]).await;
    assert_eq!(counted["presignatures"][0]["count"], 1);
    assert_eq!(counted["presignatures"][1]["players"], serde_json::json!(SIGNERS));
    let deleted = run(&["keys", "presignatures", "--delete"]).await;
    assert_eq!(deleted["deleted"][1]["deleted"], 1);
    assert_eq!(run(&["keys", "presignatures"]).await["presignatures"], serde_json::json!([]));
}
