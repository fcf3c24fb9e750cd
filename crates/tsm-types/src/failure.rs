//! What a caller is told when something did not work.
//!
//! Sorted by who must act ([`ErrorCode::actor`]). The data is in fields; the sentences are made
//! here and nowhere else.

use std::fmt;

use crate::error_code::ErrorCode;
use crate::players::{MAX_PLAYERS, PlayerIndex, PlayerKey};
use crate::threshold::Threshold;
use tsm_crypto::CurveId;

/// A refusal or failure, as APIs, SDK and command line show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable, machine-readable reason.
    pub code: ErrorCode,
    /// What happened, with particulars.
    pub detail: String,
    /// The players concerned.
    pub players: Vec<PlayerConcern>,
    /// What the players disagree about, field by field.
    pub differences: Vec<Difference>,
}

/// A player that a failure is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayerConcern {
    /// The player.
    pub player: PlayerIndex,
    /// What is to be said of it: what was awaited, which key it showed.
    pub note: String,
}

/// A field that two players see differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Name of the field as in the API.
    pub field: String,
    /// For a player's public key: whose.
    pub player: Option<PlayerIndex>,
    /// As this node sees it.
    pub ours: String,
    /// As the other player sees it.
    pub theirs: String,
}

impl Failure {
    /// A failure with a detail and nothing else.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Failure { code, detail: detail.into(), players: Vec::new(), differences: Vec::new() }
    }

    /// Adds a player that this is about.
    #[must_use]
    pub fn about(mut self, player: PlayerIndex, note: impl Into<String>) -> Self {
        self.players.push(PlayerConcern { player, note: note.into() });
        self
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        self.code.hint()
    }

    /// A field breaks its rule.
    pub fn invalid_field(field: &str, rule: &str) -> Self {
        Self::new(ErrorCode::RequestInvalidField, format!("`{field}`: {rule}"))
    }

    pub(crate) fn threshold_invalid(t: u64, holders: usize) -> Self {
        Self::new(
            ErrorCode::ThresholdInvalid,
            format!(
                "security threshold {t} is not possible with {holders} players: 1 <= threshold < players"
            ),
        )
    }

    pub(crate) fn player_count(count: usize) -> Self {
        Self::new(
            ErrorCode::PlayersInvalid,
            format!("a session has 2 to {MAX_PLAYERS} players; this one names {count}"),
        )
    }

    pub(crate) fn same_key_twice(one: PlayerIndex, other: PlayerIndex, key: &PlayerKey) -> Self {
        let fingerprint = key.fingerprint();
        Self::new(
            ErrorCode::PlayersDuplicateKey,
            format!("players {one} and {other} both have public key {fingerprint}"),
        )
        .about(one, fingerprint.to_string())
        .about(other, fingerprint.to_string())
    }

    pub(crate) fn digest_length(curve: CurveId, length: usize) -> Self {
        Self::new(
            ErrorCode::DigestInvalid,
            format!("a digest for {curve} has {} bytes; this one has {length}", curve.digest_bytes()),
        )
    }

    /// Fewer signers than the key asks for.
    pub fn signers_too_few(named: usize, threshold: Threshold) -> Self {
        let required = threshold.signers_required();
        Self::new(
            ErrorCode::SignersTooFew,
            format!(
                "{required} of the key's holders must sign (threshold {}); the session names {named}",
                threshold.value()
            ),
        )
    }

    /// Two players were asked for different things.
    pub fn disagreement(with: PlayerIndex, differences: Vec<Difference>) -> Self {
        let fields: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let mut failure = Self::new(
            ErrorCode::SessionDisagreement,
            format!("this node and player {with} were asked for different things: {}", fields.join("; ")),
        )
        .about(with, "its caller asked for something else");
        failure.differences = differences;
        failure
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.player {
            Some(player) => write!(f, "public key of player {player}")?,
            None => f.write_str(&self.field)?,
        }
        write!(f, " is {} here and {} there", self.ours, self.theirs)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Failure {}
