//! What an embedded node is started with: from a configuration file's text, or from values.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tsm_config::{ConfigProblem, DatabaseConfig, DatabaseDriver, DirectLinks};
use tsm_crypto::hedged::hedged_rng;
use tsm_crypto::{IdentityKey, Secret};
use tsm_node::{Settings, StaticPlayer};
use tsm_storage::{Memory, SealedStore, Sqlite, StoreError, Stretch};
use tsm_transport::Roots;
use tsm_transport::broker::BrokerConfig;
#[cfg(feature = "amqp")]
use tsm_transport::broker::amqp::{AmqpConfig, UrlError};
#[cfg(feature = "redis")]
use tsm_transport::broker::redis::{RedisConfig, RedisUrlError};
use tsm_types::{ApplicationId, ErrorCode, Failure, PlayerIndex, PlayerKey, Reach};

/// What an [`EmbeddedNode`](crate::EmbeddedNode) is started with.
#[derive(Debug)]
pub struct EmbeddedConfig {
    pub(super) player: PlayerIndex,
    pub(super) identity: IdentityKey,
    pub(super) players: BTreeMap<PlayerIndex, StaticPlayer>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) broker: Option<BrokerConfig>,
    pub(super) direct: DirectLinks,
    pub(super) database: Database,
    pub(super) settings: Settings,
    pub(super) application: ApplicationId,
    warnings: Vec<ConfigProblem>,
}

impl EmbeddedConfig {
    /// Reads the text of a configuration file (`docs/configuration.md`).
    ///
    /// `[SDKServer]` and API keys are not needed, and ignored with a warning. Returns every mistake
    /// of the text at once. Environment variables and key files that it names are read now.
    pub fn from_toml(text: &str) -> Result<Self, Vec<ConfigProblem>> {
        let config = tsm_config::parse_embedded(text)?;
        let settings = config.engine.settings();
        let players = config.players.into_iter();
        Ok(EmbeddedConfig {
            player: PlayerIndex(config.player),
            identity: config.identity,
            players: players.map(|(index, player)| (PlayerIndex(index), player)).collect(),
            listen: config.mpc_listen,
            broker: config.broker,
            direct: config.direct,
            database: Database::configured(config.database),
            settings,
            application: default_application(),
            warnings: config.warnings,
        })
    }

    /// A node that is this player, proves itself with this key, and knows no other player.
    ///
    /// Every operation is enabled, times and limits are those of a file without `[Session]`.
    pub fn new(player: u16, identity: IdentityKey, database: Database) -> Self {
        EmbeddedConfig {
            player: PlayerIndex(player),
            identity,
            players: BTreeMap::new(),
            listen: None,
            broker: None,
            direct: DirectLinks::default(),
            database,
            settings: Settings::default(),
            application: default_application(),
            warnings: Vec::new(),
        }
    }

    /// Adds a static player: its public key (DER SubjectPublicKeyInfo), or how it is reached
    /// (`host:port`, `wss://host/path`, or `incoming` for one that dials this node), or both. A player of higher index is
    /// dialled and needs the address; one of lower index is dialled if it has one and does not come.
    ///
    /// Refuses this node's own index, a key that another player has, and what is no key or address.
    pub fn with_player(
        mut self,
        index: u16,
        public_key: Option<&[u8]>,
        address: Option<&str>,
    ) -> Result<Self, Failure> {
        let place = format!("players.{index}");
        let index = PlayerIndex(index);
        if index == self.player {
            return Err(Failure::invalid_field(&place, "this is the index of the embedded node itself"));
        }
        let public_key = public_key.map(PlayerKey::from_der).transpose();
        let public_key = public_key.map_err(|error| Failure::invalid_field(&place, &error.to_string()))?;
        let address = address.map(str::parse::<Reach>).transpose();
        let address = address.map_err(|error| Failure::invalid_field(&place, &error.to_string()))?;
        if let Some(key) = &public_key {
            let others = self.players.iter().filter(|(other, _)| **other != index);
            let same = others.filter(|(_, player)| player.public_key.as_ref() == Some(key));
            let holder = same.map(|(other, _)| *other).next();
            let own = (self.identity.public() == key).then_some(self.player);
            if let Some(other) = holder.or(own) {
                let detail = format!("players {other} and {index} have the same public key");
                return Err(Failure::new(ErrorCode::PlayersDuplicateKey, detail));
            }
        }
        self.players.insert(index, StaticPlayer { public_key, address });
        Ok(self)
    }

    /// Where players of lower index reach the node. Without it no port is opened.
    #[must_use]
    pub fn with_listen(self, address: SocketAddr) -> Self {
        EmbeddedConfig { listen: Some(address), ..self }
    }

    /// The message broker, `redis://user:password@host:port` or `rediss://`, through which players without
    /// an address are reached and reach the node, which needs no port then. Needs the feature `redis`. A
    /// text that is no such URL is refused, without being quoted.
    #[cfg(feature = "redis")]
    pub fn with_redis(self, url: &str) -> Result<Self, Failure> {
        let refused = |error: RedisUrlError| Failure::invalid_field("broker", error.0);
        let config = RedisConfig::new(url.parse().map_err(refused)?);
        Ok(EmbeddedConfig { broker: Some(BrokerConfig::Redis(config)), ..self })
    }

    /// Certificate authorities, in PEM, that are trusted at `wss://` addresses besides those of the
    /// operating system (on Android: instead of those).
    pub fn with_root_certificates(mut self, pem: &[u8]) -> Result<Self, Failure> {
        self.direct.web_roots = Roots::from_pem(pem)
            .map_err(|error| Failure::invalid_field("root_certificates", &error.to_string()))?;
        Ok(self)
    }

    /// The message broker, `amqp://user:password@host:port/vhost` or `amqps://`, through which players
    /// without an address are reached and reach the node, which needs no port then. Needs the feature
    /// `amqp`. A text that is no such URL is refused, without being quoted.
    #[cfg(feature = "amqp")]
    pub fn with_amqp(self, url: &str) -> Result<Self, Failure> {
        let url =
            url.parse().map_err(|error: UrlError| Failure::invalid_field("broker", &error.to_string()))?;
        Ok(EmbeddedConfig { broker: Some(BrokerConfig::Amqp(AmqpConfig::new(url))), ..self })
    }

    /// The application that keys belong to at this node; `embedded` if it is not set. A key is seen
    /// by the application that made it only.
    pub fn with_application(self, application: &str) -> Result<Self, Failure> {
        Ok(EmbeddedConfig { application: ApplicationId::new(application)?, ..self })
    }

    /// How long a session waits for all its players, and how long it may take in all. Sessions can
    /// shorten both.
    #[must_use]
    pub fn with_timeouts(mut self, connect: Duration, session: Duration) -> Self {
        self.settings.connect_timeout = connect.min(session);
        self.settings.session_timeout = session;
        self
    }

    /// Refuses a session that gives another public key for a static player, instead of ignoring it
    /// with a notice.
    #[must_use]
    pub fn with_conflicting_dynamic_keys_rejected(mut self) -> Self {
        self.settings.reject_conflicting_dynamic_keys = true;
        self
    }

    /// Gives a new database its own cost of stretching the password.
    #[doc(hidden)]
    #[must_use]
    pub fn with_stretch(mut self, stretch: Stretch) -> Self {
        self.database.stretch = stretch;
        self
    }

    /// What is worth saying of the text that was read, but does not keep the node from starting.
    pub fn warnings(&self) -> &[ConfigProblem] {
        &self.warnings
    }
}

/// Where an embedded node keeps its key shares.
pub struct Database {
    place: Place,
    master_password: Secret<String>,
    stretch: Stretch,
}

enum Place {
    Memory,
    File(PathBuf),
    /// As a configuration file has it.
    SqliteSource(Secret<String>),
}

impl Database {
    /// A sqlite file, made if it is not there. Everything secret in it is encrypted under the
    /// password, without which the file is worth nothing: keep a copy of it.
    pub fn sqlite(file: impl Into<PathBuf>, master_password: impl Into<String>) -> Self {
        Database {
            place: Place::File(file.into()),
            master_password: Secret::new(master_password.into()),
            stretch: Stretch::default(),
        }
    }

    /// No database: the key shares are gone with the node.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness, without which nothing here is safe.
    pub fn memory() -> Self {
        let password = hex(fresh().expose());
        Database {
            place: Place::Memory,
            master_password: Secret::new(password),
            // There is nothing to guess: the password is random, and used once.
            stretch: Stretch::CHEAPEST,
        }
    }

    fn configured(config: DatabaseConfig) -> Self {
        let place = match config.driver {
            DatabaseDriver::Sqlite => Place::SqliteSource(config.data_source),
        };
        Database { place, master_password: config.master_password, stretch: Stretch::default() }
    }

    pub(super) async fn open(self) -> Result<SealedStore, StoreError> {
        let sqlite = match self.place {
            Place::Memory => {
                return SealedStore::open(&Memory::new(), self.master_password, self.stretch).await;
            }
            Place::File(path) => Sqlite::at(path),
            Place::SqliteSource(name) => Sqlite::new(name.expose())?,
        };
        SealedStore::open(&sqlite, self.master_password, self.stretch).await
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Memory => f.write_str("Database(memory)"),
            Place::File(path) => write!(f, "Database({})", path.display()),
            Place::SqliteSource(_) => f.write_str("Database(<secret>)"),
        }
    }
}

/// A fresh key on P-256 for a player. Keep [`IdentityKey::der`] where the app keeps its secrets: who
/// has it can act as this player, and without it the player's keys cannot be used any more.
///
/// # Panics
///
/// If the operating system has no randomness, without which nothing here is safe.
pub fn generate_identity() -> IdentityKey {
    // There is no device secret yet: this is where it begins.
    IdentityKey::generate(&mut hedged_rng(&fresh(), &Secret::new([0; 32]), b"a new player's key"))
}

fn fresh() -> Secret<[u8; 32]> {
    let mut bytes = Secret::new([0; 32]);
    getrandom::fill(bytes.expose_mut()).expect("the operating system has randomness");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn default_application() -> ApplicationId {
    ApplicationId::new("embedded").expect("visible ASCII without spaces")
}
