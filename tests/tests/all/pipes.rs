//! Sessions over secure links: through a broker, and with one player reached directly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tsm_crypto::hedged::test_rng;
use tsm_crypto::{CurveId, IdentityKey};
use tsm_node::{LinkedNode, LinkedParts, Settings};
use tsm_storage::Memory;
use tsm_tests::{Answers, application, join, open_store};
use tsm_transport::Listen;
use tsm_transport::broker::Broker;
use tsm_transport::broker::memory::{Delivery, MemoryBroker};
use tsm_types::request::{GenerateKey, SessionRequest, SignEcdsa};
use tsm_types::{DerivationPath, ErrorCode, Failure, PlayerIndex, PlayerKey, Reach, SessionId};

pub(crate) fn identity(player: u16) -> IdentityKey {
    IdentityKey::generate(&mut test_rng(900 + u64::from(player)))
}

/// A node that knows nobody.
pub(crate) async fn node(player: u16, listeners: Vec<Listen>, broker: Option<&MemoryBroker>) -> LinkedNode {
    start(player, listeners, broker.map(|broker| Arc::new(broker.clone()) as Arc<dyn Broker>)).await
}

pub(crate) async fn start(
    player: u16,
    listeners: Vec<Listen>,
    broker: Option<Arc<dyn Broker>>,
) -> LinkedNode {
    start_on(&Memory::new(), player, listeners, broker).await
}

/// With this database.
pub(crate) async fn start_on(
    store: &Memory,
    player: u16,
    listeners: Vec<Listen>,
    broker: Option<Arc<dyn Broker>>,
) -> LinkedNode {
    LinkedNode::start(LinkedParts {
        player: PlayerIndex(player),
        identity: identity(player),
        players: BTreeMap::new(),
        listeners,
        broker,
        web_roots: Default::default(),
        store: open_store(player, store).await,
        settings: Settings::default(),
    })
    .unwrap()
}

/// A session in which all keys are dynamic.
pub(crate) fn session(id: &str, players: &[u16]) -> SessionRequest {
    let key = |player: &u16| -> (PlayerIndex, PlayerKey) {
        (PlayerIndex(*player), identity(*player).public().clone())
    };
    SessionRequest {
        id: SessionId::new(id).unwrap(),
        players: players.iter().copied().map(PlayerIndex).collect(),
        dynamic_public_keys: players.iter().map(key).collect(),
        dynamic_addresses: BTreeMap::new(),
        connect_timeout: None,
        session_timeout: None,
    }
}

/// What the caller of each node says of how others are reached.
pub(crate) type Addresses = BTreeMap<u16, BTreeMap<PlayerIndex, Reach>>;

pub(crate) async fn ask<T, F>(
    nodes: &[LinkedNode],
    session: &SessionRequest,
    addresses: &Addresses,
    call: impl Fn(tsm_node::Node, SessionRequest) -> F,
) -> Answers<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let asked = nodes.iter().filter(|node| session.players.contains(&node.node().player()));
    let calls: Vec<_> = asked
        .map(|node| {
            let player = node.node().player().0;
            let mut session = session.clone();
            session.dynamic_addresses = addresses.get(&player).cloned().unwrap_or_default();
            (player, tokio::spawn(call(node.node().clone(), session)))
        })
        .collect();
    let mut answers = BTreeMap::new();
    for (player, call) in calls {
        answers.insert(player, call.await.unwrap());
    }
    answers
}

/// All make a key, two of them sign.
pub(crate) async fn make_and_sign(nodes: &[LinkedNode], addresses: &Addresses) {
    make_and_sign_as("make", nodes, addresses).await;
}

/// The same in sessions whose names begin so.
pub(crate) async fn make_and_sign_as(name: &str, nodes: &[LinkedNode], addresses: &Addresses) {
    let all: Vec<u16> = nodes.iter().map(|node| node.node().player().0).collect();
    let made = ask(nodes, &session(name, &all), addresses, |node, session| async move {
        let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: None };
        node.generate_key(&application(), request).await
    })
    .await;
    let key_id = made[&all[0]].as_ref().unwrap().key_id.clone();
    assert!(made.values().all(|made| made.as_ref().unwrap().key_id == key_id));
    for signers in [[all[0], all[1]], [all[1], all[2]]] {
        let session = session(&format!("{name} {signers:?}").replace(' ', ""), &signers);
        let signed = ask(nodes, &session, addresses, |node, session| {
            let request = SignEcdsa {
                session,
                key_id: key_id.clone(),
                path: DerivationPath::ROOT,
                digest: vec![7; 32],
            };
            async move { node.sign(&application(), request).await }
        })
        .await;
        join(&[7; 32], &signed);
    }
}

#[tokio::test]
async fn dn11_players_that_are_all_dynamic_and_listen_nowhere_work_through_a_broker() {
    let broker = MemoryBroker::new();
    let nodes = [
        node(0, Vec::new(), Some(&broker)).await,
        node(1, Vec::new(), Some(&broker)).await,
        node(2, Vec::new(), Some(&broker)).await,
    ];
    make_and_sign(&nodes, &Addresses::new()).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn one_session_goes_through_a_broker_and_directly_at_the_same_time() {
    let broker = MemoryBroker::new();
    let port = vec![Listen::Tcp(([127, 0, 0, 1], 0).into())];
    // Player 2 has no broker and no port: it dials the others, though its index is the highest.
    let nodes = [
        node(0, port.clone(), Some(&broker)).await,
        node(1, port, Some(&broker)).await,
        node(2, Vec::new(), None).await,
    ];
    let place = |node: &LinkedNode| node.mpc_address().unwrap().to_string().parse::<Reach>().unwrap();
    let incoming = BTreeMap::from([(PlayerIndex(2), Reach::Incoming)]);
    let dialled = [0, 1].map(|player| (PlayerIndex(player), place(&nodes[usize::from(player)])));
    let addresses = [(0, incoming.clone()), (1, incoming), (2, dialled.into())].into();
    make_and_sign(&nodes, &addresses).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_session_does_not_notice_that_a_broker_repeats_and_reorders_messages() {
    let broker = MemoryBroker::new();
    let mut number = 0;
    broker.set_hand(Box::new(move |post| {
        number += 1;
        match number % 10 {
            3 | 9 => vec![Delivery::at_once(post.clone()), Delivery::at_once(post)],
            7 => vec![Delivery { after: Duration::from_millis(20), post }],
            _ => vec![Delivery::at_once(post)],
        }
    }));
    let nodes = [
        node(0, Vec::new(), Some(&broker)).await,
        node(1, Vec::new(), Some(&broker)).await,
        node(2, Vec::new(), Some(&broker)).await,
    ];
    make_and_sign(&nodes, &Addresses::new()).await;
}

#[tokio::test]
async fn a_broker_address_at_a_node_without_a_broker_is_refused_by_name() {
    let nodes = [node(0, Vec::new(), None).await];
    let mut session = session("run", &[0, 1]);
    session.dynamic_addresses.insert(PlayerIndex(1), "broker://".parse().unwrap());
    let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: None };
    let failure = nodes[0].node().generate_key(&application(), request).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::PlayersAddressUnusable);
    assert_eq!(failure.players[0].player, PlayerIndex(1));
}
