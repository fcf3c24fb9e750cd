//! Players of both kinds, made from the same configuration file.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use tsm_sdk::{
    ApiKey, Client, Configuration, EmbeddedConfig, EmbeddedNode, Failure, GeneratedKey, IdentityKey,
    SessionConfig, SessionId, SignResult,
};
use tsm_server::{RunningNode, config};
use tsm_storage::Stretch;

/// Where a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Behind HTTP.
    Remote,
    /// In the process of its caller.
    Embedded,
}

/// A running node and its client.
pub(crate) struct Player {
    pub(crate) client: Client,
    pub(crate) mpc_address: Option<SocketAddr>,
    running: Running,
}

enum Running {
    Remote(RunningNode),
    Embedded(EmbeddedNode),
}

impl Player {
    /// A player of an enabled engine that knows what `sections` say.
    pub(crate) async fn start(kind: Kind, index: u16, key: &IdentityKey, sections: &str) -> Player {
        Self::start_exactly(kind, &toml(index, key, &format!("[DKLS23]\n{sections}"))).await
    }

    /// A player that players of lower index reach.
    pub(crate) async fn listening(kind: Kind, index: u16, key: &IdentityKey, sections: &str) -> Player {
        let listening = format!("[MPCTCPServer]\nAddress = \"127.0.0.1\"\nPort = 1\n{sections}");
        Self::start(kind, index, key, &listening).await
    }

    pub(crate) async fn start_exactly(kind: Kind, text: &str) -> Player {
        // The file's port only says that there is one: the system chooses it.
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        match kind {
            Kind::Remote => {
                let mut config = config::parse(&format!("{text}{}", serving())).unwrap();
                config.sdk_listen = loopback;
                config.mpc_listen = config.mpc_listen.map(|_| loopback);
                config.direct.web_listen = config.direct.web_listen.map(|_| loopback);
                let node = RunningNode::start_with(config, Stretch::CHEAPEST).await.unwrap();
                let configuration = Configuration::new(&format!("http://{}", node.sdk_address())).unwrap();
                let client = Client::new(configuration.with_api_key(ApiKey::new(API_KEY).unwrap())).unwrap();
                Player { client, mpc_address: node.mpc_address(), running: Running::Remote(node) }
            }
            Kind::Embedded => {
                let mut config = EmbeddedConfig::from_toml(text).unwrap().with_stretch(Stretch::CHEAPEST);
                if text.contains("[MPCTCPServer]") {
                    config = config.with_listen(loopback);
                }
                let node = EmbeddedNode::start(config).await.unwrap();
                Player {
                    client: node.client(),
                    mpc_address: node.mpc_address(),
                    running: Running::Embedded(node),
                }
            }
        }
    }

    /// Where players of lower index find this one.
    pub(crate) fn address(&self) -> String {
        self.mpc_address.unwrap().to_string()
    }

    pub(crate) async fn stop(self) {
        match self.running {
            Running::Remote(node) => node.stop().await,
            Running::Embedded(node) => node.stop().await,
        }
    }
}

/// A `[Players.N]` section.
pub(crate) fn knows(index: u16, key: Option<&IdentityKey>, address: Option<&str>) -> String {
    let key = key.map(|key| format!("PublicKey = \"{}\"\n", BASE64.encode(key.public().der())));
    let address = address.map(|address| format!("Address = \"{address}\"\n"));
    format!("[Players.{index}]\n{}{}", key.unwrap_or_default(), address.unwrap_or_default())
}

/// A configuration file without anything that serves SDKs. A node that is stopped ends at once.
pub(crate) fn toml(index: u16, key: &IdentityKey, sections: &str) -> String {
    let session = if sections.contains("[Session]") { "" } else { "[Session]\nDrainTimeout = \"0s\"\n" };
    format!(
        "[Player]\nIndex = {index}\nPrivateKey = \"{}\"\n\
         [Database]\nDriverName = \"sqlite3\"\nDataSourceName = \":memory:\"\nEncryptorMasterPassword = \"test\"\n\
         {session}{sections}",
        BASE64.encode(key.der().expose())
    )
}

fn serving() -> String {
    let hash = BASE64.encode(Sha256::digest(API_KEY));
    format!(
        "[SDKServer]\nPort = 2\n[[Authentication.APIKeys]]\nAPIKey = \"{hash}\"\nApplicationID = \"embedded\"\n"
    )
}

const API_KEY: &str = "the-app";

/// A session of these players, which they come to within a second or never.
pub(crate) fn session(players: &[u16], dynamic: &[(u16, &[u8])]) -> SessionConfig {
    let keys = dynamic.iter().map(|(index, key)| (*index, key.to_vec())).collect();
    SessionConfig::new(SessionId::generate(), players.iter().copied(), keys)
        .with_connect_timeout(Duration::from_secs(10))
}

/// Makes a key of two players, any of whom the other needs to sign.
pub(crate) async fn make_key(
    one: &Client,
    other: &Client,
    session: &SessionConfig,
) -> Result<GeneratedKey, Failure> {
    let curve = tsm_sdk::CurveId::Secp256k1;
    let (one, other) = tokio::join!(
        one.ecdsa().generate_key(session, 1, curve, None),
        other.ecdsa().generate_key(session, 1, curve, None),
    );
    let (one, other) = (one?, other?);
    assert_eq!(one.key_id, other.key_id);
    Ok(one)
}

/// Signs, joins and verifies.
pub(crate) async fn sign(
    one: &Client,
    other: &Client,
    session: &SessionConfig,
    key: &GeneratedKey,
) -> Result<(), Failure> {
    let (one, other) = both_parts(one, other, session, &key.key_id).await;
    let parts = [one?.partial_signature, other?.partial_signature];
    tsm_sdk::ecdsa::finalise_for(&key.public_key, &DIGEST, &parts).map(|_| ())
}

/// What each of the two says to a request to sign.
pub(crate) async fn both_parts(
    one: &Client,
    other: &Client,
    session: &SessionConfig,
    key_id: &str,
) -> (Result<SignResult, Failure>, Result<SignResult, Failure>) {
    tokio::join!(
        one.ecdsa().sign(session, key_id, &[], &DIGEST),
        other.ecdsa().sign(session, key_id, &[], &DIGEST)
    )
}

pub(crate) const DIGEST: [u8; 32] = [7; 32];
