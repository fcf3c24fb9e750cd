//! Whole runs of the protocols: honest ones checked by foreign verifiers and by a model in plain big
//! integers, and one cheat for every check and rule.

#![allow(clippy::unwrap_used, reason = "what a helper of a test unwraps is part of the test")]

mod derivation;
mod handmade;
mod honest;
mod keygen;
mod model;
mod mutations;
mod pairs;
mod presigning;
mod rounds;
mod signing;
mod support;
