//! A laboratory: whole networks of real nodes in one thread, on a virtual clock, with everything that
//! can go wrong drawn from a seed.
//!
//! The engine, the protocols, the sealing of the store and the links' rules are the product's. What is
//! simulated is around them: the network that loses, delays and repeats, the disk that fails, the machine
//! that dies, the caller that leaves. A *schedule* is what one seed says; after each one the invariants
//! must hold, and the same seed gives the same timeline, byte for byte.
//!
//! | question | place |
//! |---|---|
//! | What can go wrong? | `faults.rs`, drawn in `plan.rs`, done in `world.rs`, `disk.rs` and `life.rs` |
//! | What must hold? | `invariants.rs`, `once.rs`, and the end of `schedule` in `life.rs` |
//! | What happened? | `timeline.rs` |
//! | How are many schedules run? | `campaign.rs` |
//!
//! How to use it: `docs/laboratory.md`.

#![allow(clippy::wildcard_enum_match_arm, reason = "most faults and outcomes concern one place only")]

mod caller;
mod campaign;
mod disk;
mod faults;
pub mod frames;
mod invariants;
mod life;
pub mod nodes;
mod once;
mod plan;
mod prepared;
mod timeline;
mod world;

pub use campaign::{Summary, replay, run};
pub use faults::{Fault, Fired};
pub use invariants::{Invariant, Violation};
pub use life::{LIFE, Report};
pub use plan::{Scenario, Workload};
pub use timeline::{Event, Saying, Timeline};
