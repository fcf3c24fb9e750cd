//! A broker that does something to each message of each protocol in turn: in memory, where time costs
//! nothing, and on a real Redis and a real RabbitMQ.
//!
//! Each message meets one of the tricks, the next message the next; with `TSM_TRICKS=9` all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tsm_crypto::CurveId;
use tsm_node::LinkedNode;
use tsm_test_servers::{RabbitMq, Redis};
use tsm_tests::hostile::{Handed, TRICKS, blames_nobody, honest, once};
use tsm_tests::{Answers, application, join};
use tsm_transport::broker::amqp::{AmqpBroker, AmqpConfig};
use tsm_transport::broker::memory::{Hand, MemoryBroker};
use tsm_transport::broker::redis::{RedisBroker, RedisConfig};
use tsm_transport::broker::{Broker, Inbox};
use tsm_types::presignatures::{GeneratePresignatures, SignWithPresignature};
use tsm_types::request::{GenerateKey, SessionRequest, SignEcdsa, Signed};
use tsm_types::{BatchSize, DerivationPath, Failure, KeyId};

use crate::pipes::{Addresses, ask, identity, session, start};

const DIGEST: [u8; 32] = [7; 32];

/// What the adversary is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// Between nodes that have never spoken: links come about, too.
    KeyGeneration,
    /// The first signature of two nodes.
    PairSetUp,
    Signing,
    Presigning,
}

/// Connects a node to the broker.
type Connect = Arc<dyn Fn() -> Arc<dyn Broker> + Send + Sync>;

/// Two players and a bystander, who gets what is delivered to another.
struct Net {
    connect: Connect,
    hand: Arc<Mutex<Hand>>,
    nodes: Vec<LinkedNode>,
    /// That players 0 and 1 of these nodes have.
    key: Option<KeyId>,
    sessions: usize,
}

impl Net {
    async fn start(connect: Connect) -> Self {
        let hand = Arc::new(Mutex::new(honest()));
        let mut net = Net { connect, hand, nodes: Vec::new(), key: None, sessions: 0 };
        net.anew().await;
        net
    }

    /// Other processes, which have neither links nor pairs nor keys.
    async fn anew(&mut self) {
        self.key = None;
        for node in self.nodes.drain(..) {
            node.stop().await;
        }
        for player in 0..3 {
            let broker = Handed { broker: (self.connect)(), hand: self.hand.clone() };
            self.nodes.push(start(player, Vec::new(), Some(Arc::new(broker))).await);
        }
    }

    fn set_hand(&self, hand: Hand) {
        *self.hand.lock().unwrap() = hand;
    }

    async fn ask<T: Send + 'static, F>(
        &mut self,
        call: impl Fn(tsm_node::Node, SessionRequest) -> F,
    ) -> Result<Answers<T>, Vec<Failure>>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.sessions += 1;
        let mut session = session(&format!("session-{}", self.sessions), &[0, 1]);
        // A link that was broken without a trace is found dead after 15 s, and made anew.
        session.connect_timeout = Some(Duration::from_secs(30));
        let answers = ask(&self.nodes, &session, &Addresses::new(), call).await;
        if answers.values().all(Result::is_ok) {
            return Ok(answers);
        }
        Err(answers.into_values().filter_map(Result::err).collect())
    }

    async fn make_key(&mut self) -> Result<KeyId, Vec<Failure>> {
        let made = self
            .ask(|node, session| async move {
                let curve = CurveId::Secp256k1;
                let request = GenerateKey { session, curve, threshold: 1, key_id: None };
                node.generate_key(&application(), request).await
            })
            .await?;
        let made: Vec<_> = made.into_values().map(Result::unwrap).collect();
        assert_eq!(made[0], made[1]);
        Ok(made[0].key_id.clone())
    }

    /// A signature that is verified.
    async fn sign(&mut self, key_id: &KeyId) -> Result<(), Vec<Failure>> {
        let signed = self
            .ask(|node, session| {
                let (key_id, path, digest) = (key_id.clone(), DerivationPath::ROOT, DIGEST.to_vec());
                async move { node.sign(&application(), SignEcdsa { session, key_id, path, digest }).await }
            })
            .await?;
        join(&DIGEST, &signed);
        Ok(())
    }

    /// Presignatures, of which one signs.
    async fn presign(&mut self, key_id: &KeyId) -> Result<(), Vec<Failure>> {
        let made = self
            .ask(|node, session| {
                let (key_id, count) = (key_id.clone(), BatchSize::new(2).unwrap());
                let request = GeneratePresignatures { session, key_id, count };
                async move { node.generate_presignatures(&application(), request).await }
            })
            .await?;
        let mut made = made.into_values().map(|made| made.unwrap().presignature_ids);
        let (ids, others) = (made.next().unwrap(), made.next().unwrap());
        assert_eq!(ids, others);
        let mut signed = BTreeMap::new();
        for node in &self.nodes[..2] {
            let request = SignWithPresignature {
                key_id: key_id.clone(),
                presignature_id: Some(ids[0]),
                players: None,
                path: DerivationPath::ROOT,
                digest: DIGEST.to_vec(),
            };
            let part = node.node().sign_with_presignature(&application(), request).await.unwrap();
            let partial_signature = part.partial_signature;
            signed.insert(node.node().player().0, Ok(Signed { partial_signature, notices: Vec::new() }));
        }
        join(&DIGEST, &signed);
        Ok(())
    }

    /// What the protocol finds: other nodes than before, or links and pairs in use.
    async fn prepare(&mut self, protocol: Protocol) -> Option<KeyId> {
        if matches!(protocol, Protocol::KeyGeneration | Protocol::PairSetUp) {
            self.anew().await;
        }
        if protocol == Protocol::KeyGeneration {
            return None;
        }
        if self.key.is_none() {
            self.key = Some(self.make_key().await.unwrap());
        }
        let key = self.key.clone()?;
        if protocol != Protocol::PairSetUp {
            self.sign(&key).await.unwrap();
        }
        Some(key)
    }

    /// Does something to one message of a protocol. Returns whether there was such a message.
    async fn attempt(&mut self, protocol: Protocol, at: usize, trick: usize) -> bool {
        let key = self.prepare(protocol).await;
        let (name, trick) = TRICKS[trick % TRICKS.len()];
        let what = format!("{name} at message {at} of {protocol:?}");
        let seen = Arc::new(AtomicUsize::new(0));
        let (see, other) = (seen.clone(), Inbox::Player(identity(2).public().fingerprint()));
        let mut hand = once(at, trick, other);
        self.set_hand(Box::new(move |post| {
            see.fetch_add(1, Ordering::Relaxed);
            hand(post)
        }));
        let outcome = match (&key, protocol) {
            (Some(key), Protocol::Presigning) => self.presign(key).await,
            (Some(key), _) => self.sign(key).await,
            (None, _) => self.make_key().await.map(drop),
        };
        self.set_hand(honest());
        outcome.err().into_iter().flatten().for_each(|failure| blames_nobody(&what, &failure));
        let next = match &key {
            Some(key) => self.sign(key).await,
            None => self.make_key().await.map(drop),
        };
        next.unwrap_or_else(|failures| panic!("the session after {what}: {failures:?}"));
        assert_eq!(self.nodes[2].node().metrics().links.parked, 0, "{what}: the bystander is reached");
        seen.load(Ordering::Relaxed) > at
    }
}

/// Each message of each protocol in turn. Most of it is waiting for what is lost, so several networks, each
/// with a broker or a place at it of its own, share the messages.
async fn every_message(networks: Vec<Connect>) {
    let tricks = std::env::var("TSM_TRICKS").map_or(1, |number| number.parse().unwrap());
    let number = networks.len();
    let mut running = JoinSet::new();
    for (first, connect) in networks.into_iter().enumerate() {
        running.spawn(async move {
            let mut net = Net::start(connect).await;
            for protocol in
                [Protocol::KeyGeneration, Protocol::PairSetUp, Protocol::Signing, Protocol::Presigning]
            {
                let (mut at, mut reached) = (first, true);
                while reached {
                    reached = false;
                    for trick in at..at + tricks {
                        reached |= net.attempt(protocol, at, trick).await;
                    }
                    at += number;
                }
                // Two signers, three rounds; the last word may come when the session has ended.
                assert!(at - number >= 5, "{protocol:?}: {at}");
            }
        });
    }
    running.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn s33_s97_whatever_a_broker_does_to_any_message_nobody_is_blamed_and_the_next_session_works() {
    let broker = MemoryBroker::new();
    every_message(vec![Arc::new(move || Arc::new(broker.clone()))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s33_s97_whatever_a_redis_does_to_any_message_nobody_is_blamed_and_the_next_session_works() {
    let servers = (0..12).map(|_| tokio::task::spawn_blocking(Redis::start));
    let mut running = Vec::new();
    for server in servers.collect::<Vec<_>>() {
        running.push(server.await.unwrap());
    }
    let connect = |server: &Redis| -> Connect {
        let config = RedisConfig::new(server.url().parse().unwrap());
        Arc::new(move || Arc::new(RedisBroker::new(config.clone())))
    };
    every_message(running.iter().map(connect).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s33_s97_whatever_a_rabbitmq_does_to_any_message_nobody_is_blamed_and_the_next_session_works() {
    let server = tokio::task::spawn_blocking(RabbitMq::start).await.unwrap();
    let connect = |_| -> Connect {
        let config = AmqpConfig::new(server.url(&server.vhost()).parse().unwrap());
        Arc::new(move || Arc::new(AmqpBroker::new(config.clone())))
    };
    every_message((0..12).map(connect).collect()).await;
}
