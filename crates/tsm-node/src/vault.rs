//! Key records: what a node keeps of a key, and the two states that a key has here.
//!
//! *Provisional*: this node has a share and has signed the certificate, or is about to. The key is
//! invisible to callers. *Active*: the certificate carries the signatures of all holders. The byte
//! format is in docs/formats.md, section "Key records".

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::Secret;
use tsm_protocols::{Certificate, KeyShare, SignedCertificate};
use tsm_storage::{RecordId, RecordKind, SealedStore, StoreError};
use tsm_types::{ApplicationId, ErrorCode, Failure, KeyId, PlayerIndex};
use zeroize::Zeroize;

/// Provisional records are found by the digest of their certificate, whoever asks.
const ALL_APPLICATIONS: &str = "*";

/// Version of [`KeyRecord`], its first byte.
const KEY_RECORD_VERSION: u8 = 1;

/// A key as it is stored, provisional or active.
#[derive(BorshSerialize, BorshDeserialize)]
struct KeyRecord {
    version: u8,
    application: ApplicationId,
    holder: PlayerIndex,
    /// Without all signatures: provisional.
    certificate: SignedCertificate,
    secret: Vec<u8>,
}

impl Drop for KeyRecord {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// The key shares of one node.
pub(crate) struct Vault(SealedStore);

impl Vault {
    pub(crate) fn new(store: SealedStore) -> Self {
        Vault(store)
    }

    /// Stores a share before its certificate is signed: whoever later has the complete certificate
    /// can count on this node's share.
    pub(crate) async fn keep_provisional(
        &self,
        application: &ApplicationId,
        share: &KeyShare,
    ) -> Result<(), Failure> {
        let record = KeyRecord {
            version: KEY_RECORD_VERSION,
            application: application.clone(),
            holder: share.holder,
            certificate: SignedCertificate {
                certificate: share.certificate.clone(),
                signatures: Default::default(),
            },
            secret: share.secret.expose().clone(),
        };
        self.0.insert(&provisional_id(&share.certificate.digest()), encode(&record)).await.map_err(failed)
    }

    /// Makes a provisional key active. Returns false if there is none with this certificate.
    ///
    /// The certificate, then the active record, then the provisional one goes: a crash between two
    /// of them leaves what the next call finishes.
    pub(crate) async fn activate(&self, certificate: &SignedCertificate) -> Result<bool, Failure> {
        let provisional = provisional_id(&certificate.certificate.digest());
        let Some(mut record) = self.read(&provisional).await? else { return Ok(false) };
        if record.certificate.certificate != certificate.certificate || !certificate.is_complete() {
            return Ok(false);
        }
        record.certificate = certificate.clone();
        let complete = Secret::new(borsh::to_vec(certificate).expect("encoding to memory cannot fail"));
        match self.0.insert(&complete_id(&certificate.certificate.digest()), complete).await {
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        let active = active_id(&record.application, &certificate.certificate.key_id);
        match self.0.insert(&active, encode(&record)).await {
            Ok(()) => {}
            Err(StoreError::Exists { .. }) => {
                let same = self.read(&active).await?.is_some_and(|stored| stored.certificate == *certificate);
                if !same {
                    return Err(key_exists(&certificate.certificate.key_id));
                }
            }
            Err(error) => return Err(failed(error)),
        }
        self.0.take(&provisional).await.map_err(failed)?;
        Ok(true)
    }

    /// The complete certificate with this digest, whichever application's.
    pub(crate) async fn complete(&self, digest: &[u8; 32]) -> Result<Option<SignedCertificate>, Failure> {
        let stored = self.0.get(&complete_id(digest)).await.map_err(failed)?;
        Ok(stored.and_then(|record| borsh::from_slice(record.bytes.expose()).ok()))
    }

    /// Applications and certificates of all provisional keys.
    pub(crate) async fn provisional(&self) -> Result<Vec<(ApplicationId, Certificate)>, Failure> {
        let mut certificates = Vec::new();
        for id in self.0.list(RecordKind::ProvisionalKey, ALL_APPLICATIONS).await.map_err(failed)? {
            if let Some(record) = self.read(&id).await? {
                certificates.push((record.application.clone(), record.certificate.certificate.clone()));
            }
        }
        Ok(certificates)
    }

    /// The active key of an application, with its share checked against its certificate.
    pub(crate) async fn key(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
    ) -> Result<Option<KeyShare>, Failure> {
        let Some(mut record) = self.read(&active_id(application, key_id)).await? else { return Ok(None) };
        let secret = Secret::new(std::mem::take(&mut record.secret));
        let share = KeyShare::new(record.certificate.certificate.clone(), record.holder, secret);
        if share.is_none() {
            tracing::error!(%key_id, "the stored share does not belong to its certificate");
            return Err(Failure::new(
                ErrorCode::StoreCorrupt,
                format!("the share of key {key_id} does not fit its certificate"),
            ));
        }
        Ok(share)
    }

    /// What is public of an active key.
    pub(crate) async fn certificate(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
    ) -> Result<SignedCertificate, Failure> {
        let record =
            self.read(&active_id(application, key_id)).await?.ok_or_else(|| key_not_found(key_id))?;
        Ok(record.certificate.clone())
    }

    /// Whether an application has an active key of this ID.
    pub(crate) async fn has(&self, application: &ApplicationId, key_id: &KeyId) -> Result<bool, Failure> {
        Ok(self.0.get(&active_id(application, key_id)).await.map_err(failed)?.is_some())
    }

    /// IDs of an application's active keys.
    pub(crate) async fn keys(&self, application: &ApplicationId) -> Result<Vec<KeyId>, Failure> {
        let ids = self.0.list(RecordKind::KeyShare, application.as_str()).await.map_err(failed)?;
        ids.into_iter().map(|id| KeyId::new(id.name)).collect()
    }

    /// Deletes this node's share of a key. There is no way back.
    pub(crate) async fn delete(&self, application: &ApplicationId, key_id: &KeyId) -> Result<(), Failure> {
        let certificate = self.certificate(application, key_id).await?;
        self.0
            .take(&active_id(application, key_id))
            .await
            .map_err(failed)?
            .ok_or_else(|| key_not_found(key_id))?;
        self.0.take(&complete_id(&certificate.certificate.digest())).await.map_err(failed)?;
        Ok(())
    }

    /// Frees the database. Nothing may be asked afterwards.
    pub(crate) async fn close(&self) {
        self.0.close().await;
    }

    async fn read(&self, id: &RecordId) -> Result<Option<KeyRecord>, Failure> {
        let Some(stored) = self.0.get(id).await.map_err(failed)? else { return Ok(None) };
        match borsh::from_slice::<KeyRecord>(stored.bytes.expose()) {
            Ok(record) if record.version == KEY_RECORD_VERSION => Ok(Some(record)),
            Ok(_) | Err(_) => {
                tracing::error!(record = ?id, "a key record is not readable by this version");
                Err(Failure::new(
                    ErrorCode::StoreCorrupt,
                    format!("record {} is not readable by this version", id.name),
                ))
            }
        }
    }
}

fn active_id(application: &ApplicationId, key_id: &KeyId) -> RecordId {
    RecordId::new(RecordKind::KeyShare, application.as_str(), key_id.as_str())
}

fn provisional_id(digest: &[u8; 32]) -> RecordId {
    RecordId::new(RecordKind::ProvisionalKey, ALL_APPLICATIONS, hex(digest))
}

fn complete_id(digest: &[u8; 32]) -> RecordId {
    RecordId::new(RecordKind::Certificate, ALL_APPLICATIONS, hex(digest))
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encode(record: &KeyRecord) -> Secret<Vec<u8>> {
    Secret::new(borsh::to_vec(record).expect("encoding to memory cannot fail"))
}

pub(crate) fn key_not_found(key_id: &KeyId) -> Failure {
    Failure::new(ErrorCode::KeyNotFound, format!("no key {key_id} for this application"))
}

pub(crate) fn key_exists(key_id: &KeyId) -> Failure {
    Failure::new(ErrorCode::KeyExists, format!("key {key_id} already exists"))
}

/// The particulars of a storage failure are for the operator.
fn failed(error: StoreError) -> Failure {
    tracing::error!(%error, "the store failed");
    match error {
        StoreError::Corrupt { .. } => Failure::new(ErrorCode::StoreCorrupt, "a stored record does not open"),
        StoreError::Unavailable { .. }
        | StoreError::Exists { .. }
        | StoreError::Damaged { .. }
        | StoreError::WrongPassword
        | StoreError::NotADatabase { .. }
        | StoreError::NewerSchema { .. }
        | StoreError::InUse { .. }
        | StoreError::Configuration { .. } => {
            Failure::new(ErrorCode::StoreUnavailable, "the node's database cannot be used now")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsm_storage::{Memory, Stretch};

    async fn vault() -> Vault {
        let password = Secret::new("master password".to_owned());
        Vault::new(SealedStore::open(&Memory::new(), password, Stretch::CHEAPEST).await.unwrap())
    }

    fn application() -> ApplicationId {
        ApplicationId::new("demoapp").unwrap()
    }

    /// A record that claims to be a share of `certificate`, with the given secret.
    fn record(secret: Vec<u8>) -> KeyRecord {
        KeyRecord {
            version: KEY_RECORD_VERSION,
            application: application(),
            holder: PlayerIndex(0),
            certificate: crate::wire::tests::certificate(),
            secret,
        }
    }

    fn one() -> Vec<u8> {
        [vec![0; 31], vec![1]].concat()
    }

    #[test]
    fn s29_key_records_of_version_1_have_these_bytes_for_ever() {
        let bytes = encode(&record(one()));
        crate::vectors::assert_frozen("key_record_v1.bin", bytes.expose());
        assert!(borsh::from_slice::<KeyRecord>(bytes.expose()).is_ok());
        assert!(borsh::from_slice::<KeyRecord>(&[bytes.expose(), &[0][..]].concat()).is_err());
    }

    #[tokio::test]
    async fn s80_a_stored_share_that_does_not_fit_its_certificate_is_never_used() {
        let vault = vault().await;
        let key_id = KeyId::new("key1").unwrap();
        let two = [vec![0; 31], vec![2]].concat();
        vault.0.insert(&active_id(&application(), &key_id), encode(&record(two))).await.unwrap();
        assert_eq!(vault.key(&application(), &key_id).await.unwrap_err().code, ErrorCode::StoreCorrupt);
    }

    #[tokio::test]
    async fn a_record_of_a_newer_version_is_not_misread() {
        let vault = vault().await;
        let key_id = KeyId::new("key1").unwrap();
        let mut newer = record(one());
        newer.version = 2;
        vault.0.insert(&active_id(&application(), &key_id), encode(&newer)).await.unwrap();
        assert_eq!(vault.key(&application(), &key_id).await.unwrap_err().code, ErrorCode::StoreCorrupt);
    }

    #[tokio::test]
    async fn s36_an_incomplete_or_forged_certificate_activates_nothing() {
        let vault = vault().await;
        let certificate = crate::wire::tests::certificate();
        let share =
            KeyShare::new(certificate.certificate.clone(), PlayerIndex(0), Secret::new(one())).unwrap();
        vault.keep_provisional(&application(), &share).await.unwrap();
        assert_eq!(vault.activate(&certificate).await, Ok(false), "one signature, and that one forged");
        assert_eq!(vault.keys(&application()).await, Ok(vec![]));
        assert_eq!(vault.provisional().await.unwrap().len(), 1);
    }
}
