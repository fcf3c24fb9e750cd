//! The sqlite file: what a wrong password, a foreign file, a full disk and a second process meet.

// The lint knows test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use tsm_crypto::Secret;
use tsm_storage::{RecordId, RecordKind, SealedStore, Sqlite, StoreError, Stretch};

#[tokio::test]
async fn what_is_stored_is_read_again_after_a_restart() {
    let place = Place::new();
    let store = place.open().await;
    store.insert(&share("k"), secret("value")).await.unwrap();
    store.close().await;
    let record = place.open().await.get(&share("k")).await.unwrap().unwrap();
    assert_eq!(record.bytes.expose(), b"value");
}

#[tokio::test]
async fn a_wrong_password_touches_nothing() {
    let place = Place::new();
    let store = place.open().await;
    store.insert(&share("k"), secret("value")).await.unwrap();
    store.close().await;
    place.assert_wrong_password_touches_nothing().await;
}

#[tokio::test]
async fn a_wrong_password_touches_nothing_where_only_the_database_was_restored() {
    let place = Place::new();
    place.open().await.close().await;
    fs::remove_file(place.beside(".lock")).unwrap();
    place.assert_wrong_password_touches_nothing().await;
}

#[tokio::test]
async fn whoever_is_refused_touches_nothing_of_a_store_in_use() {
    let place = Place::new();
    let store = place.open().await;
    store.insert(&share("k"), secret("value")).await.unwrap();
    let before = place.contents();
    for password in [PASSWORD, "wrong"] {
        assert!(matches!(place.try_open(password).await, Err(StoreError::InUse { .. })));
    }
    assert!(place.contents() == before, "a file has changed");
    store.insert(&share("l"), secret("value")).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_touches_nothing_of_a_store_that_crashed() {
    let crashed = Place::new();
    let place = Place::new();
    let store = place.open().await;
    store.insert(&share("k"), secret("value")).await.unwrap();
    for suffix in ["", "-wal"] {
        fs::copy(place.beside(suffix), crashed.beside(suffix)).unwrap();
    }
    crashed.assert_wrong_password_touches_nothing().await;
    let record = crashed.open().await.get(&share("k")).await.unwrap().unwrap();
    assert_eq!(record.bytes.expose(), b"value");
}

#[tokio::test]
async fn a_crash_while_the_log_is_moved_into_the_file_loses_nothing() {
    let crashed = Place::new();
    let place = Place::new();
    let store = place.open().await;
    store.insert(&share("k"), Secret::new(vec![7; 1 << 20])).await.unwrap();
    // The log is complete; of the file only the first page, which tells the new length, is written.
    fs::copy(place.beside("-wal"), crashed.beside("-wal")).unwrap();
    store.close().await;
    fs::write(crashed.beside(""), &fs::read(place.beside("")).unwrap()[..5 * 4096]).unwrap();

    let error = crashed.try_open("wrong").await.unwrap_err();
    assert_eq!(error, StoreError::WrongPassword);
    let record = crashed.open().await.get(&share("k")).await.unwrap().unwrap();
    assert_eq!(record.bytes.expose().len(), 1 << 20);
}

#[tokio::test]
async fn s87_the_files_hold_no_plaintext() {
    let place = Place::new();
    let store = place.open().await;
    let planted = "canary-canary-canary";
    store.insert(&share("k"), secret(planted)).await.unwrap();
    let read = store.get(&share("k")).await.unwrap().unwrap();
    assert_eq!(store.swap(&share("k"), &read, secret(planted)).await, Ok(true));
    store.insert(&share("taken"), secret(planted)).await.unwrap();
    store.take(&share("taken")).await.unwrap();
    place.assert_files_do_not_contain(&[planted, PASSWORD]);
    store.close().await;
    place.assert_files_do_not_contain(&[planted, PASSWORD]);
}

#[tokio::test]
async fn a_taken_record_is_overwritten_in_the_file() {
    let place = Place::new();
    let store = place.open().await;
    store.insert(&share("k"), Secret::new(vec![1; 10_000])).await.unwrap();
    let sealed = store.get(&share("k")).await.unwrap().unwrap().sealed;
    store.take(&share("k")).await.unwrap();
    store.close().await;
    let file = fs::read(place.beside("")).unwrap();
    let part = &sealed.0[5_000..5_032];
    assert!(!file.windows(part.len()).any(|window| window == part));
}

#[tokio::test]
async fn a_row_changed_by_hand_is_corrupt_and_named() {
    for change in [
        "UPDATE records SET name = 'other'",
        "UPDATE records SET application = 'app2', name = 'other'",
        "UPDATE records SET name = 'other', sealed = x''",
        "UPDATE records SET name = 'other', sealed = substr(sealed, 1, 41)",
        "UPDATE records SET name = 'other', sealed = zeroblob(length(sealed))",
    ] {
        let place = Place::new();
        let store = place.open().await;
        store.insert(&share("k"), secret("value")).await.unwrap();
        store.close().await;
        place.sql(change).await;

        let store = place.open().await;
        let application = if change.contains("app2") { "app2" } else { "app" };
        let id = RecordId::new(RecordKind::KeyShare, application, "other");
        assert_eq!(store.list(RecordKind::KeyShare, application).await, Ok(vec![id.clone()]));
        assert_eq!(store.get(&id).await.unwrap_err(), StoreError::Corrupt { record: id.clone() }, "{change}");
        assert_eq!(store.take(&id).await.unwrap_err(), StoreError::Corrupt { record: id }, "{change}");
    }
}

#[tokio::test]
async fn a_changed_header_never_opens_and_never_panics() {
    for change in [
        "DELETE FROM meta",
        "DROP TABLE meta",
        "UPDATE meta SET memory_kib = 1048577",
        "UPDATE meta SET memory_kib = -1",
        "UPDATE meta SET passes = 9223372036854775807",
        "UPDATE meta SET lanes = 0",
        "UPDATE meta SET salt = x'00'",
        "UPDATE meta SET key_id = 256",
        "PRAGMA user_version = 0",
    ] {
        let error = changed(change).await;
        assert!(matches!(error, StoreError::Damaged { .. }), "{change}: {error}");
    }
    for change in [
        "UPDATE meta SET check_value = x''",
        "UPDATE meta SET check_value = zeroblob(length(check_value))",
        "UPDATE meta SET salt = zeroblob(32)",
        "UPDATE meta SET key_id = 2",
    ] {
        assert_eq!(changed(change).await, StoreError::WrongPassword, "{change}");
    }

    async fn changed(change: &'static str) -> StoreError {
        let place = Place::new();
        place.open().await.close().await;
        place.sql(change).await;
        place.try_open(PASSWORD).await.unwrap_err()
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_untouched() {
    for (pragma, found) in [("PRAGMA user_version = 2", 2), ("PRAGMA user_version = -1", u32::MAX)] {
        let place = Place::new();
        place.open().await.close().await;
        place.sql(pragma).await;
        let before = place.contents();
        assert_eq!(place.try_open(PASSWORD).await.unwrap_err(), StoreError::NewerSchema { found });
        assert_eq!(place.contents(), before);
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_store_is_refused_and_untouched() {
    let place = Place::new();
    let foreign = Place::new();
    foreign.sql("CREATE TABLE notes (text)").await;
    let other_database = fs::read(foreign.beside("")).unwrap();
    let cut_short = b"SQLite format 3\0".to_vec();
    for content in [b"-----BEGIN PRIVATE KEY-----".to_vec(), vec![0; 4096], cut_short, other_database] {
        fs::write(place.beside(""), &content).unwrap();
        let before = place.contents();
        let error = place.try_open(PASSWORD).await.unwrap_err();
        assert!(matches!(error, StoreError::NotADatabase { .. }), "{error}");
        assert_eq!(place.contents(), before);
    }
}

#[tokio::test]
async fn a_folder_is_not_a_store() {
    let place = Place::new();
    fs::create_dir(place.beside("")).unwrap();
    assert!(matches!(place.try_open(PASSWORD).await, Err(StoreError::NotADatabase { .. })));
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_not_a_store_and_is_not_waited_for() {
    let place = Place::new();
    let made = std::process::Command::new("mkfifo").arg(place.beside("")).status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    assert!(matches!(place.try_open(PASSWORD).await, Err(StoreError::NotADatabase { .. })));
}

#[tokio::test]
async fn a_file_cut_short_is_an_error_and_not_a_panic() {
    let place = Place::new();
    let store = place.open().await;
    for number in 0..50 {
        store.insert(&share(&format!("k{number}")), Secret::new(vec![7; 1000])).await.unwrap();
    }
    store.close().await;
    let whole = fs::read(place.beside("")).unwrap();
    for length in [72, 100, 4095, 4096, 8192, whole.len() / 2, whole.len() - 1] {
        fs::write(place.beside(""), &whole[..length]).unwrap();
        let outcome = async {
            let store = place.try_open(PASSWORD).await?;
            let all = store.list(RecordKind::KeyShare, "app").await;
            for number in 0..50 {
                store.get(&share(&format!("k{number}"))).await?;
            }
            store.close().await;
            all
        };
        let error = outcome.await.unwrap_err();
        let told = matches!(error, StoreError::Damaged { .. } | StoreError::Corrupt { .. });
        assert!(told, "{length}: {error}");
    }
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let place = Place::new();
    fs::write(place.beside(""), "").unwrap();
    place.open().await.insert(&share("k"), secret("value")).await.unwrap();
}

#[tokio::test]
async fn what_a_crash_left_of_making_a_store_is_no_obstacle() {
    let place = Place::new();
    fs::write(place.beside(".new"), "half a store").unwrap();
    fs::write(place.beside(".new-journal"), "half a journal").unwrap();
    place.open().await.close().await;
    let names: Vec<String> = place.contents().into_keys().collect();
    assert_eq!(names, ["tsm.db", "tsm.db.lock"]);
}

#[tokio::test]
async fn a_log_without_its_database_is_not_replayed_into_a_new_one() {
    let place = Place::new();
    let store = place.open().await;
    store.insert(&share("k"), secret("value")).await.unwrap();
    let log = fs::read(place.beside("-wal")).unwrap();
    store.close().await;
    fs::remove_file(place.beside("")).unwrap();
    fs::write(place.beside("-wal"), log).unwrap();
    let error = place.try_open(PASSWORD).await.unwrap_err();
    assert!(error.to_string().contains("tsm.db-wal is there"), "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let place = Place::new();
    let path = place.folder.path().join("no/tsm.db");
    let error = open(&Sqlite::new(path.to_str().unwrap()).unwrap(), PASSWORD).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }));
    assert!(error.to_string().contains("/no does not exist: make it"), "{error}");
}

#[tokio::test]
async fn a_store_has_one_user_at_a_time_under_any_of_its_names() {
    let place = Place::new();
    let store = place.open().await;
    let link = place.folder.path().join("link.db");
    std::os::unix::fs::symlink(place.beside(""), &link).unwrap();
    for path in [place.beside(""), link, place.folder.path().join("./tsm.db")] {
        let backend = Sqlite::new(path.to_str().unwrap()).unwrap();
        let error = open(&backend, PASSWORD).await.unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    }
    store.close().await;
    drop(store);
    place.open().await;
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open().await;
    store.insert(&share("k"), secret("value")).await.unwrap();
    for name in place.contents().into_keys() {
        let mode = fs::metadata(place.folder.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_lost() {
    let place = Place::new();
    place.open().await.close().await;
    let small = place.backend().with_max_pages(40);
    let store = open(&small, PASSWORD).await.unwrap();
    let value = || Secret::new(vec![7; 10_000]);
    let mut stored = 0;
    let error = loop {
        match store.insert(&share(&format!("k{stored}")), value()).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(stored > 2);
    assert!(matches!(&error, StoreError::Unavailable { cause } if cause.contains("is full")), "{error}");
    // Reads work on, a failed write left nothing, and a taken record makes room.
    assert!(store.get(&share(&format!("k{stored}"))).await.unwrap().is_none());
    assert_eq!(store.take(&share("k0")).await.unwrap().unwrap().expose().len(), 10_000);
    store.insert(&share("k0"), value()).await.unwrap();
    store.close().await;
    drop(store);

    let store = place.open().await;
    assert_eq!(store.list(RecordKind::KeyShare, "app").await.unwrap().len(), stored);
    for number in 0..stored {
        assert!(store.get(&share(&format!("k{number}"))).await.unwrap().is_some(), "{number}");
    }
    store.insert(&share("more"), value()).await.unwrap();
}

#[tokio::test]
async fn another_programs_lock_is_waited_for_and_then_named() {
    let place = Place::new();
    let name = format!("file:{}?_busy_timeout=50", place.beside("").display());
    let store = open(&Sqlite::new(&name).unwrap(), PASSWORD).await.unwrap();
    let mut other = place.connection().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = store.insert(&share("k"), secret("value")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { cause } if cause.contains("locked")), "{error}");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    store.insert(&share("k"), secret("value")).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let place = Place::new();
    let store = place.open().await;
    store.close().await;
    assert!(matches!(store.get(&share("k")).await, Err(StoreError::Unavailable { .. })));
    assert!(matches!(store.insert(&share("k"), secret("x")).await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test]
async fn s29_a_store_of_schema_1_opens_for_ever() {
    let place = Place::new();
    fs::write(place.beside(""), include_bytes!("vectors/store_v1.db")).unwrap();
    let store = place.try_open("password of schema 1").await.unwrap();
    for (kind, name, plaintext) in [
        (RecordKind::KeyShare, "key", "a key share"),
        (RecordKind::ProvisionalKey, "digest", "a provisional key"),
        (RecordKind::Certificate, "digest", "a certificate"),
    ] {
        let id = RecordId::new(kind, "application", name);
        assert_eq!(store.list(kind, "application").await, Ok(vec![id.clone()]));
        assert_eq!(store.get(&id).await.unwrap().unwrap().bytes.expose(), plaintext.as_bytes());
    }
}

const PASSWORD: &str = "correct horse battery staple";

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("tsm.db{suffix}"))
    }

    fn backend(&self) -> Sqlite {
        Sqlite::new(self.beside("").to_str().unwrap()).unwrap()
    }

    async fn try_open(&self, password: &str) -> Result<SealedStore, StoreError> {
        open(&self.backend(), password).await
    }

    async fn open(&self) -> SealedStore {
        self.try_open(PASSWORD).await.unwrap()
    }

    /// Every file and its bytes.
    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect()
    }

    async fn assert_wrong_password_touches_nothing(&self) {
        let before = self.contents();
        let error = self.try_open("correct horse battery stapler").await.unwrap_err();
        assert_eq!(error, StoreError::WrongPassword);
        let after = self.contents();
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        assert!(after == before, "a file has changed");
    }

    fn assert_files_do_not_contain(&self, planted: &[&str]) {
        for (name, bytes) in self.contents() {
            for text in planted {
                let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
                assert!(!found, "{text} in {name}");
            }
        }
    }

    async fn connection(&self) -> sqlx::SqliteConnection {
        connection(&self.beside("")).await
    }

    async fn sql(&self, statement: &'static str) {
        let mut connection = self.connection().await;
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

async fn connection(path: &Path) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.connect().await.unwrap()
}

async fn open(backend: &Sqlite, password: &str) -> Result<SealedStore, StoreError> {
    SealedStore::open(backend, Secret::new(password.to_owned()), Stretch::CHEAPEST).await
}

fn secret(text: &str) -> Secret<Vec<u8>> {
    Secret::new(text.as_bytes().to_vec())
}

fn share(name: &str) -> RecordId {
    RecordId::new(RecordKind::KeyShare, "app", name)
}
