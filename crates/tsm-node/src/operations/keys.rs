//! What one node answers alone: public keys, the list of keys, deletion.

use std::sync::Arc;

use tsm_protocols::Certificate;
use tsm_types::request::KeyInfo;
use tsm_types::{ApplicationId, Failure, KeyId};

use super::enabled;
use crate::node::Inner;
use crate::presignatures::Owner;

pub(crate) async fn public_key(
    node: &Arc<Inner>,
    application: &ApplicationId,
    key_id: &KeyId,
) -> Result<KeyInfo, Failure> {
    enabled(node.settings.features.public_key, "PublicKey")?;
    let signed = node.vault.certificate(application, key_id).await?;
    Ok(key_info(&signed.certificate, Vec::new()))
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
    // After the share: what a session puts in meanwhile, it takes out again when the share is gone.
    node.presignatures.delete(&Owner { application: application.clone(), key_id: key_id.clone() });
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
