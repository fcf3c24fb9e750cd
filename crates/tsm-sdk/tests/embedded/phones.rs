//! The use case of dynamic players: one server node, and a node in the app on every phone.

use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tsm_sdk::{
    Client, CurveId, Database, EmbeddedConfig, EmbeddedNode, ErrorCode, Failure, GeneratedKey, IdentityKey,
    PlayerIndex, SessionConfig, SignResult, generate_identity,
};
use tsm_storage::Stretch;

use crate::players::{DIGEST, Kind, Player, both_parts, make_key, session, sign};
use crate::proxy::Proxy;

const PHONE: u16 = 1;
const SERVER: u16 = 2;

/// The provider's node. It knows no phone.
struct Server {
    player: Player,
    key: IdentityKey,
}

impl Server {
    async fn start() -> Server {
        let key = generate_identity();
        let player = Player::listening(Kind::Remote, SERVER, &key, "").await;
        Server { player, key }
    }

    fn client(&self) -> &Client {
        &self.player.client
    }

    /// What a phone's app is shipped with: the server's key and address.
    fn phone(&self, identity: IdentityKey, database: Database) -> EmbeddedConfig {
        self.phone_by(identity, database, &self.player.address())
    }

    fn phone_by(&self, identity: IdentityKey, database: Database, address: &str) -> EmbeddedConfig {
        EmbeddedConfig::new(PHONE, identity, database)
            .with_player(SERVER, Some(self.key.public().der()), Some(address))
            .unwrap()
            .with_stretch(Stretch::CHEAPEST)
    }

    async fn new_phone(&self) -> EmbeddedNode {
        EmbeddedNode::start(self.phone(generate_identity(), Database::memory())).await.unwrap()
    }
}

/// A session of the server with one phone.
fn with(phone: &EmbeddedNode) -> SessionConfig {
    session(&[PHONE, SERVER], &[(PHONE, phone.public_key())])
}

#[tokio::test]
async fn a_phone_makes_a_key_with_the_server_and_signs_and_signs_again() {
    let server = Server::start().await;
    let phone = server.new_phone().await;
    assert_eq!(phone.mpc_address(), None);
    let key = make_key(&phone.client(), server.client(), &with(&phone)).await.unwrap();
    assert_eq!((key.signers_required, key.players.as_slice()), (2, [PHONE, SERVER].as_slice()));
    for _ in 0..2 {
        sign(&phone.client(), server.client(), &with(&phone), &key).await.unwrap();
    }
    phone.stop().await;
    server.player.stop().await;
}

#[tokio::test]
async fn phones_of_one_index_have_keys_of_their_own() {
    let server = Server::start().await;
    let (alice, bob) = (server.new_phone().await, server.new_phone().await);
    let (of_alice, of_bob) = tokio::join!(
        async { make_key(&alice.client(), server.client(), &with(&alice)).await.unwrap() },
        async { make_key(&bob.client(), server.client(), &with(&bob)).await.unwrap() },
    );
    assert_ne!(of_alice.public_key, of_bob.public_key);
    sign(&alice.client(), server.client(), &with(&alice), &of_alice).await.unwrap();
    sign(&bob.client(), server.client(), &with(&bob), &of_bob).await.unwrap();
    assert_eq!(alice.client().key_management().list_keys().await.unwrap(), [of_alice.key_id]);
    assert_eq!(bob.client().key_management().list_keys().await.unwrap(), [of_bob.key_id]);
}

#[tokio::test]
async fn a_phone_that_tries_anothers_key_is_refused_by_name() {
    let server = Server::start().await;
    let (alice, bob) = (server.new_phone().await, server.new_phone().await);
    let key = make_key(&alice.client(), server.client(), &with(&alice)).await.unwrap();
    let (at_bob, at_server) = both_parts(&bob.client(), server.client(), &with(&bob), &key.key_id).await;
    assert_eq!(at_bob.unwrap_err().code, ErrorCode::KeyNotFound);
    let failure = at_server.unwrap_err();
    assert_eq!(failure.code, ErrorCode::KeyOtherHolder, "{failure}");
    assert_eq!(failure.players[0].player, PlayerIndex(PHONE));
    sign(&alice.client(), server.client(), &with(&alice), &key).await.unwrap();
}

#[tokio::test]
async fn a_phone_keeps_its_key_through_a_restart() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let identity = generate_identity();
    let database = || Database::sqlite(folder.path().join("phone? of #1.db"), "password");
    let same = || IdentityKey::from_der(identity.der().expose()).unwrap();

    let phone = EmbeddedNode::start(server.phone(same(), database())).await.unwrap();
    let key = make_key(&phone.client(), server.client(), &with(&phone)).await.unwrap();
    let in_use = EmbeddedNode::start(server.phone(same(), database())).await.unwrap_err();
    assert!(in_use.to_string().contains("in use"), "{in_use}");
    phone.stop().await;

    let phone = EmbeddedNode::start(server.phone(same(), database())).await.unwrap();
    assert_eq!(phone.client().ecdsa().key_info(&key.key_id, &[]).await.unwrap().public_key, key.public_key);
    sign(&phone.client(), server.client(), &with(&phone), &key).await.unwrap();
    phone.stop().await;

    let wrong = Database::sqlite(folder.path().join("phone? of #1.db"), "another password");
    let refused = EmbeddedNode::start(server.phone(same(), wrong)).await.unwrap_err();
    assert!(matches!(refused, tsm_sdk::StartError::Store(tsm_sdk::StoreError::WrongPassword)), "{refused}");
}

#[tokio::test]
async fn a_phone_that_was_away_comes_back_by_itself() {
    let server = Server::start().await;
    let network = Proxy::before(server.player.mpc_address.unwrap()).await;
    let config = server.phone_by(generate_identity(), Database::memory(), &network.address);
    let phone = EmbeddedNode::start(config).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(network.connections(), 0, "an app that does nothing dials nobody");
    let key = make_key(&phone.client(), server.client(), &with(&phone)).await.unwrap();

    network.set_up(false);
    let away = with(&phone).with_connect_timeout(Duration::from_millis(500));
    let begun = Instant::now();
    let (at_phone, at_server) = both_parts(&phone.client(), server.client(), &away, &key.key_id).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    for (failure, missing) in [(at_phone.unwrap_err(), SERVER), (at_server.unwrap_err(), PHONE)] {
        let reasons = [ErrorCode::SessionPlayersMissing, ErrorCode::LinkLost, ErrorCode::SessionTimeout];
        assert!(reasons.contains(&failure.code), "{failure}");
        assert!(failure.players.iter().any(|about| about.player == PlayerIndex(missing)), "{failure:?}");
    }

    network.set_up(true);
    sign(&phone.client(), server.client(), &with(&phone), &key).await.unwrap();
}

/// The phone's runtime is not polled for this long, as if the system had suspended the app.
fn sign_after_being_suspended_for(time: Duration) {
    let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = servers.block_on(Server::start());
    let phones = Builder::new_current_thread().enable_all().build().unwrap();
    let phone = phones.block_on(server.new_phone());
    let (own, session) = (phone.client(), with(&phone));
    let at_server = servers.spawn(key_at(server.client().clone(), session.clone()));
    let key = phones.block_on(key_at(own.clone(), session)).unwrap();
    at_server_ended(&servers, at_server).unwrap();

    let away = with(&phone).with_connect_timeout(Duration::from_millis(500));
    let missed = servers.spawn(part_at(server.client().clone(), away, key.key_id.clone()));
    let failure = at_server_ended(&servers, missed).unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionPlayersMissing, "{failure}");
    assert_eq!(failure.players[0].player, PlayerIndex(PHONE));
    std::thread::sleep(time);

    let session = with(&phone);
    let at_server = servers.spawn(part_at(server.client().clone(), session.clone(), key.key_id.clone()));
    phones.block_on(part_at(own, session, key.key_id)).unwrap();
    at_server_ended(&servers, at_server).unwrap();
    phones.block_on(phone.stop());
}

async fn key_at(client: Client, session: SessionConfig) -> Result<GeneratedKey, Failure> {
    client.ecdsa().generate_key(&session, 1, CurveId::P256, None).await
}

async fn part_at(client: Client, session: SessionConfig, key_id: String) -> Result<SignResult, Failure> {
    client.ecdsa().sign(&session, &key_id, &[], &DIGEST).await
}

fn at_server_ended<T>(servers: &Runtime, call: JoinHandle<T>) -> T {
    servers.block_on(call).unwrap()
}

#[test]
fn a_suspended_app_misses_a_session_and_comes_to_the_next() {
    sign_after_being_suspended_for(Duration::from_millis(500));
}

#[test]
#[ignore = "takes twenty seconds: longer than the server keeps a silent link"]
fn an_app_that_was_suspended_for_longer_dials_again() {
    sign_after_being_suspended_for(Duration::from_secs(20));
}

#[tokio::test]
async fn dn13_the_server_may_be_the_lower_index_where_the_session_says_where_the_phone_listens() {
    let (server, phone) = (generate_identity(), generate_identity());
    let server = Player::start(Kind::Remote, 0, &server, &crate::players::knows(7, None, None)).await;
    let config = EmbeddedConfig::new(9, phone, Database::memory())
        .with_listen("127.0.0.1:0".parse().unwrap())
        .with_stretch(Stretch::CHEAPEST);
    let phone = EmbeddedNode::start(config).await.unwrap();
    let server_key = server.client.version().await.unwrap().public_key;
    let server_key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, server_key).unwrap();
    let session = session(&[0, 9], &[(0, &server_key), (9, phone.public_key())])
        .with_dynamic_addresses([(9, phone.mpc_address().unwrap().to_string())].into());
    make_key(&phone.client(), &server.client, &session).await.unwrap();
}

#[tokio::test]
async fn a_dropped_call_of_a_phone_ends_the_session_at_the_server() {
    let server = Server::start().await;
    let phone = server.new_phone().await;
    make_key(&phone.client(), server.client(), &with(&phone)).await.unwrap();
    let session = with(&phone);
    let (client, at_server) = (phone.client(), server.client().clone());
    let other = generate_identity();
    // A third player that never comes keeps both waiting.
    let three = SessionConfig::new(
        session.session_id().clone(),
        [0, PHONE, SERVER],
        [(0, other.public().der().to_vec()), (PHONE, phone.public_key().to_vec())].into(),
    );
    let waiting = three.clone();
    let server_call = tokio::spawn(async move {
        at_server.ecdsa().generate_key(&waiting, 1, CurveId::P256, None).await.unwrap_err()
    });
    let phone_call = client.ecdsa();
    let phone_call = phone_call.generate_key(&three, 1, CurveId::P256, None);
    tokio::time::timeout(Duration::from_secs(1), phone_call).await.unwrap_err();
    let failure = tokio::time::timeout(Duration::from_secs(5), server_call).await.unwrap().unwrap();
    assert_eq!(failure.code, ErrorCode::SessionCancelled, "{failure}");
}
