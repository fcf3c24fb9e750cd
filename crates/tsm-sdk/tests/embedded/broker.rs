//! Embedded nodes that are reached by message broker only.

use tsm_sdk::{Database, EmbeddedConfig, EmbeddedNode, generate_identity};
use tsm_storage::Stretch;
use tsm_test_servers::RabbitMq;

use crate::players::{make_key, session, sign};

async fn phone(index: u16, url: &str) -> EmbeddedNode {
    let config = EmbeddedConfig::new(index, generate_identity(), Database::memory());
    let config = config.with_stretch(Stretch::CHEAPEST).with_amqp(url).unwrap();
    EmbeddedNode::start(config).await.unwrap()
}

#[tokio::test]
async fn two_phones_without_a_port_share_a_key_through_a_broker() {
    let server = tokio::task::spawn_blocking(RabbitMq::shared).await.unwrap();
    let url = server.url(&server.vhost());
    let (one, two) = (phone(1, &url).await, phone(2, &url).await);
    assert_eq!((one.mpc_address(), two.mpc_address()), (None, None));
    let both = || session(&[1, 2], &[(1, one.public_key()), (2, two.public_key())]);
    let key = make_key(&one.client(), &two.client(), &both()).await.unwrap();
    sign(&one.client(), &two.client(), &both(), &key).await.unwrap();
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn s107_a_url_that_is_none_is_refused_without_being_quoted() {
    let config = EmbeddedConfig::new(1, generate_identity(), Database::memory());
    let failure = config.with_amqp("http://user:hunter2@host").unwrap_err();
    assert!(failure.detail.contains("amqp://") && !failure.detail.contains("hunter2"), "{failure}");
}
