//! The pool of presignatures under every order of its callers (rules S-56, S-57, S-59, S-116): the
//! product's own file, with a lock whose every interleaving is tried.

#![allow(clippy::unwrap_used, reason = "what a helper of a test unwraps is part of the test")]

#[path = "../src/presignatures/pool.rs"]
#[allow(dead_code, reason = "the product uses what these tests do not")]
mod pool;

mod sync {
    pub(crate) use loom::sync::Mutex;
}

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex as Ledger;
use std::time::Duration;

use loom::thread;
use pool::{Owner, Pool};
use tsm_types::{ApplicationId, ErrorCode, Failure, KeyId, PlayerIndex, PresignatureId};

/// Writes down for which tuple it was used; nothing else can be done with it.
struct Secret {
    number: u8,
    ledger: Arc<Ledger<Vec<(u8, u8)>>>,
}

impl Secret {
    fn use_for(self, tuple: u8) -> Vec<u8> {
        self.ledger.lock().unwrap().push((self.number, tuple));
        vec![self.number, tuple]
    }
}

type TestPool = Pool<Secret, u8>;

fn owner() -> Owner {
    Owner { application: ApplicationId::new("demoapp").unwrap(), key_id: KeyId::new("key1").unwrap() }
}

fn id(number: u8) -> PresignatureId {
    PresignatureId([number; 32])
}

fn signers() -> Vec<PlayerIndex> {
    vec![PlayerIndex(0), PlayerIndex(2)]
}

/// Which presignature was used for which digest.
type Uses = Ledger<Vec<(u8, u8)>>;

/// A pool with presignatures 1 to `count`, and the ledger of their uses.
fn filled(count: u8) -> (Arc<TestPool>, Arc<Uses>) {
    let ledger = Arc::new(Ledger::new(Vec::new()));
    let pool = Arc::new(TestPool::new(5, Duration::from_secs(600)));
    fill(&pool, &ledger, 1..=count).unwrap();
    (pool, ledger)
}

fn fill(
    pool: &Arc<TestPool>,
    ledger: &Arc<Ledger<Vec<(u8, u8)>>>,
    numbers: impl ExactSizeIterator<Item = u8>,
) -> Result<(), Failure> {
    let room = pool.reserve(numbers.len())?;
    let made = numbers.map(|number| (id(number), number, Secret { number, ledger: ledger.clone() }));
    room.fill(&owner(), &signers(), made.collect::<Vec<_>>(), |_| true);
    Ok(())
}

fn take(pool: &TestPool, number: u8, tuple: u8) -> Result<Vec<u8>, Failure> {
    pool.take(&owner(), id(number), &[tuple; 32], |secret| secret.use_for(tuple))
}

/// As the operation does it: the oldest, and the next if somebody was faster.
fn take_any(pool: &TestPool, tuple: u8) -> Result<Vec<u8>, Failure> {
    loop {
        let (id, _) = pool.find(&owner(), None, None)?;
        match take(pool, id.0[0], tuple) {
            Err(failure) if failure.code == ErrorCode::PresignatureUsed => {}
            taken => return taken,
        }
    }
}

/// No presignature was used twice, and nothing was given out that was not made by a use.
fn assert_used_once(ledger: &Ledger<Vec<(u8, u8)>>, given: &[Vec<u8>]) {
    let uses = ledger.lock().unwrap();
    let used: BTreeSet<u8> = uses.iter().map(|(number, _)| *number).collect();
    assert_eq!(used.len(), uses.len(), "a presignature was used twice: {uses:?}");
    for bytes in given {
        assert!(uses.contains(&(bytes[0], bytes[1])), "{bytes:?} is of no use of {uses:?}");
    }
}

#[test]
fn s56_s59_of_two_callers_with_different_tuples_one_is_refused_in_every_order() {
    loom::model(|| {
        let (pool, ledger) = filled(1);
        let other = pool.clone();
        let racing = thread::spawn(move || take(&other, 1, 2));
        let results = [take(&pool, 1, 1), racing.join().unwrap()];
        let given: Vec<_> = results.iter().flatten().cloned().collect();
        assert_eq!(given.len(), 1);
        let refused = results.iter().find_map(|result| result.as_ref().err()).unwrap();
        assert_eq!(refused.code, ErrorCode::PresignatureUsed);
        assert_used_once(&ledger, &given);
    });
}

#[test]
fn s56_s117_two_callers_with_the_same_tuple_get_the_same_bytes_in_every_order() {
    loom::model(|| {
        let (pool, ledger) = filled(1);
        let other = pool.clone();
        let racing = thread::spawn(move || take(&other, 1, 7).unwrap());
        let given = [take(&pool, 1, 7).unwrap(), racing.join().unwrap()];
        assert_eq!(given[0], given[1]);
        assert_used_once(&ledger, &given);
    });
}

#[test]
fn s56_s116_callers_that_take_any_never_share_one_in_every_order() {
    loom::model(|| {
        let (pool, ledger) = filled(2);
        let (one, two) = (pool.clone(), pool.clone());
        let racing = [thread::spawn(move || take_any(&one, 1)), thread::spawn(move || take_any(&two, 2))];
        let third = take_any(&pool, 3);
        let results = racing.into_iter().map(|thread| thread.join().unwrap()).chain([third]);
        let (given, refused): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
        let given: Vec<_> = given.into_iter().flatten().collect();
        assert_eq!((given.len(), refused.len()), (2, 1), "two for three callers");
        assert_ne!(given[0][0], given[1][0]);
        assert_used_once(&ledger, &given);
    });
}

#[test]
fn s56_what_was_deleted_is_not_used_afterwards_in_every_order() {
    loom::model(|| {
        let (pool, ledger) = filled(2);
        let other = pool.clone();
        let racing = thread::spawn(move || [take(&other, 1, 1), take(&other, 2, 1)]);
        let deleted = pool.delete(&owner());
        let used = ledger.lock().unwrap().len();
        assert_eq!(deleted + used, 2, "each is either used before the deletion or deleted");
        let results = racing.join().unwrap();
        assert_eq!(ledger.lock().unwrap().len(), used, "nothing is used after the deletion");
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), used);
        assert!(pool.count(&owner()).is_empty());
    });
}

#[test]
fn s105_room_is_never_given_twice_in_every_order() {
    loom::model(|| {
        let (pool, ledger) = filled(3);
        let (other, their_ledger) = (pool.clone(), ledger.clone());
        let racing = thread::spawn(move || fill(&other, &their_ledger, 4..=5).is_ok());
        let mine = fill(&pool, &ledger, 6..=7);
        let theirs = racing.join().unwrap();
        // Five are allowed, three were there, and each wants two more.
        assert!(mine.is_ok() != theirs, "one of the two finds room");
        assert_eq!(pool.count(&owner())[0].count, 5);
        assert!(pool.reserve(1).is_err());
        assert!(take(&pool, 1, 1).is_ok() && pool.reserve(1).is_ok(), "a used one makes room");
    });
}
