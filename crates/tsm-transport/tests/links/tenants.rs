//! What one tenant may cost, and that nobody else pays for it (rules S-104, S-105).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tsm_transport::{DownReason, Limits, Links, Route, SecureLinks};

use crate::common::{Node, eventually, identity, limits, public, tcp, tcp_knowing, tcp_with};
use crate::raw;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

async fn socket(node: &Node<SecureLinks>) -> TcpStream {
    TcpStream::connect(node.links.local_addrs()[0]).await.unwrap()
}

/// Opens `number` connections and says whether one more is let in.
async fn one_more_than(node: &Node<SecureLinks>, seed: u64, number: usize) -> bool {
    let mut streams = Vec::new();
    for _ in 0..number {
        streams.push(raw::greeted(&identity(seed), 1, socket(node).await).await);
    }
    let mut one_more = raw::greeted(&identity(seed), 1, socket(node).await).await;
    // Whoever is let in is told that it is expected; whoever is not, sees the end.
    one_more.read_exact(&mut [0; 5]).await.is_ok()
}

#[tokio::test]
async fn s104_s105_one_dynamic_peer_has_no_more_connections_than_it_may_and_others_have_theirs() {
    let connections_of_dynamic = 4;
    let node = tcp_knowing(&[public(3)], identity(2), 2, 0, Limits { connections_of_dynamic, ..limits() });
    let _leases = [1, 3, 4].map(|seed| node.links.expect(&public(seed), Route::Wait));
    assert!(!one_more_than(&node, 1, 4).await, "a fifth of the dynamic peer");
    assert_eq!(node.links.counts().refused_connections, 1);
    assert!(one_more_than(&node, 4, 3).await, "another dynamic peer");
    assert!(one_more_than(&node, 3, 20).await, "a static peer is not limited so");
    assert!(!one_more_than(&node, 3, 128).await, "but not without end either");
}

#[tokio::test]
async fn s105_a_source_whose_handshakes_fail_is_not_listened_to_and_known_peers_elsewhere_feel_nothing() {
    let limits = Limits { failed_handshakes: 5, blocked_for: Duration::from_millis(1500), ..limits() };
    let mut node = tcp_with(identity(2), 2, 0, limits);
    let place = node.links.local_addrs()[0];
    for _ in 0..6 {
        let mut junk = raw::tcp_from(ELSEWHERE, place).await;
        junk.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        raw::rest(&mut junk).await;
    }
    eventually("blocked", || node.links.counts().blocked_sources == 1).await;

    let mut dropped = raw::tcp_from(ELSEWHERE, place).await;
    assert!(raw::rest(&mut dropped).await.is_empty(), "not one byte of TLS");
    assert_eq!(node.links.counts().dropped_connections, 1);
    assert_eq!(node.links.counts().failed_handshakes, 6, "what is dropped is no handshake");
    let mut known = tcp(1);
    let _leases =
        (node.links.expect(&known.key, Route::Wait), known.links.expect(&node.key, node.route.clone()));
    known.up().await;
    node.up().await;

    tokio::time::sleep(Duration::from_millis(1600)).await;
    let _heard_again = raw::greeted(&identity(5), 1, raw::tcp_from(ELSEWHERE, place).await).await;
    eventually("parked", || node.links.strangers().len() == 1).await;
}

#[tokio::test]
async fn s105_the_longest_idle_link_of_a_dynamic_peer_gives_way_and_static_ones_stay() {
    let for_ever = Duration::from_secs(3600);
    let limits = Limits { idle_links: 2, dynamic_unleased_for: for_ever, unleased_for: for_ever, ..limits() };
    let mut node = tcp_knowing(&[public(9)], identity(20), 20, 0, limits);
    let mut peers = Vec::new();
    for seed in [9, 1, 2, 3] {
        let mut peer = tcp_with(identity(seed), 1, 0, crate::common::limits());
        let lease = peer.links.expect(&node.key, node.route.clone());
        let expects = node.links.expect(&peer.key, Route::Wait);
        peer.up().await;
        node.up().await;
        drop(expects);
        peers.push((peer, lease));
    }
    // The third dynamic peer that became idle closed the link of the first; nobody else's.
    assert_eq!(peers[1].0.down().await, DownReason::Closed);
    assert_eq!(node.down().await, DownReason::Closed);
    assert_eq!(node.links.counts().displaced_idle_links, 1);
    for peer in [0, 3] {
        peers[peer].0.links.send(&node.key, 0, vec![7]).unwrap();
        // The displaced peer dials again and is parked; that is no event here.
        assert_eq!(node.frame().await, [7]);
    }
    assert_eq!(node.links.counts().up, 3);
}

#[tokio::test]
async fn s105_a_dynamic_peer_that_is_expected_again_is_not_idle() {
    let for_ever = Duration::from_secs(3600);
    let limits = Limits { idle_links: 1, dynamic_unleased_for: for_ever, ..limits() };
    let mut node = tcp_with(identity(20), 20, 0, limits);
    let (mut first, mut second) = (tcp(1), tcp(2));
    let _leases = [&first, &second].map(|peer| peer.links.expect(&node.key, node.route.clone()));
    let expects = [&first, &second].map(|peer| node.links.expect(&peer.key, Route::Wait));
    first.up().await;
    second.up().await;
    node.up().await;
    node.up().await;
    let [of_first, of_second] = expects;
    drop(of_first);
    let _again = node.links.expect(&first.key, Route::Wait);
    // The only one that is idle now.
    drop(of_second);
    assert_eq!(node.links.counts().displaced_idle_links, 0);
    for peer in [&first, &second] {
        peer.links.send(&node.key, 0, vec![7]).unwrap();
        assert_eq!(node.frame().await, [7]);
    }
}

#[tokio::test]
async fn s105_an_idle_link_of_a_dynamic_peer_closes_after_its_own_time() {
    let limits = Limits {
        dynamic_unleased_for: Duration::from_millis(100),
        unleased_for: Duration::from_secs(3600),
        ..limits()
    };
    let mut node = tcp_knowing(&[public(9)], identity(20), 20, 0, limits);
    let (mut known, mut phone) = (tcp(9), tcp(1));
    let _leases = [&known, &phone].map(|peer| peer.links.expect(&node.key, node.route.clone()));
    let expects = [&known, &phone].map(|peer| node.links.expect(&peer.key, Route::Wait));
    known.up().await;
    phone.up().await;
    node.up().await;
    node.up().await;
    drop(expects);
    assert_eq!(phone.down().await, DownReason::Closed);
    assert_eq!(node.down().await, DownReason::Closed);
    known.links.send(&node.key, 0, vec![1]).unwrap();
    assert_eq!(node.frame().await, [1]);
}

#[tokio::test]
async fn s105_no_more_links_are_parked_than_configured_of_one_source_and_in_all() {
    let node = tcp_with(identity(2), 2, 0, Limits { parked: 3, parked_per_source: 2, ..limits() });
    let mut streams = Vec::new();
    for (seed, from, stay) in [
        (10, ELSEWHERE, [10].as_slice()),
        (11, ELSEWHERE, &[10, 11]),
        // There is room, but not for this source.
        (12, ELSEWHERE, &[11, 12]),
        (13, HOME, &[11, 12, 13]),
        // There is no room: the busiest source gives way, not the oldest link of all.
        (14, HOME, &[12, 13, 14]),
    ] {
        let socket = raw::tcp_from(from, node.links.local_addrs()[0]).await;
        streams.push(raw::greeted(&identity(seed), 1, socket).await);
        let stay: Vec<_> = stay.iter().map(|seed| public(*seed)).collect();
        let parked = || node.links.strangers().into_iter().map(|stranger| stranger.key).collect::<Vec<_>>();
        eventually("the newest is parked, and who gave way is not", || parked() == stay).await;
    }
    assert_eq!((node.links.counts().parked_now, node.links.counts().displaced), (3, 2));
}

#[tokio::test]
async fn of_many_that_wait_as_one_player_the_newest_are_shown_and_all_are_counted() {
    let node = tcp(2);
    let mut streams = Vec::new();
    for seed in 10..15 {
        streams.push(raw::greeted(&identity(seed), 1, socket(&node).await).await);
        eventually("parked", || node.links.strangers_as(1, 9).1 == streams.len()).await;
    }
    let _other = raw::greeted(&identity(30), 4, socket(&node).await).await;
    let (shown, number) = node.links.strangers_as(1, 2);
    assert_eq!(shown.iter().map(|stranger| &stranger.key).collect::<Vec<_>>(), [&public(14), &public(13)]);
    assert_eq!(number, 5);
    streams.clear();
    eventually("forgotten", || node.links.strangers_as(1, 9) == (Vec::new(), 0)).await;
}
