//! Links in memory: the suite, and what only they can do.

use std::time::Duration;

use tokio::time::Instant;
use tsm_transport::memory::{Delivery, Frame, MemoryNetwork};
use tsm_transport::{Address, DownReason, PeerStatus, Route, SendError};

use crate::common::{Node, public};
use crate::suite::{Cluster, run_suite};

impl Cluster for MemoryNetwork {
    fn node(&mut self, seed: u64) -> Node {
        let (links, events) = MemoryNetwork::node(self, public(seed), u16::try_from(seed).unwrap());
        let route = Route::Dial(Address::new("memory", 1));
        // Time passes by itself here, and links outlive their leases for a minute.
        Node { key: public(seed), route, events, links, patience: Duration::from_secs(120) }
    }
}

mod conformance {
    use super::*;

    run_suite!(MemoryNetwork::new(), #[tokio::test(start_paused = true)]);
}

async fn pair(network: &mut MemoryNetwork) -> (Node, Node) {
    let (mut a, mut b) = (Cluster::node(network, 1), Cluster::node(network, 2));
    // Expected for the whole test.
    std::mem::forget(b.links.expect(&a.key, Route::Wait));
    std::mem::forget(a.links.expect(&b.key, b.route.clone()));
    a.up().await;
    b.up().await;
    (a, b)
}

#[tokio::test(start_paused = true)]
async fn frames_are_lost_delayed_repeated_and_forged_at_will() {
    let mut network = MemoryNetwork::new();
    let (a, mut b) = pair(&mut network).await;
    network.set_tamper(Box::new(|frame: &Frame| match frame.bytes.as_slice() {
        b"lose" => Vec::new(),
        b"delay" => vec![Delivery { after: Duration::from_secs(3), bytes: frame.bytes.clone() }],
        b"repeat" => vec![Delivery::at_once(frame.bytes.clone()), Delivery::at_once(frame.bytes.clone())],
        b"forge" => vec![Delivery::at_once(b"forged".to_vec())],
        other => vec![Delivery::at_once(other.to_vec())],
    }));
    let sent = Instant::now();
    for frame in ["delay", "lose", "repeat", "forge", "leave"] {
        a.links.send(&b.key, 0, frame.as_bytes().to_vec()).unwrap();
    }
    for frame in ["repeat", "repeat", "forged", "leave"] {
        assert_eq!(b.frame().await, frame.as_bytes());
    }
    assert!(sent.elapsed() < Duration::from_secs(1));
    assert_eq!(b.frame().await, b"delay");
    assert!(sent.elapsed() >= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_node_off_the_network_loses_what_was_under_way_and_comes_back_as_the_same_process() {
    let mut network = MemoryNetwork::new();
    let (mut a, mut b) = pair(&mut network).await;
    a.links.send(&b.key, 0, vec![1]).unwrap();
    network.disconnect(&b.key);
    assert!(matches!(a.down().await, DownReason::Lost(_)));
    assert!(matches!(b.down().await, DownReason::Lost(_)));
    assert_eq!(a.links.send(&b.key, 0, vec![2]), Err(SendError::NotConnected));
    assert!(matches!(a.links.status(&b.key), PeerStatus::Dialling { last_error: Some(_) }));
    network.reconnect(&b.key);
    assert_eq!(a.up().await.1, b.links.process());
    b.up().await;
    a.links.send(&b.key, 0, vec![3]).unwrap();
    assert_eq!(b.frame().await, [3]);
}

#[tokio::test(start_paused = true)]
async fn the_same_run_happens_twice() {
    async fn run() -> Vec<String> {
        let mut network = MemoryNetwork::new();
        let (mut a, mut b) = pair(&mut network).await;
        for number in 0..20 {
            a.links.send(&b.key, number, vec![1]).unwrap();
            b.links.send(&a.key, number, vec![2]).unwrap();
        }
        let mut events = Vec::new();
        for _ in 0..20 {
            events.push(format!("{:?} {:?}", a.event().await, b.event().await));
        }
        events
    }
    assert_eq!(run().await, run().await);
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_both_wait_never_meet() {
    let mut network = MemoryNetwork::new();
    let (mut a, b) = (Cluster::node(&mut network, 1), Cluster::node(&mut network, 2));
    let _leases = (a.links.expect(&b.key, Route::Wait), b.links.expect(&a.key, Route::Wait));
    a.nothing_for(Duration::from_secs(100)).await;
    assert_eq!(a.links.status(&b.key), PeerStatus::Waiting);
    assert_eq!(b.links.strangers(), []);
}
