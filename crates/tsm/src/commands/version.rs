//! `tsm version`

use clap::Args;
use serde_json::json;

use crate::error::CommandError;
use crate::nodes::NodeArgs;
use crate::output::OutputArgs;

/// Show the version of this program and of the nodes given
#[derive(Debug, Args)]
pub(crate) struct Version {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    nodes: NodeArgs,
}

impl Version {
    /// Shows the nodes that answer, even if others do not.
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let version = env!("CARGO_PKG_VERSION");
        let mut text = format!("tsm {version}");
        if self.nodes.is_empty() {
            return self.output.print(&json!({ "version": version }), text);
        }
        let asked = self.nodes.clients()?.call(|client| async move { client.version().await }).await;
        for (node, reply) in &asked.replies {
            text.push_str(&format!(
                "\n{}: player {}, version {}, API {}, wire {}, public key {}",
                node.url, reply.player, reply.version, reply.api, reply.wire, reply.public_key
            ));
        }
        let nodes: Vec<_> =
            asked.replies.iter().map(|(node, reply)| json!({ "node": node.url, "reply": reply })).collect();
        self.output.print(&json!({ "version": version, "nodes": nodes }), text)?;
        asked.all().map(|_| ())
    }
}
