//! From values to a node's configuration.
//!
//! Each part returns `None` only after noting an error, so that one mistake hides no other.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use tsm_crypto::secret::Secret;
use tsm_node::{LinkLimits, TenantLimits};

use super::direct::{Listening, listening};
use super::document::{Document, Found};
use super::management::management;
use super::players::{Own, players};
use super::problem::{Place, ProblemCode, Problems};
use super::{
    DatabaseConfig, DatabaseDriver, DerivationLimits, EcdsaFeature, EmbeddedConfig, EngineConfig, NodeConfig,
    Outside, PresignatureLimits, SessionLimits, Tenants, broker, secrets, settings,
};
use crate::auth::{ApiKeyEntry, ApiKeys};

/// The configuration of a node that serves SDKs; `None` only if `problems` has errors.
pub(super) fn node_config(
    document: &Document,
    outside: &Outside<'_>,
    problems: &mut Problems,
) -> Option<NodeConfig> {
    let sdk_listen = document.one("SDKServer").and_then(|server| listen(server, problems));
    let listening = listening(document, outside, problems);
    if let Some(sdk) = sdk_listen {
        listening.check_apart_from(sdk, problems);
    }
    let others: Vec<SocketAddr> = listening.ports().chain(sdk_listen).collect();
    let management = management(document, &others, problems);
    let api_keys = api_keys(document, problems);
    let inside = inside(document, listening, outside, problems);
    let EmbeddedConfig { player, identity, players, mpc_listen, broker, direct, database, engine, warnings } =
        inside?;
    Some(NodeConfig {
        player,
        identity,
        players,
        mpc_listen,
        broker,
        direct,
        sdk_listen: sdk_listen?,
        management: management?,
        database,
        api_keys: api_keys?,
        engine,
        warnings,
    })
}

/// The configuration of a node inside an app; `None` only if `problems` has errors.
pub(super) fn embedded_config(
    document: &Document,
    outside: &Outside<'_>,
    problems: &mut Problems,
) -> Option<EmbeddedConfig> {
    for path in settings::SERVING_ONLY {
        if let Some(found) = document.one(path) {
            problems.warn(
                ProblemCode::NotUsed,
                &found.place,
                "a node inside an app serves no SDK: the section is ignored",
                "nothing needs to be done; the section can be removed",
            );
        }
    }
    let listening = listening(document, outside, problems);
    inside(document, listening, outside, problems)
}

/// What both kinds of node have; `None` only if `problems` has errors.
fn inside(
    document: &Document,
    listening: Listening,
    outside: &Outside<'_>,
    problems: &mut Problems,
) -> Option<EmbeddedConfig> {
    let own = document.one("Player");
    let player = own.and_then(|own| own.integer::<u16>("Index"));
    let identity = own.and_then(|own| secrets::private_key(own, problems));
    let key = identity.as_ref().map(|key| key.public());
    let own = Own { index: player, key, listens: listening.asked, has_broker: broker::is_named(document) };
    let players = players(document, &own, problems);
    let broker = broker::broker(document, outside, problems);

    let database = document.one("Database").and_then(|section| database(section, outside, problems));
    let ecdsa = ecdsa(document, problems);
    let presignatures = presignatures(document);
    let derivation = derivation(document);
    let session = session(document, problems);
    let tenants = tenants(document);
    Some(EmbeddedConfig {
        player: player?,
        identity: identity?,
        players,
        mpc_listen: listening.tcp,
        direct: listening.links,
        broker,
        database: database?,
        engine: EngineConfig {
            ecdsa,
            presignatures: presignatures?,
            derivation: derivation?,
            session: session?,
            tenants: tenants?,
        },
        warnings: Vec::new(),
    })
}

pub(super) fn listen(server: &Found, problems: &mut Problems) -> Option<SocketAddr> {
    let ip = ip(server, problems);
    Some(SocketAddr::new(ip?, server.integer("Port")?))
}

/// Where a server listens.
pub(super) fn ip(server: &Found, problems: &mut Problems) -> Option<IpAddr> {
    let (text, place) = server.text("Address")?;
    let ip = text.parse().ok();
    if ip.is_none() {
        problems.error(
            ProblemCode::BadListenAddress,
            &place,
            "not an IP address",
            "write an address of this machine such as \"127.0.0.1\", or leave the line out to listen on all",
        );
    }
    ip
}

pub(super) fn check_ports(one: SocketAddr, other: SocketAddr, place: &Place, problems: &mut Problems) {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    if one.port() == other.port() && overlap {
        problems.error(
            ProblemCode::Conflict,
            place,
            "another server of this file has the same port",
            "give each server a port of its own",
        );
    }
}

fn database(section: &Found, outside: &Outside<'_>, problems: &mut Problems) -> Option<DatabaseConfig> {
    let driver = section.text("DriverName").and_then(|(name, place)| driver(name, &place, problems));
    let master_password = secrets::master_password(section, outside, problems);
    let data_source = section.text("DataSourceName").map(|(text, _)| Secret::new(text.to_owned()));
    Some(DatabaseConfig {
        driver: driver?,
        data_source: data_source?,
        master_password: master_password?,
        max_open_connections: section.integer("MaxOpenConns"),
        max_idle_connections: section.integer("MaxIdleConns"),
    })
}

fn driver(name: &str, place: &Place, problems: &mut Problems) -> Option<DatabaseDriver> {
    let (code, what) = match name {
        "sqlite3" => return Some(DatabaseDriver::Sqlite),
        "postgres" | "mysql" => (
            ProblemCode::NotBuilt,
            format!("{name} is known from the documentation, but not built yet in this version"),
        ),
        _ => (ProblemCode::UnknownChoice, "there is no such database driver".to_owned()),
    };
    problems.error(code, place, what, "write \"sqlite3\"");
    None
}

fn api_keys(document: &Document, problems: &mut Problems) -> Option<ApiKeys> {
    let sections = || document.all("Authentication.APIKeys");
    if sections().next().is_none() {
        let what = "no [[Authentication.APIKeys]]: nobody can log in to this node";
        let hint = "add an [[Authentication.APIKeys]] section with APIKey and ApplicationID";
        problems.warn(ProblemCode::NoApiKeys, &Place::nowhere("Authentication.APIKeys"), what, hint);
    }
    let mut places = Vec::new();
    let mut entries = Vec::new();
    for section in sections() {
        let sha256 = secrets::api_key(section, problems);
        let application = application(section, problems);
        if let (Some(sha256), Some(application)) = (sha256, application) {
            places.push(section.place_of("APIKey"));
            entries.push(ApiKeyEntry { sha256, application });
        }
    }
    match ApiKeys::new(entries) {
        Ok(keys) => Some(keys),
        Err(shared) => {
            let place = places.into_iter().nth(shared.second).unwrap_or_else(|| Place::nowhere(""));
            problems.error(
                ProblemCode::SharedApiKey,
                &place,
                "an earlier section has the same API key for another application",
                "give each application a key of its own",
            );
            None
        }
    }
}

fn application(section: &Found, problems: &mut Problems) -> Option<String> {
    let (name, place) = section.text("ApplicationID")?;
    // The rule of `ApplicationId` in `tsm-types`.
    if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.error(
            ProblemCode::BadName,
            &place,
            "an application's name consists of visible ASCII characters without spaces",
            "write a plain name such as \"demoapp\"",
        );
        return None;
    }
    Some(name.to_owned())
}

/// The union of what `[DKLS19]` and `[DKLS23]` enable: both name the one engine.
fn ecdsa(document: &Document, problems: &mut Problems) -> BTreeSet<EcdsaFeature> {
    let mut enabled = BTreeSet::new();
    let mut place = Place::nowhere("DKLS23");
    for (protocol, features) in [("DKLS19", "DKLS19.Features"), ("DKLS23", "DKLS23.Features")] {
        let Some(section) = document.one(protocol) else { continue };
        place = section.place.clone();
        let named = |features: &Found| {
            EcdsaFeature::ALL
                .into_iter()
                .filter(|feature| features.flag(feature.name()) == Some(true))
                .collect()
        };
        let here: Vec<EcdsaFeature> =
            document.one(features).map_or_else(|| EcdsaFeature::ALL.to_vec(), named);
        enabled.extend(here);
    }
    if enabled.is_empty() {
        let what = "no operation is enabled: this node can neither generate keys nor sign";
        let hint = "write an empty [DKLS23] section to enable ECDSA";
        problems.warn(ProblemCode::NothingEnabled, &place, what, hint);
    }
    enabled
}

/// Where both sections say something, the smaller number counts.
fn presignatures(document: &Document) -> Option<PresignatureLimits> {
    let defaults = Found::left_out(settings::section("DKLS23"));
    let written: Vec<&Found> =
        ["DKLS19", "DKLS23"].into_iter().filter_map(|protocol| document.one(protocol)).collect();
    let sections = if written.is_empty() { vec![&defaults] } else { written };
    let mut limits: Option<PresignatureLimits> = None;
    for section in sections {
        let here = PresignatureLimits {
            per_request: section.integer(settings::PRESIGNATURES_PER_REQUEST)?,
            in_all: section.integer(settings::PRESIGNATURES_IN_ALL)?,
        };
        limits = Some(limits.map_or(here, |other| PresignatureLimits {
            per_request: other.per_request.min(here.per_request),
            in_all: other.in_all.min(here.in_all),
        }));
    }
    limits
}

/// What `[DKLS19]` and `[DKLS23]` say of derivation: the greater number where both give one.
fn derivation(document: &Document) -> Option<DerivationLimits> {
    let defaults = Found::left_out(settings::section("DKLS23"));
    let number = |key: &str| {
        let sections = ["DKLS19", "DKLS23"].into_iter().filter_map(|section| document.one(section));
        let written: Vec<Option<usize>> =
            sections.filter(|section| section.has(key)).map(|section| section.integer(key)).collect();
        if written.is_empty() {
            defaults.integer(key)
        } else {
            written.into_iter().collect::<Option<Vec<_>>>()?.into_iter().max()
        }
    };
    Some(DerivationLimits {
        min_path_length: number(settings::MIN_CHAIN_PATH_LENGTH)?,
        cache_size: number(settings::BIP32_CACHE_SIZE)?,
    })
}

fn session(document: &Document, problems: &mut Problems) -> Option<SessionLimits> {
    let defaults = Found::left_out(settings::section("Session"));
    let section = document.one("Session").unwrap_or(&defaults);
    let limits = SessionLimits {
        connect_timeout: section.duration("ConnectTimeout")?,
        session_timeout: section.duration("SessionTimeout")?,
        drain_timeout: section.duration("DrainTimeout")?,
        max_sessions: section.integer("MaxSessions")?,
        outcome_lifetime: section.duration("OutcomeLifetime")?,
        reject_conflicting_dynamic_keys: section.flag("RejectConflictingDynamicKeys")?,
    };
    if limits.session_timeout < limits.connect_timeout {
        problems.error(
            ProblemCode::Conflict,
            &section.place_of("SessionTimeout"),
            "SessionTimeout is shorter than ConnectTimeout, which is a part of it",
            "raise SessionTimeout (60s if left out) or lower ConnectTimeout (10s if left out)",
        );
        return None;
    }
    Some(limits)
}

fn tenants(document: &Document) -> Option<Tenants> {
    let defaults = Found::left_out(settings::section("Tenants"));
    let section = document.one("Tenants").unwrap_or(&defaults);
    // Without a limit where the key is left out.
    let limit = |key| if section.has(key) { Some(Some(section.integer(key)?)) } else { Some(None) };
    Some(Tenants {
        limits: TenantLimits {
            sessions: section.integer("MaxSessions")?,
            sessions_of_application: limit("MaxSessionsPerApplication")?,
            keys: section.integer("MaxKeys")?,
            keys_of_application: limit("MaxKeysPerApplication")?,
            pairs: section.integer("MaxPairs")?,
            pair_idle: section.duration("PairIdleTime")?,
        },
        links: LinkLimits {
            parked: section.integer("MaxParkedLinks")?,
            parked_per_source: section.integer("MaxParkedLinksPerSource")?,
            parked_for: section.duration("ParkedLinkTime")?,
            failed_handshakes: section.integer("MaxFailedHandshakes")?,
            blocked_for: section.duration("BlockTime")?,
            connections_of_dynamic: section.integer("MaxConnections")?,
            dynamic_unleased_for: section.duration("IdleLinkTime")?,
            idle_links: section.integer("MaxIdleLinks")?,
            ..LinkLimits::default()
        },
    })
}
