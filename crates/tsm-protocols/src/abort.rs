//! Why a protocol run ended early (docs/spec/aborts.md).

use tsm_types::{ErrorCode, PlayerIndex};

/// What kind of failure it was; decides what is burned and who may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// P: authenticated, but no honest player sends it.
    Malformed,
    /// E: players received different versions of one broadcast.
    Equivocation,
    /// B: a commitment, proof or share does not check.
    Cheated,
    /// S: a check that depends on secrets failed. The state shared with the player is burned. All
    /// checks of this class look the same from outside (rule S-106).
    SecretDependent,
    /// The state shared with a player is not there, or was burned by another session.
    PairGone,
    /// U: the contributions do not fit, and nobody can be named.
    Unattributed,
}

/// The end of a run without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// What kind of failure.
    pub class: Class,
    /// The player to be named; `None` only for [`Class::Unattributed`].
    pub player: Option<PlayerIndex>,
    /// Name of the check in docs/spec, for this node's log only.
    pub check: &'static str,
}

impl Abort {
    /// Class P.
    pub fn malformed(player: PlayerIndex, check: &'static str) -> Self {
        Abort { class: Class::Malformed, player: Some(player), check }
    }

    /// Class E.
    pub fn equivocation(player: PlayerIndex, check: &'static str) -> Self {
        Abort { class: Class::Equivocation, player: Some(player), check }
    }

    /// Class B.
    pub fn cheated(player: PlayerIndex, check: &'static str) -> Self {
        Abort { class: Class::Cheated, player: Some(player), check }
    }

    /// Class S.
    pub fn secret_dependent(player: PlayerIndex, check: &'static str) -> Self {
        Abort { class: Class::SecretDependent, player: Some(player), check }
    }

    /// The pair's state is gone.
    pub fn pair_gone(player: PlayerIndex) -> Self {
        Abort { class: Class::PairGone, player: Some(player), check: "pair state" }
    }

    /// Class U.
    pub fn unattributed(check: &'static str) -> Self {
        Abort { class: Class::Unattributed, player: None, check }
    }

    /// The code under which callers and peers learn of it. Says nothing of which check failed.
    pub fn code(&self) -> ErrorCode {
        match self.class {
            Class::Malformed => ErrorCode::MessageMalformed,
            Class::Equivocation => ErrorCode::Equivocation,
            Class::Cheated => ErrorCode::PlayerCheated,
            Class::SecretDependent => ErrorCode::PairCompromised,
            Class::PairGone => ErrorCode::PairRenewed,
            Class::Unattributed => ErrorCode::ResultInconsistent,
        }
    }
}
