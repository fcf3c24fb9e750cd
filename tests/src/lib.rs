//! Whole networks of real nodes in one thread, on a virtual clock, from one seed.
//!
//! The engine, the protocols and the store's sealing are the ones of the product; the links are
//! memory links that can lose, delay, repeat and forge, and the databases are in memory and can
//! fail and crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use tsm_crypto::{CurveId, IdentityKey, Secret};
use tsm_node::{Node, Settings};
use tsm_sim::nodes;
use tsm_storage::{Memory, RecordId, RecordKind, SealedStore, Stretch};
use tsm_transport::memory::MemoryNetwork;
use tsm_types::request::{GenerateKey, KeyInfo, SessionRequest, SignEcdsa, Signed};
use tsm_types::{ApplicationId, DerivationPath, Failure, KeyId, PlayerIndex, PlayerKey};

pub use tsm_sim::frames;
pub use tsm_sim::nodes::{application, master_password};

pub mod flood;
pub mod hostile;

/// A network of players 0 to n - 1. Player 0 is dynamic at all others, as in the user's document.
pub struct Network {
    /// The links, for tests that tamper with them.
    pub links: MemoryNetwork,
    /// Who asks.
    pub application: ApplicationId,
    members: BTreeMap<u16, Member>,
    settings: Settings,
    /// Of players that have settings of their own.
    own_settings: BTreeMap<u16, Settings>,
    seed: u64,
    knows: Knows,
}

/// Whether the configuration of the first player has the public key of the second.
type Knows = Arc<dyn Fn(u16, u16) -> bool + Send + Sync>;

#[derive(Clone)]
struct Member {
    identity: Arc<IdentityKey>,
    store: Memory,
    node: Node,
    /// How often it was started, so that no process draws what an earlier one drew.
    starts: u64,
}

/// What each asked player's caller got.
pub type Answers<T> = BTreeMap<u16, Result<T, Failure>>;

impl Network {
    /// Starts `players` nodes.
    pub async fn start(players: u16, seed: u64) -> Self {
        Self::start_with(players, seed, Settings::default()).await
    }

    /// Starts `players` nodes with the same settings each.
    pub async fn start_with(players: u16, seed: u64, settings: Settings) -> Self {
        Self::start_network(players, seed, settings, BTreeMap::new(), Arc::new(|_, other| other != 0)).await
    }

    /// Starts `players` nodes, of which some have settings of their own.
    pub async fn start_with_own(players: u16, seed: u64, own: BTreeMap<u16, Settings>) -> Self {
        Self::start_network(players, seed, Settings::default(), own, Arc::new(|_, other| other != 0)).await
    }

    /// Starts `players` nodes that all know each other only by what callers say.
    pub async fn start_all_dynamic(players: u16, seed: u64) -> Self {
        Self::start_knowing(players, seed, |_, _| false).await
    }

    /// Starts `players` nodes whose configurations have these public keys, and the addresses of all
    /// players but 0.
    ///
    /// `knows` says whether the configuration of the first player has the public key of the second.
    pub async fn start_knowing(
        players: u16,
        seed: u64,
        knows: impl Fn(u16, u16) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::start_network(players, seed, Settings::default(), BTreeMap::new(), Arc::new(knows)).await
    }

    async fn start_network(
        players: u16,
        seed: u64,
        settings: Settings,
        own_settings: BTreeMap<u16, Settings>,
        knows: Knows,
    ) -> Self {
        show_logs();
        let links = MemoryNetwork::new();
        let (members, application) = (BTreeMap::new(), application());
        let mut network = Network { links, application, members, settings, own_settings, seed, knows };
        let identities: BTreeMap<u16, Arc<IdentityKey>> =
            (0..players).map(|player| (player, Arc::new(nodes::identity(seed, player)))).collect();
        for player in 0..players {
            let store = Memory::new();
            let node = network.run(player, &identities, &store, 1).await;
            let identity = identities[&player].clone();
            network.members.insert(player, Member { identity, store, node, starts: 1 });
        }
        network
    }

    /// The same nodes with another node of another tenant as player 0: a second phone.
    pub async fn with_another_player_0(&self, number: u64, application: &str) -> Network {
        let mut other = Network {
            links: self.links.clone(),
            application: ApplicationId::new(application).expect("a valid application ID"),
            members: self.members.clone(),
            settings: self.settings.clone(),
            own_settings: self.own_settings.clone(),
            seed: self.seed ^ (number << 16),
            knows: self.knows.clone(),
        };
        let (identity, store) = (Arc::new(nodes::identity(other.seed, 0)), Memory::new());
        let mut identities = other.identities();
        identities.insert(0, identity.clone());
        let node = other.run(0, &identities, &store, 1).await;
        other.members.insert(0, Member { identity, store, node, starts: 1 });
        other
    }

    /// Stops a node and starts it again on the same database, as after a crash.
    pub async fn restart(&mut self, player: u16) {
        self.links.disconnect(self.key(player));
        self.member(player).node.stop().await;
        self.member(player).store.restart();
        let (store, starts) = (self.member(player).store.clone(), self.member(player).starts + 1);
        let node = self.run(player, &self.identities(), &store, starts).await;
        let member = self.members.get_mut(&player).expect("a member");
        (member.node, member.starts) = (node, starts);
        self.links.reconnect(self.key(player));
    }

    fn identities(&self) -> BTreeMap<u16, Arc<IdentityKey>> {
        self.members.iter().map(|(player, member)| (*player, member.identity.clone())).collect()
    }

    async fn run(
        &self,
        player: u16,
        identities: &BTreeMap<u16, Arc<IdentityKey>>,
        store: &Memory,
        starts: u64,
    ) -> Node {
        let sealed = open_store(player, store).await;
        let knows = |other: u16| (self.knows)(player, other);
        let known = identities.iter().filter(|(other, _)| **other != player);
        let known = known.filter(|(other, _)| **other != 0 || knows(**other));
        let players = known.map(|(other, identity)| {
            (PlayerIndex(*other), nodes::static_player(*other, identity, knows(*other)))
        });
        let settings = self.own_settings.get(&player).unwrap_or(&self.settings).clone();
        let seed = self.seed ^ u64::from(player) ^ ((starts - 1) << 40);
        nodes::start(&self.links, player, &identities[&player], players.collect(), sealed, settings, seed)
    }

    fn member(&self, player: u16) -> &Member {
        &self.members[&player]
    }

    /// A player's node.
    pub fn node(&self, player: u16) -> &Node {
        &self.member(player).node
    }

    /// A player's database.
    pub fn store(&self, player: u16) -> &Memory {
        &self.member(player).store
    }

    /// A player's public key.
    pub fn key(&self, player: u16) -> &PlayerKey {
        self.member(player).identity.public()
    }

    /// A player's whole identity, with its private key.
    pub fn identity(&self, player: u16) -> &IdentityKey {
        &self.member(player).identity
    }

    /// A session of these players, with the keys of those that are dynamic at some other.
    pub fn session(&self, id: &str, players: &[u16]) -> SessionRequest {
        let is_dynamic = |player: u16| {
            let mut others = self.members.keys().filter(|other| **other != player);
            others.any(|other| !(self.knows)(*other, player))
        };
        nodes::session(id, players.iter().map(|player| (*player, self.key(*player))), is_dynamic)
    }

    /// All players of the session are asked for a key.
    pub async fn generate_key(
        &self,
        session: &SessionRequest,
        curve: CurveId,
        threshold: u64,
    ) -> Answers<KeyInfo> {
        let request = GenerateKey { session: session.clone(), curve, threshold, key_id: None };
        self.ask(session, |node| {
            let request = request.clone();
            let application = self.application.clone();
            async move { node.generate_key(&application, request).await }
        })
        .await
    }

    /// All players of the session are asked to sign.
    pub async fn sign(&self, session: &SessionRequest, key_id: &KeyId, digest: &[u8]) -> Answers<Signed> {
        let request = SignEcdsa {
            session: session.clone(),
            key_id: key_id.clone(),
            path: DerivationPath::ROOT,
            digest: digest.to_vec(),
        };
        self.ask(session, |node| {
            let request = request.clone();
            let application = self.application.clone();
            async move { node.sign(&application, request).await }
        })
        .await
    }

    /// Asks all players of a session at the same time.
    pub async fn ask<T, F>(&self, session: &SessionRequest, call: impl Fn(Node) -> F) -> Answers<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let calls: Vec<_> = session
            .players
            .iter()
            .map(|player| (player.0, tokio::spawn(call(self.node(player.0).clone()))))
            .collect();
        let mut answers = BTreeMap::new();
        for (player, call) in calls {
            answers.insert(player, call.await.expect("no call panics"));
        }
        answers
    }

    /// A key that all players of the network hold.
    pub async fn make_key(&self, curve: CurveId, threshold: u64) -> KeyInfo {
        let players: Vec<u16> = self.members.keys().copied().collect();
        let session = self.session(&format!("make-{curve}-{threshold}"), &players);
        let answers = self.generate_key(&session, curve, threshold).await;
        let infos: Vec<KeyInfo> =
            answers.into_values().map(|answer| answer.expect("key generation works")).collect();
        assert!(infos.iter().all(|info| *info == infos[0]), "all holders see the same key");
        infos[0].clone()
    }
}

/// `RUST_LOG=debug cargo test ...` shows what the nodes log.
pub fn show_logs() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    }
}

/// Opens a player's database as its node does.
pub async fn open_store(player: u16, store: &Memory) -> SealedStore {
    let password = Secret::new(master_password(player));
    SealedStore::open(store, password, Stretch::CHEAPEST).await.expect("the store opens")
}

/// A player's share of a key on a curve of 32 bytes, as it lies in the database under the seal.
pub async fn share(player: u16, store: &Memory, key: &KeyId) -> Vec<u8> {
    let id = RecordId::new(RecordKind::KeyShare, application().as_str(), key.as_str());
    let record = open_store(player, store).await.get(&id).await.expect("a store that works");
    let record = record.expect("a share of this key");
    let bytes = record.bytes.expose();
    // The last field (docs/formats.md).
    bytes[bytes.len() - 32..].to_vec()
}

/// Joins the partial signatures of all answers and verifies the result.
pub fn join(digest: &[u8], answers: &Answers<Signed>) -> tsm_crypto::ecdsa::Signature {
    let parts = answers.iter().map(|(player, answer)| {
        let signed = answer.as_ref().unwrap_or_else(|failure| panic!("player {player}: {failure}"));
        signed.partial_signature.as_slice()
    });
    nodes::join(digest, parts).expect("the partial signatures fit")
}
