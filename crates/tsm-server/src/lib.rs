//! The outside of a node that serves: its HTTP API and its login.
//!
//! Thin: everything a node can do is in `tsm-node`. [`RunningNode::start`] turns a [`config`] into
//! a node that serves; [`doctor`] checks it against the running world; [`api`] is what SDKs talk to (`docs/openapi.json`); [`auth`] says who may.

pub mod api;
pub mod doctor;
mod management;
mod metrics;
mod running;
pub mod server;

pub use tsm_config as config;
pub use tsm_config::auth;

pub use running::{RunningNode, StartError};
