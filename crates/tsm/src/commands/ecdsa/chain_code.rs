//! `tsm ecdsa chain-code`

use clap::Args;
use serde::Serialize;
use tsm_sdk::ecdsa::ExtendedPublicKey;
use tsm_types::DerivationPath;

use super::sign::key_info;
use crate::error::{CommandError, EXIT_CODES};
use crate::nodes::{NodeArgs, Nodes};
use crate::output::OutputArgs;
use crate::path::PathArgs;

/// Show a key's chain code, and the xpub from which wallets derive addresses
///
/// Whoever has it and the public key sees all keys below. Asks every node given, and checks that all
/// tell the same.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ShowChainCode {
    /// The key's ID
    #[arg(long, value_name = "ID")]
    key_id: String,
    #[command(flatten)]
    path: PathArgs,
    /// Also show the extended public key (xpub), on secp256k1; asks the nodes about the key one step
    /// above, too
    #[arg(long)]
    xpub: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    nodes: NodeArgs,
}

/// A chain code as scripts are shown it.
#[derive(Debug, Serialize)]
struct ChainCodeResult {
    key_id: String,
    path: String,
    /// Hex.
    chain_code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    xpub: Option<String>,
}

impl ShowChainCode {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let (nodes, path) = (self.nodes.clients()?, &self.path.path);
        let chain_code = chain_code(&nodes, &self.key_id, path).await?;
        let xpub = match self.xpub {
            true => Some(extended(&nodes, &self.key_id, path).await?.xpub()?),
            false => None,
        };
        let result = ChainCodeResult {
            key_id: self.key_id,
            path: path.to_string(),
            chain_code: hex::encode(chain_code),
            xpub,
        };
        self.output.print(&result, result.text())
    }
}

impl ChainCodeResult {
    fn text(&self) -> String {
        let mut text =
            format!("key ID     {}\npath       {}\nchain code {}", self.key_id, self.path, self.chain_code);
        if let Some(xpub) = &self.xpub {
            text.push_str("\nxpub       ");
            text.push_str(xpub);
        }
        text
    }
}

/// The chain code that every node tells of.
async fn chain_code(nodes: &Nodes, key_id: &str, path: &DerivationPath) -> Result<[u8; 32], CommandError> {
    let replies = nodes
        .call(|client| {
            let (key_id, path) = (key_id.to_owned(), path.clone());
            async move { client.ecdsa().chain_code(&key_id, &path).await }
        })
        .await;
    let mut replies = replies.all()?.into_iter();
    let (first, chain_code) =
        replies.next().ok_or_else(|| CommandError::Fault("no node was called".to_owned()))?;
    match replies.find(|(_, other)| *other != chain_code) {
        Some((node, _)) => Err(CommandError::NodesDiffer(format!(
            "{} and {} tell of different chain codes of key {key_id}",
            first.url, node.url
        ))),
        None => Ok(chain_code),
    }
}

/// The key at the path with its place in the tree, from the key one step above.
async fn extended(
    nodes: &Nodes,
    key_id: &str,
    path: &DerivationPath,
) -> Result<ExtendedPublicKey, CommandError> {
    let above = path.split_last().map_or(&[][..], |(_, above)| above);
    let above = DerivationPath::new(above)?;
    let (parent, _) = key_info(nodes, key_id, &above).await?;
    let parent_chain_code = chain_code(nodes, key_id, &above).await?;
    Ok(ExtendedPublicKey::below(parent.public_key, parent_chain_code, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_code_for_scripts_has_a_fixed_shape() {
        let mut result =
            ChainCodeResult { key_id: "k".into(), path: "m/44".into(), chain_code: "07".into(), xpub: None };
        let json = |result: &ChainCodeResult| serde_json::to_string(result).unwrap();
        assert_eq!(json(&result), r#"{"key_id":"k","path":"m/44","chain_code":"07"}"#);
        result.xpub = Some("xpub6".into());
        assert_eq!(json(&result), r#"{"key_id":"k","path":"m/44","chain_code":"07","xpub":"xpub6"}"#);
        assert!(result.text().ends_with("\nxpub       xpub6"));
    }
}
