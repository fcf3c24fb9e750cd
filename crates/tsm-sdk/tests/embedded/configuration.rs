//! What an embedded node is started with.

use tsm_sdk::{Database, EmbeddedConfig, EmbeddedNode, ErrorCode, generate_identity};

use crate::players::{knows, toml};

#[test]
fn mistakes_of_a_text_are_told_all_at_once() {
    let text = toml(0, &generate_identity(), "[DKLS23]\nOne = 1\n[Players.1]\nAdress = \"a:1\"\n");
    let problems = EmbeddedConfig::from_toml(&text).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn what_serves_sdks_is_a_warning() {
    let text = toml(0, &generate_identity(), "[DKLS23]\n[SDKServer]\nPort = 8000\n");
    let config = EmbeddedConfig::from_toml(&text).unwrap();
    assert_eq!(config.warnings().len(), 1);
    assert!(config.warnings()[0].to_string().contains("SDKServer"), "{}", config.warnings()[0]);
}

#[test]
fn impossible_players_are_refused() {
    let (own, other) = (generate_identity(), generate_identity());
    let own_der = own.public().der().to_vec();
    let config = || {
        let own = tsm_sdk::IdentityKey::from_der(own.der().expose()).unwrap();
        EmbeddedConfig::new(1, own, Database::memory())
    };
    let other = other.public().der();
    let code = |refused: Result<EmbeddedConfig, tsm_sdk::Failure>| refused.unwrap_err().code;
    assert_eq!(code(config().with_player(1, Some(other), None)), ErrorCode::RequestInvalidField);
    assert_eq!(code(config().with_player(2, Some(&[1, 2]), None)), ErrorCode::RequestInvalidField);
    assert_eq!(code(config().with_player(2, None, Some("host"))), ErrorCode::RequestInvalidField);
    assert_eq!(code(config().with_player(2, Some(&own_der), None)), ErrorCode::PlayersDuplicateKey);
    let twice = config().with_player(2, Some(other), None).unwrap().with_player(3, Some(other), None);
    assert_eq!(code(twice), ErrorCode::PlayersDuplicateKey);
    assert_eq!(code(config().with_application("two words")), ErrorCode::RequestInvalidField);
}

#[tokio::test]
async fn a_key_is_seen_by_its_own_application_only() {
    use crate::players::{Kind, Player, make_key, session};
    let (one, two) = (generate_identity(), generate_identity());
    let server = Player::listening(Kind::Remote, 2, &two, "").await;
    let folder = tempfile::tempdir().unwrap();
    let start = async |application: &str| {
        let own = tsm_sdk::IdentityKey::from_der(one.der().expose()).unwrap();
        let config = EmbeddedConfig::new(1, own, Database::sqlite(folder.path().join("a.db"), "password"))
            .with_player(2, Some(two.public().der()), Some(&server.address()))
            .unwrap()
            .with_application(application)
            .unwrap()
            .with_stretch(tsm_storage::Stretch::CHEAPEST);
        EmbeddedNode::start(config).await.unwrap()
    };
    let phone = start("wallet").await;
    let session = session(&[1, 2], &[(1, phone.public_key())]);
    let key = make_key(&phone.client(), &server.client, &session).await.unwrap();
    phone.stop().await;
    let phone = start("other").await;
    assert!(phone.client().key_management().list_keys().await.unwrap().is_empty());
    phone.stop().await;
    let phone = start("wallet").await;
    assert_eq!(phone.client().key_management().list_keys().await.unwrap(), [key.key_id]);
}

#[tokio::test]
async fn nothing_printed_shows_a_secret() {
    let key = generate_identity();
    let text = toml(0, &key, &format!("[DKLS23]\n{}", knows(1, None, Some("host:1"))));
    let text = text.replace(":memory:", "file::memory:?cache=shared").replace("\"test\"", "\"canary\"");
    let config = EmbeddedConfig::from_toml(&text).unwrap();
    let shown = format!("{config:?}");
    let node = EmbeddedNode::start(config.with_stretch(tsm_storage::Stretch::CHEAPEST)).await.unwrap();
    let shown = format!("{shown} {node:?} {:?} {:?}", node.client(), node.client().ecdsa());
    assert!(!shown.contains("canary") && !shown.contains("shared"), "{shown}");
}
