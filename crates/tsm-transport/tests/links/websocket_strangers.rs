//! A port for WebSockets and those who have no business there.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;
use tsm_transport::websocket::{Certificate, SUBPROTOCOL};
use tsm_transport::{CertificateError, Limits, Links, Roots, Route, SecureLinks};

use crate::common::{Node, limits};
use crate::raw;
use crate::websocket::{Authority, by_web, plain};

const GOOD: &str = "GET /x HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                    Sec-WebSocket-Protocol: other, opentsm.1\r\n\r\n";

async fn socket(node: &Node<SecureLinks>) -> TcpStream {
    TcpStream::connect(node.links.local_addrs()[0]).await.unwrap()
}

/// All that the port says to these words.
async fn answer(node: &Node<SecureLinks>, words: &[u8]) -> String {
    let mut socket = socket(node).await;
    socket.write_all(words).await.unwrap();
    socket.shutdown().await.unwrap();
    String::from_utf8(raw::rest(&mut socket).await).unwrap()
}

#[tokio::test]
async fn who_asks_for_no_websocket_gets_a_sensible_http_answer() {
    let node = plain(2);
    let without = |line: &str| {
        assert!(GOOD.contains(line));
        GOOD.replacen(line, "", 1)
    };
    let long = format!("GET / HTTP/1.1\r\nCookie: {}", "a".repeat(9000));
    for (words, status) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "426 Upgrade Required"),
        (without("Upgrade: websocket\r\n"), "426 Upgrade Required"),
        (without("Connection: keep-alive, Upgrade\r\n"), "426 Upgrade Required"),
        (GOOD.replace("Version: 13", "Version: 8"), "426 Upgrade Required"),
        (GOOD.replace("GET", "POST"), "405 Method Not Allowed"),
        (GOOD.replace("HTTP/1.1", "HTTP/1.0"), "400 Bad Request"),
        (GOOD.replace("AAAA==", "AAAA"), "400 Bad Request"),
        (without("Sec-WebSocket-Protocol: other, opentsm.1\r\n"), "400 Bad Request"),
        (GOOD.replace("opentsm.1", "opentsm.2"), "400 Bad Request"),
        (format!("{GOOD}early"), "400 Bad Request"),
        ("\u{16}\u{3}\u{1}junk\r\n\r\n".to_owned(), "400 Bad Request"),
        (long, "431 Request Header Fields Too Large"),
    ] {
        let answer = answer(&node, words.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{words}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
        assert_eq!(head.contains("Upgrade: websocket"), status.starts_with("426"), "{answer}");
    }
    // What all of them lack is the only thing that they lack.
    let mut good = socket(&node).await;
    good.write_all(GOOD.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    good.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    assert_eq!(node.links.strangers(), []);
}

#[tokio::test]
async fn s33_slow_silent_and_endless_heads_do_not_disturb_and_end_in_time() {
    let handshake_time = Duration::from_millis(400);
    let mut node =
        by_web(2, None, Roots::default(), Limits { handshakes: 64, failed_handshakes: 0, ..limits() });
    let mut junk = Vec::new();
    for number in 0..200 {
        let mut socket = socket(&node).await;
        let words: &[u8] = [b"".as_slice(), b"GET / HT", GOOD.as_bytes()][number % 3];
        socket.write_all(words).await.unwrap();
        junk.push(socket);
    }
    let mut known = plain(1);
    let _leases =
        (node.links.expect(&known.key, Route::Wait), known.links.expect(&node.key, node.route.clone()));
    known.up().await;
    node.up().await;

    let node = by_web(3, None, Roots::default(), Limits { handshake_time, ..limits() });
    let mut half_open = socket(&node).await;
    let mut upgraded = socket(&node).await;
    upgraded.write_all(GOOD.as_bytes()).await.unwrap();
    let (mut slow_in, mut slow_out) = socket(&node).await.into_split();
    let slowly = async {
        // A byte at a time is no excuse; writing fails when the node has closed.
        for byte in GOOD.bytes().cycle().filter(|byte| *byte != b'\n') {
            if slow_out.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::join!(slowly, async { assert!(raw::rest(&mut slow_in).await.is_empty()) });
    assert!(raw::rest(&mut half_open).await.is_empty());
    assert!(raw::rest(&mut upgraded).await.starts_with(b"HTTP/1.1 101"));
}

#[tokio::test]
async fn s105_all_who_come_through_one_proxy_share_a_limit_that_can_be_raised() {
    for (parked_per_source, waiting) in [(2, 2), (64, 4)] {
        let node = by_web(2, None, Roots::default(), Limits { parked_per_source, ..limits() });
        let mut peers: Vec<_> = (11..15).map(plain).collect();
        let expect = |peer: &Node<SecureLinks>| peer.links.expect(&node.key, node.route.clone());
        let _leases: Vec<_> = peers.iter().map(expect).collect();
        for peer in &mut peers {
            assert_eq!(peer.parked().await, node.key);
        }
        assert_eq!(node.links.strangers().len(), waiting);
    }
}

#[tokio::test]
async fn junk_at_a_wss_port_is_refused_before_http() {
    let authority = Authority::of("127.0.0.1");
    let node = by_web(2, Some(authority.certificate), authority.roots, limits());
    let mut socket = socket(&node).await;
    socket.write_all(GOOD.as_bytes()).await.unwrap();
    let rest = raw::rest(&mut socket).await;
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
}

#[tokio::test]
async fn a_websocket_without_the_links_tls_comes_to_nothing() {
    let node = plain(2);
    let uri: Uri = format!("ws://{}/", node.links.local_addrs()[0]).parse().unwrap();
    for message in
        [Message::text("hello"), Message::binary(b"not TLS".to_vec()), Message::binary(vec![0; 70_000])]
    {
        let request = ClientRequestBuilder::new(uri.clone()).with_sub_protocol(SUBPROTOCOL);
        let (mut stranger, response) = client_async(request, socket(&node).await).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], SUBPROTOCOL);
        drop(stranger.send(message).await);
        while let Some(Ok(message)) = stranger.next().await {
            // An alert of TLS, or a close.
            assert!(message.is_binary() || message.is_close(), "{message:?}");
        }
    }
    assert_eq!(node.links.strangers(), []);
}

#[test]
fn certificates_that_cannot_be_used_are_refused_by_reason() {
    let own = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap();
    let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let refusal =
        |chain: &str, key: &str| Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
    assert_eq!(refusal("", &key), CertificateError::NoCertificate);
    assert_eq!(refusal(&key, &key), CertificateError::NoCertificate);
    assert_eq!(refusal(&chain[..chain.len() / 2], &key), CertificateError::BrokenPem);
    assert_eq!(refusal(&chain, &chain), CertificateError::NoPrivateKey);
    assert_eq!(refusal(&chain, &other.signing_key.serialize_pem()), CertificateError::OtherKey);
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(refusal(no_certificate, &key), CertificateError::Unusable);
    assert_eq!(Roots::from_pem(no_certificate.as_bytes()), Err(CertificateError::Unusable));
    assert_eq!(Roots::from_pem(b""), Err(CertificateError::NoCertificate));
    Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
}
