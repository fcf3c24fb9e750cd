//! Phones and a server that meet in Redis: nobody has a port.

use tsm_sdk::{Database, EmbeddedConfig, EmbeddedNode, generate_identity};
use tsm_storage::Stretch;
use tsm_test_servers::Redis;

use crate::players::{Kind, Player, make_key, session, sign};

#[tokio::test]
async fn a_phone_and_a_server_without_ports_share_keys_through_redis() {
    let redis = Redis::start();
    let server_key = generate_identity();
    let section = format!("[MPCRedisServer]\nServerURL = \"{}\"\n", redis.url());
    let server = Player::start(Kind::Remote, 2, &server_key, &section).await;
    assert_eq!(server.mpc_address, None);
    for _ in 0..2 {
        let config = EmbeddedConfig::new(1, generate_identity(), Database::memory())
            .with_player(2, Some(server_key.public().der()), None)
            .unwrap()
            .with_redis(&redis.url())
            .unwrap()
            .with_stretch(Stretch::CHEAPEST);
        let phone = EmbeddedNode::start(config).await.unwrap();
        assert_eq!(phone.mpc_address(), None);
        let with = || session(&[1, 2], &[(1, phone.public_key())]);
        let key = make_key(&phone.client(), &server.client, &with()).await.unwrap();
        sign(&phone.client(), &server.client, &with(), &key).await.unwrap();
        phone.stop().await;
    }
    server.stop().await;
}

#[test]
fn a_text_that_is_no_url_of_redis_is_refused_without_being_quoted() {
    let config = EmbeddedConfig::new(1, generate_identity(), Database::memory());
    let failure = config.with_redis("redis://canary@h").unwrap_err();
    assert!(!format!("{failure} {failure:?}").contains("canary"));
}
