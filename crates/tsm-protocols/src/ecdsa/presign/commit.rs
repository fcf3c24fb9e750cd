//! Message 1: commit to every R_i, and to each peer one batch extension (docs/spec/presigning.md,
//! steps 2.1 to 2.4).

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::ot::{BatchMessage, ExtensionContext, batch};
use tsm_crypto::{CryptoRng, Curve, NonIdentityPoint, Secret};
use tsm_types::BatchSize;

use super::multiply::{Committed, Started};
use super::online::Presignature;
use crate::ecdsa::sign::PairStates;
use crate::ecdsa::sign::commit::{CommitBroadcast, commitment_context};
use crate::ecdsa::sign::refusal::Signer;
use crate::key::Certificate;
use crate::per_peer::PerPeer;
use crate::round::{Outgoing, Step};

/// What C_i commits to when presignatures are made.
pub(super) const NONCES: &str = "presignature nonces";

/// What a player knows before round 1 and keeps until the end.
pub(super) struct Run<C: Curve> {
    pub(super) signer: Signer<C>,
    pub(super) certificate: Certificate,
    /// X.
    pub(super) public_key: C::Point,
    pub(super) count: BatchSize,
}

/// Message 1: the same broadcast as when a signature is made, and a batch.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct PresignCommit<C: Curve> {
    /// The same for every receiver.
    pub broadcast: CommitBroadcast,
    /// For this receiver.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub private: BatchPrivate<C>,
}

/// Pairwise part of message 1.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct BatchPrivate<C: Curve> {
    /// Identifier of the pair state that the extension was made from.
    pub pair: [u8; 32],
    /// Batch extension with the sender as B.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub extension: BatchMessage<C>,
}

/// r_i, φ_i and R_i of one presignature.
pub(super) struct Nonce<C: Curve> {
    pub(super) nonce: Secret<C::Scalar>,
    pub(super) mask: Secret<C::Scalar>,
    pub(super) point: NonIdentityPoint<C>,
}

/// Makes message 1 for every peer.
///
/// The first draws from `rng` are r_i and φ_i of each presignature in turn, which a model of the run
/// relies upon.
pub(super) fn commit<C: Curve>(
    run: Run<C>,
    pairs: PerPeer<PairStates>,
    rng: &mut dyn CryptoRng,
) -> Step<Vec<Presignature>> {
    let context = &run.signer.context;
    // Step 2.1: neither r_i nor φ_i is zero (rule S-69).
    let secrets: Vec<[Secret<C::Scalar>; 2]> =
        (0..run.count.get()).map(|_| [(); 2].map(|()| Secret::new(C::random_nonzero_scalar(rng)))).collect();
    let points: Vec<C::Point> = secrets.iter().map(|[nonce, _]| C::mul_generator(nonce.expose())).collect();
    let points = NonIdentityPoint::batch(&points).expect("no nonce is zero");
    let nonces: Vec<Nonce<C>> =
        secrets.into_iter().zip(points).map(|([nonce, mask], point)| Nonce { nonce, mask, point }).collect();
    // Step 2.2: one commitment to all R_i, and N_i.
    let encoded = encode_all::<C>(nonces.iter().map(|nonce| &nonce.point));
    let (commitment, blinding) = commitment_context(context, context.me(), NONCES).commit(&encoded, rng);
    let mut fresh = [0; 32];
    rng.fill_bytes(&mut fresh);
    let broadcast = CommitBroadcast { commitment, fresh };
    // Step 2.3: this player is B of one extension with every peer.
    let started = pairs.map(|peer, states| {
        let extension_context =
            ExtensionContext { ssid: &context.tag().0, sender: peer.0, receiver: context.me().0 };
        let (receivers, extension) = batch::receive(&states.mine, &extension_context, run.count.get(), rng);
        let sent = BatchPrivate { pair: states.mine.id(), extension };
        Started { states, receivers, sent }
    });
    // Step 2.4.
    let send =
        started.iter().map(|(peer, started)| Outgoing::new(peer, &(&broadcast, &started.sent))).collect();
    let peers = context.peers();
    Step::wait(send, peers, Committed { run, nonces, blinding, broadcast, started })
}

/// What C_i commits to: all R_i, one behind the other.
pub(super) fn encode_all<'a, C: Curve>(points: impl Iterator<Item = &'a NonIdentityPoint<C>>) -> Vec<u8> {
    points.flat_map(|point| point.encoded().to_vec()).collect()
}
