//! Embedded nodes: the same calls and errors as remote ones, and phones that share keys with a server.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod both;
mod broker;
mod configuration;
mod dynamic_nodes;
mod phones;
mod players;
mod proxy;
mod redis;
mod web;
mod web_proxy;
