//! Presignatures (docs/spec/presigning.md): made by a session of their signers, used by each signer's
//! node alone.

use std::sync::Arc;

use tsm_protocols::ecdsa::presign;
use tsm_protocols::{Certificate, KeyShare};
use tsm_transport::Route;
use tsm_types::presignatures::{
    GeneratePresignatures, PresignatureSet, Presigned, SignWithPresignature, SignedWithPresignature,
};
use tsm_types::{
    ApplicationId, BatchSize, Digest, ErrorCode, Failure, KeyId, Operation, PlayerIndex, PresignatureId,
    Session,
};

use super::enabled;
use super::sign::{load_share, pair_states};
use crate::derived::{derive, long_enough};
use crate::node::Inner;
use crate::outcomes::Outcome;
use crate::presignatures::Owner;
use crate::resolve::Resolved;
use crate::run::{Limits, Running};

const PRESIGN: u8 = 1;

/// Makes presignatures together with the session's other players.
pub(crate) async fn generate(
    node: &Arc<Inner>,
    application: &ApplicationId,
    request: GeneratePresignatures,
) -> Result<Presigned, Failure> {
    enabled(node.settings.features.generate_presignatures, "GeneratePresignatures")?;
    let limit = node.settings.presignatures_per_request;
    if request.count.get() > limit {
        let detail =
            format!("this node makes at most {limit} presignatures a session, not {}", request.count.get());
        return Err(Failure::new(ErrorCode::PresignatureLimit, detail));
    }
    let resolved = node.resolve(&request.session)?;
    let (share, session) = match load(node, application, &request, &resolved).await {
        Ok(loaded) => loaded,
        Err(failure) => {
            node.refuse(&request.session.id, None, &resolved.players, &failure);
            return Err(failure);
        }
    };
    let limits = node.limits(&request.session);
    let (id, tag) = (session.id.clone(), session.tag());
    let owner = Owner { application: application.clone(), key_id: request.key_id };
    let work = make(node.clone(), owner, share, session, resolved.routes, request.count, limits);
    match node.outcomes.once(node, application, &id, tag, work).await? {
        Outcome::Presigned(presigned) => Ok(Presigned { notices: resolved.notices, ..presigned }),
        Outcome::Key(_) | Outcome::Signed(_) => {
            Err(Failure::new(ErrorCode::NodeFault, "a presigning session gave something else"))
        }
    }
}

async fn load(
    node: &Arc<Inner>,
    application: &ApplicationId,
    request: &GeneratePresignatures,
    resolved: &Resolved,
) -> Result<(KeyShare, Session), Failure> {
    let share = load_share(node, application, &request.key_id, &request.session, resolved).await?;
    let operation = Operation::GeneratePresignatures {
        key_id: request.key_id.clone(),
        epoch: share.certificate.epoch,
        certificate: share.certificate.digest(),
        count: request.count,
    };
    let players = resolved.players.clone();
    Ok((share, Session { id: request.session.id.clone(), operation, players }))
}

async fn make(
    node: Arc<Inner>,
    owner: Owner,
    share: KeyShare,
    session: Session,
    routes: Vec<(PlayerIndex, Route)>,
    count: BatchSize,
    limits: Limits,
) -> Result<Outcome, Failure> {
    // Before anybody works for it; given back however this ends.
    let room = node.presignatures.reserve(count.get().into()).inspect_err(|failure| {
        node.refuse(&session.id, None, &session.players, failure);
    })?;
    let certificate = share.certificate.clone();
    let mut running = Running::open(&node, Some(&owner.application), session, routes, limits)?;
    let made = run(&node, &mut running, share, count).await;
    let made = running.finish(made)?;

    let ids: Vec<PresignatureId> = made.iter().map(|made| made.public().id()).collect();
    let signers = made.first().map(|made| made.public().signers().indices().collect()).unwrap_or_default();
    room.fill(
        &owner,
        &signers,
        made.into_iter().map(|made| (made.public().id(), made.public().clone(), made)),
    );
    // After, not before: a share that is deleted in between takes its presignatures with it either way.
    still_there(&node, &owner, &certificate).await?;
    tracing::info!(application = %owner.application, key_id = %owner.key_id, count = ids.len(), "presignatures made");
    Ok(Outcome::Presigned(Presigned { presignature_ids: ids, notices: Vec::new() }))
}

async fn run(
    node: &Arc<Inner>,
    running: &mut Running,
    share: KeyShare,
    count: BatchSize,
) -> Result<Vec<presign::Presignature>, Failure> {
    let context = running.context().clone();
    let pairs = pair_states(node, running).await?;
    let step = running
        .compute(PRESIGN, 0, move |rng| presign::start(&context, &share, count, pairs, rng))
        .await?
        .map_err(|refusal| Failure::new(refusal.code(), refusal.to_string()))?;
    running.drive(PRESIGN, step).await
}

/// Deletes the presignatures of a key that is no longer the one that they were made for.
async fn still_there(node: &Inner, owner: &Owner, certificate: &Certificate) -> Result<(), Failure> {
    match node.vault.certificate(&owner.application, &owner.key_id).await {
        Ok(stored) if stored.certificate == *certificate => Ok(()),
        Ok(_) => {
            node.presignatures.delete(owner);
            Err(Failure::new(ErrorCode::KeyNotFound, format!("key {} has changed", owner.key_id)))
        }
        Err(failure) => {
            node.presignatures.delete(owner);
            Err(failure)
        }
    }
}

/// This node's part of a signature. Nobody else is spoken to, and nothing is read but memory.
pub(crate) async fn sign(
    node: &Arc<Inner>,
    application: &ApplicationId,
    request: SignWithPresignature,
) -> Result<SignedWithPresignature, Failure> {
    enabled(node.settings.features.sign_with_presignature, "SignWithPresignature")?;
    long_enough(node, &request.path)?;
    let owner = Owner { application: application.clone(), key_id: request.key_id };
    let signers = request.players.map(|players| players.into_iter().collect());
    loop {
        let (id, public) = node.presignatures.find(&owner, request.presignature_id, signers.as_ref())?;
        let players: Vec<PlayerIndex> = public.signers().indices().collect();
        if signers.as_ref().is_some_and(|asked| *asked != players) {
            let rule = format!("presignature {id} is one of players {players:?}");
            return Err(Failure::invalid_field("players", &rule));
        }
        let digest = Digest::new(request.digest.clone(), public.certificate().curve)?;
        let key = derive(node, public.certificate(), &request.path).await?;
        // All that can be refused is refused here, on public values; then it is taken.
        let prepared = public
            .prepare(&digest, key.tweak())
            .map_err(|refusal| Failure::new(refusal.code(), refusal.to_string()))?;
        let taken = node.presignatures.take(&owner, id, prepared.tuple(), |presignature| {
            borsh::to_vec(&presignature.sign(&prepared)).expect("encoding to memory cannot fail")
        });
        match taken {
            // Somebody else was faster with the oldest one; the next is as good.
            Err(failure)
                if request.presignature_id.is_none()
                    && matches!(
                        failure.code,
                        ErrorCode::PresignatureUsed | ErrorCode::PresignatureNotFound
                    ) => {}
            taken => {
                return Ok(SignedWithPresignature {
                    presignature_id: id,
                    players,
                    partial_signature: taken?,
                });
            }
        }
    }
}

/// Unused presignatures of a key by signer set.
pub(crate) async fn count(
    node: &Inner,
    application: &ApplicationId,
    key_id: &KeyId,
) -> Result<Vec<PresignatureSet>, Failure> {
    node.vault.certificate(application, key_id).await?;
    Ok(node.presignatures.count(&Owner { application: application.clone(), key_id: key_id.clone() }))
}

/// Deletes all presignatures of a key; returns how many there were.
pub(crate) async fn delete(
    node: &Inner,
    application: &ApplicationId,
    key_id: &KeyId,
) -> Result<u64, Failure> {
    node.vault.certificate(application, key_id).await?;
    let owner = Owner { application: application.clone(), key_id: key_id.clone() };
    let deleted = node.presignatures.delete(&owner);
    tracing::info!(%application, %key_id, deleted, "presignatures deleted");
    Ok(deleted as u64)
}
