//! Three nodes make a key and two of them sign, with node 0 dynamically configured: no other node's
//! configuration has its public key, so the callers give it with the session.
//!
//! The nodes are those of `deploy/`; start them first (`docker compose up --build` there, or three
//! times `tsm node` with addresses of your own), then
//!
//! ```sh
//! cargo run --example dynamic_node
//! ```
//!
//! Other URLs: set `NODE0_URL`, `NODE1_URL`, `NODE2_URL`.

#![expect(clippy::print_stdout, reason = "an example tells people what it does")]

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tsm_sdk::{ApiKey, Client, Configuration, CurveId, SessionConfig, SessionId, ecdsa};

#[tokio::main]
async fn main() -> ExitCode {
    match generate_and_sign().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn generate_and_sign() -> Result<(), Box<dyn Error>> {
    // Create clients for each of the nodes

    let url = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let configs = [
        Configuration::new(&url("NODE0_URL", "http://localhost:8500"))?
            .with_api_key(ApiKey::new("Node0LoginPassword")?),
        Configuration::new(&url("NODE1_URL", "http://localhost:8501"))?
            .with_api_key(ApiKey::new("Node1LoginPassword")?),
        Configuration::new(&url("NODE2_URL", "http://localhost:8502"))?
            .with_api_key(ApiKey::new("Node2LoginPassword")?),
    ];
    let clients: Vec<Client> = configs.into_iter().map(Client::new).collect::<Result<_, _>>()?;

    // Generate a key, with node 0 dynamically configured

    let threshold = 1; // The security threshold of the key: 2 of the players must sign
    let players = [0, 1, 2]; // The players (nodes) that should generate a sharing of the key
    let curve = CurveId::Secp256k1;

    // Provide node 0's public key dynamically
    let player0_public_tenant_key = BASE64.decode(
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0OqvUD8ezIIHktmgrDIRh7bwQ3k9G8HZochWXovvQjCm4wQiJBHunl82I9pbeVLD9fa/40Fv8/NRcYiGh/cyUw==",
    )?;
    let dynamic_public_keys = BTreeMap::from([(0, player0_public_tenant_key)]);

    let session_config = SessionConfig::new(SessionId::generate(), players, dynamic_public_keys.clone());
    let mut calls = JoinSet::new();
    for client in clients.clone() {
        let session_config = session_config.clone();
        calls
            .spawn(async move { client.ecdsa().generate_key(&session_config, threshold, curve, None).await });
    }
    let keys = calls.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let key = &keys[0];

    println!("Generated key with ID: {}", key.key_id);

    // Sign with players 0 and 2

    let signers = [0, 2];
    let digest: [u8; 32] = Sha256::digest(b"This is a message to be signed").into();
    let session_config = SessionConfig::new(SessionId::generate(), signers, dynamic_public_keys);
    let mut calls = JoinSet::new();
    for signer in signers {
        let client = clients[usize::from(signer)].clone();
        let (session_config, key_id) = (session_config.clone(), key.key_id.clone());
        calls.spawn(async move { client.ecdsa().sign(&session_config, &key_id, &[], &digest).await });
    }
    let parts = calls.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let partial_signatures: Vec<Vec<u8>> = parts.into_iter().map(|part| part.partial_signature).collect();

    // Joining verifies the signature; verify it once more, as its recipient would
    let signature = ecdsa::finalise_for(&key.public_key, &digest, &partial_signatures)?;
    ecdsa::verify(key.public_key.der(), &digest, signature.der())?;

    println!("Signature by players 0 and 2 is valid: {}", BASE64.encode(signature.der()));
    Ok(())
}
