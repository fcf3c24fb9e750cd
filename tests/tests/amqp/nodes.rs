//! Three nodes, each connected to a virtual host of its own, with the adversary between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tsm_crypto::hedged::test_rng;
use tsm_crypto::{CurveId, IdentityKey};
use tsm_node::{LinkedNode, LinkedParts, Settings};
use tsm_storage::Memory;
use tsm_test_servers::RabbitMq;
use tsm_tests::{Answers, application, join, open_store, share, show_logs};
use tsm_transport::broker::Inbox;
use tsm_transport::broker::amqp::{AmqpBroker, AmqpConfig};
use tsm_types::request::{GenerateKey, SessionRequest, SignEcdsa};
use tsm_types::{Failure, KeyId, PlayerIndex, SessionId};

use crate::bridge::Bridge;

const PLAYERS: [u16; 3] = [0, 1, 2];

fn identity(player: u16) -> IdentityKey {
    IdentityKey::generate(&mut test_rng(7100 + u64::from(player)))
}

pub(crate) fn inbox(player: u16) -> Inbox {
    Inbox::Player(identity(player).public().fingerprint())
}

pub(crate) struct Net {
    pub(crate) bridge: Bridge,
    /// Of the next sessions, if it is to be shorter than what suits all.
    pub(crate) connect_timeout: Option<Duration>,
    nodes: Vec<LinkedNode>,
    stores: Vec<Memory>,
    hosts: BTreeMap<tsm_crypto::identity::Fingerprint, String>,
}

impl Net {
    pub(crate) async fn start(server: &RabbitMq) -> Self {
        show_logs();
        let urls: Vec<String> = PLAYERS.iter().map(|_| server.url(&server.vhost())).collect();
        let hosts = PLAYERS.iter().map(|player| identity(*player).public().fingerprint());
        let hosts: BTreeMap<_, _> = hosts.zip(urls.iter().cloned()).collect();
        let bridge = Bridge::between(&hosts).await;
        // A link that the broker broke without a trace is found dead after 15 s, and made anew.
        let connect_timeout = Duration::from_secs(30);
        let settings = Settings { connect_timeout, ..Settings::default() };
        let (mut nodes, mut stores) = (Vec::new(), Vec::new());
        for (player, url) in PLAYERS.iter().zip(&urls) {
            let store = Memory::new();
            let retry_delay = Duration::from_secs(1);
            let config = AmqpConfig { retry_delay, ..AmqpConfig::new(url.parse().unwrap()) };
            nodes.push(
                LinkedNode::start(LinkedParts {
                    player: PlayerIndex(*player),
                    identity: identity(*player),
                    players: BTreeMap::new(),
                    listeners: Vec::new(),
                    broker: Some(Arc::new(AmqpBroker::new(config))),
                    web_roots: Default::default(),
                    store: open_store(*player, &store).await,
                    settings: settings.clone(),
                })
                .unwrap(),
            );
            stores.push(store);
        }
        Net { bridge, connect_timeout: None, nodes, stores, hosts }
    }

    /// The adversary after the broker's end: its connections went with it.
    pub(crate) async fn bridge_again(&mut self) {
        self.bridge = Bridge::between(&self.hosts).await;
    }

    fn session(&self, id: &str, players: &[u16]) -> SessionRequest {
        SessionRequest {
            id: SessionId::new(id).unwrap(),
            players: players.iter().copied().map(PlayerIndex).collect(),
            dynamic_public_keys: players
                .iter()
                .map(|player| (PlayerIndex(*player), identity(*player).public().clone()))
                .collect(),
            dynamic_addresses: BTreeMap::new(),
            connect_timeout: self.connect_timeout,
            session_timeout: None,
        }
    }

    async fn ask<T: Send + 'static, F>(
        &self,
        players: &[u16],
        call: impl Fn(tsm_node::Node) -> F,
    ) -> Answers<T>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let call = |player: &u16| {
            let node = self.nodes[usize::from(*player)].node().clone();
            (*player, tokio::spawn(call(node)))
        };
        let calls: Vec<_> = players.iter().map(call).collect();
        let mut answers = BTreeMap::new();
        for (player, call) in calls {
            answers.insert(player, call.await.unwrap());
        }
        answers
    }

    /// A key of all three, or what each caller that got none was told.
    pub(crate) async fn make_key(&self, id: &str) -> Result<KeyId, Vec<Failure>> {
        let session = self.session(id, &PLAYERS);
        let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: None };
        let made = self
            .ask(&PLAYERS, |node| {
                let request = request.clone();
                async move { node.generate_key(&application(), request).await }
            })
            .await;
        let (keys, failures): (Vec<_>, Vec<_>) = made.into_values().partition(Result::is_ok);
        let keys: Vec<KeyId> = keys.into_iter().map(|key| key.unwrap().key_id).collect();
        assert!(keys.iter().all(|key| *key == keys[0]));
        if failures.is_empty() {
            return Ok(keys[0].clone());
        }
        Err(failures.into_iter().map(Result::unwrap_err).collect())
    }

    /// A good signature of players 0 and 1, or what each caller that got none was told.
    pub(crate) async fn sign(&self, id: &str, key: &KeyId, digest: &[u8]) -> Result<(), Vec<Failure>> {
        let session = self.session(id, &[0, 1]);
        let request =
            SignEcdsa { session, key_id: key.clone(), path: Default::default(), digest: digest.to_vec() };
        let signed = self
            .ask(&[0, 1], |node| {
                let request = request.clone();
                async move { node.sign(&application(), request).await }
            })
            .await;
        if signed.values().all(Result::is_ok) {
            join(digest, &signed);
            return Ok(());
        }
        Err(signed.into_values().filter_map(Result::err).collect())
    }

    /// The first session after the harm may still meet it; one within half a minute must work.
    pub(crate) async fn sign_until_it_works(&self, key: &KeyId) {
        let begun = Instant::now();
        for number in 0.. {
            let id = format!("again-{number}-{}", begun.elapsed().as_nanos());
            let Err(failures) = self.sign(&id, key, &[4; 32]).await else { break };
            crate::right_or_named("a session soon after it", Err(failures));
            assert!(begun.elapsed() < Duration::from_secs(60));
        }
        println!("a signature {:?} after it", begun.elapsed());
    }

    /// What nobody but the nodes may see.
    pub(crate) async fn canaries(&self, key: &KeyId) -> Vec<(String, Vec<u8>)> {
        let mut canaries = vec![("the key's name".to_owned(), key.as_str().as_bytes().to_vec())];
        for player in PLAYERS {
            let identity = identity(player);
            let der = identity.der().expose();
            let at = der.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap();
            canaries.push((format!("private key of player {player}"), der[at + 2..at + 34].to_vec()));
            canaries.push((format!("public key of player {player}"), identity.public().der().to_vec()));
            let share = share(player, &self.stores[usize::from(player)], key).await;
            canaries.push((format!("share of player {player}"), share));
        }
        canaries
    }

    pub(crate) async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}
