//! A store in a sqlite file.
//!
//! | file | what it is |
//! |---|---|
//! | `tsm.db` | the database; made whole under `tsm.db.new` and renamed, so it is never half a store |
//! | `tsm.db-wal`, `tsm.db-shm` | sqlite's write-ahead log and its index, while the store is open |
//! | `tsm.db.lock` | locked by the process that has the store open; the lock ends with the process |
//!
//! Before the master password is known to be right, the file is read as if it were on a read-only disk
//! (`immutable`): no log, no lock and no table is made. That reading does not see the write-ahead log,
//! which is harmless because `meta` is written once, into the file itself, before the log exists; it is
//! read again through the log when the store is opened.

mod file;
mod meta;
mod records;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use self::file::{Found, beside, file_error};
use self::records::SqliteRecords;
use crate::data_source::{DataSource, Place};
use crate::{Backend, KeyHeader, Records, StoreError};

/// A sqlite database, not open yet.
#[derive(Clone, Debug)]
pub struct Sqlite {
    source: DataSource,
    max_pages: Option<u32>,
}

impl Sqlite {
    /// The database of a data source name: a path, `file:path?_busy_timeout=5000`, or `:memory:`.
    ///
    /// Nothing is opened yet. Fails with [`StoreError::Configuration`], which names what it does not
    /// understand. A store in memory is new at every opening and gone when closed.
    pub fn new(data_source_name: &str) -> Result<Self, StoreError> {
        Ok(Sqlite { source: DataSource::parse(data_source_name)?, max_pages: None })
    }

    /// The database in the file at this path, with default options.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Sqlite { source: DataSource::file(path.into()), max_pages: None }
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.source.place {
            Place::File(path) => Some(path),
            Place::Memory => None,
        }
    }

    /// Lets the file grow to so many pages of 4 KiB only, to try what happens on a full disk.
    #[doc(hidden)]
    #[must_use]
    pub fn with_max_pages(mut self, pages: u32) -> Self {
        self.max_pages = Some(pages);
        self
    }

    fn options(&self, path: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(self.source.busy_timeout)
            // What a taken record leaves free in the file is overwritten.
            .pragma("secure_delete", "ON")
            // The file may come from elsewhere: nothing in its schema may call functions.
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON")
            .disable_statement_logging()
    }

    async fn open_file(&self, path: &Path, headers: &[KeyHeader]) -> Result<SqliteRecords, StoreError> {
        let path = file::resolve(path)?;
        let lock = file::lock(&path)?;
        match file::look_at(&path)? {
            Found::Store => file::warn_if_others_can_read(&path),
            Found::Nothing => self.create_file(&path, headers).await?,
        }
        let mut writer = self
            .options(&path)
            .journal_mode(SqliteJournalMode::Wal)
            // With WAL, only FULL flushes the log before a commit returns.
            .synchronous(SqliteSynchronous::Full);
        if let Some(pages) = self.max_pages {
            writer = writer.pragma("max_page_count", pages.to_string());
        }
        let writer = pool().max_connections(1).connect_with(writer).await.map_err(|e| sort(e, &path))?;
        let readers = pool().max_connections(READERS).connect_lazy_with(self.options(&path).read_only(true));
        let records = SqliteRecords { writer, readers, path, lock: Mutex::new(Some(lock)) };
        if let Err(error) = records.verify(headers).await {
            records.close().await;
            return Err(error);
        }
        Ok(records)
    }

    async fn open_memory(&self, headers: &[KeyHeader]) -> Result<SqliteRecords, StoreError> {
        let path = PathBuf::from(":memory:");
        let options = self.options(&path).in_memory(true);
        // The database lives as long as its only connection.
        let writer = pool()
            .max_connections(1)
            .idle_timeout(None)
            .connect_with(options)
            .await
            .map_err(|e| sort(e, &path))?;
        let mut connection = writer.acquire().await.map_err(|e| sort(e, &path))?;
        meta::create_tables(&mut connection, headers).await.map_err(|e| sort(e, &path))?;
        drop(connection);
        Ok(SqliteRecords { readers: writer.clone(), writer, path, lock: Mutex::new(None) })
    }

    /// Makes the whole store beside its place and moves it there, so that a crash leaves a store or none.
    /// The caller has the lock.
    async fn create_file(&self, path: &Path, headers: &[KeyHeader]) -> Result<(), StoreError> {
        let new = beside(path, ".new");
        for suffix in ["", "-journal", "-wal", "-shm"] {
            file::remove_if_there(&beside(&new, suffix)).map_err(|e| file_error("remove", &new, &e))?;
        }
        let made_file =
            file::private_file().create_new(true).open(&new).map_err(|e| file_error("make", &new, &e))?;
        let made = async {
            // With a rollback journal, so that all is in the file when the commit returns.
            let options = self.options(&new).synchronous(SqliteSynchronous::Full);
            let mut connection = options.connect().await?;
            meta::create_tables(&mut connection, headers).await?;
            connection.close().await
        };
        if let Err(error) = made.await {
            // Only a tidy-up: the next attempt also begins by removing it.
            let _ = fs::remove_file(&new);
            return Err(sort(error, path));
        }
        made_file.sync_all().map_err(|e| file_error("write", &new, &e))?;
        fs::rename(&new, path).map_err(|e| file_error("make", path, &e))?;
        file::sync_folder(path).map_err(|e| file_error("write the folder of", path, &e))
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn key_headers(&self) -> Result<Vec<KeyHeader>, StoreError> {
        let Place::File(path) = &self.source.place else {
            return Ok(Vec::new());
        };
        let path = file::resolve(path)?;
        file::refuse_if_in_use(&path)?;
        if file::look_at(&path)? == Found::Nothing {
            return Ok(Vec::new());
        }
        let as_if_readonly_disk = self.options(&path).read_only(true).immutable(true);
        match read_headers(&as_if_readonly_disk, &path).await {
            // If a crash interrupted the move of the log into the file, only both together make sense.
            // Reading both may rebuild the log's index, but touches neither.
            Err(StoreError::Damaged { .. }) if beside(&path, "-wal").exists() => {
                read_headers(&self.options(&path).read_only(true), &path).await
            }
            result => result,
        }
    }

    async fn open(&self, headers: &[KeyHeader]) -> Result<Arc<dyn Records>, StoreError> {
        Ok(Arc::new(match &self.source.place {
            Place::Memory => self.open_memory(headers).await?,
            Place::File(path) => self.open_file(path, headers).await?,
        }))
    }
}

async fn read_headers(options: &SqliteConnectOptions, path: &Path) -> Result<Vec<KeyHeader>, StoreError> {
    let mut connection = options.connect().await.map_err(|e| sort(e, path))?;
    let headers = meta::read(&mut connection, path).await;
    // Nothing was written, so closing has nothing to lose.
    let _ = connection.close().await;
    headers
}

fn pool() -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_lifetime(None).test_before_acquire(false)
}

/// Sorts an error of sqlite by who must act. Result codes: <https://www.sqlite.org/rescode.html>.
fn sort(error: sqlx::Error, path: &Path) -> StoreError {
    let path = path.display();
    if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
        return StoreError::damaged(format!("{path}: {error}"));
    }
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok());
    // The low byte is the primary code; the rest says in which system call it happened.
    match code.map(|code| code & 0xff) {
        Some(1 | 11 | 26) => StoreError::damaged(format!("{path}: {error}")),
        Some(5 | 6) => {
            StoreError::unavailable(format!("{path} is locked by another program, close it ({error})"))
        }
        Some(13) => StoreError::unavailable(format!(
            "the disk of {path} is full, free some space; what was stored before is safe ({error})"
        )),
        Some(3 | 8 | 14) => StoreError::unavailable(format!(
            "{path} or its folder cannot be written, check its rights ({error})"
        )),
        Some(_) | None => StoreError::unavailable(format!("{path}: {error}")),
    }
}

/// Reads that may run at once beside the one writer.
const READERS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sealed, Stretch};

    #[tokio::test]
    async fn s56_a_write_returns_only_when_the_disk_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tsm.db");
        let headers =
            [KeyHeader { key_id: 1, stretch: Stretch::CHEAPEST, salt: [0; 32], check: Sealed(vec![]) }];
        let records = Sqlite::new("tsm.db").unwrap().open_file(&path, &headers).await.unwrap();
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&records.writer).await.unwrap();
        let full: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&records.writer).await.unwrap();
        assert_eq!((mode.as_str(), full), ("wal", 2));
    }
}
