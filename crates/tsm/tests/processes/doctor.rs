//! `tsm doctor` in good and bad worlds.

use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;
use tsm_sdk::CurveId;
use tsm_test_servers::{RabbitMq, Redis};

use crate::brokers::{all_dynamic, blocking, without};
use crate::harness::{Mount, Network, free_port, managed, run_tsm};

/// What the doctor says of a player's configuration.
async fn doctor(network: &Network, player: u16, further: &[&str]) -> Output {
    let config = network.node(player).config_path().display().to_string();
    let mut words = vec!["doctor".to_owned(), "--config".to_owned(), config];
    words.extend(further.iter().map(|word| (*word).to_owned()));
    blocking(move || run_tsm(&words)).await
}

struct Told {
    code: i32,
    json: Value,
}

impl Told {
    async fn by(network: &Network, player: u16) -> Self {
        let output = doctor(network, player, &["--json"]).await;
        let json = serde_json::from_slice(&output.stdout);
        let json = json.unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Told { code: output.status.code().unwrap(), json }
    }

    fn findings(&self) -> &[Value] {
        self.json["findings"].as_array().unwrap()
    }

    /// The findings with this code.
    fn with(&self, code: &str) -> Vec<&Value> {
        self.findings().iter().filter(|finding| finding["code"] == code).collect()
    }

    /// The finding with this code: its status is this one, and a failure says what to do.
    fn assert_has(&self, status: &str, code: &str, texts: &[&str]) {
        let found = self.with(code);
        let finding = found.first().unwrap_or_else(|| panic!("no {code} in {:#}", self.json));
        assert_eq!(finding["status"], status, "{finding:#}");
        let text = finding.to_string();
        assert!(texts.iter().all(|part| text.contains(part)), "{texts:?} in {finding:#}");
        assert_eq!(finding["advice"].is_string(), status != "ok", "{finding:#}");
    }

    fn assert_well(&self) {
        let bad: Vec<_> = self.findings().iter().filter(|finding| finding["status"] != "ok").collect();
        // The disk of a busy machine may be slow; that is only a warning.
        let bad: Vec<_> = bad.into_iter().filter(|finding| finding["code"] != "database.slow").collect();
        assert!(bad.is_empty() && self.code == 0 && self.json["ok"] == true, "{:#}", self.json);
    }
}

#[tokio::test]
async fn in_a_good_world_all_is_well_beside_the_running_node_and_no_link_is_displaced() {
    let port = free_port();
    let mut network = Network::prepare(&[], |places, config| match places.player {
        1 => config + &managed(port, "key"),
        _ => config,
    });
    // Before it runs: other nodes do, this one may start.
    network.node_mut(2).start().await;
    let told = Told::by(&network, 1).await;
    told.assert_well();
    assert_eq!(told.with("port.free").len(), 3, "{:#}", told.json);
    told.assert_has("ok", "database.new", &[]);
    assert!(!network.node(1).database_path().exists(), "nothing was made");
    network.node_mut(0).start().await;
    network.node_mut(1).start().await;
    let key = network.make_key(CurveId::Secp256k1).await;

    for _ in 0..3 {
        for player in 0..3 {
            let told = Told::by(&network, player).await;
            told.assert_well();
            told.assert_has("ok", "database.in_use", &[]);
            match player {
                0 => assert_eq!(told.with("peer.ok").len(), 2, "{:#}", told.json),
                1 => {
                    told.assert_has(
                        "ok",
                        "peer.ok",
                        &["player 2", "echo from", "in its configuration", "release"],
                    );
                    assert_eq!(told.with("port.served").len(), 3, "{:#}", told.json);
                }
                _ => {}
            }
        }
    }
    network.make_signature(&[0, 1, 2], &key, b"after the doctor").await;
    for player in 0..3 {
        let log = network.node(player).log();
        for bad in ["link down", "started again", "restarted", "ERROR"] {
            assert!(!log.contains(bad), "{bad} at node {player}");
        }
    }
    // People read the same.
    let output = doctor(&network, 1, &[]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("ok    player 2: echo from 127.0.0.1"), "{text}");

    // The database of a node that has stopped is opened by its password, and by no other.
    assert!(network.node_mut(1).stop().await.success());
    Told::by(&network, 1).await.assert_has("ok", "database.ok", &["master password"]);
    let config = std::fs::read_to_string(network.node(1).config_path()).unwrap();
    let other = config.replace("encryptorMasterPassword1", "another password");
    std::fs::write(network.node(1).config_path(), other).unwrap();
    let told = Told::by(&network, 1).await;
    told.assert_has("fail", "database.password", &["nothing was changed"]);
    assert!(told.code == 4 && !told.json.to_string().contains("another password"));
}

#[tokio::test]
async fn a_wrong_key_a_player_that_is_away_and_a_taken_port_are_told_with_what_to_do() {
    let player_2 = std::sync::Mutex::new(String::new());
    let mut network = Network::prepare(&[], |places, config| {
        if places.player == 1 {
            // The key of player 2 in place of player 1's, and the other way round, at player 0.
            let section = config.split("[Players.2]").nth(1).unwrap();
            *player_2.lock().unwrap() =
                section.split("PublicKey = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        }
        config
    });
    let config = std::fs::read_to_string(network.node(0).config_path()).unwrap();
    let key_of_1 = config.split("[Players.1]").nth(1).unwrap().split("PublicKey = \"").nth(1).unwrap();
    let key_of_1 = key_of_1.split('"').next().unwrap().to_owned();
    let key_of_2 = player_2.into_inner().unwrap();
    let swapped = config.replace(&key_of_1, "KEY").replace(&key_of_2, &key_of_1).replace("KEY", &key_of_2);
    std::fs::write(network.node(0).config_path(), swapped).unwrap();
    network.node_mut(1).start().await;

    let told = Told::by(&network, 0).await;
    assert_eq!(told.code, 4);
    told.assert_has("fail", "peer.wrong_key", &["player 1", "expected was", "[Players.1] PublicKey"]);
    told.assert_has("fail", "peer.unreachable", &["player 2", "127.0.0.1", "Connection refused"]);

    // Somebody else has the ports of player 2.
    let node = network.node(2);
    let sdk = TcpListener::bind(("127.0.0.1", node.sdk_port)).unwrap();
    let mpc = TcpListener::bind(("127.0.0.1", node.mpc_port.unwrap())).unwrap();
    let told = Told::by(&network, 2).await;
    assert_eq!((told.code, told.with("port.taken").len()), (4, 2), "{:#}", told.json);
    drop((sdk, mpc));
    Told::by(&network, 2).await.assert_well();

    // A file that a node would refuse is refused as `tsm config check` does.
    std::fs::write(network.node(2).config_path(), "[Player]\nIndex = -1\n").unwrap();
    let output = doctor(&network, 2, &["--json"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Player.Index"), "{output:?}");
}

#[tokio::test]
async fn a_database_that_cannot_be_written_and_a_full_disk_are_told() {
    let network = Network::prepare(&[], |places, config| match places.player {
        1 => config.replace("tsm_node_1.sqlite", "disk/tsm_node_1.sqlite"),
        _ => config,
    });
    let disk = network.node(1).folder.join("disk");
    let mount = match Mount::new(&disk, 1024) {
        Ok(mount) => mount,
        Err(reason) => return println!("skipped, a small disk cannot be mounted: {reason}"),
    };
    Told::by(&network, 1).await.assert_has("fail", "database.no_space", &["MiB are free", "free some space"]);
    mount.read_only();
    let told = Told::by(&network, 1).await;
    told.assert_has("fail", "database.read_only", &["mount the disk for writing"]);
    assert_eq!(told.code, 4);
}

#[tokio::test]
async fn a_broker_is_tried_beside_the_nodes_that_use_it_and_one_that_is_away_is_told() {
    let server = blocking(RabbitMq::start).await;
    let url = server.url(&server.vhost());
    let dynamic = all_dynamic(&url);
    // 0 reaches 1 and 2 by broker, and knows their keys.
    let network = Network::start_with(|places, config| match places.player {
        0 => {
            let [one, two] = [1, 2].map(|player| format!("127.0.0.1:{}?", places.mpc[player]));
            let config =
                without(&config, &["[MPCTCPServer]"]).replace(&one, "broker://?").replace(&two, "broker://?");
            format!("{config}\n[MPCAMQPServer]\nServerURL = \"{url}\"\n")
        }
        _ => dynamic(places, config),
    })
    .await;
    let told = Told::by(&network, 0).await;
    told.assert_well();
    told.assert_has("ok", "broker.ok", &["[MPCAMQPServer]"]);
    assert_eq!(told.with("peer.ok").len(), 2, "{:#}", told.json);
    let server = blocking(move || {
        server.kill();
        server
    })
    .await;
    let told = Told::by(&network, 0).await;
    assert_eq!(told.code, 4);
    told.assert_has("fail", "broker.unusable", &["127.0.0.1", "ServerURL", "docs/brokers.md"]);
    assert!(!told.json.to_string().contains("guest:guest"));
    drop(server);
}

#[tokio::test]
async fn redis_is_tried_too() {
    let mut redis = blocking(Redis::start).await;
    let section = format!("\n[MPCRedisServer]\nServerURL = \"{}\"\n", redis.url());
    let network = Network::prepare(&[], |places, config| match places.player {
        2 => without(&config, &["[MPCTCPServer]", "[Players.1]"]) + &section,
        _ => config,
    });
    let told = Told::by(&network, 2).await;
    told.assert_well();
    told.assert_has("ok", "broker.ok", &["[MPCRedisServer]"]);
    redis.kill();
    let told = Told::by(&network, 2).await;
    told.assert_has("fail", "broker.unusable", &["127.0.0.1"]);
}
