//! The clients of a load test, and the tally that they share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tsm_sdk::{CurveId, GeneratedKey, SessionConfig, SessionId};
use tsm_types::DerivationPath;

use super::Operation;
use crate::commands::ecdsa::{generate_key, key_info, presign, sign, sign_with_presignature};
use crate::error::CommandError;
use crate::nodes::Nodes;

/// How long a client waits after a failure, so that nodes that refuse at once are not flooded.
const AFTER_A_FAILURE: Duration = Duration::from_millis(50);

/// The most presignatures that a session makes.
const MAX_BATCH: u16 = 100;

/// What every client repeats.
pub(super) struct Load {
    pub(super) operation: Operation,
    pub(super) nodes: Nodes,
    /// Of these players; each operation takes it with a session ID of its own.
    pub(super) session: SessionConfig,
    pub(super) players: Vec<u16>,
    /// Of operations that need one, with the public key at the path.
    pub(super) key: Option<GeneratedKey>,
    pub(super) path: DerivationPath,
    pub(super) threshold: u16,
    pub(super) curve: CurveId,
    /// Presignatures that one operation makes.
    pub(super) batch: u16,
    /// Presignatures that are there to be used, oldest first.
    pub(super) stock: Mutex<VecDeque<String>>,
}

/// What became of an operation that did not fail.
pub(super) enum Once {
    Done,
    /// There was no presignature left to do it with.
    UsedUp,
}

impl Load {
    /// Does the operation once, at all nodes.
    pub(super) async fn once(&self) -> Result<Once, CommandError> {
        let session = self.session.clone().with_session_id(SessionId::generate());
        match self.operation {
            Operation::Sign => {
                let key = self.key()?;
                let digest = digest(key.public_key.curve())?;
                sign(&self.nodes, &session, key, &self.path, &digest).await?;
            }
            Operation::Presign => {
                presign(&self.nodes, &session, &self.key()?.key_id, self.batch).await?;
            }
            Operation::SignWithPresignature => {
                let key = self.key()?;
                let Some(id) = self.stock().pop_front() else { return Ok(Once::UsedUp) };
                let digest = digest(key.public_key.curve())?;
                sign_with_presignature(&self.nodes, &self.players, key, &self.path, &id, &digest).await?;
            }
            Operation::PublicKey => {
                key_info(&self.nodes, &self.key()?.key_id, &self.path).await?;
            }
            Operation::GenerateKey => {
                generate_key(&self.nodes, &session, self.threshold, self.curve, None).await?;
            }
        }
        Ok(Once::Done)
    }

    /// What is to be done between two operations and is no part of them.
    async fn make_room(&self) -> Result<(), CommandError> {
        match self.operation {
            // Nobody uses them, and a node holds so many.
            Operation::Presign => self.delete_presignatures().await,
            Operation::Sign
            | Operation::SignWithPresignature
            | Operation::PublicKey
            | Operation::GenerateKey => Ok(()),
        }
    }

    /// Leaves no presignature that was made for the test.
    pub(super) async fn tidy_up(&self) -> Result<(), CommandError> {
        match self.operation {
            Operation::Presign | Operation::SignWithPresignature => self.delete_presignatures().await,
            Operation::Sign | Operation::PublicKey | Operation::GenerateKey => Ok(()),
        }
    }

    /// Makes presignatures to be used.
    pub(super) async fn stock_up(&self, count: u32) -> Result<(), CommandError> {
        let mut missing = count;
        while missing > 0 {
            let batch = u16::try_from(missing).unwrap_or(u16::MAX).min(MAX_BATCH);
            let session = self.session.clone().with_session_id(SessionId::generate());
            let (ids, _) = presign(&self.nodes, &session, &self.key()?.key_id, batch).await?;
            self.stock().extend(ids);
            missing -= u32::from(batch);
        }
        Ok(())
    }

    async fn delete_presignatures(&self) -> Result<(), CommandError> {
        let key_id = &self.key()?.key_id;
        let deleted = self.nodes.call(|client| {
            let key_id = key_id.clone();
            async move { client.ecdsa().delete_presignatures(&key_id).await }
        });
        deleted.await.all().map(drop)
    }

    fn key(&self) -> Result<&GeneratedKey, CommandError> {
        self.key.as_ref().ok_or_else(|| CommandError::Fault("the load test has no key".to_owned()))
    }

    fn stock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.stock.lock().expect("no holder of this lock panics")
    }
}

/// Nobody knows a message with this digest, and no two operations have the same.
fn digest(curve: CurveId) -> Result<Vec<u8>, CommandError> {
    let mut digest = vec![0; curve.digest_bytes()];
    getrandom::fill(&mut digest).map_err(|error| CommandError::Fault(format!("no randomness: {error}")))?;
    Ok(digest)
}

/// Runs the clients for the time given, or until nothing is left to do it with, and returns how long that
/// was. What is then still under way is dropped, which cancels it.
pub(super) async fn run(load: &Arc<Load>, tally: &Arc<Tally>, clients: u16, duration: Duration) -> Duration {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn(client(load.clone(), tally.clone()));
    }
    let used_up = async { while running.join_next().await.is_some() {} };
    // Either way is an end.
    let _ = timeout(duration, used_up).await;
    let took = started.elapsed();
    running.shutdown().await;
    took.min(duration)
}

async fn client(load: Arc<Load>, tally: Arc<Tally>) {
    loop {
        let started = Instant::now();
        let ended = match load.once().await {
            Ok(Once::Done) => {
                tally.done(started.elapsed());
                load.make_room().await
            }
            Ok(Once::UsedUp) => return,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = ended {
            tally.failed(failure);
            sleep(AFTER_A_FAILURE).await;
        }
    }
}

/// What has ended so far.
pub(super) struct Tally {
    started: Instant,
    ended: Mutex<Ended>,
}

#[derive(Default)]
struct Ended {
    latencies: Vec<Duration>,
    failures: Failures,
}

/// Failed operations by code, or by sentence where there is none.
pub(super) type Failures = BTreeMap<String, Failed>;

/// How often an operation failed in one way, and the last time in full.
pub(super) struct Failed {
    pub(super) count: u64,
    pub(super) last: CommandError,
}

impl Tally {
    pub(super) fn new() -> Self {
        Tally { started: Instant::now(), ended: Mutex::default() }
    }

    fn done(&self, latency: Duration) {
        self.lock().latencies.push(latency);
    }

    fn failed(&self, failure: CommandError) {
        let code = match failure.code() {
            Some(code) => code.to_string(),
            None => failure.to_string(),
        };
        let mut ended = self.lock();
        let count = 1 + ended.failures.get(&code).map_or(0, |failed| failed.count);
        ended.failures.insert(code, Failed { count, last: failure });
    }

    /// How it goes, for the terminal.
    pub(super) fn line(&self) -> String {
        let ended = self.lock();
        let failures: u64 = ended.failures.values().map(|failed| failed.count).sum();
        let rate = ended.latencies.len() as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let last = ended.latencies.last().map_or(0.0, |last| last.as_secs_f64() * 1e3);
        format!("{} done, {rate:.1} a second, last {last:.1} ms, {failures} failed", ended.latencies.len())
    }

    /// Latencies in ascending order, and failures.
    pub(super) fn take(&self) -> (Vec<Duration>, Failures) {
        let mut ended = std::mem::take(&mut *self.lock());
        ended.latencies.sort_unstable();
        (ended.latencies, ended.failures)
    }

    fn lock(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().expect("no holder of this lock panics")
    }
}
