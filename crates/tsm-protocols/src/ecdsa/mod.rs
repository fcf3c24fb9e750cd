//! Threshold ECDSA with DKLs23.

pub mod presign;
pub mod sign;
