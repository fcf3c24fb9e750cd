//! The outside of a node: its configuration file, its HTTP API, its login.
//!
//! Thin: everything a node can do is in `tsm-node`. [`RunningNode::start`] turns a [`config`] into
//! a node that serves; [`api`] is what SDKs talk to (`docs/openapi.json`); [`auth`] says who may.

pub mod api;
pub mod auth;
pub mod config;
mod running;
pub mod server;

pub use running::{RunningNode, StartError};
