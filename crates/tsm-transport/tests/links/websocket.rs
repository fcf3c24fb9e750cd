//! Links by WebSocket between nodes that know each other: the suite over `ws` and `wss`, and what the
//! dialler of `wss` trusts.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tsm_transport::websocket::Certificate;
use tsm_transport::{Address, Limits, Links, LinksConfig, Listen, PeerStatus, Roots, Route, SecureLinks};

use crate::common::{Node, PATIENCE, eventually, identity, limits, public, tcp};
use crate::suite::{Cluster, run_suite};

/// A certificate authority of its own, and what a port that it vouches for shows.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    pub(crate) roots: Roots,
    /// The certificate and its private key.
    pub(crate) pem: [String; 2],
}

impl Authority {
    /// Vouches for a port at this name or address.
    pub(crate) fn of(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let port = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let pem = [port.pem(), key.serialize_pem()];
        Authority {
            certificate: Certificate::from_pem(pem[0].as_bytes(), pem[1].as_bytes()).unwrap(),
            pem,
            roots: Roots::from_pem(root.pem().as_bytes()).unwrap(),
        }
    }
}

/// A node with a port for WebSockets.
pub(crate) fn by_web(
    seed: u64,
    certificate: Option<Certificate>,
    web_roots: Roots,
    limits: Limits,
) -> Node<SecureLinks> {
    let scheme = if certificate.is_some() { "wss" } else { "ws" };
    let config = LinksConfig {
        identity: identity(seed),
        player: u16::try_from(seed).unwrap(),
        listeners: vec![Listen::WebSocket { at: ([127, 0, 0, 1], 0).into(), certificate }],
        broker: None,
        static_peers: Default::default(),
        web_roots,
        limits,
    };
    let (links, events) = SecureLinks::start(config).unwrap();
    let address: Address = format!("{scheme}://{}/any/path", links.local_addrs()[0]).parse().unwrap();
    Node { key: public(seed), route: Route::Dial(address), events, links, patience: PATIENCE }
}

/// A node whose port shows no certificate.
pub(crate) fn plain(seed: u64) -> Node<SecureLinks> {
    by_web(seed, None, Roots::default(), limits())
}

fn of_suite(node: Node<SecureLinks>) -> Node {
    let Node { key, route, events, links, patience } = node;
    Node { key, route, events, links, patience }
}

struct Plain;

impl Cluster for Plain {
    fn node(&mut self, seed: u64) -> Node {
        of_suite(plain(seed))
    }
}

impl Cluster for Authority {
    fn node(&mut self, seed: u64) -> Node {
        of_suite(by_web(seed, Some(self.certificate.clone()), self.roots.clone(), limits()))
    }
}

mod ws {
    use super::*;

    run_suite!(Plain, #[tokio::test]);
}

mod wss {
    use super::*;

    run_suite!(Authority::of("127.0.0.1"), #[tokio::test]);
}

/// What `a` says of why it does not reach `b`.
async fn complaint(a: &Node<SecureLinks>, b: &Node<SecureLinks>, words: &str) {
    let _leases = (b.links.expect(&a.key, Route::Wait), a.links.expect(&b.key, b.route.clone()));
    let status = || a.links.status(&b.key);
    eventually(words, || {
        matches!(status(), PeerStatus::Dialling { last_error: Some(_) })
            && status().to_string().contains(words)
    })
    .await;
}

#[tokio::test]
async fn the_dialler_of_wss_trusts_neither_an_unknown_authority_nor_another_name() {
    let ours = Authority::of("127.0.0.1");
    let b = by_web(2, Some(ours.certificate.clone()), Roots::default(), limits());
    let other = Authority::of("127.0.0.1");
    complaint(&by_web(1, None, other.roots, limits()), &b, "not with HTTPS that this node trusts").await;
    let elsewhere = Authority::of("elsewhere.example");
    let b = by_web(2, Some(elsewhere.certificate), Roots::default(), limits());
    complaint(&by_web(1, None, elsewhere.roots, limits()), &b, "not with HTTPS that this node trusts").await;
}

#[tokio::test]
async fn s98_the_certificate_of_a_wss_port_proves_no_player() {
    let authority = Authority::of("127.0.0.1");
    let b = by_web(2, Some(authority.certificate), Roots::default(), limits());
    let a = by_web(1, None, authority.roots, limits());
    // Another player's key than the one at that port.
    let _expects = a.links.expect(&public(3), b.route.clone());
    let status = || a.links.status(&public(3));
    eventually("the other key is told", || matches!(status(), PeerStatus::WrongKey { .. })).await;
}

#[tokio::test]
async fn an_address_of_the_wrong_scheme_is_told_apart() {
    let other_scheme = |node: &Node<SecureLinks>, scheme: &str| {
        let address = format!("{scheme}://{}", node.links.local_addrs()[0]).parse().unwrap();
        Node { key: node.key.clone(), route: Route::Dial(address), ..plain(9) }
    };
    let authority = Authority::of("127.0.0.1");
    let secured = by_web(2, Some(authority.certificate), Roots::default(), limits());
    let a = by_web(1, None, authority.roots, limits());
    complaint(&a, &other_scheme(&secured, "ws"), "opened no WebSocket").await;
    complaint(&a, &other_scheme(&plain(4), "wss"), "not with HTTPS").await;
    complaint(&a, &other_scheme(&tcp(5), "ws"), "opened no WebSocket").await;
    complaint(&a, &other_scheme(&plain(6), "tcp"), "no secure link came about").await;
}

#[tokio::test]
async fn one_link_can_come_by_tcp_and_another_by_websocket_at_once() {
    let both = LinksConfig {
        identity: identity(2),
        player: 2,
        listeners: vec![
            Listen::Tcp(([127, 0, 0, 1], 0).into()),
            Listen::WebSocket { at: ([127, 0, 0, 1], 0).into(), certificate: None },
        ],
        broker: None,
        static_peers: Default::default(),
        web_roots: Roots::default(),
        limits: limits(),
    };
    let (links, events) = SecureLinks::start(both).unwrap();
    let [direct, web] = [0, 1].map(|at| links.local_addrs()[at]);
    let at = |place: String| Route::Dial(place.parse().unwrap());
    let mut middle = Node { key: public(2), route: Route::Wait, events, links, patience: PATIENCE };
    let mut peers = [(tcp(1), at(direct.to_string())), (tcp(3), at(format!("ws://{web}")))];
    let mut leases = Vec::new();
    for (peer, route) in &mut peers {
        leases.push(middle.links.expect(&peer.key, Route::Wait));
        leases.push(peer.links.expect(&middle.key, route.clone()));
        peer.up().await;
        middle.up().await;
        middle.links.send(&peer.key, 0, b"there".to_vec()).unwrap();
        assert_eq!(peer.frame().await, b"there");
    }
}
