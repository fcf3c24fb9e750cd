//! Three nodes that reach each other in one way, and a key of theirs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tsm_crypto::hedged::test_rng;
use tsm_crypto::{CurveId, IdentityKey, Secret};
use tsm_network_benches::DIGEST;
use tsm_node::{LinkedNode, LinkedParts, Settings, TenantLimits};
use tsm_storage::{Memory, SealedStore, Stretch};
use tsm_transport::Listen;
use tsm_transport::broker::Broker;
use tsm_transport::broker::amqp::{AmqpBroker, AmqpConfig};
use tsm_transport::broker::redis::{RedisBroker, RedisConfig};
use tsm_types::request::{GenerateKey, SessionRequest, SignEcdsa};
use tsm_types::{ApplicationId, KeyId, PlayerIndex, Reach, SessionId};

use crate::Outcome;
use crate::counted::{Counted, Traffic, port_before};
use crate::servers::Servers;

/// How nodes reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    /// As `Tcp`, through a port that counts bytes: slower.
    TcpCounted,
    WebSocket,
    Amqp,
    AmqpConfirms,
    Redis,
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] =
        [Kind::Tcp, Kind::TcpCounted, Kind::WebSocket, Kind::Amqp, Kind::AmqpConfirms, Kind::Redis];

    fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::TcpCounted => "tcp-counted",
            Kind::WebSocket => "ws",
            Kind::Amqp => "amqp",
            Kind::AmqpConfirms => "amqp-confirms",
            Kind::Redis => "redis",
        }
    }

    /// The broker of a node, if it is reached by one.
    fn broker(self, servers: &Servers, traffic: &Traffic) -> Outcome<Option<Arc<dyn Broker>>> {
        let publisher_confirms = match self {
            Kind::Tcp | Kind::TcpCounted | Kind::WebSocket => return Ok(None),
            Kind::Amqp => false,
            Kind::AmqpConfirms => true,
            Kind::Redis => {
                let broker = RedisBroker::new(RedisConfig::new(servers.redis().parse()?));
                return Ok(Some(Arc::new(Counted { broker, traffic: traffic.clone() })));
            }
        };
        let url = servers.amqp().parse()?;
        let broker = AmqpBroker::new(AmqpConfig { publisher_confirms, ..AmqpConfig::new(url) });
        Ok(Some(Arc::new(Counted { broker, traffic: traffic.clone() })))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Kind::ALL.map(Kind::name).join(", ");
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("there is no {text}: {}", known()))
    }
}

#[derive(Clone)]
pub(crate) struct Network(Arc<Inside>);

struct Inside {
    nodes: Vec<LinkedNode>,
    addresses: BTreeMap<u16, Reach>,
    key: KeyId,
    traffic: Traffic,
    sessions: AtomicU64,
    kind: Kind,
}

/// More than are ever in flight: the players are dynamic, and so have the limits of tenants.
const MOST_SESSIONS: usize = 4096;

/// Longer than a thousand sessions take on a busy machine.
const LONG: Duration = Duration::from_secs(300);

impl Network {
    pub(crate) async fn start(kind: Kind, servers: &Servers) -> Outcome<Self> {
        let traffic = Traffic::default();
        let (mut nodes, mut addresses) = (Vec::new(), BTreeMap::new());
        for player in 0..3 {
            let broker = kind.broker(servers, &traffic)?;
            let at = ([127, 0, 0, 1], 0).into();
            let port = match kind {
                Kind::WebSocket => Listen::WebSocket { at, certificate: None },
                Kind::Tcp | Kind::TcpCounted | Kind::Amqp | Kind::AmqpConfirms | Kind::Redis => {
                    Listen::Tcp(at)
                }
            };
            let listeners = if broker.is_none() { vec![port] } else { Vec::new() };
            let settings = Settings {
                connect_timeout: LONG,
                session_timeout: LONG,
                tenants: TenantLimits { sessions: MOST_SESSIONS, ..TenantLimits::default() },
                ..Settings::default()
            };
            let password = Secret::new("benchmark".to_owned());
            let node = LinkedNode::start(LinkedParts {
                player: PlayerIndex(player),
                identity: identity(player),
                players: BTreeMap::new(),
                listeners,
                broker,
                web_roots: Default::default(),
                store: SealedStore::open(&Memory::new(), password, Stretch::CHEAPEST).await?,
                settings,
            })?;
            if let Some(at) = node.mpc_address() {
                let at = match kind {
                    Kind::TcpCounted => port_before(at, traffic.clone()).await?.to_string(),
                    Kind::WebSocket => format!("ws://{at}"),
                    Kind::Tcp | Kind::Amqp | Kind::AmqpConfirms | Kind::Redis => at.to_string(),
                };
                addresses.insert(player, at.parse()?);
            }
            nodes.push(node);
        }
        let key = KeyId::new("keyofthebenchmarkoflinks0123")?;
        let sessions = AtomicU64::new(std::process::id().into());
        let network = Network(Arc::new(Inside { nodes, addresses, key, traffic, sessions, kind }));
        network.make_key().await?;
        Ok(network)
    }

    pub(crate) fn traffic(&self) -> (u64, u64) {
        self.0.traffic.get()
    }

    async fn make_key(&self) -> Outcome<()> {
        let session = self.session(&[0, 1, 2])?;
        let calls = self.0.nodes.iter().map(|node| {
            let (node, session, key) = (node.node().clone(), session.clone(), self.0.key.clone());
            let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: Some(key) };
            tokio::spawn(async move { node.generate_key(&application(), request).await })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await??;
        }
        Ok(())
    }

    /// A signature of players 0 and 1: ends when both have answered.
    pub(crate) async fn sign(&self) -> Outcome<()> {
        let session = self.session(&[0, 1])?;
        let calls = self.0.nodes.iter().take(2).map(|node| {
            let (node, session, key_id) = (node.node().clone(), session.clone(), self.0.key.clone());
            let request = SignEcdsa { session, key_id, path: Default::default(), digest: DIGEST.to_vec() };
            tokio::spawn(async move { node.sign(&application(), request).await })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await??;
        }
        Ok(())
    }

    fn session(&self, players: &[u16]) -> Outcome<SessionRequest> {
        let number = self.0.sessions.fetch_add(1, Ordering::Relaxed);
        let key = |player: &u16| (PlayerIndex(*player), identity(*player).public().clone());
        let addresses = self.0.addresses.iter().filter(|(player, _)| players.contains(player));
        Ok(SessionRequest {
            id: SessionId::new(format!("{}-{number}", self.0.kind))?,
            players: players.iter().copied().map(PlayerIndex).collect(),
            dynamic_public_keys: players.iter().map(key).collect(),
            dynamic_addresses: addresses.map(|(player, at)| (PlayerIndex(*player), at.clone())).collect(),
            connect_timeout: None,
            session_timeout: None,
        })
    }

    pub(crate) async fn stop(self) {
        for node in Arc::into_inner(self.0).into_iter().flat_map(|inside| inside.nodes) {
            node.stop().await;
        }
    }
}

fn identity(player: u16) -> IdentityKey {
    IdentityKey::generate(&mut test_rng(4200 + u64::from(player)))
}

fn application() -> ApplicationId {
    ApplicationId::new("benchmark").expect("visible ASCII")
}
