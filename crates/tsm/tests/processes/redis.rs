//! The deployed configurations of nodes that meet in Redis, with the deployed rights.

use std::time::Duration;

use tempfile::NamedTempFile;
use tsm_sdk::{CurveId, ErrorCode};
use tsm_test_servers::Redis;

use crate::harness::{Network, PATIENCE, names};

const CONFIGS: [&str; 3] = [
    include_str!("../../../../deploy/redis/config0.toml"),
    include_str!("../../../../deploy/redis/config1.toml"),
    include_str!("../../../../deploy/redis/config2.toml"),
];
const USERS: &str = include_str!("../../../../deploy/redis/users.acl");

/// A Redis with the deployed users, and one for the test itself.
pub(crate) fn redis() -> (Redis, NamedTempFile) {
    let file = NamedTempFile::new().unwrap();
    let users = USERS.replace("user default off", "user default on nopass ~* &* +@all");
    assert_ne!(users, USERS);
    std::fs::write(file.path(), users).unwrap();
    (Redis::start_with(&["--aclfile", file.path().to_str().unwrap()]), file)
}

fn network(redis: &Redis, password: impl Fn(u16) -> String) -> Network {
    network_with(&[("RUST_LOG", "trace")], redis, password, |_, config| config)
}

pub(crate) fn network_with(
    environment: &[(&str, &str)],
    redis: &Redis,
    password: impl Fn(u16) -> String,
    edit: impl Fn(u16, String) -> String,
) -> Network {
    Network::prepare(environment, |places, _| {
        let player = places.player;
        let config = places.adapt(CONFIGS[usize::from(player)]);
        let place = format!("@127.0.0.1:{}\"", redis.port());
        let config = config.replace("@redis\"", &place);
        edit(player, config.replace(&format!("RedisPassword{player}"), &password(player)))
    })
}

pub(crate) fn deployed(player: u16) -> String {
    format!("RedisPassword{player}")
}

#[tokio::test]
async fn the_deployed_nodes_work_through_redis_alone_and_again_after_it_was_killed() {
    let (mut redis, _users) = redis();
    let mut network = network(&redis, deployed);
    network.start_all().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    for signers in [[0, 1], [1, 2], [0, 2]] {
        network.make_signature(&signers, &key, b"through Redis").await;
    }
    redis.kill();
    for player in 0..3 {
        network.node(player).logs_within(PATIENCE, "the message broker cannot be used").await;
    }
    redis.restart();
    network.make_signature(&[0, 2], &key, b"when it is back").await;
    for player in 0..3 {
        let log = network.node(player).log();
        assert!(log.contains(&format!("Redis at 127.0.0.1:{}", redis.port())));
        assert!(!log.contains("RedisPassword"), "the log of node {player} has a password");
    }
}

#[tokio::test]
async fn a_node_with_a_wrong_password_says_so_and_the_others_name_it() {
    let (redis, _users) = redis();
    let mut network =
        network(&redis, |player| if player == 1 { "canaryPassword".to_owned() } else { deployed(player) });
    network.start_unready().await;
    let session = network.session(&[0, 1, 2]).with_connect_timeout(Duration::from_secs(3));
    let answers = network.generate_key(&session).await;
    for (player, answer) in answers {
        let failure = answer.unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionPlayersMissing, "player {player}: {failure}");
        match player {
            1 => assert!(format!("{failure:?}").contains("check the user and the password"), "{failure:?}"),
            _ => assert!(names(&failure, 1), "player {player}: {failure:?}"),
        }
        assert!(!format!("{failure:?}").contains("canary"));
    }
    network.node(1).logs_within(PATIENCE, "WRONGPASS").await;
    assert!(!network.node(1).log().contains("canary"));
}
