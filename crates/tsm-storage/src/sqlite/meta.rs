//! The tables, and the table `meta`: what is known of the keys before the password is.

use std::path::Path;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

use super::sort;
use crate::{KeyHeader, Sealed, StoreError, Stretch};

/// Makes the tables of a new store, in one transaction.
pub(super) async fn create_tables(
    connection: &mut SqliteConnection,
    headers: &[KeyHeader],
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(CREATE_TABLES).execute(&mut *transaction).await?;
    for header in headers {
        sqlx::query(INSERT_META)
            .bind(i64::from(header.key_id))
            .bind(i64::from(header.stretch.memory_kib))
            .bind(i64::from(header.stretch.passes))
            .bind(i64::from(header.stretch.lanes))
            .bind(header.salt.to_vec())
            .bind(header.check.0.clone())
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

/// The headers of a store, in the order of their key ids.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<Vec<KeyHeader>, StoreError> {
    let rows = sqlx::query(SELECT_META).fetch_all(connection).await.map_err(|e| sort(e, path))?;
    decode_headers(&rows)
}

fn decode_headers(rows: &[SqliteRow]) -> Result<Vec<KeyHeader>, StoreError> {
    if rows.is_empty() {
        return Err(StoreError::damaged("its table \"meta\" is empty"));
    }
    rows.iter()
        .map(|row| decode_header(row).ok_or_else(|| StoreError::damaged("its table \"meta\" makes no sense")))
        .collect()
}

fn decode_header(row: &SqliteRow) -> Option<KeyHeader> {
    let number = |column: usize| row.try_get::<i64, _>(column).ok();
    Some(KeyHeader {
        key_id: number(0)?.try_into().ok()?,
        stretch: Stretch {
            memory_kib: number(1)?.try_into().ok()?,
            passes: number(2)?.try_into().ok()?,
            lanes: number(3)?.try_into().ok()?,
        },
        salt: row.try_get::<Vec<u8>, _>(4).ok()?.try_into().ok()?,
        check: Sealed(row.try_get(5).ok()?),
    })
}

const CREATE_TABLES: &str = "
CREATE TABLE meta (
    key_id INTEGER NOT NULL PRIMARY KEY,
    memory_kib INTEGER NOT NULL,
    passes INTEGER NOT NULL,
    lanes INTEGER NOT NULL,
    salt BLOB NOT NULL,
    check_value BLOB NOT NULL
) STRICT;
CREATE TABLE records (
    kind INTEGER NOT NULL,
    application TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (kind, application, name)
) STRICT;
PRAGMA application_id = 1330926413;
PRAGMA user_version = 1;
";
const INSERT_META: &str = "INSERT INTO meta (key_id, memory_kib, passes, lanes, salt, check_value) \
                           VALUES ($1, $2, $3, $4, $5, $6)";
const SELECT_META: &str =
    "SELECT key_id, memory_kib, passes, lanes, salt, check_value FROM meta ORDER BY key_id";
