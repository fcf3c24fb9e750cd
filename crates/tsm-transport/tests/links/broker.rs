//! Links through a broker between nodes that know each other: the suite, ways that mix and cross, and a
//! broker that comes and goes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tsm_transport::broker::memory::MemoryBroker;
use tsm_transport::{
    Address, DownReason, Limits, LinkEvent, Links, LinksConfig, Listen, Pipes, Route, SecureLinks,
};

use crate::common::{Node, PATIENCE, eventually, identity, limits, public, tcp};
use crate::proxy::Proxy;
use crate::suite::{Cluster, run_suite};

impl Cluster for MemoryBroker {
    fn node(&mut self, seed: u64) -> Node {
        let Node { key, route, events, links, patience } = by_broker(self, seed);
        Node { key, route, events, links, patience }
    }
}

mod conformance {
    use super::*;

    run_suite!(MemoryBroker::new(), #[tokio::test]);
}

/// A node without a port.
pub(crate) fn by_broker(broker: &MemoryBroker, seed: u64) -> Node<SecureLinks> {
    with(broker, seed, Vec::new(), limits())
}

pub(crate) fn with(
    broker: &MemoryBroker,
    seed: u64,
    listeners: Vec<Listen>,
    limits: Limits,
) -> Node<SecureLinks> {
    let config = LinksConfig {
        identity: identity(seed),
        player: u16::try_from(seed).unwrap(),
        listeners,
        broker: Some(Arc::new(broker.clone())),
        static_peers: Default::default(),
        web_roots: Default::default(),
        limits,
    };
    let (links, events) = SecureLinks::start(config).unwrap();
    let route = Route::Dial(Address::broker());
    Node { key: public(seed), route, events, links, patience: PATIENCE }
}

#[tokio::test]
async fn a_node_reaches_one_peer_by_broker_and_another_directly() {
    let broker = MemoryBroker::new();
    let port = Listen::Tcp(([127, 0, 0, 1], 0).into());
    let (mut direct, mut inside) = (tcp(1), by_broker(&broker, 3));
    let mut both = with(&broker, 2, vec![port], limits());
    assert_eq!(both.links.pipes(), Pipes { web_socket: true, broker: true });
    assert_eq!(direct.links.pipes(), Pipes { web_socket: true, broker: false });
    let place = both.links.local_addrs()[0];
    let to_both = Route::Dial(Address::new(place.ip().to_string(), place.port()));
    let _leases = (
        both.links.expect(&direct.key, Route::Wait),
        both.links.expect(&inside.key, Route::Dial(Address::broker())),
        direct.links.expect(&both.key, to_both),
        inside.links.expect(&both.key, Route::Wait),
    );
    direct.up().await;
    inside.up().await;
    both.up().await;
    both.up().await;
    for peer in [&mut direct, &mut inside] {
        both.links.send(&peer.key, 0, b"there".to_vec()).unwrap();
        peer.links.send(&both.key, 0, b"back".to_vec()).unwrap();
        assert_eq!(peer.frame().await, b"there");
        assert_eq!(both.frame().await, b"back");
    }
}

#[tokio::test]
async fn a_broker_address_without_a_broker_is_told() {
    let a = tcp(1);
    let _expects = a.links.expect(&public(2), Route::Dial(Address::broker()));
    let told = || a.links.status(&public(2)).to_string().contains("no message broker");
    eventually("the reason is told", told).await;
}

/// Sends numbered frames both ways; each must arrive once and in order.
pub(crate) async fn frames_arrive_in_order(a: &mut Node<SecureLinks>, b: &mut Node<SecureLinks>) {
    for number in 0..200u16 {
        a.links.send(&b.key, 7, number.to_le_bytes().to_vec()).unwrap();
        b.links.send(&a.key, 7, number.to_le_bytes().to_vec()).unwrap();
    }
    for number in 0..200u16 {
        assert_eq!(b.frame().await, number.to_le_bytes());
        assert_eq!(a.frame().await, number.to_le_bytes());
    }
}

#[tokio::test]
async fn connections_that_cross_make_one_link() {
    let (mut a, mut b) = (tcp(1), tcp(2));
    let _leases = (a.links.expect(&b.key, b.route.clone()), b.links.expect(&a.key, a.route.clone()));
    a.up().await;
    b.up().await;
    frames_arrive_in_order(&mut a, &mut b).await;
    a.nothing_for(Duration::from_millis(100)).await;
    b.nothing_for(Duration::ZERO).await;
}

#[tokio::test]
async fn who_may_wait_yields_to_the_other_and_dials_again_when_it_is_gone() {
    let (mut a, mut b) = (tcp(1), tcp(2));
    let (to_a, to_b) = (Proxy::before(&a.route).await, Proxy::before(&b.route).await);
    let Route::Dial(address) = to_a.route.clone() else { panic!() };
    let _b_expects = b.links.expect(&a.key, Route::Either(address));
    let waits = a.links.expect(&b.key, Route::Wait);
    a.up().await;
    b.up().await;
    eventually("a whole pool", || to_a.seen.open() == 2).await;

    let _a_dials = a.links.expect(&b.key, to_b.route.clone());
    drop(waits);
    eventually("the other's pool stands alone", || to_b.seen.open() == 2 && to_a.seen.open() == 0).await;
    // Nothing was lost on the way.
    frames_arrive_in_order(&mut a, &mut b).await;

    drop(to_b);
    assert!(matches!(b.down().await, DownReason::Lost(_)));
    eventually("dialled again", || to_a.seen.open() > 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_was_away_is_back_in_use_at_once() {
    let broker = MemoryBroker::new();
    let (mut a, mut b) = (by_broker(&broker, 1), by_broker(&broker, 2));
    let _leases = (b.links.expect(&a.key, Route::Wait), a.links.expect(&b.key, a.route.clone()));
    a.up().await;
    b.up().await;
    // Until nothing is under way: it is not by a message refused that they learn of it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    broker.go_away();
    let away = Instant::now();
    for node in [&mut a, &mut b] {
        assert!(matches!(node.down().await, DownReason::Lost(_)));
    }
    assert!(away.elapsed() < Duration::from_secs(1), "{:?}", away.elapsed());
    // So that the pauses between attempts have grown to their longest.
    tokio::time::sleep(Duration::from_secs(60)).await;
    broker.come_back();
    let back = Instant::now();
    loop {
        match a.event().await {
            LinkEvent::Up { .. } => break,
            LinkEvent::Down { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(back.elapsed() < Duration::from_secs(1), "{:?}", back.elapsed());
}
