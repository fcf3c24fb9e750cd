//! ECDSA signing (docs/spec/signing.md). Every signer returns its partial signature to its own
//! caller; who has all of them makes the signature.

use std::sync::Arc;

use tsm_protocols::ecdsa::sign;
use tsm_protocols::{DerivedKey, KeyShare, PerPeer};
use tsm_types::request::{SessionRequest, SignEcdsa, Signed};
use tsm_types::{ApplicationId, Digest, ErrorCode, Failure, KeyId, Operation};

use super::{Opening, enabled, once, something_else};
use crate::certificates;
use crate::derived::{derive, long_enough};
use crate::node::Inner;
use crate::outcomes::Outcome;
use crate::resolve::Resolved;
use crate::run::Running;
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
    match once(node, application, &request.session, resolved, loaded, sign).await? {
        (Outcome::Signed(signed), notices) => Ok(Signed { notices, ..signed }),
        (Outcome::Key(_) | Outcome::Presigned(_), _) => Err(something_else("a signing session")),
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
) -> Result<(Signer, Operation), Failure> {
    long_enough(node, &request.path)?;
    let share = load_share(node, application, &request.key_id, &request.session, resolved).await?;
    let certificate = &share.certificate;
    let digest = Digest::new(request.digest.clone(), certificate.curve)?;
    let key = derive(node, certificate, &request.path).await?;
    let operation = Operation::SignEcdsa {
        key_id: request.key_id.clone(),
        epoch: certificate.epoch,
        certificate: certificate.digest(),
        path: request.path.clone(),
        digest: digest.clone(),
    };
    Ok((Signer { share, key, digest }, operation))
}

/// The share of a key, if the session's players are enough of its holders.
pub(super) async fn load_share(
    node: &Arc<Inner>,
    application: &ApplicationId,
    key_id: &KeyId,
    session: &SessionRequest,
    resolved: &Resolved,
) -> Result<KeyShare, Failure> {
    let players = &resolved.players;
    let share = match node.vault.key(application, key_id).await? {
        Some(share) => share,
        None => {
            let patience = node.limits(session).connect;
            certificates::catch_up(node, application, key_id, resolved, patience).await?;
            let share = node.vault.key(application, key_id).await?;
            share.ok_or_else(|| key_not_found(key_id))?
        }
    };
    let certificate = &share.certificate;
    for (player, key) in players.iter() {
        let Some(holder) = certificate.holders.key(player) else {
            return Err(Failure::new(
                ErrorCode::KeyOtherHolder,
                format!("player {player} holds no share of key {key_id}"),
            )
            .about(player, "not a holder"));
        };
        if holder != key {
            let detail = format!(
                "player {player} holds its share of key {key_id} under public key {}; this session gives {}",
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
    Ok(share)
}

async fn sign(
    node: Arc<Inner>,
    application: ApplicationId,
    signer: Signer,
    opening: Opening,
) -> Result<Outcome, Failure> {
    let mut running = opening.open(&node, &application)?;
    let result = make_partial(&node, &mut running, signer).await;
    running.finish(result)
}

async fn make_partial(node: &Arc<Inner>, running: &mut Running, signer: Signer) -> Result<Outcome, Failure> {
    let context = running.context().clone();
    let pairs = pair_states(node, running).await?;
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

/// The state of every pair of the session, set up where there is none.
pub(super) async fn pair_states(
    node: &Arc<Inner>,
    running: &mut Running,
) -> Result<PerPeer<sign::PairStates>, Failure> {
    let context = running.context().clone();
    let mut pairs = std::collections::BTreeMap::new();
    for peer in context.peers() {
        let state = running.attend(node.pairs.ready(node, peer, context.key_of(peer))).await?;
        pairs.insert(peer, state);
    }
    PerPeer::collect(&context.peers(), pairs)
        .ok_or_else(|| Failure::new(ErrorCode::NodeFault, "a peer has no shared state"))
}
