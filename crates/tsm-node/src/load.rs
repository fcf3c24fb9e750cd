//! What a node has in hand at a moment, in numbers: for tests of what is left behind, and for soaks.

use crate::node::Node;

/// What lives in a node's memory because of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Running sessions, set-ups of pairs among them.
    pub sessions: usize,
    /// Frames that wait for a session to be opened here.
    pub waiting_frames: usize,
    /// Set-ups of pairs that run.
    pub set_ups: usize,
    /// Peers with whom a state is shared.
    pub pairs: usize,
}

impl Node {
    /// What the node has in hand now.
    pub fn load(&self) -> Load {
        let inner = self.inner();
        let (pairs, set_ups) = inner.pairs.count();
        let (sessions, waiting_frames) = (inner.sessions.running(), inner.sessions.waiting_frames());
        Load { sessions, waiting_frames, set_ups, pairs }
    }
}
