//! Links over TCP and those who have no business there.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tsm_transport::{Address, DownReason, Limits, Links, MAX_FRAME_BYTES, PeerStatus, Route, SecureLinks};

use crate::common::{Node, PATIENCE, eventually, identity, limits, public, tcp, tcp_with};
use crate::raw::{self, Shows, unit};

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const EXPECTED: u8 = 4;
const PARKED: u8 = 5;

async fn socket(node: &Node<SecureLinks>) -> TcpStream {
    raw::tcp_from(HOME, node.links.local_addrs()[0]).await
}

/// A handshake that must fail, on this side or by the other's closing.
async fn is_refused(node: &Node<SecureLinks>, config: rustls::ClientConfig) -> bool {
    let Ok(mut stream) = raw::tls(config, socket(node).await).await else { return true };
    drop(stream.write_all(&raw::hello(1)).await);
    raw::rest(&mut stream).await.is_empty()
}

#[tokio::test]
async fn s98_certificates_no_keys_stolen_keys_and_tls_1_2_are_refused() {
    let node = tcp(2);
    let me = identity(1);
    let _expects = node.links.expect(me.public(), Route::Wait);
    // A key shown as a certificate, to a server that is asked for a raw key or for a certificate.
    assert!(is_refused(&node, raw::config(&me, Shows::Certificate, false, &TLS13)).await);
    assert!(is_refused(&node, raw::config(&me, Shows::Certificate, true, &TLS13)).await);
    // A raw key, but a certificate asked of the server.
    assert!(is_refused(&node, raw::config(&me, Shows::RawKey, true, &TLS13)).await);
    // Nothing at all.
    assert!(is_refused(&node, raw::config(&me, Shows::Nothing, false, &TLS13)).await);
    assert!(is_refused(&node, raw::config(&me, Shows::Certificate, true, &TLS12)).await);
    // The right public key without its private key.
    assert!(is_refused(&node, raw::impostor(&me, &identity(9))).await);
    // Another protocol, or none.
    for protocols in [vec![], vec![b"opentsm/2".to_vec()]] {
        let mut config = raw::good(&me);
        config.alpn_protocols = protocols;
        assert!(is_refused(&node, config).await);
    }
    assert_eq!(node.links.strangers(), []);
    assert_eq!(node.links.status(me.public()), PeerStatus::Waiting);
    // What all of them lack is the only thing that they lack.
    raw::greeted(&me, 1, socket(&node).await).await;
}

/// A server that presents its key as a certificate.
#[derive(Debug)]
struct AsCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for AsCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[tokio::test]
async fn s98_the_dialler_takes_no_certificate_even_of_the_expected_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = identity(2);
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AsCertificate(Arc::new(raw::certified(&key, &key)))));
    let a = tcp(1);
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let _expects = a.links.expect(key.public(), Route::Dial(address));
    let (socket, _) = listener.accept().await.unwrap();
    assert!(TlsAcceptor::from(Arc::new(config)).accept(socket).await.is_err());
    let status = || a.links.status(key.public());
    eventually("told", || matches!(status(), PeerStatus::Dialling { last_error: Some(_) })).await;
}

#[tokio::test]
async fn an_unknown_key_is_told_that_it_is_parked_and_refused_when_its_time_is_over() {
    let parked_for = Duration::from_millis(200);
    let node = tcp_with(identity(2), 2, 0, Limits { parked_for, ..limits() });
    let began = Instant::now();
    let mut stream = raw::greeted(&identity(1), 41, socket(&node).await).await;
    let mut notice = [0; 5];
    stream.read_exact(&mut notice).await.unwrap();
    assert_eq!(notice.as_slice(), unit(0, PARKED, &[]));
    let stranger = node.links.strangers().pop().unwrap();
    assert_eq!((stranger.key, stranger.player_index), (public(1), 41));
    assert_eq!(stranger.source, stream.get_ref().0.local_addr().unwrap().to_string());
    assert!(raw::rest(&mut stream).await.is_empty());
    assert!(began.elapsed() >= parked_for);
    eventually("forgotten", || node.links.strangers().is_empty()).await;
    assert_eq!(node.links.counts().expired, 1, "its silence would have ended it, too, but later");
}

#[tokio::test]
async fn a_stranger_that_leaves_is_no_longer_listed() {
    let node = tcp(2);
    let mut stream = raw::greeted(&identity(1), 1, socket(&node).await).await;
    stream.read_exact(&mut [0; 5]).await.unwrap();
    assert_eq!(node.links.strangers().len(), 1);
    drop(stream);
    eventually("forgotten", || node.links.strangers().is_empty()).await;
}

#[tokio::test]
async fn s105_a_parked_link_may_not_send_frames_or_chatter() {
    let node = tcp(2);
    let chatter = unit(8, 2, &[0; 8]).repeat(100);
    for words in [unit(1, 1, &[0]), unit(1 << 20, 1, &[]), chatter] {
        let mut stream = raw::greeted(&identity(1), 1, socket(&node).await).await;
        stream.write_all(&words).await.unwrap();
        assert_eq!(raw::rest(&mut stream).await, unit(0, PARKED, &[]));
    }
}

#[tokio::test]
async fn s105_a_flood_of_strangers_keeps_64_places_and_does_not_hold_up_a_known_peer() {
    let mut node = tcp(2);
    let place = node.links.local_addrs()[0];
    let mut flood = Vec::new();
    for seed in 100..300 {
        let socket = raw::tcp_from(ELSEWHERE, place).await;
        flood.push(raw::greeted(&identity(seed), 1, socket).await);
    }
    eventually("64 are left", || node.links.strangers().len() == 64).await;
    // The newest are the ones that stay.
    let last = public(299);
    eventually("the newest is listed", || node.links.strangers().iter().any(|stranger| stranger.key == last))
        .await;

    let began = Instant::now();
    let mut known = tcp(1);
    let _leases =
        (node.links.expect(&known.key, Route::Wait), known.links.expect(&node.key, node.route.clone()));
    known.up().await;
    node.up().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // Another source has places of its own.
    let _other = raw::greeted(&identity(3), 1, socket(&node).await).await;
    eventually("one more", || node.links.strangers().len() == 65).await;
}

#[tokio::test]
async fn s33_junk_and_half_open_connections_do_not_disturb() {
    let mut node = tcp_with(identity(2), 2, 0, Limits { handshakes: 64, ..limits() });
    let place = node.links.local_addrs()[0];
    let mut junk = Vec::new();
    for number in 0..200u8 {
        let mut socket = raw::tcp_from(ELSEWHERE, place).await;
        // Nothing, half of a TLS record, or no TLS at all.
        let words: &[u8] =
            [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"][usize::from(number % 3)];
        socket.write_all(words).await.unwrap();
        junk.push(socket);
    }
    let began = Instant::now();
    let mut known = tcp(1);
    let _leases =
        (node.links.expect(&known.key, Route::Wait), known.links.expect(&node.key, node.route.clone()));
    known.up().await;
    node.up().await;
    known.links.send(&node.key, 0, vec![1]).unwrap();
    assert_eq!(node.frame().await, [1]);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn s105_no_more_handshakes_are_under_way_than_may_and_the_oldest_gives_way() {
    let limits = Limits { handshakes: 2, handshake_time: Duration::from_secs(60), ..limits() };
    let node = tcp_with(identity(2), 2, 0, limits);
    let mut silent = [socket(&node).await, socket(&node).await, socket(&node).await];
    let mut byte = [0];
    assert_eq!(timeout(PATIENCE, silent[0].read(&mut byte)).await.unwrap().unwrap(), 0);
    for other in &mut silent[1..] {
        assert!(timeout(Duration::from_millis(50), other.read(&mut byte)).await.is_err());
    }
}

#[tokio::test]
async fn handshake_and_hello_must_come_in_time() {
    let handshake_time = Duration::from_millis(200);
    let node = tcp_with(identity(2), 2, 0, Limits { handshake_time, ..limits() });
    let mut silent = socket(&node).await;
    let mut no_hello = raw::tls(raw::good(&identity(1)), socket(&node).await).await.unwrap();
    assert!(raw::rest(&mut silent).await.is_empty());
    // Its hello, and then nothing.
    assert_eq!(raw::rest(&mut no_hello).await.len(), 32);
    assert_eq!(node.links.strangers(), []);
}

#[tokio::test]
async fn s27_an_expected_peer_that_breaks_the_rules_loses_its_connection_only() {
    let mut node = tcp(2);
    let _expects = node.links.expect(&public(1), Route::Wait);
    let over = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();
    for words in [
        unit(over, 1, &[]),
        unit(u32::MAX, 1, &[]),
        unit(0, 99, &[]),
        unit(7, 2, &[0; 7]),
        unit(0, EXPECTED, &[]),
        unit(0, PARKED, &[]),
        [unit(0, 6, &[]), unit(1, 1, &[0])].concat(),
    ] {
        let mut stream = raw::greeted(&identity(1), 1, socket(&node).await).await;
        stream.write_all(&unit(0, EXPECTED, &[])).await.unwrap();
        node.up().await;
        stream.write_all(&unit(3, 1, b"yes")).await.unwrap();
        assert_eq!(node.frame().await, b"yes");
        stream.write_all(&words).await.unwrap();
        assert!(matches!(node.down().await, DownReason::Misbehaved(_)), "{words:?}");
        raw::rest(&mut stream).await;
    }
}
