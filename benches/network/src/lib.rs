//! Whole nodes under load; `docs/performance.md` has what they measured.
//!
//! | program | what it measures |
//! |---|---|
//! | `links` | a signature over each way between nodes: TCP, WebSocket, RabbitMQ, Redis |
//! | `tenants` | one server with thousands of phones: memory, first contact, a crowd |
//! | `soak` | sessions without end, some of them failing: memory must stay flat |

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub mod fleet;

/// The one of the binary `tsm`, so that what is measured is what runs.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// CPU time that this process has used, over all its threads and the kernel's work for it.
pub fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).expect("nanoseconds of a second"))
}

/// The digest that everybody signs.
pub const DIGEST: [u8; 32] = [0x5a; 32];
