//! `tsm keys`: the keys of nodes, whatever they sign.

mod presignatures;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::error::{CommandError, EXIT_CODES};
use crate::nodes::NodeArgs;
use crate::output::OutputArgs;

/// List keys, delete key shares, count presignatures
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    List(List),
    Delete(Delete),
    Presignatures(presignatures::Presignatures),
}

/// List the keys that the nodes hold shares of
///
/// Shows the keys of the application that the API keys log in to. A key that only some of the given
/// nodes hold is listed with these nodes.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct List {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    nodes: NodeArgs,
}

/// Destroy the nodes' shares of a key; this cannot be undone
///
/// Nodes that are not given keep their shares. With fewer shares left than must sign, the key is lost.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Delete {
    /// The key's ID
    #[arg(long, value_name = "ID")]
    key_id: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    nodes: NodeArgs,
}

/// A key and the nodes that hold shares of it.
#[derive(Debug, Serialize)]
struct ListedKey {
    key_id: String,
    nodes: Vec<String>,
}

impl Keys {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        match self {
            Keys::List(command) => command.run().await,
            Keys::Delete(command) => command.run().await,
            Keys::Presignatures(command) => command.run().await,
        }
    }

    pub(crate) fn output(&self) -> OutputArgs {
        match self {
            Keys::List(command) => command.output,
            Keys::Delete(command) => command.output,
            Keys::Presignatures(command) => command.output,
        }
    }
}

impl List {
    /// Shows what the nodes that answer have, even if others do not.
    async fn run(self) -> Result<(), CommandError> {
        let asked = self
            .nodes
            .clients()?
            .call(|client| async move { client.key_management().list_keys().await })
            .await;
        let answered = asked.replies.len();
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (node, key_ids) in &asked.replies {
            for key_id in key_ids {
                keys.entry(key_id.clone()).or_default().push(node.url.clone());
            }
        }
        let keys: Vec<ListedKey> =
            keys.into_iter().map(|(key_id, nodes)| ListedKey { key_id, nodes }).collect();
        if answered > 0 {
            self.output.print(&serde_json::json!({ "keys": keys }), listing(&keys, answered))?;
        }
        asked.all().map(|_| ())
    }
}

fn listing(keys: &[ListedKey], answered: usize) -> String {
    if keys.is_empty() {
        return "no keys".to_owned();
    }
    let lines = keys.iter().map(|key| match key.nodes.len() {
        everywhere if everywhere == answered => key.key_id.clone(),
        _ => format!("{}  (only at {})", key.key_id, key.nodes.join(", ")),
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl Delete {
    /// Shows where shares were deleted, even if others were not.
    async fn run(self) -> Result<(), CommandError> {
        let asked = self
            .nodes
            .clients()?
            .call(|client| {
                let key_id = self.key_id.clone();
                async move { client.key_management().delete_key_share(&key_id).await }
            })
            .await;
        let nodes: Vec<&str> = asked.replies.iter().map(|(node, ())| node.url.as_str()).collect();
        if !nodes.is_empty() {
            let text = format!("deleted the shares of {} at {}", self.key_id, nodes.join(", "));
            self.output.print(&serde_json::json!({ "key_id": self.key_id, "deleted_at": nodes }), text)?;
        }
        asked.all().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_some_nodes_lack_is_listed_with_its_nodes() {
        let key = |key_id: &str, nodes: &[&str]| ListedKey {
            key_id: key_id.to_owned(),
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        };
        let keys = [key("a", &["http://0", "http://1"]), key("b", &["http://1"])];
        assert_eq!(listing(&keys, 2), "a\nb  (only at http://1)");
        assert_eq!(listing(&[], 2), "no keys");
        let json = serde_json::to_string(&keys).unwrap();
        assert_eq!(
            json,
            r#"[{"key_id":"a","nodes":["http://0","http://1"]},{"key_id":"b","nodes":["http://1"]}]"#
        );
    }
}
