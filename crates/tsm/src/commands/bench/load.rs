//! The clients of a load test, and the tally that they share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tsm_sdk::{CurveId, GeneratedKey, SessionConfig, SessionId};
use tsm_types::DerivationPath;

use super::Operation;
use crate::commands::ecdsa::{generate_key, key_info, sign};
use crate::error::CommandError;
use crate::nodes::Nodes;

/// How long a client waits after a failure, so that nodes that refuse at once are not flooded.
const AFTER_A_FAILURE: Duration = Duration::from_millis(50);

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
}

impl Load {
    /// Does the operation once, at all nodes.
    pub(super) async fn once(&self) -> Result<(), CommandError> {
        let session = self.session.clone().with_session_id(SessionId::generate());
        match (self.operation, &self.key) {
            (Operation::Sign, Some(key)) => {
                let digest = digest(key.public_key.curve())?;
                sign(&self.nodes, &session, key, &self.path, &digest).await.map(drop)
            }
            (Operation::PublicKey, Some(key)) => {
                key_info(&self.nodes, &key.key_id, &self.path).await.map(drop)
            }
            (Operation::GenerateKey, _) => {
                generate_key(&self.nodes, &session, self.threshold, self.curve, None).await.map(drop)
            }
            (Operation::Sign | Operation::PublicKey, None) => {
                Err(CommandError::Fault("the load test has no key".to_owned()))
            }
        }
    }
}

/// Nobody knows a message with this digest, and no two operations have the same.
fn digest(curve: CurveId) -> Result<Vec<u8>, CommandError> {
    let mut digest = vec![0; curve.digest_bytes()];
    getrandom::fill(&mut digest).map_err(|error| CommandError::Fault(format!("no randomness: {error}")))?;
    Ok(digest)
}

/// Runs the clients for the time given. What is then still under way is dropped, which cancels it.
pub(super) async fn run(load: Arc<Load>, tally: Arc<Tally>, clients: u16, duration: Duration) {
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (load, tally) = (load.clone(), tally.clone());
        running.spawn(async move {
            loop {
                let started = Instant::now();
                match load.once().await {
                    Ok(()) => tally.done(started.elapsed()),
                    Err(failure) => {
                        tally.failed(failure);
                        sleep(AFTER_A_FAILURE).await;
                    }
                }
            }
        });
    }
    sleep(duration).await;
    running.shutdown().await;
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
