//! Threshold ECDSA with DKLs23.

pub mod sign;
