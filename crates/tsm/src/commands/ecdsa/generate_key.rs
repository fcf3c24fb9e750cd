//! `tsm ecdsa generate-key`

use clap::Args;
use tsm_sdk::{CurveId, GeneratedKey, SessionConfig};
use tsm_types::DerivationPath;

use crate::error::{CommandError, EXIT_CODES};
use crate::nodes::{NodeArgs, Nodes, demand_a_node_each};
use crate::output::OutputArgs;
use crate::progress::Progress;
use crate::public_key::{self, KeyResult};
use crate::session::SessionArgs;

/// Make a key, shared among the players of the session
///
/// Calls every player's node and checks that all tell of the same key. Where other callers have
/// nodes of their own, each names its own nodes only, all players, and the same --session.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct GenerateKey {
    /// Security threshold t: t players learn nothing of the key, t + 1 must sign
    #[arg(long, value_name = "T")]
    threshold: u16,
    /// secp256k1, P-256, P-384 or P-521
    #[arg(long, default_value = "secp256k1", value_parser = super::curve)]
    curve: CurveId,
    /// The key's ID: up to 64 letters and digits [default: the players draw one]
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    nodes: NodeArgs,
    #[command(flatten)]
    session: SessionArgs,
}

impl GenerateKey {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let found = self.nodes.clients()?.of_players(&self.session.who.players).await?;
        let mut players = self.session.who.players.clone();
        if players.is_empty() {
            players = found.iter().map(|(player, _)| *player).collect();
        }
        if self.session.session.is_none() {
            let hint =
                "Add its --node; or, if another caller has it, give the same --session as that caller.";
            demand_a_node_each(&players, &found, hint)?;
        }
        let session = self.session.config(&players)?;
        let nodes = Nodes(found.into_iter().map(|(_, node)| node).collect());
        let progress = Progress::start("making a key");
        let made = generate_key(&nodes, &session, self.threshold, self.curve, self.key_id).await;
        drop(progress);
        let (key, notices) = made?;
        let result = KeyResult::new(&key, &DerivationPath::ROOT, notices);
        self.output.print(&result, result.text())
    }
}

/// Makes a key at these nodes; returns it if all tell of the same one.
pub(crate) async fn generate_key(
    nodes: &Nodes,
    session: &SessionConfig,
    threshold: u16,
    curve: CurveId,
    key_id: Option<String>,
) -> Result<(GeneratedKey, Vec<String>), CommandError> {
    let replies = nodes
        .call(|client| {
            let (session, key_id) = (session.clone(), key_id.clone());
            async move { client.ecdsa().generate_key(&session, threshold, curve, key_id.as_deref()).await }
        })
        .await;
    public_key::agreed(replies.all()?)
}
