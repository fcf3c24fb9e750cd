//! Networks over a real RabbitMQ: no node has a port for other players.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_sdk::{CurveId, SessionConfig, SessionId};
use tsm_test_servers::RabbitMq;

use crate::harness::{Network, PLAYER_0_PUBLIC_KEY, Places, join, names, sha256};

/// The configuration without these sections.
pub(crate) fn without(config: &str, sections: &[&str]) -> String {
    let mut skipped = false;
    let mut kept = String::new();
    for line in config.lines() {
        if line.trim_start().starts_with('[') {
            skipped = sections.contains(&line.trim());
        }
        if !skipped {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

/// Nobody knows anybody, and nobody listens: all there is is the broker.
pub(crate) fn all_dynamic(url: &str) -> impl Fn(&Places, String) -> String {
    let url = url.to_owned();
    move |_, config| {
        let rest = without(&config, &["[MPCTCPServer]", "[Players.1]", "[Players.2]"]);
        format!("{rest}\n[MPCAMQPServer]\nServerURL = \"{url}\"\nRetryDelay = \"1s\"\n")
    }
}

/// The players' public keys, as the deployed files have them.
fn public_key(player: u16) -> Vec<u8> {
    let config = include_str!("../../../../deploy/config0.toml");
    let text = match player {
        0 => PLAYER_0_PUBLIC_KEY,
        _ => {
            let section = config.split(&format!("[Players.{player}]")).nth(1).unwrap();
            section.split("PublicKey = \"").nth(1).unwrap().split('"').next().unwrap()
        }
    };
    BASE64.decode(text).unwrap()
}

pub(crate) fn session(players: &[u16]) -> SessionConfig {
    let keys: BTreeMap<u16, Vec<u8>> = players.iter().map(|player| (*player, public_key(*player))).collect();
    SessionConfig::new(SessionId::generate(), players.iter().copied(), keys)
}

async fn make_and_sign(network: &Network, signers: &[&[u16]]) {
    let answers = network.generate_key_on(CurveId::Secp256k1, &session(&[0, 1, 2])).await;
    let key = answers[&0].as_ref().unwrap();
    assert!(answers.values().all(|answer| answer.as_ref().unwrap() == key));
    for signers in signers {
        let signed = network.sign(&session(signers), signers, &key.key_id, &sha256(b"signed")).await;
        join(&key.public_key, b"signed", signed);
    }
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn s107_three_dynamic_players_without_ports_make_a_key_and_sign_and_no_log_has_the_password() {
    let server = blocking(RabbitMq::shared).await;
    let url = server.url_of("guest", "guest", &server.vhost());
    let mut network = Network::prepare(&[("RUST_LOG", "trace")], all_dynamic(&url));
    network.start_all().await;
    make_and_sign(&network, &[&[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]]).await;
    for player in 0..3 {
        assert!(network.node_mut(player).stop().await.success());
        let log = network.node(player).log();
        assert!(log.contains("connected to the message broker") && log.contains("DEBUG"));
        // AMQP's own form of it, and the URL's.
        assert!(!log.contains("guest:guest") && !log.contains("\\0guest") && !log.contains(&url));
    }
}

#[tokio::test]
async fn one_session_has_direct_links_and_links_by_broker() {
    let server = blocking(RabbitMq::shared).await;
    let url = server.url(&server.vhost());
    // 0 dials 1 at its port; both reach 2, who has none, by broker.
    let network = Network::start_with(|places, config| {
        let config = match places.player {
            2 => without(&config, &["[MPCTCPServer]"]),
            _ => config.replace(&format!("127.0.0.1:{}?", places.mpc[2]), "broker://?"),
        };
        format!("{config}\n[MPCAMQPServer]\nServerURL = \"{url}\"\n")
    })
    .await;
    let key = network.make_key(CurveId::Secp256k1).await;
    for signers in [[0, 1], [0, 2], [1, 2]] {
        network.make_signature(&signers, &key, b"signed").await;
    }
}

#[tokio::test]
async fn a_broker_that_is_away_is_named_and_back_in_use_when_it_is_back() {
    let server = blocking(RabbitMq::start).await;
    let url = server.url(&server.vhost());
    let server = blocking(move || {
        server.kill();
        server
    })
    .await;
    let mut network = Network::prepare(&[], all_dynamic(&url));
    network.start_unready().await;
    named_as_away(&network).await;

    let server = blocking(move || {
        server.start_again();
        server
    })
    .await;
    let begun = Instant::now();
    make_and_sign(&network, &[&[0, 1]]).await;
    println!("a key and a signature {:?} after the broker took connections", begun.elapsed());

    let server = blocking(move || {
        server.kill();
        server
    })
    .await;
    named_as_away(&network).await;
    let _server = blocking(move || {
        server.start_again();
        server
    })
    .await;
    make_and_sign(&network, &[&[1, 2]]).await;
}

/// All callers are told that it is the broker, and who is missed.
async fn named_as_away(network: &Network) {
    let hasty = session(&[0, 1, 2]).with_connect_timeout(Duration::from_secs(2));
    for (player, answer) in network.generate_key_on(CurveId::Secp256k1, &hasty).await {
        let failure = answer.unwrap_err();
        let told = format!("{failure} {failure:?}");
        for part in ["message broker", "127.0.0.1", "every 1s"] {
            assert!(told.contains(part), "player {player}: no {part:?} in {told}");
        }
        assert!((0..3).any(|other| other != player && names(&failure, other)), "{told}");
        assert!(!told.contains("guest"), "{told}");
    }
}

#[tokio::test]
async fn a_wrong_password_for_the_broker_is_told_to_callers_with_what_to_correct() {
    let server = blocking(RabbitMq::shared).await;
    let (good, wrong) = (server.url(&server.vhost()), server.url_of("guest", "hunter2", "t0"));
    let mut network = Network::prepare(&[], |places, config| {
        let url = if places.player == 1 { &wrong } else { &good };
        all_dynamic(url)(places, config)
    });
    network.start_unready().await;
    let hasty = session(&[0, 1]).with_connect_timeout(Duration::from_secs(3));
    let made = network.ask(&[0, 1], |_, client| {
        let session = hasty.clone();
        async move { client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await }
    });
    let failure = made.await.remove(&1).unwrap().unwrap_err();
    let told = format!("{failure:?}");
    assert!(told.contains("correct user name and password in [MPCAMQPServer] ServerURL"), "{told}");
    assert!(names(&failure, 0) && !told.contains("hunter2"), "{told}");
    for player in [0, 1] {
        assert!(!network.node(player).log().contains("hunter2"));
    }
}
