//! The echo: proof that all players received the same broadcasts (docs/spec/session.md 3; rules
//! S-18, S-40).
//!
//! A broadcast is sent to each peer by itself, so a faulty player can send two versions of it. The
//! next message of every player therefore lists what it received, one digest for each player, and
//! nothing that depends on the broadcasts is acted upon before all lists agree.

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::{Label, Transcript};
use tsm_types::PlayerIndex;

use crate::abort::Abort;
use crate::context::Context;
use crate::per_peer::PerPeer;

/// Digests of one round's broadcasts as one player saw them, its own among them, by ascending
/// player index.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Echo(Vec<[u8; 32]>);

impl Echo {
    /// What this player saw: its own broadcast and one of every peer.
    pub(crate) fn new<B: BorshSerialize>(context: &Context, mine: &B, theirs: &PerPeer<&B>) -> Self {
        let digest = |player| {
            let broadcast = theirs.get(player).copied().unwrap_or(mine);
            Self::digest_of(context, player, broadcast)
        };
        Echo(context.players().indices().map(digest).collect())
    }

    /// Digest of one broadcast.
    fn digest_of<B: BorshSerialize>(context: &Context, player: PlayerIndex, broadcast: &B) -> [u8; 32] {
        let encoded = borsh::to_vec(broadcast).expect("encoding to memory cannot fail");
        Transcript::new(Label::Echo)
            .bytes("session", &context.tag().0)
            .number("player", u64::from(player.0))
            .bytes("broadcast", &encoded)
            .digest()
    }

    /// The ssid of the run from its second round on: the session's tag, completed by everybody's
    /// broadcasts and with them by everybody's fresh bytes (rule S-03).
    pub(crate) fn ssid(&self, context: &Context) -> [u8; 32] {
        self.0
            .iter()
            .fold(
                Transcript::new(Label::Ssid)
                    .bytes("session", &context.tag().0)
                    .count("broadcasts", self.0.len()),
                |transcript, digest| transcript.bytes("broadcast", digest),
            )
            .digest()
    }

    /// Compares with what every peer saw.
    ///
    /// A peer that reports another broadcast of ours than we sent, or of its own than it sent us, is
    /// at fault. If two peers contradict each other, one of the two is.
    pub(crate) fn check(
        &self,
        context: &Context,
        theirs: &PerPeer<&Echo>,
        check: &'static str,
    ) -> Result<(), Abort> {
        for (peer, echo) in theirs.iter() {
            // Rule S-23: pairing up below must not drop anything.
            if echo.0.len() != self.0.len() {
                return Err(Abort::malformed(peer, check));
            }
        }
        let differing: Vec<(PlayerIndex, PlayerIndex)> = theirs
            .iter()
            .flat_map(|(peer, echo)| {
                let seen = self.0.iter().zip(&echo.0);
                let differs =
                    context.players().indices().zip(seen).filter(|(_, (ours, theirs))| ours != theirs);
                differs.map(move |(player, _)| (player, peer))
            })
            .collect();
        let certain = differing.iter().find(|(player, peer)| player == peer || *player == context.me());
        match (certain, differing.first()) {
            (Some((_, peer)), _) => Err(Abort::equivocation(*peer, check)),
            (None, Some((player, peer))) => Err(Abort::equivocation_of(*player, *peer, check)),
            (None, None) => Ok(()),
        }
    }

    /// Makes this the echo of a player that saw `broadcast` from `player`. For tests that cheat.
    #[doc(hidden)]
    pub fn replace<B: BorshSerialize>(&mut self, context: &Context, player: PlayerIndex, broadcast: &B) {
        for (place, digest) in context.players().indices().zip(&mut self.0) {
            if place == player {
                *digest = Self::digest_of(context, player, broadcast);
            }
        }
    }

    /// The digests. For tests that cheat.
    #[doc(hidden)]
    pub fn digests_mut(&mut self) -> &mut Vec<[u8; 32]> {
        &mut self.0
    }
}
