//! One server node in a process of its own, and many phones in this one, over TCP and TLS on loopback.
//!
//! The server is the product's engine with a sqlite file and the product's links. It is its callers'
//! side that is replaced: lines over its standard input and output instead of HTTP.

mod crowd;
mod phone;
mod process;
mod server;
mod words;

pub use crowd::Crowd;
pub use phone::Phone;
pub use process::Server;
pub use server::serve;
pub use words::{Answer, Held, Told};

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tsm_crypto::IdentityKey;
use tsm_crypto::hedged::test_rng;
use tsm_node::{Settings, TenantLimits};
use tsm_transport::{Limits, LinkEvent, LinksConfig, PeerKey, SecureLinks};
use tsm_types::{ApplicationId, PlayerIndex};

/// Index of every phone. It is the lower one, so the phones connect.
pub const PHONE: PlayerIndex = PlayerIndex(1);
/// Index of the server.
pub const SERVER: PlayerIndex = PlayerIndex(2);

/// The argument that makes a program the server.
pub const SERVE: &str = "serve";

/// Idle links stay: what is measured is a server with all of them.
const LINKS_STAY: Duration = Duration::from_secs(24 * 3600);

/// How long each side of an honest session waits for the other: the machine may be crowded.
pub const PATIENT: Duration = Duration::from_secs(30);

/// How long a server keeps pairs whose phones have left, and outcomes: as short as pairs can be kept.
pub const KEPT_FOR: Duration = Duration::from_secs(75);

fn limits() -> Limits {
    Limits { unleased_for: LINKS_STAY, dynamic_unleased_for: LINKS_STAY, ..Limits::default() }
}

fn settings() -> Settings {
    let tenants = TenantLimits { pair_idle: KEPT_FOR, ..TenantLimits::default() };
    let (links, outcome_lifetime) = (limits(), KEPT_FOR);
    Settings { connect_timeout: PATIENT, outcome_lifetime, tenants, links, ..Settings::default() }
}

/// Links that only dial.
fn links(
    identity: Arc<IdentityKey>,
    static_peers: HashSet<PeerKey>,
) -> (Arc<SecureLinks>, Receiver<LinkEvent>) {
    let (listeners, broker, limits) = (Vec::new(), None, limits());
    let config = LinksConfig {
        identity,
        player: PHONE.0,
        listeners,
        broker,
        static_peers,
        web_roots: Default::default(),
        limits,
    };
    SecureLinks::start(config).expect("links that only dial start")
}

fn identity(number: u64) -> IdentityKey {
    IdentityKey::generate(&mut test_rng(number))
}

fn application() -> ApplicationId {
    ApplicationId::new("wallet").expect("a valid application ID")
}

/// The `part`th of `whole` of sorted values; the middle one for 1 of 2.
pub fn quantile(sorted: &[u64], part: usize, whole: usize) -> u64 {
    sorted.get((sorted.len() * part / whole).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}
