//! Where the mathematics of a round runs, and with which randomness.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_core::Rng;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tsm_crypto::hedged::hedged_rng;
use tsm_crypto::{CryptoRng, IdentityKey, Secret};
use tsm_types::{ErrorCode, Failure, Operation};

/// How long a step that can wait lets others go before it. Without an end, a node that never rests would
/// let every session for presignatures time out.
const PATIENCE: Duration = Duration::from_secs(1);

/// When a step is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A caller waits for what comes of it.
    Now,
    /// It is for later: after all that is urgent, but for [`PATIENCE`].
    Later,
}

impl Urgency {
    /// How urgent the steps of an operation are.
    pub(crate) fn of(operation: &Operation) -> Urgency {
        match operation {
            Operation::GenerateKey { .. } | Operation::SignEcdsa { .. } | Operation::SetUpPair => {
                Urgency::Now
            }
            Operation::GeneratePresignatures { .. } => Urgency::Later,
        }
    }
}

/// Runs the steps of protocols: on a pool of threads with the operating system's randomness, or
/// inline from a seed in a simulation.
#[derive(Clone)]
pub struct Compute(Arc<Inner>);

struct Inner {
    mode: Mode,
    device: Secret<[u8; 32]>,
    /// Tells runs of one context apart, should the operating system repeat itself (rule S-38).
    counter: AtomicU64,
}

enum Mode {
    Pool { permits: Permits },
    Inline { seed: Box<Mutex<chacha20::ChaCha20Rng>> },
}

impl Compute {
    /// At most `threads` steps at a time, beside the threads that serve the network.
    pub fn pool(threads: usize, identity: &IdentityKey) -> Self {
        Self::new(Mode::Pool { permits: Permits::new(threads.max(1)) }, identity)
    }

    /// In the caller's thread, with all randomness drawn from `seed`: the same seed gives the same
    /// run. For simulations only.
    pub fn inline(seed: u64, identity: &IdentityKey) -> Self {
        use chacha20::rand_core::SeedableRng;
        Self::new(
            Mode::Inline { seed: Box::new(Mutex::new(chacha20::ChaCha20Rng::seed_from_u64(seed))) },
            identity,
        )
    }

    fn new(mode: Mode, identity: &IdentityKey) -> Self {
        Compute(Arc::new(Inner { mode, device: identity.device_secret(), counter: AtomicU64::new(0) }))
    }

    /// Runs one step when it is its turn. `context` tells what it is for (session tag, phase and round).
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        urgency: Urgency,
        context: Vec<u8>,
        job: impl FnOnce(&mut dyn CryptoRng) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        match &self.0.mode {
            Mode::Inline { .. } => Ok(job(&mut *self.rng(&context)?)),
            Mode::Pool { permits } => {
                let _permit = permits.acquire(urgency).await?;
                let this = self.clone();
                let task = tokio::task::spawn_blocking(move || Ok(job(&mut *this.rng(&context)?)));
                task.await.map_err(|error| {
                    tracing::error!(%error, "a protocol step panicked");
                    fault("a protocol step panicked; this is a defect, please report it")
                })?
            }
        }
    }

    /// 32 fresh bytes, for identifiers.
    pub(crate) fn fresh(&self, context: &[u8]) -> Result<[u8; 32], Failure> {
        let mut bytes = [0u8; 32];
        self.rng(context)?.fill_bytes(&mut bytes);
        Ok(bytes)
    }

    fn rng(&self, context: &[u8]) -> Result<Box<dyn CryptoRng + Send>, Failure> {
        let mut fresh = Secret::new([0u8; 32]);
        match &self.0.mode {
            Mode::Pool { .. } => getrandom::fill(fresh.expose_mut())
                .map_err(|error| fault(&format!("the operating system gives no randomness: {error}")))?,
            Mode::Inline { seed } => {
                seed.lock().expect("no holder of this lock panics").fill_bytes(fresh.expose_mut());
            }
        }
        let number = self.0.counter.fetch_add(1, Ordering::Relaxed);
        let context = [context, &number.to_le_bytes()].concat();
        Ok(Box::new(hedged_rng(&fresh, &self.0.device, &context)))
    }
}

/// Who may compute.
struct Permits {
    free: Semaphore,
    /// Told when one is given back.
    given_back: Notify,
}

/// Leave to compute until dropped.
struct Permit<'a> {
    permit: Option<SemaphorePermit<'a>>,
    given_back: &'a Notify,
}

impl Permits {
    fn new(number: usize) -> Self {
        Permits { free: Semaphore::new(number), given_back: Notify::new() }
    }

    async fn acquire(&self, urgency: Urgency) -> Result<Permit<'_>, Failure> {
        if urgency == Urgency::Later
            && let Ok(permit) = timeout(PATIENCE, self.acquire_after_all_others()).await
        {
            return Ok(permit);
        }
        let permit = self.free.acquire().await.map_err(|_| fault("the compute pool is closed"))?;
        Ok(self.permit(permit))
    }

    /// A permit that is given back goes to those who wait in the semaphore's queue. Whoever stands
    /// beside it gets what they leave.
    async fn acquire_after_all_others(&self) -> Permit<'_> {
        loop {
            let mut given_back = pin!(self.given_back.notified());
            // From here on it is told, so that nothing is missed between the attempt and the wait.
            given_back.as_mut().enable();
            if let Ok(permit) = self.free.try_acquire() {
                return self.permit(permit);
            }
            given_back.await;
        }
    }

    fn permit<'a>(&'a self, permit: SemaphorePermit<'a>) -> Permit<'a> {
        Permit { permit: Some(permit), given_back: &self.given_back }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permit = None;
        self.given_back.notify_one();
    }
}

fn fault(detail: &str) -> Failure {
    Failure::new(ErrorCode::NodeFault, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    const MOMENT: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn presigning_computes_after_all_that_callers_wait_for() {
        use Urgency::{Later, Now};
        let permits = Arc::new(Permits::new(1));
        let got = Arc::new(Mutex::new(Vec::new()));
        let held = permits.acquire(Now).await.unwrap();
        for (name, urgency) in [("batch", Later), ("one", Now), ("another batch", Later), ("two", Now)] {
            let (permits, got) = (permits.clone(), got.clone());
            tokio::spawn(async move {
                let _permit = permits.acquire(urgency).await.unwrap();
                got.lock().unwrap().push(name);
            });
            sleep(MOMENT).await;
        }
        drop(held);
        sleep(MOMENT).await;
        let got = got.lock().unwrap().clone();
        assert_eq!((&got[..2], got.len()), (&["one", "two"][..], 4), "{got:?}");
        assert_eq!(permits.free.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn presigning_gets_its_turn_on_a_node_that_never_rests() {
        let permits = Arc::new(Permits::new(1));
        // Two that take turns: there is always one that waits.
        for _ in 0..2 {
            let permits = permits.clone();
            tokio::spawn(async move {
                loop {
                    let _permit = permits.acquire(Urgency::Now).await.unwrap();
                    sleep(MOMENT).await;
                }
            });
        }
        sleep(MOMENT / 2).await;
        let asked = Instant::now();
        drop(permits.acquire(Urgency::Later).await.unwrap());
        let waited = asked.elapsed();
        assert!(PATIENCE <= waited && waited < PATIENCE + 5 * MOMENT, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn presigning_that_is_given_up_while_it_waits_takes_nobody_elses_turn() {
        let permits = Arc::new(Permits::new(1));
        let held = permits.acquire(Urgency::Now).await.unwrap();
        let wait = || {
            let permits = permits.clone();
            tokio::spawn(async move { permits.acquire(Urgency::Later).await.map(drop) })
        };
        let (one, other) = (wait(), wait());
        sleep(MOMENT).await;
        // The first is told, and leaves before it looks.
        drop(held);
        one.abort();
        assert!(timeout(PATIENCE / 2, other).await.unwrap().unwrap().is_ok());
    }
}
