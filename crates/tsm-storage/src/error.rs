//! What can go wrong with a store, sorted by what a person can do about it.

use std::path::PathBuf;

use crate::{RecordId, SCHEMA_VERSION};

/// Why a store refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be used now: disk full, locked, I/O. What was stored before is still there.
    #[error("the store cannot be used now: {cause}")]
    Unavailable {
        /// What the system said, and what may help.
        cause: String,
    },
    /// Nothing was written, because a record of this name is already there.
    #[error("{record} already exists and was left as it is: choose another name")]
    Exists {
        /// The record that was to be inserted.
        record: RecordId,
    },
    /// A record was found, but it is not what this node once sealed under this name.
    #[error(
        "{record} was damaged, tampered with, or moved here from another name or store: \
         restore it from a backup, or make it anew"
    )]
    Corrupt {
        /// The record that was to be read.
        record: RecordId,
    },
    /// The database as a whole does not hold together.
    #[error("the store is damaged: {cause}; restore it from a backup")]
    Damaged {
        /// What is wrong with it.
        cause: String,
    },
    /// The master password does not open this store. Nothing was changed.
    #[error(
        "the master password does not open this store, and nothing was changed: \
         give the password with which the store was made"
    )]
    WrongPassword,
    /// The file is something else. Nothing was changed.
    #[error("{} is not a store of OpenTSM, and was not changed: check the data source name", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The store was written by a later release. Nothing was changed.
    #[error(
        "the store has schema version {found} and this release knows up to {SCHEMA_VERSION}: \
         run the release that wrote it, or a later one"
    )]
    NewerSchema {
        /// The version of the store.
        found: u32,
    },
    /// Another process has the store open.
    #[error(
        "{} is in use by another process: stop it first, or give each node a database of its own",
        path.display()
    )]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The settings of the store make no sense.
    #[error("{cause}")]
    Configuration {
        /// Which setting, and what it may be.
        cause: String,
    },
}

impl StoreError {
    pub(crate) fn unavailable(cause: impl Into<String>) -> Self {
        StoreError::Unavailable { cause: cause.into() }
    }

    pub(crate) fn damaged(cause: impl Into<String>) -> Self {
        StoreError::Damaged { cause: cause.into() }
    }

    pub(crate) fn configuration(cause: impl Into<String>) -> Self {
        StoreError::Configuration { cause: cause.into() }
    }
}
