//! The sealed store: plaintext records above, ciphertext below (rules S-87, S-88, S-107, S-111).

use std::fmt;
use std::sync::Arc;

use tsm_crypto::Secret;

use crate::key::{self, RecordKey};
use crate::{Backend, KeyHeader, RecordId, RecordKind, Records, Sealed, StoreError, Stretch};

/// A node's store, opened with its master password.
pub struct SealedStore {
    records: Arc<dyn Records>,
    /// Every key that opens records. The last one also seals, so that a rotation adds a key and the old
    /// records stay readable.
    keys: Arc<[RecordKey]>,
}

/// A record as it was read.
#[derive(Debug)]
pub struct Record {
    /// What was stored.
    pub bytes: Secret<Vec<u8>>,
    /// The same, sealed, as it lies in the database: [`SealedStore::swap`] compares with it.
    pub sealed: Sealed,
}

impl SealedStore {
    /// Opens a store, or makes a new one where there is none.
    ///
    /// Stretches the password on a blocking thread, once; `stretch` is the cost for a new store, an old
    /// one keeps its own. Must be called within a tokio runtime.
    ///
    /// Fails with [`StoreError::WrongPassword`], [`StoreError::NotADatabase`] or
    /// [`StoreError::NewerSchema`] before anything is written.
    pub async fn open(
        backend: &dyn Backend,
        password: Secret<String>,
        stretch: Stretch,
    ) -> Result<Self, StoreError> {
        if password.expose().is_empty() {
            return Err(StoreError::configuration("the master password is empty: set one"));
        }
        let found = backend.key_headers().await?;
        let (headers, keys) =
            tokio::task::spawn_blocking(move || unlock(found, &password, stretch)).await.map_err(|e| {
                StoreError::unavailable(format!("stretching the master password ended: {e}"))
            })??;
        let records = backend.open(&headers).await?;
        Ok(SealedStore { records, keys: keys.into() })
    }

    /// The same keys over another copy of the store: a simulation starts a node again without
    /// stretching the password again.
    pub fn over(&self, records: Arc<dyn Records>) -> Self {
        SealedStore { records, keys: self.keys.clone() }
    }

    /// Whether the password opens the store, and whether there is one. Makes and changes nothing.
    ///
    /// Stretches the password as [`open`](Self::open) does. Fails as it does, with
    /// [`StoreError::InUse`] if a node has the store open.
    pub async fn check(backend: &dyn Backend, password: Secret<String>) -> Result<bool, StoreError> {
        let found = backend.key_headers().await?;
        if found.is_empty() {
            return Ok(false);
        }
        let checked =
            tokio::task::spawn_blocking(move || unlock(found, &password, Stretch::default()).map(drop)).await;
        checked
            .map_err(|e| StoreError::unavailable(format!("stretching the master password ended: {e}")))??;
        Ok(true)
    }

    /// Seals and stores a new record. It is durable when this returns.
    ///
    /// Fails with [`StoreError::Exists`] rather than overwrite.
    pub async fn insert(&self, id: &RecordId, bytes: Secret<Vec<u8>>) -> Result<(), StoreError> {
        let row = self.seal(id, bytes)?;
        self.records.insert(id, row).await
    }

    /// Reads a record; `None` if there is none.
    ///
    /// Fails with [`StoreError::Corrupt`] if it is not what was sealed under this name.
    pub async fn get(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        let row = self.records.get(id).await?;
        row.map(|sealed| self.unseal(id, sealed)).transpose()
    }

    /// Removes and returns a record.
    ///
    /// Of any number of callers one gets it. It is gone even if the caller is cancelled, if this returns
    /// an error, or if what the record is for then fails.
    pub async fn take(&self, id: &RecordId) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
        let row = self.records.take(id).await?;
        row.map(|sealed| self.unseal(id, sealed).map(|record| record.bytes)).transpose()
    }

    /// Replaces a record if it is still the one that was read, and says whether it did.
    ///
    /// On `false`, read again and decide again.
    pub async fn swap(&self, id: &RecordId, read: &Record, new: Secret<Vec<u8>>) -> Result<bool, StoreError> {
        let row = self.seal(id, new)?;
        self.records.swap(id, &read.sealed, row).await
    }

    /// The records of one kind and one application, in the order of their names.
    pub async fn list(&self, kind: RecordKind, application: &str) -> Result<Vec<RecordId>, StoreError> {
        self.records.list(kind, application).await
    }

    /// Waits until the database is closed and its files are free. Nothing may be called afterwards.
    pub async fn close(&self) {
        self.records.close().await;
    }

    fn seal(&self, id: &RecordId, bytes: Secret<Vec<u8>>) -> Result<Sealed, StoreError> {
        self.keys.last().expect("`unlock` returns at least one key").seal(id, bytes.expose())
    }

    fn unseal(&self, id: &RecordId, sealed: Sealed) -> Result<Record, StoreError> {
        let key_id = key::key_id(&sealed);
        let bytes = self
            .keys
            .iter()
            .find(|key| Some(key.id()) == key_id)
            .and_then(|key| key.open(id, &sealed))
            .ok_or_else(|| StoreError::Corrupt { record: id.clone() })?;
        Ok(Record { bytes, sealed })
    }
}

impl fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedStore")
    }
}

/// The keys of the headers found, or of a new header where there is none.
fn unlock(
    found: Vec<KeyHeader>,
    password: &Secret<String>,
    stretch: Stretch,
) -> Result<(Vec<KeyHeader>, Vec<RecordKey>), StoreError> {
    let password = password.expose().as_bytes();
    if found.is_empty() {
        let (header, key) = RecordKey::create(password, stretch)?;
        return Ok((vec![header], vec![key]));
    }
    let keys = found.iter().map(|header| RecordKey::unlock(password, header)).collect::<Result<_, _>>()?;
    Ok((found, keys))
}
