//! Message 1: commit to R_i, and to each peer an OT extension (docs/spec/signing.md, steps 3.1 to
//! 3.4).

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::commitment::{Commitment, CommitmentContext};
use tsm_crypto::ecdsa::PartialSignature;
use tsm_crypto::ot::{ExtensionContext, ExtensionMessage, ReceiverExtension};
use tsm_crypto::{CryptoRng, Curve, NonIdentityPoint, Secret};
use tsm_types::PlayerIndex;

use super::multiply::{Committed, Started};
use super::{PairStates, Run};
use crate::context::Context;
use crate::per_peer::PerPeer;
use crate::round::{Outgoing, Step};

/// Message 1.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct CommitMessage<C: Curve> {
    /// The same for every receiver.
    pub broadcast: CommitBroadcast,
    /// For this receiver.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub private: CommitPrivate<C>,
}

/// Broadcast part of message 1.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub struct CommitBroadcast {
    /// C_i: commitment to R_i.
    pub commitment: Commitment,
    /// N_i: fresh bytes that make the run unlike any other (rule S-03).
    pub fresh: [u8; 32],
}

/// Pairwise part of message 1.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct CommitPrivate<C: Curve> {
    /// Identifier of the pair state that the extension was made from.
    pub pair: [u8; 32],
    /// OT extension with the sender as B.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub extension: ExtensionMessage<C>,
}

/// Makes message 1 for every peer.
///
/// The first two draws from `rng` are r_i and φ_i, which a model of the run relies upon.
pub(super) fn commit<C: Curve>(
    run: Run<C>,
    pairs: PerPeer<PairStates>,
    rng: &mut dyn CryptoRng,
) -> Step<PartialSignature> {
    // Step 3.1: r_i and φ_i, neither zero (rule S-69); R_i = r_i * G.
    let nonce = Secret::new(C::random_nonzero_scalar(rng));
    let mask = Secret::new(C::random_nonzero_scalar(rng));
    let nonce_point =
        NonIdentityPoint::<C>::new(C::mul_generator(nonce.expose())).expect("the nonce is not zero");
    // Step 3.2: C_i and N_i.
    let (commitment, blinding) =
        commitment_context(&run.context, run.context.me()).commit(nonce_point.encoded(), rng);
    let mut fresh = [0; 32];
    rng.fill_bytes(&mut fresh);
    let broadcast = CommitBroadcast { commitment, fresh };
    // Step 3.3: this player is B of an extension with every peer.
    let started = pairs.map(|peer, states| {
        let context =
            ExtensionContext { ssid: &run.context.tag().0, sender: peer.0, receiver: run.context.me().0 };
        let (receiver, extension) = ReceiverExtension::new(&states.mine, &context, rng);
        let sent = CommitPrivate { pair: states.mine.id(), extension };
        Started { states, receiver, sent }
    });
    // Step 3.4.
    let send =
        started.iter().map(|(peer, started)| Outgoing::new(peer, &(&broadcast, &started.sent))).collect();
    let peers = run.context.peers();
    Step::wait(send, peers, Committed { run, nonce, mask, nonce_point, blinding, broadcast, started })
}

/// What C_i is bound to (rule S-11).
pub(super) fn commitment_context(context: &Context, player: PlayerIndex) -> CommitmentContext<'_> {
    CommitmentContext { ssid: &context.tag().0, committer: player.0, purpose: "signing nonce" }
}
