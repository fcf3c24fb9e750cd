//! Message 2: check the peers' extensions, open R_i, multiply with each peer (docs/spec/signing.md,
//! steps 4.1 to 4.7, check C2).

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::commitment::{Blinding, Commitment};
use tsm_crypto::ecdsa::PartialSignature;
use tsm_crypto::ot::{
    ExtensionContext, PairState, ReceiverExtension, SenderExtension, VoleMessage, zero_share,
};
use tsm_crypto::{CanonicalScalar, CryptoRng, Curve, Label, NonIdentityPoint, Secret, Transcript};
use tsm_types::PlayerIndex;

use super::check::{Half, Multiplied, Product};
use super::commit::{CommitBroadcast, CommitMessage, CommitPrivate};
use super::{PairStates, Run, abort_of};
use crate::abort::Abort;
use crate::context::Context;
use crate::echo::Echo;
use crate::per_peer::PerPeer;
use crate::round::{Outgoing, Round, Step};

/// Message 2.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct MultiplyMessage<C: Curve> {
    /// The same for every receiver.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub broadcast: MultiplyBroadcast<C>,
    /// For this receiver.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub private: MultiplyPrivate<C>,
}

/// Broadcast part of message 2.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct MultiplyBroadcast<C: Curve> {
    /// The broadcasts of message 1 as the sender received them, the spec's D_i.
    pub echo: Echo,
    /// Opens C_i.
    pub blinding: Blinding,
    /// R_i.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub nonce_point: NonIdentityPoint<C>,
    /// pk_i = sk_i·G.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub key_point: NonIdentityPoint<C>,
}

/// Pairwise part of message 2.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct MultiplyPrivate<C: Curve> {
    /// The multiplication with the sender as A: (ã, η, μ).
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub vole: VoleMessage<C>,
    /// Γᵘ_ij = cᵘ_ij·G.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub gamma_u: NonIdentityPoint<C>,
    /// Γᵛ_ij = cᵛ_ij·G.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub gamma_v: NonIdentityPoint<C>,
    /// ψ_ij = φ_i - χ_ij.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub psi: CanonicalScalar<C>,
}

/// Committed, waiting for everybody's commitment and extension.
pub(super) struct Committed<C: Curve> {
    pub(super) run: Run<C>,
    /// r_i.
    pub(super) nonce: Secret<C::Scalar>,
    /// φ_i.
    pub(super) mask: Secret<C::Scalar>,
    /// R_i.
    pub(super) nonce_point: NonIdentityPoint<C>,
    pub(super) blinding: Blinding,
    pub(super) broadcast: CommitBroadcast,
    pub(super) started: PerPeer<Started<C>>,
}

/// An extension with one peer whose message is on its way.
pub(super) struct Started<C: Curve> {
    pub(super) states: PairStates,
    pub(super) receiver: ReceiverExtension<C>,
    pub(super) sent: CommitPrivate<C>,
}

impl<C: Curve> Round for Committed<C> {
    type Message = CommitMessage<C>;
    type Output = PartialSignature;

    fn advance(
        self,
        received: PerPeer<CommitMessage<C>>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<PartialSignature>, Abort> {
        let Committed { run, nonce, mask, nonce_point, blinding, broadcast, started } = self;
        let context = &run.context;

        // Step 4.1: the state that each peer made its extension from is one that we hold.
        let chosen = received.as_ref().try_map(|peer, message| {
            let (started, named) = (started.get(peer), &message.private.pair);
            started.and_then(|started| started.states.find(named)).ok_or(Abort::pair_gone(peer, *named))
        })?;
        // Step 4.2: what this player saw in round 1, and the ssid that follows from it.
        let echo = Echo::new(context, &broadcast, &received.as_ref().map(|_, message| &message.broadcast));
        let ssid = echo.ssid(context);
        // C2 for every peer, before anything leaves that depends on any of them.
        let checked = started.zip(received).zip(chosen).try_map(|peer, ((started, message), chosen)| {
            let extension_context =
                ExtensionContext { ssid: &context.tag().0, sender: context.me().0, receiver: peer.0 };
            let sender = chosen
                .judge(|judged| {
                    SenderExtension::check(judged, &extension_context, &message.private.extension)
                        .map_err(|_| "C2 extension")
                })
                .map_err(|verdict| abort_of(peer, &chosen, verdict))?;
            let ssid_full = pair_ssid(context, &ssid, peer, &started.sent, &message.private);
            Ok(Checked { started, chosen, sender, ssid_full, commitment: message.broadcast.commitment })
        })?;

        // Step 4.3: sk_i = λ_i * x_i + ζ_i, with ε in it at the lowest signer, and pk_i.
        let mut key = Secret::new(*run.key_part.expose());
        for (peer, checked) in checked.iter() {
            // From the state that the lower index chose, so that both sides use the same.
            let state = if context.me() < peer { &checked.started.states.mine } else { &checked.chosen };
            let zero = zero_share::pair_share::<C>(state, &ssid, context.me().0, peer.0);
            *key.expose_mut() += zero.expose();
        }
        // Steps 4.4 to 4.6, for each peer by itself. pk_i and all Γ become bytes together.
        let inputs = [nonce.expose(), key.expose()];
        let mut points = vec![C::mul_generator(key.expose())];
        let made = checked.map(|_, checked| checked.multiply(inputs, &mask, &mut points, rng));
        // A uniform scalar is never zero in practice; if one were, the run ends.
        let mut points = NonIdentityPoint::batch(&points)
            .ok_or(Abort::unattributed("own points are not zero"))?
            .into_iter();
        let mut next = || points.next().expect("pk_i, and two points for each peer in the same order");
        let key_point = next();
        let made = made.map(|_, (product, vole, psi)| {
            (product, MultiplyPrivate { vole, gamma_u: next(), gamma_v: next(), psi })
        });

        // Step 4.7.
        let broadcast = MultiplyBroadcast { echo, blinding, nonce_point, key_point };
        let send =
            made.iter().map(|(peer, (_, private))| Outgoing::new(peer, &(&broadcast, private))).collect();
        let products = made.map(|_, (product, _)| product);
        let peers = context.peers();
        Ok(Step::wait(send, peers, Multiplied { run, nonce, mask, key, broadcast, products }))
    }
}

/// A peer whose extension has passed C2.
struct Checked<C: Curve> {
    started: Started<C>,
    /// The state that the peer chose.
    chosen: Arc<PairState>,
    sender: SenderExtension<C>,
    ssid_full: [u8; 32],
    commitment: Commitment,
}

impl<C: Curve> Checked<C> {
    /// Steps 4.4 to 4.6: what remains with this player, and what the peer receives; Γᵘ and Γᵛ are
    /// appended to `points`.
    fn multiply(
        self,
        inputs: [&C::Scalar; 2],
        mask: &Secret<C::Scalar>,
        points: &mut Vec<C::Point>,
        rng: &mut dyn CryptoRng,
    ) -> (Product<C>, VoleMessage<C>, CanonicalScalar<C>) {
        let Checked { started: Started { states, receiver, .. }, sender, ssid_full, commitment, .. } = self;
        let (half, vole, psi) = multiply(sender, receiver, ssid_full, inputs, mask, points, rng);
        (Product { pair: states.mine, commitment, half }, vole, psi)
    }
}

/// Steps 4.4 to 4.6 with one peer; Γᵘ and Γᵛ are appended to `points`.
pub(in crate::ecdsa) fn multiply<C: Curve>(
    sender: SenderExtension<C>,
    receiver: ReceiverExtension<C>,
    ssid_full: [u8; 32],
    inputs: [&C::Scalar; 2],
    mask: &Secret<C::Scalar>,
    points: &mut Vec<C::Point>,
    rng: &mut dyn CryptoRng,
) -> (Half<C>, VoleMessage<C>, CanonicalScalar<C>) {
    // Step 4.4: this player is A with inputs r_i and sk_i.
    let (c, vole) = sender.multiply(&ssid_full, inputs, rng);
    // Step 4.5: Γ binds this player to its outputs.
    points.extend(c.expose().iter().map(C::mul_generator));
    // Step 4.6: ψ_ij = φ_i - χ_ij.
    let psi = CanonicalScalar::new(*mask.expose() - receiver.chi().expose());
    (Half { receiver, ssid_full, c }, vole, psi)
}

/// The spec's ssid_full of a pair: the run's ssid and the pair's own messages of round 1, so that it
/// holds fresh bytes of both sides (rule S-54).
pub(in crate::ecdsa) fn pair_ssid<M: BorshSerialize>(
    context: &Context,
    ssid: &[u8; 32],
    peer: PlayerIndex,
    mine: &M,
    theirs: &M,
) -> [u8; 32] {
    let mut messages = [(context.me(), mine), (peer, theirs)];
    messages.sort_by_key(|(player, _)| *player);
    messages
        .iter()
        .fold(Transcript::new(Label::Ssid).bytes("run", ssid), |transcript, (player, message)| {
            let encoded = borsh::to_vec(message).expect("encoding to memory cannot fail");
            transcript.number("player", u64::from(player.0)).bytes("message", &encoded)
        })
        .digest()
}
