//! The configuration file of a node.
//!
//! A file is read once, at start, into a [`NodeConfig`] in which everything is valid; inside the
//! node nobody asks again. An app that embeds a node reads an [`EmbeddedConfig`]: the same file
//! without what serves SDKs. A file with mistakes is refused whole, with **all** its mistakes, each
//! with its line and with what to do about it. Files of the system that our users come from are
//! accepted as they are; what they know of it and we do not have yet is refused by name.
//!
//! | module | what it knows |
//! |---|---|
//! | `settings` | every section and key: type, bounds, default, whether it is built. The one table. |
//! | `document`, `reader`, `value`, `template` | from TOML to values of the right type |
//! | `read`, `players`, `direct`, `broker`, `management`, `secrets` | from values to a node's configuration |
//! | `reference` | the table as documentation |
//! | [`auth`] | login with the API keys of a file |
//!
//! Secrets: private key, passwords and the database's DSN are wiped when dropped and appear in no
//! problem and no `Debug` output (rule S-107). No problem quotes any value of the file, since a secret may stand
//! in the wrong place.

pub mod auth;
mod broker;
mod direct;
mod document;
mod management;
mod nearest;
mod players;
mod problem;
mod read;
mod reader;
mod reference;
mod secrets;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tsm_crypto::identity::IdentityKey;
use tsm_crypto::secret::Secret;
use tsm_node::{Features, LinkLimits, Settings, TenantLimits};
use zeroize::Zeroizing;

pub use direct::DirectLinks;
pub use management::{Access, Management, ManagementKey, Permission, Verdict};
pub use problem::{ConfigProblem, ProblemCode};
pub use reference::reference;
pub use tsm_node::StaticPlayer;
pub use tsm_transport::broker::BrokerConfig;

use auth::ApiKeys;
use document::Document;
use problem::{Place, Problems};

/// Far above any real file; what is larger was named by mistake.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// A node's whole configuration. Everything in it is valid and fits together.
#[derive(Debug)]
pub struct NodeConfig {
    /// The player that this node is.
    pub player: u16,
    /// The player's key.
    pub identity: IdentityKey,
    /// The static players by index. This node itself is not among them, even if the file lists it.
    pub players: BTreeMap<u16, StaticPlayer>,
    /// The TCP port where other players reach this node; `None` if it has none.
    pub mpc_listen: Option<SocketAddr>,
    /// The message broker, if there is one.
    pub broker: Option<BrokerConfig>,
    /// Its port for WebSockets, and what else links need.
    pub direct: DirectLinks,
    /// Where SDKs reach this node.
    pub sdk_listen: SocketAddr,
    /// Where the node is watched, if it is.
    pub management: Option<Management>,
    /// Where key shares are kept.
    pub database: DatabaseConfig,
    /// Who may log in.
    pub api_keys: ApiKeys,
    /// What the engine may do.
    pub engine: EngineConfig,
    /// What is worth saying, but does not keep the node from starting.
    pub warnings: Vec<ConfigProblem>,
}

/// The configuration of a node inside an app: no server, no login.
#[derive(Debug)]
pub struct EmbeddedConfig {
    /// The player that this node is.
    pub player: u16,
    /// The player's key.
    pub identity: IdentityKey,
    /// The static players by index, without this node.
    pub players: BTreeMap<u16, StaticPlayer>,
    /// The TCP port where other players reach this node; `None` if it has none.
    pub mpc_listen: Option<SocketAddr>,
    /// The message broker, if there is one.
    pub broker: Option<BrokerConfig>,
    /// Its port for WebSockets, and what else links need.
    pub direct: DirectLinks,
    /// Where key shares are kept.
    pub database: DatabaseConfig,
    /// What the engine may do.
    pub engine: EngineConfig,
    /// What is worth saying, but does not keep the node from starting.
    pub warnings: Vec<ConfigProblem>,
}

/// The database of a node.
#[derive(Debug)]
pub struct DatabaseConfig {
    /// The kind of database.
    pub driver: DatabaseDriver,
    /// For the driver. Secret, because it may hold the database's password.
    pub data_source: Secret<String>,
    /// What everything secret in the database is encrypted under.
    pub master_password: Secret<String>,
    /// Most connections at a time, if the file says so.
    pub max_open_connections: Option<u32>,
    /// Most connections kept open without work, if the file says so.
    pub max_idle_connections: Option<u32>,
}

/// The kinds of database that are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseDriver {
    /// `sqlite3`; the data source is the path of the file.
    Sqlite,
}

/// An operation of the ECDSA engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EcdsaFeature {
    /// Generate keys.
    GenerateKey,
    /// Sign a digest.
    Sign,
    /// Show public keys.
    PublicKey,
    /// Make presignatures.
    GeneratePresignatures,
    /// Sign with a presignature.
    SignWithPresignature,
    /// Show chain codes.
    ChainCode,
}

impl EcdsaFeature {
    /// Every operation that is built.
    pub const ALL: [EcdsaFeature; 6] = [
        EcdsaFeature::GenerateKey,
        EcdsaFeature::Sign,
        EcdsaFeature::PublicKey,
        EcdsaFeature::GeneratePresignatures,
        EcdsaFeature::SignWithPresignature,
        EcdsaFeature::ChainCode,
    ];

    /// The name in the configuration file.
    pub fn name(self) -> &'static str {
        match self {
            EcdsaFeature::GenerateKey => settings::GENERATE_KEY,
            EcdsaFeature::Sign => settings::SIGN,
            EcdsaFeature::PublicKey => settings::PUBLIC_KEY,
            EcdsaFeature::GeneratePresignatures => settings::GENERATE_PRESIGNATURES,
            EcdsaFeature::SignWithPresignature => settings::SIGN_WITH_PRESIGNATURE,
            EcdsaFeature::ChainCode => settings::CHAIN_CODE,
        }
    }
}

/// How many presignatures there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresignatureLimits {
    /// Most in one request.
    pub per_request: u16,
    /// Most in the making and held at a time.
    pub in_all: usize,
}

/// Bounds of the derivation of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DerivationLimits {
    /// Least length of a path, in steps.
    pub min_path_length: usize,
    /// Derived keys kept in memory.
    pub cache_size: usize,
}

/// Bounds of one run of a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// How long to wait for every player to join. Never above `session_timeout`.
    pub connect_timeout: Duration,
    /// How long a session may take in all.
    pub session_timeout: Duration,
    /// How long running sessions may still take once the node is asked to stop.
    pub drain_timeout: Duration,
    /// Most sessions at a time, over all applications.
    pub max_sessions: usize,
    /// How long an outcome is kept for a caller who lost the reply.
    pub outcome_lifetime: Duration,
    /// Whether a dynamic key that differs from the configured one is an error.
    pub reject_conflicting_dynamic_keys: bool,
}

/// What a dynamic player or an application may take of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants {
    /// Sessions, keys and pairs.
    pub limits: TenantLimits,
    /// Links.
    pub links: LinkLimits,
}

/// What the engine may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// The enabled operations of the ECDSA engine; none if it is off.
    pub ecdsa: BTreeSet<EcdsaFeature>,
    /// How many presignatures there may be.
    pub presignatures: PresignatureLimits,
    /// Bounds of derivation.
    pub derivation: DerivationLimits,
    /// Bounds of a session.
    pub session: SessionLimits,
    /// What a dynamic player or an application may take.
    pub tenants: Tenants,
}

impl EngineConfig {
    /// What the engine is told of it.
    pub fn settings(&self) -> Settings {
        let EngineConfig { ecdsa, presignatures, derivation, session, tenants } = self;
        let enabled = |feature| ecdsa.contains(&feature);
        Settings {
            connect_timeout: session.connect_timeout,
            session_timeout: session.session_timeout,
            drain_timeout: session.drain_timeout,
            max_sessions: session.max_sessions,
            outcome_lifetime: session.outcome_lifetime,
            reject_conflicting_dynamic_keys: session.reject_conflicting_dynamic_keys,
            min_chain_path_length: derivation.min_path_length,
            derived_keys: derivation.cache_size,
            features: Features {
                generate_key: enabled(EcdsaFeature::GenerateKey),
                sign: enabled(EcdsaFeature::Sign),
                public_key: enabled(EcdsaFeature::PublicKey),
                generate_presignatures: enabled(EcdsaFeature::GeneratePresignatures),
                sign_with_presignature: enabled(EcdsaFeature::SignWithPresignature),
                chain_code: enabled(EcdsaFeature::ChainCode),
            },
            presignatures_per_request: presignatures.per_request,
            presignatures: presignatures.in_all,
            tenants: tenants.limits.clone(),
            links: tenants.links.clone(),
            ..Settings::default()
        }
    }
}

/// What a configuration takes from outside its file.
pub struct Outside<'a> {
    /// Looks up an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a whole file, of at most [`MAX_FILE_BYTES`].
    pub file: &'a dyn Fn(&Path) -> io::Result<Zeroizing<Vec<u8>>>,
}

/// Reads the configuration file at `path`, with the environment and files of this process.
pub fn load(path: &Path) -> Result<NodeConfig, Vec<ConfigProblem>> {
    let unreadable = |what: String| {
        let mut problems = Problems::default();
        let hint = "check the path in CONFIG_FILE, and that the node's user may read the file";
        problems.error(ProblemCode::Unreadable, &Place::nowhere(""), what, hint);
        problems.errors
    };
    let bytes = read_file(path).map_err(|error| unreadable(format!("{}: {error}", path.display())))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| unreadable(format!("{}: the file is not UTF-8 text", path.display())))?;
    parse(text)
}

/// Reads a configuration, with the environment and files of this process.
///
/// On failure returns every problem, in the order of the file.
pub fn parse(text: &str) -> Result<NodeConfig, Vec<ConfigProblem>> {
    parse_with(text, &Outside { variable: &|name| std::env::var(name).ok(), file: &read_file })
}

/// As [`parse`], with another outside world.
pub fn parse_with(text: &str, outside: &Outside<'_>) -> Result<NodeConfig, Vec<ConfigProblem>> {
    let (config, warnings) = read_with(text, outside, Purpose::Serving, read::node_config)?;
    Ok(NodeConfig { warnings, ..config })
}

/// Reads the configuration of a node inside an app, with the environment and files of this process.
///
/// `[SDKServer]` and `[[Authentication.APIKeys]]` are not needed; where a file has them, they are
/// checked and then ignored, with a warning. All else is as in [`parse`].
pub fn parse_embedded(text: &str) -> Result<EmbeddedConfig, Vec<ConfigProblem>> {
    parse_embedded_with(text, &Outside { variable: &|name| std::env::var(name).ok(), file: &read_file })
}

/// As [`parse_embedded`], with another outside world.
pub fn parse_embedded_with(text: &str, outside: &Outside<'_>) -> Result<EmbeddedConfig, Vec<ConfigProblem>> {
    let (config, warnings) = read_with(text, outside, Purpose::Embedded, read::embedded_config)?;
    Ok(EmbeddedConfig { warnings, ..config })
}

/// What a file is read for: it decides which sections are required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A node that serves SDKs.
    Serving,
    /// A node inside an app.
    Embedded,
}

/// A configuration and its warnings, or every error.
fn read_with<C>(
    text: &str,
    outside: &Outside<'_>,
    purpose: Purpose,
    read: impl FnOnce(&Document, &Outside<'_>, &mut Problems) -> Option<C>,
) -> Result<(C, Vec<ConfigProblem>), Vec<ConfigProblem>> {
    let mut problems = Problems::default();
    if text.len() > MAX_FILE_BYTES {
        let what = format!("the file has more than {MAX_FILE_BYTES} bytes");
        problems.error(ProblemCode::TooLong, &Place::nowhere(""), what, "check that this is the right file");
        return Err(problems.errors);
    }
    let document = Document::read(text, purpose, outside.variable, &mut problems);
    let config = read(&document, outside, &mut problems);
    let (errors, warnings) = problems.finish();
    match config {
        Some(config) if errors.is_empty() => Ok((config, warnings)),
        _ => Err(errors),
    }
}

fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    // With room for all of it from the start: a buffer that grows leaves copies of secrets behind.
    let expected = usize::try_from(file.metadata()?.len()).unwrap_or(MAX_FILE_BYTES).min(MAX_FILE_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 64));
    let limit = MAX_FILE_BYTES as u64 + 1;
    file.by_ref().take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than a mebibyte"));
    }
    Ok(bytes)
}
