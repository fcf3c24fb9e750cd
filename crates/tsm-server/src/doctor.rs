//! A node's configuration against the running world: what would keep the node from its work, and what to do.
//!
//! Safe beside the running node. It reads no inbox of the node's player, asks other nodes by an echo that
//! never becomes a link, opens no database that is in use, and leaves nothing behind.
//!
//! | module | what it looks at |
//! |---|---|
//! | `ports` | free, or served by this node |
//! | `database` | file, rights, master password, time of a write, free space |
//! | `broker` | reached, and the rights that a node needs there |
//! | `peers` | address, key, clock and versions of each configured player |

mod broker;
mod database;
mod peers;
mod ports;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tsm_transport::echo::Echo;

use crate::config::NodeConfig;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it is well.
    pub status: Status,
    /// Stable and machine-readable.
    pub code: &'static str,
    /// What was looked at.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do, unless it is well.
    pub advice: Option<String>,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// The node works, but somebody should look at it.
    Warn,
    /// The node does not start, or cannot do all of its work.
    Fail,
}

impl Status {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        }
    }
}

impl Finding {
    fn ok(code: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Finding { status: Status::Ok, code, subject: subject.into(), found: found.into(), advice: None }
    }

    fn warn(
        code: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let advice = Some(advice.into());
        Finding { status: Status::Warn, advice, ..Self::ok(code, subject, found) }
    }

    fn fail(
        code: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Finding { status: Status::Fail, ..Self::warn(code, subject, found, advice) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: {}", self.status.name(), self.code, self.subject, self.found)
    }
}

/// Checks everything that can be checked from here, in an order in which a reader can act: what is of this
/// machine first. Takes some ten seconds at most.
pub async fn examine(config: NodeConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let fingerprint = config.identity.public().fingerprint();
    let subject = format!("configuration of player {}", config.player);
    findings.push(Finding::ok("config.ok", &subject, format!("good; its public key is {fingerprint}")));
    for warning in &config.warnings {
        findings.push(Finding::warn(warning.code.as_str(), &subject, &warning.what, &warning.hint));
    }
    findings.push(clock());
    let (in_use, of_database) = database::examine(&config.database).await;
    findings.extend(of_database);

    let broker = match config.broker.clone() {
        Some(named) => {
            let (broker, finding) = broker::examine(named, fingerprint).await;
            findings.push(finding);
            broker
        }
        None => None,
    };
    let broker_works = broker.is_some();
    let echo = match Echo::new(&config.identity, broker, config.direct.web_roots.clone()) {
        Ok(echo) => Arc::new(echo),
        Err(error) => {
            let advice = "see what the message says; no other node could be asked";
            findings.push(Finding::fail("peer.unasked", "other players", error.to_string(), advice));
            return findings;
        }
    };
    findings.extend(ports::examine(&config, &echo, in_use).await);
    findings.extend(peers::examine(&config, &echo, broker_works).await);
    findings
}

/// Before this there was no node of this program.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);

fn clock() -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let subject = "clock of this machine";
    if now < EARLIEST {
        let advice =
            "set the clock, best by NTP: certificates of wss:// and the times of the logs depend on it";
        return Finding::fail("clock.wrong", subject, "it is before the year 2025", advice);
    }
    Finding::ok("clock.ok", subject, format!("{} seconds since 1970", now.as_secs()))
}
