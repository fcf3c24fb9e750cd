//! The states that a player shares with one peer when it starts a signature.

use std::sync::Arc;

use tsm_crypto::ot::PairState;

/// The state to use, and the others that the peer may use.
///
/// While a state is being renewed, one side may have the new one before the other uses it. Each
/// side's extension is made from the state that this side chose, and named in its message; so a
/// signature works as long as each side holds what the other chose.
#[derive(Clone)]
pub struct PairStates {
    /// For this player's own extension.
    pub mine: Arc<PairState>,
    /// What the peer may have chosen instead.
    pub others: Vec<Arc<PairState>>,
}

impl PairStates {
    /// The state with this identifier, if it is held and not burned.
    pub(in crate::ecdsa) fn find(&self, id: &[u8; 32]) -> Option<Arc<PairState>> {
        let mut held = std::iter::once(&self.mine).chain(&self.others);
        held.find(|state| state.id() == *id && !state.is_burned()).cloned()
    }
}

impl From<Arc<PairState>> for PairStates {
    fn from(mine: Arc<PairState>) -> Self {
        PairStates { mine, others: Vec::new() }
    }
}
