//! What the command line says of a session.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use tsm_sdk::{SessionConfig, SessionId};

use crate::error::CommandError;
use crate::nodes::{NodeArgs, Nodes, demand_a_node_each};

/// Which players run a session, and how.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    #[command(flatten)]
    pub(crate) who: PlayerArgs,
    /// The session's ID [default: a fresh one]
    ///
    /// Needed where several callers run one session, each for nodes of its own; and to ask again for
    /// the outcome of a session whose reply was lost.
    #[arg(long, value_name = "ID", help_heading = "Session")]
    pub(crate) session: Option<String>,
}

/// Which players run sessions, and how long one may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Session")]
pub(crate) struct PlayerArgs {
    /// The players, by index: 0,1,2 [default: those of all nodes]
    #[arg(long, value_name = "INDICES", value_delimiter = ',')]
    pub(crate) players: Vec<u16>,
    /// The public key of a player that not every node's configuration knows (repeat per player)
    #[arg(long, value_name = "INDEX=BASE64", value_parser = dynamic_key)]
    dynamic: Vec<(u16, Vec<u8>)>,
    /// How long a session may take; shortens the nodes' own limits, never lengthens them
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: Option<u64>,
}

impl SessionArgs {
    /// The session of these players.
    pub(crate) fn config(&self, players: &[u16]) -> Result<SessionConfig, CommandError> {
        let id = match &self.session {
            Some(id) => SessionId::new(id)?,
            None => SessionId::generate(),
        };
        self.who.config(id, players)
    }
}

impl PlayerArgs {
    /// The players, and the node of each: those given, or those of all nodes.
    pub(crate) async fn with_their_nodes(&self, nodes: &NodeArgs) -> Result<(Vec<u16>, Nodes), CommandError> {
        let found = nodes.clients()?.of_players(&self.players).await?;
        demand_a_node_each(&self.players, &found, "Add its --node, or leave it out of --players.")?;
        let (players, nodes) = found.into_iter().unzip();
        Ok((players, Nodes(nodes)))
    }

    /// A session of these players under this ID.
    pub(crate) fn config(&self, id: SessionId, players: &[u16]) -> Result<SessionConfig, CommandError> {
        let mut keys = BTreeMap::new();
        for (player, key) in &self.dynamic {
            if keys.insert(*player, key.clone()).is_some() {
                let what = format!("--dynamic gives two public keys for player {player}");
                return Err(CommandError::refused(what, "Give each player's public key once."));
            }
        }
        let session = SessionConfig::new(id, players.iter().copied(), keys);
        Ok(match self.timeout.map(Duration::from_secs) {
            Some(timeout) => session.with_session_timeout(timeout).with_connect_timeout(timeout),
            None => session,
        })
    }
}

fn dynamic_key(text: &str) -> Result<(u16, Vec<u8>), String> {
    let (player, key) = text.split_once('=').ok_or("write the player's index, `=` and its public key")?;
    let player = player.parse().map_err(|_| "before `=` stands the player's index, such as 0")?;
    let key = BASE64.decode(key).map_err(|_| "after `=` stands the public key in base64")?;
    Ok((player, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_key_is_an_index_and_base64() {
        assert_eq!(dynamic_key("0=AAE="), Ok((0, vec![0, 1])));
        for wrong in ["", "AAE=", "x=AAE=", "0=!", "70000=AAE="] {
            assert!(dynamic_key(wrong).is_err(), "{wrong}");
        }
    }
}
