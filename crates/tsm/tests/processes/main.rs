//! Networks of real processes: the binary, TCP on loopback, sqlite files, callers with the SDK.
//!
//! The same behaviour is tested faster and more thoroughly on simulated networks (`tests/tests/all`).
//! Here is what only processes can show: signals, crashes, full disks, logs, sockets, memory, and
//! that the seed document's configuration files and its program work.
//!
//! `TSM_BINARY=target/release/tsm cargo test -p tsm --test processes` tests another binary.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected fails; figures are printed"
)]

mod bench;
mod brokers;
mod callers;
mod chaos;
mod crashes;
mod derivation;
mod disagreement;
mod disk;
mod doctor;
mod dynamic_nodes;
mod harness;
mod links;
mod main_job;
mod presignatures;
mod redis;
mod secrets;
mod start;
mod stopping;
mod strangers;
