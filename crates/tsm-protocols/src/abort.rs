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
    /// The player that is at fault beyond doubt; `None` for [`Class::Unattributed`], and for
    /// [`Class::Equivocation`] when it is one of two.
    pub player: Option<PlayerIndex>,
    /// [`Class::Equivocation`] only: one of these two is at fault, and this node cannot tell which.
    /// The first made the broadcast, the second says that it received another one.
    pub one_of: Option<[PlayerIndex; 2]>,
    /// [`Class::PairGone`] only: the identifier of the state that is gone.
    pub pair: Option<[u8; 32]>,
    /// Name of the check in docs/spec, for this node's log only.
    pub check: &'static str,
}

impl Abort {
    /// Class P.
    pub fn malformed(player: PlayerIndex, check: &'static str) -> Self {
        Self::by(Class::Malformed, player, check)
    }

    /// Class E.
    pub fn equivocation(player: PlayerIndex, check: &'static str) -> Self {
        Self::by(Class::Equivocation, player, check)
    }

    /// Class E, where `witness` reports another broadcast of `broadcaster` than we received: either
    /// the one sent two versions or the other lies. Neither is named alone (rule S-18).
    pub fn equivocation_of(broadcaster: PlayerIndex, witness: PlayerIndex, check: &'static str) -> Self {
        let one_of = Some([broadcaster, witness]);
        Abort { class: Class::Equivocation, player: None, one_of, pair: None, check }
    }

    /// Class B.
    pub fn cheated(player: PlayerIndex, check: &'static str) -> Self {
        Self::by(Class::Cheated, player, check)
    }

    /// Class S.
    pub fn secret_dependent(player: PlayerIndex, check: &'static str) -> Self {
        Self::by(Class::SecretDependent, player, check)
    }

    /// The state of this identifier is gone.
    pub fn pair_gone(player: PlayerIndex, pair: [u8; 32]) -> Self {
        Abort { pair: Some(pair), ..Self::by(Class::PairGone, player, "pair state") }
    }

    /// Class U.
    pub fn unattributed(check: &'static str) -> Self {
        Abort { class: Class::Unattributed, player: None, one_of: None, pair: None, check }
    }

    fn by(class: Class, player: PlayerIndex, check: &'static str) -> Self {
        Abort { class, player: Some(player), one_of: None, pair: None, check }
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
