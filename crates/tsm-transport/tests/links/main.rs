//! Links, seen from outside: one suite for every implementation, and what is particular to each.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected fails"
)]

mod amqp;
mod broker;
mod broker_adversary;
mod common;
mod memory;
mod proxy;
mod raw;
mod redis;
mod suite;
mod tcp;
mod tcp_door;
mod tcp_strangers;
mod tenants;
mod websocket;
mod websocket_strangers;
