//! What every implementation of [`Links`] must do. Each function gets fresh nodes.

use tsm_transport::{DownReason, LinkEvent, MAX_FRAME_BYTES, PeerStatus, Route, SendError};

use crate::common::{Node, eventually, public};

/// Starts nodes; the node of one seed again after it was dropped.
pub(crate) trait Cluster {
    fn node(&mut self, seed: u64) -> Node;
}

pub(crate) async fn frames_flow_both_ways_once_both_expect_each_other(cluster: &mut impl Cluster) {
    let (mut a, mut b) = (cluster.node(1), cluster.node(2));
    let _b_expects = b.links.expect(&a.key, Route::Wait);
    assert_eq!(b.links.status(&a.key), PeerStatus::Waiting);
    assert_eq!(a.links.send(&b.key, 0, vec![1]), Err(SendError::NotConnected));
    let _a_expects = a.links.expect(&b.key, b.route.clone());

    assert_eq!(a.up().await, (b.key.clone(), b.links.process(), 2));
    assert_eq!(b.up().await, (a.key.clone(), a.links.process(), 1));
    assert_eq!(a.links.status(&b.key), PeerStatus::Up { process: b.links.process(), player_index: 2 });
    a.links.send(&b.key, 0, b"there".to_vec()).unwrap();
    b.links.send(&a.key, 0, b"back".to_vec()).unwrap();
    assert_eq!(b.frame().await, b"there");
    assert_eq!(a.frame().await, b"back");
}

pub(crate) async fn frames_of_one_order_arrive_in_order(cluster: &mut impl Cluster) {
    let (mut a, mut b) = (cluster.node(1), cluster.node(2));
    let _leases = (b.links.expect(&a.key, Route::Wait), a.links.expect(&b.key, b.route.clone()));
    a.up().await;
    b.up().await;
    let count = 700u16;
    for number in 0..count {
        // Uneven lengths, so that connections would overtake each other.
        let mut frame = number.to_le_bytes().to_vec();
        frame.resize(2 + usize::from(number) * 7919 % 20_000, 0);
        a.links.send(&b.key, u64::from(number % 7), frame).unwrap();
    }
    let mut last = [None; 7];
    for _ in 0..count {
        let frame = b.frame().await;
        let number = u16::from_le_bytes([frame[0], frame[1]]);
        let last = &mut last[usize::from(number % 7)];
        assert!(*last < Some(number));
        *last = Some(number);
    }
}

pub(crate) async fn a_link_that_nobody_expects_is_parked_listed_and_later_unparked(
    cluster: &mut impl Cluster,
) {
    let (mut a, mut b) = (cluster.node(1), cluster.node(2));
    let _a_expects = a.links.expect(&b.key, b.route.clone());
    assert_eq!(a.parked().await, b.key);
    assert_eq!(a.links.status(&b.key), PeerStatus::Parked { player_index: 2 });
    assert_eq!(a.links.send(&b.key, 0, vec![1]), Err(SendError::NotConnected));
    assert_eq!(b.links.status(&a.key), PeerStatus::Unexpected);
    let strangers = b.links.strangers();
    assert_eq!(strangers.len(), 1);
    assert_eq!(strangers[0].key, a.key);
    assert_eq!(strangers[0].fingerprint, a.key.fingerprint());
    assert_eq!(strangers[0].player_index, 1);

    let _b_expects = b.links.expect(&a.key, Route::Wait);
    a.up().await;
    b.up().await;
    assert_eq!(b.links.strangers(), []);
    a.links.send(&b.key, 9, b"at last".to_vec()).unwrap();
    assert_eq!(b.frame().await, b"at last");
}

pub(crate) async fn a_frame_of_the_largest_size_arrives_and_a_longer_one_is_refused(
    cluster: &mut impl Cluster,
) {
    let (mut a, mut b) = (cluster.node(1), cluster.node(2));
    let _leases = (b.links.expect(&a.key, Route::Wait), a.links.expect(&b.key, b.route.clone()));
    a.up().await;
    b.up().await;
    assert_eq!(a.links.send(&b.key, 0, vec![0; MAX_FRAME_BYTES + 1]), Err(SendError::TooLong));
    a.links.send(&b.key, 0, vec![5; MAX_FRAME_BYTES]).unwrap();
    a.links.send(&b.key, 0, Vec::new()).unwrap();
    assert_eq!(b.frame().await, vec![5; MAX_FRAME_BYTES]);
    assert_eq!(b.frame().await, Vec::<u8>::new());
}

pub(crate) async fn a_full_queue_is_an_error_and_loses_nothing(cluster: &mut impl Cluster) {
    let (mut a, mut b) = (cluster.node(1), cluster.node(2));
    let _leases = (b.links.expect(&a.key, Route::Wait), a.links.expect(&b.key, b.route.clone()));
    a.up().await;
    b.up().await;
    let mut sent = 0u32;
    // Long enough that the network cannot hold many more.
    let frame = |number: u32| [number.to_le_bytes().as_slice(), &[0; 10_000]].concat();
    while a.links.send(&b.key, 0, frame(sent)).is_ok() {
        sent += 1;
        assert!(sent < 20_000);
    }
    assert_eq!(a.links.send(&b.key, 1, vec![1]), Err(SendError::QueueFull));
    for number in 0..sent {
        assert_eq!(b.frame().await, frame(number));
    }
    a.links.send(&b.key, 1, vec![1]).unwrap();
}

pub(crate) async fn a_peer_that_ends_goes_down_and_comes_back_as_another_process(cluster: &mut impl Cluster) {
    let (mut a, mut b) = (cluster.node(1), cluster.node(2));
    // The second is the one that dials, so that it can be started anywhere.
    let a_expects = a.links.expect(&b.key, Route::Wait);
    let b_expects = b.links.expect(&a.key, a.route.clone());
    a.up().await;
    b.up().await;
    let first = b.links.process();
    drop((b, b_expects));
    let links = a.links.clone();
    eventually("the end is noticed", || links.status(&public(2)) == PeerStatus::Waiting).await;
    assert_eq!(a.links.send(&public(2), 0, vec![1]), Err(SendError::NotConnected));

    let mut b = cluster.node(2);
    let _b_expects = b.links.expect(&a.key, a.route.clone());
    b.up().await;
    let mut downs = 0;
    loop {
        match a.event().await {
            LinkEvent::Down { process, reason, .. } => {
                assert_eq!(process, first);
                assert!(matches!(reason, DownReason::Lost(_)), "{reason:?}");
                downs += 1;
            }
            // Another connection of the pool, not known to be lost yet.
            LinkEvent::Up { process, .. } if process == first => {}
            LinkEvent::Up { process, .. } => {
                assert_eq!(process, b.links.process());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(downs > 0);
    a.links.send(&b.key, 0, vec![1]).unwrap();
    assert_eq!(b.frame().await, [1]);
    drop(a_expects);
}

pub(crate) async fn links_outlive_their_last_lease_for_a_while_and_then_close(cluster: &mut impl Cluster) {
    let (mut a, mut b) = (cluster.node(1), cluster.node(2));
    let _b_expects = b.links.expect(&a.key, Route::Wait);
    let first = a.links.expect(&b.key, b.route.clone());
    let second = a.links.expect(&b.key, b.route.clone());
    a.up().await;
    b.up().await;
    drop(first);
    drop(second);
    a.links.send(&b.key, 0, b"still up".to_vec()).unwrap();
    assert_eq!(b.frame().await, b"still up");
    let third = a.links.expect(&b.key, b.route.clone());
    drop(third);
    assert_eq!(a.down().await, DownReason::Closed);
    assert_eq!(b.down().await, DownReason::Closed);
    assert_eq!(a.links.status(&b.key), PeerStatus::Unexpected);
    let (links, key) = (b.links.clone(), a.key.clone());
    eventually("b waits", || links.status(&key) == PeerStatus::Waiting).await;

    let _again = a.links.expect(&b.key, b.route.clone());
    a.up().await;
    b.up().await;
}

pub(crate) async fn a_listener_that_no_longer_expects_closes_and_then_parks(cluster: &mut impl Cluster) {
    let (mut a, mut b) = (cluster.node(1), cluster.node(2));
    let b_expects = b.links.expect(&a.key, Route::Wait);
    let _a_expects = a.links.expect(&b.key, b.route.clone());
    a.up().await;
    b.up().await;
    drop(b_expects);
    assert_eq!(a.down().await, DownReason::Closed);
    assert_eq!(b.down().await, DownReason::Closed);
    assert_eq!(a.parked().await, b.key);
    assert_eq!(b.links.strangers().len(), 1);
}

/// The whole suite for one kind of cluster.
macro_rules! run_suite {
    ($cluster:expr, #[$test:meta]) => {
        run_suite!($cluster, #[$test],
            frames_flow_both_ways_once_both_expect_each_other
            frames_of_one_order_arrive_in_order
            a_link_that_nobody_expects_is_parked_listed_and_later_unparked
            a_frame_of_the_largest_size_arrives_and_a_longer_one_is_refused
            a_full_queue_is_an_error_and_loses_nothing
            a_peer_that_ends_goes_down_and_comes_back_as_another_process
            links_outlive_their_last_lease_for_a_while_and_then_close
            a_listener_that_no_longer_expects_closes_and_then_parks);
    };
    ($cluster:expr, #[$test:meta], $($name:ident)*) => {
        $(
            #[$test]
            async fn $name() {
                $crate::suite::$name(&mut $cluster).await;
            }
        )*
    };
}
pub(crate) use run_suite;
