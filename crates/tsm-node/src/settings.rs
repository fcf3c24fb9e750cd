//! What an operator decides about a node. Defaults are here and nowhere else.

use std::time::Duration;

use tsm_types::{BatchSize, PlayerKey, Reach};

/// Times and limits of the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a session waits for all its players to come. Callers can only shorten it.
    pub connect_timeout: Duration,
    /// How long a session may take in all. Callers can only shorten it.
    pub session_timeout: Duration,
    /// How long running sessions may still take once the node is asked to stop.
    pub drain_timeout: Duration,
    /// How long a session waits for a player whose link broke in the middle: for one attempt to dial it
    /// that comes to nothing, 5 s, and another one.
    pub reconnect_grace: Duration,
    /// Sessions that run at the same time; each may hold some hundred kilobytes per player.
    pub max_sessions: usize,
    /// How long the outcome of a session is kept for a caller that asks again, and the partial
    /// signature of a used presignature.
    pub outcome_lifetime: Duration,
    /// Most presignatures that one session makes.
    pub presignatures_per_request: u16,
    /// Most presignatures in the making and held, together. Each takes less than a kilobyte.
    pub presignatures: usize,
    /// Whether a dynamic public key that differs from the configured one is refused instead of
    /// ignored with a notice.
    pub reject_conflicting_dynamic_keys: bool,
    /// Whether static players are dialled when the node starts and for as long as it runs, or only
    /// for sessions.
    pub keep_links: bool,
    /// The least length of a derivation path: shorter ones, such as the key itself, are refused.
    pub min_chain_path_length: usize,
    /// Derived keys kept in memory, over all applications.
    pub derived_keys: usize,
    /// What one dynamic player, and one application, may take of this node.
    pub tenants: TenantLimits,
    /// What links may cost; those of a [`LinkedNode`](crate::LinkedNode).
    pub links: tsm_transport::Limits,
    /// Which operations are enabled.
    pub features: Features,
}

/// What one dynamic player, and one application, may take of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Sessions in flight of one dynamic player.
    pub sessions: usize,
    /// Sessions in flight of one application, if they are limited.
    pub sessions_of_application: Option<usize>,
    /// Keys of which one dynamic player holds a share, as this node has them.
    pub keys: usize,
    /// Keys of one application, if they are limited.
    pub keys_of_application: Option<usize>,
    /// Peers with which state for signatures is kept at the same time; some 75 kB each.
    pub pairs: usize,
    /// How long such a state stays after the last session with a peer whose link is down.
    pub pair_idle: Duration,
}

impl Default for TenantLimits {
    fn default() -> Self {
        TenantLimits {
            sessions: 256,
            sessions_of_application: None,
            keys: 1000,
            keys_of_application: None,
            pairs: 16 * 1024,
            pair_idle: Duration::from_secs(600),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            connect_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(60),
            // Ends within the 30 s that orchestrators commonly give a process that is to stop.
            drain_timeout: Duration::from_secs(25),
            reconnect_grace: Duration::from_secs(8),
            max_sessions: 1024,
            outcome_lifetime: Duration::from_secs(600),
            presignatures_per_request: BatchSize::MAX,
            presignatures: 5000,
            reject_conflicting_dynamic_keys: false,
            keep_links: true,
            min_chain_path_length: 0,
            derived_keys: 1024,
            tenants: TenantLimits::default(),
            links: tsm_transport::Limits::default(),
            features: Features::ALL,
        }
    }
}

/// Which operations a node's configuration enables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Key generation.
    pub generate_key: bool,
    /// Signing.
    pub sign: bool,
    /// Reading public keys.
    pub public_key: bool,
    /// Making presignatures.
    pub generate_presignatures: bool,
    /// Signing with a presignature.
    pub sign_with_presignature: bool,
    /// Reading chain codes.
    pub chain_code: bool,
}

impl Features {
    /// Everything that is built.
    pub const ALL: Features = Features {
        generate_key: true,
        sign: true,
        public_key: true,
        chain_code: true,
        generate_presignatures: true,
        sign_with_presignature: true,
    };
    /// Nothing.
    pub const NONE: Features = Features {
        generate_key: false,
        sign: false,
        public_key: false,
        chain_code: false,
        generate_presignatures: false,
        sign_with_presignature: false,
    };
}

/// What the configuration says of another player. A player without an entry, or without a key in
/// it, is dynamic: callers give its key with each session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticPlayer {
    /// Its public key.
    pub public_key: Option<PlayerKey>,
    /// How it is reached; needed by the player of lower index, which connects.
    pub address: Option<Reach>,
}
