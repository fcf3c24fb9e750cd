//! What lies in the database is sealed, and opens where it was sealed only.

// The lint knows test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use tsm_crypto::Secret;
use tsm_storage::memory::Fault;
use tsm_storage::{Backend, Memory, RecordId, RecordKind, Records, Sealed, SealedStore, StoreError, Stretch};

#[tokio::test]
async fn what_is_stored_is_read_again_after_a_restart() {
    let memory = Memory::new();
    open(&memory).await.insert(&share("k"), secret("value")).await.unwrap();
    let record = open(&memory).await.get(&share("k")).await.unwrap().unwrap();
    assert_eq!(record.bytes.expose(), b"value");
}

#[tokio::test]
async fn a_wrong_password_is_told_before_anything_is_written() {
    let memory = Memory::new();
    open(&memory).await.insert(&share("k"), secret("value")).await.unwrap();
    let before = memory.snapshot();
    let error = SealedStore::open(&memory, password("Master password"), Stretch::CHEAPEST).await.unwrap_err();
    assert_eq!(error, StoreError::WrongPassword);
    assert_eq!(memory.snapshot(), before);
}

#[tokio::test]
async fn a_check_of_the_password_says_whether_there_is_a_store_and_makes_none() {
    let memory = Memory::new();
    assert_eq!(SealedStore::check(&memory, password(PASSWORD)).await, Ok(false));
    assert_eq!(memory.key_headers().await, Ok(vec![]));
    drop(open(&memory).await);
    assert_eq!(SealedStore::check(&memory, password(PASSWORD)).await, Ok(true));
    assert_eq!(
        SealedStore::check(&memory, password("Master password")).await,
        Err(StoreError::WrongPassword)
    );
}

#[tokio::test]
async fn an_empty_password_is_refused() {
    let memory = Memory::new();
    let error = SealedStore::open(&memory, password(""), Stretch::CHEAPEST).await.unwrap_err();
    assert!(matches!(error, StoreError::Configuration { .. }));
    assert_eq!(memory.key_headers().await, Ok(vec![]));
}

#[tokio::test]
async fn the_cost_of_the_password_is_stored_and_honoured() {
    let memory = Memory::new();
    let stretch = Stretch { memory_kib: 64, passes: 2, lanes: 3 };
    SealedStore::open(&memory, password(PASSWORD), stretch).await.unwrap();
    assert_eq!(memory.key_headers().await.unwrap()[0].stretch, stretch);
    // A later start with another setting opens it with its own cost, and does not change it.
    open(&memory).await;
    assert_eq!(memory.key_headers().await.unwrap()[0].stretch, stretch);
    assert_eq!(Stretch::default(), Stretch { memory_kib: 65_536, passes: 3, lanes: 1 });
}

#[tokio::test]
async fn a_cost_out_of_range_is_refused() {
    for stretch in [
        Stretch { memory_kib: 0, passes: 1, lanes: 1 },
        Stretch { memory_kib: 8, passes: 0, lanes: 1 },
        Stretch { memory_kib: 8, passes: 1, lanes: 0 },
        Stretch { memory_kib: 8, passes: 1, lanes: 2 },
        Stretch { memory_kib: u32::MAX, passes: 1, lanes: 1 },
        Stretch { memory_kib: 8, passes: 1, lanes: u32::MAX },
    ] {
        let error = SealedStore::open(&Memory::new(), password(PASSWORD), stretch).await.unwrap_err();
        assert!(matches!(error, StoreError::Configuration { .. }), "{stretch:?}: {error}");
    }
}

#[tokio::test]
async fn two_stores_with_the_same_password_cannot_read_each_other() {
    let (one, two) = (Memory::new(), Memory::new());
    open(&one).await.insert(&share("k"), secret("value")).await.unwrap();
    let store = open(&two).await;
    let row = one.get(&share("k")).await.unwrap().unwrap();
    two.insert(&share("k"), row).await.unwrap();
    assert_eq!(store.get(&share("k")).await.unwrap_err(), StoreError::Corrupt { record: share("k") });
}

#[tokio::test]
async fn a_row_moved_to_another_name_is_corrupt() {
    let memory = Memory::new();
    let store = open(&memory).await;
    store.insert(&share("k"), secret("value")).await.unwrap();
    let row = memory.get(&share("k")).await.unwrap().unwrap();
    for moved in [
        share("K"),
        RecordId::new(RecordKind::ProvisionalKey, "app", "k"),
        RecordId::new(RecordKind::KeyShare, "app2", "k"),
    ] {
        memory.insert(&moved, row.clone()).await.unwrap();
        let error = store.get(&moved).await.unwrap_err();
        assert_eq!(error, StoreError::Corrupt { record: moved.clone() });
        assert!(error.to_string().contains(&format!("{:?}", moved.name)), "{error}");
    }
}

#[tokio::test]
async fn s27_a_damaged_row_is_corrupt_for_every_verb_and_never_panics() {
    let memory = Memory::new();
    let store = open(&memory).await;
    store.insert(&share("k"), secret("value")).await.unwrap();
    let whole = memory.take(&share("k")).await.unwrap().unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..whole.0.len()).map(|length| whole.0[..length].to_vec()).collect();
    for at in 0..whole.0.len() {
        let mut bytes = whole.0.clone();
        bytes[at] ^= 0x80;
        damaged.push(bytes);
    }
    for bytes in damaged {
        memory.insert(&share("k"), Sealed(bytes)).await.unwrap();
        let corrupt = StoreError::Corrupt { record: share("k") };
        assert_eq!(store.get(&share("k")).await.unwrap_err(), corrupt);
        assert_eq!(store.take(&share("k")).await.unwrap_err(), corrupt);
    }
}

#[tokio::test]
async fn s56_a_record_is_taken_once() {
    let store = open(&Memory::new()).await;
    store.insert(&share("k"), secret("value")).await.unwrap();
    assert_eq!(store.take(&share("k")).await.unwrap().unwrap().expose(), b"value");
    assert!(store.take(&share("k")).await.unwrap().is_none());
}

#[tokio::test]
async fn s56_a_crash_at_any_write_never_lets_a_record_be_used_twice() {
    for fault in [Fault::FailWrite(1), Fault::CrashBefore(1), Fault::CrashAfter(1)] {
        let memory = Memory::new();
        let store = open(&memory).await;
        store.insert(&share("k"), secret("value")).await.unwrap();
        memory.plan(fault);
        assert!(store.take(&share("k")).await.is_err(), "{fault:?} is reported");
        memory.restart();
        let again = open(&memory).await.take(&share("k")).await.unwrap();
        assert_eq!(again.is_some(), fault != Fault::CrashAfter(1), "{fault:?}");
    }
}

#[tokio::test]
async fn swap_replaces_what_was_read_and_nothing_else() {
    let store = open(&Memory::new()).await;
    store.insert(&share("k"), secret("one")).await.unwrap();
    let read = store.get(&share("k")).await.unwrap().unwrap();
    assert_eq!(store.swap(&share("k"), &read, secret("two")).await, Ok(true));
    // `read` is out of date now, even for a value equal to the stored one.
    assert_eq!(store.swap(&share("k"), &read, secret("two")).await, Ok(false));
    assert_eq!(store.get(&share("k")).await.unwrap().unwrap().bytes.expose(), b"two");
}

#[tokio::test]
async fn insert_refuses_to_overwrite_and_list_names_what_is_there() {
    let store = open(&Memory::new()).await;
    store.insert(&share("k"), secret("one")).await.unwrap();
    let error = store.insert(&share("k"), secret("two")).await.unwrap_err();
    assert_eq!(error, StoreError::Exists { record: share("k") });
    assert_eq!(store.list(RecordKind::KeyShare, "app").await, Ok(vec![share("k")]));
    assert_eq!(store.list(RecordKind::ProvisionalKey, "app").await, Ok(vec![]));
}

#[tokio::test]
async fn of_many_swaps_of_one_record_each_is_made_once() {
    let store = Arc::new(open(&Memory::new()).await);
    store.insert(&share("counter"), Secret::new(vec![0])).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        tasks.spawn(async move {
            loop {
                let read = store.get(&share("counter")).await.unwrap().unwrap();
                let next = Secret::new(vec![read.bytes.expose()[0] + 1]);
                if store.swap(&share("counter"), &read, next).await.unwrap() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(store.get(&share("counter")).await.unwrap().unwrap().bytes.expose(), &[16]);
}

#[tokio::test]
async fn s107_nothing_that_can_be_printed_shows_a_secret() {
    let memory = Memory::new();
    let store = open(&memory).await;
    store.insert(&share("k"), secret("canary")).await.unwrap();
    let record = store.get(&share("k")).await.unwrap().unwrap();
    assert!(format!("{record:?}").starts_with("Record { bytes: <secret>, sealed: <"), "{record:?}");
    let printed = format!("{store:?} {memory:?} {record:?} {:?}", memory.snapshot());
    assert!(!printed.contains("canary") && !printed.contains(PASSWORD), "{printed}");
}

#[test]
fn kinds_have_numbers_of_their_own_for_ever() {
    let numbers: Vec<(String, u16)> =
        RecordKind::ALL.iter().map(|kind| (kind.to_string(), kind.number())).collect();
    let expected = [("key share", 1), ("provisional key", 2), ("certificate", 3), ("held key", 8)];
    assert_eq!(numbers, expected.map(|(kind, number)| (kind.to_owned(), number)));
}

const PASSWORD: &str = "master password";

async fn open(memory: &Memory) -> SealedStore {
    SealedStore::open(memory, password(PASSWORD), Stretch::CHEAPEST).await.unwrap()
}

fn password(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn secret(text: &str) -> Secret<Vec<u8>> {
    Secret::new(text.as_bytes().to_vec())
}

fn share(name: &str) -> RecordId {
    RecordId::new(RecordKind::KeyShare, "app", name)
}
