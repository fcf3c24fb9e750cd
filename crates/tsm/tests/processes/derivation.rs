//! Keys below a key on the command line, and what a wallet makes of the xpub.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bip32::{ChildNumber, XPub};
use serde_json::Value;
use tsm_sdk::{CurveId, PublicKey};

use crate::harness::{Network, PLAYER_0_PUBLIC_KEY, binary, sha256};

/// Runs `tsm ecdsa ... --json` against the nodes of these players.
fn tsm(network: &Network, players: &[u16], arguments: &[&str]) -> Result<Value, Value> {
    let url = |player: &u16| {
        format!("http://Node{player}LoginPassword@127.0.0.1:{}", network.node(*player).sdk_port)
    };
    let urls: Vec<String> = players.iter().map(url).collect();
    let output = Command::new(binary())
        .arg("ecdsa")
        .args(arguments)
        .arg("--json")
        .env("TSM_NODES", urls.join(","))
        .output()
        .unwrap();
    let read = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_else(|_| panic!("{output:?}"));
    if output.status.success() { Ok(read(&output.stdout)) } else { Err(read(&output.stderr)) }
}

#[tokio::test]
async fn a_wallet_derives_from_the_xpub_the_keys_that_the_nodes_sign_with() {
    let network = Network::shared().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    let id = key.key_id.as_str();
    let account = ["chain-code", "--key-id", id, "--path", "m/44/0/0", "--xpub"];
    let shown = tsm(network, &[0, 1, 2], &account).unwrap();
    let wallet: XPub = shown["xpub"].as_str().unwrap().parse().unwrap();
    assert_eq!(hex::encode(wallet.attrs().chain_code), shown["chain_code"].as_str().unwrap());
    assert_eq!((wallet.attrs().depth, wallet.attrs().child_number), (3, ChildNumber(0)));

    let address = wallet.derive_child(ChildNumber(0)).unwrap().derive_child(ChildNumber(5)).unwrap();
    let digest = sha256(b"spent by the wallet's fifth address");
    let (dynamic, digest_hex) = (format!("0={PLAYER_0_PUBLIC_KEY}"), hex::encode(&digest));
    let sign = |path| {
        let sign = ["sign", "--key-id", id, "--path", path, "--dynamic", &dynamic, "--digest", &digest_hex];
        tsm(network, &[0, 2], &sign)
    };
    let signed = sign("m/44/0/0/0/5").unwrap();
    let spki = BASE64.decode(signed["public_key"].as_str().unwrap()).unwrap();
    assert_eq!(PublicKey::from_der(&spki).unwrap().sec1_compressed(), address.to_bytes());
    let signature = hex::decode(signed["signature"]["der"].as_str().unwrap()).unwrap();
    let signature = secp256k1::ecdsa::Signature::from_der(&signature).unwrap();
    let public_key = secp256k1::PublicKey::from_slice(&address.to_bytes()).unwrap();
    let message = secp256k1::Message::from_digest(digest.as_slice().try_into().unwrap());
    secp256k1::ecdsa::verify(&signature, message, &public_key).unwrap();

    let shown = tsm(network, &[1], &["public-key", "--key-id", id, "--path", "m/44/0/0/0/5"]).unwrap();
    assert_eq!(shown["public_key"]["compressed"], hex::encode(address.to_bytes()));
}

#[tokio::test]
async fn d2_s93_a_configured_least_length_holds_at_the_command_line_and_the_error_says_so() {
    let network =
        Network::start_with(|_, config| config.replace("[DKLS19]", "[DKLS19]\nMinChainPathLength = 1"));
    let network = network.await;
    let key = network.make_key(CurveId::P256).await;
    let id = key.key_id.as_str();
    let told = tsm(&network, &[1, 2], &["public-key", "--key-id", id]).unwrap_err();
    assert!(told.to_string().contains("path.too_short"), "{told}");
    tsm(&network, &[1, 2], &["public-key", "--key-id", id, "--path", "m/7"]).unwrap();
}
