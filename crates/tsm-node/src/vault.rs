//! Key records: what a node keeps of a key, and the two states that a key has here.
//!
//! *Provisional*: this node has a share and has signed the certificate, or is about to. The key is
//! invisible to callers. *Active*: the certificate carries the signatures of all holders. The byte
//! format is in docs/formats.md, section "Key records".

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use borsh::{BorshDeserialize, BorshSerialize};
use tokio::sync::{OnceCell, RwLock};
use tsm_crypto::Secret;
use tsm_protocols::{KeyShare, SignedCertificate};
use tsm_storage::{RecordId, RecordKind, SealedStore, StoreError};
use tsm_types::{ApplicationId, ErrorCode, Failure, KeyId, PlayerIndex, PlayerKey};
use zeroize::Zeroize;

use crate::provisional::{Digest, Provisional};

/// Provisional records are found by the digest of their certificate, whoever asks.
const ALL_APPLICATIONS: &str = "*";

/// How long the store may take to show that it works.
const LONGEST_ANSWER: std::time::Duration = std::time::Duration::from_secs(2);

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

impl KeyRecord {
    /// Whether it is what is kept under this name. The seal binds the name, and so does the content:
    /// no key is shown or signed with under the name of another.
    fn is_named(&self, id: &RecordId) -> bool {
        let certificate = &self.certificate.certificate;
        *id == active_id(&self.application, &certificate.key_id)
            || *id == provisional_id(&certificate.digest())
    }
}

impl Drop for KeyRecord {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Version of [`HeldKey`], its first byte.
const HELD_KEY_VERSION: u8 = 1;

/// That a player counts as a holder of a key at this node. Stored before the key and deleted after
/// it, under the holder's fingerprint and the certificate's digest: a crash leaves one too many,
/// which [`Vault::settle`] finds by what it names, and never one too few.
#[derive(BorshSerialize, BorshDeserialize)]
struct HeldKey {
    version: u8,
    application: ApplicationId,
    key_id: KeyId,
}

/// The key shares of one node.
pub(crate) struct Vault {
    store: SealedStore,
    /// Read from the store at the first use.
    provisional: OnceCell<Mutex<Provisional>>,
    /// Numbers of active keys, of applications that were asked about. Read from the store at the first
    /// question, and never too small afterwards.
    active: Mutex<HashMap<ApplicationId, usize>>,
    /// Written while a key is deleted or the keys of a holder are counted anew; read while a key is
    /// made: so neither meets the other between two records of one key.
    making: RwLock<()>,
}

impl Vault {
    pub(crate) fn new(store: SealedStore) -> Self {
        let (provisional, active) = (OnceCell::new(), Mutex::default());
        Vault { store, provisional, active, making: RwLock::new(()) }
    }

    /// Stores a share before its certificate is signed: whoever later has the complete certificate
    /// can count on this node's share. From now on it counts as a key of each player of `counted`.
    pub(crate) async fn keep_provisional(
        &self,
        application: &ApplicationId,
        share: &KeyShare,
        counted: &[PlayerKey],
    ) -> Result<(), Failure> {
        let provisional = self.provisional().await?;
        let _making = self.making.read().await;
        let digest = share.certificate.digest();
        for holder in counted {
            let held = HeldKey {
                version: HELD_KEY_VERSION,
                application: application.clone(),
                key_id: share.certificate.key_id.clone(),
            };
            let held = Secret::new(borsh::to_vec(&held).expect("encoding to memory cannot fail"));
            match self.store.insert(&held_id(holder, &digest), held).await {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
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
        // Known before it is stored: a caller that leaves in between must not hide the key from those
        // who look for its certificate.
        lock(provisional).insert(application, &share.certificate);
        let stored = self.store.insert(&provisional_id(&digest), encode(&record)).await;
        if stored.is_err() {
            lock(provisional).remove(&digest);
        }
        stored.map_err(failed)
    }

    /// Makes a provisional key active. Returns false if there is none with this certificate.
    ///
    /// The certificate, then the active record, then the provisional one goes: a crash between two
    /// of them leaves what the next call finishes.
    pub(crate) async fn activate(&self, certificate: &SignedCertificate) -> Result<bool, Failure> {
        let digest = certificate.certificate.digest();
        // What peers send of keys that are not awaited does not reach the database.
        let index = self.provisional().await?;
        if !lock(index).has(&digest) {
            return Ok(false);
        }
        let _making = self.making.read().await;
        let provisional = provisional_id(&digest);
        let Some(mut record) = self.read(&provisional).await? else {
            lock(index).remove(&digest);
            return Ok(false);
        };
        if record.certificate.certificate != certificate.certificate || !certificate.is_complete() {
            return Ok(false);
        }
        record.certificate = certificate.clone();
        let complete = Secret::new(borsh::to_vec(certificate).expect("encoding to memory cannot fail"));
        match self.store.insert(&complete_id(&digest), complete).await {
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        let active = active_id(&record.application, &certificate.certificate.key_id);
        match self.store.insert(&active, encode(&record)).await {
            Ok(()) => {
                if let Some(number) = lock(&self.active).get_mut(&record.application) {
                    *number += 1;
                }
            }
            Err(StoreError::Exists { .. }) => {
                // Stored by a call that broke off, perhaps before it was counted.
                lock(&self.active).remove(&record.application);
                let same = self.read(&active).await?.is_some_and(|stored| stored.certificate == *certificate);
                if !same {
                    return Err(key_exists(&certificate.certificate.key_id));
                }
            }
            Err(error) => return Err(failed(error)),
        }
        lock(index).remove(&digest);
        self.store.take(&provisional).await.map_err(failed)?;
        Ok(true)
    }

    /// The complete certificate with this digest, whichever application's.
    pub(crate) async fn complete(&self, digest: &[u8; 32]) -> Result<Option<SignedCertificate>, Failure> {
        let stored = self.store.get(&complete_id(digest)).await.map_err(failed)?;
        Ok(stored.and_then(|record| borsh::from_slice(record.bytes.expose()).ok()))
    }

    /// Digests of the certificates of provisional keys that this player also holds.
    pub(crate) async fn provisional_of(&self, holder: &PlayerKey) -> Result<Vec<Digest>, Failure> {
        Ok(lock(self.provisional().await?).of_holder(holder))
    }

    /// Digests of the certificates of an application's provisional keys of this name.
    pub(crate) async fn provisional_named(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
    ) -> Result<Vec<Digest>, Failure> {
        Ok(lock(self.provisional().await?).of_name(application, key_id))
    }

    /// Whether there is a provisional key with this certificate.
    pub(crate) async fn is_provisional(&self, digest: &Digest) -> Result<bool, Failure> {
        Ok(lock(self.provisional().await?).has(digest))
    }

    async fn provisional(&self) -> Result<&Mutex<Provisional>, Failure> {
        self.provisional.get_or_try_init(|| self.read_provisional()).await
    }

    async fn read_provisional(&self) -> Result<Mutex<Provisional>, Failure> {
        let mut provisional = Provisional::default();
        for id in self.store.list(RecordKind::ProvisionalKey, ALL_APPLICATIONS).await.map_err(failed)? {
            match self.read(&id).await {
                Ok(Some(record)) => {
                    provisional.insert(&record.application, &record.certificate.certificate);
                }
                Ok(None) => {}
                // Logged where it was found. One bad record does not hold up the others.
                Err(failure) if failure.code == ErrorCode::StoreCorrupt => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(Mutex::new(provisional))
    }

    /// Number of keys, provisional ones among them, that count as this player's. Never too few.
    pub(crate) async fn keys_held_by(&self, holder: &PlayerKey) -> Result<usize, Failure> {
        let held = self.store.list(RecordKind::HeldKey, &holder_name(holder)).await.map_err(failed)?;
        Ok(held.len())
    }

    /// Number of keys of an application, provisional ones among them. Never too few.
    pub(crate) async fn keys_of(&self, application: &ApplicationId) -> Result<usize, Failure> {
        let provisional = self.provisional().await?;
        let known = lock(&self.active).get(application).copied();
        let active = match known {
            Some(active) => active,
            None => {
                let _alone = self.making.write().await;
                let active = self.keys(application).await?.len();
                lock(&self.active).insert(application.clone(), active);
                active
            }
        };
        Ok(active + lock(provisional).count(application))
    }

    /// Looks at each key that counts as this player's, and stops counting those that are gone: what
    /// a crash left behind.
    pub(crate) async fn settle(&self, holder: &PlayerKey) -> Result<(), Failure> {
        let _alone = self.making.write().await;
        for id in self.store.list(RecordKind::HeldKey, &holder_name(holder)).await.map_err(failed)? {
            let Some(digest) = unhex(&id.name) else { continue };
            let Some(stored) = self.store.get(&id).await.map_err(failed)? else { continue };
            let Ok(held) = borsh::from_slice::<HeldKey>(stored.bytes.expose()) else { continue };
            let active = self.read(&active_id(&held.application, &held.key_id)).await?;
            let is_active = active.is_some_and(|key| key.certificate.certificate.digest() == digest);
            if is_active || self.store.get(&provisional_id(&digest)).await.map_err(failed)?.is_some() {
                continue;
            }
            // The last records of a key that was deleted.
            self.store.take(&complete_id(&digest)).await.map_err(failed)?;
            self.store.take(&id).await.map_err(failed)?;
        }
        Ok(())
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
        Ok(self.store.get(&active_id(application, key_id)).await.map_err(failed)?.is_some())
    }

    /// IDs of an application's active keys.
    pub(crate) async fn keys(&self, application: &ApplicationId) -> Result<Vec<KeyId>, Failure> {
        let ids = self.store.list(RecordKind::KeyShare, application.as_str()).await.map_err(failed)?;
        ids.into_iter().map(|id| KeyId::new(id.name)).collect()
    }

    /// Deletes this node's share of a key, also one that its holders have not all confirmed. There is
    /// no way back.
    pub(crate) async fn delete(&self, application: &ApplicationId, key_id: &KeyId) -> Result<(), Failure> {
        let provisional = self.provisional().await?;
        let _alone = self.making.write().await;
        let mut found = false;
        let unconfirmed = lock(provisional).of_name(application, key_id);
        for digest in unconfirmed {
            let Some(record) = self.read(&provisional_id(&digest)).await? else { continue };
            self.store.take(&provisional_id(&digest)).await.map_err(failed)?;
            lock(provisional).remove(&digest);
            self.stop_counting(&record.certificate).await?;
            found = true;
        }
        if let Some(record) = self.read(&active_id(application, key_id)).await? {
            self.store.take(&active_id(application, key_id)).await.map_err(failed)?;
            if let Some(number) = lock(&self.active).get_mut(application) {
                *number = number.saturating_sub(1);
            }
            self.store.take(&complete_id(&record.certificate.certificate.digest())).await.map_err(failed)?;
            self.stop_counting(&record.certificate).await?;
            found = true;
        }
        if found { Ok(()) } else { Err(key_not_found(key_id)) }
    }

    async fn stop_counting(&self, certificate: &SignedCertificate) -> Result<(), Failure> {
        let digest = certificate.certificate.digest();
        for (_, holder) in certificate.certificate.holders.iter() {
            self.store.take(&held_id(holder, &digest)).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Frees the database. Nothing may be asked afterwards.
    pub(crate) async fn close(&self) {
        self.store.close().await;
    }

    /// Whether the store answers, and if not why.
    pub(crate) async fn trouble(&self) -> Option<String> {
        // Takes what never is there: so it waits for the right to write, as making a key would.
        let nothing = RecordId::new(RecordKind::KeyShare, "", "");
        match tokio::time::timeout(LONGEST_ANSWER, self.store.take(&nothing)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                tracing::error!(%error, "the database cannot be used");
                Some("the database cannot be used; the node's log says why".to_owned())
            }
            Err(_) => Some(format!("the database did not answer within {LONGEST_ANSWER:?}")),
        }
    }

    async fn read(&self, id: &RecordId) -> Result<Option<KeyRecord>, Failure> {
        let Some(stored) = self.store.get(id).await.map_err(failed)? else { return Ok(None) };
        let wrong = match borsh::from_slice::<KeyRecord>(stored.bytes.expose()) {
            Ok(record) if record.version != KEY_RECORD_VERSION => "is not readable by this version",
            Ok(record) if record.is_named(id) => return Ok(Some(record)),
            Ok(_) => "belongs to another key",
            Err(_) => "is not readable by this version",
        };
        tracing::error!(record = ?id, "a key record {wrong}");
        Err(Failure::new(ErrorCode::StoreCorrupt, format!("record {} {wrong}", id.name)))
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

fn held_id(holder: &PlayerKey, digest: &[u8; 32]) -> RecordId {
    RecordId::new(RecordKind::HeldKey, holder_name(holder), hex(digest))
}

fn holder_name(holder: &PlayerKey) -> String {
    hex(&holder.fingerprint().0)
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Digest> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    bytes?.try_into().ok()
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().expect("no holder of this lock panics")
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
        vault.store.insert(&active_id(&application(), &key_id), encode(&record(two))).await.unwrap();
        assert_eq!(vault.key(&application(), &key_id).await.unwrap_err().code, ErrorCode::StoreCorrupt);
    }

    #[tokio::test]
    async fn a_record_of_a_newer_version_is_not_misread() {
        let vault = vault().await;
        let key_id = KeyId::new("key1").unwrap();
        let mut newer = record(one());
        newer.version = 2;
        vault.store.insert(&active_id(&application(), &key_id), encode(&newer)).await.unwrap();
        assert_eq!(vault.key(&application(), &key_id).await.unwrap_err().code, ErrorCode::StoreCorrupt);
    }

    #[tokio::test]
    async fn a_record_under_the_name_of_another_key_is_corrupt() {
        let vault = vault().await;
        let other = KeyId::new("key2").unwrap();
        vault.store.insert(&active_id(&application(), &other), encode(&record(one()))).await.unwrap();
        assert_eq!(
            vault.certificate(&application(), &other).await.unwrap_err().code,
            ErrorCode::StoreCorrupt
        );
        let elsewhere = ApplicationId::new("another").unwrap();
        let key_id = KeyId::new("key1").unwrap();
        vault.store.insert(&active_id(&elsewhere, &key_id), encode(&record(one()))).await.unwrap();
        assert_eq!(vault.key(&elsewhere, &key_id).await.unwrap_err().code, ErrorCode::StoreCorrupt);
    }

    #[tokio::test]
    async fn s36_an_incomplete_or_forged_certificate_activates_nothing() {
        let vault = vault().await;
        let certificate = crate::wire::tests::certificate();
        let share =
            KeyShare::new(certificate.certificate.clone(), PlayerIndex(0), Secret::new(one())).unwrap();
        vault.keep_provisional(&application(), &share, &[]).await.unwrap();
        assert_eq!(vault.activate(&certificate).await, Ok(false), "one signature, and that one forged");
        assert_eq!(vault.keys(&application()).await, Ok(vec![]));
        assert!(vault.is_provisional(&certificate.certificate.digest()).await.unwrap());
    }

    /// A share of a key of its own, held together with the player of the certificate.
    fn share(name: &str) -> (KeyShare, PlayerKey) {
        let mut certificate = crate::wire::tests::certificate().certificate;
        certificate.key_id = KeyId::new(name).unwrap();
        let tenant = certificate.holders.key(PlayerIndex(2)).unwrap().clone();
        (KeyShare::new(certificate, PlayerIndex(0), Secret::new(one())).unwrap(), tenant)
    }

    /// As [`Vault::activate`] does it, of a certificate whose signatures nobody asks for.
    async fn store_active(vault: &Vault, share: &KeyShare) {
        let mut record = record(one());
        record.certificate.certificate = share.certificate.clone();
        let active = active_id(&application(), &share.certificate.key_id);
        vault.store.insert(&active, encode(&record)).await.unwrap();
        let digest = share.certificate.digest();
        lock(vault.provisional().await.unwrap()).remove(&digest);
        vault.store.take(&provisional_id(&digest)).await.unwrap();
    }

    #[tokio::test]
    async fn s104_a_key_counts_as_its_tenants_from_when_it_is_stored_to_when_it_is_deleted() {
        let vault = vault().await;
        let (first, tenant) = share("key1");
        let (second, _) = share("key2");
        for share in [&first, &second] {
            vault.keep_provisional(&application(), share, std::slice::from_ref(&tenant)).await.unwrap();
        }
        assert_eq!(vault.keys_held_by(&tenant).await, Ok(2), "provisional keys count");
        store_active(&vault, &first).await;
        vault.settle(&tenant).await.unwrap();
        assert_eq!(vault.keys_held_by(&tenant).await, Ok(2), "an active key and a provisional one");
        let other = first.certificate.holders.key(PlayerIndex(0)).unwrap();
        assert_eq!(vault.keys_held_by(other).await, Ok(0), "nobody else's");

        vault.delete(&application(), &first.certificate.key_id).await.unwrap();
        assert_eq!(vault.keys_held_by(&tenant).await, Ok(1));
        // Also one that was never confirmed can be given up.
        vault.delete(&application(), &second.certificate.key_id).await.unwrap();
        assert_eq!(vault.keys_held_by(&tenant).await, Ok(0));
        assert_eq!(vault.is_provisional(&second.certificate.digest()).await, Ok(false));
        let again = vault.delete(&application(), &second.certificate.key_id).await;
        assert_eq!(again.unwrap_err().code, ErrorCode::KeyNotFound);
    }

    #[tokio::test]
    async fn s104_a_crash_while_a_key_is_stored_or_deleted_never_counts_too_few_and_is_settled() {
        use tsm_storage::memory::Fault;
        let memory = Memory::new();
        let open = || async {
            let password = Secret::new("master password".to_owned());
            Vault::new(SealedStore::open(&memory, password, Stretch::CHEAPEST).await.unwrap())
        };
        let (share, tenant) = share("key1");
        let there = |vault: Vault| {
            let (tenant, digest) = (tenant.clone(), share.certificate.digest());
            async move {
                let active = vault.has(&application(), &KeyId::new("key1").unwrap()).await.unwrap();
                let keys = usize::from(active || vault.is_provisional(&digest).await.unwrap());
                assert!(vault.keys_held_by(&tenant).await.unwrap() >= keys, "too few");
                vault.settle(&tenant).await.unwrap();
                assert_eq!(vault.keys_held_by(&tenant).await, Ok(keys), "settled");
                keys
            }
        };
        // Storing writes twice, deleting an active key three times.
        for write in 1..=4 {
            for fault in [Fault::FailWrite(write), Fault::CrashBefore(write), Fault::CrashAfter(write)] {
                memory.restart();
                let vault = open().await;
                memory.plan(fault);
                let tenants = std::slice::from_ref(&tenant);
                let stored = vault.keep_provisional(&application(), &share, tenants).await;
                memory.restart();
                let keys = there(open().await).await;
                assert!(stored.is_err() || keys == 1, "{fault:?}");

                let vault = open().await;
                if keys == 0 {
                    vault.keep_provisional(&application(), &share, tenants).await.unwrap();
                }
                store_active(&vault, &share).await;
                memory.plan(fault);
                let deleted = vault.delete(&application(), &share.certificate.key_id).await;
                memory.restart();
                let keys = there(open().await).await;
                assert!(deleted.is_err() || keys == 0, "{fault:?}");
                if keys == 1 {
                    open().await.delete(&application(), &share.certificate.key_id).await.unwrap();
                }
                assert_eq!(open().await.keys_held_by(&tenant).await, Ok(0));
            }
        }
    }
}
