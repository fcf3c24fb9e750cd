//! The OT state of a pair of processes, and the rule that its first failed check is its end
//! (rules S-41, S-42, S-53; `docs/spec/ot.md` 6).
//!
//! The state lives in memory only: it has no encoding and no copy. Δ is the one value that outlives
//! a session and is tested by checks that the peer controls, so verdicts on one state are given one
//! after another, and after the first failure every verdict is the same.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroize;

use super::Leaves;
use crate::secret::Secret;

/// What a pair of processes shares after set-up. Wiped on drop, never stored.
pub struct PairState {
    id: [u8; 32],
    /// A's half; `None` once burned.
    sender: Mutex<Option<SenderHalf>>,
    receiver: ReceiverHalf,
    zero_share_seed: Secret<[u8; 32]>,
    extensions: AtomicU64,
}

/// As A: Δ, and all leaves but Δ_c of each tree c.
pub(super) struct SenderHalf {
    pub(super) delta: Secret<u128>,
    pub(super) leaves: Box<Leaves>,
}

/// As B: all leaves.
pub(super) struct ReceiverHalf {
    pub(super) leaves: Box<Leaves>,
}

impl Drop for SenderHalf {
    fn drop(&mut self) {
        self.leaves.zeroize();
    }
}

impl Drop for ReceiverHalf {
    fn drop(&mut self) {
        self.leaves.zeroize();
    }
}

impl PairState {
    pub(super) fn new(
        id: [u8; 32],
        sender: SenderHalf,
        receiver: ReceiverHalf,
        zero_share_seed: Secret<[u8; 32]>,
    ) -> Self {
        PairState {
            id,
            sender: Mutex::new(Some(sender)),
            receiver,
            zero_share_seed,
            extensions: AtomicU64::new(0),
        }
    }

    /// Identifier of this state, the same at both sides and not secret.
    pub fn id(&self) -> [u8; 32] {
        self.id
    }

    /// Extensions made from this state as B and verdicts asked of it as A. The owner renews the
    /// state when this reaches 2^20.
    pub fn extensions(&self) -> u64 {
        self.extensions.load(Ordering::Relaxed)
    }

    /// Whether a check has failed. A burned state never recovers; only a new set-up helps.
    pub fn is_burned(&self) -> bool {
        match self.sender.lock() {
            Ok(half) => half.is_none(),
            // A verdict that did not come to its end is a failed one.
            Err(_) => true,
        }
    }

    /// Gives one verdict: runs secret-dependent checks while no other verdict of this state runs.
    ///
    /// All checks of class S of a session (C2, C5, C6, C7) belong into such a closure, and nothing
    /// observable may depend on their result before this returns. If the closure fails or panics,
    /// Δ is wiped before anybody else gets a turn.
    ///
    /// # Errors
    ///
    /// [`Verdict::Burned`] without running the closure if an earlier verdict was a failure;
    /// [`Verdict::Failed`] with the closure's error if this one is.
    pub fn judge<T, E>(&self, verdict: impl FnOnce(&Judged<'_>) -> Result<T, E>) -> Result<T, Verdict<E>> {
        let mut sender = match self.sender.lock() {
            Ok(sender) => sender,
            Err(poisoned) => {
                poisoned.into_inner().take();
                return Err(Verdict::Burned);
            }
        };
        let Some(half) = sender.as_ref() else { return Err(Verdict::Burned) };
        match verdict(&Judged { pair: self, sender: half }) {
            Ok(value) => Ok(value),
            Err(error) => {
                sender.take();
                Err(Verdict::Failed(error))
            }
        }
    }

    pub(super) fn receiver(&self) -> &ReceiverHalf {
        &self.receiver
    }

    pub(super) fn zero_share_seed(&self) -> &Secret<[u8; 32]> {
        &self.zero_share_seed
    }

    pub(super) fn count_extension(&self) {
        self.extensions.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for PairState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairState")
            .field("id", &format_args!("{:02x}{:02x}..", self.id[0], self.id[1]))
            .field("extensions", &self.extensions())
            .finish_non_exhaustive()
    }
}

/// Leave to run secret-dependent checks on a pair's state: held only inside [`PairState::judge`].
pub struct Judged<'a> {
    pub(super) pair: &'a PairState,
    pub(super) sender: &'a SenderHalf,
}

/// Why a verdict was not a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<E> {
    /// This check failed, and burned the state.
    Failed(E),
    /// An earlier one had burned it; this one was not run.
    Burned,
}

impl<E: fmt::Display> fmt::Display for Verdict<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Failed(error) => error.fmt(f),
            Verdict::Burned => f.write_str("the pair's OT state is burned"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Verdict<E> {}
