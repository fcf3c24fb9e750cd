//! Every backend passes the same suite. A new database joins by one function and one line.

// The lint knows test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use tempfile::TempDir;
use tsm_storage::{Backend, KeyHeader, Memory, Records, Sealed, Sqlite, StoreError, Stretch};

tsm_storage::conformance_suite!(memory, crate::memory_store);
tsm_storage::conformance_suite!(sqlite_file, crate::sqlite_file_store);
tsm_storage::conformance_suite!(sqlite_memory, crate::sqlite_memory_store);

#[tokio::test]
async fn a_store_keeps_the_headers_it_was_made_with_and_refuses_others() {
    let folder = tempfile::tempdir().unwrap();
    let backends: [Box<dyn Backend>; 2] = [Box::new(Memory::new()), Box::new(sqlite_file(&folder))];
    for backend in backends {
        assert_eq!(backend.key_headers().await, Ok(vec![]));
        backend.open(&headers(1)).await.unwrap().close().await;
        assert_eq!(backend.key_headers().await, Ok(headers(1)));
        backend.open(&headers(1)).await.unwrap().close().await;
        let refused = backend.open(&headers(2)).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
        assert_eq!(backend.key_headers().await, Ok(headers(1)));
    }
}

async fn memory_store() -> (Arc<dyn Records>, ()) {
    (Memory::new().open(&headers(1)).await.unwrap(), ())
}

async fn sqlite_file_store() -> (Arc<dyn Records>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (sqlite_file(&folder).open(&headers(1)).await.unwrap(), folder)
}

async fn sqlite_memory_store() -> (Arc<dyn Records>, ()) {
    (Sqlite::new(":memory:").unwrap().open(&headers(1)).await.unwrap(), ())
}

fn sqlite_file(folder: &TempDir) -> Sqlite {
    Sqlite::new(folder.path().join("tsm.db").to_str().unwrap()).unwrap()
}

fn headers(byte: u8) -> Vec<KeyHeader> {
    vec![KeyHeader { key_id: 1, stretch: Stretch::CHEAPEST, salt: [byte; 32], check: Sealed(vec![byte; 40]) }]
}
