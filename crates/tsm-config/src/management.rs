//! Who may watch a node, and where.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::document::{Document, Found};
use super::problem::{ProblemCode, Problems};
use super::read::{check_ports, listen};
use super::secrets;

/// Where a node is watched.
#[derive(Debug)]
pub struct Management {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether `/metrics` is served.
    pub prometheus: bool,
    /// Who may do what.
    pub access: Access,
}

/// Who may do what at the management port.
#[derive(Debug)]
pub enum Access {
    /// Metrics for everybody who reaches the port, and nothing else: `[MetricsServer]`.
    MetricsForAll,
    /// By API key.
    Keys(Vec<ManagementKey>),
}

/// An accepted key.
pub struct ManagementKey {
    sha256: [u8; 32],
    permissions: Vec<Permission>,
}

impl std::fmt::Debug for ManagementKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ManagementKey {{ sha256: <secret>, permissions: {:?} }}", self.permissions)
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// See whether the node takes sessions.
    Health,
    /// See the metrics.
    Metrics,
    /// See player, public key and versions.
    TsmInfo,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Permission; 3] = [Permission::Health, Permission::Metrics, Permission::TsmInfo];

    /// The name in the configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Permission::Health => "HEALTH",
            Permission::Metrics => "METRICS",
            Permission::TsmInfo => "TSMINFO",
        }
    }
}

/// What a presented key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// It is accepted, but not for this.
    Forbidden,
    /// It is not accepted.
    Unknown,
}

impl Access {
    /// Whether the bearer of `presented` may do this. All entries are compared, so the time taken
    /// tells nothing of the keys.
    pub fn allows(&self, presented: Option<&str>, permission: Permission) -> Verdict {
        let keys = match self {
            Access::MetricsForAll if permission == Permission::Metrics => return Verdict::Allowed,
            Access::MetricsForAll => return Verdict::Unknown,
            Access::Keys(keys) => keys,
        };
        let digest: [u8; 32] = Sha256::digest(presented.unwrap_or_default().as_bytes()).into();
        let matching: Vec<bool> = keys.iter().map(|key| bool::from(key.sha256.ct_eq(&digest))).collect();
        let mut found = keys.iter().zip(matching).filter(|(_, matches)| *matches).map(|(key, _)| key);
        match (presented, found.next()) {
            (None, _) | (Some(_), None) => Verdict::Unknown,
            (Some(_), Some(key)) if key.permissions.contains(&permission) => Verdict::Allowed,
            (Some(_), Some(_)) => Verdict::Forbidden,
        }
    }
}

/// What the file says of it; the outer `None` only if `problems` has errors.
pub(super) fn management(
    document: &Document,
    others: &[SocketAddr],
    problems: &mut Problems,
) -> Option<Option<Management>> {
    let (server, older) = (document.one("ManagementServer"), document.one("MetricsServer"));
    let (section, management) = match (server, older) {
        // Its sub-sections bring the section with them, which then lacks its port.
        (None, None) => return Some(None),
        (Some(_), Some(older)) => {
            let what = "[ManagementServer] and [MetricsServer] exclude each other";
            problems.error(ProblemCode::Conflict, &older.place, what, "keep [ManagementServer]");
            return None;
        }
        (Some(server), None) => (server, with_keys(document, server, problems)?),
        (None, Some(older)) => (older, for_all(older, problems)?),
    };
    for other in others {
        check_ports(*other, management.listen, &section.place_of("Port"), problems);
    }
    Some(Some(management))
}

fn with_keys(document: &Document, server: &Found, problems: &mut Problems) -> Option<Management> {
    let listen = listen(server, problems);
    let metrics = document.one("ManagementServer.Metrics");
    let prometheus = metrics.is_some_and(|metrics| metrics.flag("Prometheus") == Some(true));
    let mut keys = Vec::new();
    let mut complete = true;
    for entry in document.all("ManagementServer.APIKeys") {
        match (secrets::api_key(entry, problems), permissions(entry, problems)) {
            (Some(sha256), Some(permissions)) => keys.push(ManagementKey { sha256, permissions }),
            (None, _) | (_, None) => complete = false,
        }
    }
    let access = Access::Keys(keys);
    complete.then_some(Management { listen: listen?, prometheus, access })
}

fn for_all(older: &Found, problems: &mut Problems) -> Option<Management> {
    let listen = listen(older, problems);
    if older.flag("Prometheus") != Some(true) {
        let what = "the metrics format of older versions is known, but not built";
        let hint = "write Prometheus = true";
        problems.error(ProblemCode::NotBuilt, &older.place_of("Prometheus"), what, hint);
        return None;
    }
    Some(Management { listen: listen?, prometheus: true, access: Access::MetricsForAll })
}

fn permissions(entry: &Found, problems: &mut Problems) -> Option<Vec<Permission>> {
    let words = entry.words("Permissions")?;
    let place = entry.place_of("Permissions");
    let mut permissions = Vec::new();
    for word in words {
        let known = Permission::ALL.into_iter().find(|permission| permission.name() == word);
        if let Some(permission) = known {
            permissions.push(permission);
            continue;
        }
        let (code, what) = match word.as_str() {
            "APIKEY" => (
                ProblemCode::NotBuilt,
                "APIKEY is known from the documentation, but not built yet in this version",
            ),
            _ => (ProblemCode::UnknownChoice, "there is no such permission"),
        };
        problems.error(code, &place, what, "write some of \"HEALTH\", \"METRICS\", \"TSMINFO\"");
        return None;
    }
    Some(permissions)
}
