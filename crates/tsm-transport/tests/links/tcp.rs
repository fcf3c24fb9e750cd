//! Links over TCP between nodes that know each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use elliptic_curve_pkcs8::EncodePrivateKey;
use p384::elliptic_curve::pkcs8 as elliptic_curve_pkcs8;
use tokio::time::{Instant, sleep};
use tsm_crypto::IdentityKey;
use tsm_transport::{
    Address, DownReason, Limits, LinkEvent, Links, PeerStatus, Route, SecureLinks, SendError,
};

use crate::common::{Node, eventually, identity, limits, public, tcp, tcp_with, with_options};
use crate::proxy::Proxy;
use crate::suite::{Cluster, run_suite};

struct Tcp;

impl Cluster for Tcp {
    fn node(&mut self, seed: u64) -> Node {
        let Node { key, route, events, links, patience } = tcp(seed);
        Node { key, route, events, links, patience }
    }
}

mod conformance {
    use super::*;

    run_suite!(Tcp, #[tokio::test]);
}

const HOUR: Duration = Duration::from_secs(3600);

/// Two nodes that expect each other for the whole test; the first dials by this route.
async fn joined(a: &mut Node<SecureLinks>, b: &mut Node<SecureLinks>, route: Route) {
    std::mem::forget(b.links.expect(&a.key, Route::Wait));
    std::mem::forget(a.links.expect(&b.key, route));
    a.up().await;
    b.up().await;
}

#[tokio::test]
async fn s98_another_key_than_the_expected_one_is_refused_and_both_fingerprints_are_told() {
    let (mut a, b) = (tcp(1), tcp(2));
    let _b_expects = b.links.expect(&a.key, Route::Wait);
    // The address of the second, the key of a third.
    let _a_expects = a.links.expect(&public(3), b.route.clone());
    let wrong = PeerStatus::WrongKey { expected: public(3).fingerprint(), presented: b.key.fingerprint() };
    let links = a.links.clone();
    eventually("the wrong key is told", || links.status(&public(3)) == wrong).await;
    for fingerprint in [public(3).fingerprint(), b.key.fingerprint()] {
        assert!(wrong.to_string().contains(&fingerprint.to_string()));
    }
    assert_eq!(a.links.send(&public(3), 0, vec![1]), Err(SendError::NotConnected));
    assert_eq!(b.links.status(&a.key), PeerStatus::Waiting);
    a.nothing_for(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_tried_again_until_somebody_does() {
    let mut a = tcp(1);
    let port = tcp(2).links.local_addrs()[0].port();
    let nobody = Route::Dial(Address::new("127.0.0.1", port));
    let _a_expects = a.links.expect(&public(2), nobody);
    let links = a.links.clone();
    let refused = |status| matches!(status, PeerStatus::Dialling { last_error: Some(error) } if error.contains("refused"));
    eventually("the refusal is told", || refused(links.status(&public(2)))).await;
    let b = tcp_with(identity(2), 2, port, limits());
    let _b_expects = b.links.expect(&a.key, Route::Wait);
    assert_eq!(a.up().await.1, b.links.process());
}

#[tokio::test]
async fn keys_on_all_three_curves_and_in_both_forms_make_links() {
    let p384 = p384::SecretKey::from_slice(&[7; 48]).unwrap().to_pkcs8_der().unwrap();
    let p521 =
        p521::SecretKey::from_slice(&[&[0], [7; 65].as_slice()].concat()).unwrap().to_sec1_der().unwrap();
    let keys = [
        identity(1),
        Arc::new(IdentityKey::from_der(p384.as_bytes()).unwrap()),
        Arc::new(IdentityKey::from_der(&p521).unwrap()),
    ];
    for (dialler, listener) in [(0, 1), (1, 2), (2, 0)] {
        let mut a = tcp_with(keys[dialler].clone(), 1, 0, limits());
        let mut b = tcp_with(keys[listener].clone(), 2, 0, limits());
        let route = b.route.clone();
        joined(&mut a, &mut b, route).await;
        a.links.send(&b.key, 0, vec![1]).unwrap();
        assert_eq!(b.frame().await, [1]);
    }
}

#[tokio::test]
async fn the_pool_has_the_size_that_the_address_says() {
    let (mut a, mut b) = (tcp(1), tcp(2));
    let proxy = Proxy::before(&b.route).await;
    joined(&mut a, &mut b, with_options(&proxy.route, 5, HOUR)).await;
    eventually("five connections", || proxy.seen.open() == 5).await;
    // Would show a sixth.
    a.nothing_for(Duration::from_millis(100)).await;
    assert_eq!(proxy.seen.total(), 5);
}

#[tokio::test]
async fn a_renewed_connection_loses_no_frame_and_no_order() {
    let (mut a, mut b) = (tcp(1), tcp(2));
    let proxy = Proxy::before(&b.route).await;
    joined(&mut a, &mut b, with_options(&proxy.route, 2, Duration::from_millis(150))).await;
    let (from_a, from_b, a_key, b_key) = (a.links.clone(), b.links.clone(), a.key.clone(), b.key.clone());
    let sending = tokio::spawn(async move {
        let until = Instant::now() + Duration::from_millis(1200);
        let mut sent = 0u32;
        while Instant::now() < until {
            let order = u64::from(sent % 5);
            from_a.send(&b_key, order, sent.to_le_bytes().to_vec()).unwrap();
            from_b.send(&a_key, order, sent.to_le_bytes().to_vec()).unwrap();
            sent += 1;
            sleep(Duration::from_millis(1)).await;
        }
        sent
    });
    let (got_a, got_b) = tokio::join!(numbers(&mut a), numbers(&mut b));
    let sent = sending.await.unwrap();
    assert_eq!((got_a, got_b), (sent, sent));
    assert!(proxy.seen.total() >= 8, "{} connections were made", proxy.seen.total());
    assert!(proxy.seen.most() <= 4, "{} connections at once", proxy.seen.most());
}

/// Takes numbered frames until they pause; each order must be without gap.
async fn numbers(node: &mut Node<SecureLinks>) -> u32 {
    let (mut count, mut next) = (0, HashMap::new());
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(400), node.events.recv()).await {
        let LinkEvent::Frame { bytes, .. } = event else { panic!("{event:?}") };
        let number = u32::from_le_bytes(bytes.try_into().unwrap());
        assert_eq!(next.insert(number % 5, number + 5).unwrap_or(number % 5), number);
        count += 1;
    }
    count
}

#[tokio::test]
async fn a_cut_connection_is_told_at_once_and_replaced() {
    let (mut a, mut b) = (tcp(1), tcp(2));
    let proxy = Proxy::before(&b.route).await;
    joined(&mut a, &mut b, with_options(&proxy.route, 1, HOUR)).await;
    let cut = Instant::now();
    drop(proxy);
    assert!(matches!(a.down().await, DownReason::Lost(_)));
    assert!(matches!(b.down().await, DownReason::Lost(_)));
    assert!(cut.elapsed() < Duration::from_secs(1));
    let _direct = a.links.expect(&b.key, b.route.clone());
    assert_eq!(a.up().await.1, b.links.process());
    b.up().await;
}

#[tokio::test]
async fn a_peer_started_again_at_the_same_place_is_dialled_again() {
    let (mut a, mut b) = (tcp(1), tcp(2));
    let route = with_options(&b.route, 1, HOUR);
    joined(&mut a, &mut b, route).await;
    let (port, first) = (b.links.local_addrs()[0].port(), b.links.process());
    let killed = Instant::now();
    drop(b);
    assert!(matches!(a.down().await, DownReason::Lost(_)));
    assert!(killed.elapsed() < Duration::from_secs(1));
    let mut b = tcp_with(identity(2), 2, port, limits());
    let _b_expects = b.links.expect(&a.key, Route::Wait);
    let process = loop {
        // The dialler may meet the new process before it expects anyone.
        match a.event().await {
            LinkEvent::Up { process, .. } => break process,
            LinkEvent::Parked { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(process, b.links.process());
    assert_ne!(process, first);
    b.up().await;
}

#[tokio::test]
async fn a_second_process_with_the_same_key_takes_over() {
    let (mut a, mut b) = (tcp(1), tcp(2));
    let route = a.route.clone();
    joined(&mut b, &mut a, route).await;
    let mut second = tcp(2);
    let _expects = second.links.expect(&a.key, a.route.clone());
    assert_eq!(a.down().await, DownReason::Restarted);
    assert_eq!(a.up().await.1, second.links.process());
    second.up().await;
    assert!(matches!(b.down().await, DownReason::Lost(_)));
}

#[tokio::test]
async fn who_finds_the_last_connection_closing_is_told_when_there_is_another() {
    let (mut a, mut b) = (tcp(1), tcp(2));
    let proxy = Proxy::before(&b.route).await;
    let _b_expects = b.links.expect(&a.key, Route::Wait);
    let lease = a.links.expect(&b.key, with_options(&proxy.route, 1, HOUR));
    a.up().await;
    b.up().await;
    // Closing, but the peer cannot know.
    proxy.seen.stall();
    drop(lease);
    eventually("closing", || a.links.send(&b.key, 0, vec![1]) == Err(SendError::NotConnected)).await;
    let _again = a.links.expect(&b.key, with_options(&b.route, 1, HOUR));
    a.up().await;
    // Of another order: those of the first wait for what is under way, to stay in order.
    a.links.send(&b.key, 1, vec![2]).unwrap();
    while b.frame().await != [2] {}
}

#[tokio::test]
async fn s96_what_passes_on_the_wire_shows_neither_frames_nor_keys() {
    let marker = b"a share that nobody may see on the wire";
    let (mut a, mut b) = (tcp(1), tcp(2));
    let proxy = Proxy::before(&b.route).await;
    joined(&mut a, &mut b, proxy.route.clone()).await;
    a.links.send(&b.key, 0, marker.to_vec()).unwrap();
    b.links.send(&a.key, 0, marker.to_vec()).unwrap();
    assert_eq!(b.frame().await, marker);
    assert_eq!(a.frame().await, marker);
    let bytes = proxy.seen.bytes.lock().unwrap().clone();
    assert!(bytes.len() > 1000);
    for secret in [marker.as_slice(), a.key.der(), b.key.der(), &a.links.process().0] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
}

#[tokio::test]
async fn pings_keep_an_idle_link_and_silence_ends_it() {
    let short = || Limits {
        ping_after: Duration::from_millis(60),
        silent_after: Duration::from_millis(300),
        ..limits()
    };
    let (mut a, mut b) = (tcp_with(identity(1), 1, 0, short()), tcp_with(identity(2), 2, 0, short()));
    let proxy = Proxy::before(&b.route).await;
    joined(&mut a, &mut b, with_options(&proxy.route, 1, HOUR)).await;
    a.nothing_for(Duration::from_millis(900)).await;
    b.nothing_for(Duration::ZERO).await;
    assert_eq!(proxy.seen.total(), 1);
    proxy.seen.stall();
    assert_eq!(a.down().await, DownReason::Silent);
    assert_eq!(b.down().await, DownReason::Silent);
}

#[tokio::test]
async fn an_engine_that_takes_its_time_does_not_lose_the_link() {
    let short = || Limits {
        ping_after: Duration::from_millis(60),
        silent_after: Duration::from_millis(300),
        events: 4,
        ..limits()
    };
    let (mut a, mut b) = (tcp_with(identity(1), 1, 0, short()), tcp_with(identity(2), 2, 0, short()));
    let route = with_options(&b.route, 1, HOUR);
    joined(&mut a, &mut b, route).await;
    for number in 0..100u8 {
        a.links.send(&b.key, 0, vec![number]).unwrap();
    }
    sleep(Duration::from_millis(700)).await;
    for number in 0..100u8 {
        assert_eq!(b.frame().await, [number]);
    }
    a.nothing_for(Duration::ZERO).await;
}

#[tokio::test]
async fn stopping_sends_what_is_queued_first() {
    let (mut a, mut b) = (tcp(1), tcp(2));
    let route = b.route.clone();
    joined(&mut a, &mut b, route).await;
    for number in 0..1000u16 {
        a.links.send(&b.key, u64::from(number), vec![0; 1000]).unwrap();
    }
    let links = a.links.clone();
    let stopping = tokio::spawn(async move { links.stop(Duration::from_secs(5)).await });
    for _ in 0..1000 {
        b.frame().await;
    }
    assert_eq!(b.down().await, DownReason::Closed);
    stopping.await.unwrap();
    assert_eq!(a.links.send(&b.key, 0, vec![1]), Err(SendError::NotConnected));
}

#[tokio::test]
async fn a_stop_that_takes_too_long_is_cut_short() {
    let (mut a, mut b) = (tcp(1), tcp(2));
    let proxy = Proxy::before(&b.route).await;
    joined(&mut a, &mut b, proxy.route.clone()).await;
    proxy.seen.stall();
    a.links.send(&b.key, 0, vec![1]).unwrap();
    let began = Instant::now();
    a.links.stop(Duration::from_millis(50)).await;
    assert!(began.elapsed() < Duration::from_secs(1));
}
