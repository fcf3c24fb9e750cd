//! Presignatures (docs/spec/presigning.md): made by a session of their signers, used by each signer's
//! node alone.

use std::sync::Arc;

use tsm_protocols::ecdsa::presign;
use tsm_protocols::{Certificate, KeyShare};
use tsm_types::presignatures::{
    GeneratePresignatures, PresignatureSet, Presigned, SignWithPresignature, SignedWithPresignature,
};
use tsm_types::{
    ApplicationId, BatchSize, Digest, ErrorCode, Failure, KeyId, Operation, PlayerIndex, PresignatureId,
};

use super::sign::{load_share, pair_states};
use super::{Opening, enabled, once, something_else};
use crate::derived::{derive, long_enough};
use crate::node::Inner;
use crate::outcomes::Outcome;
use crate::presignatures::{Known, Owner};
use crate::resolve::Resolved;
use crate::run::Running;

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
    let loaded = load(node, application, request.clone(), &resolved).await;
    match once(node, application, &request.session, resolved, loaded, make).await? {
        (Outcome::Presigned(presigned), notices) => Ok(Presigned { notices, ..presigned }),
        (Outcome::Key(_) | Outcome::Signed(_), _) => Err(something_else("a presigning session")),
    }
}

/// What presignatures are made with.
struct Maker {
    key_id: KeyId,
    share: KeyShare,
    count: BatchSize,
}

async fn load(
    node: &Arc<Inner>,
    application: &ApplicationId,
    request: GeneratePresignatures,
    resolved: &Resolved,
) -> Result<(Maker, Operation), Failure> {
    let GeneratePresignatures { session, key_id, count } = request;
    let share = load_share(node, application, &key_id, &session, resolved).await?;
    let operation = Operation::GeneratePresignatures {
        key_id: key_id.clone(),
        epoch: share.certificate.epoch,
        certificate: share.certificate.digest(),
        count,
    };
    Ok((Maker { key_id, share, count }, operation))
}

async fn make(
    node: Arc<Inner>,
    application: ApplicationId,
    maker: Maker,
    opening: Opening,
) -> Result<Outcome, Failure> {
    let Maker { key_id, share, count } = maker;
    // Before anybody works for it; given back however this ends.
    let room = node.presignatures.reserve(count.get().into()).inspect_err(|failure| {
        node.refuse(&opening.session.id, None, &opening.session.players, failure);
    })?;
    let owner = Owner { application, key_id };
    let certificate = share.certificate.clone();
    let mut running = opening.open(&node, &owner.application)?;
    let made = run(&node, &mut running, share, count).await;
    let makers = Arc::new(running.processes().clone());
    let made = running.finish(made)?;

    let ids: Vec<PresignatureId> = made.iter().map(|made| made.public().id()).collect();
    let signers = made.first().map(|made| made.public().signers().indices().collect()).unwrap_or_default();
    let made = made.into_iter().map(|made| {
        let known = Known { public: made.public().clone(), makers: makers.clone() };
        (made.public().id(), known, made)
    });
    // A signer that has been restarted since has lost its part of the earlier ones.
    room.fill(&owner, &signers, made, |earlier| earlier.makers == makers);
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
        let (id, Known { public, .. }) =
            node.presignatures.find(&owner, request.presignature_id, signers.as_ref())?;
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
