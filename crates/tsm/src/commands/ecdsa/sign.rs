//! `tsm ecdsa sign`

use clap::Args;
use serde::Serialize;
use tsm_sdk::{Client, GeneratedKey, SessionConfig, Signature, ecdsa};
use tsm_types::DerivationPath;

use crate::digest::DigestArgs;
use crate::error::{CommandError, EXIT_CODES};
use crate::nodes::{NodeArgs, Nodes};
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
    /// Use a presignature of these players: its ID, or `any` for the first node's oldest one
    ///
    /// Nothing is sent between nodes. Make them with `tsm ecdsa presign`.
    #[arg(long, value_name = "ID|any", conflicts_with_all = ["dynamic", "session", "timeout"])]
    presignature: Option<String>,
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
    /// The presignature that was used, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    presignature_id: Option<String>,
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
        let (players, nodes) = self.session.who.with_their_nodes(&self.nodes).await?;
        let progress = Progress::start("signing");
        let (key, mut notices) = key_info(&nodes, &self.key_id, &self.path.path).await?;
        let digest = self.digest.digest(key.public_key.curve())?;
        let signed = match &self.presignature {
            None => sign(&nodes, &self.session.config(&players)?, &key, &self.path.path, &digest)
                .await
                .map(|(signature, notices)| (signature, notices, None)),
            Some(which) => sign_with_presignature(&nodes, &players, &key, &self.path.path, which, &digest)
                .await
                .map(|(signature, id)| (signature, Vec::new(), Some(id))),
        };
        drop(progress);
        let (signature, more, presignature_id) = signed?;
        notices.extend(more);
        let result = SignResult {
            key_id: key.key_id,
            path: self.path.path.to_string(),
            curve: signature.curve().name(),
            players,
            digest: hex::encode(&digest),
            signature: SignatureForms::new(&signature),
            public_key: spki(&key.public_key),
            presignature_id,
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

/// Signs with the presignature of this ID, which all nodes are asked for at the same time; or, for `any`,
/// with one that the first node chooses. The signature has been verified under the key. Also returns the
/// presignature's ID.
pub(crate) async fn sign_with_presignature(
    nodes: &Nodes,
    players: &[u16],
    key: &GeneratedKey,
    path: &DerivationPath,
    which: &str,
    digest: &[u8],
) -> Result<(Signature, String), CommandError> {
    let ask = |id: Option<String>| {
        move |client: Client| {
            let (id, players, path) = (id.clone(), players.to_vec(), path.clone());
            let (key_id, digest) = (key.key_id.clone(), digest.to_vec());
            async move {
                let ecdsa = client.ecdsa();
                ecdsa.sign_with_presignature(&key_id, id.as_deref(), Some(&players), &path, &digest).await
            }
        }
    };
    let choosing = if which == "any" { 1.min(nodes.0.len()) } else { 0 };
    let (first, others) = nodes.0.split_at(choosing);
    let mut parts = Nodes(first.to_vec()).call(ask(None)).await.all()?;
    let id = parts.first().map_or_else(|| which.to_owned(), |(_, part)| part.presignature_id.clone());
    parts.extend(Nodes(others.to_vec()).call(ask(Some(id.clone()))).await.all()?);
    let parts: Vec<Vec<u8>> = parts.into_iter().map(|(_, part)| part.partial_signature).collect();
    Ok((ecdsa::finalise_for(&key.public_key, digest, &parts)?, id))
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
        if let Some(id) = &self.presignature_id {
            text.push_str("\npresignature ");
            text.push_str(id);
        }
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
            presignature_id: None,
            notices: vec![],
        };
        let expected = r#"{"key_id":"k","path":"m/0/1","curve":"secp256k1","players":[0,2],"digest":"07","signature":{"der":"30","fixed":"00","recoverable":"0001","recovery_id":1},"public_key":"MF","notices":[]}"#;
        assert_eq!(serde_json::to_string(&result).unwrap(), expected);
        assert!(result.text("2 of 3 must sign").starts_with("signers     players 0, 2 (2 of 3 must sign)\n"));
    }
}
