//! What one node answers alone: public keys and chain codes, the list of keys, deletion.

use std::sync::Arc;

use tsm_protocols::Certificate;
use tsm_types::request::{ChainCode, KeyInfo};
use tsm_types::{ApplicationId, DerivationPath, Failure, KeyId};

use super::enabled;
use crate::derived::{derive, long_enough};
use crate::node::Inner;

pub(crate) async fn public_key(
    node: &Arc<Inner>,
    application: &ApplicationId,
    key_id: &KeyId,
    path: &DerivationPath,
) -> Result<KeyInfo, Failure> {
    enabled(node.settings.features.public_key, "PublicKey")?;
    long_enough(node, path)?;
    let signed = node.vault.certificate(application, key_id).await?;
    let public_key = derive(node, &signed.certificate, path).await?.public_key_der();
    Ok(KeyInfo { public_key, ..key_info(&signed.certificate, Vec::new()) })
}

pub(crate) async fn chain_code(
    node: &Arc<Inner>,
    application: &ApplicationId,
    key_id: &KeyId,
    path: &DerivationPath,
) -> Result<ChainCode, Failure> {
    enabled(node.settings.features.chain_code, "ChainCode")?;
    long_enough(node, path)?;
    let signed = node.vault.certificate(application, key_id).await?;
    Ok(ChainCode(*derive(node, &signed.certificate, path).await?.chain_code()))
}

pub(crate) async fn list(node: &Arc<Inner>, application: &ApplicationId) -> Result<Vec<KeyId>, Failure> {
    let mut keys = node.vault.keys(application).await?;
    keys.sort();
    Ok(keys)
}

pub(crate) async fn delete(
    node: &Arc<Inner>,
    application: &ApplicationId,
    key_id: &KeyId,
) -> Result<(), Failure> {
    node.vault.delete(application, key_id).await?;
    tracing::warn!(%application, %key_id, "key share deleted");
    Ok(())
}

/// What callers see of a certificate.
pub(crate) fn key_info(certificate: &Certificate, notices: Vec<String>) -> KeyInfo {
    KeyInfo {
        key_id: certificate.key_id.clone(),
        curve: certificate.curve,
        threshold: certificate.threshold,
        public_key: certificate.public_key_der(),
        holders: certificate.holders.indices().collect(),
        notices,
    }
}
