//! End of round 2: check everybody's contribution and compute the key
//! (docs/spec/key-generation.md, steps 3.1 to 3.5, checks K1 to K6).

use elliptic_curve::{Field, Group};
use tsm_crypto::commitment::Commitment;
use tsm_crypto::{CryptoRng, Curve, Label, Secret, Transcript};
use tsm_types::{Epoch, KeyId, PlayerIndex};

use super::deal::{CommitMessage, Opening, Statement, commitment_context};
use super::open::{OpenBroadcast, OpenMessage};
use super::{KeygenParameters, ProvisionalKey};
use crate::abort::Abort;
use crate::context::Context;
use crate::key::{Certificate, KeyShare};
use crate::per_peer::PerPeer;
use crate::polynomial::{evaluate_in_exponent_vartime, points};
use crate::round::{Round, Step};

/// Opened, waiting for everybody's opening and share.
pub(super) struct Opened<C: Curve> {
    pub(super) context: Context,
    pub(super) parameters: KeygenParameters,
    /// What this player opened and echoed.
    pub(super) broadcast: OpenBroadcast<C>,
    /// f_i(i).
    pub(super) own_share: Secret<C::Scalar>,
    pub(super) commitments: PerPeer<CommitMessage>,
}

impl<C: Curve> Round for Opened<C> {
    type Message = OpenMessage<C>;
    type Output = ProvisionalKey;

    fn advance(
        self,
        received: PerPeer<OpenMessage<C>>,
        _: &mut dyn CryptoRng,
    ) -> Result<Step<ProvisionalKey>, Abort> {
        let context = &self.context;
        let me = context.players().share_number(context.me()).expect("this player takes part");

        // K1: exactly t + 1 coefficients (rule S-22).
        for (peer, message) in received.iter() {
            if message.broadcast.opening.coefficients.len() != self.parameters.threshold.signers_required() {
                return Err(Abort::malformed(peer, "K1 number of coefficients"));
            }
        }
        // K2: everybody received the same commitments and fresh bytes.
        let echoes = received.as_ref().map(|_, message| &message.broadcast.echo);
        self.broadcast.echo.check(context, &echoes, "K2 echo of the commitments")?;
        for (peer, (round_1, message)) in self.commitments.as_ref().zip(received.as_ref()) {
            let OpenBroadcast { opening, blinding, .. } = &message.broadcast;
            // K3: the opening fits the commitment.
            if !opens(context, peer, &round_1.commitment, opening, blinding) {
                return Err(Abort::cheated(peer, "K3 opening"));
            }
            // K4: the constant term is known.
            let statement = Statement {
                context,
                player: peer,
                coefficients: &opening.coefficients,
                chain_code: opening.chain_code,
            };
            if !statement.is_proven_by(&opening.proof, &round_1.fresh) {
                return Err(Abort::cheated(peer, "K4 proof of knowledge"));
            }
            // K5: the share lies on the opened polynomial: f_j(i) * G = sum over m of i^m * A_j,m.
            let expected = evaluate_in_exponent_vartime::<C>(&points(&opening.coefficients), me);
            if C::mul_generator(message.share.scalar()) != expected {
                return Err(Abort::cheated(peer, "K5 share"));
            }
        }

        // Step 3.1: the joint polynomial in the exponent, and from it X and every X_j.
        let opening_of = |player: PlayerIndex| {
            received.get(player).map_or(&self.broadcast.opening, |message| &message.broadcast.opening)
        };
        let mut joint = vec![C::Point::identity(); self.parameters.threshold.signers_required()];
        for player in context.players().indices() {
            for (sum, point) in joint.iter_mut().zip(points(&opening_of(player).coefficients)) {
                *sum += point;
            }
        }
        let at = |number: u64| evaluate_in_exponent_vartime::<C>(&joint, number);
        let points: Vec<C::Point> = (0..).take(1 + context.players().len()).map(at).collect();
        // K6: neither the key nor a share of it is zero (rule S-39).
        if points.iter().any(|point| bool::from(point.is_identity())) {
            return Err(Abort::unattributed("K6 key and shares are not zero"));
        }
        let mut share_points = C::encode_points(&points);
        let public_key = share_points.remove(0);

        // Step 3.2: x_i is the sum of the shares that everybody dealt to this player.
        let mut secret = Secret::new(C::Scalar::ZERO);
        *secret.expose_mut() += self.own_share.expose();
        for (_, message) in received.iter() {
            *secret.expose_mut() += message.share.scalar();
        }

        // Steps 3.3 to 3.5: chain code, key ID, certificate.
        let ssid = self.broadcast.echo.ssid(context);
        let chain_code = context
            .players()
            .indices()
            .fold(
                Transcript::new(Label::ChainCode)
                    .bytes("ssid", &ssid)
                    .count("contributions", context.players().len()),
                |transcript, player| transcript.bytes("contribution", &opening_of(player).chain_code),
            )
            .digest();
        let key_id = match &self.parameters.key_id {
            Some(wish) => wish.clone(),
            None => drawn_key_id(&ssid, &public_key),
        };
        let certificate = Certificate {
            key_id,
            curve: C::ID,
            epoch: Epoch(0),
            threshold: self.parameters.threshold,
            holders: context.players().clone(),
            public_key,
            share_points,
            chain_code,
            ssid,
        };
        let secret = Secret::new(C::encode_scalar(secret.expose()));
        // K5 for every peer's part: the secret fits its point.
        let share = KeyShare { certificate, holder: context.me(), secret };
        Ok(Step::done(ProvisionalKey { share }))
    }
}

fn opens<C: Curve>(
    context: &Context,
    player: PlayerIndex,
    commitment: &Commitment,
    opening: &Opening<C>,
    blinding: &[u8; 32],
) -> bool {
    let encoded = borsh::to_vec(opening).expect("encoding to memory cannot fail");
    commitment_context(context, player).opens(commitment, &encoded, blinding)
}

/// Step 3.4: every holder draws the same ID from the run.
fn drawn_key_id(ssid: &[u8; 32], public_key: &[u8]) -> KeyId {
    let mut stream =
        Transcript::new(Label::KeyId).bytes("ssid", ssid).bytes("public key", public_key).stream();
    KeyId::from_stream(|| {
        let mut byte = [0];
        stream.fill(&mut byte);
        u8::from_le_bytes(byte)
    })
}
