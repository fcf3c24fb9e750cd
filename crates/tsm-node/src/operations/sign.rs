//! ECDSA signing (docs/spec/signing.md). Every signer returns its partial signature to its own
//! caller; who has all of them makes the signature.

use std::sync::Arc;

use tsm_protocols::ecdsa::sign;
use tsm_protocols::{DerivedKey, KeyShare, PerPeer};
use tsm_transport::Route;
use tsm_types::request::{SignEcdsa, Signed};
use tsm_types::{ApplicationId, Digest, ErrorCode, Failure, Operation, PlayerIndex, Session};

use super::enabled;
use crate::certificates;
use crate::derived::{derive, long_enough};
use crate::node::Inner;
use crate::outcomes::Outcome;
use crate::resolve::Resolved;
use crate::run::{Limits, Running};
use crate::vault::key_not_found;

const SIGN: u8 = 1;

pub(crate) async fn run(
    node: &Arc<Inner>,
    application: &ApplicationId,
    request: SignEcdsa,
) -> Result<Signed, Failure> {
    enabled(node.settings.features.sign, "Sign")?;
    let resolved = node.resolve(&request.session)?;
    let loaded = load(node, application, &request, &resolved).await;
    let (signer, session) = match loaded {
        Ok(loaded) => loaded,
        Err(failure) => {
            node.refuse(&request.session.id, None, &resolved.players, &failure);
            return Err(failure);
        }
    };
    let limits = node.limits(&request.session);
    let (id, tag) = (session.id.clone(), session.tag());
    let work = sign(node.clone(), application.clone(), signer, session, resolved.routes, limits);
    match node.outcomes.once(node, application, &id, tag, work).await? {
        Outcome::Signed(signed) => Ok(Signed { notices: resolved.notices, ..signed }),
        Outcome::Key(_) => Err(Failure::new(ErrorCode::NodeFault, "a signing session gave a key")),
    }
}

/// What a signature is made with.
struct Signer {
    share: KeyShare,
    /// The key at the request's path.
    key: Arc<DerivedKey>,
    digest: Digest,
}

/// Reads the key share, once. Everything that can be refused is refused here, before anybody else is
/// spoken to.
async fn load(
    node: &Arc<Inner>,
    application: &ApplicationId,
    request: &SignEcdsa,
    resolved: &Resolved,
) -> Result<(Signer, Session), Failure> {
    let players = &resolved.players;
    long_enough(node, &request.path)?;
    let share = match node.vault.key(application, &request.key_id).await? {
        Some(share) => share,
        None => {
            let patience = node.limits(&request.session).connect;
            certificates::catch_up(node, application, &request.key_id, resolved, patience).await?;
            let share = node.vault.key(application, &request.key_id).await?;
            share.ok_or_else(|| key_not_found(&request.key_id))?
        }
    };
    let certificate = &share.certificate;
    for (player, key) in players.iter() {
        let Some(holder) = certificate.holders.key(player) else {
            return Err(Failure::new(
                ErrorCode::KeyOtherHolder,
                format!("player {player} holds no share of key {}", request.key_id),
            )
            .about(player, "not a holder"));
        };
        if holder != key {
            let detail = format!(
                "player {player} holds its share of key {} under public key {}; this session gives {}",
                request.key_id,
                holder.fingerprint(),
                key.fingerprint()
            );
            return Err(
                Failure::new(ErrorCode::KeyOtherHolder, detail).about(player, key.fingerprint().to_string())
            );
        }
    }
    if players.len() < certificate.threshold.signers_required() {
        return Err(Failure::signers_too_few(players.len(), certificate.threshold));
    }
    let digest = Digest::new(request.digest.clone(), certificate.curve)?;
    let key = derive(node, certificate, &request.path).await?;
    let operation = Operation::SignEcdsa {
        key_id: request.key_id.clone(),
        epoch: certificate.epoch,
        certificate: certificate.digest(),
        path: request.path.clone(),
        digest: digest.clone(),
    };
    let session = Session { id: request.session.id.clone(), operation, players: players.clone() };
    Ok((Signer { share, key, digest }, session))
}

async fn sign(
    node: Arc<Inner>,
    application: ApplicationId,
    signer: Signer,
    session: Session,
    routes: Vec<(PlayerIndex, Route)>,
    limits: Limits,
) -> Result<Outcome, Failure> {
    let mut running = Running::open(&node, Some(&application), session, routes, limits)?;
    let result = make_partial(&node, &mut running, signer).await;
    running.finish(result)
}

async fn make_partial(node: &Arc<Inner>, running: &mut Running, signer: Signer) -> Result<Outcome, Failure> {
    let context = running.context().clone();
    let mut pairs = std::collections::BTreeMap::new();
    for peer in context.peers() {
        let state = running.attend(node.pairs.ready(node, peer, context.key_of(peer))).await?;
        pairs.insert(peer, state);
    }
    let pairs = PerPeer::collect(&context.peers(), pairs)
        .ok_or_else(|| Failure::new(ErrorCode::NodeFault, "a peer has no shared state"))?;
    let step = running
        .compute(SIGN, 0, move |rng| {
            let Signer { share, key, digest } = signer;
            sign::start_derived(&context, &share, &key, &digest, pairs, rng)
        })
        .await?
        .map_err(|refusal| Failure::new(refusal.code(), refusal.to_string()))?;
    let partial = running.drive(SIGN, step).await?;
    let partial_signature = borsh::to_vec(&partial).expect("encoding to memory cannot fail");
    Ok(Outcome::Signed(Signed { partial_signature, notices: Vec::new() }))
}
