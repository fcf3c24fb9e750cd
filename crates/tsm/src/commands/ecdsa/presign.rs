//! `tsm ecdsa presign`

use clap::Args;
use serde::Serialize;

use crate::error::{CommandError, EXIT_CODES};
use crate::nodes::{NodeArgs, Nodes, demand_a_node_each};
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
        let found = self.nodes.clients()?.of_players(&self.session.who.players).await?;
        demand_a_node_each(
            &self.session.who.players,
            &found,
            "Add its --node, or leave it out of --players.",
        )?;
        let players: Vec<u16> = found.iter().map(|(player, _)| *player).collect();
        let session = self.session.config(&players)?;
        let nodes = Nodes(found.into_iter().map(|(_, node)| node).collect());
        let progress = Progress::start("presigning");
        let replies = nodes
            .call(|client| {
                let (session, key_id) = (session.clone(), self.key_id.clone());
                async move { client.ecdsa().generate_presignatures(&session, &key_id, self.count).await }
            })
            .await;
        drop(progress);
        let (mut presignature_ids, mut notices) = (Vec::new(), Vec::new());
        for (node, made) in replies.all()? {
            presignature_ids = made.presignature_ids;
            notices.extend(made.notices.into_iter().map(|notice| format!("{}: {notice}", node.url)));
        }
        let result = PresignResult { key_id: self.key_id, players, presignature_ids, notices };
        let text = result.text();
        self.output.print(&result, text)
    }
}

impl PresignResult {
    fn text(&self) -> String {
        let mut lines = self.presignature_ids.clone();
        lines.extend(self.notices.iter().map(|notice| format!("notice: {notice}")));
        lines.join("\n")
    }
}
