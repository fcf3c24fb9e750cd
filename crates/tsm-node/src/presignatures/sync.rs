//! The lock of the pool. The test that tries every order of its callers puts another one here.

pub(crate) use std::sync::Mutex;
