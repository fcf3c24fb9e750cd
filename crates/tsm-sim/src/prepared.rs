//! What every simulated network begins with: identities, databases, and a key.

use std::sync::Arc;

use tsm_crypto::{CurveId, Secret};
use tsm_storage::memory::Snapshot;
use tsm_storage::{Memory, SealedStore, Stretch};
use tsm_transport::memory::MemoryNetwork;
use tsm_types::request::{GenerateKey, KeyInfo, SessionRequest};
use tsm_types::{PlayerIndex, PlayerKey};

use crate::nodes::{self, Identities};

/// The network of every life; made once, since a life is short.
const SEED: u64 = 1;

/// Identities, databases with a key, and the keys that seal them.
pub(crate) struct Prepared {
    pub(crate) identities: Identities,
    pub(crate) sealed: Vec<SealedStore>,
    pub(crate) snapshots: Vec<Snapshot>,
    /// Any two players can sign with it.
    pub(crate) key: KeyInfo,
}

impl Prepared {
    pub(crate) async fn make(players: u16) -> Prepared {
        let identities: Identities =
            (0..players).map(|player| (player, Arc::new(nodes::identity(SEED, player)))).collect();
        let links = MemoryNetwork::new();
        let (mut memories, mut sealed, mut running) = (Vec::new(), Vec::new(), Vec::new());
        for (player, identity) in &identities {
            let memory = Memory::new();
            let password = Secret::new(nodes::master_password(*player));
            let store =
                SealedStore::open(&memory, password, Stretch::CHEAPEST).await.expect("the store opens");
            let others = identities.iter().filter(|(other, _)| *other != player);
            let others =
                others.map(|(other, key)| (PlayerIndex(*other), nodes::static_player(*other, key, true)));
            let through = store.over(Arc::new(memory.clone()));
            let settings = tsm_node::Settings::default();
            let seed = u64::MAX - u64::from(*player);
            running.push(nodes::start(&links, *player, identity, others.collect(), through, settings, seed));
            memories.push(memory);
            sealed.push(store);
        }
        let application = nodes::application();
        let session = request("prepare", &(0..players).collect::<Vec<_>>(), &identities);
        let mut asked = tokio::task::JoinSet::new();
        for node in running.clone() {
            let request = GenerateKey {
                session: session.clone(),
                curve: CurveId::Secp256k1,
                threshold: 1,
                key_id: None,
            };
            let application = application.clone();
            asked.spawn(async move { node.generate_key(&application, request).await });
        }
        let mut made = None;
        while let Some(answer) = asked.join_next().await {
            made = Some(answer.expect("no call panics").expect("a network without faults makes a key"));
        }
        for node in running {
            node.stop().await;
        }
        let snapshots = memories.iter().map(Memory::snapshot).collect();
        Prepared { identities, sealed, snapshots, key: made.expect("a network has players") }
    }

    pub(crate) fn nodes(&self) -> u16 {
        u16::try_from(self.identities.len()).expect("a few players")
    }

    pub(crate) fn key_of(&self, player: u16) -> &PlayerKey {
        self.identities[&player].public()
    }
}

/// A session of these players; the key of player 0 comes from callers.
pub(crate) fn request(id: &str, players: &[u16], identities: &Identities) -> SessionRequest {
    let keys = players.iter().map(|player| (*player, identities[player].public()));
    nodes::session(id, keys, |player| player == 0)
}
