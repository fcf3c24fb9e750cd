//! Workloads that are measured: OpenTSM's, the same of a rival, and single-signer ECDSA.
//!
//! `benches/signing.rs` takes times, `bin/instructions.rs` is what callgrind counts, `bin/sizes.rs`
//! weighs messages, `bin/medians.rs` makes the table. How to read all of it: `docs/performance.md`.
//!
//! Every workload runs all parties in one thread, lock-step, and hands each message from its sender
//! to its receiver as encoded bytes.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub mod floor;
pub mod ours;
pub mod rival;

/// CPU time that this process has used, over all its threads and the kernel's work for it.
pub fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).expect("nanoseconds of a second"))
}

/// CPU time of `work`, without that of dropping its result.
pub fn clocked<T>(work: impl FnOnce() -> T) -> Duration {
    let start = cpu_time();
    let result = black_box(work());
    let elapsed = cpu_time().saturating_sub(start);
    drop(result);
    elapsed
}

/// What the parties of a run sent each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages to one receiver each.
    pub messages: usize,
    /// Bytes of their encodings, without frame and link.
    pub bytes: usize,
}

impl Traffic {
    fn count(&mut self, body: &[u8]) {
        self.messages += 1;
        self.bytes += body.len();
    }
}

/// The digest that everybody signs.
pub const DIGEST: [u8; 32] = [0x5a; 32];
