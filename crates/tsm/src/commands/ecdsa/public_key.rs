//! `tsm ecdsa public-key`

use clap::Args;

use super::sign::key_info;
use crate::error::{CommandError, EXIT_CODES};
use crate::nodes::NodeArgs;
use crate::output::OutputArgs;
use crate::path::PathArgs;
use crate::public_key::KeyResult;

/// Show everything public of a key: public key, holders, how many must sign
///
/// Asks every node given, and checks that all tell the same.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ShowPublicKey {
    /// The key's ID
    #[arg(long, value_name = "ID")]
    key_id: String,
    #[command(flatten)]
    path: PathArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    nodes: NodeArgs,
}

impl ShowPublicKey {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let (key, notices) = key_info(&self.nodes.clients()?, &self.key_id, &self.path.path).await?;
        let result = KeyResult::new(&key, &self.path.path, notices);
        self.output.print(&result, result.text())
    }
}
