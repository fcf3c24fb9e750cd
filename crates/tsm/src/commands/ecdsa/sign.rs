//! `tsm ecdsa sign`

use clap::Args;
use serde::Serialize;
use tsm_sdk::{GeneratedKey, SessionConfig, Signature, ecdsa};
use tsm_types::DerivationPath;

use crate::digest::DigestArgs;
use crate::error::{CommandError, EXIT_CODES};
use crate::nodes::{NodeArgs, Nodes, demand_a_node_each};
use crate::output::OutputArgs;
use crate::path::PathArgs;
use crate::progress::Progress;
use crate::public_key::{self, named, spki};
use crate::session::SessionArgs;

/// Sign a digest or a file, with the nodes of threshold + 1 players or more
///
/// Joins the signers' parts and verifies the signature before it is shown. Nodes whose player is not
/// among --players are not asked to sign.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Sign {
    /// The key's ID
    #[arg(long, value_name = "ID")]
    key_id: String,
    #[command(flatten)]
    path: PathArgs,
    #[command(flatten)]
    digest: DigestArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    nodes: NodeArgs,
    #[command(flatten)]
    session: SessionArgs,
}

/// A signature as scripts are shown it; bytes in hex.
#[derive(Debug, Serialize)]
struct SignResult {
    key_id: String,
    path: String,
    curve: &'static str,
    players: Vec<u16>,
    digest: String,
    signature: SignatureForms,
    /// DER SubjectPublicKeyInfo of the key at the path, base64. The signature was verified under it.
    public_key: String,
    notices: Vec<String>,
}

/// The forms of a signature, in hex.
#[derive(Debug, Serialize)]
struct SignatureForms {
    /// ASN.1 DER.
    der: String,
    /// r and s.
    fixed: String,
    /// r, s and the recovery ID.
    recoverable: String,
    recovery_id: u8,
}

impl Sign {
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
        let progress = Progress::start("signing");
        let (key, mut notices) = key_info(&nodes, &self.key_id, &self.path.path).await?;
        let digest = self.digest.digest(key.public_key.curve())?;
        let signed = sign(&nodes, &session, &key, &self.path.path, &digest).await;
        drop(progress);
        let (signature, more) = signed?;
        notices.extend(more);
        let result = SignResult {
            key_id: key.key_id,
            path: self.path.path.to_string(),
            curve: signature.curve().name(),
            players,
            digest: hex::encode(&digest),
            signature: SignatureForms::new(&signature),
            public_key: spki(&key.public_key),
            notices,
        };
        let required = format!("{} of {} must sign", key.signers_required, key.players.len());
        self.output.print(&result, result.text(&required))
    }
}

/// What all nodes tell of a key, with the public key at a path.
pub(crate) async fn key_info(
    nodes: &Nodes,
    key_id: &str,
    path: &DerivationPath,
) -> Result<(GeneratedKey, Vec<String>), CommandError> {
    let replies = nodes
        .call(|client| {
            let (key_id, path) = (key_id.to_owned(), path.clone());
            async move { client.ecdsa().key_info(&key_id, &path).await }
        })
        .await;
    public_key::agreed(replies.all()?)
}

/// Signs with these nodes, at the path whose public key `key` has. The signature has been verified under
/// it. Also returns the nodes' notices.
pub(crate) async fn sign(
    nodes: &Nodes,
    session: &SessionConfig,
    key: &GeneratedKey,
    path: &DerivationPath,
    digest: &[u8],
) -> Result<(Signature, Vec<String>), CommandError> {
    let replies = nodes
        .call(|client| {
            let (session, key_id) = (session.clone(), key.key_id.clone());
            let (path, digest) = (path.clone(), digest.to_vec());
            async move { client.ecdsa().sign(&session, &key_id, &path, &digest).await }
        })
        .await;
    let (mut parts, mut notices) = (Vec::new(), Vec::new());
    for (node, part) in replies.all()? {
        parts.push(part.partial_signature);
        notices.extend(part.notices.into_iter().map(|notice| format!("{}: {notice}", node.url)));
    }
    Ok((ecdsa::finalise_for(&key.public_key, digest, &parts)?, notices))
}

impl SignatureForms {
    fn new(signature: &Signature) -> Self {
        SignatureForms {
            der: hex::encode(signature.der()),
            fixed: hex::encode(signature.fixed()),
            recoverable: hex::encode(signature.recoverable()),
            recovery_id: signature.recovery_id(),
        }
    }
}

impl SignResult {
    fn text(&self, required: &str) -> String {
        let forms = &self.signature;
        let mut text = format!(
            "signers     {} ({required})\npath        {}\ndigest      {}\nDER         {}\nr, s        {}\nr, s, v     {}\nrecovery ID {}\nverified under the key {}",
            named(&self.players),
            self.path,
            self.digest,
            forms.der,
            forms.fixed,
            forms.recoverable,
            forms.recovery_id,
            self.public_key,
        );
        for notice in &self.notices {
            text.push_str("\nnotice      ");
            text.push_str(notice);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_for_scripts_has_a_fixed_shape() {
        let forms = SignatureForms {
            der: "30".into(),
            fixed: "00".into(),
            recoverable: "0001".into(),
            recovery_id: 1,
        };
        let result = SignResult {
            key_id: "k".into(),
            path: "m/0/1".into(),
            curve: "secp256k1",
            players: vec![0, 2],
            digest: "07".into(),
            signature: forms,
            public_key: "MF".into(),
            notices: vec![],
        };
        let expected = r#"{"key_id":"k","path":"m/0/1","curve":"secp256k1","players":[0,2],"digest":"07","signature":{"der":"30","fixed":"00","recoverable":"0001","recovery_id":1},"public_key":"MF","notices":[]}"#;
        assert_eq!(serde_json::to_string(&result).unwrap(), expected);
        assert!(result.text("2 of 3 must sign").starts_with("signers     players 0, 2 (2 of 3 must sign)\n"));
    }
}
