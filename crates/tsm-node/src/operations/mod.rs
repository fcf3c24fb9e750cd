//! What callers can ask for, one file each: open, load, start, drive, keep, answer.

pub(crate) mod generate_key;
pub(crate) mod keys;
pub(crate) mod presignatures;
pub(crate) mod sign;

use tsm_types::{ErrorCode, Failure};

/// Refuses an operation that the configuration does not enable.
fn enabled(feature: bool, name: &str) -> Result<(), Failure> {
    if feature {
        return Ok(());
    }
    Err(Failure::new(
        ErrorCode::OperationDisabled,
        format!("{name} is not enabled in this node's configuration"),
    ))
}
