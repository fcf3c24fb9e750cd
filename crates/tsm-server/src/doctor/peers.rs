//! Each configured player: an echo with its node.

use std::sync::Arc;

use tsm_transport::echo::{Answer, Echo, EchoError, Knows, LINK_VERSION};
use tsm_types::{Address, Place, PlayerKey, Reach};

use super::Finding;
use crate::config::{NodeConfig, StaticPlayer};

/// Logs of nodes whose clocks differ by more are hard to read side by side. No protocol depends on it.
const MOST_SKEW_MILLISECONDS: u64 = 2000;

pub(super) async fn examine(config: &NodeConfig, echo: &Arc<Echo>, broker_works: bool) -> Vec<Finding> {
    let mut asked = Vec::new();
    for (index, player) in &config.players {
        let subject = format!("player {index}");
        let way = way(config, *index, player);
        let echo = echo.clone();
        let index = *index;
        asked.push(tokio::spawn(async move {
            match way {
                Ok((_, address)) if address.place == Place::Broker && !broker_works => {
                    let found =
                        "it is reached through the message broker, which does not work or was not tried";
                    let advice = "do what is said of the broker, then ask the doctor again";
                    vec![Finding::warn("peer.unasked", subject, found, advice)]
                }
                Ok((key, address)) => told(index, &subject, &address, echo.ask(&key, &address).await),
                Err(finding) => vec![finding],
            }
        }));
    }
    let mut findings = Vec::new();
    for asked in asked {
        findings.extend(asked.await.unwrap_or_default());
    }
    findings
}

/// Where a player is asked, and which key it must have.
fn way(config: &NodeConfig, index: u16, player: &StaticPlayer) -> Result<(PlayerKey, Address), Finding> {
    let subject = format!("player {index}");
    let Some(key) = &player.public_key else {
        let found =
            "dynamic: callers give its public key with each session, so there is nothing to compare with";
        return Err(Finding::ok("peer.dynamic", subject, found));
    };
    match &player.address {
        Some(Reach::Dial(address)) => Ok((key.clone(), address.clone())),
        None if config.player < index && config.broker.is_some() => Ok((key.clone(), Address::broker())),
        None if config.player < index => {
            let advice = format!(
                "give [Players.{index}] an Address, or have callers give one with each session (`dynamic_addresses`)"
            );
            Err(Finding::warn(
                "peer.no_address",
                subject,
                "this node would dial it, but does not know where",
                advice,
            ))
        }
        Some(Reach::Incoming) | None => {
            let found = "it dials this node: ask the doctor at its side";
            Err(Finding::ok("peer.dials_us", subject, found))
        }
    }
}

fn told(index: u16, subject: &str, address: &Address, asked: Result<Answer, EchoError>) -> Vec<Finding> {
    let answer = match asked {
        Ok(answer) => answer,
        Err(EchoError::Unreached(why)) => {
            let advice = format!(
                "check [Players.{index}] Address, that the player's node runs, and that no firewall is between"
            );
            return vec![Finding::fail("peer.unreachable", subject, why, advice)];
        }
        Err(EchoError::WrongKey(why)) => {
            let advice = format!(
                "compare with `tsm player` at the other side: either [Players.{index}] Address leads to another node, or \
                 [Players.{index}] PublicKey is not the player's"
            );
            let found = format!("{address} is another node: {why}");
            return vec![Finding::fail("peer.wrong_key", subject, found, advice)];
        }
        Err(EchoError::NoNode(why)) => {
            let advice =
                "check that the address is the port for players, and compare the releases of both nodes";
            return vec![Finding::fail("peer.no_node", subject, why, advice)];
        }
    };
    let mut findings = Vec::new();
    let knows = match answer.knows {
        Knows::Static => "has this node's key in its configuration",
        Knows::Dynamic => "knows this node's key from a session",
        Knows::Nobody => {
            "does not have this node's key in its configuration: its callers give it with each session"
        }
    };
    findings.push(Finding::ok(
        "peer.ok",
        subject,
        format!(
            "echo from {address} in {:.1?}; the key is as configured; release {}; it {knows}",
            answer.round_trip, answer.release
        ),
    ));
    if answer.player != index {
        let advice = format!("compare [Player] Index there with [Players.{index}] here");
        let found = format!("it says that it is player {}", answer.player);
        findings.push(Finding::fail("peer.other_index", subject, found, advice));
    }
    if answer.link_version != LINK_VERSION {
        let found = format!("it has link version {}, this build has {LINK_VERSION}", answer.link_version);
        let advice = "run releases on both sides that have a link version in common";
        findings.push(Finding::fail("peer.version", subject, found, advice));
    }
    if answer.clock_ahead_milliseconds.unsigned_abs() > MOST_SKEW_MILLISECONDS {
        let found = format!("its clock is {} ms ahead of this one", answer.clock_ahead_milliseconds);
        let advice = "set both clocks by NTP: no protocol depends on them, but whoever compares logs does";
        findings.push(Finding::warn("clock.skew", subject, found, advice));
    }
    findings
}
