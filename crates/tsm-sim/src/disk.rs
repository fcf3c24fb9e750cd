//! A database that fails, fills up and dies with its process, over the memory store.

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use tsm_storage::{Memory, RecordId, RecordKind, Records, Sealed, StoreError};

use crate::faults::Fault;
use crate::world::World;

/// How long a write takes before it is seen, and until it is durable.
const WRITE: Duration = Duration::from_millis(2);
const SYNC: Duration = Duration::from_millis(3);

/// What goes wrong at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteFault {
    Fails,
    CrashBefore,
    CrashAfter,
    /// Power is lost before the write is durable.
    PowerLoss,
}

impl WriteFault {
    fn kind(self) -> Fault {
        match self {
            WriteFault::Fails => Fault::WriteFailure,
            WriteFault::CrashBefore | WriteFault::CrashAfter => Fault::WriteCrash,
            WriteFault::PowerLoss => Fault::PowerLoss,
        }
    }
}

/// One process's way to its database. The database outlives it; the way does not.
#[derive(Clone)]
pub(crate) struct Disk {
    player: u16,
    memory: Memory,
    state: Arc<Mutex<State>>,
    world: Weak<World>,
}

#[derive(Default)]
struct State {
    dead: bool,
    full: bool,
    /// At which write from now on, and what.
    plan: Option<(u64, WriteFault)>,
    /// Writes that are seen but not durable: their number, and what was there before.
    unsynced: Vec<(u64, RecordId, Option<Sealed>)>,
    last_write: u64,
}

impl Disk {
    pub(crate) fn new(player: u16, memory: Memory, world: Weak<World>) -> Self {
        Disk { player, memory, state: Arc::default(), world }
    }

    /// Nothing is read or written any more. After a loss of power what was not durable is gone.
    pub(crate) fn cut(&self, power_lost: bool) {
        let mut state = self.lock();
        state.dead = true;
        let unsynced = std::mem::take(&mut state.unsynced);
        if power_lost {
            for (_, id, before) in unsynced.into_iter().rev() {
                self.memory.put_back(&id, before);
            }
        }
    }

    pub(crate) fn plan(&self, write: u64, fault: WriteFault) {
        self.lock().plan = Some((write, fault));
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        (state.full, state.plan) = (false, None);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.lock().dead { Err(unavailable("the process has died")) } else { Ok(()) }
    }

    /// What is planned for the write that begins now.
    async fn before_write(&self) -> Result<Option<WriteFault>, StoreError> {
        sleep(WRITE).await;
        self.alive()?;
        let (fault, full) = {
            let mut state = self.lock();
            if let Some((writes, _)) = &mut state.plan {
                *writes = writes.saturating_sub(1);
            }
            (state.plan.take_if(|(writes, _)| *writes == 0).map(|(_, fault)| fault), state.full)
        };
        if full {
            self.fired(Fault::DiskFull);
            return Err(unavailable("simulated full disk"));
        }
        match fault {
            Some(fault @ WriteFault::Fails) => {
                self.fired(fault.kind());
                Err(unavailable("simulated failure of a write"))
            }
            Some(fault @ WriteFault::CrashBefore) => Err(self.crash(fault)),
            Some(WriteFault::CrashAfter | WriteFault::PowerLoss) | None => Ok(fault),
        }
    }

    /// The write is seen; returns when it is durable.
    async fn after_write(
        &self,
        fault: Option<WriteFault>,
        id: &RecordId,
        before: Option<Sealed>,
    ) -> Result<(), StoreError> {
        let number = {
            let mut state = self.lock();
            state.last_write += 1;
            let number = state.last_write;
            state.unsynced.push((number, id.clone(), before));
            number
        };
        let synced = Synced { disk: self, number };
        if let Some(fault) = fault {
            return Err(self.crash(fault));
        }
        sleep(SYNC).await;
        self.alive()?;
        drop(synced);
        Ok(())
    }

    fn fired(&self, fault: Fault) {
        if let Some(world) = self.world.upgrade() {
            world.lock().store_fault(self.player, fault);
        }
    }

    fn crash(&self, fault: WriteFault) -> StoreError {
        if let Some(world) = self.world.upgrade() {
            world.crash(self.player, fault.kind());
        }
        unavailable("the process has died")
    }
}

/// Marks a write as durable, also when nobody waits for it any more.
struct Synced<'a> {
    disk: &'a Disk,
    number: u64,
}

impl Drop for Synced<'_> {
    fn drop(&mut self) {
        self.disk.lock().unsynced.retain(|(number, _, _)| *number != self.number);
    }
}

fn unavailable(cause: &str) -> StoreError {
    StoreError::Unavailable { cause: cause.to_owned() }
}

#[async_trait]
impl Records for Disk {
    async fn insert(&self, id: &RecordId, row: Sealed) -> Result<(), StoreError> {
        let fault = self.before_write().await?;
        self.memory.insert(id, row).await?;
        self.after_write(fault, id, None).await
    }

    async fn get(&self, id: &RecordId) -> Result<Option<Sealed>, StoreError> {
        self.alive()?;
        self.memory.get(id).await
    }

    async fn take(&self, id: &RecordId) -> Result<Option<Sealed>, StoreError> {
        let fault = self.before_write().await?;
        let taken = self.memory.take(id).await?;
        if taken.is_some() {
            self.after_write(fault, id, taken.clone()).await?;
        }
        Ok(taken)
    }

    async fn swap(&self, id: &RecordId, old: &Sealed, new: Sealed) -> Result<bool, StoreError> {
        let fault = self.before_write().await?;
        let swapped = self.memory.swap(id, old, new).await?;
        if swapped {
            self.after_write(fault, id, Some(old.clone())).await?;
        }
        Ok(swapped)
    }

    async fn list(&self, kind: RecordKind, application: &str) -> Result<Vec<RecordId>, StoreError> {
        self.alive()?;
        self.memory.list(kind, application).await
    }

    async fn close(&self) {}
}
