//! All whole-network tests, in one binary.

mod crashes;
mod disagreement;
mod failures;
mod honest;
mod pairs;
mod wire;
