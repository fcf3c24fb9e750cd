//! Where unused presignatures are: in this process's memory, and nowhere else (docs/storage.md 7).

mod pool;
mod sync;

use std::collections::BTreeMap;
use std::sync::Arc;

use tsm_protocols::ecdsa::presign::{Presignature, PublicPart};
use tsm_transport::ProcessId;
use tsm_types::PlayerIndex;

pub(crate) use pool::Owner;

/// The presignatures of one node.
pub(crate) type Presignatures = pool::Pool<Presignature, Known>;

/// What is public of a presignature.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) public: Arc<PublicPart>,
    /// The processes of the other signers that made it, and alone have their parts.
    pub(crate) makers: Arc<BTreeMap<PlayerIndex, ProcessId>>,
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    use tsm_types::{ApplicationId, ErrorCode, KeyId, PlayerIndex, PresignatureId};

    use super::*;

    #[test]
    fn s56_a_use_that_panics_has_used_it_up_and_harms_no_other() {
        let owner = Owner {
            application: ApplicationId::new("demoapp").unwrap(),
            key_id: KeyId::new("key1").unwrap(),
        };
        let id = |number| PresignatureId([number; 32]);
        let pool = Arc::new(pool::Pool::new(2, Duration::from_secs(600)));
        let made = [1, 2].map(|number| (id(number), (), number));
        pool.reserve(2).unwrap().fill(&owner, &vec![PlayerIndex(0), PlayerIndex(1)], made, |_| true);
        let defect = || pool.take(&owner, id(1), &[1; 32], |_| panic!("a defect"));
        assert!(catch_unwind(AssertUnwindSafe(defect)).is_err());
        let again = pool.take(&owner, id(1), &[1; 32], |number| vec![number]);
        assert_eq!(again.unwrap_err().code, ErrorCode::PresignatureNotFound);
        assert_eq!(pool.take(&owner, id(2), &[1; 32], |number| vec![number]), Ok(vec![2]));
    }
}
