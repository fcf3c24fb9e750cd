//! What every backend must do: one suite, run once per database by `tests/backends.rs`.
//!
//! Each check is given an empty store of its own and panics if the backend does not conform.

use std::sync::Arc;

use crate::{RecordId, RecordKind, Records, Sealed, StoreError};

/// Expands to one test per check. `$open` is an async function that returns an empty store and whatever
/// must live as long as it.
#[macro_export]
macro_rules! conformance_suite {
    ($backend:ident, $open:path) => {
        mod $backend {
            $crate::conformance_suite!(@checks $open,
                insert_refuses_to_overwrite,
                a_record_is_read_as_it_was_written,
                a_record_is_taken_once,
                a_record_is_taken_once_by_many,
                a_taken_name_is_free_again,
                a_name_is_inserted_once_by_many,
                swap_compares_all_bytes,
                swap_makes_nothing_where_nothing_is,
                swap_succeeds_once_among_racers,
                list_is_per_kind_and_application,
                names_and_values_are_binary_safe,
                large_and_empty_values_are_kept,
            );
        }
    };
    (@checks $open:path, $($check:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $check() {
                let (records, _alive) = $open().await;
                $crate::conformance::$check(records).await;
            }
        )*
    };
}

/// A second insert fails with `Exists`, names the record, and leaves the first one.
pub async fn insert_refuses_to_overwrite(records: Arc<dyn Records>) {
    let id = share("k");
    assert_eq!(records.insert(&id, row(1)).await, Ok(()));
    assert_eq!(records.insert(&id, row(2)).await, Err(StoreError::Exists { record: id.clone() }));
    assert_eq!(records.get(&id).await, Ok(Some(row(1))));
}

/// Get returns what insert was given, as often as it is called, and `None` for another name.
pub async fn a_record_is_read_as_it_was_written(records: Arc<dyn Records>) {
    assert_eq!(records.get(&share("k")).await, Ok(None));
    assert_eq!(records.insert(&share("k"), row(1)).await, Ok(()));
    for _ in 0..2 {
        assert_eq!(records.get(&share("k")).await, Ok(Some(row(1))));
    }
    assert_eq!(records.get(&share("K")).await, Ok(None));
}

/// The second take gets nothing.
pub async fn a_record_is_taken_once(records: Arc<dyn Records>) {
    let id = share("k");
    assert_eq!(records.take(&id).await, Ok(None));
    assert_eq!(records.insert(&id, row(1)).await, Ok(()));
    assert_eq!(records.take(&id).await, Ok(Some(row(1))));
    assert_eq!(records.take(&id).await, Ok(None));
    assert_eq!(records.get(&id).await, Ok(None));
}

/// Of callers that take at the same time, one gets the record.
pub async fn a_record_is_taken_once_by_many(records: Arc<dyn Records>) {
    for round in 0..8 {
        let id = share(&format!("k{round}"));
        assert_eq!(records.insert(&id, row(round)).await, Ok(()));
        let taken = race(&records, |_, records| {
            let id = id.clone();
            async move { records.take(&id).await }
        })
        .await;
        let got: Vec<_> = taken.into_iter().flatten().collect();
        assert_eq!(got, [row(round)]);
    }
}

/// What was taken may be inserted anew.
pub async fn a_taken_name_is_free_again(records: Arc<dyn Records>) {
    assert_eq!(records.insert(&share("k"), row(1)).await, Ok(()));
    assert_eq!(records.take(&share("k")).await, Ok(Some(row(1))));
    assert_eq!(records.insert(&share("k"), row(2)).await, Ok(()));
    assert_eq!(records.get(&share("k")).await, Ok(Some(row(2))));
}

/// Of callers that insert the same name at the same time, one succeeds and its value is kept.
pub async fn a_name_is_inserted_once_by_many(records: Arc<dyn Records>) {
    let id = share("k");
    let inserted = race(&records, |racer, records| {
        let id = id.clone();
        async move {
            match records.insert(&id, row(racer)).await {
                Ok(()) => Ok(Some(racer)),
                Err(StoreError::Exists { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        }
    })
    .await;
    let winners: Vec<u8> = inserted.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(records.get(&id).await, Ok(winners.first().copied().map(row)));
}

/// Swap changes a record only if the old bytes are the stored ones, to the last byte.
pub async fn swap_compares_all_bytes(records: Arc<dyn Records>) {
    let id = share("k");
    assert_eq!(records.insert(&id, row(1)).await, Ok(()));
    for not_it in [row(2), Sealed(Vec::new()), Sealed([row(1).0, vec![0]].concat())] {
        assert_eq!(records.swap(&id, &not_it, row(3)).await, Ok(false));
    }
    assert_eq!(records.get(&id).await, Ok(Some(row(1))));
    assert_eq!(records.swap(&id, &row(1), row(3)).await, Ok(true));
    assert_eq!(records.swap(&id, &row(1), row(4)).await, Ok(false));
    assert_eq!(records.get(&id).await, Ok(Some(row(3))));
}

/// Swap is not a way to insert.
pub async fn swap_makes_nothing_where_nothing_is(records: Arc<dyn Records>) {
    assert_eq!(records.swap(&share("k"), &Sealed(Vec::new()), row(1)).await, Ok(false));
    assert_eq!(records.get(&share("k")).await, Ok(None));
    assert_eq!(records.insert(&share("k"), row(1)).await, Ok(()));
    assert_eq!(records.swap(&share("other"), &row(1), row(2)).await, Ok(false));
    assert_eq!(records.get(&share("k")).await, Ok(Some(row(1))));
}

/// Of callers that swap the same old bytes at the same time, one succeeds and its value is kept.
pub async fn swap_succeeds_once_among_racers(records: Arc<dyn Records>) {
    let id = share("k");
    assert_eq!(records.insert(&id, row(255)).await, Ok(()));
    let swapped = race(&records, |racer, records| {
        let id = id.clone();
        async move { Ok(records.swap(&id, &row(255), row(racer)).await?.then_some(racer)) }
    })
    .await;
    let winners: Vec<u8> = swapped.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(records.get(&id).await, Ok(winners.first().copied().map(row)));
}

/// List returns all names of one kind and one application, in order, and no others.
pub async fn list_is_per_kind_and_application(records: Arc<dyn Records>) {
    let ids = [
        RecordId::new(RecordKind::KeyShare, "app", "b"),
        RecordId::new(RecordKind::KeyShare, "app", "a"),
        RecordId::new(RecordKind::KeyShare, "app", "B"),
        RecordId::new(RecordKind::KeyShare, "App", "c"),
        RecordId::new(RecordKind::KeyShare, "app2", "d"),
        RecordId::new(RecordKind::ProvisionalKey, "app", "a"),
    ];
    for id in &ids {
        assert_eq!(records.insert(id, row(1)).await, Ok(()));
    }
    let [b, a, upper, ..] = ids.clone();
    assert_eq!(records.list(RecordKind::KeyShare, "app").await, Ok(vec![upper, a, b]));
    assert_eq!(records.list(RecordKind::ProvisionalKey, "app").await, Ok(vec![ids[5].clone()]));
    assert_eq!(records.list(RecordKind::ProvisionalKey, "ap").await, Ok(vec![]));
}

/// Any text may be a name, any bytes a value.
pub async fn names_and_values_are_binary_safe(records: Arc<dyn Records>) {
    let all_bytes = Sealed((0..=255).chain([0, 0, 0]).collect());
    let names =
        ["", " ", "a ", "a", "a\0", "a\0b", "%", "_", "'; DROP TABLE records; --", "\u{e9}", "e\u{301}"];
    for (number, name) in names.iter().enumerate() {
        let id = RecordId::new(RecordKind::KeyShare, *name, *name);
        let mut row = all_bytes.clone();
        row.0.push(number as u8);
        assert_eq!(records.insert(&id, row).await, Ok(()), "{name:?}");
    }
    for (number, name) in names.iter().enumerate() {
        let id = RecordId::new(RecordKind::KeyShare, *name, *name);
        assert_eq!(records.list(RecordKind::KeyShare, name).await, Ok(vec![id.clone()]), "{name:?}");
        let row = records.take(&id).await.expect("take works").expect("the record is there");
        assert_eq!(row.0.split_last(), Some((&(number as u8), all_bytes.0.as_slice())), "{name:?}");
    }
}

/// From no byte to a megabyte.
pub async fn large_and_empty_values_are_kept(records: Arc<dyn Records>) {
    let large = Sealed((0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
    for (name, row) in [("empty", Sealed(Vec::new())), ("large", large)] {
        let id = share(name);
        assert_eq!(records.insert(&id, row.clone()).await, Ok(()));
        assert_eq!(records.get(&id).await, Ok(Some(row.clone())));
        assert_eq!(records.swap(&id, &row, Sealed(vec![1])).await, Ok(true));
        assert_eq!(records.swap(&id, &Sealed(vec![1]), row.clone()).await, Ok(true));
        assert_eq!(records.take(&id).await, Ok(Some(row)));
    }
}

const RACERS: u8 = 16;

/// Runs the same thing many times at once and returns what each run returned.
async fn race<F, T>(records: &Arc<dyn Records>, run: impl Fn(u8, Arc<dyn Records>) -> F) -> Vec<T>
where
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
    T: Send + 'static,
{
    let start = Arc::new(tokio::sync::Barrier::new(RACERS.into()));
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..RACERS {
        let (start, run) = (start.clone(), run(racer, records.clone()));
        racers.spawn(async move {
            start.wait().await;
            run.await
        });
    }
    racers.join_all().await.into_iter().map(|result| result.expect("no racer meets an error")).collect()
}

fn share(name: &str) -> RecordId {
    RecordId::new(RecordKind::KeyShare, "application", name)
}

fn row(number: u8) -> Sealed {
    Sealed(vec![number; 100])
}
