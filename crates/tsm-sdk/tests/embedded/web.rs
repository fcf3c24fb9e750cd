//! A phone whose network lets nothing but HTTPS out.

use tsm_sdk::{Database, EmbeddedConfig, EmbeddedNode, SessionConfig, generate_identity};
use tsm_storage::Stretch;

use crate::players::{DIGEST, Kind, Player, make_key, session, sign};
use crate::web_proxy::WebProxy;

const PHONE: u16 = 1;
const SERVER: u16 = 2;

/// A server with a port for WebSockets behind a proxy that ends HTTPS, and a phone that knows the proxy.
struct Network {
    server: Player,
    proxy: WebProxy,
    phone: EmbeddedNode,
}

impl Network {
    async fn start() -> Network {
        let key = generate_identity();
        let web = "[MPCDirectServer]\nAddress = \"127.0.0.1\"\nWSPort = 1\n";
        let server = Player::start(Kind::Remote, SERVER, &key, web).await;
        let proxy = WebProxy::before(server.mpc_address.unwrap()).await;
        let config = EmbeddedConfig::new(PHONE, generate_identity(), Database::memory())
            .with_player(SERVER, Some(key.public().der()), Some(&proxy.address))
            .unwrap()
            .with_root_certificates(proxy.root.as_bytes())
            .unwrap()
            .with_stretch(Stretch::CHEAPEST);
        Network { server, proxy, phone: EmbeddedNode::start(config).await.unwrap() }
    }

    fn session(&self) -> SessionConfig {
        session(&[PHONE, SERVER], &[(PHONE, self.phone.public_key())])
    }
}

#[tokio::test]
async fn s96_a_phone_signs_through_a_proxy_that_ends_its_https_and_sees_nothing() {
    let network = Network::start().await;
    assert_eq!(network.phone.mpc_address(), None);
    let (phone, server) = (network.phone.client(), &network.server.client);
    let sessions = [network.session(), network.session()];
    let key = make_key(&phone, server, &sessions[0]).await.unwrap();
    sign(&phone, server, &sessions[1], &key).await.unwrap();

    let ids = sessions.iter().map(|session| session.session_id().as_str().as_bytes());
    let secrets: Vec<&[u8]> = ids
        .chain([
            key.key_id.as_bytes(),
            &key.public_key.sec1_compressed()[1..],
            network.phone.public_key(),
            &DIGEST,
        ])
        .collect();
    let seen = network.proxy.seen();
    assert!(!seen.is_empty());
    for bytes in &seen {
        // A record of TLS comes first: the proxy does see the messages' content.
        assert_eq!(bytes[..2], [0x16, 3]);
        for secret in &secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == *secret), "{secret:?}");
        }
    }
    // The handshake at least, and some hundred kilobytes of key generation.
    assert!(seen.iter().map(Vec::len).sum::<usize>() > 100_000);
    network.phone.stop().await;
    network.server.stop().await;
}

#[tokio::test]
async fn a_phone_finds_its_way_back_when_the_proxy_was_restarted() {
    let network = Network::start().await;
    let (phone, server) = (network.phone.client(), &network.server.client);
    let key = make_key(&phone, server, &network.session()).await.unwrap();
    network.proxy.cut();
    sign(&phone, server, &network.session(), &key).await.unwrap();
}

#[test]
fn authorities_that_are_no_certificates_are_refused() {
    let config = EmbeddedConfig::new(PHONE, generate_identity(), Database::memory());
    let failure = config.with_root_certificates(b"not PEM").unwrap_err();
    assert!(failure.to_string().contains("BEGIN CERTIFICATE"), "{failure}");
}
