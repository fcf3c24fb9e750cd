//! A store in memory, for simulations: it loses power, fills up, and is rolled back on command.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::{Backend, KeyHeader, RecordId, RecordKind, Records, Sealed, StoreError};

/// A database in memory. Clones are handles to the same one, so a simulation keeps one while the node
/// that uses the other is stopped and started.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<State>>);

/// What is to go wrong. Writes are counted from 1, beginning when the fault is planned; a call that
/// would change nothing is not a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The nth write fails and changes nothing; what follows works.
    FailWrite(u64),
    /// The process dies before the nth write: that call and all later ones fail.
    CrashBefore(u64),
    /// The process dies after the nth write: it is stored, but that call and all later ones fail.
    CrashAfter(u64),
    /// The disk is full: every write fails, reads work.
    DiskFull,
}

/// What a database held at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    headers: Vec<KeyHeader>,
    rows: BTreeMap<RecordId, Sealed>,
}

#[derive(Debug, Default)]
struct State {
    headers: Vec<KeyHeader>,
    rows: BTreeMap<RecordId, Sealed>,
    fault: Option<Fault>,
    /// Since the fault was planned.
    writes: u64,
    reads: u64,
    crashed: bool,
}

impl Memory {
    /// An empty database.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plans a fault in place of any earlier one, and counts writes from here.
    pub fn plan(&self, fault: Fault) {
        let mut state = self.lock();
        state.fault = Some(fault);
        state.writes = 0;
    }

    /// Ends every fault. After a crash, this is the machine coming back with what had been stored.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.fault = None;
        state.writes = 0;
        state.crashed = false;
    }

    /// Writes tried since the last [`plan`](Self::plan) or [`restart`](Self::restart): run once without
    /// faults to learn how many places there are to crash at.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Records that were asked for so far, whether they were there or not.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// A copy of what is stored.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        Snapshot { headers: state.headers.clone(), rows: state.rows.clone() }
    }

    /// Puts an earlier copy back, as a restored backup would.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut state = self.lock();
        state.headers = snapshot.headers.clone();
        state.rows = snapshot.rows.clone();
    }

    /// Undoes a write that was not yet durable: the record is again what it was before, or is not there.
    pub fn put_back(&self, id: &RecordId, before: Option<Sealed>) {
        let mut state = self.lock();
        match before {
            Some(row) => state.rows.insert(id.clone(), row),
            None => state.rows.remove(id),
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if something ever does, each change is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.lock();
        if state.crashed { Err(crash()) } else { Ok(state) }
    }
}

impl State {
    /// Makes a change to what is stored, unless a fault prevents it.
    fn write(&mut self, change: impl FnOnce(&mut Self)) -> Result<(), StoreError> {
        self.writes += 1;
        match self.fault {
            Some(Fault::FailWrite(n)) if n == self.writes => {
                Err(StoreError::unavailable("simulated failure of a write"))
            }
            Some(Fault::DiskFull) => Err(StoreError::unavailable("simulated full disk")),
            Some(Fault::CrashBefore(n)) if n == self.writes => {
                self.crashed = true;
                Err(crash())
            }
            Some(Fault::CrashAfter(n)) if n == self.writes => {
                change(self);
                self.crashed = true;
                Err(crash())
            }
            Some(Fault::FailWrite(_) | Fault::CrashBefore(_) | Fault::CrashAfter(_)) | None => {
                change(self);
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Backend for Memory {
    async fn key_headers(&self) -> Result<Vec<KeyHeader>, StoreError> {
        Ok(self.running()?.headers.clone())
    }

    async fn open(&self, headers: &[KeyHeader]) -> Result<Arc<dyn Records>, StoreError> {
        let mut state = self.running()?;
        if state.headers.is_empty() {
            state.write(|state| state.headers = headers.to_vec())?;
        } else if state.headers != headers {
            return Err(StoreError::unavailable("the store changed while it was being opened: try again"));
        }
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Records for Memory {
    async fn insert(&self, id: &RecordId, row: Sealed) -> Result<(), StoreError> {
        let mut state = self.running()?;
        if state.rows.contains_key(id) {
            return Err(StoreError::Exists { record: id.clone() });
        }
        state.write(|state| {
            state.rows.insert(id.clone(), row);
        })
    }

    async fn get(&self, id: &RecordId) -> Result<Option<Sealed>, StoreError> {
        let mut state = self.running()?;
        state.reads += 1;
        Ok(state.rows.get(id).cloned())
    }

    async fn take(&self, id: &RecordId) -> Result<Option<Sealed>, StoreError> {
        let mut state = self.running()?;
        if !state.rows.contains_key(id) {
            return Ok(None);
        }
        let mut taken = None;
        state.write(|state| taken = state.rows.remove(id))?;
        Ok(taken)
    }

    async fn swap(&self, id: &RecordId, old: &Sealed, new: Sealed) -> Result<bool, StoreError> {
        let mut state = self.running()?;
        if state.rows.get(id) != Some(old) {
            return Ok(false);
        }
        state.write(|state| {
            state.rows.insert(id.clone(), new);
        })?;
        Ok(true)
    }

    async fn list(&self, kind: RecordKind, application: &str) -> Result<Vec<RecordId>, StoreError> {
        let state = self.running()?;
        Ok(state.rows.keys().filter(|id| id.kind == kind && id.application == application).cloned().collect())
    }

    async fn close(&self) {}
}

fn crash() -> StoreError {
    StoreError::unavailable("simulated crash")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_that_fails_changes_nothing_and_the_next_one_works() {
        let memory = Memory::new();
        memory.plan(Fault::FailWrite(2));
        memory.insert(&id("a"), row()).await.unwrap();
        assert!(memory.insert(&id("b"), row()).await.is_err());
        assert_eq!(memory.get(&id("b")).await, Ok(None));
        memory.insert(&id("b"), row()).await.unwrap();
    }

    #[tokio::test]
    async fn a_crash_leaves_the_store_before_or_after_the_write() {
        for (fault, stored) in [(Fault::CrashBefore(1), None), (Fault::CrashAfter(1), Some(row()))] {
            let memory = Memory::new();
            memory.plan(fault);
            assert!(memory.insert(&id("a"), row()).await.is_err());
            assert!(memory.get(&id("a")).await.is_err());
            memory.restart();
            assert_eq!(memory.get(&id("a")).await, Ok(stored), "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_full_disk_can_be_read_but_not_written() {
        let memory = Memory::new();
        memory.insert(&id("a"), row()).await.unwrap();
        memory.plan(Fault::DiskFull);
        assert!(memory.take(&id("a")).await.is_err());
        assert_eq!(memory.get(&id("a")).await, Ok(Some(row())));
        assert_eq!(memory.writes(), 1);
    }

    #[tokio::test]
    async fn a_snapshot_brings_back_what_was_taken() {
        let memory = Memory::new();
        memory.insert(&id("a"), row()).await.unwrap();
        let snapshot = memory.snapshot();
        memory.take(&id("a")).await.unwrap();
        memory.restore(&snapshot);
        assert_eq!(memory.take(&id("a")).await, Ok(Some(row())));
    }

    fn id(name: &str) -> RecordId {
        RecordId::new(RecordKind::ProvisionalKey, "app", name)
    }

    fn row() -> Sealed {
        Sealed(vec![1, 2, 3])
    }
}
