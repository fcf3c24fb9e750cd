//! One server, a million phones: here fifty, in one program (`docs/phones.md`).
//!
//! A wallet provider runs one server node. Every phone runs a node inside its app, with a key and a
//! sqlite file of its own. Each makes a key with the server and signs; one then tries another's key.
//! What the provider keeps is a table: user, public key of the phone's node, wallet key.
//!
//! ```text
//! cargo run --release -p tsm-sdk --example phones
//! ```
#![allow(clippy::print_stdout, reason = "a program that shows what it does")]

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tsm_sdk::{
    ApiKey, Client, Configuration, CurveId, Database, EmbeddedConfig, EmbeddedNode, ErrorCode, Failure,
    PublicKey, SessionConfig, SessionId, Signature, ecdsa, generate_identity,
};
use tsm_server::{RunningNode, config};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PHONES: usize = 50;

/// In every session the phone is player 1 and the server player 2: the lower index dials.
const PHONE: u16 = 1;
const SERVER: u16 = 2;

/// Two of two sign: one player alone learns nothing.
const THRESHOLD: u16 = 1;

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let provider = Arc::new(Provider::start(folder.path()).await?);
    println!("server node: player {SERVER} at {}", provider.node_address());

    let begun = Instant::now();
    // Opening a database stretches its password in 64 MiB: fifty at once are for fifty machines.
    let at_a_time = Arc::new(Semaphore::new(4));
    let mut starting = JoinSet::new();
    for number in 0..PHONES {
        let (provider, at_a_time) = (provider.clone(), at_a_time.clone());
        let file = folder.path().join(format!("phone-{number}.db"));
        starting.spawn(async move {
            let _permit = at_a_time.acquire_owned().await?;
            let phone = Phone::start(format!("user-{number}"), &file, &provider).await?;
            phone.set_up_wallet(&provider).await?;
            phone.pay(&provider, b"one coin to Carol").await?;
            Outcome::Ok(phone)
        });
    }
    let mut phones = Vec::new();
    while let Some(phone) = starting.join_next().await {
        phones.push(phone??);
    }
    println!("{PHONES} phones made a key each and signed with it in {:.1?}", begun.elapsed());
    println!("{} users in the provider's table", provider.table.users().await?);

    let [thief, victim, ..] = phones.as_slice() else { return Err("two phones are needed".into()) };
    let stolen = provider.table.wallet(&victim.user).await?.0;
    let refusal = thief.try_key(&provider, &stolen).await?;
    println!("{} tried the key of {}: {refusal}", thief.user, victim.user);
    victim.pay(&provider, b"another coin").await?;
    println!("{} still signs", victim.user);

    for phone in phones {
        phone.node.stop().await;
    }
    Arc::into_inner(provider).ok_or("all phones are done")?.stop().await;
    Ok(())
}

/// The wallet provider: a server node, its client, and the app's table.
struct Provider {
    node: RunningNode,
    client: Client,
    node_key: Vec<u8>,
    table: Table,
}

impl Provider {
    async fn start(folder: &Path) -> Outcome<Provider> {
        let identity = generate_identity();
        let api_key = "the-key-with-which-the-provider-logs-in-to-its-node";
        // On a real server this is a file, and `tsm node` reads it. It knows no phone.
        let mut config = config::parse(&format!(
            r#"
            [Player]
            Index = {SERVER}
            PrivateKey = "{}"

            [MPCTCPServer]
            Port = 9002

            [SDKServer]
            Port = 8002

            [Database]
            DriverName = "sqlite3"
            DataSourceName = "{}"
            EncryptorMasterPassword = "the server's password"

            [[Authentication.APIKeys]]
            APIKey = "{}"
            ApplicationID = "wallet"

            [DKLS23]
            "#,
            BASE64.encode(identity.der().expose()),
            folder.join("server.db").display(),
            BASE64.encode(Sha256::digest(api_key)),
        ))
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<String>())?;
        // Any free ports, so that the example runs beside anything.
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        (config.sdk_listen, config.mpc_listen) = (free, Some(free));
        let node = RunningNode::start(config).await?;
        let url = format!("http://{}", node.sdk_address());
        let client = Client::new(Configuration::new(&url)?.with_api_key(ApiKey::new(api_key)?))?;
        let table = Table::open(&folder.join("users.db")).await?;
        Ok(Provider { node, client, node_key: identity.public().der().to_vec(), table })
    }

    fn node_address(&self) -> String {
        self.node.mpc_address().map_or_else(String::new, |address| address.to_string())
    }

    /// A session of the server with a user's phone: its key is looked up, never taken from the phone.
    async fn session(&self, user: &str, id: &SessionId) -> Outcome<SessionConfig> {
        let key = self.table.phone(user).await?;
        Ok(SessionConfig::new(id.clone(), [PHONE, SERVER], [(PHONE, key)].into()))
    }

    async fn generate_key(&self, user: &str, id: &SessionId) -> Outcome<()> {
        let session = self.session(user, id).await?;
        let key = self.client.ecdsa().generate_key(&session, THRESHOLD, CurveId::Secp256k1, None).await?;
        self.table.set_wallet(user, &key.key_id, key.public_key.der()).await
    }

    /// The server's part of a signature. What it signs is the provider's to decide: here, anything.
    async fn sign(
        &self,
        user: &str,
        id: &SessionId,
        key_id: &str,
        digest: &[u8],
    ) -> Outcome<Result<Vec<u8>, Failure>> {
        let session = self.session(user, id).await?;
        let signed = self.client.ecdsa().sign(&session, key_id, &[], digest).await;
        Ok(signed.map(|signed| signed.partial_signature))
    }

    async fn stop(self) {
        self.node.stop().await;
    }
}

/// A phone: the app's node, and who its user is.
struct Phone {
    user: String,
    node: EmbeddedNode,
}

impl Phone {
    /// First start of the app: makes the node's key and database, and registers the key.
    async fn start(user: String, file: &Path, provider: &Provider) -> Outcome<Phone> {
        // An app keeps both in the phone's key store.
        let identity = generate_identity();
        let password = BASE64.encode(Sha256::digest(identity.der().expose()));
        let config = EmbeddedConfig::new(PHONE, identity, Database::sqlite(file, password))
            // The app is shipped with these two.
            .with_player(SERVER, Some(&provider.node_key), Some(&provider.node_address()))?;
        let node = EmbeddedNode::start(config).await?;
        provider.table.register(&user, node.public_key()).await?;
        Ok(Phone { user, node })
    }

    /// The phone knows its own key and the server's: it needs no dynamic one.
    fn session(id: &SessionId) -> SessionConfig {
        SessionConfig::new(id.clone(), [PHONE, SERVER], Default::default())
    }

    async fn set_up_wallet(&self, provider: &Provider) -> Outcome<()> {
        // In a real app the two agree on the session's ID in the provider's own API.
        let id = SessionId::generate();
        let (session, client) = (Self::session(&id), self.node.client());
        let (own, at_provider) = tokio::join!(
            client.ecdsa().generate_key(&session, THRESHOLD, CurveId::Secp256k1, None),
            provider.generate_key(&self.user, &id),
        );
        own?;
        at_provider
    }

    async fn pay(&self, provider: &Provider, message: &[u8]) -> Outcome<Signature> {
        let (key_id, public_key) = provider.table.wallet(&self.user).await?;
        let digest = Sha256::digest(message);
        let id = SessionId::generate();
        let (session, client) = (Self::session(&id), self.node.client());
        let (own, at_provider) = tokio::join!(
            client.ecdsa().sign(&session, &key_id, &[], &digest),
            provider.sign(&self.user, &id, &key_id, &digest),
        );
        let parts = [own?.partial_signature, at_provider??];
        let public_key = PublicKey::from_der(&public_key)?;
        Ok(ecdsa::finalise_for(&public_key, &digest, &parts)?)
    }

    /// What the server says when this phone asks for a signature with somebody else's key.
    async fn try_key(&self, provider: &Provider, key_id: &str) -> Outcome<ErrorCode> {
        let id = SessionId::generate();
        let digest = Sha256::digest(b"all coins to me");
        let (session, client) = (Self::session(&id), self.node.client());
        let (own, at_provider) = tokio::join!(
            client.ecdsa().sign(&session, key_id, &[], &digest),
            provider.sign(&self.user, &id, key_id, &digest),
        );
        match (own, at_provider?) {
            (Err(_), Err(failure)) if failure.code == ErrorCode::KeyOtherHolder => Ok(failure.code),
            (own, at_provider) => {
                Err(format!("not refused as it should be: {own:?}, {at_provider:?}").into())
            }
        }
    }
}

/// Who has which phone and which wallet.
struct Table(SqlitePool);

impl Table {
    async fn open(file: &Path) -> Outcome<Table> {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await?;
        let users = "CREATE TABLE users (
            name TEXT PRIMARY KEY, phone BLOB NOT NULL UNIQUE, key_id TEXT, public_key BLOB
        ) STRICT";
        sqlx::query(users).execute(&pool).await?;
        Ok(Table(pool))
    }

    async fn register(&self, user: &str, phone: &[u8]) -> Outcome<()> {
        let insert = sqlx::query("INSERT INTO users (name, phone) VALUES ($1, $2)");
        insert.bind(user.to_owned()).bind(phone.to_vec()).execute(&self.0).await?;
        Ok(())
    }

    /// Public key of the node on a user's phone.
    async fn phone(&self, user: &str) -> Outcome<Vec<u8>> {
        let select = sqlx::query_scalar("SELECT phone FROM users WHERE name = $1");
        Ok(select.bind(user.to_owned()).fetch_one(&self.0).await?)
    }

    async fn set_wallet(&self, user: &str, key_id: &str, public_key: &[u8]) -> Outcome<()> {
        let update = sqlx::query("UPDATE users SET key_id = $2, public_key = $3 WHERE name = $1");
        let update = update.bind(user.to_owned()).bind(key_id.to_owned()).bind(public_key.to_vec());
        update.execute(&self.0).await?;
        Ok(())
    }

    /// ID and public key of a user's wallet.
    async fn wallet(&self, user: &str) -> Outcome<(String, Vec<u8>)> {
        let select = sqlx::query_as("SELECT key_id, public_key FROM users WHERE name = $1");
        Ok(select.bind(user.to_owned()).fetch_one(&self.0).await?)
    }

    async fn users(&self) -> Outcome<i64> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM users WHERE public_key IS NOT NULL")
            .fetch_one(&self.0)
            .await?)
    }
}
