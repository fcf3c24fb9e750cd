//! Key generation: two protocols with a write between them (docs/spec/key-generation.md).
//!
//! The share is stored before this node signs the certificate, so whoever holds a complete
//! certificate knows that every holder has its share.

use std::sync::Arc;

use tsm_protocols::SignedCertificate;
use tsm_protocols::keygen::{self, KeygenParameters};
use tsm_types::request::{GenerateKey, KeyInfo};
use tsm_types::{ApplicationId, ErrorCode, Failure, Operation, Threshold};

use super::keys::key_info;
use super::{Opening, enabled, once, something_else};
use crate::certificates;
use crate::node::Inner;
use crate::outcomes::Outcome;
use crate::run::Running;
use crate::tenants::KeyPlaces;
use crate::vault::key_exists;

const GENERATE: u8 = 1;
const CONFIRM: u8 = 2;

pub(crate) async fn run(
    node: &Arc<Inner>,
    application: &ApplicationId,
    request: GenerateKey,
) -> Result<KeyInfo, Failure> {
    enabled(node.settings.features.generate_key, "GenerateKey")?;
    let resolved = node.resolve(&request.session)?;
    let parameters = KeygenParameters {
        curve: request.curve,
        threshold: Threshold::new(request.threshold, resolved.players.len())?,
        key_id: request.key_id,
    };
    let operation = Operation::GenerateKey {
        curve: parameters.curve,
        threshold: parameters.threshold,
        key_id: parameters.key_id.clone(),
    };
    let loaded = Ok((parameters, operation));
    match once(node, application, &request.session, resolved, loaded, generate).await? {
        (Outcome::Key(info), notices) => Ok(KeyInfo { notices, ..info }),
        (Outcome::Signed(_) | Outcome::Presigned(_), _) => Err(something_else("a key generation")),
    }
}

async fn generate(
    node: Arc<Inner>,
    application: ApplicationId,
    parameters: KeygenParameters,
    opening: Opening,
) -> Result<Outcome, Failure> {
    if let Some(key_id) = &parameters.key_id
        && node.vault.has(&application, key_id).await?
    {
        let failure = key_exists(key_id);
        node.refuse(&opening.session.id, None, &opening.session.players, &failure);
        return Err(failure);
    }
    let places = match KeyPlaces::take(&node, &application, &opening.session.players).await {
        Ok(places) => places,
        Err(failure) => {
            node.refuse(&opening.session.id, None, &opening.session.players, &failure);
            return Err(failure);
        }
    };
    let mut running = opening.open(&node, &application)?;
    let result = make_and_confirm(&node, &application, &mut running, parameters, places).await;
    running.finish(result)
}

async fn make_and_confirm(
    node: &Arc<Inner>,
    application: &ApplicationId,
    running: &mut Running,
    parameters: KeygenParameters,
    places: KeyPlaces,
) -> Result<Outcome, Failure> {
    let context = running.context().clone();
    let identity = node.identity.clone();
    let step = running.compute(GENERATE, 0, move |rng| keygen::start(&context, parameters, rng)).await?;
    let made = running.drive(GENERATE, step).await?;

    // From here on others may come to hold the complete certificate.
    node.vault.keep_provisional(application, &made.share, places.tenants()).await?;
    drop(places);

    let certificate = made.share.certificate.clone();
    let context = running.context().clone();
    let to_sign = certificate.clone();
    let step =
        running.compute(CONFIRM, 0, move |_| keygen::confirm::start(&context, to_sign, &identity)).await?;
    // A lost last message is made up for by the certificate of whoever got it.
    let confirmed = tokio::select! {
        confirmed = running.drive(CONFIRM, step) => confirmed.map(Some),
        () = certificates::arrives(node, &certificate) => Ok(None),
    };
    match confirmed {
        Ok(Some(complete)) => activate(node, &complete).await?,
        Ok(None) => {}
        // Others were asked all the time, and the caller's time is over.
        Err(failure) if failure.code == ErrorCode::SessionTimeout => return Err(failure),
        // The others may have what this node missed.
        Err(failure) => {
            if !certificates::chase(node, &certificate, certificates::PATIENCE).await {
                return Err(failure);
            }
        }
    }
    tracing::info!(%application, key_id = %certificate.key_id, signers_required = certificate.threshold.signers_required(),
        "key generated");
    Ok(Outcome::Key(key_info(&certificate, Vec::new())))
}

async fn activate(node: &Inner, complete: &SignedCertificate) -> Result<(), Failure> {
    // Somebody's certificate may have come first.
    if node.vault.activate(complete).await?
        || node.vault.complete(&complete.certificate.digest()).await?.is_some()
    {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::NodeFault, "the share of a new key is gone"))
}
