//! Round 2: open the commitment and hand out shares (docs/spec/key-generation.md, steps 2.1 to 2.3).

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::commitment::Blinding;
use tsm_crypto::{CanonicalScalar, CryptoRng, Curve};
use tsm_types::PlayerIndex;

use super::check::Opened;
use super::deal::{CommitMessage, Dealing, Opening};
use super::{KeygenParameters, ProvisionalKey};
use crate::abort::Abort;
use crate::context::Context;
use crate::echo::Echo;
use crate::per_peer::PerPeer;
use crate::polynomial::evaluate;
use crate::round::{Outgoing, Round, Step};

/// Message of round 2.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct OpenMessage<C: Curve> {
    /// The same for every receiver.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub broadcast: OpenBroadcast<C>,
    /// f_i(j), the sender's polynomial at the receiver's share number: for the receiver alone.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub share: CanonicalScalar<C>,
}

/// Broadcast of round 2.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct OpenBroadcast<C: Curve> {
    /// The commitments that the sender received.
    pub echo: Echo,
    /// What the sender committed to.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub opening: Opening<C>,
    /// Opens the commitment.
    pub blinding: Blinding,
}

/// Committed, waiting for everybody's commitment.
pub(super) struct Committed<C: Curve> {
    pub(super) context: Context,
    pub(super) parameters: KeygenParameters,
    pub(super) dealing: Dealing<C>,
    pub(super) message: CommitMessage,
    pub(super) blinding: Blinding,
}

impl<C: Curve> Round for Committed<C> {
    type Message = CommitMessage;
    type Output = ProvisionalKey;

    fn advance(
        self,
        received: PerPeer<CommitMessage>,
        _: &mut dyn CryptoRng,
    ) -> Result<Step<ProvisionalKey>, Abort> {
        let Committed { context, parameters, dealing, message, blinding } = self;
        // Step 2.1: what this player saw in round 1, in the order of the players.
        let echo = Echo::new(&context, &message, &received.as_ref());
        // Step 2.2: f_i(j) for every holder j, this player's own among them.
        let share_of = |player: PlayerIndex| {
            let number = context
                .players()
                .share_number(player)
                .expect("every player of the session has a place in it");
            evaluate::<C>(dealing.polynomial.expose(), number)
        };
        let own_share = share_of(context.me());
        // Step 2.3: opening and echo to all; each share to its owner alone (rule S-35).
        let broadcast = OpenBroadcast { echo, opening: dealing.opening, blinding };
        let peers = context.peers();
        let send = peers
            .iter()
            .map(|peer| {
                let share = CanonicalScalar::<C>::new(*share_of(*peer).expose());
                // Encodes as an `OpenMessage`.
                Outgoing::new(*peer, &(&broadcast, &share))
            })
            .collect();
        Ok(Step::wait(
            send,
            peers,
            Opened { context, parameters, broadcast, own_share, commitments: received },
        ))
    }
}
