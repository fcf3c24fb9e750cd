//! Message 3: check everything, and only then say so (docs/spec/presigning.md, steps 4.1 to 4.4,
//! checks C3 to C9 and C12).

use std::sync::Arc;

use tsm_crypto::commitment::Commitment;
use tsm_crypto::ot::PairState;
use tsm_crypto::{CryptoRng, Curve, Label, NonIdentityPoint, Secret, Transcript};

use super::commit::{NONCES, Run, encode_all};
use super::count::{Acknowledged, Acknowledgement};
use super::inputs::{Claim, hold};
use super::multiply::{Own, PresignBroadcast, PresignMultiply};
use super::online::{Origin, Presignature};
use crate::abort::Abort;
use crate::ecdsa::sign::abort_of;
use crate::ecdsa::sign::check::{Finished, Half, INPUTS, shares};
use crate::ecdsa::sign::commit::commitment_context;
use crate::per_peer::PerPeer;
use crate::round::{Outgoing, Round, Step};

/// Multiplied, waiting for everybody's openings and multiplications.
pub(super) struct Multiplied<C: Curve> {
    pub(super) run: Run<C>,
    pub(super) ssid: [u8; 32],
    pub(super) own: Vec<Own<C>>,
    /// What this player sent to all in message 2.
    pub(super) broadcast: PresignBroadcast<C>,
    pub(super) products: PerPeer<Products<C>>,
}

/// This player's halves of all multiplications with one peer.
pub(super) struct Products<C: Curve> {
    pub(super) pair: Arc<PairState>,
    /// C_j.
    pub(super) commitment: Commitment,
    pub(super) halves: Vec<Half<C>>,
}

impl<C: Curve> Round for Multiplied<C> {
    type Message = PresignMultiply<C>;
    type Output = Vec<Presignature>;

    fn advance(
        self,
        received: PerPeer<PresignMultiply<C>>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<Vec<Presignature>>, Abort> {
        let Multiplied { run, ssid, own, broadcast: mine, products } = self;
        let context = &run.signer.context;

        // Step 4.1: C12, then C3 for every peer, then C4 for every peer.
        for (peer, message) in received.iter() {
            message.has(peer, own.len())?;
        }
        let echoes = received.as_ref().map(|_, message| &message.broadcast.echo);
        mine.echo.check(context, &echoes, "C3 echo of the commitments")?;
        for (peer, (products, message)) in products.as_ref().zip(received.as_ref()) {
            let PresignBroadcast { blinding, points, .. } = &message.broadcast;
            let encoded = encode_all::<C>(points.iter().map(|points| &points.nonce_point));
            if !commitment_context(context, peer, NONCES).opens(&products.commitment, &encoded, blinding) {
                return Err(Abort::cheated(peer, "C4 opening"));
            }
        }
        // Step 4.2: C5 of all presignatures, then C6 and C7 of all, one verdict for each peer.
        let terms = products.zip(received.as_ref()).try_map(|peer, (products, message)| {
            let Products { pair, halves, .. } = products;
            pair.judge(|judged| {
                let finished = halves
                    .into_iter()
                    .zip(&message.private)
                    .map(|(half, private)| half.finish(judged, private))
                    .collect::<Result<Vec<_>, _>>()?;
                let sent = message.broadcast.points.iter().zip(&message.private);
                let claims: Vec<_> = sent
                    .zip(&finished)
                    .map(|((points, private), finished)| Claim { points, private, finished })
                    .collect();
                if !hold(&claims, rng) {
                    return Err(INPUTS);
                }
                Ok(finished.iter().map(Finished::terms).collect::<Vec<_>>())
            })
            .map_err(|verdict| abort_of(peer, &pair, verdict))
        })?;

        // Step 4.3.
        let origin = Arc::new(Origin::new(run.certificate, context.players().clone(), context.me()));
        let mut nonce_sums = Vec::new();
        for (number, mine) in mine.points.iter().enumerate() {
            let sent = || received.iter().filter_map(|(_, message)| message.broadcast.points.get(number));
            // C8: the pk_j belong to the key.
            let key_sum = sent().fold(*mine.key_point.point(), |sum, peer| sum + peer.key_point.point());
            if key_sum != run.public_key {
                return Err(Abort::unattributed("C8 sum of the key points"));
            }
            nonce_sums
                .push(sent().fold(*mine.nonce_point.point(), |sum, peer| sum + peer.nonce_point.point()));
        }
        // C9: every R is a point.
        let nonce_sums = NonIdentityPoint::<C>::batch(&nonce_sums)
            .ok_or(Abort::unattributed("C9 sum of the nonce points"))?;
        let mut presignatures = Vec::new();
        for (number, (own, nonce_sum)) in own.into_iter().zip(nonce_sums).enumerate() {
            let psis = received.iter().filter_map(|(_, message)| message.private.get(number));
            let (u, v) = shares::<C>(
                [&own.nonce, &own.mask, &own.key],
                psis.map(|private| private.psi.scalar()),
                terms.iter().filter_map(|(_, terms)| terms.get(number)),
            );
            let secrets = [own.mask, u, v].map(|scalar| Secret::new(C::encode_scalar(scalar.expose())));
            presignatures.push(Presignature::new(own.id, origin.clone(), nonce_sum, secrets));
        }

        // Step 4.4.
        let acknowledgement = acknowledge(&ssid, &presignatures);
        let peers = context.peers();
        let send = Outgoing::broadcast(&peers, &acknowledgement);
        Ok(Step::wait(send, peers, Acknowledged { presignatures, acknowledgement }))
    }
}

fn acknowledge(ssid: &[u8; 32], presignatures: &[Presignature]) -> Acknowledgement {
    let transcript = Transcript::new(Label::PresignatureAcknowledgement)
        .bytes("run", ssid)
        .count("presignatures", presignatures.len());
    let transcript = presignatures.iter().fold(transcript, |transcript, presignature| {
        let public = presignature.public();
        transcript.bytes("id", &public.id().0).bytes("R", &public.nonce_point)
    });
    Acknowledgement(transcript.digest())
}
