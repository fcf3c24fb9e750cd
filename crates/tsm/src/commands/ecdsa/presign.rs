//! `tsm ecdsa presign`

use clap::Args;
use serde::Serialize;
use tsm_sdk::SessionConfig;

use crate::error::{CommandError, EXIT_CODES};
use crate::nodes::{NodeArgs, Nodes};
use crate::output::OutputArgs;
use crate::progress::Progress;
use crate::session::SessionArgs;

/// Make presignatures, with the nodes of exactly those who will sign
///
/// `tsm ecdsa sign --presignature any` then signs without a message between nodes. Presignatures are
/// in the memory of the nodes: a node that restarts has none.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Presign {
    /// The key's ID
    #[arg(long, value_name = "ID")]
    key_id: String,
    /// How many, 1 to 100
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(1..=100))]
    count: u16,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    nodes: NodeArgs,
    #[command(flatten)]
    session: SessionArgs,
}

/// Presignatures as scripts are shown them.
#[derive(Debug, Serialize)]
struct PresignResult {
    key_id: String,
    players: Vec<u16>,
    presignature_ids: Vec<String>,
    notices: Vec<String>,
}

impl Presign {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let (players, nodes) = self.session.who.with_their_nodes(&self.nodes).await?;
        let session = self.session.config(&players)?;
        let progress = Progress::start("presigning");
        let made = presign(&nodes, &session, &self.key_id, self.count).await;
        drop(progress);
        let (presignature_ids, notices) = made?;
        let result = PresignResult { key_id: self.key_id, players, presignature_ids, notices };
        let text = result.text();
        self.output.print(&result, text)
    }
}

/// Makes presignatures with these nodes. Returns their IDs, oldest first, and the nodes' notices.
pub(crate) async fn presign(
    nodes: &Nodes,
    session: &SessionConfig,
    key_id: &str,
    count: u16,
) -> Result<(Vec<String>, Vec<String>), CommandError> {
    let replies = nodes
        .call(|client| {
            let (session, key_id) = (session.clone(), key_id.to_owned());
            async move { client.ecdsa().generate_presignatures(&session, &key_id, count).await }
        })
        .await;
    let (mut presignature_ids, mut notices) = (Vec::new(), Vec::new());
    for (node, made) in replies.all()? {
        presignature_ids = made.presignature_ids;
        notices.extend(made.notices.into_iter().map(|notice| format!("{}: {notice}", node.url)));
    }
    Ok((presignature_ids, notices))
}

impl PresignResult {
    fn text(&self) -> String {
        let mut lines = self.presignature_ids.clone();
        lines.extend(self.notices.iter().map(|notice| format!("notice: {notice}")));
        lines.join("\n")
    }
}
