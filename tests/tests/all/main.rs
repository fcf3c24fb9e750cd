//! All whole-network tests, in one binary, and the sources' own rules.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod adversary;
mod assurance;
mod blame;
mod bombs;
mod crashes;
mod derivation;
mod disagreement;
mod draining;
mod dynamic_nodes;
mod dynamic_nodes_page;
mod exactness;
mod failures;
mod heap;
mod honest;
mod keys;
mod laboratory;
mod limits;
mod measured;
mod pairs;
mod phones;
mod pipes;
mod presignatures;
mod probes;
mod redis;
mod replay;
mod secrecy;
mod silence;
mod source_rules;
mod sources;
mod tenants;
mod wire;
