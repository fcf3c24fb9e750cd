//! The verbs on an open sqlite database.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::file::check_schema;
use super::{meta, sort};
use crate::{KeyHeader, RecordId, RecordKind, Records, Sealed, StoreError};

/// An open sqlite database. One connection writes, so that writes queue here rather than spin on
/// sqlite's lock; others read beside it.
pub(super) struct SqliteRecords {
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) path: PathBuf,
    /// Held until the connections are closed; dropping the file frees the lock.
    pub(super) lock: Mutex<Option<File>>,
}

impl SqliteRecords {
    /// Checks, through the log, what was read without it.
    pub(super) async fn verify(&self, headers: &[KeyHeader]) -> Result<(), StoreError> {
        let found: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&self.writer)
            .await
            .map_err(|e| self.sort(e))?;
        // A signed number to sqlite, an unsigned one to us: what looks negative is a large version.
        check_schema(found as u32)?;
        let mut connection = self.writer.acquire().await.map_err(|e| self.sort(e))?;
        if meta::read(&mut connection, &self.path).await? != headers {
            return Err(StoreError::unavailable("it changed while it was being opened; start again"));
        }
        Ok(())
    }

    fn sort(&self, error: sqlx::Error) -> StoreError {
        sort(error, &self.path)
    }

    fn decode(&self, id: &RecordId, row: &SqliteRow) -> Result<Sealed, StoreError> {
        row.try_get(0).map(Sealed).map_err(|_| StoreError::Corrupt { record: id.clone() })
    }
}

#[async_trait]
impl Records for SqliteRecords {
    async fn insert(&self, id: &RecordId, row: Sealed) -> Result<(), StoreError> {
        let done = sqlx::query(INSERT)
            .bind(i64::from(id.kind.number()))
            .bind(id.application.clone())
            .bind(id.name.clone())
            .bind(row.0)
            .execute(&self.writer)
            .await
            .map_err(|e| self.sort(e))?;
        match done.rows_affected() {
            0 => Err(StoreError::Exists { record: id.clone() }),
            _ => Ok(()),
        }
    }

    async fn get(&self, id: &RecordId) -> Result<Option<Sealed>, StoreError> {
        let row = sqlx::query(GET)
            .bind(i64::from(id.kind.number()))
            .bind(id.application.clone())
            .bind(id.name.clone())
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| self.sort(e))?;
        row.map(|row| self.decode(id, &row)).transpose()
    }

    async fn take(&self, id: &RecordId) -> Result<Option<Sealed>, StoreError> {
        // `fetch_all`, because `fetch_optional` stops at the first row: the commit would come after it,
        // and its failure would go unseen, leaving the record to be taken once more (S-56).
        let rows = sqlx::query(TAKE)
            .bind(i64::from(id.kind.number()))
            .bind(id.application.clone())
            .bind(id.name.clone())
            .fetch_all(&self.writer)
            .await
            .map_err(|e| self.sort(e))?;
        rows.first().map(|row| self.decode(id, row)).transpose()
    }

    async fn swap(&self, id: &RecordId, old: &Sealed, new: Sealed) -> Result<bool, StoreError> {
        let done = sqlx::query(SWAP)
            .bind(i64::from(id.kind.number()))
            .bind(id.application.clone())
            .bind(id.name.clone())
            .bind(old.0.clone())
            .bind(new.0)
            .execute(&self.writer)
            .await
            .map_err(|e| self.sort(e))?;
        Ok(done.rows_affected() == 1)
    }

    async fn list(&self, kind: RecordKind, application: &str) -> Result<Vec<RecordId>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(LIST)
            .bind(i64::from(kind.number()))
            .bind(application.to_owned())
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.sort(e))?;
        Ok(names.into_iter().map(|name| RecordId::new(kind, application, name)).collect())
    }

    async fn close(&self) {
        // The writer last: it moves the log into the file.
        self.readers.close().await;
        self.writer.close().await;
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

const INSERT: &str = "INSERT INTO records (kind, application, name, sealed) VALUES ($1, $2, $3, $4) \
                      ON CONFLICT DO NOTHING";
const GET: &str = "SELECT sealed FROM records WHERE kind = $1 AND application = $2 AND name = $3";
const TAKE: &str = "DELETE FROM records WHERE kind = $1 AND application = $2 AND name = $3 RETURNING sealed";
const SWAP: &str = "UPDATE records SET sealed = $5 \
                    WHERE kind = $1 AND application = $2 AND name = $3 AND sealed = $4";
const LIST: &str = "SELECT name FROM records WHERE kind = $1 AND application = $2 ORDER BY name";
