//! A crowd at the door of a node, from the same address as those who are expected.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tsm_transport::{Limits, Links, Route};

use crate::common::{eventually, identity, limits, tcp, tcp_with};
use crate::raw;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The beginning of a TLS handshake that announces 512 bytes, and then a byte now and then.
async fn drip(to: SocketAddr) {
    let mut socket = TcpStream::connect(to).await.unwrap();
    for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".iter().chain(std::iter::repeat(&0)) {
        if socket.write_all(&[*byte]).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// One unknown key after the other proves itself, is parked, and goes.
async fn knock(to: SocketAddr, first: u64) {
    for seed in first.. {
        drop(raw::greeted(&identity(seed), 1, raw::tcp_from(HOME, to).await).await);
    }
}

#[tokio::test]
async fn s105_known_peers_come_and_talk_through_slow_handshakes_and_a_flood_of_unknown_keys() {
    // As behind a proxy: nobody can be told from the crowd by the address.
    let limits = Limits { failed_handshakes: 0, ..limits() };
    let mut node = tcp_with(identity(2), 2, 0, limits);
    let place = node.links.local_addrs()[0];
    let mut known = tcp(1);
    let _leases =
        (node.links.expect(&known.key, Route::Wait), known.links.expect(&node.key, node.route.clone()));
    known.up().await;
    node.up().await;

    let mut crowd = JoinSet::new();
    (0..200).for_each(|_| drop(crowd.spawn(drip(place))));
    (1..=4).for_each(|lane| drop(crowd.spawn(knock(place, lane * 10_000))));
    eventually("strangers are at the door", || node.links.strangers().len() > 2).await;
    for number in 0..100u8 {
        known.links.send(&node.key, 0, vec![number]).unwrap();
        assert_eq!(node.frame().await, [number]);
    }
    // One that is expected and was not there before.
    let mut late = tcp(3);
    let _leases =
        (node.links.expect(&late.key, Route::Wait), late.links.expect(&node.key, node.route.clone()));
    late.up().await;
    node.up().await;
    late.links.send(&node.key, 0, vec![7]).unwrap();
    assert_eq!(node.frame().await, [7]);
    assert!(node.links.strangers().len() <= 64, "one address has 64 places");
}
