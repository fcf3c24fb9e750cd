//! Where the mathematics of a round runs, and with which randomness.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rand_core::Rng;
use tokio::sync::Semaphore;
use tsm_crypto::hedged::hedged_rng;
use tsm_crypto::{CryptoRng, IdentityKey, Secret};
use tsm_types::{ErrorCode, Failure};

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
    Pool { permits: Semaphore },
    Inline { seed: Box<Mutex<chacha20::ChaCha20Rng>> },
}

impl Compute {
    /// At most `threads` steps at a time, beside the threads that serve the network.
    pub fn pool(threads: usize, identity: &IdentityKey) -> Self {
        Self::new(Mode::Pool { permits: Semaphore::new(threads.max(1)) }, identity)
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

    /// Runs one step. `context` tells what it is for (session tag, phase and round).
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        context: Vec<u8>,
        job: impl FnOnce(&mut dyn CryptoRng) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        match &self.0.mode {
            Mode::Inline { .. } => Ok(job(&mut *self.rng(&context)?)),
            Mode::Pool { permits } => {
                let _permit = permits.acquire().await.map_err(|_| fault("the compute pool is closed"))?;
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

fn fault(detail: &str) -> Failure {
    Failure::new(ErrorCode::NodeFault, detail)
}
