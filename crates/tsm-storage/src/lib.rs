//! What a node keeps: sealed records in a database.
//!
//! ```text
//!   tsm-node        names, plaintext records
//!   SealedStore     seals and opens them under the master password          sealed.rs, key.rs
//!   Records         the port: five verbs on opaque bytes                    this file
//!   Sqlite, Memory  a database per file                                     sqlite.rs, memory.rs
//! ```
//!
//! A database never sees a secret, and the author of a backend never sees a key. This crate does not
//! know what is in a record, who may read it, or when it is out of date.
//!
//! The types to know:
//!
//! * [`SealedStore`]: what the engine uses. [`SealedStore::open`] checks the master password.
//! * [`Records`]: what a database must do; [`conformance`] is the suite every backend passes.
//! * [`StoreError`]: what can go wrong, and what a person can do about it.
//!
//! Every byte that is stored is described in `docs/storage.md`.

#[doc(hidden)]
pub mod conformance;
mod data_source;
mod error;
mod key;
pub mod memory;
mod sealed;
mod sqlite;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use error::StoreError;
pub use key::{KeyHeader, Stretch};
pub use memory::Memory;
pub use sealed::{Record, SealedStore};
pub use sqlite::Sqlite;

/// Version of the tables and of the sealed form of a record: see `docs/storage.md`.
pub const SCHEMA_VERSION: u32 = 1;

/// The port: opaque sealed bytes under a name.
///
/// A write is durable when its call returns `Ok`. A write whose call fails or is dropped midway may or
/// may not have happened, but never in part. Each verb is one statement to the database.
#[async_trait]
pub trait Records: Send + Sync {
    /// Stores a new record.
    ///
    /// Fails with [`StoreError::Exists`] rather than overwrite.
    async fn insert(&self, id: &RecordId, row: Sealed) -> Result<(), StoreError>;

    /// Reads a record; `None` if there is none.
    async fn get(&self, id: &RecordId) -> Result<Option<Sealed>, StoreError>;

    /// Removes and returns a record. Of any number of callers, one gets it and the others get `None`.
    async fn take(&self, id: &RecordId) -> Result<Option<Sealed>, StoreError>;

    /// Replaces a record if its bytes are still `old`, and says whether it did.
    async fn swap(&self, id: &RecordId, old: &Sealed, new: Sealed) -> Result<bool, StoreError>;

    /// The records of one kind and one application, in the order of their names.
    async fn list(&self, kind: RecordKind, application: &str) -> Result<Vec<RecordId>, StoreError>;

    /// Waits until the database is closed and its files are free.
    ///
    /// Dropping the records also closes it, without waiting. No other verb may be called afterwards; a
    /// real database fails with [`StoreError::Unavailable`].
    async fn close(&self);
}

/// A database that is not open yet: its password headers can be read, nothing has been changed.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The headers against which a master password is checked; none if there is no store here yet.
    ///
    /// Changes nothing: no table, no file, no lock is made.
    async fn key_headers(&self) -> Result<Vec<KeyHeader>, StoreError>;

    /// Opens the store for writing, for this process alone.
    ///
    /// If there is no store yet, makes one with these headers, wholly or not at all. If there is one, it
    /// must hold exactly these headers: the password was checked against them.
    async fn open(&self, headers: &[KeyHeader]) -> Result<Arc<dyn Records>, StoreError>;
}

/// The name of a record. Not secret: it is stored in the clear, and bound to what is sealed under it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// What sort of thing it is.
    pub kind: RecordKind,
    /// Whose it is.
    pub application: String,
    /// Its name among the application's things of this kind.
    pub name: String,
}

impl RecordId {
    /// The name of a record.
    pub fn new(kind: RecordKind, application: impl Into<String>, name: impl Into<String>) -> Self {
        RecordId { kind, application: application.into(), name: name.into() }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} of application {:?}", self.kind, self.name, self.application)
    }
}

/// What sort of thing a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// This node's share of a key.
    KeyShare,
    /// A share of a key that its holders have not all confirmed yet.
    ProvisionalKey,
    /// A key's certificate with the signatures of all holders.
    Certificate,
    /// That a key counts as one of another player's.
    HeldKey,
}

impl RecordKind {
    /// Every kind, for tests that must hold for each.
    pub const ALL: &'static [RecordKind] =
        &[RecordKind::KeyShare, RecordKind::ProvisionalKey, RecordKind::Certificate, RecordKind::HeldKey];

    /// The number under which the kind is stored. Never reused for another kind.
    pub fn number(self) -> u16 {
        match self {
            RecordKind::KeyShare => 1,
            RecordKind::ProvisionalKey => 2,
            RecordKind::Certificate => 3,
            RecordKind::HeldKey => 8,
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordKind::KeyShare => "key share",
            RecordKind::ProvisionalKey => "provisional key",
            RecordKind::Certificate => "certificate",
            RecordKind::HeldKey => "held key",
        })
    }
}

/// A sealed record: ciphertext, to be stored and compared but not looked into.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} sealed bytes>", self.0.len())
    }
}
