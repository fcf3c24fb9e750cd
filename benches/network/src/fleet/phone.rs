//! A phone: an embedded node with a database in memory, in the driving program.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_crypto::ecdsa::{self, PartialSignature};
use tsm_crypto::{IdentityKey, Secret};
use tsm_node::{Compute, Node, NodeParts, Settings, StaticPlayer};
use tsm_storage::{Memory, SealedStore, Stretch};
use tsm_transport::SecureLinks;
use tsm_types::request::{GenerateKey, SessionRequest, SignEcdsa};
use tsm_types::{CurveId, DerivationPath, Failure, KeyId, SessionId};

use super::server::public_key;
use super::words::{Answer, Told};
use super::{PATIENT, PHONE, SERVER, Server, application, identity, links, settings};
use crate::DIGEST;

/// One phone.
pub struct Phone {
    /// Its public key, base64 of DER.
    pub key: String,
    identity: Arc<IdentityKey>,
    database: Memory,
    address: String,
    node: Node,
    links: Arc<SecureLinks>,
}

impl Phone {
    /// Starts the `number`th phone, from 1. It dials when a session needs it.
    pub async fn start(number: u64, server: &Server) -> Phone {
        let (identity, database) = (Arc::new(identity(number)), Memory::new());
        let address = format!("{}?connectionPoolSize=1&connectionLifetime=24h", server.address);
        let (node, links) = start(&identity, &database, &address).await;
        Phone { key: BASE64.encode(identity.public().der()), identity, database, address, node, links }
    }

    /// It is gone without a word.
    pub async fn vanish(&self) {
        self.links.stop(Duration::ZERO).await;
    }

    /// The app is started again.
    pub async fn restart(&mut self) {
        self.vanish().await;
        self.node.stop().await;
        (self.node, self.links) = start(&self.identity, &self.database, &self.address).await;
    }

    /// Its side of a key generation; gives the key's ID and public key.
    pub async fn generate_key(&self, session: &str) -> Result<(String, Vec<u8>), Failure> {
        let request = GenerateKey {
            session: session_of(session, PATIENT)?,
            curve: CurveId::Secp256k1,
            threshold: 1,
            key_id: None,
        };
        let key = self.node.generate_key(&application(), request).await?;
        Ok((key.key_id.to_string(), key.public_key))
    }

    /// Its side of a signature; gives its part. Waits for the server's for `patience`.
    ///
    /// # Errors
    ///
    /// What its caller is told.
    pub async fn sign(&self, session: &str, key_id: &str, patience: Duration) -> Result<Vec<u8>, Failure> {
        let (session, key_id) = (session_of(session, patience)?, KeyId::new(key_id)?);
        let request = SignEcdsa { session, key_id, path: DerivationPath::ROOT, digest: DIGEST.to_vec() };
        Ok(self.node.sign(&application(), request).await?.partial_signature)
    }

    /// A key with the server. Gives its ID, and what the server's side took.
    ///
    /// # Panics
    ///
    /// If either side fails.
    pub async fn make_key(&self, server: &Server, session: &str) -> (String, u64) {
        let (mine, theirs) =
            tokio::join!(self.generate_key(session), server.generate_key(session, &self.key));
        let (key_id, _) = mine.unwrap_or_else(|failure| panic!("{session}: {failure}; {theirs:?}"));
        assert!(matches!(&theirs.told, Told::Key(id) if *id == key_id), "{session}: {theirs:?}");
        (key_id, theirs.micros)
    }

    /// A signature with the server, joined and verified. Gives what the server's side took.
    ///
    /// # Errors
    ///
    /// What either side was told, if not a part.
    pub async fn make_signature(&self, server: &Server, session: &str, key_id: &str) -> Result<u64, String> {
        let (mine, theirs) = tokio::join!(
            self.sign(session, key_id, PATIENT),
            server.sign(session, &self.key, key_id, PATIENT, None)
        );
        let mine = mine.map_err(|failure| format!("{failure}; {theirs:?}"))?;
        join(&mine, &theirs)?;
        Ok(theirs.micros)
    }
}

/// The signature of both parts, verified.
fn join(mine: &[u8], theirs: &Answer) -> Result<(), String> {
    let Told::Part(part) = &theirs.told else { return Err(format!("{theirs:?}")) };
    let parts: Vec<PartialSignature> = [mine, part].iter().flat_map(|part| borsh::from_slice(part)).collect();
    ecdsa::join(&DIGEST, &parts).map(drop).map_err(|error| format!("{error:?}"))
}

async fn start(identity: &Arc<IdentityKey>, database: &Memory, address: &str) -> (Node, Arc<SecureLinks>) {
    let password = Secret::new("password".to_owned());
    let store = SealedStore::open(database, password, Stretch::CHEAPEST).await.expect("memory can be opened");
    let (links, events) = links(identity.clone(), [public_key()].into());
    let server =
        StaticPlayer { public_key: Some(public_key()), address: Some(address.parse().expect("an address")) };
    let node = Node::start(NodeParts {
        player: PHONE,
        identity: identity.clone(),
        players: BTreeMap::from([(SERVER, server)]),
        links: links.clone(),
        events,
        store,
        compute: Compute::pool(1, identity),
        settings: Settings { keep_links: false, ..settings() },
    });
    (node, links)
}

fn session_of(id: &str, patience: Duration) -> Result<SessionRequest, Failure> {
    Ok(SessionRequest {
        id: SessionId::new(id)?,
        players: BTreeSet::from([PHONE, SERVER]),
        dynamic_public_keys: BTreeMap::new(),
        dynamic_addresses: BTreeMap::new(),
        connect_timeout: Some(patience),
        session_timeout: None,
    })
}
