//! A process that is killed while it writes leaves a store that opens, with every write it was told of.

// The lint knows test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tsm_crypto::Secret;
use tsm_storage::{RecordId, RecordKind, SealedStore, Sqlite, StoreError, Stretch};

const DATABASE: &str = "TSM_STORAGE_CRASH_TEST";

#[tokio::test]
async fn s56_a_store_survives_kill_minus_nine_in_the_middle_of_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tsm.db");
    let mut present = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for round in 0..8 {
        let mut child = start(&path, round);
        let output = child.stdout.take().unwrap();
        // The first rounds hit the making of the store, the later ones its use.
        std::thread::sleep(Duration::from_millis([2, 10, 20, 40, 80, 160, 320, 640][round]));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in BufReader::new(output).lines().map(Result::unwrap) {
            match line.split_once(' ') {
                Some(("inserted", name)) => assert!(present.insert(name.to_owned())),
                Some(("taken", name)) => {
                    assert!(present.remove(name));
                    assert!(taken.insert(name.to_owned()));
                }
                // The test harness also speaks.
                Some(_) | None => {}
            }
        }

        let store = open(&path).await.unwrap();
        let listed = store.list(RecordKind::KeyShare, "app").await.unwrap();
        let names: BTreeSet<String> = listed.iter().map(|id| id.name.clone()).collect();
        for id in &listed {
            let record = store.get(id).await.unwrap().unwrap();
            assert_eq!(record.bytes.expose(), &value(&id.name), "{id} is whole");
        }
        assert!(names.is_disjoint(&taken), "round {round}: a taken record came back");
        // Every write that was announced is there. At most one record is gone without a word: it was being
        // taken, which happens to even numbers only, and the process died before it could say so.
        let missing: BTreeSet<String> = present.difference(&names).cloned().collect();
        assert!(missing.len() <= 1, "round {round}: lost {missing:?}");
        assert!(missing.iter().all(|name| name.ends_with(['0', '2', '4', '6', '8'])), "{missing:?}");
        taken.extend(missing);
        present = names;
        store.close().await;
    }
    assert!(taken.len() > 10, "the rounds were too short to test anything: {}", taken.len());
}

#[tokio::test]
async fn a_store_is_free_again_when_its_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tsm.db");
    let mut child = start(&path, 0);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("inserted")));
    assert_eq!(
        open(&path).await.unwrap_err(),
        StoreError::InUse { path: path.canonicalize().unwrap() },
        "another process has it"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    open(&path).await.unwrap();
}

/// Not a test: the process that the others start and kill.
#[tokio::test]
#[ignore = "started by the other tests"]
async fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let round = std::env::var("ROUND").unwrap();
    let store = open(Path::new(&path)).await.unwrap();
    let mut output = std::io::stdout();
    for number in 0.. {
        let name = format!("{round}-{number}");
        store.insert(&share(&name), Secret::new(value(&name))).await.unwrap();
        writeln!(output, "\ninserted {name}").unwrap();
        if number % 2 == 0 {
            store.take(&share(&name)).await.unwrap().unwrap();
            writeln!(output, "\ntaken {name}").unwrap();
        }
    }
}

fn start(path: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DATABASE, path)
        .env("ROUND", round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn open(path: &Path) -> Result<SealedStore, StoreError> {
    let backend = Sqlite::new(path.to_str().unwrap()).unwrap();
    SealedStore::open(&backend, Secret::new("password".to_owned()), Stretch::CHEAPEST).await
}

/// A value that tells its name and spans several pages.
fn value(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(10_000).collect()
}

fn share(name: &str) -> RecordId {
    RecordId::new(RecordKind::KeyShare, "app", name)
}
