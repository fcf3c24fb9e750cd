//! Message 2: check the peers' extensions, open, multiply for every presignature
//! (docs/spec/presigning.md, steps 3.1 to 3.7, checks C2 and C12).

use std::collections::VecDeque;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::commitment::{Blinding, Commitment};
use tsm_crypto::ot::{
    ExtensionContext, PairState, ReceiverExtension, SenderExtension, VoleMessage, batch, zero_share,
};
use tsm_crypto::{CanonicalScalar, CryptoRng, Curve, Label, NonIdentityPoint, Secret, Transcript};
use tsm_types::{PlayerIndex, PresignatureId};

use super::acknowledge::{Multiplied, Products};
use super::commit::{BatchPrivate, Nonce, PresignCommit, Run};
use super::online::Presignature;
use crate::abort::Abort;
use crate::ecdsa::sign::check::Half;
use crate::ecdsa::sign::commit::CommitBroadcast;
use crate::ecdsa::sign::multiply::{MultiplyPrivate, multiply, pair_ssid};
use crate::ecdsa::sign::{PairStates, abort_of};
use crate::echo::Echo;
use crate::per_peer::PerPeer;
use crate::round::{Outgoing, Round, Step};

/// Message 2.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct PresignMultiply<C: Curve> {
    /// The same for every receiver.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub broadcast: PresignBroadcast<C>,
    /// For this receiver, for every presignature.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub private: Vec<MultiplyPrivate<C>>,
}

/// Broadcast part of message 2.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct PresignBroadcast<C: Curve> {
    /// The broadcasts of message 1 as the sender received them.
    pub echo: Echo,
    /// Opens C_i.
    pub blinding: Blinding,
    /// For every presignature.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub points: Vec<SignaturePoints<C>>,
}

/// What a player shows of its part of one presignature.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct SignaturePoints<C: Curve> {
    /// R_i.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub nonce_point: NonIdentityPoint<C>,
    /// pk_i = sk_i·G.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub key_point: NonIdentityPoint<C>,
}

/// Committed, waiting for everybody's commitment and extension.
pub(super) struct Committed<C: Curve> {
    pub(super) run: Run<C>,
    pub(super) nonces: Vec<Nonce<C>>,
    pub(super) blinding: Blinding,
    pub(super) broadcast: CommitBroadcast,
    pub(super) started: PerPeer<Started<C>>,
}

/// A batch extension with one peer whose message is on its way.
pub(super) struct Started<C: Curve> {
    pub(super) states: PairStates,
    /// For every presignature.
    pub(super) receivers: Vec<ReceiverExtension<C>>,
    pub(super) sent: BatchPrivate<C>,
}

impl<C: Curve> Round for Committed<C> {
    type Message = PresignCommit<C>;
    type Output = Vec<Presignature>;

    fn advance(
        self,
        received: PerPeer<PresignCommit<C>>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<Vec<Presignature>>, Abort> {
        let Committed { run, nonces, blinding, broadcast, started } = self;
        let context = &run.signer.context;

        // Step 3.1, and C12.
        let chosen = received.as_ref().try_map(|peer, message| {
            if message.private.extension.count() != run.count.get() {
                return Err(Abort::malformed(peer, COUNT));
            }
            let (started, named) = (started.get(peer), &message.private.pair);
            started.and_then(|started| started.states.find(named)).ok_or(Abort::pair_gone(peer, *named))
        })?;
        // Step 3.3: what this player saw in round 1, and the ssid that follows from it.
        let echo = Echo::new(context, &broadcast, &received.as_ref().map(|_, message| &message.broadcast));
        let ssid = echo.ssid(context);
        // C2 for every peer, before anything leaves that depends on any of them.
        let mut checked =
            started.zip(received).zip(chosen).try_map(|peer, ((started, message), chosen)| {
                let extension_context =
                    ExtensionContext { ssid: &context.tag().0, sender: context.me().0, receiver: peer.0 };
                let senders = chosen
                    .judge(|judged| {
                        batch::check(judged, &extension_context, &message.private.extension)
                            .map_err(|_| "C2 extension")
                    })
                    .map_err(|verdict| abort_of(peer, &chosen, verdict))?;
                let ssid_full = pair_ssid(context, &ssid, peer, &started.sent, &message.private);
                // From the state that the lower index chose, so that both sides use the same.
                let zero_shares = if context.me() < peer { started.states.mine.clone() } else { chosen };
                Ok(Checked {
                    pair: started.states.mine,
                    zero_shares,
                    ssid_full,
                    commitment: message.broadcast.commitment,
                    parts: started.receivers.into_iter().zip(senders).collect::<Vec<_>>().into_iter(),
                    halves: Vec::new(),
                    unsent: VecDeque::new(),
                    sent: Vec::new(),
                })
            })?;

        let (mut made, mut nonce_points, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for (number, Nonce { nonce, mask, point }) in nonces.into_iter().enumerate() {
            // Step 3.4.
            let id = presignature_id(&ssid, number);
            // Step 3.5: sk_i = λ_i * x_i + ζ_i and pk_i.
            let mut key = Secret::new(*run.signer.key_part.expose());
            for (peer, checked) in checked.iter() {
                let zero = zero_share::pair_share::<C>(&checked.zero_shares, &id.0, context.me().0, peer.0);
                *key.expose_mut() += zero.expose();
            }
            own.push(C::mul_generator(key.expose()));
            // Step 3.6, with each peer by itself.
            let inputs = [nonce.expose(), key.expose()];
            checked = checked.map(|_, checked| checked.multiply(&id, inputs, &mask, &mut own, rng));
            nonce_points.push(point);
            made.push(Own { id, nonce, mask, key });
        }
        // All pk_i and all Γ become bytes together. A uniform scalar is never zero in practice; if one
        // were, the run ends.
        let mut own =
            NonIdentityPoint::batch(&own).ok_or(Abort::unattributed("own points are not zero"))?.into_iter();
        let mut next = || own.next().expect("in the order of above: pk_i, and two points for each peer");
        let mut points = Vec::new();
        for nonce_point in nonce_points {
            points.push(SignaturePoints { nonce_point, key_point: next() });
            checked = checked.map(|_, checked| checked.complete(&mut next));
        }

        // Step 3.7.
        let broadcast = PresignBroadcast { echo, blinding, points };
        let send =
            checked.iter().map(|(peer, made)| Outgoing::new(peer, &(&broadcast, &made.sent))).collect();
        let products =
            checked.map(|_, Checked { pair, commitment, halves, .. }| Products { pair, commitment, halves });
        let peers = context.peers();
        Ok(Step::wait(send, peers, Multiplied { run, ssid, own: made, broadcast, products }))
    }
}

/// Name of C12.
pub(super) const COUNT: &str = "C12 number of presignatures";

/// This player's own values of one presignature.
pub(super) struct Own<C: Curve> {
    pub(super) id: PresignatureId,
    /// r_i.
    pub(super) nonce: Secret<C::Scalar>,
    /// φ_i.
    pub(super) mask: Secret<C::Scalar>,
    /// sk_i.
    pub(super) key: Secret<C::Scalar>,
}

/// A peer whose batch has passed C2.
struct Checked<C: Curve> {
    /// The state of this player's own extension.
    pair: Arc<PairState>,
    /// The state of the zero shares.
    zero_shares: Arc<PairState>,
    ssid_full: [u8; 32],
    commitment: Commitment,
    /// Parts of both directions' batches, for the presignatures that are still to be multiplied.
    parts: std::vec::IntoIter<(ReceiverExtension<C>, SenderExtension<C>)>,
    halves: Vec<Half<C>>,
    /// What waits for its points, in the order of presignatures.
    unsent: VecDeque<(VoleMessage<C>, CanonicalScalar<C>)>,
    sent: Vec<MultiplyPrivate<C>>,
}

impl<C: Curve> Checked<C> {
    /// Step 3.6 for the next presignature; Γᵘ and Γᵛ are appended to `points`.
    fn multiply(
        mut self,
        id: &PresignatureId,
        inputs: [&C::Scalar; 2],
        mask: &Secret<C::Scalar>,
        points: &mut Vec<C::Point>,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let (receiver, sender) = self.parts.next().expect("C12: both batches have a part for each");
        let ssid_full =
            Transcript::new(Label::Ssid).bytes("pair", &self.ssid_full).bytes("presignature", &id.0).digest();
        let (half, vole, psi) = multiply(sender, receiver, ssid_full, inputs, mask, points, rng);
        self.halves.push(half);
        self.unsent.push_back((vole, psi));
        self
    }

    /// Gives the next presignature its Γᵘ and Γᵛ.
    fn complete(mut self, next: &mut impl FnMut() -> NonIdentityPoint<C>) -> Self {
        let (vole, psi) = self.unsent.pop_front().expect("multiplied for each presignature");
        self.sent.push(MultiplyPrivate { vole, gamma_u: next(), gamma_v: next(), psi });
        self
    }
}

/// Step 3.4.
fn presignature_id(ssid: &[u8; 32], number: usize) -> PresignatureId {
    let transcript = Transcript::new(Label::PresignatureId).bytes("run", ssid);
    PresignatureId(transcript.number("number", number as u64).digest())
}

impl<C: Curve> PresignMultiply<C> {
    /// C12: every list has `count` entries.
    pub(super) fn has(&self, peer: PlayerIndex, count: usize) -> Result<(), Abort> {
        if self.broadcast.points.len() != count || self.private.len() != count {
            return Err(Abort::malformed(peer, COUNT));
        }
        Ok(())
    }
}
