//! The network of the seed document: three nodes, of which player 0 is dynamic.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tsm_sdk::{Client, CurveId, Failure, GeneratedKey, SessionConfig, SessionId, SignResult};

use super::node::Node;
use super::{join, ports, reaper};

/// The seed document's program gives it with each session.
pub(crate) const PLAYER_0_PUBLIC_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0OqvUD8ezIIHktmgrDIRh7bwQ3k9G8HZochWXovvQjCm4wQiJBHunl82I9pbeVLD9fa/40Fv8/NRcYiGh/cyUw==";

/// The seed document's files, as they are deployed.
const CONFIGS: [&str; 3] = [
    include_str!("../../../../../deploy/config0.toml"),
    include_str!("../../../../../deploy/config1.toml"),
    include_str!("../../../../../deploy/config2.toml"),
];

/// What each asked player's caller got.
pub(crate) type Answers<T> = BTreeMap<u16, Result<T, Failure>>;

/// Nodes of their own processes, ports and folders. They end when it is dropped.
pub(crate) struct Network {
    nodes: Vec<Node>,
    /// Before the nodes start, tests may put things here.
    _folder: tempfile::TempDir,
}

impl Network {
    /// The seed's three nodes, running.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_, config| config).await
    }

    /// The seed's three nodes, with changes to their configurations.
    pub(crate) async fn start_with(edit: impl Fn(&Places, String) -> String) -> Self {
        let mut network = Self::prepare(&[], edit);
        network.start_all().await;
        network
    }

    /// A network that read-only tests share, with the seed's configuration. Every test makes its own
    /// keys in it; nobody stops its nodes.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Network> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Writes the configurations: the seed's, with other host names, ports and paths, and then
    /// `edit`. Nothing runs yet.
    pub(crate) fn prepare(environment: &[(&str, &str)], edit: impl Fn(&Places, String) -> String) -> Self {
        let folder = reaper::folder();
        let places = Places {
            sdk: [ports::free(), ports::free(), ports::free()],
            mpc: [0, ports::free(), ports::free()],
            folder: folder.path().to_owned(),
            player: 0,
        };
        let node = |player: u16| {
            let places = Places { player, ..places.clone() };
            let config = edit(&places, places.adapt(CONFIGS[usize::from(player)]));
            let ports = (places.sdk[usize::from(player)], Some(places.mpc[usize::from(player)]));
            let ports = (ports.0, ports.1.filter(|port| *port != 0));
            let environment =
                environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Node::new(player, places.folder_of(player), ports, &config, environment.collect())
        };
        Network { nodes: (0..3).map(node).collect(), _folder: folder }
    }

    /// The seed's files as they are: fixed ports, host names and paths in `/tmp`. Nothing runs yet.
    pub(crate) fn unchanged() -> Self {
        let folder = reaper::folder();
        let node = |player: u16| {
            let ports = (8000 + player, Some(9000 + player).filter(|_| player != 0));
            let place = folder.path().join(format!("node{player}"));
            Node::new(player, place, ports, CONFIGS[usize::from(player)], Vec::new())
        };
        Network { nodes: (0..3).map(node).collect(), _folder: folder }
    }

    /// Starts all nodes at once.
    pub(crate) async fn start_all(&mut self) {
        self.nodes.iter_mut().for_each(Node::spawn);
        for node in &mut self.nodes {
            node.ready().await;
        }
    }

    /// Starts all nodes at once, of which some may have no way to others.
    pub(crate) async fn start_unready(&mut self) {
        self.nodes.iter_mut().for_each(Node::spawn);
        for node in &mut self.nodes {
            node.answers().await;
        }
    }

    pub(crate) fn node(&self, player: u16) -> &Node {
        &self.nodes[usize::from(player)]
    }

    pub(crate) fn node_mut(&mut self, player: u16) -> &mut Node {
        &mut self.nodes[usize::from(player)]
    }

    /// A fresh session that gives the public key of player 0, as the seed's program does.
    pub(crate) fn session(&self, players: &[u16]) -> SessionConfig {
        session_with(SessionId::generate(), players, PLAYER_0_PUBLIC_KEY)
    }

    /// What makes such sessions, for callers that live longer than a look at the network.
    pub(crate) fn sessions(&self) -> impl Fn(&[u16]) -> SessionConfig + Send + Sync + use<> {
        |players| session_with(SessionId::generate(), players, PLAYER_0_PUBLIC_KEY)
    }

    /// As [`session`](Self::session), but nobody waits longer than this for a player that does not come.
    pub(crate) fn hasty_session(&self, players: &[u16]) -> SessionConfig {
        self.session(players).with_connect_timeout(Duration::from_secs(1))
    }

    /// Asks the nodes of these players at the same time.
    pub(crate) async fn ask<T: Send + 'static, W>(
        &self,
        players: &[u16],
        call: impl Fn(u16, Client) -> W,
    ) -> Answers<T>
    where
        W: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let mut calls = JoinSet::new();
        for player in players {
            let (player, work) = (*player, call(*player, self.node(*player).client()));
            calls.spawn(async move { (player, work.await) });
        }
        calls.join_all().await.into_iter().collect()
    }

    /// Asks all three for a key on secp256k1 with threshold 1.
    pub(crate) async fn generate_key(&self, session: &SessionConfig) -> Answers<GeneratedKey> {
        self.generate_key_on(CurveId::Secp256k1, session).await
    }

    pub(crate) async fn generate_key_on(
        &self,
        curve: CurveId,
        session: &SessionConfig,
    ) -> Answers<GeneratedKey> {
        self.ask(&[0, 1, 2], |_, client| {
            let session = session.clone();
            async move { client.ecdsa().generate_key(&session, 1, curve, None).await }
        })
        .await
    }

    /// Makes a key, the same at all three.
    pub(crate) async fn make_key(&self, curve: CurveId) -> GeneratedKey {
        let mut answers = self.generate_key_on(curve, &self.session(&[0, 1, 2])).await;
        let keys: Vec<GeneratedKey> = answers.values().map(|answer| answer.clone().unwrap()).collect();
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        answers.remove(&0).unwrap().unwrap()
    }

    pub(crate) async fn sign(
        &self,
        session: &SessionConfig,
        signers: &[u16],
        key_id: &str,
        digest: &[u8],
    ) -> Answers<SignResult> {
        self.ask(signers, |_, client| {
            let (session, key_id, digest) = (session.clone(), key_id.to_owned(), digest.to_vec());
            async move { client.ecdsa().sign(&session, &key_id, &[], &digest).await }
        })
        .await
    }

    /// Makes a signature and verifies it.
    pub(crate) async fn make_signature(&self, signers: &[u16], key: &GeneratedKey, message: &[u8]) {
        let answers = self.sign(&self.session(signers), signers, &key.key_id, &super::sha256(message)).await;
        join(&key.public_key, message, answers);
    }
}

/// A session of `players` in which player 0 has this public key.
pub(crate) fn session_with(id: SessionId, players: &[u16], player_0_public_key: &str) -> SessionConfig {
    let key = || (0, BASE64.decode(player_0_public_key).unwrap());
    let dynamic = players.contains(&0).then(key).into_iter().collect();
    SessionConfig::new(id, players.iter().copied(), dynamic)
}

/// Where the nodes of a network are.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) sdk: [u16; 3],
    /// Player 0 has none.
    pub(crate) mpc: [u16; 3],
    folder: PathBuf,
    /// Whose configuration is written.
    pub(crate) player: u16,
}

impl Places {
    pub(crate) fn folder_of(&self, player: u16) -> PathBuf {
        self.folder.join(format!("node{player}"))
    }

    /// Other host names, ports and paths, and every port on loopback only.
    pub(crate) fn adapt(&self, config: &str) -> String {
        let mut config = config.to_owned();
        let mut replace = |old: &str, new: &str| config = config.replace(old, new);
        for player in 0..3 {
            let (sdk, mpc) = (self.sdk[player], self.mpc[player]);
            replace(&format!("tsm-node{player}:900{player}"), &format!("127.0.0.1:{mpc}"));
            replace(&format!("Port = 900{player}"), &format!("Port = {mpc}\n  Address = \"127.0.0.1\""));
            replace(&format!("Port = 800{player}"), &format!("Port = {sdk}\n  Address = \"127.0.0.1\""));
        }
        replace("/tmp/", &format!("{}/", self.folder_of(self.player).display()));
        config
    }
}
