//! Where unused presignatures are: in this process's memory, and nowhere else (docs/storage.md 7).

mod pool;
mod sync;

use std::sync::Arc;

use tsm_protocols::ecdsa::presign::{Presignature, PublicPart};

pub(crate) use pool::Owner;

/// The presignatures of one node.
pub(crate) type Presignatures = pool::Pool<Presignature, Arc<PublicPart>>;
