//! Oblivious transfer, and the multiplication made from it (`docs/spec/ot.md`).
//!
//! Two processes set up a pair state once, by three flights, and use it for all keys and
//! sessions until a check fails or the owner renews it:
//!
//! * [`setup`]: base OT (Masny-Rindal, eprint 2019/706) in one direction, from an extension in the
//!   other, and GGM trees; gives a [`PairState`].
//! * [`extension`]: SoftSpokenOT (Roy, eprint 2022/192), one message from B to A.
//! * [`batch`]: the same for many multiplications at once.
//! * [`vole`]: random vector OLE of DKLs23 (eprint 2023/765, protocol 5.2), one message from A to B.
//! * [`zero_share`]: additive shares of zero from the pair's common seed.
//!
//! Letters as in the spec: in one direction, **A** is the sender of the extended OTs and owns the
//! long-lived correlation Δ; **B** is their receiver and owns the choice bits β. Every pair runs
//! both directions, with independent Δ (rule S-45).
//!
//! What the caller must do: ask for each secret-dependent verdict inside [`PairState::judge`], and
//! give a `ssid_full` that holds fresh randomness of both sides (rule S-54).

pub mod batch;
pub mod extension;
pub mod pair;
pub mod setup;
pub mod vole;
pub mod zero_share;

mod base;
mod bits;
mod columns;
mod gadget;
mod gf128;
mod ggm;
mod limbs;
mod pads;
mod rows;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use batch::{BatchMessage, MAX_BATCH};
pub use extension::{ExtensionContext, ExtensionMessage, ReceiverExtension, SenderExtension};
pub use pair::{Judged, PairState, Verdict};
pub use setup::{
    HigherAnswered, HigherFlight1, HigherFlight2, HigherStarted, LowerAnswered, LowerFlight1, LowerFlight2,
    LowerStarted, SetupContext, SetupError,
};
pub use vole::VoleMessage;

/// A secret-dependent check failed (class S): the peer is faulty and the pair's state is burned.
///
/// Which check it was is not told: all of them have one answer on the wire (rule S-106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckFailed;

impl std::fmt::Display for CheckFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a secret-dependent check failed")
    }
}

impl std::error::Error for CheckFailed {}

/// Bits of Δ, and number of base OTs per direction: the spec's κ_ot.
const DELTA_BITS: usize = 128;

/// Depth k of a GGM tree: bits of Δ per chunk. Twice as many halve an extension's bytes, for four
/// times the leaves to expand in half the trees.
const TREE_DEPTH: usize = 4;

/// Leaves of a tree.
const LEAVES: usize = 1 << TREE_DEPTH;

/// Trees per direction.
const CHUNKS: usize = DELTA_BITS / TREE_DEPTH;

/// A node or leaf of a GGM tree, and a base-OT key.
type Seed = [u8; 16];

/// All leaves of one direction.
type Leaves = [[Seed; LEAVES]; CHUNKS];

/// All ones if `bit` is 1, else zero. `bit` is 0 or 1, and secret: the compiler is kept from
/// making a branch of it.
fn mask128(bit: u128) -> u128 {
    std::hint::black_box(bit.wrapping_neg())
}

/// Bit `index` of a word, as 0 or 1.
fn bit128(word: u128, index: usize) -> u128 {
    (word >> index) & 1
}
