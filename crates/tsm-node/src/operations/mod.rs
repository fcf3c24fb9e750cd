//! What callers can ask for, one file each: open, load, start, drive, keep, answer.

pub(crate) mod generate_key;
pub(crate) mod keys;
pub(crate) mod presignatures;
pub(crate) mod sign;

use std::sync::Arc;

use tsm_transport::Route;
use tsm_types::request::SessionRequest;
use tsm_types::{ApplicationId, ErrorCode, Failure, Operation, PlayerIndex, Session};

use crate::node::Inner;
use crate::outcomes::Outcome;
use crate::resolve::Resolved;
use crate::run::{Limits, Running};

/// Refuses an operation that the configuration does not enable.
fn enabled(feature: bool, name: &str) -> Result<(), Failure> {
    if feature {
        return Ok(());
    }
    Err(Failure::new(
        ErrorCode::OperationDisabled,
        format!("{name} is not enabled in this node's configuration"),
    ))
}

/// What a session opens with.
struct Opening {
    session: Session,
    routes: Vec<(PlayerIndex, Route)>,
    limits: Limits,
}

impl Opening {
    fn open(self, node: &Arc<Inner>, application: &ApplicationId) -> Result<Running, Failure> {
        Running::open(node, Some(application), self.session, self.routes, self.limits)
    }
}

/// Runs a session once, however often it is asked for, and gives its outcome with the notices for its
/// caller. `loaded` is what `work` needs and what the session is for; where it is a failure, the other
/// players are told that they need not wait.
async fn once<L, W>(
    node: &Arc<Inner>,
    application: &ApplicationId,
    request: &SessionRequest,
    resolved: Resolved,
    loaded: Result<(L, Operation), Failure>,
    work: impl FnOnce(Arc<Inner>, ApplicationId, L, Opening) -> W,
) -> Result<(Outcome, Vec<String>), Failure>
where
    W: Future<Output = Result<Outcome, Failure>> + Send + 'static,
{
    let Resolved { players, routes, notices, .. } = resolved;
    let (loaded, operation) = loaded.inspect_err(|failure| {
        node.refuse(&request.id, None, &players, failure);
    })?;
    let session = Session { id: request.id.clone(), operation, players };
    let tag = session.tag();
    let opening = Opening { session, routes, limits: node.limits(request) };
    let work = work(node.clone(), application.clone(), loaded, opening);
    Ok((node.outcomes.once(node, application, &request.id, tag, work).await?, notices))
}

/// An outcome of another operation: a defect.
fn something_else(operation: &str) -> Failure {
    Failure::new(ErrorCode::NodeFault, format!("{operation} gave something else"))
}
