//! `tsm keys presignatures`

use clap::Args;
use serde::Serialize;

use crate::error::{CommandError, EXIT_CODES};
use crate::nodes::NodeArgs;
use crate::output::OutputArgs;
use crate::public_key::named;

/// Count the unused presignatures of a key at each node, or delete them
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Presignatures {
    /// The key's ID
    #[arg(long, value_name = "ID")]
    key_id: String,
    /// Delete them all at the given nodes
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    nodes: NodeArgs,
}

/// What one node holds of one set of signers.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Held {
    node: String,
    players: Vec<u16>,
    count: u64,
}

impl Presignatures {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        if self.delete { self.delete().await } else { self.count().await }
    }

    /// Shows what the nodes that answer have, even if others do not.
    async fn count(self) -> Result<(), CommandError> {
        let asked = self
            .nodes
            .clients()?
            .call(|client| {
                let key_id = self.key_id.clone();
                async move { client.ecdsa().count_presignatures(&key_id).await }
            })
            .await;
        let held: Vec<Held> = asked
            .replies
            .iter()
            .flat_map(|(node, sets)| {
                sets.iter().map(|set| Held {
                    node: node.url.clone(),
                    players: set.players.clone(),
                    count: set.count,
                })
            })
            .collect();
        if !asked.replies.is_empty() {
            let json = serde_json::json!({ "key_id": self.key_id, "presignatures": held });
            self.output.print(&json, listing(&held))?;
        }
        asked.all().map(|_| ())
    }

    async fn delete(self) -> Result<(), CommandError> {
        let asked = self
            .nodes
            .clients()?
            .call(|client| {
                let key_id = self.key_id.clone();
                async move { client.ecdsa().delete_presignatures(&key_id).await }
            })
            .await;
        if !asked.replies.is_empty() {
            let deleted: Vec<_> = asked
                .replies
                .iter()
                .map(|(node, deleted)| serde_json::json!({ "node": node.url, "deleted": deleted }))
                .collect();
            let lines =
                asked.replies.iter().map(|(node, deleted)| format!("{}: deleted {deleted}", node.url));
            let text = lines.collect::<Vec<_>>().join("\n");
            self.output.print(&serde_json::json!({ "key_id": self.key_id, "deleted": deleted }), text)?;
        }
        asked.all().map(|_| ())
    }
}

fn listing(held: &[Held]) -> String {
    if held.is_empty() {
        return "no presignatures".to_owned();
    }
    let line = |held: &Held| format!("{}: {} of {}", held.node, held.count, named(&held.players));
    held.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presignatures_are_listed_by_node_and_signers() {
        let held = [
            Held { node: "http://0".into(), players: vec![0, 2], count: 5 },
            Held { node: "http://2".into(), players: vec![0, 2], count: 4 },
        ];
        assert_eq!(listing(&held), "http://0: 5 of players 0, 2\nhttp://2: 4 of players 0, 2");
        assert_eq!(listing(&[]), "no presignatures");
        assert_eq!(
            serde_json::to_string(&held[..1]).unwrap(),
            r#"[{"node":"http://0","players":[0,2],"count":5}]"#
        );
    }
}
