//! The outside of a node: configuration file, HTTP API, login.

pub mod api;
pub mod auth;
pub mod config;
pub mod server;
